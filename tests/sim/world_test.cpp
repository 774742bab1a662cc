// Goal: the agent is right in every order of events that a node can produce.
// Method: a seeded world. Each seed draws a scenario; the real agent runs through it in virtual time; judges hold its
// journal against the truth. A failure prints the seed; NODEMETER_SEED=<seed> replays that one.
//
//   NODEMETER_SEEDS    how many seeds (default 300)
//   NODEMETER_SEED_BASE  hexadecimal; continuous integration takes the commit
//   NODEMETER_MINUTES  run seeds for that long instead

#include <catch2/catch.hpp>
#include <chrono>
#include <cstdlib>
#include <iostream>

#include "agent/simulate.h"
#include "tests/sim/judges.h"
#include "tests/sim/memory_kv.h"
#include "tests/sim/random_scenario.h"

using namespace nodemeter;

namespace {

std::uint64_t number_from(const char* variable, std::uint64_t otherwise, int base) {
  const char* text = std::getenv(variable);
  return text == nullptr || *text == 0 ? otherwise : std::strtoull(text, nullptr, base);
}

SimulationResult run_seed(std::uint64_t seed, const DrawnScenario& drawn) {
  MemoryDisk disk;
  MemoryKv store(disk);
  const Result<SimulationResult> result = simulate(drawn.scenario, seed, store);
  INFO("seed " << seed);
  if (!result) FAIL("seed " << seed << ": " << result.error().message);
  return *result;
}

std::string told(std::uint64_t seed, const DrawnScenario& drawn, const Complaints& complaints) {
  std::string text = "NODEMETER_SEED=" + std::to_string(seed) + " (faults: " + drawn.traits.text() + ")\n";
  for (std::size_t i = 0; i < complaints.size() && i < 8; ++i) text += "  " + complaints[i] + "\n";
  return text;
}

}  // namespace

TEST_CASE("no seed makes a judge complain", "[world]") {
  const std::uint64_t only = number_from("NODEMETER_SEED", 0, 10);
  const std::uint64_t base = only != 0 ? only : number_from("NODEMETER_SEED_BASE", 1, 16);
  const std::uint64_t count = only != 0 ? 1 : number_from("NODEMETER_SEEDS", 300, 10);
  const std::uint64_t minutes = number_from("NODEMETER_MINUTES", 0, 10);
  const auto begin = std::chrono::steady_clock::now();
  std::map<ScenarioAction, std::uint64_t> faults;
  std::uint64_t run = 0, entries = 0, samples = 0, failures = 0;
  std::int64_t simulated_ms = 0;
  const auto more = [&] {
    if (minutes > 0) return std::chrono::steady_clock::now() - begin < std::chrono::minutes(minutes);
    return run < count;
  };
  for (; more() && failures < 5; ++run) {
    const std::uint64_t seed = base + run;
    const DrawnScenario drawn = draw_scenario(seed);
    const SimulationResult result = run_seed(seed, drawn);
    const Complaints complaints = judge(drawn, result);
    if (!complaints.empty()) ++failures;
    CHECK(told(seed, drawn, complaints) == told(seed, drawn, {}));
    for (const ScenarioEvent& event : drawn.scenario.events) ++faults[event.action];
    entries += result.journal.size();
    samples += result.samples;
    simulated_ms += (drawn.scenario.end - drawn.scenario.start).count();
  }
  const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin);
  std::cout << "seeds " << base << " to " << base + run - 1 << ": " << run << " worlds, " << samples << " samples, "
            << entries << " entries, " << failures << " with complaints, "
            << simulated_ms / std::max<std::int64_t>(1, took.count()) << " times real time\nfaults injected:";
  const char* const names[] = {
      "arrive",    "leave",      "start",       "stop",       "reboot",     "resize",          "pause",
      "resume",    "stuck",      "agent_crash", "power_loss", "clock_step", "aggregator_down", "aggregator_loses_ack",
      "disk_full", "source_down"};
  for (const auto& [action, n] : faults) std::cout << " " << names[static_cast<int>(action)] << " " << n;
  std::cout << "\n";
}

TEST_CASE("one scenario and one seed always give the same bytes", "[world]") {
  for (std::uint64_t seed = 7; seed < 12; ++seed) {
    const DrawnScenario drawn = draw_scenario(seed);
    const SimulationResult a = run_seed(seed, drawn);
    const SimulationResult b = run_seed(seed, drawn);
    REQUIRE(!a.journal.empty());
    CHECK(a.journal.back().digest.hex() == b.journal.back().digest.hex());
  }
}

TEST_CASE("canary: a doubled, a dropped and an altered record are all seen by the judges", "[world]") {
  // A scenario without faults, so that nothing may differ.
  std::uint64_t seed = 1;
  while (draw_scenario(seed).traits.text() != "") ++seed;
  const DrawnScenario drawn = draw_scenario(seed);
  const SimulationResult right = run_seed(seed, drawn);
  REQUIRE(judge(drawn, right).empty());
  const auto usage = std::find_if(right.journal.begin(), right.journal.end(), [](const Entry& entry) {
    return entry.kind == EntryKind::kUsage && entry.covered_ms > 0;
  });
  REQUIRE(usage != right.journal.end());
  const auto index = usage - right.journal.begin();

  SimulationResult doubled = right;
  doubled.journal.insert(doubled.journal.begin() + index, *usage);
  CHECK_FALSE(judge(drawn, doubled).empty());

  SimulationResult dropped = right;
  dropped.journal.erase(dropped.journal.begin() + index);
  CHECK_FALSE(judge(drawn, dropped).empty());

  SimulationResult altered = right;
  altered.journal[static_cast<std::size_t>(index)].covered_ms += 1;
  CHECK_FALSE(judge(drawn, altered).empty());
}
