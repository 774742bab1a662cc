// Goal: a FOCUS file tells what was used and what it costs, to the last digit, whatever names and tags hold; and a
// price file with a fault is refused with the fault's line. Method: a journal in memory, looked at column by column.
// The rules of the specification are checked by a program of their own on the real program's output:
// tests/truth/focus_main.py.

#include <catch2/catch.hpp>
#include <map>

#include "agent/cli/usage_focus.h"
#include "platform/decimal.h"
#include "usage_journal.h"

using namespace nodemeter;
using namespace nodemeter::cli;

namespace {

using Line = std::map<std::string, std::string>;

// RFC 4180, for what csv_line() writes.
std::vector<std::vector<std::string>> fields_of(const std::string& csv) {
  std::vector<std::vector<std::string>> lines{{""}};
  bool quoted = false;
  for (std::size_t i = 0; i < csv.size(); ++i) {
    std::string& field = lines.back().back();
    if (csv[i] == '"' && quoted && i + 1 < csv.size() && csv[i + 1] == '"') {
      field.push_back('"');
      ++i;
    } else if (csv[i] == '"') {
      quoted = !quoted;
    } else if (csv[i] == ',' && !quoted) {
      lines.back().emplace_back();
    } else if (csv[i] == '\r' && !quoted) {
      lines.push_back({""});
      ++i;
    } else {
      field.push_back(csv[i]);
    }
  }
  lines.pop_back();
  return lines;
}

std::vector<Line> lines_of(const std::string& csv) {
  const auto lines = fields_of(csv);
  std::vector<Line> rows;
  for (std::size_t i = 1; i < lines.size(); ++i) {
    REQUIRE(lines[i].size() == lines[0].size());
    Line& row = rows.emplace_back();
    for (std::size_t k = 0; k < lines[0].size(); ++k) row[lines[0][k]] = lines[i][k];
  }
  return rows;
}

PriceFile prices(const std::string& text) {
  Result<PriceFile> file = parse_price_file(text, "prices.json");
  INFO((file ? "" : file.error().message));
  REQUIRE(file.ok());
  return std::move(file).value();
}

std::string fault(const std::string& text) {
  const Result<PriceFile> file = parse_price_file(text, "p");
  return file ? "none" : file.error().message;
}

const std::string kSimple = R"({"currency": "EUR", "prices": {"base-vm-hours": 0.0125}})";

}  // namespace

TEST_CASE("a product of decimals is exact, however long", "[focus]") {
  CHECK(decimal_product("0.1", "0.2") == "0.02");
  CHECK(decimal_product("4", "0.0125") == "0.05");
  CHECK(decimal_product("0", "0.0125") == "0");
  CHECK(decimal_product("010", "08") == "80");  // No octal.
  CHECK(decimal_product("0.3333333333", "0.0000000003") == "0.00000000009999999999");
  CHECK(decimal_product("340282366920938463463374607431768211455.0000000001", "999999999.9999999999") ==
        "340282366920938463429346370739674365108662539256.92317885449999999999");
  CHECK(plain_decimal("007.50", 9, 10) == "7.5");
  CHECK(plain_decimal("0.0", 9, 10) == "0");
  for (const char* wrong :
       {"", ".", "1.", ".5", "-1", "+1", "1e3", "1,5", " 1", "1.2.3", "1234567890", "0.12345678901"}) {
    INFO(wrong);
    CHECK_FALSE(plain_decimal(wrong, 9, 10));
  }
}

TEST_CASE("a cost is the exact product of the quantity that is shown and the price", "[focus]") {
  MemoryReader reader;
  reader.usage(kWeb, kTenantA, "2026-01-01T00:00:00Z", 1'200'001, "web-1");
  const UsageQuery query = hourly("2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z");
  const std::vector<Line> rows = lines_of(usage_focus(answer(reader, query), query, prices(kSimple)));
  REQUIRE(rows.size() == 2);
  Line vcores = rows[0];
  CHECK(vcores["ConsumedQuantity"] == "0.3333336111");
  CHECK(vcores["PricingQuantity"] == "0.3333336111");
  CHECK(vcores["ConsumedUnit"] == "Core-Hours");
  CHECK(vcores["ListCost"] == "0.00416667013875");
  CHECK(vcores["BilledCost"] == vcores["ListCost"]);
  CHECK(vcores["EffectiveCost"] == vcores["ListCost"]);
  CHECK(vcores["ContractedCost"] == vcores["ListCost"]);
  CHECK(vcores["BillingCurrency"] == "EUR");
  CHECK(vcores["x_QuantityBase"] == "1200001");
  CHECK(vcores["ChargePeriodStart"] == "2026-01-01T00:00:00Z");
  CHECK(vcores["ChargePeriodEnd"] == "2026-01-01T01:00:00Z");
  CHECK(vcores["BillingPeriodStart"] == "2026-01-01T00:00:00Z");
  CHECK(vcores["BillingPeriodEnd"] == "2026-02-01T00:00:00Z");
  Line vm_hours = rows[1];
  CHECK(vm_hours["ListUnitPrice"] == "0");
  CHECK(vm_hours["BilledCost"] == "0");
}

