// What the meter remembers between samples: per node, and per VM. Stored as rows beside the entries they belong to, in
// the same commit (agent/meter_rows.h); layout in meter_state.cpp, versioned. Plain values.

#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "collectors/source.h"
#include "platform/clock.h"
#include "store/meters.h"

namespace nodemeter {

using Quantities = std::array<std::uint64_t, kMeterCount>;

inline std::uint64_t& at(Quantities& q, MeterIndex m) { return q[static_cast<std::size_t>(m)]; }
inline std::uint64_t at(const Quantities& q, MeterIndex m) { return q[static_cast<std::size_t>(m)]; }

// One VM's hour that is not yet written down. vcore milliseconds gather under kBaseVmHours; which of the two vcore
// meters they belong to is decided when the record is made, by the licence then in force.
struct OpenHour {
  Quantities quantity{};
  std::uint64_t covered_ms = 0;
  std::int64_t gap_ms = 0;
  std::uint32_t status = 0;
  std::uint32_t metered = 0;           // Bit per MeterIndex: a value is known, even if it is zero. Absent is not zero.
  std::uint32_t vcores = 0;            // Last in force within the hour.
  std::shared_ptr<const Owner> owner;  // Last in force within the hour. Never null in a VM's hours.
};

// The last usable reading of one counter.
struct CounterBase {
  std::uint64_t value = 0;
  MonotonicTime read_at{};

  bool operator==(const CounterBase&) const = default;
};

// One device's current run.
struct DeviceTrack {
  DeviceKind kind = DeviceKind::kCpu;
  std::string id;
  std::uint64_t run = 0;
  std::array<std::optional<CounterBase>, kCountersMax> base;

  bool operator==(const DeviceTrack&) const = default;
};

struct VmState {
  VmId vm;
  std::string name;
  bool present = false;      // Allocated here, as far as is known.
  bool left_behind = false;  // Migrated away; the definition stays and does not count until it starts here.
  Levels levels;
  std::shared_ptr<const Owner> owner = std::make_shared<const Owner>();
  BootId boot;           // Of `seen`.
  MonotonicTime seen{};  // Until here everything about this VM is accounted for.
  UtcTime seen_utc{};    // The same instant, for the case that the host reboots.
  std::vector<DeviceTrack> tracks;
  // Of a VM that stopped or left and was not read running since: if one of these runs is read again, it goes on.
  std::vector<DeviceTrack> former;
  Quantities registers{};                  // Sums of all records ever made.
  std::map<std::int64_t, OpenHour> hours;  // Key: hours since 1970.

  // An instant at which this VM was proven to have no process. A run seen later began after it. Stored if the VM is on:
  // of another one it is `seen`.
  std::optional<MonotonicTime> no_run_at;
  [[nodiscard]] std::optional<MonotonicTime> stored_no_run_at() const {
    return present && levels.power != Power::kOff ? no_run_at : std::nullopt;
  }

  // Not stored: what the last two readings showed, for the live view.
  struct Rates {
    std::uint64_t span_ms = 0;
    std::array<std::optional<std::uint64_t>, kMeterCount> delta;
  };
  Rates rates;

  // Not stored: this VM as its row says it. Null: the row is to be written.
  std::shared_ptr<const VmState> row;
};

struct NodeState {
  bool started = false;  // A sample was committed in this store.
  BootId boot;
  MonotonicTime last_sample{};
  MonotonicTime last_complete{};  // Last sample that listed every VM of the node.
  std::int64_t offset_ms = 0;     // UTC minus monotonic time, taken at the last sample.
  UtcTime last_utc{};
  bool synchronised = true;
  std::int64_t closed_until = 0;  // Hours since 1970 below this one were closed.

  // A stretch that nobody watches and that goes on, up to `last_utc`: not written down yet. No cause: there is none,
  // and the two numbers mean nothing.
  std::string gap_cause;
  UtcTime gap_from{};
  std::uint32_t gap_status = 0;
};

std::string encode_node_state(const NodeState& state);
std::optional<NodeState> decode_node_state(std::string_view bytes);
std::string encode_vm_state(const VmState& state);
std::optional<VmState> decode_vm_state(std::string_view bytes);

}  // namespace nodemeter
