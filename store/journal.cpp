#include "store/journal.h"

#include <algorithm>
#include <limits>

#include "store/entry_codec.h"
#include "store/journal_format.h"

namespace nodemeter {

namespace {

using namespace journal_format;

Write put(Table table, std::string_view key, std::string value) {
  return Write{table, std::string(key), std::move(value)};
}

Error invalid(std::string message) { return Error{ErrorCode::kInvalidInput, std::move(message)}; }

Result<std::optional<Stored>> read_stored(const KeyValue& kv) {
  const Result<std::unique_ptr<Snapshot>> snapshot = kv.snapshot();
  if (!snapshot) return snapshot.error();
  return read_marks(**snapshot);
}

std::string fresh_epoch(const Epoch& epoch) {
  EpochRow row;
  row.epoch = epoch;
  return encode(row);
}

Result<JournalState> create(KeyValue& kv, const JournalOptions& options, Random& random) {
  JournalState state;
  state.node = options.node;
  state.location = options.location;
  state.simulated = options.simulated;
  state.epoch = Epoch(random.uuid());
  state.epoch_ordinal = 1;
  std::vector<Write> writes{
      put(Table::kMeta, kFormatKey, encode_format(kStoreFormat)),
      put(Table::kMeta, kNodeKey, options.node.text()),
      put(Table::kMeta, kLocationKey, options.location),
      put(Table::kMeta, epoch_key(1), fresh_epoch(state.epoch)),
      put(Table::kMeta, kHeadKey, encode_head(state)),
      put(Table::kMeta, kDeliveryKey, encode_delivery(state)),
  };
  if (options.simulated) writes.push_back(put(Table::kMeta, kSimulatedKey, "1"));
  if (Status committed = kv.commit(writes); !committed) return committed.error();
  return state;
}

Status check_same(const JournalState& state, const JournalOptions& options) {
  if (state.node != options.node) {
    return invalid("the store belongs to node '" + state.node.text() + "', this node is '" + options.node.text() +
                   "': set node.id to the former, or use another state directory");
  }
  if (state.simulated && !options.simulated) {
    return invalid("the store was made by a simulation: a real agent needs another state directory");
  }
  if (!state.simulated && options.simulated) {
    return invalid("the store holds real metering: a simulation needs a state directory of its own");
  }
  return Done{};
}

// A backup that is written to again is a fork of its node's chain: from here on it has a name of its own.
Status begin_epoch(KeyValue& kv, Stored& stored, Random& random) {
  JournalState& state = stored.state;
  EpochRow ended = stored.epochs.back();
  ended.last_sequence = state.last_sequence;
  ended.head = state.head;
  const std::uint32_t ended_ordinal = state.epoch_ordinal;

  JournalState next;
  next.node = state.node;
  next.location = state.location;
  next.simulated = state.simulated;
  next.epoch = Epoch(random.uuid());
  next.epoch_ordinal = ended_ordinal + 1;
  next.last_reported_at = state.last_reported_at;
  next.parked = state.parked;
  next.previous_epoch = state.epoch;
  next.previous_last_sequence = state.last_sequence;
  const std::vector<Write> writes{
      put(Table::kMeta, epoch_key(ended_ordinal), encode(ended)),
      put(Table::kMeta, epoch_key(next.epoch_ordinal), fresh_epoch(next.epoch)),
      put(Table::kMeta, kHeadKey, encode_head(next)),
      put(Table::kMeta, kDeliveryKey, encode_delivery(next)),
      Write{Table::kMeta, std::string(kBackupKey), std::nullopt},
  };
  if (Status committed = kv.commit(writes); !committed) return committed;
  state = std::move(next);
  return Done{};
}

// Visits the stored rows [first, last] of an epoch. kCorrupt if one of them is missing.
Status visit_rows(const Snapshot& snapshot, std::uint32_t ordinal, Sequence first, Sequence last,
                  const std::function<bool(Sequence, std::string_view row)>& visit) {
  Sequence expected = first;
  bool stopped = false;
  Status scanned =
      snapshot.scan(Table::kEntries, entry_key(ordinal, first), [&](std::string_view key, std::string_view row) {
        if (expected > last || key != entry_key(ordinal, expected)) return false;
        stopped = !visit(expected, row);
        ++expected;
        return !stopped && expected <= last;
      });
  if (!scanned) return scanned;
  if (!stopped && expected <= last) {
    return Error{ErrorCode::kCorrupt, "the journal is damaged: entry " + std::to_string(expected) + " is missing"};
  }
  return Done{};
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

Result<std::unique_ptr<Journal>> Journal::open(KeyValue& kv, const JournalOptions& options, Random& random) {
  NM_ASSERT(!options.node.text().empty());
  Result<std::optional<Stored>> stored = read_stored(kv);
  if (!stored) return stored.error();
  if (!stored->has_value()) {
    Result<JournalState> created = create(kv, options, random);
    if (!created) return created.error();
    return std::unique_ptr<Journal>(new Journal(kv, std::move(*created)));
  }
  JournalState& state = (*stored)->state;
  if (Status same = check_same(state, options); !same) return same.error();
  if (state.location != options.location) {
    if (Status s = kv.commit({put(Table::kMeta, kLocationKey, options.location)}); !s) return s.error();
    state.location = options.location;
  }
  if ((*stored)->backup) {
    if (Status begun = begin_epoch(kv, **stored, random); !begun) return begun.error();
  }
  return std::unique_ptr<Journal>(new Journal(kv, std::move(state)));
}

Status Journal::commit(JournalCommit& commit, UtcTime now) {
  if (commit.entries.empty() && commit.state.empty()) return Done{};
  JournalState next = state_;
  if (!commit.entries.empty()) next.last_reported_at = std::max(next.last_reported_at, now);
  std::vector<Write> writes;
  writes.reserve(commit.entries.size() + commit.state.size() + 1);
  for (Entry& entry : commit.entries) {
    entry.node = next.node;
    entry.epoch = next.epoch;
    entry.sequence = ++next.last_sequence;
    entry.reported_at = next.last_reported_at;
    entry.location = next.location;
    Result<std::string> body = encode_entry_body(entry);
    if (!body) return body.error();
    next.head = entry.digest = chain_digest(next.head, *body);
    writes.push_back(put(Table::kEntries, entry_key(next.epoch_ordinal, entry.sequence),
                         seal_entry(std::move(*body), entry.digest)));
  }
  for (const StateWrite& row : commit.state) writes.push_back(Write{Table::kState, row.key, row.value});
  if (!commit.entries.empty()) writes.push_back(put(Table::kMeta, kHeadKey, encode_head(next)));
  if (Status committed = kv_.commit(writes); !committed) return committed;
  state_ = std::move(next);
  return Done{};
}

Result<std::vector<std::pair<std::string, std::string>>> Journal::state_rows(std::string_view prefix) const {
  const Result<std::unique_ptr<Snapshot>> snapshot = kv_.snapshot();
  if (!snapshot) return snapshot.error();
  return read_state_rows(**snapshot, prefix);
}

Status Journal::commit_delivery(const JournalState& next, std::vector<Write> more) {
  more.push_back(put(Table::kMeta, kDeliveryKey, encode_delivery(next)));
  if (Status committed = kv_.commit(more); !committed) return committed;
  state_ = next;
  return Done{};
}

Result<FrozenBatch> Journal::cut(Sequence first, Sequence last) const {
  FrozenBatch batch;
  batch.epoch = state_.epoch;
  batch.first = first;
  batch.last = last;
  const Result<std::string> body = batch_body(batch);
  if (!body) return body.error();
  // The digest is the row's last column: the chain's head after the batch is its last 32 bytes.
  NM_ASSERT(body->size() > batch.head.bytes.size());
  batch.head = Digest::from(std::string_view(*body).substr(body->size() - batch.head.bytes.size()));
  batch.token = state_.node.text() + ":" + state_.epoch.text() + ":" + std::to_string(first) + "-" +
                std::to_string(last) + ":" + digest_of({*body}).hex().substr(0, 16);
  return batch;
}

Result<std::optional<FrozenBatch>> Journal::freeze_next(const BatchLimits& limits) {
  if (state_.frozen) return state_.frozen;
  JournalState next = state_;
  Sequence last = 0;
  {
    const Result<std::unique_ptr<Snapshot>> snapshot = kv_.snapshot();
    if (!snapshot) return snapshot.error();
    const Result<std::vector<Sequence>> parked = parked_sequences(**snapshot, state_.epoch);
    if (!parked) return parked.error();
    const auto is_parked = [&parked](Sequence s) { return std::ranges::binary_search(*parked, s); };
    next.acknowledged = std::max(next.acknowledged, next.oldest_kept - 1);
    while (is_parked(next.acknowledged + 1)) ++next.acknowledged;  // Put aside for good: nothing waits for it.

    const Sequence first = next.acknowledged + 1;
    std::uint64_t rows = 0;
    std::uint64_t bytes = 0;
    if (first <= state_.last_sequence) {
      const Status visited = visit_rows(
          **snapshot, state_.epoch_ordinal, first, state_.last_sequence, [&](Sequence sequence, std::string_view row) {
            const bool fits = rows < limits.rows_max && bytes + row.size() <= limits.bytes_max;
            if (rows > 0 && (!fits || is_parked(sequence))) return false;
            ++rows;
            bytes += row.size();
            last = sequence;
            return true;
          });
      if (!visited) return visited.error();
    }
  }
  if (last == 0) {
    if (next.acknowledged != state_.acknowledged) {
      if (Status committed = commit_delivery(next); !committed) return committed.error();
    }
    return std::optional<FrozenBatch>{};
  }
  Result<FrozenBatch> batch = cut(next.acknowledged + 1, last);
  if (!batch) return batch.error();
  next.frozen = std::move(*batch);
  if (Status committed = commit_delivery(next); !committed) return committed.error();
  return state_.frozen;
}

Status Journal::refreeze(Sequence last) {
  NM_ASSERT(state_.frozen.has_value());
  if (last < state_.frozen->first || last > state_.frozen->last) {
    return invalid("entry " + std::to_string(last) + " is not in the frozen batch " +
                   std::to_string(state_.frozen->first) + "-" + std::to_string(state_.frozen->last));
  }
  Result<FrozenBatch> batch = cut(state_.frozen->first, last);
  if (!batch) return batch.error();
  JournalState next = state_;
  next.frozen = std::move(*batch);
  return commit_delivery(next);
}

Result<std::string> Journal::batch_body(const FrozenBatch& batch) const {
  if (batch.epoch != state_.epoch) return invalid("the batch is of another epoch");
  const Result<std::unique_ptr<Snapshot>> snapshot = kv_.snapshot();
  if (!snapshot) return snapshot.error();
  std::string body;
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
  return commit_delivery(next);
}

Status Journal::park_frozen(const std::string& reason) {
  NM_ASSERT(state_.frozen.has_value());
  NM_ASSERT(state_.frozen->first == state_.frozen->last);
  const Sequence sequence = state_.frozen->last;
  JournalState next = state_;
  pass_frozen(next);
  ++next.parked;
  return commit_delivery(next, {put(Table::kMeta, parked_key(state_.epoch_ordinal, sequence), reason)});
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
