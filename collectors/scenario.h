// A scripted node: which VMs there are, what they use, and what happens to them and to the agent (product.md, section
// 9).

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "collectors/source.h"
#include "platform/clock.h"
#include "platform/result.h"

namespace nodemeter {

struct ScenarioDisk {
  std::string id;
  std::uint64_t capacity_mib = 0;
  std::array<std::uint64_t, kCountersMax> per_s{};  // Read bytes, write bytes, read operations, write operations.
};

struct ScenarioNic {
  std::string id;
  std::array<std::uint64_t, kCountersMax> per_s{};  // Receive bytes, transmit bytes, receive packets, transmit packets.
};

struct ScenarioVm {
  VmId id;
  std::string name;
  std::uint32_t vcores = 1;
  std::uint64_t memory_mib = 0;
  Owner owner;
  UtcTime present_from{};  // Without an `arrive` event.
  bool arrives_by_event = false;
  std::uint32_t cpu_percent = 0;  // Of all its vcores.
  std::vector<ScenarioDisk> disks;
  std::vector<ScenarioNic> nics;
};

enum class ScenarioAction {
  kArrive,
  kLeave,
  kStart,
  kStop,
  kReboot,
  kResize,
  kPause,
  kResume,
  kStuck,
  kAgentCrash,
  kPowerLoss,
  kClockStep,
  kAggregatorDown,
  kAggregatorLosesAck,
  kDiskFull,
  kSourceDown,
};

struct ScenarioEvent {
  UtcTime at{};
  ScenarioAction action = ScenarioAction::kStart;
  VmId vm;              // Zero for events of the node.
  std::string how;      // arrive, leave.
  Milliseconds span{};  // for_s, down_s, by_s.
  std::uint32_t vcores = 0;
  std::uint32_t count = 0;
};

struct Scenario {
  UtcTime start{};
  UtcTime end{};
  Milliseconds sample_interval{10'000};
  std::vector<ScenarioVm> vms;        // Ordered by id.
  std::vector<ScenarioEvent> events;  // Ordered by `at`; events at one instant keep their order in the file.
};

// Limits of a scenario file; beyond them it is refused.
inline constexpr std::size_t kScenarioBytesMax = 16u << 20;
inline constexpr std::size_t kScenarioVmsMax = 4096;
inline constexpr Milliseconds kScenarioSpanMax{400ll * 86'400'000};

// kInvalidInput names the place in the document, the value and what is allowed.
Result<Scenario> parse_scenario(std::string_view json);

}  // namespace nodemeter
