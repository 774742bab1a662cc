#include "tests/sim/play.h"

#include <algorithm>
#include <optional>

#include "agent/agent.h"
#include "platform/digest.h"
#include "store/entry_codec.h"
#include "store/journal_format.h"
#include "tests/sim/hyperv_face.h"
#include "tests/sim/memory_kv.h"

namespace nodemeter {

namespace {

constexpr std::int64_t kHour = 3'600'000;
// After the last fault: the longest Retry-After, a search for a row that is refused, some time-outs.
constexpr std::int64_t kDeliveredWithin = 6 * kHour;
// What the receiver lost is asked for with the acknowledgement of something newer, at most once an hour.
constexpr std::int64_t kResentWithin = 12 * kHour;

class NodeClock final : public Clock {
 public:
  explicit NodeClock(const SimNode& node) : node_(node) {}
  [[nodiscard]] ClockReading now() const override { return node_.clock(); }

 private:
  const SimNode& node_;
};

class NodeSource final : public Source {
 public:
  NodeSource(SimNode& node, Bookkeeper& books, Flaw flaw, std::unique_ptr<HypervFace> face)
      : node_(node), books_(books), flaw_(flaw), face_(std::move(face)) {}
  // The agent begins anew, and with it what it remembers of the node.
  void restart() {
    if (face_) face_->restart();
  }
  void everything_answers() {
    if (face_) face_->everything_answers();
  }
  Result<Sample> read_all() override {
    Result<Sample> sample = node_.read_all();
    if (face_) sample = face_->read(sample);
    if (!sample) {
      books_.read_failed();
      return sample;
    }
    if (flaw_ == Flaw::kCounterRunsAhead) run_ahead(*sample);
    ++samples_;
    books_.taken(*sample, node_.now());
    return sample;
  }
  bool take_urgency() override { return node_.take_urgency(); }
  [[nodiscard]] std::string description() const override { return "plan"; }
  [[nodiscard]] std::uint64_t samples() const { return samples_; }

 private:
  void run_ahead(Sample& sample) const {
    for (VmReading& vm : sample.vms) {
      for (DeviceReading& device : vm.devices) {
        for (Reading& counter : device.counters) {
          if (auto* value = std::get_if<std::uint64_t>(&counter)) *value += samples_ + 1;
        }
      }
    }
  }

  SimNode& node_;
  Bookkeeper& books_;
  Flaw flaw_;
  std::unique_ptr<HypervFace> face_;
  std::uint64_t samples_ = 0;
};

// The store as the judges see it: what was promised, what is there, and faults at any commit.
class WatchedKv final : public KeyValue {
 public:
  WatchedKv(MemoryDisk& disk, Bookkeeper& books, std::map<std::string, std::string>& promised, Outcome& outcome,
            Flaw& flaw, const bool& full)
      : disk_(disk), kv_(disk), books_(books), promised_(promised), outcome_(outcome), flaw_(flaw), full_(full) {}

  Status commit(const std::vector<Write>& writes) override {
    const bool entries =
        std::any_of(writes.begin(), writes.end(), [](const Write& w) { return w.table == Table::kEntries; });
    if (full_) return Error{ErrorCode::kFull, "no room"};
    if (entries && disk_.commits() > 40 && flaw_ == Flaw::kCommitForgotten) {
      flaw_ = Flaw::kNone;
      promise(writes);
      return Done{};
    }
    if (entries && disk_.commits() > 40 && flaw_ == Flaw::kCommitTorn) {
      flaw_ = Flaw::kNone;
      std::vector<Write> part;
      for (const Write& write : writes) {
        if (write.table != Table::kState && !write.key.starts_with(journal_format::kStatePrefix)) part.push_back(write);
      }
      disk_.fail(MemoryDisk::Fault::kUnknownWritten);
      return kv_.commit(part);
    }
    const std::uint64_t before = disk_.commits();
    Status done = kv_.commit(writes);
    died_ = !done && done.error().code == ErrorCode::kUnavailable;
    if (disk_.commits() > before) written(writes);
    return done;
  }
  [[nodiscard]] Result<std::unique_ptr<Snapshot>> snapshot() const override { return kv_.snapshot(); }
  [[nodiscard]] Usage usage() const override { return kv_.usage(); }
  [[nodiscard]] bool died() const { return died_; }

