// What the journal is made to do while it is killed, cut off or refused: a script of operations, the same for the same
// name on every run, each one commit at most.
//
// The script is applied to the real store and, for comparison, to the store in memory (tests/sim/memory_kv.h): after
// operation i the real one must hold byte for byte what the memory holds. Registers in the state rows follow the
// entries, as the meter's do.

#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "platform/files.h"
#include "store/journal.h"
#include "store/lmdb_kv.h"

namespace nodemeter::crash {

struct Operation {
  enum class Kind { kCommit, kFreeze, kAcknowledge, kRefreeze, kPark, kUnpark, kResend, kPrune, kReopen };
  Kind kind = Kind::kCommit;
  JournalCommit commit;
  std::uint64_t number = 0;  // Rows, entries or a sequence number, as the kind takes it.
  std::int64_t now_ms = 0;
};

struct Workload {
  std::string name;
  bool refuses = false;  // The store is too small for all of it.
  LmdbOptions options;
  std::vector<Operation> operations;
};

// Grows over many steps, prunes and uses pages again, freezes, acknowledges, parks, closes and opens.
Workload life_of_a_node();
// A store that is full: entries are refused, marks are not, pruning makes room.
Workload full_store();

JournalOptions journal_options_of_runs();

// The content of all tables as one digest.
Result<Digest> content_of(const KeyValue& kv);

// Does operation `operation` on an open journal. kReopen does nothing here: it is the caller's.
Status apply(const Operation& operation, Journal& journal);

// What the store holds before the first operation ([0]) and after each one, computed in memory. `refused` names the
// operations that the real store refuses as full.
std::vector<Digest> expected_contents(const Workload& workload, const std::vector<bool>& refused);

// A state directory that is open as the agent opens it: lock, store, journal.
struct OpenStore {
  std::unique_ptr<FileLock> lock;
  std::unique_ptr<KeyValue> kv;
  std::unique_ptr<Journal> journal;
  static Result<OpenStore> open(const std::filesystem::path& state, const LmdbOptions& options);
};

// The state row of a VM names its registers in the order of its entries' meters.
std::string state_key(const VmId& vm);
std::string registers_text(const std::vector<MeterValue>& meters);

}  // namespace nodemeter::crash