TEST_CASE("without prices costs are zero in no currency, and price columns are absent", "[focus]") {
  const MemoryReader reader = two_hours();
  const UsageQuery query = hourly("2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z");
  for (const Line& row : lines_of(usage_focus(answer(reader, query), query, std::nullopt))) {
    for (const char* cost : {"BilledCost", "ListCost", "EffectiveCost", "ContractedCost"}) CHECK(row.at(cost) == "0");
    CHECK(row.at("BillingCurrency") == std::string(3, 'X'));
    for (const char* column : {"ListUnitPrice", "ContractedUnitPrice", "SkuPriceId", "SkuPriceDetails"}) {
      CHECK_FALSE(row.contains(column));
    }
  }
}

TEST_CASE("operations are consumed one by one and priced by ten thousand", "[focus]") {
  MemoryReader reader;
  reader.usage(kWeb, kTenantA, "2026-01-01T00:00:00Z", 1, "web-1").meters = {
      {MemoryReader::meter(MeterIndex::kDiskReadOperations), 12'345, 0}};
  const UsageQuery query = hourly("2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z");
  const PriceFile file = prices(R"({"currency":"EUR","prices":{"disk-read-operations":2}})");
  const Line row = lines_of(usage_focus(answer(reader, query), query, file)).at(0);
  CHECK(row.at("ConsumedQuantity") == "12345");
  CHECK(row.at("ConsumedUnit") == "Requests");
  CHECK(row.at("PricingQuantity") == "1.2345");
  CHECK(row.at("PricingUnit") == "10000 Requests");
  CHECK(row.at("ListCost") == "2.469");
  CHECK(row.at("ServiceCategory") == "Storage");
}

TEST_CASE("names, tags and places from outside stay data in a spreadsheet", "[focus]") {
  MemoryReader reader;
  Entry& entry = reader.usage(kWeb, kTenantA, "2026-01-01T00:00:00Z", 1, "=cmd|' /C calc'!A0");
  entry.location = "@SUM(A1)";
  entry.resource_uri = "-2+3,\"x\"\r\n=1";
  entry.tags = {{"=a", "+b\n\"c\""}, {"long", std::string(5000, 'x')}};
  const UsageQuery query = hourly("2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z");
  const std::string csv = usage_focus(answer(reader, query), query, prices(kSimple));
  for (const auto& line : fields_of(csv)) {
    for (const std::string& field : line) {
      INFO(field);
      CHECK((field.empty() || std::string("=+-@\t\r").find(field.front()) == std::string::npos));
      CHECK(field.find_first_of("\r\n") == std::string::npos);
    }
  }
  const Line row = lines_of(csv).at(0);
  CHECK(row.at("ResourceName") == "'=cmd|' /C calc'!A0");
  CHECK(row.at("Tags") == R"({"=a":"+b\\x0a\"c\"","long":")" + std::string(5000, 'x') + "\"}");
}

TEST_CASE("what nobody owns has no sub account, and what is not billable costs nothing", "[focus]") {
  MemoryReader reader;
  Entry& unowned = reader.usage(kWeb, Uuid{}, "2026-01-01T00:00:00Z", 3'600'000, "web-1");
  unowned.billable = false;
  const UsageQuery query = hourly("2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z");
  const Line row = lines_of(usage_focus(answer(reader, query), query, prices(kSimple))).at(0);
  CHECK(row.at("SubAccountId").empty());
  CHECK(row.at("SubAccountType").empty());
  CHECK(row.at("x_TenantId").empty());
  CHECK(row.at("BillingAccountId") == Uuid{}.text());
  CHECK(row.at("ListCost") == "0.0125");
  CHECK(row.at("ContractedUnitPrice") == "0");
  CHECK(row.at("BilledCost") == "0");
  CHECK(row.at("EffectiveCost") == "0");
}

TEST_CASE("only late knowledge of a month that is over, asked for by reported time, is a correction", "[focus]") {
  MemoryReader reader;
  reader.usage(kWeb, kTenantA, "2026-01-31T22:00:00Z", 1, "web-1", "2026-02-01T00:00:30Z").status = status_bit::kLate;
  reader.usage(kWeb, kTenantA, "2026-01-31T23:00:00Z", 1, "web-1", "2026-02-01T00:00:30Z");
  reader.usage(kWeb, kTenantA, "2026-01-31T23:00:00Z", 1, "web-1", "2026-02-01T00:10:00Z").status = status_bit::kLate;
  reader.usage(kWeb, kTenantA, "2026-02-01T00:00:00Z", 1, "web-1", "2026-02-01T02:00:00Z").status = status_bit::kLate;
  const auto classes = [&](TimeAxis by, const std::string& start) {
    UsageQuery query = hourly(start, "2026-02-02T00:00:00Z");
    query.by = by;
    query.meter = MemoryReader::meter(MeterIndex::kBaseVmHours);
    std::string all;
    for (const Line& row : lines_of(usage_focus(answer(reader, query), query, std::nullopt))) {
      all += "[" + row.at("ChargeClass") + "]";
    }
    return all;
  };
  CHECK(classes(TimeAxis::kReported, "2026-02-01T00:00:00Z") == "[Correction][][]");
  CHECK(classes(TimeAxis::kUsage, "2026-01-31T00:00:00Z") == "[][][]");
}

TEST_CASE("a price file is read digit by digit", "[focus]") {
  const PriceFile file = prices(R"({
    "currency": "JPY", "prices": { "BASE-VM-HOURS": 0.1, "9CD92D4C-BAFD-4492-B278-BEDC2DE8232A": "5.1520", "cpu-time": 3 },
    "provider": "P", "publisher": "Q", "invoice_issuer": "I", "billing_account": { "id": "A", "name": "N" } })");
  CHECK(file.prices.at(MemoryReader::meter(MeterIndex::kBaseVmHours)) == "0.1");
  CHECK(file.prices.at(MemoryReader::meter(MeterIndex::kWindowsVmHours)) == "5.152");
  CHECK(file.prices.at(MemoryReader::meter(MeterIndex::kCpuTime)) == "3");
  MemoryReader reader;
  reader.usage(kWeb, kTenantA, "2026-01-01T00:00:00Z", 1, "web-1");
  const UsageQuery query = hourly("2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z");
  const Line row = lines_of(usage_focus(answer(reader, query), query, file)).at(0);
  CHECK(row.at("ProviderName") == "P");
  CHECK(row.at("PublisherName") == "Q");
  CHECK(row.at("InvoiceIssuerName") == "I");
  CHECK(row.at("BillingAccountId") == "A");
  CHECK(row.at("BillingAccountName") == "N");
}

TEST_CASE("a fault in a price file is named with its line, and all of them at once", "[focus]") {
  CHECK(fault("{\n\"currency\": \"EUR\",\n\"prices\": {\n}") == "p:4: this is not JSON");
  CHECK(fault("") == "p:1: this is not JSON");
  CHECK(fault("[]").rfind("p:1: an object with", 0) == 0);
  CHECK(fault("{\n\"prices\": {}}").rfind("p:1: currency: is missing", 0) == 0);
  CHECK(fault("{\"currency\":\"EUR\"}").rfind("p:1: prices: is missing", 0) == 0);
  CHECK(fault("{\"currency\":\"EUR\",\"prices\":[]}").rfind("p:1: prices: an object", 0) == 0);
  CHECK(fault(std::string(20, '[')) == "p:1: more than 16 brackets in each other");
  const std::string many = fault(R"({
"currency": "euro",
"price": 1,
"prices": {
  "base-vm-hours": -1,
  "windows-vm-hours": 1e-3,
  "cpu-time": 0.12345678901,
  "beer": 1,
  "memory-hours": 1,
  "EB5B9A8A-6EE8-5465-8798-FD04D7B00558":
     2,
  "disk-read-bytes": [1]
},
"billing_account": { "idd": "x" },
"provider": "a\u0001b"
})");
  std::vector<std::string> lines;
  for (std::size_t i = 0; i < many.size();
       i = many.find('\n', i) == std::string::npos ? many.size() : many.find('\n', i) + 1) {
    const std::string line = many.substr(i, many.find('\n', i) - i);
    lines.push_back(line.substr(0, line.find(": ", line.find(": ") + 2)));
  }
  CHECK(lines == std::vector<std::string>{"p:2: currency", "p:3: price", "p:5: prices.base-vm-hours",
                                          "p:6: prices.windows-vm-hours", "p:7: prices.cpu-time", "p:8: prices.beer",
                                          "p:10: prices.EB5B9A8A-6EE8-5465-8798-FD04D7B00558",
                                          "p:12: prices.disk-read-bytes", "p:14: billing_account", "p:15: provider"});
}

TEST_CASE("a price that would bill the same time twice is refused", "[focus]") {
  const std::string both = R"({"currency":"EUR","prices":{"vm-hours":1,)"
                           "\n"
                           R"("windows-vm-hours":1}})";
  CHECK_THAT(fault(both), Catch::Matchers::Contains("p:2: prices.windows-vm-hours: vm-hours is the same time"));
  CHECK(fault(R"({"currency":"EUR","prices":{"vm-hours":1}})") == "none");
  const std::string twice = "{\"currency\":\"EUR\",\n\"prices\":{\"cpu-time\":1,\n\"cpu-time\":2}}";
  CHECK(fault(twice) == "p:3: cpu-time: is given twice; also in line 2");
}