 private:
  void written(const std::vector<Write>& writes) {
    ++outcome_.commits;
    promise(writes);
    const std::string node_row = journal_format::state_write(std::string(kNodeRowKey), std::nullopt).key;
    const auto is_sample = [&](const Write& write) { return write.table == Table::kMeta && write.key == node_row; };
    if (std::any_of(writes.begin(), writes.end(), is_sample)) books_.committed();
  }
  void promise(const std::vector<Write>& writes) {
    for (const Write& write : writes) {
      if (write.table != Table::kEntries) continue;
      const auto known = promised_.find(write.key);
      if (!write.value || known != promised_.end()) {
        outcome_.complaints.push_back("durability: an entry was changed after it was committed");
      }
      if (write.value) promised_.insert_or_assign(write.key, *write.value);
    }
  }

  MemoryDisk& disk_;
  MemoryKv kv_;
  Bookkeeper& books_;
  std::map<std::string, std::string>& promised_;
  Outcome& outcome_;
  Flaw& flaw_;
  const bool& full_;
  bool died_ = false;
};

class DeafLine final : public Transport {
 public:
  explicit DeafLine(FarEnd& far) : far_(far) {}
  void begin(UploadRequest request) override {
    if (!deaf) far_.begin(std::move(request));
  }
  std::optional<UploadResponse> poll() override { return far_.poll(); }
  void cancel() override { far_.cancel(); }
  bool deaf = false;

 private:
  FarEnd& far_;
};

class Play {
 public:
  Play(const Plan& plan, Flaw flaw, Mapping mapping)
      : plan_(plan),
        flaw_(flaw),
        node_(plan),
        clock_(node_),
        books_(plan.count_stopped),
        source_(node_, books_, flaw,
                mapping == Mapping::kHyperv ? std::make_unique<HypervFace>(plan, node_, clock_) : nullptr),
        far_(plan),
        line_(far_),
        random_(plan.seed) {
    options_.node = NodeId::parse("world").value();
    options_.key = signing_key(plan);
    options_.sample_interval = Milliseconds{plan.interval_ms};
    options_.meter.simulated = true;
    options_.meter.count_stopped = plan.count_stopped;
    options_.meter.close_grace = Milliseconds{plan.close_grace_ms};
    options_.uploader.limits.rows_max = plan.rows_max;
  }

  Outcome run() {
    come_back();
    if (plan_.begins_empty && agent_) {
      agent_->begin_empty();
      books_.begins_empty(clock_.now(), node_.now());
    }
    for (std::size_t next = 0; failed_.empty();) {
      const std::int64_t op_at = next < plan_.ops.size() ? plan_.ops[next].at_ms : plan_.length_ms;
      const std::int64_t wake = agent_ ? std::max(wake_, busy_until_) : back_at_;
      move_to(std::min({std::max(op_at, node_.now()), std::max(wake, node_.now()), plan_.length_ms}));
      while (next < plan_.ops.size() && plan_.ops[next].at_ms <= node_.now()) apply(plan_.ops[next++]);
      if (node_.now() >= plan_.length_ms) break;
      live();
    }
    finish();
    collect();
    return std::move(outcome_);
  }

 private:
  void move_to(std::int64_t t) {
    node_.advance(std::max(t, node_.now()));
    full_ = node_.now() < full_until_;
    far_.at(node_.now());
  }

  // What is due now: the host returns, the agent returns, the agent works.
  void live() {
    if (!agent_ && node_.now() >= back_at_) come_back();
    if (agent_ && node_.now() >= std::max(wake_, busy_until_)) step();
    if (agent_ && plan_.urgent && node_.now() >= busy_until_ && node_.take_urgency()) {
      node_.make_urgent();
      step();
    }
  }

  void come_back() {
    if (!node_.host_up()) node_.power_on(wall_error_);
    if (outcome_.restarts == 0 && plan_.begins_empty) {
      node_.keep_stream();  // It has been watched since before the start.
    } else {
      node_.hang_up();
    }
    ++outcome_.restarts;
    source_.restart();
    kv_ = std::make_unique<WatchedKv>(disk_, books_, promised_, outcome_, flaw_, full_);
    const Seams seams{clock_, source_, *kv_, &line_, nullptr, random_, log_};
    Result<std::unique_ptr<Agent>> opened = Agent::open(options_, seams);
    if (!opened) {
      // A store that is full or dies while it is opened: the service manager tries again.
      if (opened.error().code == ErrorCode::kUnavailable || opened.error().code == ErrorCode::kFull) {
        back_at_ = node_.now() + 5'000;
        return;
      }
      failed_ = "the agent does not open: " + opened.error().message;
      return;
    }
    agent_ = std::move(opened).value();
    wake_ = node_.now();
    const JournalState& state = agent_->journal().state();
    if (state.last_sequence != promised_.size()) {
      outcome_.complaints.push_back("durability: " + std::to_string(promised_.size()) +
                                    " entries were committed, the journal comes back with " +
                                    std::to_string(state.last_sequence));
    }
  }

