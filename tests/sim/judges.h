// Judges of a simulated run. They read entries and the world's ledger; they share no code with the meter.
//
// Each returns its complaints as text; none means that the run was right.

#pragma once

#include <map>
#include <string>
#include <vector>

#include "agent/simulate.h"
#include "tests/sim/random_scenario.h"

namespace nodemeter {

using Complaints = std::vector<std::string>;

inline std::string name_of(const VmId& vm, MeterIndex meter) {
  return vm.text().substr(0, 8) + " " + std::string(meter_catalogue()[static_cast<std::size_t>(meter)].name);
}

// Sequence numbers run from 1 without holes; reported times never fall.
inline void judge_sequence(const SimulationResult& run, Complaints& complaints) {
  Sequence expected = 1;
  UtcTime reported{};
  for (const Entry& entry : run.journal) {
    if (entry.sequence != expected++) complaints.push_back("sequence: expected " + std::to_string(expected - 1));
    if (entry.reported_at < reported)
      complaints.push_back("sequence: reported time falls at " + std::to_string(entry.sequence));
    reported = entry.reported_at;
  }
}

// Every register is the sum of all quantities before and with it.
inline void judge_registers(const SimulationResult& run, Complaints& complaints) {
  std::map<std::pair<VmId, Uuid>, std::uint64_t> sums;
  for (const Entry& entry : run.journal) {
    for (const MeterValue& value : entry.meters) {
      std::uint64_t& sum = sums[{entry.vm, value.meter}];
      sum += value.quantity;
      if (sum != value.reading) complaints.push_back("registers: entry " + std::to_string(entry.sequence));
    }
  }
}

// What happened and was undone again while nobody watched cannot be known: a VM that left and came back looks as if it
// had stayed, one that shrank and grew as if it had not. By the rules that time is estimated.
inline bool undone_unseen(const DrawnScenario& drawn, const VmId& vm, ScenarioAction action) {
  if (!drawn.traits.agent_faults) return false;
  return std::any_of(drawn.scenario.events.begin(), drawn.scenario.events.end(),
                     [&](const ScenarioEvent& event) { return event.vm == vm && event.action == action; });
}

inline bool is_level(MeterIndex meter) {
  return meter <= MeterIndex::kVmHours || meter == MeterIndex::kMemoryHours || meter == MeterIndex::kDiskAllocatedHours;
}

// Metered never passes the truth; what is missing is marked, and exact where nothing is.
inline void judge_ledger(const DrawnScenario& drawn, const SimulationResult& run, Complaints& complaints) {
  constexpr std::uint32_t kMayLose = status_bit::kEstimated | status_bit::kGap | status_bit::kUsageLost |
                                     status_bit::kBaseline | status_bit::kCounterFell | status_bit::kRunChanged |
                                     status_bit::kCounterMissing;
  std::map<VmId, std::uint32_t> marks;
  std::map<std::pair<VmId, MeterIndex>, std::uint64_t> truth, metered;
  bool unwatched = false;
  for (const Entry& entry : run.journal) {
    unwatched = unwatched || entry.kind == EntryKind::kGap;
    if (entry.kind != EntryKind::kUsage) continue;
    marks[entry.vm] |= entry.status;
    for (const MeterValue& value : entry.meters) metered[{entry.vm, find_meter(value.meter)->index}] += value.quantity;
  }
  for (const auto& [key, quantity] : run.true_use) truth[{std::get<1>(key), std::get<2>(key)}] += quantity;
  auto keys = truth;
  keys.insert(metered.begin(), metered.end());
  for (const auto& [key, unused] : keys) {
    const std::uint64_t t = truth[key];
    const std::uint64_t m = metered[key];
    const std::string what =
        name_of(key.first, key.second) + ": true " + std::to_string(t) + ", metered " + std::to_string(m);
    const bool vcores = key.second <= MeterIndex::kWindowsVmHours;
    const bool excused = (is_level(key.second) && undone_unseen(drawn, key.first, ScenarioAction::kLeave)) ||
                         (vcores && undone_unseen(drawn, key.first, ScenarioAction::kResize));
    if (m > t && !excused) complaints.push_back("ledger: invented " + what);
    if (m < t && !unwatched && (marks[key.first] & kMayLose) == 0) complaints.push_back("ledger: lost " + what);
  }
}

// Covered + gap is the presence, to the millisecond; time is missing only where a gap entry says so.
inline void judge_presence(const DrawnScenario& drawn, const SimulationResult& run, Complaints& complaints) {
  std::map<VmId, std::int64_t> covered, gap, truth;
  std::int64_t declared = 0;
  for (const Entry& entry : run.journal) {
    if (entry.kind == EntryKind::kGap) declared += (entry.usage_end - entry.usage_start).count() * 1000;
    if (entry.kind != EntryKind::kUsage) continue;
    covered[entry.vm] += static_cast<std::int64_t>(entry.covered_ms);
    gap[entry.vm] += entry.gap_ms;
  }
  for (const auto& [key, quantity] : run.true_use) {
    if (std::get<2>(key) == MeterIndex::kVmHours) truth[std::get<1>(key)] += static_cast<std::int64_t>(quantity);
  }
  const bool watched = !drawn.traits.agent_faults && !drawn.traits.host_faults;
  for (const auto& [vm, presence] : truth) {
    const std::int64_t accounted = covered[vm] + gap[vm];
    const std::string what = vm.text().substr(0, 8) + ": present " + std::to_string(presence) + ", covered " +
                             std::to_string(covered[vm]) + ", gap " + std::to_string(gap[vm]);
    if (watched && (accounted != presence || gap[vm] != 0)) complaints.push_back("presence: " + what);
    if (accounted > presence && !undone_unseen(drawn, vm, ScenarioAction::kLeave) &&
        !(drawn.traits.clock_steps && drawn.traits.host_faults))
      complaints.push_back("presence: invented " + what);
    if (presence - accounted > declared && !(drawn.traits.clock_steps && drawn.traits.host_faults))
      complaints.push_back("presence: undeclared " + what);
  }
}

inline void judge_delivery(const SimulationResult& run, Complaints& complaints) {
  if (!run.delivered) complaints.push_back("delivery: the two ends differ or the backlog is not empty");
  if (run.received != run.metered) complaints.push_back("delivery: received totals differ from metered ones");
}

inline void judge_explanations(const SimulationResult& run, Complaints& complaints) {
  for (const UsageDifference& difference : run.differences) {
    if (!difference.reason.empty()) continue;
    complaints.push_back("explanation: nothing explains " +
                         name_of(std::get<1>(difference.key), std::get<2>(difference.key)) + ": true " +
                         std::to_string(difference.true_quantity) + ", metered " + std::to_string(difference.metered));
  }
}

inline Complaints judge(const DrawnScenario& drawn, const SimulationResult& run) {
  Complaints complaints;
  judge_sequence(run, complaints);
  judge_registers(run, complaints);
  judge_ledger(drawn, run, complaints);
  judge_presence(drawn, run, complaints);
  judge_delivery(run, complaints);
  judge_explanations(run, complaints);
  return complaints;
}

}  // namespace nodemeter
