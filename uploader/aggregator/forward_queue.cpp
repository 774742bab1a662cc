#include "uploader/aggregator/forward_queue.h"

#include <algorithm>
#include <set>
#include <utility>

#include "platform/bytes.h"
#include "store/entry_codec.h"

namespace nodemeter {
namespace {

constexpr std::string_view kOnKey = "forward";
constexpr std::string_view kParkedPrefix = "forward-parked/";
constexpr char kRunPrefix = 'q';
constexpr char kFrozenPrefix = 'f';

// What is stored already is queued in runs of at most this much: a run is read as a whole to find its branch.
constexpr Sequence kRunRowsMax = 10'000;
constexpr std::size_t kRunBytesMax = 4u << 20;
// Of a commit that queues what is stored already.
constexpr std::size_t kWritesMax = 10'000;

std::string chain_row(char prefix, const ChainKey& chain) { return prefix + chain_prefix(chain); }

std::string run_row(const ChainKey& chain, std::uint64_t number) {
  std::string key = chain_row(kRunPrefix, chain);
  append_big_endian(key, number);
  return key;
}

Write run_write(const ChainKey& chain, const ForwardRun& run) {
  ByteWriter w;
  w.u64(run.first);
  w.u64(run.last);
  w.raw(run.digest.view());
  return Write{.table = Table::kState, .key = run_row(chain, run.number), .value = w.take()};
}

std::string parked_row(const ChainKey& chain, Sequence sequence) {
  std::string key = std::string(kParkedPrefix) + chain_prefix(chain);
  append_big_endian(key, sequence);
  return key;
}

Write frozen_write(const ChainKey& chain, const FrozenBatch& batch) {
  ByteWriter w;
  w.u64(batch.first);
  w.u64(batch.last);
  w.raw(batch.head.view());
  w.text(batch.token);
  return Write{.table = Table::kState, .key = chain_row(kFrozenPrefix, chain), .value = w.take()};
}

Error corrupt(const std::string& what) {
  return Error{ErrorCode::kCorrupt, "what is queued for the receiver upstream " + what};
}

struct BranchRow {
  Sequence sequence = 0;
  Digest digest;
  std::string row;
  // Whether it continues `before`.
  [[nodiscard]] bool follows(const Digest& before) const {
    const std::optional<SealedRow> sealed = split_sealed(row);
    return sealed && chain_digest(before, sealed->body) == digest;
  }
};

// All stored rows from first to last, of all branches, in key order.
Status visit_stored(const Snapshot& snapshot, const ChainKey& chain, Sequence first, Sequence last,
                    const std::function<bool(BranchRow)>& visit) {
  const std::string prefix = chain_prefix(chain);
  bool sound = true;
  Status scanned =
      snapshot.scan(Table::kEntries, row_prefix(chain, first), [&](std::string_view key, std::string_view value) {
        if (!key.starts_with(prefix)) return false;
        const std::optional<RowView> row = parse_row(key, value);
        sound = row.has_value();
        if (!sound || row->sequence > last) return false;
        return visit(BranchRow{.sequence = row->sequence, .digest = row->digest, .row = std::string(row->row)});
      });
  if (!scanned) return scanned;
  if (!sound) return corrupt("names a row that makes no sense");
  return Done{};
}

// The rows from first to last of the branch that ends with `head`; a zero head: of any branch.
Result<std::vector<BranchRow>> read_branch(const Snapshot& snapshot, const ChainKey& chain, Sequence first,
                                           Sequence last, const Digest& head) {
  std::vector<BranchRow> all;
  const Status visited = visit_stored(snapshot, chain, first, last, [&](BranchRow row) {
    all.push_back(std::move(row));
    return true;
  });
  if (!visited) return visited.error();
  std::vector<BranchRow> branch;  // From its end.
  Sequence wanted = last;
  for (auto row = all.rbegin(); row != all.rend(); ++row) {
    if (row->sequence != wanted) continue;
    const bool fits = branch.empty() ? head == Digest{} || row->digest == head : branch.back().follows(row->digest);
    if (!fits) continue;
    branch.push_back(std::move(*row));
    --wanted;
  }
  if (branch.size() != last + 1 - first) {
    return corrupt("is not stored: entries " + std::to_string(first) + " to " + std::to_string(last) + " of " +
                   chain.node.text());
  }
  std::reverse(branch.begin(), branch.end());
  return branch;
}

}  // namespace

// --- The queue ------------------------------------------------------------------------------------------------------

Status ForwardQueue::load(const Snapshot& snapshot) {
  const auto on = snapshot.get(Table::kMeta, kOnKey);
  if (!on) return on.error();
  on_ = on->has_value();
  Status sound = Done{};
  for (const char prefix : {kFrozenPrefix, kRunPrefix}) {
    Status scanned =
        snapshot.scan(Table::kState, std::string(1, prefix), [&](std::string_view key, std::string_view value) {
          if (!key.starts_with(prefix)) return false;
          sound = load_chain_row(key, value);
          return sound.ok();
        });
    if (!scanned) return scanned;
    if (!sound) return sound;
  }
  Status parked = snapshot.scan(Table::kMeta, kParkedPrefix, [&](std::string_view key, std::string_view) {
    if (!key.starts_with(kParkedPrefix)) return false;
    key.remove_prefix(kParkedPrefix.size());
    const std::size_t tail = std::min<std::size_t>(8, key.size());
    if (const auto chain = parse_chain(key.substr(0, key.size() - tail))) {
      chains_[*chain].parked.insert(read_big_endian(key.substr(key.size() - tail)));
    }
    return true;
  });
  return parked;
}

Status ForwardQueue::load_chain_row(std::string_view key, std::string_view value) {
  const bool is_run = key.front() == kRunPrefix;
  const std::size_t tail = is_run ? 8 : 0;
  if (key.size() < 1 + tail) return corrupt("has a key that makes no sense");
  const std::optional<ChainKey> chain = parse_chain(key.substr(1, key.size() - 1 - tail));
  if (!chain) return corrupt("has a key that makes no sense");
  ByteReader r(value);
  ForwardRun run;
  run.first = r.u64();
  run.last = r.u64();
  run.digest = Digest::from(r.raw(sizeof(Digest::bytes)));
  if (run.first == 0 || run.last < run.first) return corrupt("has a run that makes no sense");
  if (is_run) {
    run.number = read_big_endian(key.substr(key.size() - tail));
    next_number_ = std::max(next_number_, run.number + 1);
    chains_[*chain].runs.push_back(run);
  } else {
    chains_[*chain].frozen = FrozenBatch{.epoch = chain->epoch,
                                         .first = run.first,
                                         .last = run.last,
                                         .token = r.text(),
                                         .attempts = 0,
                                         .head = run.digest};
  }
  return r.at_end() ? Status(Done{}) : Status(corrupt("has a row that makes no sense"));
}

Result<std::vector<ForwardRun>> ForwardQueue::stored_runs(const Snapshot& snapshot, const ChainKey& chain,
                                                          Sequence from, Sequence to) const {
  struct Open {
    ForwardRun run;
    std::size_t bytes = 0;
  };
  std::vector<Open> open;
  std::vector<ForwardRun> runs;
  const auto visited = visit_stored(snapshot, chain, from, to, [&](const BranchRow& row) {
    // What ended before the row before this one goes on nowhere.
    std::erase_if(open, [&](const Open& o) {
      if (o.run.last + 1 < row.sequence) runs.push_back(o.run);
      return o.run.last + 1 < row.sequence;
    });
    for (Open& o : open) {
      const bool room = o.run.last + 1 - o.run.first < kRunRowsMax && o.bytes + row.row.size() <= kRunBytesMax;
      if (!room || o.run.last + 1 != row.sequence || !row.follows(o.run.digest)) continue;
      o.run.last = row.sequence;
      o.run.digest = row.digest;
      o.bytes += row.row.size();
      return true;
    }
    open.push_back({.run = {.number = 0, .first = row.sequence, .last = row.sequence, .digest = row.digest},
                    .bytes = row.row.size()});
    return true;
  });
  if (!visited) return visited.error();
  for (const Open& o : open) runs.push_back(o.run);
  std::sort(runs.begin(), runs.end(), [](const ForwardRun& a, const ForwardRun& b) { return a.first < b.first; });
  return runs;
}

Status ForwardQueue::switch_on() {
  const std::lock_guard lock(mutex_);
  if (on_) return Done{};
  std::set<ChainKey> chains;
  std::vector<Write> writes;
  {
    const auto snapshot = kv_.snapshot();
    if (!snapshot) return snapshot.error();
    Status scanned = (*snapshot)->scan(Table::kState, "h", [&](std::string_view key, std::string_view) {
      if (!key.starts_with('h')) return false;
      if (const auto chain = parse_chain(key.substr(1))) chains.insert(*chain);
      return true;
    });
    if (!scanned) return scanned;
    for (const ChainKey& chain : chains) {
      auto runs = stored_runs(**snapshot, chain, 1, ~Sequence{0});
      if (!runs) return runs.error();
      for (ForwardRun& run : *runs) {
        run.number = next_number_++;
        writes.push_back(run_write(chain, run));
        chains_[chain].runs.push_back(run);
      }
    }
  }
  // The mark comes last: what interrupts this leaves runs that are queued twice, and no row that is not.
  writes.push_back(Write{.table = Table::kMeta, .key = std::string(kOnKey), .value = "1"});
  for (std::size_t at = 0; at < writes.size(); at += kWritesMax) {
    const auto begin = writes.begin() + static_cast<std::ptrdiff_t>(at);
    const auto end = writes.begin() + static_cast<std::ptrdiff_t>(std::min(writes.size(), at + kWritesMax));
    if (Status committed = kv_.commit(std::vector<Write>(begin, end)); !committed) return committed;
  }
  on_ = true;
  return Done{};
}

Status ForwardQueue::switch_off() {
  const std::lock_guard lock(mutex_);
  if (!on_ && chains_.empty()) return Done{};
  std::vector<Write> writes{Write{.table = Table::kMeta, .key = std::string(kOnKey), .value = std::nullopt}};
  for (const auto& [key, chain] : chains_) {
    if (chain.frozen) {
      writes.push_back(Write{.table = Table::kState, .key = chain_row(kFrozenPrefix, key), .value = std::nullopt});
    }
    for (const ForwardRun& run : chain.runs) {
      writes.push_back(Write{.table = Table::kState, .key = run_row(key, run.number), .value = std::nullopt});
    }
    for (const Sequence sequence : chain.parked) {
      writes.push_back(Write{.table = Table::kMeta, .key = parked_row(key, sequence), .value = std::nullopt});
    }
  }
  if (Status committed = kv_.commit(writes); !committed) return committed;
  on_ = false;
  chains_.clear();
  return Done{};
}

std::vector<Write> ForwardQueue::plan(const ChainKey& chain, const std::vector<const IngestRow*>& fresh,
                                      std::vector<ForwardRun>& planned) const {
  if (!on_) return {};
  for (const IngestRow* const row : fresh) {
    // Rows of a batch follow each other, so consecutive numbers are one branch.
    if (planned.empty() || planned.back().last + 1 != row->sequence) {
      planned.push_back({.number = next_number_ + planned.size(), .first = row->sequence, .last = 0, .digest = {}});
    }
    planned.back().last = row->sequence;
    planned.back().digest = row->digest;
  }
  std::vector<Write> writes;
  writes.reserve(planned.size());
  for (const ForwardRun& run : planned) writes.push_back(run_write(chain, run));
  return writes;
}

void ForwardQueue::planned_is_durable(const ChainKey& chain, const std::vector<ForwardRun>& planned) {
  if (planned.empty()) return;
  next_number_ += planned.size();
  Chain& queue = chains_[chain];
  queue.runs.insert(queue.runs.end(), planned.begin(), planned.end());
}

std::map<ChainKey, ForwardBacklog> ForwardQueue::backlog() const {
  const std::lock_guard lock(mutex_);
  std::map<ChainKey, ForwardBacklog> backlog;
  for (const auto& [key, chain] : chains_) {
    ForwardBacklog& b = backlog[key];
    b.parked = chain.parked.size();
    for (const ForwardRun& run : chain.runs) b.rows += run.last + 1 - run.first;
  }
  return backlog;
}

// --- One chain ------------------------------------------------------------------------------------------------------

class ChainOutbox final : public Outbox {
 public:
  ChainOutbox(ForwardQueue& queue, ChainKey chain) : queue_(queue), key_(std::move(chain)) {
    state_.node = key_.node;
    state_.epoch = key_.epoch;
  }