  void die(std::int64_t down_ms) {
    agent_.reset();
    kv_.reset();
    books_.agent_died();
    node_.forget_left_behind_since(books_.durable_samples());
    back_at_ = std::max(back_at_, node_.now() + down_ms);
  }

  void step() {
    const std::int64_t next = node_.true_of(agent_->step());
    wake_ = std::max(next, node_.now() + 1);
    check();
  }

  void check() {
    if (agent_->phase() != AgentPhase::kFailed) {
      const std::uint64_t confirmed = std::max(far_.acknowledged(), parked_up_to());
      if (agent_->journal().state().acknowledged <= confirmed) return;
      outcome_.complaints.push_back("delivery: " + std::to_string(agent_->journal().state().acknowledged) +
                                    " counts as acknowledged, the receiver confirmed " + std::to_string(confirmed));
      return;
    }
    if (!kv_->died()) failed_ = "the agent failed: " + agent_->reason();
    die(commit_down_ms_);
  }

  std::uint64_t parked_up_to() {
    if (agent_->journal().state().parked == 0) return 0;
    const auto parked = agent_->journal().parked();
    std::uint64_t last = 0;
    if (parked) {
      for (const ParkedEntry& entry : *parked) last = std::max(last, entry.sequence);
    }
    return last;
  }

  [[nodiscard]] bool watches() const { return agent_ != nullptr && node_.host_up(); }

  void apply(const PlanOp& op) {
    ++outcome_.injected[static_cast<std::size_t>(op.op)];
    const std::int64_t now = node_.now();
    if (op.op <= Op::fall) {
      node_.apply(op, watches());
      return;
    }
    if (op.op >= Op::refused) {
      far_.apply(op);
      return;
    }
    switch (op.op) {
      case Op::stream_cut: node_.cut_stream(); return;
      case Op::service_away: node_.service_away_until(now + op.a); return;
      case Op::source_down: node_.source_down_until(now + op.a); return;
      case Op::late_sample: busy_until_ = std::max(busy_until_, now + op.a); return;
      case Op::sample_twice:
        for (int i = 0; i < 2 && agent_ && now >= busy_until_; ++i) {
          node_.make_urgent();
          step();
        }
        return;
      case Op::late_notices: node_.notices_late_until(now + op.a); return;
      case Op::clock_step: node_.step_wall(op.b); return;
      case Op::clock_drift: node_.drift(op.a); return;
      case Op::clock_unsynchronised: node_.unsynchronised_until(now + op.a); return;
      case Op::suspend:
        if (!node_.host_up()) return;
        node_.suspend_until(now + op.a);
        busy_until_ = std::max(busy_until_, now + op.a);
        if (!agent_) back_at_ = std::max(back_at_, now + op.a);
        return;
      case Op::power_loss:
        if (!node_.host_up()) return;
        if (op.b % 2 == 0) disk_.fail(MemoryDisk::Fault::kNone);
        node_.power_off();
        wall_error_ = op.b;
        die(op.a);
        return;
      case Op::agent_crash:
      case Op::agent_upgrade:
        if (agent_) die(op.a);
        return;
      case Op::commit_lost: fail_commit(MemoryDisk::Fault::kFull, op); return;
      case Op::commit_unknown_lost: fail_commit(MemoryDisk::Fault::kUnknownLost, op); return;
      case Op::commit_unknown_written: fail_commit(MemoryDisk::Fault::kUnknownWritten, op); return;
      case Op::store_full: full_until_ = std::max(full_until_, now + op.a); return;
      default: return;
    }
  }

  void fail_commit(MemoryDisk::Fault fault, const PlanOp& op) {
    disk_.fail(fault, static_cast<std::uint64_t>(op.a));
    commit_down_ms_ = op.b;
  }

