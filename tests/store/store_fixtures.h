// Shared by the tests of this layer: entries with everything in them, and what a call gave or had to give.

#pragma once

#include <catch2/catch.hpp>

#include "store/entry.h"
#include "store/journal.h"
#include "store/meters.h"
#include "tests/temporary_directory.h"

namespace nodemeter {

using testing::TemporaryDirectory;

inline UtcTime at_ms(std::int64_t ms) { return UtcTime(Milliseconds(ms)); }

// The entry that store/FORMAT.md shows in hex.
inline Entry document_entry() {
  Entry e;
  e.node = *NodeId::parse("node-0");
  e.epoch = *Epoch::parse("d7a82282-7e89-44f7-a107-b2ea2f4f5933");
  e.sequence = 1;
  e.kind = EntryKind::kUsage;
  e.vm = *VmId::parse("6f1c2d3e-0000-4000-8000-00000000000a");
  e.usage_start = std::chrono::sys_seconds(std::chrono::seconds(1767225600));
  e.usage_end = std::chrono::sys_seconds(std::chrono::seconds(1767229200));
  e.reported_at = at_ms(1767229230123);
  e.subscription = *Uuid::parse("11111111-2222-4333-8444-555555555555");
  e.tenant = *Uuid::parse("aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee");
  e.resource_uri = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/web-1";
  e.location = "local";
  e.vcores = 4;
  e.billable = true;
  e.covered_ms = 3'590'000;
  e.gap_ms = -10'000;
  e.status = status_bit::kEstimated | status_bit::kLate;
  e.meters = {{meter_catalogue()[0].id, 14'360'000, 14'360'000}, {meter_catalogue()[3].id, 900'000'000, 5'000'000'000}};
  e.tags = {{"cost", "42"}, {"team", "web"}};
  e.detail = R"({"note":"x"})";
  return e;
}

// An entry as the meter makes one for VM number `vm`, hour `hour`.
inline Entry usage_entry(std::uint64_t vm, std::int64_t hour) {
  Entry e;
  e.kind = EntryKind::kUsage;
  Uuid id;
  id.bytes[14] = static_cast<std::uint8_t>(vm >> 8);
  id.bytes[15] = static_cast<std::uint8_t>(vm);
  e.vm = VmId(id);
  e.usage_start = std::chrono::sys_seconds(std::chrono::hours(490'000 + hour));
  e.usage_end = e.usage_start + std::chrono::hours(1);
  e.subscription = *Uuid::parse("11111111-2222-4333-8444-555555555555");
  e.tenant = *Uuid::parse("aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee");
  e.resource_uri =
      "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/vm-" + std::to_string(vm);
  e.vcores = 4;
  e.billable = true;
  e.covered_ms = 3'600'000;
  for (const MeterInfo& meter : meter_catalogue()) {
    e.meters.push_back({meter.id, 1'000'003u * (vm + 1), 7'000'000'001u * (vm + 1)});
  }
  return e;
}

inline JournalOptions journal_options() {
  JournalOptions options;
  options.node = *NodeId::parse("node-1");
  options.location = "rack-7";
  return options;
}

inline void require_ok(const Status& status) {
  INFO((status.ok() ? std::string() : status.error().message));
  REQUIRE(status.ok());
}

template <class T>
T taken(Result<T> result) {
  INFO((result.ok() ? std::string() : result.error().message));
  REQUIRE(result.ok());
  return std::move(result).value();
}

}  // namespace nodemeter
