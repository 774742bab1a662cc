// Delivery: the Outbox half of Journal, and what is read for it.

#include <algorithm>

#include "store/entry_codec.h"
#include "store/journal.h"
#include "store/journal_format.h"

namespace nodemeter {

namespace {

using namespace journal_format;

Error invalid(std::string message) { return Error{ErrorCode::kInvalidInput, std::move(message)}; }

// A string that grows by doubling takes three times its size while it grows; these are megabytes.
Result<std::size_t> bytes_of_rows(const Snapshot& snapshot, std::uint32_t ordinal, Sequence first, Sequence last) {
  std::size_t bytes = 0;
  const Status visited =
      visit_rows(snapshot, ordinal, first, last, [&bytes](Sequence /*sequence*/, std::string_view row) {
        bytes += row.size();
        return true;
      });
  if (!visited) return visited.error();
  return bytes;
}

// Parked sequence numbers of one epoch, ascending.
Result<std::vector<Sequence>> parked_sequences(const Snapshot& snapshot, const Epoch& epoch) {
  const Result<std::vector<ParkedEntry>> parked = read_parked(snapshot);
  if (!parked) return parked.error();
  std::vector<Sequence> sequences;
  for (const ParkedEntry& entry : *parked) {
    if (entry.epoch == epoch) sequences.push_back(entry.sequence);
  }
  return sequences;
}

}  // namespace

Status Journal::commit_delivery(const JournalState& next, std::vector<Write> more) {
  more.push_back(put(Table::kMeta, kDeliveryKey, encode_delivery(next)));
  if (Status committed = commit_sealed(std::move(more)); !committed) return committed;
  state_ = next;
  prepared_.reset();
  return Done{};
}

namespace {

// Chain digest before entry `first`: its predecessor's, or the anchor that pruning left.
Result<Digest> digest_before(const Snapshot& snapshot, std::uint32_t ordinal, Sequence first) {
  const Result<std::optional<std::string>> before = snapshot.get(Table::kEntries, entry_key(ordinal, first - 1));
  if (!before) return before.error();
  if (before->has_value()) {
    const std::optional<SealedRow> row = split_sealed(**before);
    if (row) return row->digest;
    return Error{ErrorCode::kCorrupt, "the journal is damaged: entry " + std::to_string(first - 1) + " has no digest"};
  }
  const Result<std::optional<std::string>> epoch = snapshot.get(Table::kMeta, epoch_key(ordinal));
  if (!epoch) return epoch.error();
  const Result<EpochRow> row = decode_epoch_row(epoch->value_or(""));
  if (!row) return row.error();
  return row->before_oldest;
}

}  // namespace

// What is damaged on this disk must not become what the receiver has: the chain is checked before a batch is frozen. A
// row that continues it is the one that was sealed, so it need not be decoded.
Result<FrozenBatch> Journal::cut(const Snapshot& snapshot, Sequence first,
                                 const std::function<bool(Sequence, std::size_t bytes)>& fits) const {
  FrozenBatch batch;
  batch.epoch = state_.epoch;
  batch.first = first;
  const Result<Digest> before = digest_before(snapshot, state_.epoch_ordinal, first);
  if (!before) return before.error();
  batch.head = *before;
  DigestStream body;
  bool sound = true;
  const Status visited = visit_rows(snapshot, state_.epoch_ordinal, first, state_.last_sequence,
                                    [&](Sequence sequence, std::string_view row) {
                                      if (!fits(sequence, row.size())) return false;
                                      batch.last = sequence;
                                      const std::optional<SealedRow> sealed = split_sealed(row);
                                      sound = sealed && chain_digest(batch.head, sealed->body) == sealed->digest;
                                      if (!sound) return false;
                                      batch.head = sealed->digest;
                                      body.add(row);
                                      return true;
                                    });
  if (!visited) return visited.error();
  if (!sound) {
    return Error{ErrorCode::kCorrupt,
                 "the journal is damaged: entry " + std::to_string(batch.last) + " does not continue the chain"};
  }
  batch.token = batch_token(state_.node, state_.epoch, first, batch.last, body.done());
  return batch;
}

Result<Journal::NextBatch> Journal::next_batch(Sequence acknowledged, const BatchLimits& limits) const {
  const Result<std::unique_ptr<Snapshot>> snapshot = kv_.snapshot();
  if (!snapshot) return snapshot.error();
  const Result<std::vector<Sequence>> parked = parked_sequences(**snapshot, state_.epoch);
  if (!parked) return parked.error();
  const auto is_parked = [&parked](Sequence s) { return std::ranges::binary_search(*parked, s); };
  NextBatch next;
  next.passed = std::max(acknowledged, state_.oldest_kept - 1);
  while (is_parked(next.passed + 1)) ++next.passed;  // Put aside for good: nothing waits for it.
  const Sequence first = next.passed + 1;
  if (first > state_.last_sequence) return next;
  std::uint64_t rows = 0;
  std::uint64_t bytes = 0;
  Result<FrozenBatch> batch = cut(**snapshot, first, [&](Sequence sequence, std::size_t size) {
    next.full = rows > 0 && (rows >= limits.rows_max || bytes + size > limits.bytes_max);
    if (next.full || is_parked(sequence)) return false;
    ++rows;
    bytes += size;
    return true;
  });
  if (!batch) return batch.error();
  next.batch = std::move(*batch);
  return next;
}

Result<std::optional<FrozenBatch>> Journal::freeze_next(const BatchLimits& limits) {
  if (state_.frozen) return state_.frozen;
  Result<NextBatch> cut = next_batch(state_.acknowledged, limits);
  if (!cut) return cut.error();
  JournalState next = state_;
  next.acknowledged = cut->passed;
  next.frozen = std::move(cut->batch);
  if (next.frozen || next.acknowledged != state_.acknowledged) {
    if (Status committed = commit_delivery(next); !committed) return committed.error();
  }
  return state_.frozen;
}

std::optional<FrozenBatch> Journal::prepare_next(const BatchLimits& limits) {
  if (!prepared_ && state_.frozen && state_.frozen->last < state_.last_sequence) {
    Result<NextBatch> next = next_batch(state_.frozen->last, limits);
    // What is not full gathers more until it is due.
    if (next && next->batch && next->full) prepared_ = std::move(*next);
  }
  return prepared_ ? prepared_->batch : std::nullopt;
}

Status Journal::refreeze(Sequence last) {
  NM_ASSERT(state_.frozen.has_value());
  if (last < state_.frozen->first || last > state_.frozen->last) {
    return invalid("entry " + std::to_string(last) + " is not in the frozen batch " +
                   std::to_string(state_.frozen->first) + "-" + std::to_string(state_.frozen->last));
  }
  JournalState next = state_;
  {
    const Result<std::unique_ptr<Snapshot>> snapshot = kv_.snapshot();
    if (!snapshot) return snapshot.error();
    Result<FrozenBatch> batch =
        cut(**snapshot, state_.frozen->first, [last](Sequence sequence, std::size_t) { return sequence <= last; });
    if (!batch) return batch.error();
    next.frozen = std::move(*batch);
  }
  return commit_delivery(next);
}

Result<std::string> Journal::batch_body(const FrozenBatch& batch) const {
  if (batch.epoch != state_.epoch) return invalid("the batch is of another epoch");
  const Result<std::unique_ptr<Snapshot>> snapshot = kv_.snapshot();
  if (!snapshot) return snapshot.error();
  const Result<std::size_t> bytes = bytes_of_rows(**snapshot, state_.epoch_ordinal, batch.first, batch.last);
  if (!bytes) return bytes.error();
  std::string body;
  body.reserve(*bytes);
  const Status visited = visit_rows(**snapshot, state_.epoch_ordinal, batch.first, batch.last,
                                    [&body](Sequence /*sequence*/, std::string_view row) {
                                      body.append(row);
                                      return true;
                                    });
  if (!visited) return visited.error();
  return body;
}

namespace {

// Moves past the frozen batch, or back to where the receiver asked to be sent from again.
void pass_frozen(JournalState& state) {
  NM_ASSERT(state.frozen.has_value());
  state.acknowledged = state.frozen->last;
  state.frozen.reset();
  if (state.resend_from != 0) {
    state.acknowledged = std::min(state.acknowledged, state.resend_from - 1);
    state.resend_from = 0;
  }
}

// How far delivery had come on this day. A frozen batch was reported, so there is a time.
Write acknowledgement(const JournalState& state) {
  return put(Table::kMeta, acknowledged_key(state.epoch_ordinal, day_of(state.last_reported_at)),
             encode_acknowledged(state.acknowledged));
}

// The state after re-opening from `from`: at once, or after the frozen batch.
JournalState reopened(JournalState state, Sequence from) {
  from = std::max({from, state.oldest_kept, Sequence{1}});
  if (state.frozen) {
    if (from <= state.frozen->last)
      state.resend_from = state.resend_from == 0 ? from : std::min(state.resend_from, from);
  } else {
    state.acknowledged = std::min(state.acknowledged, from - 1);
  }
  return state;
}

}  // namespace

Status Journal::acknowledge_frozen() {
  JournalState next = state_;
  pass_frozen(next);
  std::vector<Write> mark{acknowledgement(next)};
  // One commit says both: until here it is there, and this comes next.
  const bool goes_on =
      prepared_ && next.acknowledged == state_.frozen->last && prepared_->passed >= next.oldest_kept - 1;
  if (goes_on) {
    next.acknowledged = prepared_->passed;
    next.frozen = prepared_->batch;
  }
  return commit_delivery(next, std::move(mark));
}

Status Journal::acknowledge_range(Sequence first, Sequence last, const Digest& head) {
  NM_ASSERT(first >= 1 && first <= last);
  if (first > state_.acknowledged + 1) {
    return invalid("leaves out entries " + std::to_string(state_.acknowledged + 1) + "-" + std::to_string(first - 1));
  }
  if (state_.frozen && state_.frozen->first <= last && last < state_.frozen->last) {
    return invalid("ends within a batch that is on its way");
  }
  if (last > state_.last_sequence) return invalid("ends after the journal");
  {
    const Result<std::unique_ptr<Snapshot>> snapshot = kv_.snapshot();
    if (!snapshot) return snapshot.error();
    const Result<Digest> ours = digest_before(**snapshot, state_.epoch_ordinal, last + 1);
    if (!ours) return ours.error();
    if (*ours != head) return invalid("is for other entries of those numbers than this journal's");
  }
  JournalState next = state_;
  if (next.frozen && next.frozen->last <= last) pass_frozen(next);
  next.acknowledged = std::max(next.acknowledged, last);
  return commit_delivery(next, {acknowledgement(next)});
}

Result<std::optional<Journal::Run>> Journal::read_run(Sequence first, const BatchLimits& limits) const {
  Run run;
  run.epoch = state_.epoch;
  run.first = std::max(first, state_.oldest_kept);
  if (run.first > state_.last_sequence) return std::optional<Run>();
  const Result<std::unique_ptr<Snapshot>> snapshot = kv_.snapshot();
  if (!snapshot) return snapshot.error();
  const Result<Digest> before = digest_before(**snapshot, state_.epoch_ordinal, run.first);
  if (!before) return before.error();
  run.before = *before;
  std::uint64_t bytes = 0;
  const Status visited = visit_rows(
      **snapshot, state_.epoch_ordinal, run.first, state_.last_sequence, [&](Sequence sequence, std::string_view row) {
        bytes += row.size();
        if (!run.rows.empty() && (run.rows.size() >= limits.rows_max || bytes > limits.bytes_max)) return false;
        run.rows.emplace_back(row);
        run.last = sequence;
        return true;
      });
  if (!visited) return visited.error();
  return std::optional<Run>(std::move(run));
}

Status Journal::park_frozen(const std::string& reason) {
  NM_ASSERT(state_.frozen.has_value());
  NM_ASSERT(state_.frozen->first == state_.frozen->last);
  const Sequence sequence = state_.frozen->last;
  JournalState next = state_;
  pass_frozen(next);
  ++next.parked;
  return commit_delivery(
      next, {acknowledgement(next), put(Table::kMeta, parked_key(state_.epoch_ordinal, sequence), reason)});
}

Status Journal::resend_from(Sequence from) { return commit_delivery(reopened(state_, from)); }

Result<std::vector<ParkedEntry>> Journal::parked() const {
  const Result<std::unique_ptr<Snapshot>> snapshot = kv_.snapshot();
  if (!snapshot) return snapshot.error();
  return read_parked(**snapshot);
}

Status Journal::unpark() {
  std::vector<Sequence> sequences;
  {
    const Result<std::unique_ptr<Snapshot>> snapshot = kv_.snapshot();
    if (!snapshot) return snapshot.error();
    Result<std::vector<Sequence>> parked = parked_sequences(**snapshot, state_.epoch);
    if (!parked) return parked.error();
    sequences = std::move(*parked);
  }
  // Rows of earlier epochs stay: their epoch has ended, nothing of it is sent any more.
  if (sequences.empty()) return Done{};
  JournalState next = reopened(state_, sequences.front());
  next.parked -= sequences.size();
  std::vector<Write> writes;
  writes.reserve(sequences.size() + 1);
  for (const Sequence sequence : sequences) {
    writes.push_back(Write{Table::kMeta, parked_key(state_.epoch_ordinal, sequence), std::nullopt});
  }
  return commit_delivery(next, std::move(writes));
}

}  // namespace nodemeter
