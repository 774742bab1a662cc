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
#include "store/entry.h"
#include "store/journal.h"

namespace nodemeter {

struct ChainCheck {
  std::uint64_t entries = 0;
  std::uint64_t bytes = 0;
  Sequence first = 0;
  Sequence last = 0;
  Digest head;
  std::vector<std::string> faults;  // Each names the sequence number and what is wrong. Empty: the chain holds.
};

class Reader {
 public:
  virtual ~Reader() = default;

  // kNotFound (no store there), kPermissionDenied, kUnsupported, kCorrupt.
  static Result<std::unique_ptr<Reader>> open(const std::filesystem::path& state_directory);

  virtual Result<JournalState> state() const = 0;
  virtual Result<std::vector<std::pair<std::string, std::string>>> state_rows(std::string_view prefix) const = 0;
  virtual Result<std::vector<ParkedEntry>> parked() const = 0;

  // Visits entries of the newest epoch in order from `from` (and older epochs before it if `all_epochs`), until `visit`
  // returns false. The row is the stored bytes.
  virtual Status for_each(Sequence from,
                          const std::function<bool(const Entry&, std::string_view row)>& visit) const = 0;

  // The sequence number of the first entry whose reported time is at or after `t` (last + 1 if none is).
  virtual Result<Sequence> first_reported_at(UtcTime t) const = 0;

  // Recomputes the chain over everything that is kept. `progress` is called now and then with entries done.
  virtual Result<ChainCheck> verify(const std::function<void(std::uint64_t)>& progress) const = 0;

  virtual KeyValue::Usage usage() const = 0;
};

// The LMDB environment of a state directory: <state>/journal.
std::filesystem::path journal_directory(const std::filesystem::path& state_directory);

}  // namespace nodemeter
