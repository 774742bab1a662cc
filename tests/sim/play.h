// Plays a plan: the real agent against a simulated node, store, network and receiver, in virtual time.

#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "platform/digest.h"
#include "store/entry.h"
#include "store/journal.h"
#include "tests/sim/bookkeeper.h"
#include "tests/sim/far_end.h"
#include "tests/sim/node.h"
#include "tests/sim/plan.h"

namespace nodemeter {

// A mistake made on purpose, outside of the code under test: proof that the judges would see it.
enum class Flaw {
  kNone,
  kCommitForgotten,   // The store says that it wrote, once, and did not.
  kCommitTorn,        // The store writes the entries of one commit without its state, and dies.
  kCounterRunsAhead,  // The hypervisor shows more than was used.
  kReceiverForgets,   // The receiver acknowledges a batch, once, that it did not keep.
  kReceiverDeaf,      // Nothing is answered any more.
};

// Through which mapping the agent sees the node.
enum class Mapping {
  kPlain,   // The node's own readings.
  kHyperv,  // As a Hyper-V host's WMI and counters, read by the real sampler.
};

struct Outcome {
  std::vector<Entry> journal;
  std::vector<std::string> rows;  // The bytes of the same entries.
  std::vector<ParkedEntry> parked;
  FarEnd::Rows received;
  std::map<VmId, Truth> truth;
  std::int64_t first_sample_ms = 0;              // True time of the first durable sample of a store that was new.
  std::int64_t ended_ms = 0;                     // True time of the last sample.
  std::map<VmId, Bookkeeper::Account> accounts;  // VMs that were never seen have none.
  std::vector<std::int64_t> looks;               // True times of the durable samples.
  std::int64_t unwatched_ms = 0;
  std::vector<Bookkeeper::Gap> gaps;
  std::set<Sequence> ever_refused;
  std::vector<std::string> complaints;  // What was seen on the way: of durability, delivery, liveness.
  std::uint64_t acknowledged = 0;
  std::uint64_t samples = 0;
  std::uint64_t commits = 0;
  std::uint64_t requests = 0;
  std::uint64_t restarts = 0;
  std::array<std::uint64_t, kOpCount> injected{};
  std::string fingerprint;  // Of everything durable at both ends.
};

Outcome play(const Plan& plan, Flaw flaw = Flaw::kNone, Mapping mapping = Mapping::kPlain);

// The key with which the node of a world signs.
SigningKey signing_key(const Plan& plan);

}  // namespace nodemeter
