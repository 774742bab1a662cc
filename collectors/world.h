// A simulated node: VMs that run by a scenario, and the ledger of what they truly used.
//
// The world knows only true, undisturbed time. It shares no arithmetic with the meter: the ledger integrates states
// exactly, in integers. `simulate`, the simulated source of a live agent and the seeded tests all drive this one.
// Threads: one at a time.

#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "collectors/scenario.h"
#include "collectors/source.h"

namespace nodemeter {

// Truth in base units. The names are those of the scenario's rates.
struct TrueUse {
  std::uint64_t vm_ms = 0;
  std::uint64_t vcore_ms = 0;
  std::uint64_t memory_mib_ms = 0;
  std::uint64_t disk_mib_ms = 0;
  std::uint64_t cpu_us = 0;
  std::array<std::uint64_t, kCountersMax> disk{};
  std::array<std::uint64_t, kCountersMax> nic{};
};

class World {
 public:
  explicit World(Scenario scenario);
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  // Moves true time on, applying the scenario's VM events on the way. Events of the node (crashes, steps, …) are the
  // caller's business. Requires t >= now().
  void advance_to(UtcTime t);
  [[nodiscard]] UtcTime now() const { return now_; }
  [[nodiscard]] const Scenario& scenario() const { return scenario_; }

  // The host goes down now: what ran, stops. It returns: what ran before runs again.
  void power_off();
  void power_on();

  // What a hypervisor shows now, and the events since the last sample; `clock` says what now() is called there.
  Sample take_sample(const ClockReading& clock, bool events_unbroken);
  void drop_events() { events_.clear(); }

  // Keyed by hours since 1970 and VM; licence is a property of the VM.
  using Ledger = std::map<std::pair<std::int64_t, VmId>, TrueUse>;
  [[nodiscard]] const Ledger& ledger() const { return ledger_; }

 private:
  struct Machine {
    const ScenarioVm* script = nullptr;
    bool present = false;
    Power power = Power::kOff;
    std::uint32_t vcores = 0;
    UtcTime run_began{};
    std::int64_t run_ms = 0;   // Spent running in this run.
    std::uint64_t cpu_us = 0;  // Of this run.
    std::uint64_t run = 0;
    UtcTime stuck_until{};
    bool restart = false;  // Runs again when the host returns.
  };
  struct Pending {
    UtcTime at;
    VmEvent event;
  };

  void integrate(UtcTime to);
  void apply(const ScenarioEvent& event);
  void begin_run(Machine& machine, UtcTime at);
  [[nodiscard]] std::vector<VmReading> readings(MonotonicTime monotonic) const;
  std::vector<VmEvent> take_events(MonotonicTime monotonic);
  void report(const Machine& machine, VmEventKind kind, const std::string& how);
  [[nodiscard]] Levels levels(const Machine& machine) const;
  [[nodiscard]] std::vector<DeviceReading> devices(const Machine& machine, MonotonicTime monotonic) const;

  Scenario scenario_;
  UtcTime now_{};
  std::size_t next_event_ = 0;
  std::map<VmId, Machine> machines_;
  std::vector<Pending> events_;
  Ledger ledger_;
  std::uint64_t runs_ = 0;
  bool host_up_ = true;
};

}  // namespace nodemeter
