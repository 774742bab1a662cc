// Gets back from a damaged store every entry that still verifies.
//
// The data file is swept from its first byte to its last, whatever its pages say about each other: a row is canonical
// and carries its epoch, number and digest, so it is known when it is seen, also on a page that nothing refers to any
// more. What was found is put in order and held against the chain.

#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "platform/result.h"
#include "store/entry.h"

namespace nodemeter {

struct SequenceRange {
  Sequence first = 0;
  Sequence last = 0;
};

struct SalvagedEpoch {
  Epoch epoch;
  Sequence first = 0;
  Sequence last = 0;
  std::uint64_t recovered = 0;          // Written to the new store, of which
  std::uint64_t verified = 0;           // continue the chain from the entry before.
  std::vector<SequenceRange> unlinked;  // Recovered, but the entry before is lost: nothing proves them unchanged.
  std::vector<SequenceRange> lost;      // Known to have been there.
  // Numbers of which only rows were found that contradict the chain: they are lost, too.
  std::uint64_t contradicting = 0;
};

struct SalvageReport {
  NodeId node;
  std::vector<SalvagedEpoch> epochs;  // Oldest first.
  bool marks = false;                 // The store's own marks were whole: what is lost is known to the last number.
  std::uint64_t bytes = 0;            // Swept.
  std::uint64_t unreadable_bytes = 0;
  std::uint64_t rows = 0;     // Found, of which
  std::uint64_t repeats = 0;  // were the same as another,
  std::uint64_t pruned = 0;   // had been pruned before the damage.
};

// Reads `journal` (a directory with data.mdb), writes a store to the new state directory `target`: marked as a backup,
// without meter state, for every verb that reads. Nobody may write to `journal` meanwhile.
//   kNotFound      there is no data file, or no entry in it
//   kInvalidInput  `target` exists already
//   else as open_lmdb
Result<SalvageReport> salvage_store(const std::filesystem::path& journal, const std::filesystem::path& target,
                                    const std::function<void(std::uint64_t bytes)>& progress = {});

}  // namespace nodemeter
