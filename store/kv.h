// Ordered keys and atomic durable commits: the seam under the journal and the aggregator's store.
//
// Implementations: LmdbKv (store/lmdb_kv.h) and MemoryKv (tests/sim, with crash semantics). Both pass
// tests/store/kv_conformance.cpp.
//
// Threads: one writer at a time. Snapshots may be taken and used from any one thread each.

#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "platform/result.h"

namespace nodemeter {

// Separate key spaces. kEntries is append-mostly: keys that ascend are packed densely.
enum class Table { kMeta, kState, kEntries };
inline constexpr std::size_t kTableCount = 3;

inline constexpr std::size_t kKeyBytesMax = 511;

struct Write {
  Table table = Table::kMeta;
  std::string key;
  std::optional<std::string> value;  // Nothing: delete (a key that is not there is fine).
};

// A consistent view of one moment. Keep it for milliseconds: a snapshot held for long makes the store grow.
class Snapshot {
 public:
  virtual ~Snapshot() = default;
  [[nodiscard]] virtual Result<std::optional<std::string>> get(Table table, std::string_view key) const = 0;
  // Calls `visit` in key order from the first key >= `from` until it returns false or the keys end. The views passed
  // to it are valid during the call only.
  [[nodiscard]] virtual Status scan(
      Table table, std::string_view from,
      const std::function<bool(std::string_view key, std::string_view value)>& visit) const = 0;
  // The greatest key < `below` (the greatest of all if `below` is empty), with its value.
  [[nodiscard]] virtual Result<std::optional<std::pair<std::string, std::string>>> last_below(
      Table table, std::string_view below) const = 0;
  // Whether all that was read so far is of one moment. A snapshot that holds nothing back can be overtaken by the
  // writer: ask after reading, and believe nothing, errors included, if not. consistent() below does that.
  [[nodiscard]] virtual bool intact() const { return true; }
};

class KeyValue {
 public:
  virtual ~KeyValue() = default;
  KeyValue(const KeyValue&) = delete;
  KeyValue& operator=(const KeyValue&) = delete;

  // All or nothing, durable when it returns success.
  //   kFull         no room (map, file system): nothing was written; deleting or waiting may help.
  //   kCorrupt      the store is damaged.
  //   kUnavailable  an I/O error: whether it was written is unknown. The handle refuses everything afterwards; reopen.
  virtual Status commit(const std::vector<Write>& writes) = 0;

  [[nodiscard]] virtual Result<std::unique_ptr<Snapshot>> snapshot() const = 0;

  // Bytes in use and the most that it may use; of those in use, what kEntries takes, and its rows.
  struct Usage {
    std::uint64_t used_bytes = 0;
    std::uint64_t size_max_bytes = 0;
    std::uint64_t entries_bytes = 0;
    std::uint64_t entries = 0;
  };
  [[nodiscard]] virtual Usage usage() const = 0;

  // Housekeeping between commits: frees the slots of readers that died. Cheap; call about once a minute.
  virtual void maintain() {}

 protected:
  KeyValue() = default;
};

// Reads by `read(snapshot)`, which gives a Result and has no effect elsewhere, until the writer has not overtaken it.
// It reads little enough that two commits do not fit in: a chunk.
template <class Read>
auto consistent(const KeyValue& kv, const Read& read) -> std::invoke_result_t<Read, const Snapshot&> {
  constexpr int kAttemptsMax = 100;
  for (int attempt = 0; attempt < kAttemptsMax; ++attempt) {
    const Result<std::unique_ptr<Snapshot>> snapshot = kv.snapshot();
    if (!snapshot) return snapshot.error();
    auto result = read(std::as_const(**snapshot));
    if ((*snapshot)->intact()) return result;
  }
  return Error{ErrorCode::kUnavailable, "the store changes faster than it can be read: try again"};
}

}  // namespace nodemeter
