#include "store/journal.h"

#include <algorithm>
#include <limits>

#include "store/entry_codec.h"
#include "store/journal_format.h"
#include "store/manifest.h"
#include "store/row_sum.h"

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
  Result<std::optional<Stored>> stored = read_marks(**snapshot);
  if (stored.ok() && stored->has_value()) {
    if (Status whole = check_sum(**snapshot); !whole) return whole.error();
  }
  return stored;
}

Status commit_once(KeyValue& kv, std::vector<Write> writes) {
  if (Status sealed = Sealer().seal(kv, writes); !sealed) return sealed;
  return kv.commit(writes);
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
      put(Table::kMeta, kManifestKey, encode_manifest_mark(state)),
  };
  if (options.simulated) writes.push_back(put(Table::kMeta, kSimulatedKey, "1"));
  if (Status committed = commit_once(kv, std::move(writes)); !committed) return committed.error();
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
  next.public_key = state.public_key;
  next.closed_until = state.closed_until;
  std::vector<Write> writes{
      put(Table::kMeta, epoch_key(ended_ordinal), encode(ended)),
      put(Table::kMeta, epoch_key(next.epoch_ordinal), fresh_epoch(next.epoch)),
      put(Table::kMeta, kHeadKey, encode_head(next)),
      put(Table::kMeta, kDeliveryKey, encode_delivery(next)),
      put(Table::kMeta, kManifestKey, encode_manifest_mark(next)),
      Write{Table::kMeta, std::string(kBackupKey), std::nullopt},
  };
  if (Status committed = commit_once(kv, std::move(writes)); !committed) return committed;
  state = std::move(next);
  return Done{};
}

