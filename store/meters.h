// The meter catalogue: what is metered, its identity, its units. Fixed by the product; order is the order in entries.

#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "platform/ids.h"

namespace nodemeter {

// Index into registers and open hours. In state rows: never renumber, append only.
enum class MeterIndex : std::uint8_t {
  kBaseVmHours = 0,
  kWindowsVmHours = 1,
  kVmHours = 2,
  kCpuTime = 3,
  kMemoryHours = 4,
  kDiskAllocatedHours = 5,
  kDiskReadBytes = 6,
  kDiskWriteBytes = 7,
  kDiskReadOperations = 8,
  kDiskWriteOperations = 9,
  kNetworkReceiveBytes = 10,
  kNetworkTransmitBytes = 11,
  kNetworkReceivePackets = 12,
  kNetworkTransmitPackets = 13,
};
inline constexpr std::size_t kMeterCount = 14;

struct MeterInfo {
  MeterIndex index;
  Uuid id;
  std::string_view name;
  std::string_view unit;       // What is shown.
  std::string_view base_unit;  // What is counted.
  std::uint64_t multiplier;    // shown = base * multiplier / divisor
  std::uint64_t divisor;
  std::string_view text;
};

const std::array<MeterInfo, kMeterCount>& meter_catalogue();
// By id, or by name without regard to case; null if there is no such meter.
const MeterInfo* find_meter(const Uuid& id);
const MeterInfo* find_meter(std::string_view id_or_name);

}  // namespace nodemeter
