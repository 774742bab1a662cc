// Goal: the OpenAPI document is what the server does.
// Method: requests are generated from the document's own parameters, each valid, absent and wrong in every way that its
// schema forbids, singly and mixed by seed; the status must be one that the document declares, the body must satisfy
// the schema that it declares for it, and what the document calls valid must be answered.

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>

#include "platform/random.h"
#include "tests/aggregator/plain_client.h"
#include "tests/aggregator/server_fixture.h"
#include "tests/aggregator/usage_site.h"

namespace nodemeter {
namespace {

using nlohmann::json;
using testing::id_of;
using testing::UsageNode;
using testing::UsageSite;

const json& document() {
  static const json parsed = json::parse(openapi_json());
  return parsed;
}

const json& resolve(const json& item) {
  const auto found = item.find("$ref");
  if (found == item.end()) return item;
  const std::string where = found->get<std::string>();
  REQUIRE(where.rfind("#/", 0) == 0);
  const json::json_pointer pointer(where.substr(1));
  REQUIRE(document().contains(pointer));
  return resolve(document()[pointer]);
}

bool has_format(const std::string& text, const std::string& format) {
  if (format == "uuid") return Uuid::parse(text).has_value();
  REQUIRE(format == "date-time");
  return std::regex_match(text, std::regex(R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d))"));
}

bool has_type(const json& value, const std::string& type) {
  if (type == "object") return value.is_object();
  if (type == "array") return value.is_array();
  if (type == "string") return value.is_string();
  if (type == "boolean") return value.is_boolean();
  if (type == "integer") return value.is_number_integer();
  REQUIRE(type == "number");
  return value.is_number();
}

std::string fault_of(const json& value, const json& unresolved);

std::string object_fault(const json& value, const json& schema) {
  for (const json& name : schema.value("required", json::array())) {
    if (!value.contains(name.get<std::string>())) return "no " + name.get<std::string>();
  }
  const json properties = schema.value("properties", json::object());
  for (const auto& [name, member] : value.items()) {
    if (properties.contains(name)) {
      if (std::string fault = fault_of(member, properties[name]); !fault.empty()) return name + ": " + fault;
    } else if (schema.contains("additionalProperties")) {
      return name + " is not declared";
    }
  }
  return "";
}

std::string string_fault(const std::string& text, const json& schema) {
  if (text.size() < schema.value("minLength", std::size_t{0})) return "too short";
  if (schema.contains("format") && !has_format(text, schema["format"])) return "not a " + schema["format"].dump();
  const std::string pattern = schema.value("pattern", "");
  if (!pattern.empty() && !std::regex_search(text, std::regex(pattern))) return "not like " + pattern;
  return "";
}

// Why `value` does not satisfy the schema; "" if it does.
std::string fault_of(const json& value, const json& unresolved) {
  const json& schema = resolve(unresolved);
  for (const json& part : schema.value("allOf", json::array())) {
    if (std::string fault = fault_of(value, part); !fault.empty()) return fault;
  }
  if (schema.contains("oneOf")) {
    const auto fits = [&](const json& part) { return fault_of(value, part).empty(); };
    if (std::count_if(schema["oneOf"].begin(), schema["oneOf"].end(), fits) != 1) return "not one of the choices";
  }
  if (schema.contains("type") && !has_type(value, schema["type"])) return "not of type " + schema["type"].dump();
  if (schema.contains("enum") && std::count(schema["enum"].begin(), schema["enum"].end(), value) == 0) {
    return value.dump() + " is not one of " + schema["enum"].dump();
  }
  if (value.is_object()) return object_fault(value, schema);
  if (value.is_string()) return string_fault(value.get<std::string>(), schema);
  if (value.is_number() && value.get<double>() < schema.value("minimum", -1e300)) return "too small";
  if (!value.is_array()) return "";
  if (value.size() > schema.value("maxItems", std::size_t{1'000'000})) return "too many";
  for (const json& item : value) {
    if (std::string fault = fault_of(item, schema.value("items", json::object())); !fault.empty()) return fault;
  }
  return "";
}

// What the schema allows, and what it forbids.
struct Choices {
  std::vector<std::string> valid;
  std::vector<std::string> wrong;
};

Choices choices_of(const json& parameter) {
  const json& schema = resolve(parameter["schema"]);
  const std::string name = parameter["name"];
  if (schema.contains("enum")) {
    Choices choices;
    for (const json& word : schema["enum"]) choices.valid.push_back(word);
    choices.wrong = {"x", "0", choices.valid.front() + "x", "%00"};
    return choices;
  }
  const std::string format = schema.value("format", "");
  if (format == "uuid")
    return {{id_of(1).text(), id_of(2).text(), id_of(50).text()}, {"x", "1", id_of(1).text() + "0"}};
  if (format == "date-time") {
    if (name == "reportedStartTime") return {{"2026-01-01T00:00:00Z", "2026-01-02T00:00:00%2B00:00"}, {"x", "-", "1"}};
    return {{"2026-01-03T00:00:00Z", "2026-01-04T00:00:00+00:00Z"}, {"x", "2026-01-03T00:00:00+0", "2026-01-32"}};
  }
  REQUIRE(schema.contains("pattern"));
  return {{}, {"x", "00", "0"}};
}

struct Generated {
  std::string target;
  bool valid = true;  // By the document alone.
};

// Each parameter is taken as `fate` says for its place: valid, absent or wrong.
enum class Fate { kValid, kAbsent, kWrong };

Generated make_request(const std::string& path, const json& operation, const std::vector<Fate>& fates, Random& random) {
  Generated made{.target = path, .valid = true};
  char separator = '?';
  for (std::size_t i = 0; i < fates.size(); ++i) {
    const json& parameter = resolve(operation["parameters"][i]);
    const Choices choices = choices_of(parameter);
    const bool required = parameter["required"];
    Fate fate = fates[i];
    if (fate == Fate::kValid && choices.valid.empty()) fate = Fate::kAbsent;
    std::string value;
    if (fate == Fate::kValid) value = choices.valid[random.below(choices.valid.size())];
    if (fate == Fate::kWrong) value = choices.wrong[random.below(choices.wrong.size())];
    if (fate == Fate::kWrong || (fate == Fate::kAbsent && required)) made.valid = false;
    if (parameter["in"] == "path") {
      const std::string hole = "{" + parameter["name"].get<std::string>() + "}";
      made.target.replace(made.target.find(hole), hole.size(), value);
    } else if (fate != Fate::kAbsent) {
      made.target += separator + parameter["name"].get<std::string>() + "=" + value;
      separator = '&';
    }
  }
  return made;
}

// The site behind a real server, and one connection to it.
struct Served {
  Served() : server(options(site)), client(server.port()) {}
  static ServerOptions options(UsageSite& site) {
    UsageNode node("node-1");
    for (unsigned vm = 0; vm < 5; ++vm) node.add_usage("2026-01-02T05:00:00Z", vm, vm % 3, 1'000 + vm);
    node.add(node.usage("2026-01-02T06:00:00Z", 1, 1, {{id_of(77), 1ull << 60, 0}}));
    site.deliver(node, "2026-01-02T06:00:00Z");
    site.clock.t = testing::at("2026-01-05T10:00:00Z");
    ServerOptions options;
    options.routes = site.api().routes();
    return options;
  }

  // Asks, and checks the answer against the operation. Gives the status.
  int check(const std::string& target, const json& operation, const std::string& token) {
    const std::string head = token.empty() ? "" : "Authorization: Bearer " + token + "\r\n";
    const std::string answer = client.ask("GET " + target + " HTTP/1.1\r\nHost: x\r\n" + head + "\r\n");
    INFO(target);
    INFO(answer);
    const std::string status = std::to_string(testing::status_of(answer));
    REQUIRE(operation["responses"].contains(status));
    const json& declared = resolve(operation["responses"][status]);
    const auto content = declared["content"].begin();
    CHECK(answer.find("Content-Type: " + content.key()) != std::string::npos);
    const std::string body = answer.substr(answer.find("\r\n\r\n") + 4);
    const json value = content.key() == "application/json" ? json::parse(body, nullptr, false) : json(body);
    CHECK(fault_of(value, content.value()["schema"]).empty());
    return testing::status_of(answer);
  }

  UsageSite site;
  testing::ServerFixture server;
  testing::PlainClient client;
};

}  // namespace

TEST_CASE("the validator of these tests refuses what a schema forbids", "[openapi]") {
  const json page = {{"$ref", "#/components/schemas/UsagePage"}};
  const json whole = json::parse(R"({"value":[],"completeness":{"complete":true,"message":"","missing":[]}})");
  CHECK(fault_of(whole, page).empty());
  for (const char* const patch : {R"({"value":{}})", R"({"value":null})", R"({"more":1})", R"({"nextLink":1})",
                                  R"({"completeness":{"message":null}})", R"({"value":[{"id":"x"}]})",
                                  R"({"completeness":{"missing":[{"node":"n","from":"x","to":"x"}]}})"}) {
    json changed = whole;
    changed.merge_patch(json::parse(patch));
    INFO(changed.dump());
    CHECK_FALSE(fault_of(changed, page).empty());
  }
}

TEST_CASE("generated requests get the answers that the OpenAPI document declares", "[openapi]") {
  Served served;
  Random random(2026);
  std::map<int, int> statuses;
  for (const auto& [path, item] : document()["paths"].items()) {
    const json& operation = item["get"];
    const std::size_t count = operation.contains("parameters") ? operation["parameters"].size() : 0;
    std::vector<std::vector<Fate>> plans{std::vector<Fate>(count, Fate::kValid)};
    for (std::size_t i = 0; i < count; ++i) {
      for (const Fate fate : {Fate::kAbsent, Fate::kWrong}) {
        std::vector<Fate> plan(count, Fate::kValid);
        plan[i] = fate;
        for (int n = 0; n < 4; ++n) plans.push_back(plan);
      }
    }
    for (int n = 0; n < 150 && count > 0; ++n) {
      std::vector<Fate> plan(count);
      for (Fate& fate : plan) fate = static_cast<Fate>(random.chance(2, 3) ? 0 : 1 + random.below(2));
      plans.push_back(plan);
    }
    for (const std::vector<Fate>& plan : plans) {
      const Generated made = make_request(path, operation, plan, random);
      const int status = served.check(made.target, operation, "token-of-the-operator");
      ++statuses[status];
      INFO(made.target);
      CHECK(status == (made.valid ? 200 : 400));
      if (count == 0) continue;
      CHECK(served.check(made.target, operation, "") == 401);
      CHECK(served.check(made.target, operation, "token-of-nobody-here") == 401);
      served.check(made.target, operation, "token-of-the-first");
      served.check(made.target, operation, "token-of-the-provider");
    }
  }
  CHECK(statuses[200] > 50);
  CHECK(statuses[400] > 300);
}

TEST_CASE("every route is in the OpenAPI document", "[openapi]") {
  UsageSite site;
  std::set<std::string> documented;
  for (const auto& [path, item] : document()["paths"].items()) {
    documented.insert(std::regex_replace(path, std::regex("\\{[^}]*\\}"), "*"));
    CHECK(item.size() == 1);
    CHECK(item.contains("get"));
  }
  for (const HttpRoute& route : site.api().routes()) {
    // Those without a subscription only tell that it is missing.
    if (route.path.find('*') == std::string::npos && route.path != "/openapi.json") continue;
    INFO(route.path);
    CHECK(documented.count(route.path) == 1);
  }
}

}  // namespace nodemeter