// Brings a store of an earlier format to this one. Of format 1 the entries so far are not covered by a manifest of
// their own: the first one signs the chain's head, which no earlier entry can change without.
Status upgrade(KeyValue& kv, Stored& stored) {
  if (stored.format == 1) stored.state.manifested = stored.state.last_sequence;
  stored.format = kStoreFormat;
  return commit_once(kv, {put(Table::kMeta, kFormatKey, encode_format(kStoreFormat)),
                          put(Table::kMeta, kManifestKey, encode_manifest_mark(stored.state))});
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

Journal::Journal(KeyValue& kv, JournalState state, const JournalOptions& options)
    : kv_(kv), state_(std::move(state)), key_(options.key), sealer_(std::make_unique<Sealer>()) {}

Journal::~Journal() = default;

Result<std::unique_ptr<Journal>> Journal::open(KeyValue& kv, const JournalOptions& options, Random& random) {
  NM_ASSERT(!options.node.text().empty());
  Result<std::optional<Stored>> stored = read_stored(kv);
  if (!stored) return stored.error();
  if (!stored->has_value()) {
    Result<JournalState> created = create(kv, options, random);
    if (!created) return created.error();
    return std::unique_ptr<Journal>(new Journal(kv, std::move(*created), options));
  }
  JournalState& state = (*stored)->state;
  if (Status same = check_same(state, options); !same) return same.error();
  if ((*stored)->format < kStoreFormat) {
    if (Status upgraded = upgrade(kv, **stored); !upgraded) return upgraded.error();
  }
  if (state.location != options.location) {
    if (Status s = commit_once(kv, {put(Table::kMeta, kLocationKey, options.location)}); !s) return s.error();
    state.location = options.location;
  }
  if ((*stored)->backup) {
    if (Status begun = begin_epoch(kv, **stored, random); !begun) return begun.error();
  }
  return std::unique_ptr<Journal>(new Journal(kv, std::move(state), options));
}

// Entries in the making: numbers, digests and rows, for one commit that may still fail.
class Journal::Appender {
 public:
  Appender(const JournalState& state, UtcTime now) : next(state), now_(now) {}

  Status add(Entry entry) {
    next.last_reported_at = std::max(next.last_reported_at, now_);
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
    entries.push_back(std::move(entry));
    return Done{};
  }

  // Of the node itself, at this moment.
  [[nodiscard]] Entry node_entry(EntryKind kind) const {
    Entry entry;
    entry.kind = kind;
    entry.usage_start = entry.usage_end = std::chrono::floor<std::chrono::seconds>(now_);
    if (next.simulated) entry.status |= status_bit::kSimulated;
    return entry;
  }

  // What vouches for the new key is the old one, if it is still there.
  Status change_key(const std::optional<SigningKey>& old, const std::string& key) {
    KeyChange change{key, next.public_key, {}};
    if (old) change.signature = old->sign(key_change_text(next.node, next.epoch, next.last_sequence + 1, key));
    Entry entry = node_entry(EntryKind::kEvent);
    entry.detail = key_change_detail(change, now_);
    next.public_key = key;
    return add(std::move(entry));
  }

  JournalState next;
  std::vector<Write> writes;
  std::vector<Entry> entries;

 private:
  UtcTime now_;
};

// Covers what is stored since the previous manifest, and what is about to be.
Status Journal::add_manifests(Appender& appender, std::int64_t closed_until) const {
  JournalState& next = appender.next;
  ManifestBuilder builder(std::max(state_.manifested + 1, state_.oldest_kept));
  Digest head;  // After the last row that the builder took.
  std::vector<Manifest> manifests;
  const auto finish = [&] { manifests.push_back(builder.build(next.node, next.epoch, closed_until, head, key_)); };
  const auto take = [&](const Entry& entry, std::string_view row) {
    if (builder.full_for(entry)) {
      finish();
      builder = ManifestBuilder(builder.next());
    }
    builder.add(entry, row);
    head = entry.digest;
  };
  {
    const Result<std::unique_ptr<Snapshot>> snapshot = kv_.snapshot();
    if (!snapshot) return snapshot.error();
    std::optional<Error> fault;
    Status visited = visit_rows(**snapshot, state_.epoch_ordinal, builder.first(), state_.last_sequence,
                                [&](Sequence /*sequence*/, std::string_view row) {
                                  const Result<DecodedEntry> decoded = decode_entry(row);
                                  if (!decoded) fault = decoded.error();
                                  if (decoded) take(decoded->entry, row);
                                  return decoded.ok();
                                });
    if (!visited) return visited;
    if (fault) return *fault;
  }
  for (std::size_t i = 0; i < appender.entries.size(); ++i) take(appender.entries[i], *appender.writes[i].value);
  finish();
  for (const Manifest& manifest : manifests) {
    Entry entry = appender.node_entry(EntryKind::kManifest);
    const std::chrono::sys_seconds end{std::chrono::hours(closed_until)};
    entry.usage_start = end - std::chrono::hours(1);
    entry.usage_end = end;
    entry.detail = manifest_detail(manifest);
    if (Status added = appender.add(std::move(entry)); !added) return added;
    next.manifested = manifest.statement.last;
  }
  next.closed_until = closed_until;
  return Done{};
}

Status Journal::commit(JournalCommit& commit, UtcTime now) {
  if (commit.entries.empty() && commit.state.empty() && !commit.closed_until) return Done{};
  Appender appender(state_, now);
  JournalState& next = appender.next;
  if (key_ && key_->public_key() != next.public_key) {
    if (next.public_key.empty()) {
      next.public_key = key_->public_key();
    } else if (Status changed = appender.change_key(std::nullopt, key_->public_key()); !changed) {
      return changed;
    }
  }
  for (const Entry& entry : commit.entries) {
    if (Status added = appender.add(entry); !added) return added;
  }
  if (commit.closed_until) {
    if (Status added = add_manifests(appender, *commit.closed_until); !added) return added;
  }
  std::vector<Write>& writes = appender.writes;
  for (const StateWrite& row : commit.state) writes.push_back(Write{Table::kState, row.key, row.value});
  if (!appender.entries.empty()) writes.push_back(put(Table::kMeta, kHeadKey, encode_head(next)));
  if (commit.closed_until) writes.push_back(put(Table::kMeta, kManifestKey, encode_manifest_mark(next)));
  if (next.public_key != state_.public_key) writes.push_back(put(Table::kMeta, kKeyKey, next.public_key));
  if (Status committed = commit_sealed(std::move(writes)); !committed) return committed;
  state_ = std::move(next);
  commit.entries = std::move(appender.entries);
  return Done{};
}

Status Journal::commit_sealed(std::vector<Write> writes) {
  if (Status sealed = sealer_->seal(kv_, writes); !sealed) return sealed;
  Status committed = kv_.commit(writes);
  if (committed) sealer_->committed();
  return committed;
}

Status Journal::rotate_key(const SigningKey& next_key, UtcTime now) {
  if (!key_) return invalid("this journal has no signing key to vouch for a new one");
  Appender appender(state_, now);
  if (Status changed = appender.change_key(key_, next_key.public_key()); !changed) return changed;
  JournalState& next = appender.next;
  std::vector<Write>& writes = appender.writes;
  writes.push_back(put(Table::kMeta, kHeadKey, encode_head(next)));
  writes.push_back(put(Table::kMeta, kKeyKey, next.public_key));
  if (Status committed = commit_sealed(std::move(writes)); !committed) return committed;
  state_ = std::move(next);
  key_ = next_key;
  return Done{};
}

Result<std::vector<std::pair<std::string, std::string>>> Journal::state_rows(std::string_view prefix) const {
  const Result<std::unique_ptr<Snapshot>> snapshot = kv_.snapshot();
  if (!snapshot) return snapshot.error();
  return read_state_rows(**snapshot, prefix);
}

Status Journal::commit_delivery(const JournalState& next, std::vector<Write> more) {
  more.push_back(put(Table::kMeta, kDeliveryKey, encode_delivery(next)));
  if (Status committed = commit_sealed(std::move(more)); !committed) return committed;
  state_ = next;
  return Done{};
}

namespace {

// The digest is the row's last column: its last 32 bytes.
Digest digest_in(std::string_view row) {
  constexpr std::size_t kSize = sizeof(Digest::bytes);
  NM_ASSERT(row.size() > kSize);
  return Digest::from(row.substr(row.size() - kSize));
}

// Chain digest before entry `first`: its predecessor's, or the anchor that pruning left.
Result<Digest> digest_before(const Snapshot& snapshot, std::uint32_t ordinal, Sequence first) {
  const Result<std::optional<std::string>> before = snapshot.get(Table::kEntries, entry_key(ordinal, first - 1));
  if (!before) return before.error();
  if (before->has_value()) return digest_in(**before);
  const Result<std::optional<std::string>> epoch = snapshot.get(Table::kMeta, epoch_key(ordinal));
  if (!epoch) return epoch.error();
  const Result<EpochRow> row = decode_epoch_row(epoch->value_or(""));
  if (!row) return row.error();
  return row->before_oldest;
}

}  // namespace

// What is damaged on this disk must not become what the receiver has: the chain is checked before a batch is frozen.
Result<FrozenBatch> Journal::cut(Sequence first, Sequence last) const {
  FrozenBatch batch;
  batch.epoch = state_.epoch;
  batch.first = first;
  batch.last = last;
  const Result<std::unique_ptr<Snapshot>> snapshot = kv_.snapshot();
  if (!snapshot) return snapshot.error();
  const Result<Digest> before = digest_before(**snapshot, state_.epoch_ordinal, first);
  if (!before) return before.error();
  batch.head = *before;
  const Result<std::size_t> bytes = bytes_of_rows(**snapshot, state_.epoch_ordinal, first, last);
  if (!bytes) return bytes.error();
  std::string body;
  body.reserve(*bytes);
  std::optional<Error> fault;
  const Status visited =
      visit_rows(**snapshot, state_.epoch_ordinal, first, last, [&](Sequence sequence, std::string_view row) {
        const Result<DecodedEntry> decoded = decode_entry(row);
        if (!decoded || decoded->row.size() != row.size() ||
            chain_digest(batch.head, decoded->body) != decoded->entry.digest) {
          fault = Error{ErrorCode::kCorrupt,
                        "the journal is damaged: entry " + std::to_string(sequence) + " does not continue the chain"};
          return false;
        }
        batch.head = decoded->entry.digest;
        body.append(row);
        return true;
      });
  if (!visited) return visited.error();
  if (fault) return *fault;
  batch.token = batch_token(state_.node, state_.epoch, first, last, body);
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
  return commit_delivery(next, {acknowledgement(next)});
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