  // All faults end; the world goes on until the receiver has what it lost, then the agent is asked to end.
  void finish() {
    if (!failed_.empty()) return;
    disk_.fail(MemoryDisk::Fault::kNone);
    full_until_ = 0;
    full_ = false;
    busy_until_ = std::min(busy_until_, std::max(node_.now(), node_.suspended_until()));
    back_at_ = std::min(back_at_, std::max(node_.now(), node_.suspended_until()));
    far_.calm();
    node_.everything_answers();
    source_.everything_answers();
    const std::int64_t end = node_.now();
    while (failed_.empty() && (!agent_ || node_.now() < std::max(end, busy_until_))) {
      move_to(std::max(agent_ ? busy_until_ : back_at_, node_.now()));
      if (!agent_) come_back();
    }
    while (failed_.empty() && agent_ && node_.now() < end + kResentWithin && misses_some()) {
      move_to(std::max(wake_, node_.now()));
      live();
    }
    if (!failed_.empty() || !agent_) return;
    agent_->finish();
    check();
    if (!agent_) return;
    const std::int64_t finished = node_.now();
    outcome_.ended_ms = finished;
    outcome_.truth = node_.truth();
    line_.deaf = flaw_ == Flaw::kReceiverDeaf;
    while (failed_.empty() && agent_ && agent_->backlog() > 0 && node_.now() < finished + kDeliveredWithin) {
      step();
      if (agent_) move_to(wake_);
    }
  }

  // Of all that was ever confirmed: while it goes out again, less counts as acknowledged.
  [[nodiscard]] bool misses_some() const {
    return far_.misses_any_below(std::max(agent_->journal().state().acknowledged, far_.acknowledged()) + 1);
  }

  void collect() {
    if (!failed_.empty()) outcome_.complaints.push_back("agent: " + failed_);
    for (const std::string& complaint : far_.complaints()) outcome_.complaints.push_back(complaint);
    const MemorySnapshot snapshot(disk_);
    std::string all;
    std::size_t kept = 0;
    const Status scanned = snapshot.scan(Table::kEntries, "", [&](std::string_view key, std::string_view row) {
      const auto promise = promised_.find(std::string(key));
      if (promise != promised_.end() && promise->second == row) ++kept;
      const Result<DecodedEntry> decoded = decode_entry(row);
      if (!decoded) {
        outcome_.complaints.push_back("durability: a stored row does not decode: " + decoded.error().message);
        return true;
      }
      outcome_.journal.push_back(decoded->entry);
      outcome_.rows.emplace_back(row);
      return true;
    });
    if (!scanned || kept != promised_.size()) {
      outcome_.complaints.push_back("durability: of " + std::to_string(promised_.size()) + " committed entries " +
                                    std::to_string(kept) + " are there");
    }
    if (agent_) {
      if (auto parked = agent_->journal().parked()) outcome_.parked = *parked;
      outcome_.acknowledged = agent_->journal().state().acknowledged;
    }
    outcome_.received = far_.rows();
    if (flaw_ == Flaw::kReceiverForgets && !outcome_.received.empty())
      outcome_.received.erase(std::prev(outcome_.received.end()));
    for (Sequence sequence = 1; sequence <= promised_.size(); ++sequence) {
      if (far_.ever_refused(sequence)) outcome_.ever_refused.insert(sequence);
    }
    for (const std::string& row : outcome_.rows) all += row;
    for (const auto& [sequence, row] : outcome_.received) all += row;
    outcome_.fingerprint = digest_of({all}).hex();
    if (outcome_.truth.empty()) outcome_.truth = node_.truth();
    outcome_.accounts = books_.accounts();
    outcome_.unwatched_ms = books_.unwatched_ms();
    outcome_.looks = books_.looks();
    outcome_.gaps = books_.gaps();
    outcome_.first_sample_ms = books_.began_at();
    outcome_.samples = source_.samples();
    outcome_.requests = far_.requests();
  }

  const Plan& plan_;
  Flaw flaw_;
  Outcome outcome_;
  SimNode node_;
  NodeClock clock_;
  Bookkeeper books_;
  NodeSource source_;
  FarEnd far_;
  DeafLine line_;
  MemoryDisk disk_;
  std::map<std::string, std::string> promised_;
  Random random_;
  NullLog log_;
  AgentOptions options_;
  std::unique_ptr<WatchedKv> kv_;
  std::unique_ptr<Agent> agent_;
  std::string failed_;
  bool full_ = false;
  std::int64_t full_until_ = 0;
  std::int64_t wake_ = 0;
  std::int64_t busy_until_ = 0;
  std::int64_t back_at_ = 0;
  std::int64_t commit_down_ms_ = 1;
  std::int64_t wall_error_ = 0;
};

}  // namespace

SigningKey signing_key(const Plan& plan) {
  const Digest seed = digest_of({"plan-key/" + std::to_string(plan.seed)});
  return SigningKey::from_seed({reinterpret_cast<const char*>(seed.bytes.data()), seed.bytes.size()}).value();
}

Outcome play(const Plan& plan, Flaw flaw, Mapping mapping) { return Play(plan, flaw, mapping).run(); }

}  // namespace nodemeter