  [[nodiscard]] const DeliveryState& state() const override {
    const std::lock_guard lock(queue_.mutex_);
    refresh();
    return state_;
  }

  Result<std::optional<FrozenBatch>> freeze_next(const BatchLimits& limits) override {
    const std::lock_guard lock(queue_.mutex_);
    ForwardQueue::Chain& chain = queue_.chains_[key_];
    if (chain.frozen || chain.runs.empty()) return chain.frozen;
    Result<std::vector<BranchRow>> rows = cut(chain, limits);
    if (!rows) return rows.error();
    if (Status frozen = freeze(chain, *rows); !frozen) return frozen.error();
    return chain.frozen;
  }

  Status refreeze(Sequence last) override {
    const std::lock_guard lock(queue_.mutex_);
    ForwardQueue::Chain& chain = queue_.chains_[key_];
    NM_ASSERT(chain.frozen && last >= chain.frozen->first && last <= chain.frozen->last);
    const auto snapshot = queue_.kv_.snapshot();
    if (!snapshot) return snapshot.error();
    auto rows = read_branch(**snapshot, key_, chain.frozen->first, chain.frozen->last, chain.frozen->head);
    if (!rows) return rows.error();
    rows->resize(last + 1 - chain.frozen->first);
    return freeze(chain, *rows);
  }

