// Read-only view of a state directory: for the command line, for embedders, for a copied store.
//
// Works while an agent writes, and without one. Each call takes its own short snapshots, so a stopped reader costs the
// writer nothing for longer than one chunk. Threads: one at a time.

#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "platform/result.h"
#include "store/chain_check.h"
#include "store/entry.h"
#include "store/journal.h"

namespace nodemeter {

// What is kept of one epoch of a store.
struct EpochSpan {
  Epoch epoch;
  Sequence oldest_kept = 1;
  Digest before_oldest;  // Chain digest before it.
};

class Reader {
 public:
  virtual ~Reader() = default;

  // kNotFound (no store there), kPermissionDenied, kUnsupported, kCorrupt, kLocked (this process has it open itself:
  // use the other one).
  static Result<std::unique_ptr<Reader>> open(const std::filesystem::path& state_directory);

  // On a store that this process has open; `kv` must outlive the reader. The errors are those of the calls.
  static std::unique_ptr<Reader> on(const KeyValue& kv);

  virtual Result<JournalState> state() const = 0;
  virtual Result<std::vector<std::pair<std::string, std::string>>> state_rows(std::string_view prefix) const = 0;
  virtual Result<std::vector<ParkedEntry>> parked() const = 0;
  virtual Result<std::vector<EpochSpan>> epochs() const = 0;  // Oldest first.

  // Visits entries of the newest epoch in order from `from` (and before them all that is kept of older epochs, if
  // `all_epochs`), until `visit` returns false. The row is the stored bytes, valid during the call. Entries that are
  // written after the start are not visited. kCorrupt names the entry that makes no sense.
  virtual Status for_each(Sequence from, const std::function<bool(const Entry&, std::string_view row)>& visit,
                          bool all_epochs = false) const = 0;

  // The sequence number of the first entry whose reported time is at or after `t` (last + 1 if none is).
  virtual Result<Sequence> first_reported_at(UtcTime t) const = 0;

  // Recomputes the chain over everything that is kept, and checks every manifest. `progress` is called now and then
  // with entries done. `key`: the node's public key as it is known elsewhere; "" takes the store's own word for it.
  virtual Result<ChainCheck> verify(const std::function<void(std::uint64_t)>& progress,
                                    const std::string& key = {}) const = 0;

  virtual KeyValue::Usage usage() const = 0;
};

// The LMDB environment of a state directory: <state>/journal.
std::filesystem::path journal_directory(const std::filesystem::path& state_directory);

// A hot backup: copies the journal of `state_directory`, as of one moment and without unused pages, to `target` (a
// state directory in its turn, but without the signing key) and marks it, so that an agent that opens it begins a new
// epoch. The agent may run meanwhile, and a copy that is slow or stopped does not touch it. `progress` is called now
// and then with entries done. Durable on success; else there is no journal at `target`. kInvalidInput: there is one
// already. kUnavailable too if retention overtook the copy. Else as Reader::open, kFull.
Status backup_store(const std::filesystem::path& state_directory, const std::filesystem::path& target,
                    const std::function<void(std::uint64_t entries)>& progress = {});

}  // namespace nodemeter
