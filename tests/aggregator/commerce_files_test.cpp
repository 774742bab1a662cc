// Not a test of its own: writes, for tests/clickhouse/commerce_cases.py, the rows of a small site and what the embedded
// aggregator makes of them, into the directory named by NODEMETER_COMMERCE_FILES.
//
//   rows-<step>-<node>.msgpack  registration-<step>.json  <name of the document>.json

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>

#include "platform/files.h"
#include "platform/random.h"
#include "tests/aggregator/usage_site.h"
#include "uploader/aggregator/commerce.h"

namespace nodemeter {
namespace {

using testing::at;
using testing::id_of;
using testing::meter_id;
using testing::UsageNode;
using testing::UsageSite;

constexpr unsigned kVms = 12;

std::string hour_text(int day, int hour) {
  const UtcTime t = at("2024-02-28T00:00:00Z") + std::chrono::hours(24 * day + hour);
  return iso_time(t, true);
}

struct Site : UsageSite {
  explicit Site(std::filesystem::path where) : directory(std::move(where)) {
    registration.name = "azurestack-1";
    registration.resource_group = "rg";
    registration.cloud_id = id_of(77).text();
    registration.partner_id = "4711";
    registration.subscription = id_of(100);
    registration.multi_tenancy = true;
    registration.tenants = {{.tenant = id_of(1'001), .subscription = id_of(201), .from = at("2024-02-28T12:00:00Z")},
                            {.tenant = id_of(1'002), .subscription = id_of(202), .from = at("2024-02-28T07:30:00Z")},
                            {.tenant = id_of(1'002), .subscription = id_of(203), .from = at("2024-02-29T07:30:00Z")},
                            {.tenant = id_of(1'002), .subscription = std::nullopt, .from = at("2024-02-29T07:30:00Z")},
                            {.tenant = id_of(1'003), .subscription = id_of(204), .from = at("2024-03-01T00:00:00Z")}};
    for (UsageNode* node : {&one, &other}) node->begin(hour_text(0, 0));
  }

  // An hour of every VM that is on the node, at most once per VM; VM 0 is on both, as if it moved.
  void hour(UsageNode& node, unsigned parity, int day, int hour) {
    for (unsigned vm = 0; vm < kVms; ++vm) {
      if (vm != 0 && vm % 2 != parity) continue;
      add(node, vm, day, hour, random.below(4) == 0 ? 0 : 1 + random.below(7'200'000));
    }
  }

  void add(UsageNode& node, unsigned vm, int day, int hour, std::uint64_t vcore_ms) {
    const MeterIndex index = vm % 3 == 0 ? MeterIndex::kWindowsVmHours : MeterIndex::kBaseVmHours;
    Entry entry = node.usage(hour_text(day, hour), vm, 1 + vm % 4,
                             {{meter_id(index), vcore_ms, 0}, {meter_id(MeterIndex::kVmHours), 3'600'000, 0}});
    entry.billable = vm != 5;
    if (vm == 7) entry.location = "bad \"place\"";
    if (vm == 8 && hour >= 9) entry.resource_uri += "-renamed";  // On one node only: there order is not in question.
    if (vm == 10)
      entry.meters[0].quantity = ~std::uint64_t{0} - static_cast<std::uint64_t>(hour);  // Sums pass 64 bits.
    node.add(entry);
  }

  void step(const std::string& name, const std::string& arrival, const std::string& now) {
    for (UsageNode* node : {&one, &other}) {
      const std::string rows = node->take();
      REQUIRE(replace_file(directory / ("rows-" + name + "-" + node->id().text() + ".msgpack"), rows).ok());
      deliver(rows, arrival);
    }
    // As a file of it is read: in order of time.
    const auto read = parse_registration(registration_json(registration));
    REQUIRE(read.ok());
    registration = *read;
    REQUIRE(replace_file(directory / ("registration-" + name + ".json"), registration_json(registration)).ok());
    MemoryKv own(state_disk);
    Commerce bridge(*kv, own, registration, default_meter_map(), {});
    const auto report = bridge.run(
        [this](const CommerceDocument& document) {
          return replace_file(directory / (document.name() + ".json"), document.text);
        },
        at(now));
    REQUIRE(report.ok());
  }

  std::filesystem::path directory;
  UsageNode one{"n1", 1};
  UsageNode other{"n3", 2};
  Registration registration;
  MemoryDisk state_disk;
  Random random{4711};
};

}  // namespace

TEST_CASE("rows and commerce documents as files", "[.commerce_files]") {
  const char* const where = std::getenv("NODEMETER_COMMERCE_FILES");
  REQUIRE(where != nullptr);
  Site site(where);
  for (int day = 0; day < 3; ++day) {
    for (int hour = 0; hour < 24; ++hour) {
      site.hour(site.one, 0, day, hour);
      site.hour(site.other, 1, day, hour);
    }
  }
  // The third day is not whole: one node has not closed it.
  site.one.close(hour_text(3, 0));
  site.other.close(hour_text(2, 20));
  site.step("1", "2024-03-02T00:10:00Z", "2024-03-02T01:00:00Z");

  // Later knowledge of a day that was forwarded, under another registration, and the end of the third day.
  site.registration.tenants.push_back(
      {.tenant = id_of(1'004), .subscription = id_of(205), .from = at("2024-02-01T00:00:00Z")});
  site.add(site.one, 2, 0, 5, 1'234'567);
  site.add(site.other, 3, 0, 5, 7'654'321);
  site.other.close(hour_text(3, 0));
  site.step("2", "2024-03-02T05:00:00Z", "2024-03-02T06:00:00Z");
}

}  // namespace nodemeter
