#include "uploader/aggregator/aggregator_store.h"

#include <algorithm>
#include <utility>

#include "platform/bytes.h"
#include "store/entry_codec.h"
#include "store/manifest.h"

namespace nodemeter {
namespace {

constexpr std::string_view kFormatKey = "format";
constexpr std::string_view kArrivalKey = "arrival";
constexpr std::size_t kTailBytes = 8 + 32;  // Sequence and digest at the end of a row's key.

std::string encode_head(const ChainHead& head) {
  ByteWriter w;
  w.u64(head.contiguous);
  w.u64(head.highest);
  w.u64(head.rows);
  w.u64(head.forks);
  w.i64(head.arrived_last.time_since_epoch().count());
  w.i64(head.reported_last.time_since_epoch().count());
  w.i64(head.hours_first);
  w.i64(head.hours_closed);
  return w.take();
}

std::optional<ChainHead> parse_head(std::string_view value) {
  ByteReader r(value);
  ChainHead head;
  head.contiguous = r.u64();
  head.highest = r.u64();
  head.rows = r.u64();
  head.forks = r.u64();
  head.arrived_last = UtcTime(Milliseconds(r.i64()));
  head.reported_last = UtcTime(Milliseconds(r.i64()));
  // Before format 3 it ends here; upgrade() finds out the rest.
  if (!r.at_end()) {
    head.hours_first = r.i64();
    head.hours_closed = r.i64();
  }
  if (!r.at_end() || head.contiguous > head.highest) return std::nullopt;
  return head;
}

Result<std::map<ChainKey, ChainHead>> read_heads(const Snapshot& snapshot) {
  std::map<ChainKey, ChainHead> heads;
  bool sound = true;
  const Status scanned = snapshot.scan(Table::kState, "h", [&](std::string_view key, std::string_view value) {
    if (!key.starts_with('h')) return false;
    const std::optional<ChainKey> chain = parse_chain(key.substr(1));
    const std::optional<ChainHead> head = parse_head(value);
    sound = chain && head;
    if (sound) heads.emplace(*chain, *head);
    return sound;
  });
  if (!scanned) return scanned.error();
  if (!sound) return Error{ErrorCode::kCorrupt, "a chain head of the aggregator's store makes no sense"};
  return heads;
}

Result<UtcTime> read_arrival(const Snapshot& snapshot) {
  const auto arrival = snapshot.get(Table::kMeta, kArrivalKey);
  if (!arrival) return arrival.error();
  return arrival->has_value() ? UtcTime(Milliseconds(ByteReader(**arrival).i64())) : UtcTime{};
}

Write format_write() {
  ByteWriter w;
  w.u32(kAggregatorFormat);
  return {.table = Table::kMeta, .key = std::string(kFormatKey), .value = w.take()};
}

std::string manifest_prefix(const ChainKey& chain) { return "m" + chain_prefix(chain); }

// A manifest that waits for rows before it.
Write manifest_write(const ChainKey& chain, Sequence sequence, std::int64_t closed_until) {
  std::string key = manifest_prefix(chain);
  append_big_endian(key, sequence);
  ByteWriter value;
  value.i64(closed_until);
  return {.table = Table::kState, .key = std::move(key), .value = value.take()};
}

struct StoredMark {
  Sequence sequence = 0;
  Digest digest;
};

// The marks of one chain from `first` to `last`, in order. Reads keys only.
Status read_marks(const Snapshot& snapshot, const ChainKey& chain, Sequence first, Sequence last,
                  const std::function<bool(const StoredMark&)>& visit) {
  const std::string prefix = chain_prefix(chain);
  return snapshot.scan(Table::kEntries, row_prefix(chain, first), [&](std::string_view key, std::string_view) {
    if (!key.starts_with(prefix) || key.size() != prefix.size() + kTailBytes) return false;
    const StoredMark mark{.sequence = read_big_endian(key.substr(prefix.size(), 8)),
                          .digest = Digest::from(key.substr(prefix.size() + 8))};
    return mark.sequence <= last && visit(mark);
  });
}

}  // namespace

// What one batch changes.
struct AggregatorStore::Plan {
  std::vector<const IngestRow*> fresh;
  KeyHistory keys;  // Of the node, with what the batch adds.
  std::uint64_t forks = 0;
  Sequence contiguous = 0;
  std::vector<Write> manifests;  // Of those that wait for rows before them.
};

Result<std::unique_ptr<AggregatorStore>> AggregatorStore::open(KeyValue& kv) {
  std::unique_ptr<AggregatorStore> store(new AggregatorStore(kv));
  if (const Status loaded = store->load(); !loaded) return loaded.error();
  return store;
}

Status AggregatorStore::load() {
  std::uint32_t version = kAggregatorFormat;
  {
    const auto snapshot = kv_.snapshot();
    if (!snapshot) return snapshot.error();
    const auto format = (*snapshot)->get(Table::kMeta, kFormatKey);
    if (!format) return format.error();
    if (!format->has_value()) return kv_.commit({format_write()});
    ByteReader r(**format);
    version = r.u32();
    if (!r.at_end()) return Error{ErrorCode::kCorrupt, "this is not the store of an aggregator"};
    if (version > kAggregatorFormat) {
      return Error{ErrorCode::kUnsupported, "the store has format " + std::to_string(version) +
                                                ", this program knows " + std::to_string(kAggregatorFormat) +
                                                ": use the newer nodemeter-aggregator"};
    }
    Result<std::map<NodeId, KeyHistory>> keys = read_key_histories(**snapshot);
    if (!keys) return keys.error();
    keys_ = std::move(*keys);
    const Result<UtcTime> arrival = read_arrival(**snapshot);
    if (!arrival) return arrival.error();
    arrival_ = *arrival;
    Result<std::map<ChainKey, ChainHead>> heads = read_heads(**snapshot);
    if (!heads) return heads.error();
    heads_ = std::move(*heads);
    if (Status loaded = forward_.load(**snapshot); !loaded) return loaded;
    note_newest();
  }
  return version < kAggregatorFormat ? upgrade() : Done{};
}

// Makes the index and finds which hours are whole. Whatever interrupts it, the next opening does the
// same again.
Status AggregatorStore::upgrade() {
  constexpr std::size_t kWritesMax = 20'000;
  std::vector<Write> writes;
  std::optional<RunBuilder> runs;
  ChainKey chain;
  UtcTime arrived{};
  Status outcome = Done{};
  Status walked = for_each_row(kv_, std::nullopt, [&](const StoredRow& row) {
    const ChainKey here{row.node, row.epoch};
    if (!runs || here != chain || row.arrived != arrived) {
      if (runs) runs->append_writes(writes);
      chain = here;
      arrived = row.arrived;
      runs.emplace(chain, arrived);
    }
    if (writes.size() > kWritesMax) outcome = kv_.commit(std::exchange(writes, {}));
    const Result<DecodedEntry> decoded = decode_entry(row.row);
    if (!decoded) return outcome.ok();  // verify_store() names it.
    const Entry& entry = decoded->entry;
    ChainHead& head = heads_[here];
    if (entry.sequence == 1) head.hours_first = hour_of(entry);
    if (entry.kind == EntryKind::kUsage) runs->add(entry.sequence, hour_of(entry));
    const Result<Manifest> manifest = manifest_of(entry);
    if (!manifest) return outcome.ok();
    const std::int64_t closed = manifest->statement.closed_until;
    if (entry.sequence <= head.contiguous) {
      head.hours_closed = std::max({head.hours_closed, closed, head.hours_first});
    } else {
      writes.push_back(manifest_write(here, entry.sequence, closed));
    }
    return outcome.ok();
  });
  if (!walked) return walked;
  if (!outcome) return outcome;
  if (runs) runs->append_writes(writes);
  for (const auto& [key, head] : heads_) {
    writes.push_back({.table = Table::kState, .key = "h" + chain_prefix(key), .value = encode_head(head)});
  }
  writes.push_back(format_write());
  return kv_.commit(writes);
}

// The store of each node that began last, as far as reported times tell.
void AggregatorStore::note_newest() {
  for (const auto& [chain, head] : heads_) {
    const auto [newest, first] = newest_.emplace(chain.node, chain.epoch);
    if (!first && heads_[{chain.node, newest->second}].reported_last < head.reported_last) newest->second = chain.epoch;
  }
}

KeyValue::Usage AggregatorStore::usage() const {
  const std::lock_guard lock(mutex_);
  return kv_.usage();
}

std::map<ChainKey, ChainHead> AggregatorStore::heads() const {
  const std::lock_guard lock(mutex_);
  return heads_;
}

std::map<NodeId, KeyHistory> AggregatorStore::keys() const {
  const std::lock_guard lock(mutex_);
  return keys_;
}

UtcTime AggregatorStore::newest_arrival() const {
  const std::lock_guard lock(mutex_);
  return arrival_;
}

// Whether the first row continues a stored entry before it. With none stored there, nothing speaks against it.
Result<bool> AggregatorStore::continues(const Snapshot& snapshot, const IngestBatch& batch) const {
  const Digest& digest = batch.rows.front().digest;
  if (batch.first == 1) return digest == chain_digest(Digest{}, batch.first_body);
  bool any = false;
  bool linked = false;
  const Status read =
      read_marks(snapshot, {batch.node, batch.epoch}, batch.first - 1, batch.first - 1, [&](const StoredMark& mark) {
        any = true;
        linked = digest == chain_digest(mark.digest, batch.first_body);
        return !linked;
      });
  if (!read) return read.error();
  return linked || !any;
}

// Which rows are new, which of them are forks, and how far the chain reaches afterwards.
Status AggregatorStore::plan_rows(const Snapshot& snapshot, const IngestBatch& batch, const ChainHead& head,
                                  Plan& plan) {
  const ChainKey chain{batch.node, batch.epoch};
  std::vector<StoredMark> marks;
  if (batch.first <= head.highest) {
    Status read = read_marks(snapshot, chain, batch.first, batch.last, [&](const StoredMark& mark) {
      marks.push_back(mark);
      return true;
    });
    if (!read) return read;
  }
  auto mark = marks.begin();
  for (const IngestRow& row : batch.rows) {
    bool repeated = false;
    bool occupied = false;
    for (; mark != marks.end() && mark->sequence == row.sequence; ++mark) {
      occupied = true;
      repeated = repeated || mark->digest == row.digest;
    }
    if (repeated) continue;
    plan.fresh.push_back(&row);
    if (occupied) ++plan.forks;
  }
  plan.contiguous = head.contiguous;
  if (batch.first > head.contiguous + 1 || batch.last <= head.contiguous) return Done{};
  plan.contiguous = batch.last;
  if (batch.last >= head.highest) return Done{};
  // The batch closed a hole: what was stored beyond it counts from now on.
  return read_marks(snapshot, chain, batch.last + 1, head.highest, [&](const StoredMark& next) {
    if (next.sequence > plan.contiguous + 1) return false;
    plan.contiguous = next.sequence;
    return true;
  });
}

// What the rows that are new say about the node's keys: what is stored already was judged when it came.
std::optional<Refusal> AggregatorStore::learn_fresh_keys(const IngestBatch& batch, Plan& plan) {
  std::vector<const KeyStatement*> statements;
  auto row = plan.fresh.begin();
  for (const KeyStatement& statement : batch.key_statements) {
    while (row != plan.fresh.end() && (*row)->sequence < statement.sequence) ++row;
    if (row != plan.fresh.end() && (*row)->sequence == statement.sequence) statements.push_back(&statement);
  }
  return learn_keys(batch, statements, plan.keys);
}

// Which hours are whole once the batch is stored: those that a manifest closes before which no row is missing.
Status AggregatorStore::plan_manifests(const Snapshot& snapshot, const IngestBatch& batch, ChainHead& head,
                                       Plan& plan) {
  const std::string prefix = manifest_prefix({batch.node, batch.epoch});
  const auto closes = [&head](std::int64_t closed_until) {
    head.hours_closed = std::max({head.hours_closed, closed_until, head.hours_first});
  };
  for (const IngestRow* row : plan.fresh) {
    if (!row->closed_until) continue;
    if (row->sequence <= head.contiguous) {
      closes(*row->closed_until);
      continue;
    }
    plan.manifests.push_back(manifest_write({batch.node, batch.epoch}, row->sequence, *row->closed_until));
  }
  return snapshot.scan(Table::kState, prefix, [&](std::string_view key, std::string_view value) {
    if (!key.starts_with(prefix) || key.size() != prefix.size() + 8) return false;
    if (read_big_endian(key.substr(prefix.size())) > head.contiguous) return false;
    closes(ByteReader(value).i64());
    plan.manifests.push_back({.table = Table::kState, .key = std::string(key), .value = std::nullopt});
    return true;
  });
}

// Whether the node has begun a new store, or two of its stores are at work. `head`: before the batch.
void AggregatorStore::note_epoch(const IngestBatch& batch, const ChainHead& head, StoreOutcome& outcome) {
  const auto newest = newest_.find(batch.node);
  if (newest == newest_.end() || newest->second == batch.epoch) return;
  // What an earlier store still had to deliver was reported before the newer one's entries.
  if (batch.reported_last < heads_[{batch.node, newest->second}].reported_last) return;
  outcome.new_epoch = head.rows == 0;
  outcome.twin = head.rows > 0;
  if (!outcome.new_epoch || !batch.older_copy) return;
  const auto copied = heads_.find({batch.node, batch.older_copy->of});
  const Sequence highest = copied == heads_.end() ? 0 : copied->second.highest;
  outcome.after_copy = highest - std::min(highest, batch.older_copy->last);
}

Result<std::variant<StoreOutcome, Refusal>> AggregatorStore::store(const IngestBatch& batch, UtcTime now) {
  NM_ASSERT(!batch.rows.empty());
  const ChainKey chain{batch.node, batch.epoch};
  const std::lock_guard lock(mutex_);
  const auto found = heads_.find(chain);
  ChainHead head = found == heads_.end() ? ChainHead{} : found->second;

  Plan plan;
  {
    const auto snapshot = kv_.snapshot();
    if (!snapshot) return snapshot.error();
    const Result<bool> linked = continues(**snapshot, batch);
    if (!linked) return linked.error();
    if (!*linked) {
      return std::variant<StoreOutcome, Refusal>(
          Refusal{.status = 400,
                  .cause = "chain",
                  .sentence = "entry " + std::to_string(batch.first) +
                              " does not continue the digest chain of the entry before it that is stored here"});
    }
    if (const Status planned = plan_rows(**snapshot, batch, head, plan); !planned) return planned.error();
  }
  const auto known = keys_.find(batch.node);
  if (known != keys_.end()) plan.keys = known->second;
  const std::size_t keys_before = plan.keys.size();
  if (auto refusal = learn_fresh_keys(batch, plan)) return std::variant<StoreOutcome, Refusal>(*std::move(refusal));
  StoreOutcome outcome{.acknowledged = batch.last,
                       .resend_from = std::nullopt,
                       .missing = 0,
                       .stored = plan.fresh.size(),
                       .repeats = batch.rows.size() - plan.fresh.size(),
                       .forks = plan.forks,
                       .after_copy = std::nullopt};
  // Everything is here already, and durable: whoever committed it has returned from its commit.
  const auto asked = asked_.find(chain);
  const bool expected = asked != asked_.end() && batch.first >= asked->second;
  if (expected && batch.last >= head.highest) asked_.erase(asked);
  if (plan.fresh.empty()) {
    outcome.went_back = !expected && batch.last < head.highest;
    return std::variant<StoreOutcome, Refusal>(outcome);
  }
  note_epoch(batch, head, outcome);

  const UtcTime arrival = std::max(now, arrival_ + Milliseconds{1});
  head.contiguous = plan.contiguous;
  head.highest = std::max(head.highest, batch.last);
  head.rows += plan.fresh.size();
  head.forks += plan.forks;
  head.arrived_last = arrival;
  head.reported_last = std::max(head.reported_last, batch.reported_last);
  if (batch.first == 1) head.hours_first = batch.rows.front().hour;
  {
    const auto snapshot = kv_.snapshot();
    if (!snapshot) return snapshot.error();
    if (const Status planned = plan_manifests(**snapshot, batch, head, plan); !planned) return planned.error();
  }

  ByteWriter stamp;
  stamp.i64(arrival.time_since_epoch().count());
  const std::string arrival_bytes = stamp.take();
  std::vector<Write> writes = std::move(plan.manifests);
  writes.reserve(writes.size() + plan.fresh.size() + 8);
  RunBuilder runs(chain, arrival);
  for (const IngestRow* row : plan.fresh) {
    if (row->kind == EntryKind::kUsage) runs.add(row->sequence, row->hour);
    std::string key = row_prefix(chain, row->sequence);
    key.append(row->digest.view());
    writes.push_back(
        Write{.table = Table::kEntries, .key = std::move(key), .value = arrival_bytes + std::string(row->row)});
  }
  runs.append_writes(writes);
  writes.push_back(Write{.table = Table::kState, .key = "h" + chain_prefix(chain), .value = encode_head(head)});
  writes.push_back(Write{.table = Table::kMeta, .key = std::string(kArrivalKey), .value = arrival_bytes});
  std::vector<Write> key_writes = key_rows(batch.node, plan.keys, keys_before);
  std::move(key_writes.begin(), key_writes.end(), std::back_inserter(writes));
  std::vector<ForwardRun> queued;
  std::vector<Write> queue_writes = forward_.plan(chain, plan.fresh, queued);
  std::move(queue_writes.begin(), queue_writes.end(), std::back_inserter(writes));
  if (const Status committed = kv_.commit(writes); !committed) return committed.error();
  forward_.planned_is_durable(chain, queued);
  if (outcome.new_epoch || !newest_.contains(batch.node)) newest_[batch.node] = batch.epoch;
  heads_[chain] = head;
  if (plan.keys.size() > keys_before) keys_[batch.node] = plan.keys;
  arrival_ = arrival;
  // Asked for only together with something new: a node that no longer has what is missing is not asked for ever.
  if (head.contiguous < batch.last) {
    outcome.resend_from = head.contiguous + 1;
    outcome.missing = head.highest - (head.rows - head.forks);
    asked_[chain] = *outcome.resend_from;
  }
  return std::variant<StoreOutcome, Refusal>(outcome);
}

Result<StoreView> read_store_view(const KeyValue& kv) {
  return consistent(kv, [](const Snapshot& snapshot) -> Result<StoreView> {
    const auto format = snapshot.get(Table::kMeta, kFormatKey);
    if (!format) return format.error();
    if (!format->has_value() || *format != format_write().value) {
      return Error{ErrorCode::kUnsupported,
                   "the store has another format: start this version of nodemeter-aggregator on it once"};
    }
    Result<std::map<ChainKey, ChainHead>> heads = read_heads(snapshot);
    if (!heads) return heads.error();
    const Result<UtcTime> arrival = read_arrival(snapshot);
    if (!arrival) return arrival.error();
    return StoreView{.heads = std::move(*heads), .newest_arrival = *arrival};
  });
}

Result<UtcTime> newest_arrival_of(const Snapshot& snapshot) { return read_arrival(snapshot); }

Status for_each_row(const KeyValue& kv, const std::optional<NodeId>& node,
                    const std::function<bool(const StoredRow&)>& visit) {
  constexpr std::size_t kChunkRows = 2'000;
  std::string prefix;
  if (node) {
    prefix = node->text();
    prefix.push_back('\0');
  }
  std::string from = prefix;
  for (;;) {
    std::vector<StoredRow> rows;
    bool sound = true;
    bool more = false;
    {
      const auto snapshot = kv.snapshot();
      if (!snapshot) return snapshot.error();
      Status scanned = (*snapshot)->scan(Table::kEntries, from, [&](std::string_view key, std::string_view value) {
        if (!key.starts_with(prefix)) return false;
        const std::optional<RowView> row = parse_row(key, value);
        sound = row.has_value();
        if (!sound) return false;
        rows.push_back({.node = row->chain.node,
                        .epoch = row->chain.epoch,
                        .sequence = row->sequence,
                        .digest = row->digest,
                        .arrived = row->arrived,
                        .row = std::string(row->row)});
        more = rows.size() == kChunkRows;
        // The next chunk begins right after this key.
        if (more) from = std::string(key) + '\0';
        return !more;
      });
      if (!scanned) return scanned;
    }
    for (const StoredRow& row : rows) {
      if (!visit(row)) return Done{};
    }
    if (!sound) return Error{ErrorCode::kCorrupt, "a stored key is not the key of a row"};
    if (!more) return Done{};
  }
}

}  // namespace nodemeter