  [[nodiscard]] Result<std::string> batch_body(const FrozenBatch& batch) const override {
    const auto snapshot = queue_.kv_.snapshot();
    if (!snapshot) return snapshot.error();
    const auto rows = read_branch(**snapshot, key_, batch.first, batch.last, batch.head);
    if (!rows) return rows.error();
    return body_of(*rows);
  }

  Status acknowledge_frozen() override {
    const std::lock_guard lock(queue_.mutex_);
    return pass({});
  }

  Status park_frozen(const std::string& reason) override {
    const std::lock_guard lock(queue_.mutex_);
    ForwardQueue::Chain& chain = queue_.chains_[key_];
    NM_ASSERT(chain.frozen && chain.frozen->first == chain.frozen->last);
    const Sequence sequence = chain.frozen->first;
    Status passed = pass({Write{.table = Table::kMeta, .key = parked_row(key_, sequence), .value = reason}});
    if (passed) chain.parked.insert(sequence);
    return passed;
  }

  Status resend_from(Sequence from) override {
    const std::lock_guard lock(queue_.mutex_);
    refresh();
    if (from > state_.acknowledged) return Done{};
    const auto snapshot = queue_.kv_.snapshot();
    if (!snapshot) return snapshot.error();
    // Around what is parked.
    std::vector<ForwardRun> runs;
    std::set<Sequence> stops = queue_.chains_[key_].parked;
    stops.insert(state_.acknowledged + 1);
    Sequence begin = std::max<Sequence>(from, 1);
    for (const Sequence stop : stops) {
      if (stop > state_.acknowledged + 1) break;
      if (stop > begin) {
        auto some = queue_.stored_runs(**snapshot, key_, begin, stop - 1);
        if (!some) return some.error();
        runs.insert(runs.end(), some->begin(), some->end());
      }
      begin = std::max(begin, stop + 1);
    }
    std::vector<Write> writes;
    for (ForwardRun& run : runs) {
      run.number = queue_.next_number_ + writes.size();
      writes.push_back(run_write(key_, run));
    }
    if (writes.empty()) return Done{};
    if (Status committed = queue_.kv_.commit(writes); !committed) return committed;
    queue_.planned_is_durable(key_, runs);
    return Done{};
  }

