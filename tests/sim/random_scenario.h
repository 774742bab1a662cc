// A scenario drawn from a seed: some faults off, the rest at wildly different rates.

#pragma once

#include <algorithm>
#include <string>

#include "collectors/scenario.h"
#include "platform/random.h"
#include "platform/text.h"

namespace nodemeter {

struct ScenarioTraits {
  bool agent_faults = false;  // agent_crash, source_down, disk_full: time that nobody watched.
  bool host_faults = false;   // power_loss.
  bool clock_steps = false;
  bool stuck = false;
  bool network_faults = false;
  std::string text() const {
    return std::string(agent_faults ? "agent " : "") + (host_faults ? "host " : "") + (clock_steps ? "clock " : "") +
           (stuck ? "stuck " : "") + (network_faults ? "network " : "");
  }
};

struct DrawnScenario {
  Scenario scenario;
  ScenarioTraits traits;
};

inline DrawnScenario draw_scenario(std::uint64_t seed) {
  Random random(seed);
  DrawnScenario drawn;
  ScenarioTraits& traits = drawn.traits;
  traits.agent_faults = random.chance(1, 2);
  traits.host_faults = random.chance(1, 4);
  traits.clock_steps = random.chance(1, 4);
  traits.stuck = random.chance(1, 2);
  traits.network_faults = random.chance(1, 2);

  Scenario& scenario = drawn.scenario;
  scenario.start = *parse_time("2026-01-01T00:00:00Z") + std::chrono::seconds(random.below(7200));
  const bool wide = random.chance(1, 8);  // Many VMs for an hour, or a few for a day.
  const std::int64_t seconds = wide ? random.between(600, 5400) : random.between(600, 6 * 3600);
  scenario.end = scenario.start + std::chrono::seconds(seconds) + Milliseconds(random.below(1000));
  constexpr std::int64_t kIntervals[] = {5, 10, 10, 30, 60, 300};
  scenario.sample_interval = std::chrono::seconds(kIntervals[random.below(std::size(kIntervals))]);
  const auto instant = [&] {
    const std::int64_t span = (scenario.end - scenario.start).count();
    return scenario.start + Milliseconds(random.between(0, span));
  };

  const std::uint64_t vms = wide ? 10 + random.below(50) : 1 + random.below(4);
  for (std::uint64_t i = 0; i < vms; ++i) {
    ScenarioVm vm;
    vm.id = VmId(random.uuid());
    vm.name = "vm-" + std::to_string(i % 3);  // Names repeat.
    vm.vcores = 1 + static_cast<std::uint32_t>(random.below(16));
    vm.memory_mib = random.below(65536);
    vm.owner.known = random.chance(3, 4);
    if (vm.owner.known) vm.owner.subscription = random.uuid();
    vm.owner.windows_licence = vm.owner.known && random.chance(1, 3);
    vm.owner.name = vm.name;
    vm.present_from = random.chance(2, 3) ? scenario.start : instant();
    vm.cpu_percent = static_cast<std::uint32_t>(random.below(101));
    if (random.chance(3, 4)) {
      vm.disks.push_back({"sda",
                          random.below(100'000),
                          {random.below(1000), random.below(1u << 20), random.below(7), random.below(99)}});
    }
    if (random.chance(3, 4))
      vm.nics.push_back({"eth0", {random.below(1000), random.below(1u << 20), random.below(7), random.below(99)}});
    scenario.vms.push_back(std::move(vm));
  }
  std::sort(scenario.vms.begin(), scenario.vms.end(), [](const auto& a, const auto& b) { return a.id < b.id; });

  const auto add = [&](ScenarioAction action, std::int64_t most_s, bool of_vm) {
    ScenarioEvent event;
    event.at = instant();
    event.action = action;
    event.span = std::chrono::seconds(random.between(1, most_s));
    if (of_vm) event.vm = scenario.vms[random.below(scenario.vms.size())].id;
    event.vcores = 1 + static_cast<std::uint32_t>(random.below(16));
    event.count = 1 + static_cast<std::uint32_t>(random.below(3));
    if (action == ScenarioAction::kLeave) event.how = random.chance(1, 2) ? "deleted" : "migrated";
    if (action == ScenarioAction::kArrive) event.how = random.chance(1, 2) ? "created" : "migrated";
    scenario.events.push_back(std::move(event));
  };
  const std::uint64_t busy = random.below(40);
  constexpr ScenarioAction kVmActions[] = {ScenarioAction::kStart,  ScenarioAction::kStop,   ScenarioAction::kReboot,
                                           ScenarioAction::kResize, ScenarioAction::kPause,  ScenarioAction::kResume,
                                           ScenarioAction::kLeave,  ScenarioAction::kArrive, ScenarioAction::kStart};
  for (std::uint64_t i = 0; i < busy; ++i) add(kVmActions[random.below(std::size(kVmActions))], 1, true);
  const auto some = [&](bool wanted, ScenarioAction action, std::int64_t most_s, bool of_vm) {
    if (!wanted) return;
    for (std::uint64_t i = random.below(4); i > 0; --i) add(action, most_s, of_vm);
  };
  some(traits.agent_faults, ScenarioAction::kAgentCrash, 1800, false);
  some(traits.agent_faults, ScenarioAction::kSourceDown, 900, false);
  some(traits.agent_faults, ScenarioAction::kDiskFull, 3600, false);
  some(traits.host_faults, ScenarioAction::kPowerLoss, 3600, false);
  some(traits.stuck, ScenarioAction::kStuck, 3600, true);
  some(traits.network_faults, ScenarioAction::kAggregatorDown, 7200, false);
  some(traits.network_faults, ScenarioAction::kAggregatorLosesAck, 1, false);
  if (traits.clock_steps) {
    for (std::uint64_t i = 1 + random.below(3); i > 0; --i) {
      add(ScenarioAction::kClockStep, 1, false);
      scenario.events.back().span = Milliseconds(random.between(-7'200'000, 7'200'000));
    }
  }
  std::stable_sort(scenario.events.begin(), scenario.events.end(),
                   [](const auto& a, const auto& b) { return a.at < b.at; });
  return drawn;
}

}  // namespace nodemeter
