// Goal: what Azure is told of a day is exactly what was billable on it, once, by who pays, and never rewritten.
// Method: a small site over several days; deliveries are gathered, refused, and cut off by crashes; the sum of all
// parts is compared with an independent sum of the rows.

#include "uploader/aggregator/commerce.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <sstream>

#include "platform/files.h"
#include "store/lmdb_kv.h"
#include "tests/aggregator/server_fixture.h"
#include "tests/aggregator/usage_site.h"
#include "tests/temporary_directory.h"
#include "uploader/aggregator/commerce_verb.h"
#include "uploader/curl_global.h"

namespace nodemeter {
namespace {

using nlohmann::json;
using testing::at;
using testing::id_of;
using testing::meter_id;
using testing::TemporaryDirectory;
using testing::UsageNode;
using testing::UsageSite;

const Uuid kWindowsCommerce = *Uuid::parse("fb8c0713-ea20-40bf-901f-5560fd3f6330");

struct Bridge : UsageSite {
  Bridge() {
    registration.name = "azurestack-1";
    registration.cloud_id = "cloud-1";
    registration.subscription = id_of(100);
    // Tenants of subscriptions 1 and 2 are 1001 and 1002.
    registration.tenants = {{.tenant = id_of(1'001), .subscription = id_of(201), .from = at("2026-01-01T12:00:00Z")}};
    node.begin("2026-01-01T00:00:00Z");
  }

  void hour(const std::string& t, unsigned vm, unsigned subscription, std::uint64_t vcore_ms, bool windows = false,
            bool billable = true) {
    Entry entry = node.usage(t, vm, subscription,
                             {{meter_id(windows ? MeterIndex::kWindowsVmHours : MeterIndex::kBaseVmHours), vcore_ms, 0},
                              {meter_id(MeterIndex::kVmHours), 3'600'000, 0}});
    entry.billable = billable;
    node.add(entry);
  }

  Result<CommerceReport> run(const std::string& now, const MeterMap& map = default_meter_map()) {
    MemoryKv own(state_disk);
    Commerce bridge(*kv, own, registration, map, expected);
    return bridge.run(
        [this](const CommerceDocument& document) -> Status {
          if (refuse > 0) {
            --refuse;
            return Error{ErrorCode::kUnavailable, "not now"};
          }
          const auto [at, fresh] = taken.emplace(document.name(), document.text);
          if (!fresh) CHECK(at->second == document.text);
          ++deliveries;
          return Done{};
        },
        at(now));
  }

  // "payer subscription vm meter start quantityBase" of a document.
  std::vector<std::string> records(const std::string& name) {
    std::vector<std::string> lines;
    REQUIRE(taken.count(name) == 1);
    const json document = json::parse(taken[name]);
    for (const json& r : document["records"]) {
      lines.push_back(r["billingSubscriptionId"].get<std::string>().substr(33) + " " +
                      r["subscriptionId"].get<std::string>().substr(33) + " " +
                      r["additionalInfo"]["vmId"].get<std::string>().substr(33) + " " +
                      r["meterId"].get<std::string>().substr(0, 8) + " " + r["quantity"].dump() + " " +
                      r["quantityBase"].dump());
    }
    return lines;
  }

  UsageNode node{"node-1"};
  Registration registration;
  MemoryDisk state_disk;
  std::map<std::string, std::string> taken;
  int refuse = 0;
  int deliveries = 0;
};

using Lines = std::vector<std::string>;

}  // namespace

TEST_CASE("a complete day becomes records of 24 hours, by payer, VM and billed meter", "[commerce]") {
  Bridge b;
  for (int h = 10; h < 14; ++h) {
    b.hour("2026-01-01T" + std::to_string(h) + ":00:00Z", 11, 1, 7'200'000);
    b.hour("2026-01-01T" + std::to_string(h) + ":00:00Z", 21, 2, 3'600'000, true);
    b.hour("2026-01-01T" + std::to_string(h) + ":00:00Z", 31, 2, 3'600'000, false, false);
  }
  b.node.close("2026-01-02T00:00:00Z");
  b.deliver(b.node, "2026-01-02T00:01:00Z");
  const auto report = b.run("2026-01-02T03:00:00Z");
  REQUIRE(report.ok());
  CHECK(report->delivered == Lines{"commerce-2026-01-01-1"});
  CHECK(report->records == 3);
  CHECK(report->waiting.empty());
  // The tenant's own subscription pays from noon on; what is not billable, and the VM hours, are not there.
  CHECK(b.records("commerce-2026-01-01-1") ==
        Lines{"064 001 00b fab6eb84 4 14400000", "064 002 015 fb8c0713 4 14400000", "0c9 001 00b fab6eb84 4 14400000"});
  const json document = json::parse(b.taken["commerce-2026-01-01-1"]);
  CHECK(document["cloudId"] == "cloud-1");
  CHECK(document["records"][1] == json::parse(R"({
    "meterId": "fb8c0713-ea20-40bf-901f-5560fd3f6330", "quantity": 4, "unit": "vcore hours", "quantityBase": 14400000,
    "location": "local",
    "resourceUri": "/subscriptions/aa000000-0000-0000-0000-000000000002/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/vm-21",
    "subscriptionId": "aa000000-0000-0000-0000-000000000002",
    "billingSubscriptionId": "aa000000-0000-0000-0000-000000000064",
    "usageStartTime": "2026-01-01T00:00:00+00:00", "usageEndTime": "2026-01-02T00:00:00+00:00",
    "localMeterId": "9cd92d4c-bafd-4492-b278-bedc2de8232a",
    "additionalInfo": {"subscriptionId": "aa000000-0000-0000-0000-000000000002",
                       "tenantId": "aa000000-0000-0000-0000-0000000003ea",
                       "vmId": "aa000000-0000-0000-0000-000000000015"}})"));
}

TEST_CASE("a day is delivered once, and not before it is over and complete", "[commerce]") {
  Bridge b;
  b.hour("2026-01-01T05:00:00Z", 11, 1, 1);
  b.hour("2026-01-02T05:00:00Z", 11, 1, 2);
  b.node.close("2026-01-02T06:00:00Z");
  b.deliver(b.node, "2026-01-02T06:01:00Z");
  // Today is not over even if its first hours are whole.
  auto report = b.run("2026-01-02T07:00:00Z");
  REQUIRE(report.ok());
  CHECK(report->delivered == Lines{"commerce-2026-01-01-1"});
  for (int i = 0; i < 3; ++i) CHECK(b.run("2026-01-02T08:00:00Z")->delivered.empty());
  report = b.run("2026-01-03T01:00:00Z");
  REQUIRE(report.ok());
  CHECK(report->delivered.empty());
  CHECK(report->waiting == "2026-01-02 waits for the manifests of node node-1 from 2026-01-02T06:00:00Z on");
  // A configured node that has never reported.
  b.expected = {{.id = b.node.id(), .since = 0}, {.id = *NodeId::parse("node-2"), .since = 0}};
  b.node.close("2026-01-03T00:00:00Z");
  b.deliver(b.node, "2026-01-03T01:00:00Z");
  report = b.run("2026-01-03T02:00:00Z");
  CHECK(report->waiting == "2026-01-02 waits for the manifests of node node-2 from 2026-01-02T00:00:00Z on");
  b.expected.pop_back();
  CHECK(b.run("2026-01-03T02:00:00Z")->delivered == Lines{"commerce-2026-01-02-1"});
  CHECK(b.deliveries == 2);
}

TEST_CASE("later knowledge is a further part, by the payers of then, and what was forwarded stays", "[commerce]") {
  Bridge b;
  b.hour("2026-01-01T05:00:00Z", 11, 1, 3'600'000);
  b.node.close("2026-01-02T00:00:00Z");
  b.deliver(b.node, "2026-01-02T00:01:00Z");
  REQUIRE(b.run("2026-01-02T03:00:00Z").ok());
  const std::string first = b.taken["commerce-2026-01-01-1"];
  b.registration.tenants = {{.tenant = id_of(1'001), .subscription = id_of(202), .from = at("2026-01-01T00:00:00Z")}};
  CHECK(b.run("2026-01-02T04:00:00Z")->delivered.empty());
  b.hour("2026-01-01T05:00:00Z", 11, 1, 600'000);
  b.deliver(b.node, "2026-01-05T00:00:00Z");
  CHECK(b.run("2026-01-05T03:00:00Z")->delivered == Lines{"commerce-2026-01-01-2"});
  CHECK(b.records("commerce-2026-01-01-2") == Lines{"0ca 001 00b fab6eb84 0.1666666667 600000"});
  CHECK(b.taken["commerce-2026-01-01-1"] == first);
  // Later knowledge that nobody pays for makes no part.
  b.hour("2026-01-01T05:00:00Z", 31, 1, 600'000, false, false);
  b.deliver(b.node, "2026-01-06T00:00:00Z");
  CHECK(b.run("2026-01-06T03:00:00Z")->delivered.empty());
  b.hour("2026-01-01T05:00:00Z", 11, 1, 1);
  b.deliver(b.node, "2026-01-07T00:00:00Z");
  CHECK(b.run("2026-01-07T03:00:00Z")->delivered == Lines{"commerce-2026-01-01-3"});
}

TEST_CASE("a delivery that fails is repeated with the same bytes, whatever arrived meanwhile", "[commerce]") {
  Bridge b;
  b.hour("2026-01-01T05:00:00Z", 11, 1, 3'600'000);
  b.node.close("2026-01-02T00:00:00Z");
  b.deliver(b.node, "2026-01-02T00:01:00Z");
  b.refuse = 1;
  const auto failed = b.run("2026-01-02T03:00:00Z");
  REQUIRE_FALSE(failed.ok());
  CHECK(failed.error().message == "commerce-2026-01-01-1: not now");
  b.hour("2026-01-01T05:00:00Z", 11, 1, 600'000);
  b.deliver(b.node, "2026-01-02T04:00:00Z");
  b.registration.tenants.clear();
  CHECK(b.run("2026-01-02T05:00:00Z")->delivered == Lines{"commerce-2026-01-01-1", "commerce-2026-01-01-2"});
  CHECK(b.records("commerce-2026-01-01-1") == Lines{"064 001 00b fab6eb84 1 3600000"});
  CHECK(b.records("commerce-2026-01-01-2") == Lines{"064 001 00b fab6eb84 0.1666666667 600000"});
}

TEST_CASE("a crash at any commit loses nothing and bills nothing twice", "[commerce]") {
  for (const MemoryDisk::Fault fault :
       {MemoryDisk::Fault::kFull, MemoryDisk::Fault::kUnknownLost, MemoryDisk::Fault::kUnknownWritten}) {
    for (std::uint64_t after = 0; after < 10; ++after) {
      Bridge b;
      std::uint64_t sum = 0;
      for (int day = 1; day < 5; ++day) {
        const std::string date = "2026-01-0" + std::to_string(day);
        b.hour(date + "T05:00:00Z", 11, 1, static_cast<std::uint64_t>(day) * 1'000);
        sum += static_cast<std::uint64_t>(day) * 1'000;
        if (day == 3) b.hour("2026-01-01T05:00:00Z", 11, 1, 7), sum += 7;
        b.node.close("2026-01-0" + std::to_string(day + 1) + "T00:00:00Z");
        b.deliver(b.node, "2026-01-0" + std::to_string(day + 1) + "T00:01:00Z");
        if (day == 2) b.state_disk.fail(fault, after);
        (void)b.run("2026-01-0" + std::to_string(day + 1) + "T01:00:00Z");
      }
      REQUIRE(b.run("2026-01-06T01:00:00Z").ok());
      std::uint64_t billed = 0;
      for (const auto& [name, text] : b.taken) {
        const json document = json::parse(text);
        for (const json& r : document["records"]) billed += r["quantityBase"].get<std::uint64_t>();
      }
      INFO("fault " << static_cast<int>(fault) << " after " << after);
      CHECK(billed == sum);
    }
  }
}

TEST_CASE("simulated usage is never billed", "[commerce]") {
  Bridge b;
  Entry entry = b.node.usage("2026-01-01T05:00:00Z", 11, 1, {{meter_id(MeterIndex::kBaseVmHours), 3'600'000, 0}});
  entry.status = status_bit::kSimulated;
  b.node.add(entry);
  b.node.close("2026-01-02T00:00:00Z");
  b.deliver(b.node, "2026-01-02T00:01:00Z", {.allow_simulated = true});
  CHECK(b.run("2026-01-02T03:00:00Z")->delivered == Lines{"commerce-2026-01-01-1"});
  CHECK(b.records("commerce-2026-01-01-1").empty());
}

TEST_CASE("a meter map says what is wrong with it, and never bills the same time twice", "[commerce]") {
  const auto fault = [](const std::string& text) {
    const auto map = parse_meter_map(text);
    REQUIRE_FALSE(map.ok());
    return map.error().message;
  };
  CHECK(fault("[]") == "meter map: expected a JSON object of meters");
  CHECK(fault("{}") == "meter map: expected a JSON object of meters");
  CHECK(fault(R"({"x":"y"})") == "meter map: there is no meter \"x\"");
  CHECK(fault(R"({"base-vm-hours":"y"})") == "meter map: \"base-vm-hours\" needs the id of a commerce meter (UUID)");
  CHECK(fault(R"({"vm-hours":"fb8c0713-ea20-40bf-901f-5560fd3f6330"})").find("is not billed upstream") !=
        std::string::npos);
  CHECK(fault(R"({"base-vm-hours":"fb8c0713-ea20-40bf-901f-5560fd3f6330",
                  "FAB6EB84-500B-4A09-A8CA-7358F8BBAEA5":"fb8c0713-ea20-40bf-901f-5560fd3f6330"})") ==
        "meter map: \"base-vm-hours\" is given twice");
  const auto map = parse_meter_map(R"({"windows-vm-hours":"fb8c0713-ea20-40bf-901f-5560fd3f6330"})");
  REQUIRE(map.ok());
  CHECK(map->at(meter_id(MeterIndex::kWindowsVmHours)) == kWindowsCommerce);
  CHECK(default_meter_map().size() == 2);
}

TEST_CASE("the verb delivers to files and to a URL, and stays silent where nothing is reported", "[commerce]") {
  const CurlGlobal curl;
  REQUIRE(curl.ready());
  TemporaryDirectory directory;
  const std::filesystem::path state = directory.file("state");
  {
    REQUIRE(make_state_directory(state).ok());
    REQUIRE(make_state_directory(state / "rows").ok());
    const auto kv = open_lmdb(state / "rows", LmdbOptions{.size_max_bytes = 64u << 20});
    REQUIRE(kv.ok());
    const auto store = AggregatorStore::open(**kv);
    REQUIRE(store.ok());
    UsageNode node("node-1");
    node.begin("2026-01-01T00:00:00Z");
    node.add_usage("2026-01-01T05:00:00Z", 11, 1, 3'600'000);
    node.close("2026-01-02T00:00:00Z");
    const std::string rows = node.take();
    const auto batch = decode_batch({}, rows, {});
    REQUIRE((*store)->store(std::get<IngestBatch>(batch), at("2026-01-02T00:01:00Z")).ok());
  }
  Registration registration;
  registration.name = "r";
  registration.resource_group = "g";
  registration.subscription = id_of(100);
  CommerceCommand command;
  command.state = state;
  command.registration_file = directory.file("registration.json");
  command.json = true;
  std::ostringstream out;
  std::ostringstream err;
  std::vector<Milliseconds> pauses;
  CommerceWorld world{.now = at("2026-01-02T03:00:00Z"),
                      .sleep = [&](Milliseconds pause) { pauses.push_back(pause); },
                      .out = out,
                      .err = err};
  const auto run = [&] {
    out.str("");
    err.str("");
    return commerce(command, world);
  };
  CHECK(run() == 2);
  command.target = directory.file("out");
  REQUIRE(make_state_directory(command.target).ok());
  CHECK(run() == 2);
  for (const BillingModel model : {BillingModel::kCapacity, BillingModel::kDevelopment}) {
    registration.billing_model = model;
    REQUIRE(replace_file(command.registration_file, registration_json(registration)).ok());
    CHECK(run() == 0);
    CHECK(out.str().empty());
    CHECK(err.str().find("not reported with the billing model") != std::string::npos);
  }
  command.force = true;
  CHECK(run() == 0);
  CHECK(json::parse(out.str())["delivered"] == json::array({"commerce-2026-01-01-1"}));
  const auto file = read_file(directory.file("out/commerce-2026-01-01-1.json"), 1u << 20);
  REQUIRE(file.ok());
  CHECK(json::parse(*file)["records"].size() == 1);
  CHECK(run() == 0);
  CHECK(json::parse(out.str())["delivered"].empty());

  // To a URL: busy first, then taken; the name and the digest of the bytes come with it.
  std::filesystem::remove_all(state / "commerce");
  std::mutex mutex;  // The server's workers take turns.
  std::vector<std::string> taken_there;
  std::vector<int> statuses{503, 200};
  const auto received = [&] {
    const std::lock_guard lock(mutex);
    return taken_there;
  };
  ServerOptions options;
  options.routes = {{"POST", "/take", [&](const HttpRequest& request, const std::vector<std::string>&) {
                       const std::lock_guard lock(mutex);
                       taken_there.push_back(request.header("nodemeter-commerce") + " " + request.body);
                       HttpAnswer answer;
                       answer.status = statuses.at(taken_there.size() - 1);
                       return answer;
                     }}};
  testing::ServerFixture server(std::move(options));
  command.target = server.url() + "take";
  CHECK(run() == 0);
  std::vector<std::string> got = received();
  REQUIRE(got.size() == 2);
  CHECK(got[0] == got[1]);
  CHECK(got[0].rfind("commerce-2026-01-01-1:", 0) == 0);
  CHECK(got[0].substr(got[0].find(' ') + 1) == *file);
  CHECK(pauses.size() == 1);
  // Refused for good: kept, and said.
  std::filesystem::remove_all(state / "commerce");
  {
    const std::lock_guard lock(mutex);
    taken_there.clear();
    statuses = {403, 200};
  }
  CHECK(run() == 1);
  CHECK(err.str().find("HTTP 403") != std::string::npos);
  CHECK(run() == 0);
  got = received();
  REQUIRE(got.size() == 2);
  CHECK(got[0] == got[1]);
}

}  // namespace nodemeter
