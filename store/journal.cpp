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
  std::vector<Write> writes{put(Table::kMeta, kFormatKey, encode_format(kStoreFormat)),
                            put(Table::kMeta, kManifestKey, encode_manifest_mark(stored.state))};
  {
    const Result<std::unique_ptr<Snapshot>> snapshot = kv.snapshot();
    if (!snapshot) return snapshot.error();
    auto rows = read_state_rows(**snapshot, "");
    if (!rows) return rows.error();
    for (auto& [key, row] : *rows) {
      Write write = state_write(key, std::move(row));
      if (write.table == Table::kState) continue;
      writes.push_back(Write{Table::kState, std::move(key), std::nullopt});
      writes.push_back(std::move(write));
    }
  }
  return commit_once(kv, std::move(writes));
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
  for (const StateWrite& row : commit.state) writes.push_back(state_write(row.key, row.value));
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

}  // namespace nodemeter
