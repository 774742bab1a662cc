// Retention: Journal::prune().

#include <algorithm>

#include "store/entry_codec.h"
#include "store/journal.h"
#include "store/journal_format.h"

namespace nodemeter {

namespace {

using namespace journal_format;

struct Pruned {
  std::vector<Write> writes;
  std::vector<EpochRow> epochs;  // With their new beginnings.
  std::vector<bool> changed;     // By epoch, as above.
  std::uint64_t entries = 0;
};

// The entries that go, from the oldest on. Stops at the first that stays, so that what is kept has no holes.
Result<Pruned> select(const Snapshot& snapshot, std::vector<EpochRow> epochs, UtcTime reported_before,
                      Sequence keep_from, std::uint64_t entries_max) {
  Pruned pruned;
  pruned.epochs = std::move(epochs);
  pruned.changed.resize(pruned.epochs.size());
  std::optional<Error> fault;
  const Status scanned = snapshot.scan(Table::kEntries, {}, [&](std::string_view key, std::string_view row) {
    const std::optional<EntryPosition> at = parse_entry_key(key);
    if (!at || at->ordinal == 0 || at->ordinal > pruned.epochs.size()) {
      fault = Error{ErrorCode::kCorrupt, "the journal is damaged: an entry's key is unreadable"};
      return false;
    }
    if (at->ordinal == pruned.epochs.size() && at->sequence >= keep_from) return false;
    if (pruned.entries == entries_max) return false;
    const Result<DecodedEntry> decoded = decode_entry(row);
    if (!decoded) {
      fault = Error{decoded.error().code, "entry " + std::to_string(at->sequence) + ": " + decoded.error().message};
      return false;
    }
    if (decoded->entry.reported_at >= reported_before) return false;
    EpochRow& epoch = pruned.epochs[at->ordinal - 1];
    epoch.oldest_kept = at->sequence + 1;
    epoch.before_oldest = decoded->entry.digest;
    pruned.changed[at->ordinal - 1] = true;
    pruned.writes.push_back(Write{Table::kEntries, std::string(key), std::nullopt});
    ++pruned.entries;
    return true;
  });
  if (!scanned) return scanned.error();
  if (fault) return *fault;
  return pruned;
}

}  // namespace

Result<std::uint64_t> Journal::prune(UtcTime reported_before, Sequence keep_from, std::uint64_t entries_max) {
  if (state_.frozen) keep_from = std::min(keep_from, state_.frozen->first);
  if (state_.manifested > 0) keep_from = std::min(keep_from, state_.manifested + 1);
  Result<Pruned> pruned = Pruned{};
  std::vector<ParkedEntry> parked;
  std::vector<AcknowledgedRow> days;
  {
    const Result<std::unique_ptr<Snapshot>> snapshot = kv_.snapshot();
    if (!snapshot) return snapshot.error();
    Result<std::optional<Stored>> stored = read_marks(**snapshot);
    if (!stored) return stored.error();
    NM_ASSERT(stored->has_value());
    pruned = select(**snapshot, std::move((*stored)->epochs), reported_before, keep_from, entries_max);
    if (!pruned) return pruned.error();
    Result<std::vector<ParkedEntry>> all = read_parked(**snapshot);
    if (!all) return all.error();
    parked = std::move(*all);
    Result<std::vector<AcknowledgedRow>> rows = read_acknowledged(**snapshot);
    if (!rows) return rows.error();
    days = std::move(*rows);
  }
  if (pruned->entries == 0) return std::uint64_t{0};

  JournalState next = state_;
  next.oldest_kept = pruned->epochs.back().oldest_kept;
  // What is gone can neither be sent nor be unparked.
  next.acknowledged = std::max(next.acknowledged, next.oldest_kept - 1);
  if (next.resend_from != 0) next.resend_from = std::max(next.resend_from, next.oldest_kept);
  std::vector<Write>& writes = pruned->writes;
  for (std::size_t i = 0; i < pruned->epochs.size(); ++i) {
    const auto ordinal = static_cast<std::uint32_t>(i + 1);
    const EpochRow& epoch = pruned->epochs[i];
    if (pruned->changed[i]) writes.push_back(Write{Table::kMeta, epoch_key(ordinal), encode(epoch)});
    for (const ParkedEntry& entry : parked) {
      if (entry.epoch != epoch.epoch || entry.sequence >= epoch.oldest_kept) continue;
      writes.push_back(Write{Table::kMeta, parked_key(ordinal, entry.sequence), std::nullopt});
      --next.parked;
    }
  }
  for (const AcknowledgedRow& row : days) {
    if (row.ordinal == next.epoch_ordinal && row.acknowledged >= next.oldest_kept) continue;
    writes.push_back(Write{Table::kMeta, acknowledged_key(row.ordinal, row.day), std::nullopt});
  }
  if (Status committed = commit_delivery(next, std::move(writes)); !committed) return committed.error();
  return pruned->entries;
}

Result<Sequence> Journal::acknowledged_before(UtcTime t) const {
  const Result<std::unique_ptr<Snapshot>> snapshot = kv_.snapshot();
  if (!snapshot) return snapshot.error();
  const Result<std::vector<AcknowledgedRow>> rows = read_acknowledged(**snapshot);
  if (!rows) return rows.error();
  Sequence acknowledged = 0;
  for (const AcknowledgedRow& row : *rows) {
    if (row.ordinal == state_.epoch_ordinal && row.day < day_of(t)) {
      acknowledged = std::max(acknowledged, row.acknowledged);
    }
  }
  return acknowledged;
}

}  // namespace nodemeter
