// A hot backup by content: rows are read in short snapshots and written densely to a new store.
//
// A copy of the file's pages would have to hold one snapshot until the last byte is on the target: a slow or stopped
// copy would keep the agent's store from using its freed pages again. Marks and state are taken in one snapshot at the
// beginning; entries up to the head of that moment never change afterwards, they can only be pruned.

#include <algorithm>
#include <optional>
#include <system_error>

#include "platform/files.h"
#include "store/journal_format.h"
#include "store/lmdb_kv.h"
#include "store/page_snapshot.h"
#include "store/reader.h"
#include "store/row_sum.h"

namespace nodemeter {

namespace {

namespace fs = std::filesystem;
using namespace journal_format;

// Of one snapshot, and of one commit.
constexpr std::size_t kChunkBytes = 1u << 20;
constexpr std::size_t kCommitBytes = 16u << 20;

struct Moment {
  std::vector<Write> rows;  // Marks and state.
  std::vector<EpochRow> epochs;
  Sequence last_sequence = 0;  // Of the newest epoch.
};

Result<Moment> take_moment(const Snapshot& snapshot) {
  const Result<std::optional<Stored>> stored = read_marks(snapshot);
  if (!stored) return stored.error();
  if (!stored->has_value()) return Error{ErrorCode::kNotFound, "the store holds no journal (yet)"};
  if (Status whole = check_sum(snapshot); !whole) return whole.error();
  Moment moment;
  moment.epochs = (*stored)->epochs;
  moment.last_sequence = (*stored)->state.last_sequence;
  for (const Table table : {Table::kMeta, Table::kState}) {
    const Status scanned = snapshot.scan(table, {}, [&](std::string_view key, std::string_view value) {
      if (table != Table::kMeta || key != kSumKey) {
        moment.rows.push_back(Write{table, std::string(key), std::string(value)});
      }
      return true;
    });
    if (!scanned) return scanned.error();
  }
  return moment;
}

class Copy {
 public:
  Copy(const KeyValue& from, KeyValue& to, const std::function<void(std::uint64_t)>& progress)
      : from_(from), to_(to), progress_(progress) {}

  Status entries(std::uint32_t ordinal, EpochRow& epoch, Sequence last) {
    const Sequence first = epoch.oldest_kept;
    for (Sequence next = first; next <= last;) {
      const Result<EpochRow> now =
          consistent(from_, [&](const Snapshot& snapshot) { return chunk(snapshot, ordinal, next, last); });
      if (!now) return now.error();
      if (now->oldest_kept > next) {
        // Pruned meanwhile. What was copied before would leave a hole behind it.
        if (next != first || ordinal != 1) return Error{ErrorCode::kUnavailable, kOvertaken};
        epoch.oldest_kept = next = now->oldest_kept;
        epoch.before_oldest = now->before_oldest;
      }
      for (auto& [sequence, write] : rows_) {
        if (sequence != next) {
          return Error{ErrorCode::kCorrupt, "the journal is damaged: entry " + std::to_string(next) + " is missing"};
        }
        ++next;
        bytes_ += write.value->size();
        pending_.push_back(std::move(write));
      }
      done_ += rows_.size();
      if (rows_.empty() && next <= last) {
        return Error{ErrorCode::kCorrupt, "the journal is damaged: entry " + std::to_string(next) + " is missing"};
      }
      if (bytes_ >= kCommitBytes) {
        if (Status flushed = flush(); !flushed) return flushed;
      }
      if (progress_) progress_(done_);
    }
    return Done{};
  }

  // What is pending, with `last` in the same commit.
  Status flush(std::vector<Write> last = {}) {
    std::move(last.begin(), last.end(), std::back_inserter(pending_));
    Status committed = to_.commit(pending_);
    pending_.clear();
    bytes_ = 0;
    return committed;
  }

 private:
  static constexpr const char* kOvertaken =
      "the agent deleted entries past retention faster than they were copied: start the backup again";

