// The real agent in virtual time against a scripted node: what was metered beside what was truly used.

#pragma once

#include <cstdint>
#include <filesystem>
#include <iosfwd>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "collectors/scenario.h"
#include "platform/result.h"
#include "store/entry.h"
#include "store/kv.h"
#include "store/meters.h"

namespace nodemeter {

// Hours since 1970, VM, meter.
using UsageKey = std::tuple<std::int64_t, VmId, MeterIndex>;
using UsageTotals = std::map<UsageKey, std::uint64_t>;  // Base units; zeros are left out.

struct UsageDifference {
  UsageKey key;
  std::uint64_t true_quantity = 0;
  std::uint64_t metered = 0;
  std::string reason;  // The gap or status that explains it; "" if nothing does.
};

struct SimulationResult {
  UsageTotals true_use;
  UsageTotals metered;
  UsageTotals received;
  std::vector<UsageDifference> differences;
  std::vector<Entry> journal;  // Everything that was committed, in order.
  std::uint64_t acknowledged = 0;
  std::uint64_t samples = 0;
  bool delivered = false;  // The backlog is empty and both ends hold the same rows.
};

// Runs `scenario` to its end into `store`, which must be empty. Deterministic: same scenario and seed, same entries.
// Errors are the journal's.
Result<SimulationResult> simulate(const Scenario& scenario, std::uint64_t seed, KeyValue& store);

struct SimulateOptions {
  std::filesystem::path scenario;
  std::filesystem::path state;
  std::uint64_t seed = 1;
  bool json = false;
};

// The verb. 0 done; 1 failed; 2 the scenario is wrong; 3 a difference that nothing explains.
int run_simulate(const SimulateOptions& options, std::ostream& out, std::ostream& err);

}  // namespace nodemeter
