// Goal: what tenants name their VMs can neither run in a spreadsheet nor shift a column or break a JSON reader.

#include <catch2/catch.hpp>

#include "agent/cli/table.h"
#include "platform/json_writer.h"
#include "store/detail.h"

using namespace nodemeter;
using namespace nodemeter::cli;

TEST_CASE("a field that a spreadsheet would take for a formula is neutralised", "[csv]") {
  CHECK(csv_text("=1+1") == "'=1+1");
  CHECK(csv_text("+1") == "'+1");
  CHECK(csv_text("-1") == "'-1");
  CHECK(csv_text("@SUM(A1)") == "'@SUM(A1)");
  CHECK(csv_text("\tx") == "\"'\tx\"");
  CHECK(csv_text("\rx") == "\"'\rx\"");
  CHECK(csv_text("  =1+1") == "\"'  =1+1\"");
  CHECK(csv_text("=HYPERLINK(\"http://x\",\"y\")") == "\"'=HYPERLINK(\"\"http://x\"\",\"\"y\"\")\"");
  CHECK(csv_text("web=1") == "web=1");
}

TEST_CASE("quotes, commas and line ends in a field stay inside it", "[csv]") {
  CHECK(csv_text("a,b") == "\"a,b\"");
  CHECK(csv_text("a\"b") == "\"a\"\"b\"");
  CHECK(csv_text("a\r\nb") == "\"a\r\nb\"");
  CHECK(csv_text("").empty());
  CHECK(csv_line({"1", csv_text("a,b"), ""}) == "1,\"a,b\",\r\n");
}

TEST_CASE("columns stand straight under names with letters of more than one byte", "[table]") {
  Table table({{"NAME"}, {"N", true}});
  table.add({"bär", "1"});
  table.add({"web-01", "1000"});
  CHECK(table.text() ==
        "NAME       N\n"
        "bär        1\n"
        "web-01  1000\n");
}

TEST_CASE("whole numbers that a double cannot hold are written as strings", "[json]") {
  JsonWriter json;
  json.begin_array();
  json.number(std::uint64_t{1} << 53);
  json.number((std::uint64_t{1} << 53) + 1);
  json.number(static_cast<unsigned __int128>(UINT64_MAX) * 10);
  json.end_array();
  CHECK(json.take() == "[9007199254740992,\"9007199254740993\",\"184467440737095516150\"]");
}

TEST_CASE("nested objects and lists get their commas", "[json]") {
  JsonWriter json;
  json.begin_object();
  json.text("a\"b", "x\\y");
  json.key("list");
  json.begin_array();
  json.begin_object();
  json.end_object();
  json.null();
  json.end_array();
  json.number("none", std::optional<std::uint64_t>());
  json.flag("flag", true);
  json.end_object();
  CHECK(json.take() == R"({"a\"b":"x\\y","list":[{},null],"none":null,"flag":true})");
}

TEST_CASE("a detail that is not a JSON object gives no fields", "[detail]") {
  CHECK(detail_fields("").empty());
  CHECK(detail_fields("[1]").empty());
  CHECK(detail_fields("{\"a\":").empty());
  const auto fields = detail_fields(R"({"a":"x","n":-5,"b":true,"o":{}})");
  CHECK(fields.size() == 3);
  CHECK(fields.at("n") == "-5");
}
