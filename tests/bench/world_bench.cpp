// How fast a node is simulated: the real agent over 60 VMs, sampled every 10 seconds, against real time.
//
//   world_bench [--tiny]
//
// One day of a quiet node (60 VMs with two disks and a NIC each, all of them busy; the store in memory, the receiver
// answering), and the same with a node that is never quiet. The bound is 50 000 times real time.

#include <chrono>
#include <cstdio>
#include <cstring>

#include "agent/simulate.h"
#include "platform/random.h"
#include "platform/text.h"
#include "tests/sim/memory_kv.h"

namespace {

using namespace nodemeter;

Scenario sixty_vms(std::chrono::minutes length, std::uint64_t events) {
  Random random(60);
  Scenario scenario;
  scenario.start = *parse_time("2026-01-01T00:00:00Z");
  scenario.end = scenario.start + length;
  for (int i = 0; i < 60; ++i) {
    ScenarioVm vm;
    vm.id = VmId(uuid_from_name(Uuid{}, "bench/" + std::to_string(i)));
    vm.name = vm.owner.name = "vm-" + std::to_string(i);
    vm.vcores = 1 + static_cast<std::uint32_t>(random.below(16));
    vm.memory_mib = 1024 * (1 + random.below(64));
    vm.owner.known = true;
    vm.owner.subscription = random.uuid();
    vm.present_from = scenario.start;
    vm.cpu_percent = 5 + static_cast<std::uint32_t>(random.below(90));
    vm.disks.push_back({"sda", 65'536, {100'003, 200'003, 11, 23}});
    vm.disks.push_back({"sdb", 1'048'576, {5'003, 9'001, 3, 5}});
    vm.nics.push_back({"52:54:00:00:00:01", {70'001, 90'001, 70, 90}});
    scenario.vms.push_back(std::move(vm));
  }
  std::sort(scenario.vms.begin(), scenario.vms.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  constexpr ScenarioAction kActions[] = {ScenarioAction::kStop, ScenarioAction::kStart, ScenarioAction::kResize,
                                         ScenarioAction::kReboot};
  for (std::uint64_t i = 0; i < events; ++i) {
    ScenarioEvent event;
    event.at = scenario.start + Milliseconds{random.between(0, (scenario.end - scenario.start).count())};
    event.action = kActions[random.below(std::size(kActions))];
    event.vm = scenario.vms[random.below(scenario.vms.size())].id;
    event.vcores = 1 + static_cast<std::uint32_t>(random.below(16));
    scenario.events.push_back(std::move(event));
  }
  std::stable_sort(scenario.events.begin(), scenario.events.end(),
                   [](const auto& a, const auto& b) { return a.at < b.at; });
  return scenario;
}

bool measure(const char* what, const Scenario& scenario) {
  MemoryDisk disk;
  MemoryKv store(disk);
  const auto begin = std::chrono::steady_clock::now();
  const Result<SimulationResult> result = simulate(scenario, 1, store);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  if (!result || !result->delivered) {
    std::fprintf(stderr, "%s: %s\n", what, result ? "not delivered" : result.error().message.c_str());
    return false;
  }
  const double simulated = static_cast<double>((scenario.end - scenario.start).count()) / 1000;
  std::printf("%s: %.0f s of 60 VMs in %.2f s: %.0f times real time, %.1f us per sample, %zu entries\n", what,
              simulated, took.count(), simulated / took.count(),
              took.count() * 1e6 / static_cast<double>(result->samples), result->journal.size());
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  const bool tiny = argc > 1 && std::strcmp(argv[1], "--tiny") == 0;
  const std::chrono::minutes length = tiny ? std::chrono::minutes{70} : std::chrono::hours{24};
  const bool quiet = measure("quiet node", sixty_vms(length, 0));
  const bool busy = measure("busy node", sixty_vms(length, tiny ? 50 : 5'000));
  return quiet && busy ? 0 : 1;
}