 private:
  // With the mutex held, all of these.

  void refresh() const {
    const ForwardQueue::Chain& chain = queue_.chains_[key_];
    state_.frozen = chain.frozen;
    if (chain.runs.empty()) {
      state_.acknowledged = state_.last_sequence = reached_;
      return;
    }
    state_.acknowledged = chain.runs.front().first - 1;
    state_.last_sequence = state_.acknowledged;
    for (const ForwardRun& run : chain.runs) {
      const bool enough = state_.last_sequence - state_.acknowledged > kRunRowsMax;
      if (run.first != state_.last_sequence + 1 || enough) break;
      state_.last_sequence = run.last;
    }
  }

  // The rows of the next batch: from the first run, and from those that continue it, as far as the limits allow.
  Result<std::vector<BranchRow>> cut(const ForwardQueue::Chain& chain, const BatchLimits& limits) const {
    const auto snapshot = queue_.kv_.snapshot();
    if (!snapshot) return snapshot.error();
    std::vector<BranchRow> batch;
    std::uint64_t bytes = 0;
    for (const ForwardRun& run : chain.runs) {
      if (!batch.empty() && run.first != batch.back().sequence + 1) break;
      auto rows = read_branch(**snapshot, key_, run.first, run.last, run.digest);
      if (!rows) return rows.error();
      for (BranchRow& row : *rows) {
        const bool goes_on =
            batch.empty() || (batch.size() < limits.rows_max && bytes + row.row.size() <= limits.bytes_max &&
                              row.follows(batch.back().digest));
        if (!goes_on) return batch;
        bytes += row.row.size();
        batch.push_back(std::move(row));
      }
    }
    return batch;
  }

