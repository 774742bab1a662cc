// Goal: what Azure Stack's usage API documents is answered as documented, and nobody sees what is not theirs.
// Method: requests as the published clients and scripts send them, against the routes over a small site; answers are
// compared whole or by the documented fields. Every row of uploader/aggregator/USAGE_API.md names its test here.

#include "uploader/aggregator/usage_api.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "tests/aggregator/plain_client.h"
#include "tests/aggregator/server_fixture.h"
#include "tests/aggregator/usage_site.h"

namespace nodemeter {
namespace {

using nlohmann::json;
using testing::at;
using testing::get;
using testing::id_of;
using testing::UsageNode;
using testing::UsageSite;

const std::string kOperator = "token-of-the-operator";
const std::string kProvider = "token-of-the-provider";
const std::string kFirst = "token-of-the-first";

const std::string kVersion = "api-version=2015-06-01-preview";
const std::string kDay = "reportedStartTime=2026-01-02T00%3a00%3a00Z&reportedEndTime=2026-01-03T00%3a00%3a00Z";

std::string provider_path(unsigned subscription = 50) {
  return "/subscriptions/" + id_of(subscription).text() +
         "/providers/Microsoft.Commerce.Admin/subscriberUsageAggregates";
}
std::string tenant_path(unsigned subscription) {
  return "/subscriptions/" + id_of(subscription).text() + "/providers/Microsoft.Commerce/usageAggregates";
}
std::string query(const std::string& rest) { return "?" + kVersion + "&" + rest; }

json body_of(const HttpAnswer& answer) {
  INFO(answer.body);
  CHECK(answer.type == "application/json");
  json parsed = json::parse(answer.body, nullptr, false);
  REQUIRE(parsed.is_object());
  return parsed;
}

json page(UsageApi& api, const std::string& target, const std::string& token) {
  const HttpAnswer answer = get(api, target, token);
  INFO(target);
  INFO(answer.body);
  REQUIRE(answer.status == 200);
  return body_of(answer);
}

// "<code>: <message>" of an answer with that status.
std::string fault(UsageApi& api, const std::string& target, const std::string& token, int status = 400) {
  const HttpAnswer answer = get(api, target, token);
  INFO(target);
  CHECK(answer.status == status);
  const json parsed = body_of(answer);
  REQUIRE(parsed.contains("error"));
  CHECK(parsed.size() == 1);
  CHECK(parsed["error"].size() == 2);
  return parsed["error"]["code"].get<std::string>() + ": " + parsed["error"]["message"].get<std::string>();
}

bool begins(const std::string& text, const std::string& start) {
  INFO(text);
  return text.rfind(start, 0) == 0;
}

// Subscription 1 has two VMs, 2 and 3 have one each; two hours of 2026-01-01 and one of 2026-01-02, reported within an
// hour. It is noon of 2026-01-04.
struct SmallSite : UsageSite {
  SmallSite() {
    node.begin("2026-01-01T00:00:00Z");
    node.add_usage("2026-01-01T22:00:00Z", 11, 1, 14'400'000);
    node.add_usage("2026-01-01T22:00:00Z", 21, 2, 7'200'000);
    node.close("2026-01-01T23:00:00Z");
    deliver(node, "2026-01-01T23:01:00Z");
    node.add_usage("2026-01-01T23:00:00Z", 11, 1, 14'400'000);
    node.add_usage("2026-01-01T23:00:00Z", 12, 1, 1'234'567);
    node.close("2026-01-02T00:00:00Z");
    deliver(node, "2026-01-02T00:01:00Z");
    node.add_usage("2026-01-02T00:00:00Z", 11, 1, 14'400'000);
    node.add_usage("2026-01-02T00:00:00Z", 31, 3, 3'600'000);
    node.close("2026-01-03T00:00:00Z");
    deliver(node, "2026-01-02T01:01:00Z");
    clock.t = at("2026-01-04T12:00:00Z");
  }
  UsageNode node{"node-1"};
};

// "<subscription> <start> <meter> <quantity>" of each row.
std::vector<std::string> rows_of(const json& page) {
  std::vector<std::string> rows;
  for (const json& item : page["value"]) {
    const json& p = item["properties"];
    rows.push_back(p["subscriptionId"].get<std::string>().substr(30) + " " +
                   p["usageStartTime"].get<std::string>().substr(0, 13) + " " + p["vmName"].get<std::string>() + " " +
                   p["meterName"].get<std::string>() + " " + p["quantity"].dump());
  }
  return rows;
}

}  // namespace

TEST_CASE("the provider API gives usage of all tenants in the documented form", "[usage_api]") {
  SmallSite site;
  const HttpAnswer answer =
      get(site.api(), provider_path() + query(kDay + "&aggregationGranularity=Hourly"), kOperator);
  REQUIRE(answer.status == 200);
  const json got = body_of(answer);
  CHECK_FALSE(got.contains("nextLink"));
  CHECK(rows_of(got) ==
        std::vector<std::string>{"000001 2026-01-01T23 vm-11 base-vm-hours 4", "000001 2026-01-01T23 vm-11 vm-hours 1",
                                 "000001 2026-01-01T23 vm-12 base-vm-hours 0.3429352778",
                                 "000001 2026-01-01T23 vm-12 vm-hours 1", "000001 2026-01-02T00 vm-11 base-vm-hours 4",
                                 "000001 2026-01-02T00 vm-11 vm-hours 1", "000003 2026-01-02T00 vm-31 base-vm-hours 1",
                                 "000003 2026-01-02T00 vm-31 vm-hours 1"});
  CHECK(got["value"][2] == json::parse(R"({
    "id": "/subscriptions/aa000000-0000-0000-0000-000000000001/providers/Microsoft.Commerce.Admin/UsageAggregate/aa000000-0000-0000-0000-000000000001-fab6eb84-500b-4a09-a8ca-7358f8bbaea5",
    "name": "aa000000-0000-0000-0000-000000000001-fab6eb84-500b-4a09-a8ca-7358f8bbaea5",
    "type": "Microsoft.Commerce.Admin/UsageAggregate",
    "properties": {
      "subscriptionId": "aa000000-0000-0000-0000-000000000001",
      "usageStartTime": "2026-01-01T23:00:00+00:00",
      "usageEndTime": "2026-01-02T00:00:00+00:00",
      "instanceData": "{\"Microsoft.Resources\":{\"resourceUri\":\"/subscriptions/aa000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/vm-12\",\"location\":\"local\",\"tags\":null,\"additionalInfo\":{\"vmId\":\"aa000000-0000-0000-0000-00000000000c\",\"vmName\":\"vm-12\",\"vcores\":4}}}",
      "quantity": 0.3429352778,
      "meterId": "fab6eb84-500b-4a09-a8ca-7358f8bbaea5",
      "meterName": "base-vm-hours",
      "unit": "vcore hours",
      "quantityBase": 1234567,
      "baseUnit": "vcore ms",
      "tenantId": "aa000000-0000-0000-0000-0000000003e9",
      "vm": "aa000000-0000-0000-0000-00000000000c",
      "vmName": "vm-12",
      "billable": true,
      "status": ""
    }})"));
}

TEST_CASE("instance data is a JSON document in a string, with tags as an object", "[usage_api]") {
  UsageSite site;
  site.clock.t = at("2026-01-04T12:00:00Z");
  UsageNode node("node-1");
  Entry entry = node.usage("2026-01-02T00:00:00Z", 11, 1, {{testing::meter_id(MeterIndex::kVmHours), 1, 0}});
  entry.tags = {{"cost \"centre\"", "a\\b"}, {"owner", "\xc3\xa4"}};
  node.add(entry);
  site.deliver(node, "2026-01-02T01:00:00Z");
  const json got = page(site.api(), tenant_path(1) + query(kDay), kFirst);
  const json inner = json::parse(got["value"][0]["properties"]["instanceData"].get<std::string>());
  CHECK(inner["Microsoft.Resources"]["tags"]["cost \"centre\""] == "a\\b");
  CHECK(inner["Microsoft.Resources"]["tags"]["owner"] == "\xc3\xa4");
  CHECK(inner["Microsoft.Resources"]["location"] == "local");
}

TEST_CASE("the older provider namespace answers the same", "[usage_api]") {
  SmallSite site;
  const std::string older =
      "/subscriptions/" + id_of(50).text() + "/providers/Microsoft.Commerce/subscriberUsageAggregates";
  const json got = page(site.api(), older + query(kDay), kOperator);
  CHECK(rows_of(got) == rows_of(page(site.api(), provider_path() + query(kDay), kOperator)));
  CHECK(got["value"][0]["type"] == "Microsoft.Commerce/UsageAggregate");
}

TEST_CASE("the tenant API gives one subscription, to itself and to an operator", "[usage_api]") {
  SmallSite site;
  const json got = page(site.api(), tenant_path(1) + query(kDay), kFirst);
  CHECK(rows_of(got) ==
        std::vector<std::string>{"000001 2026-01-01T00 vm-11 base-vm-hours 4", "000001 2026-01-01T00 vm-11 vm-hours 1",
                                 "000001 2026-01-01T00 vm-12 base-vm-hours 0.3429352778",
                                 "000001 2026-01-01T00 vm-12 vm-hours 1", "000001 2026-01-02T00 vm-11 base-vm-hours 4",
                                 "000001 2026-01-02T00 vm-11 vm-hours 1"});
  CHECK(got["value"][0]["type"] == "Microsoft.Commerce/UsageAggregate");
  CHECK(got["value"][0]["id"] == "/subscriptions/" + id_of(1).text() + "/providers/Microsoft.Commerce/UsageAggregate/" +
                                     got["value"][0]["name"].get<std::string>());
  CHECK(rows_of(page(site.api(), tenant_path(1) + query(kDay), kOperator)) == rows_of(got));
  // The tenant API has no subscriber: one that is sent changes nothing.
  CHECK(rows_of(page(site.api(), tenant_path(1) + query(kDay + "&subscriberId=" + id_of(2).text()), kFirst)) ==
        rows_of(got));
}

TEST_CASE("a delegated provider sees its direct tenants and no other", "[usage_api]") {
  SmallSite site;
  const std::string all = "reportedStartTime=2026-01-01&reportedEndTime=2026-01-04";
  UsageApi& api = site.api();
  const json got = page(api, provider_path() + query(all), kProvider);
  CHECK_FALSE(got["value"].empty());
  for (const json& item : got["value"]) CHECK(item["properties"]["subscriptionId"] != id_of(3).text());
  CHECK(
      rows_of(page(api, provider_path() + query(all + "&subscriberId=" + id_of(2).text()), kProvider)) ==
      std::vector<std::string>{"000002 2026-01-01T00 vm-21 base-vm-hours 2", "000002 2026-01-01T00 vm-21 vm-hours 1"});
  CHECK(begins(fault(api, provider_path() + query(all + "&subscriberId=" + id_of(3).text()), kProvider),
               "SubscriberIdIsNotDirectTenant: The subscription " + id_of(3).text()));
  CHECK(begins(fault(api, provider_path(51) + query(all), kProvider, 403), "AuthorizationFailed: "));
  CHECK(begins(fault(api, tenant_path(1) + query(all), kProvider, 403), "AuthorizationFailed: "));
}

TEST_CASE("a subscription that is deleted stays queryable", "[usage_api]") {
  // Nothing here knows which subscriptions exist: what was recorded stays, with and without its id in the question.
  SmallSite site;
  const std::string all = "reportedStartTime=2026-01-01&reportedEndTime=2026-01-04&subscriberId=" + id_of(2).text();
  CHECK(rows_of(page(site.api(), provider_path() + query(all), kOperator)).size() == 2);
  CHECK(rows_of(page(site.api(), provider_path() + query("reportedStartTime=2026-01-01&reportedEndTime=2026-01-02"),
                     kOperator)) == std::vector<std::string>{"000001 2026-01-01T00 vm-11 base-vm-hours 4",
                                                             "000001 2026-01-01T00 vm-11 vm-hours 1",
                                                             "000002 2026-01-01T00 vm-21 base-vm-hours 2",
                                                             "000002 2026-01-01T00 vm-21 vm-hours 1"});
  // And one that never was has no usage.
  CHECK(page(site.api(),
             provider_path() +
                 query("reportedStartTime=2026-01-01&reportedEndTime=2026-01-04&subscriberId=" + id_of(999).text()),
             kOperator)["value"]
            .empty());
}

TEST_CASE("without a known token there is no data", "[usage_api]") {
  SmallSite site;
  UsageApi& api = site.api();
  for (const std::string& token : {std::string(), std::string("token-of-nobody-at-all"), kFirst + "x"}) {
    const HttpAnswer answer = get(api, tenant_path(1) + query(kDay), token);
    CHECK(answer.status == 401);
    CHECK(answer.body.find("AuthenticationFailed") != std::string::npos);
    CHECK(answer.body.find("vm-") == std::string::npos);
    CHECK(std::find(answer.headers.begin(), answer.headers.end(),
                    std::pair<std::string, std::string>("WWW-Authenticate", "Bearer")) != answer.headers.end());
  }
  CHECK(begins(fault(api, tenant_path(2) + query(kDay), kFirst, 403), "AuthorizationFailed: "));
  CHECK(begins(fault(api, provider_path(1) + query(kDay), kFirst, 403), "AuthorizationFailed: "));
  CHECK(get(site.api("[]"), tenant_path(1) + query(kDay), "").status == 401);
}

TEST_CASE("times are understood as the published clients send them", "[usage_api]") {
  const UtcTime midnight = at("2026-01-02T00:00:00Z");
  for (const char* const text :
       {"2026-01-02T00:00:00Z", "2026-01-02T00:00:00.000Z", "2026-01-02T00:00:00+00:00", "2026-01-02T00:00:00+00:00Z",
        "2026-01-02T00:00:00 00:00", "2026-01-02T00:00:00 00:00Z", "2026-01-02T00:00:00",
        "2026-01-02T00:00:00.0000000Z", "2026-01-02", "2026-01-02T01:00:00+01:00", "2026-01-01T17:00:00-07:00"}) {
    INFO(text);
    CHECK(parse_api_time(text) == midnight);
  }
  for (const char* const text :
       {"", "Z", "2026-01-02T00:00:00ZZ", "2026-01-02T00:00:00+0000", "2026-13-02", "02/01/2026", "1767312000",
        "2026-01-02T24:00:00Z", "2026-01-02T00:00:00+01:00Z", "2026-01-02T00:00Z00", "2026-01-02 Z"}) {
    INFO(text);
    CHECK_FALSE(parse_api_time(text).has_value());
  }
  SmallSite site;
  UsageApi& api = site.api();
  const json wanted = page(api, tenant_path(1) + query(kDay), kFirst)["value"];
  for (const char* const zone : {"Z", "%2b00%3a00", "%2b00%3a00Z", "+00:00", "+00:00Z", ""}) {
    INFO(zone);
    CHECK(page(api,
               tenant_path(1) + query("reportedStartTime=2026-01-02T00:00:00" + std::string(zone) +
                                      "&reportedEndTime=2026-01-03T00%3A00%3A00" + zone),
               kFirst)["value"] == wanted);
  }
}

TEST_CASE("daily is the default, and hourly adds up to it", "[usage_api]") {
  SmallSite site;
  UsageApi& api = site.api();
  const std::string range = "reportedStartTime=2026-01-01&reportedEndTime=2026-01-04";
  const json plain = page(api, provider_path() + query(range), kOperator)["value"];
  for (const char* const word : {"daily", "Daily", "DAILY"}) {
    CHECK(page(api, provider_path() + query(range + "&aggregationGranularity=" + word), kOperator)["value"] == plain);
  }
  const json hourly = page(api, provider_path() + query(range + "&aggregationGranularity=hOurly"), kOperator)["value"];
  const auto sums = [](const json& rows) {
    std::map<std::string, std::uint64_t> by_day;
    for (const json& item : rows) {
      const json& p = item["properties"];
      by_day[p["usageStartTime"].get<std::string>().substr(0, 10) + p["vm"].get<std::string>() +
             p["meterId"].get<std::string>()] += p["quantityBase"].get<std::uint64_t>();
    }
    return by_day;
  };
  CHECK(hourly.size() > plain.size());
  CHECK(sums(hourly) == sums(plain));
  CHECK(plain[0]["properties"]["usageStartTime"] == "2026-01-01T00:00:00+00:00");
  CHECK(plain[0]["properties"]["usageEndTime"] == "2026-01-02T00:00:00+00:00");
}

TEST_CASE("the range is of reported time, or of usage time where that is asked for", "[usage_api]") {
  SmallSite site;
  UsageApi& api = site.api();
  const auto vms = [&](const std::string& by) {
    return rows_of(page(api, provider_path() + query(kDay + "&aggregationGranularity=hourly" + by), kOperator)).size();
  };
  CHECK(vms("") == 8);
  CHECK(vms("&by=Reported") == 8);
  CHECK(vms("&by=usage") == 4);
  // Start inclusive, end exclusive, to the millisecond of the arrival.
  UsageNode node("node-2");
  node.add_usage("2026-01-01T20:00:00Z", 41, 4, 1);
  site.deliver(node, "2026-01-03T00:00:00Z");
  CHECK(vms("") == 8);
  CHECK(
      rows_of(page(api, provider_path() + query("reportedStartTime=2026-01-03&reportedEndTime=2026-01-04"), kOperator))
          .size() == 2);
}

TEST_CASE("a late record is in the window in which it was reported, and in no other", "[usage_api]") {
  SmallSite site;
  UsageApi& api = site.api();
  const json before = page(api, provider_path() + query(kDay), kOperator)["value"];
  site.node.add_usage("2026-01-01T22:00:00Z", 11, 1, 600'000);
  site.deliver(site.node, "2026-01-03T10:00:00Z");
  CHECK(page(api, provider_path() + query(kDay), kOperator)["value"] == before);
  CHECK(
      rows_of(page(api, provider_path() + query("reportedStartTime=2026-01-03&reportedEndTime=2026-01-04"), kOperator))
          .front() == "000001 2026-01-01T00 vm-11 base-vm-hours 0.1666666667");
}

TEST_CASE("parameters that Azure Stack does not support, and unknown ones, change nothing", "[usage_api]") {
  SmallSite site;
  UsageApi& api = site.api();
  const json wanted = page(api, tenant_path(1) + query(kDay), kFirst)["value"];
  for (const char* const more : {"&showDetails=true", "&showDetails=nonsense", "&$filter=x", "&", "&=", "&a=b&a=c"}) {
    CHECK(page(api, tenant_path(1) + query(kDay + more), kFirst)["value"] == wanted);
  }
  CHECK(page(api, tenant_path(1) + "?api-version=1.0&" + kDay, kFirst)["value"] == wanted);
  CHECK(page(api, tenant_path(1) + query(kDay + "&continuationToken="), kFirst)["value"] == wanted);
  CHECK(page(api, provider_path() + query(kDay + "&subscriberId="), kOperator)["value"].size() == 8);
}

TEST_CASE("paths and parameter names are matched without regard to case, over a real connection", "[usage_api]") {
  SmallSite site;
  ServerOptions options;
  options.routes = site.api().routes();
  testing::ServerFixture server(std::move(options));
  testing::PlainClient client(server.port());
  const auto ask = [&](const std::string& target) {
    const std::string answer =
        client.ask("GET " + target + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + kOperator + "\r\n\r\n");
    INFO(answer);
    REQUIRE(testing::status_of(answer) == 200);
    return json::parse(answer.substr(answer.find("\r\n\r\n") + 4))["value"];
  };
  const json wanted = ask(tenant_path(1) + query(kDay));
  CHECK(wanted.size() == 6);
  std::string upper = id_of(1).text();
  for (char& c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  CHECK(ask("/SUBSCRIPTIONS/" + upper +
            "/Providers/microsoft.COMMERCE/UsageAggregates?API-Version=2015-06-01-Preview&"
            "reportedstartTime=2026-01-02T00:00:00+00:00Z&REPORTEDENDTIME=2026-01-03T00:00:00+00:00Z&showDetails=true&"
            "AggregationGranularity=Daily") == wanted);
  const std::string unknown = client.ask("GET " + tenant_path(1) + " HTTP/1.1\r\nHost: x\r\n\r\n");
  CHECK(testing::status_of(unknown) == 401);
  CHECK(unknown.find("WWW-Authenticate: Bearer\r\n") != std::string::npos);
}

TEST_CASE("NoApiVersion where the version is absent", "[usage_api]") {
  SmallSite site;
  UsageApi& api = site.api();
  CHECK(begins(fault(api, tenant_path(1) + "?" + kDay, kFirst), "NoApiVersion: "));
  CHECK(begins(fault(api, tenant_path(1) + "?api-version=&" + kDay, kFirst), "NoApiVersion: "));
  CHECK(begins(fault(api, provider_path(), kOperator), "NoApiVersion: "));
}

TEST_CASE("InvalidProperty names the property that is absent or wrong", "[usage_api]") {
  SmallSite site;
  UsageApi& api = site.api();
  const auto named = [&](const std::string& target, const std::string& property) {
    CHECK(begins(fault(api, target, kOperator), "InvalidProperty: The property '" + property + "' "));
  };
  named(tenant_path(1) + "?api-version=2099-01-01&" + kDay, "api-version");
  named(tenant_path(1) + query("reportedEndTime=2026-01-03"), "reportedStartTime");
  named(tenant_path(1) + query("reportedStartTime=&reportedEndTime=2026-01-03"), "reportedStartTime");
  named(tenant_path(1) + query("reportedStartTime=2026-01-02"), "reportedEndTime");
  named(tenant_path(1) + query("reportedStartTime=yesterday&reportedEndTime=2026-01-03"), "reportedStartTime");
  named(tenant_path(1) + query("reportedStartTime=2026-01-02&reportedEndTime=2026-02-30"), "reportedEndTime");
  named(tenant_path(1) + query(kDay + "&reportedStartTime=2026-01-01"), "reportedStartTime");
  named(tenant_path(1) + query(kDay + "&by=moon"), "by");
  named(tenant_path(1) + query("reportedStartTime=2026-01-03&reportedEndTime=2026-01-02"), "reportedEndTime");
  named(tenant_path(1) + query("reportedStartTime=2026-01-03&reportedEndTime=2026-01-03"), "reportedEndTime");
  named(tenant_path(1) + query("reportedStartTime=1990-01-01&reportedEndTime=2026-01-03"), "reportedStartTime");
  named(provider_path() + query(kDay + "&subscriberId=7"), "subscriberId");
  named("/subscriptions/7/providers/Microsoft.Commerce/usageAggregates" + query(kDay), "subscriptionId");
}

TEST_CASE("InvalidProperty where a time is not on the hour, or with daily aggregation not at midnight", "[usage_api]") {
  SmallSite site;
  UsageApi& api = site.api();
  const auto property = [&](const std::string& start, const std::string& end, const std::string& granularity) {
    const std::string text = fault(api,
                                   tenant_path(1) + query("reportedStartTime=" + start + "&reportedEndTime=" + end +
                                                          "&aggregationGranularity=" + granularity),
                                   kFirst);
    return text.substr(0, text.find("' "));
  };
  const std::string start = "InvalidProperty: The property 'reportedStartTime";
  const std::string end = "InvalidProperty: The property 'reportedEndTime";
  CHECK(property("2026-01-02T00:30:00Z", "2026-01-03T00:00:00Z", "hourly") == start);
  CHECK(property("2026-01-02T00:00:00.001Z", "2026-01-03T00:00:00Z", "hourly") == start);
  CHECK(property("2026-01-02T00:00:00Z", "2026-01-03T00:00:01Z", "hourly") == end);
  CHECK(property("2026-01-02T13:00:00Z", "2026-01-03T00:00:00Z", "daily") == start);
  CHECK(property("2026-01-02T00:00:00Z", "2026-01-03T13:00:00Z", "daily") == end);
  CHECK(get(api,
            tenant_path(1) + query("reportedStartTime=2026-01-02T13:00:00Z&reportedEndTime=2026-01-02T14:00:00Z&"
                                   "aggregationGranularity=hourly"),
            kFirst)
            .status == 200);
}

TEST_CASE("RequestEndTimeIsInFuture where the end lies in the future", "[usage_api]") {
  SmallSite site;
  UsageApi& api = site.api();
  const std::string hourly = "reportedStartTime=2026-01-02&aggregationGranularity=hourly&reportedEndTime=2026-01-04T";
  for (const std::string& path : {tenant_path(1), provider_path()}) {
    CHECK(begins(fault(api, path + query(hourly + "13:00:00Z"), kOperator), "RequestEndTimeIsInFuture: "));
    CHECK(begins(fault(api, path + query("reportedStartTime=2026-01-02&reportedEndTime=2026-01-05"), kOperator),
                 "RequestEndTimeIsInFuture: "));
    CHECK(get(api, path + query(hourly + "12:00:00Z"), kOperator).status == 200);
  }
}

TEST_CASE("SubscriptionIdMissingInRequest where the path has none", "[usage_api]") {
  SmallSite site;
  UsageApi& api = site.api();
  for (const char* const path :
       {"/subscriptions//providers/Microsoft.Commerce/usageAggregates",
        "/subscriptions/providers/Microsoft.Commerce/usageAggregates", "/providers/Microsoft.Commerce/usageAggregates",
        "/subscriptions//providers/Microsoft.Commerce.Admin/subscriberUsageAggregates"}) {
    CHECK(begins(fault(api, path + query(kDay), kOperator), "SubscriptionIdMissingInRequest: "));
  }
}

TEST_CASE("InvalidAggregationGranularity for anything but daily and hourly", "[usage_api]") {
  SmallSite site;
  UsageApi& api = site.api();
  for (const char* const word : {"monthly", "", "day", "hourly%20", "Hourly,Daily"}) {
    CHECK(begins(fault(api, tenant_path(1) + query(kDay + "&aggregationGranularity=" + word), kFirst),
                 "InvalidAggregationGranularity: "));
  }
}

TEST_CASE("ServiceUnavailable when too many queries are at work, or the store cannot be read", "[usage_api]") {
  SmallSite site;
  UsageApiOptions options;
  options.queries_max = 0;
  const HttpAnswer answer = get(site.api(UsageSite::kTokens, options), tenant_path(1) + query(kDay), kFirst);
  CHECK(answer.status == 503);
  CHECK(answer.body.find("\"ServiceUnavailable\"") != std::string::npos);
  CHECK(std::find(answer.headers.begin(), answer.headers.end(),
                  std::pair<std::string, std::string>("Retry-After", "5")) != answer.headers.end());
  // A seat that was taken is given back.
  options.queries_max = 1;
  UsageApi& api = site.api(UsageSite::kTokens, options);
  for (int i = 0; i < 3; ++i) CHECK(get(api, tenant_path(1) + query(kDay), kFirst).status == 200);
  // A row that does not decode: a sum without it would be a wrong bill.
  std::string key;
  const auto snapshot = site.kv->snapshot();
  REQUIRE((*snapshot)
              ->scan(Table::kEntries, row_prefix({site.node.id(), site.node.epoch()}, 2),
                     [&](std::string_view found, std::string_view value) {
                       key = found;
                       site.disk.damage(Table::kEntries, key, std::string(value.substr(0, value.size() - 1)));
                       return false;
                     })
              .ok());
  CHECK(begins(fault(api, tenant_path(1) + query("by=usage&reportedStartTime=2026-01-01&reportedEndTime=2026-01-02"),
                     kFirst, 503),
               "ServiceUnavailable: "));
}

TEST_CASE("of several faults the first in the documented order is told", "[usage_api]") {
  SmallSite site;
  UsageApi& api = site.api();
  std::string rest = "&aggregationGranularity=x&reportedStartTime=x&reportedEndTime=2030-01-01&subscriberId=x";
  CHECK(get(api, "/subscriptions//providers/Microsoft.Commerce/usageAggregates?x=y" + rest, "").status == 401);
  CHECK(begins(fault(api, "/subscriptions//providers/Microsoft.Commerce/usageAggregates?x=y" + rest, kFirst),
               "SubscriptionIdMissing"));
  CHECK(begins(fault(api, provider_path() + "?x=y" + rest, kProvider), "NoApiVersion"));
  CHECK(begins(fault(api, provider_path() + "?" + kVersion + rest, kProvider), "InvalidAggregationGranularity"));
  rest = "&reportedStartTime=x&reportedEndTime=2030-01-01&subscriberId=" + id_of(3).text();
  CHECK(begins(fault(api, provider_path() + "?" + kVersion + rest, kProvider), "InvalidProperty"));
  rest = "&reportedStartTime=2026-01-01&reportedEndTime=2030-01-01&subscriberId=" + id_of(3).text();
  CHECK(begins(fault(api, provider_path() + "?" + kVersion + rest, kProvider), "RequestEndTimeIsInFuture"));
  rest = "&reportedStartTime=2026-01-01&reportedEndTime=2026-01-02&continuationToken=0&subscriberId=" + id_of(3).text();
  CHECK(begins(fault(api, provider_path() + "?" + kVersion + rest, kProvider), "SubscriberIdIsNotDirectTenant"));
}

}  // namespace nodemeter