  // Fills rows_; gives the epoch as it was in the same snapshot.
  Result<EpochRow> chunk(const Snapshot& snapshot, std::uint32_t ordinal, Sequence next, Sequence last) {
    rows_.clear();
    const Result<std::optional<std::string>> epoch = snapshot.get(Table::kMeta, epoch_key(ordinal));
    if (!epoch) return epoch.error();
    Result<EpochRow> row = decode_epoch_row(epoch->value_or(""));
    if (!row) return row.error();
    std::size_t bytes = 0;
    const Status scanned =
        snapshot.scan(Table::kEntries, entry_key(ordinal, std::max(next, row->oldest_kept)),
                      [&](std::string_view key, std::string_view value) {
                        const std::optional<EntryPosition> at = parse_entry_key(key);
                        if (!at || at->ordinal != ordinal || at->sequence > last) return false;
                        bytes += value.size();
                        rows_.emplace_back(at->sequence, Write{Table::kEntries, std::string(key), std::string(value)});
                        return bytes < kChunkBytes;
                      });
    if (!scanned) return scanned.error();
    return row;
  }

  const KeyValue& from_;
  KeyValue& to_;
  const std::function<void(std::uint64_t)>& progress_;
  std::vector<std::pair<Sequence, Write>> rows_;
  std::vector<Write> pending_;
  std::size_t bytes_ = 0;
  std::uint64_t done_ = 0;
};

Status copy_rows(const KeyValue& from, KeyValue& to, const std::function<void(std::uint64_t)>& progress) {
  Result<Moment> moment = consistent(from, [](const Snapshot& snapshot) { return take_moment(snapshot); });
  if (!moment) return moment.error();
  Copy copy(from, to, progress);
  for (std::size_t i = 0; i < moment->epochs.size(); ++i) {
    EpochRow& epoch = moment->epochs[i];
    const Sequence last = i + 1 == moment->epochs.size() ? moment->last_sequence : epoch.last_sequence;
    const auto ordinal = static_cast<std::uint32_t>(i + 1);
    if (Status copied = copy.entries(ordinal, epoch, last); !copied) return copied;
    moment->rows.push_back(Write{Table::kMeta, epoch_key(ordinal), encode(epoch)});
  }
  if (Status flushed = copy.flush(); !flushed) return flushed;
  // Only now it is a journal, and a marked one.
  moment->rows.push_back(Write{Table::kMeta, std::string(kBackupKey), "1"});
  if (Status sealed = Sealer().seal(to, moment->rows); !sealed) return sealed;
  return copy.flush(std::move(moment->rows));
}

Status failed(const fs::path& path, const std::error_code& error) {
  return Error{ErrorCode::kUnavailable, "cannot write " + path.string() + ": " + error.message()};
}

}  // namespace

Status backup_store(const fs::path& state_directory, const fs::path& target,
                    const std::function<void(std::uint64_t)>& progress) {
  const fs::path journal = journal_directory(target);
  std::error_code error;
  if (fs::exists(journal, error)) {
    return Error{ErrorCode::kInvalidInput, journal.string() + " exists already: a backup goes into a new directory"};
  }
  const Result<std::unique_ptr<KeyValue>> from = open_shared(journal_directory(state_directory));
  if (!from) return from.error();
  // Under another name until it is whole. What an earlier attempt left there is worth nothing.
  const fs::path partial = target / "journal.unfinished";
  fs::remove_all(partial, error);
  if (error) return failed(partial, error);
  {
    LmdbOptions options;
    options.size_max_bytes = std::max(options.size_max_bytes, (*from)->usage().size_max_bytes);
    options.growth_bytes = kCommitBytes;
    const Result<std::unique_ptr<KeyValue>> to = open_lmdb(partial, options);
    if (!to) return to.error();
    if (Status copied = copy_rows(**from, **to, progress); !copied) return copied;
  }
  fs::remove(partial / "lock.mdb", error);
  fs::rename(partial, journal, error);
  if (error) return failed(journal, error);
  return sync_directory(target);
}

}  // namespace nodemeter