  static std::string body_of(const std::vector<BranchRow>& rows) {
    std::string body;
    for (const BranchRow& row : rows) body += row.row;
    return body;
  }

  Status freeze(ForwardQueue::Chain& chain, const std::vector<BranchRow>& rows) {
    FrozenBatch batch;
    batch.epoch = key_.epoch;
    batch.first = rows.front().sequence;
    batch.last = rows.back().sequence;
    batch.head = rows.back().digest;
    batch.token = batch_token(key_.node, key_.epoch, batch.first, batch.last, body_of(rows));
    if (Status committed = queue_.kv_.commit({frozen_write(key_, batch)}); !committed) return committed;
    chain.frozen = std::move(batch);
    return Done{};
  }

  // Takes the frozen batch off the queue, with `more` in the same commit.
  Status pass(std::vector<Write> more) {
    ForwardQueue::Chain& chain = queue_.chains_[key_];
    NM_ASSERT(chain.frozen.has_value());
    const Sequence last = chain.frozen->last;
    std::deque<ForwardRun> runs = chain.runs;
    Sequence next = chain.frozen->first;
    while (!runs.empty() && runs.front().first == next && next <= last) {
      ForwardRun& run = runs.front();
      if (run.last > last) {
        run.first = last + 1;
        more.push_back(run_write(key_, run));
        break;
      }
      next = run.last + 1;
      more.push_back(Write{.table = Table::kState, .key = run_row(key_, run.number), .value = std::nullopt});
      runs.pop_front();
    }
    more.push_back(Write{.table = Table::kState, .key = chain_row(kFrozenPrefix, key_), .value = std::nullopt});
    if (Status committed = queue_.kv_.commit(more); !committed) return committed;
    reached_ = std::max(reached_, last);
    chain.runs = std::move(runs);
    chain.frozen.reset();
    return Done{};
  }

  ForwardQueue& queue_;
  const ChainKey key_;
  Sequence reached_ = 0;  // The greatest that was passed on since the start.
  mutable DeliveryState state_;
};

std::unique_ptr<Outbox> ForwardQueue::outbox(const ChainKey& chain) {
  return std::make_unique<ChainOutbox>(*this, chain);
}

}  // namespace nodemeter
