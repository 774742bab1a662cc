// Goal: a whole fleet that lost its aggregator, its network or its power comes back without trampling the aggregator,
// and delivers oldest first.
// Method: the real uploaders and journals of thousands of nodes in virtual time, every hour ending everywhere at once,
// against one receiver that counts what reaches it in windows of ten seconds. Prints what it saw.

#include <array>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <deque>
#include <memory>
#include <queue>

#include "platform/digest.h"
#include "platform/text.h"
#include "tests/sim/memory_kv.h"
#include "tests/uploader/chain.h"
#include "uploader/uploader.h"

namespace nodemeter {
namespace {

using std::chrono::hours;
using std::chrono::seconds;

// Recovery may cost the aggregator at most so many times what the end of an ordinary hour costs it.
constexpr double kRequestsMultiple = 1.2;
constexpr double kRowsMultiple = 2.0;
// What knocks at a receiver that refuses connections when an hour has just ended: the first waits are a second or two.
constexpr double kKnocksMultiple = 8.0;

constexpr Milliseconds kWindow{10'000};
constexpr Milliseconds kGrace{30'000};  // From an hour's end to its commit.
constexpr Milliseconds kAnswerTime{50};
constexpr UtcTime kEpoch{seconds(1'767'225'600)};

enum class Outage { kRefuses, kNeverAnswers, kMaintenance, kPower };

struct Load {
  std::uint64_t requests = 0;
  std::uint64_t rows = 0;
};

class Fleet;

// What one node sends through.
class Wire final : public Transport {
 public:
  Wire(Fleet& fleet, std::size_t node) : fleet_(fleet), node_(node) {}
  void begin(UploadRequest request) override;
  std::optional<UploadResponse> poll() override;
  void cancel() override { answer_.reset(); }

 private:
  Fleet& fleet_;
  std::size_t node_;
  std::optional<UploadResponse> answer_;
  MonotonicTime answer_at_{};
};

struct Node {
  Node(Fleet& fleet, std::size_t index)
      : kv(disk), random(1'000 + index), wire(fleet, index), id(*NodeId::parse("node-" + std::to_string(index))) {
    auto opened = Journal::open(kv, JournalOptions{.node = id}, random);
    REQUIRE(opened.ok());
    journal = std::move(*opened);
  }
  MemoryDisk disk;
  MemoryKv kv;
  Random random;
  Wire wire;
  NodeId id;
  std::unique_ptr<Journal> journal;
  std::unique_ptr<Uploader> uploader;
  MonotonicTime next{};
  Sequence delivered = 0;
  Sequence held = 0;  // Its newest entry when the outage ended.
};

class Fleet {
 public:
  Fleet(std::size_t size, Outage kind, MonotonicTime down, MonotonicTime up) : kind_(kind), down_(down), up_(up) {
    nodes_.reserve(size);
    for (std::size_t i = 0; i < size; ++i) {
      nodes_.push_back(std::make_unique<Node>(*this, i));
      start(i);
    }
  }

  void run(MonotonicTime end) {
    MonotonicTime hour_end = MonotonicTime(hours(1)) + kGrace;
    bool over = false;
    for (;;) {
      const MonotonicTime due = queue_.empty() ? end : queue_.top().first;
      const MonotonicTime back = over ? end : up_;
      if (std::min({due, hour_end, back}) >= end) return;
      if (back <= std::min(due, hour_end)) {
        now_ = back;
        over = true;
        for (std::size_t i = 0; i < nodes_.size(); ++i) {
          nodes_[i]->held = nodes_[i]->journal->state().last_sequence;
          if (kind_ == Outage::kPower) start(i);
        }
      } else if (hour_end <= due) {
        now_ = hour_end;
        hour_end += hours(1);
        for (std::size_t i = 0; i < nodes_.size(); ++i) end_hour(i);
      } else {
        const auto [at, index] = queue_.top();
        queue_.pop();
        if (nodes_[index]->next != at) continue;  // It was woken since.
        now_ = at;
        step(index);
      }
    }
  }

  // The busiest window that begins in [from, to).
  [[nodiscard]] Load peak(MonotonicTime from, MonotonicTime to) const {
    Load most;
    for (auto w = static_cast<std::size_t>(from.time_since_epoch() / kWindow);
         w < windows_.size() && w < static_cast<std::size_t>(to.time_since_epoch() / kWindow); ++w) {
      most.requests = std::max(most.requests, windows_[w].requests);
      most.rows = std::max(most.rows, windows_[w].rows);
    }
    return most;
  }

  // When the last node had delivered what it held when the outage ended.
  [[nodiscard]] MonotonicTime caught_up() const { return caught_up_; }
  [[nodiscard]] std::uint64_t out_of_order() const { return out_of_order_; }
  [[nodiscard]] std::uint64_t backlog() const {
    std::uint64_t rows = 0;
    for (const auto& node : nodes_) rows += node->journal->state().last_sequence - node->delivered;
    return rows;
  }
  [[nodiscard]] std::uint64_t failed() const {
    std::uint64_t attempts = 0;
    for (const auto& node : nodes_) attempts += node->uploader->state().failed_attempts;
    return attempts;
  }
  [[nodiscard]] const Digest& trace() const { return trace_; }
  [[nodiscard]] MonotonicTime now() const { return now_; }

  // The receiver: what it answers, and after how long.
  std::pair<UploadResponse, Milliseconds> receive(std::size_t index, const UploadRequest& request) {
    const bool away = now_ >= down_ && now_ < up_;
    const auto window = static_cast<std::size_t>(now_.time_since_epoch() / kWindow);
    if (windows_.size() <= window) windows_.resize(window + 1);
    ++windows_[window].requests;
    trace_ = digest_of({trace_.view(), request.url_suffix_token, std::to_string(now_.time_since_epoch().count())});
    if (away && kind_ != Outage::kPower) return refuse();

    std::string_view range = request.headers.at(2).second;
    const Sequence first = *parse_u64(range.substr(0, range.find('-')));
    const Sequence last = *parse_u64(range.substr(range.find('-') + 1));
    Node& node = *nodes_[index];
    if (first != node.delivered + 1) ++out_of_order_;
    windows_[window].rows += last - first + 1;
    node.delivered = std::max(node.delivered, last);
    if (now_ >= up_ && first <= node.held && last >= node.held) caught_up_ = now_;
    UploadResponse response;
    response.status = 200;
    response.body = "{\"acknowledged\":" + std::to_string(last) + ",\"resend_from\":null}";
    return {response, kAnswerTime};
  }

 private:
  std::pair<UploadResponse, Milliseconds> refuse() const {
    UploadResponse response;
    response.received_at = kEpoch + std::chrono::duration_cast<Milliseconds>(now_.time_since_epoch());
    if (kind_ == Outage::kMaintenance) {
      // The front says until when: everybody is told the same second.
      response.status = 503;
      const auto left = std::chrono::ceil<seconds>(up_ - now_);
      response.headers["retry-after"] = std::to_string(left.count());
      return {response, kAnswerTime};
    }
    response.transport_error = "the connection failed";
    response.sent_nothing = kind_ == Outage::kRefuses;
    return {response, kind_ == Outage::kRefuses ? Milliseconds(1) : Milliseconds(120'000)};
  }

  // A process begins: with what an earlier one left in the store.
  void start(std::size_t index) {
    Node& node = *nodes_[index];
    node.uploader = std::make_unique<Uploader>(*node.journal, node.wire, node.random, log_, UploaderOptions{});
    wake(index, now_);
  }

  [[nodiscard]] bool without_power() const { return kind_ == Outage::kPower && now_ >= down_ && now_ < up_; }

  void end_hour(std::size_t index) {
    if (without_power()) return;
    Node& node = *nodes_[index];
    JournalCommit commit;
    commit.entries = {testing::entry_of(0, ""), testing::entry_of(0, "")};
    if (!node.journal->commit(commit, kEpoch).ok()) FAIL("commit");
    wake(index, now_);
  }

  void step(std::size_t index) {
    if (without_power()) return;
    Node& node = *nodes_[index];
    const auto next = node.uploader->step(now_, kEpoch, false);
    if (!next) FAIL(next.error().message);
    const MonotonicTime at = answer_due_ ? std::min(*next, *answer_due_) : *next;
    answer_due_.reset();
    wake(index, std::max(at, now_ + Milliseconds(1)));
  }

  void wake(std::size_t index, MonotonicTime at) {
    nodes_[index]->next = at;
    queue_.emplace(at, index);
  }

  friend class Wire;
  Outage kind_;
  MonotonicTime down_, up_;
  MonotonicTime now_{};
  NullLog log_;
  std::vector<std::unique_ptr<Node>> nodes_;
  using Due = std::pair<MonotonicTime, std::size_t>;
  std::priority_queue<Due, std::vector<Due>, std::greater<>> queue_;
  std::optional<MonotonicTime> answer_due_;  // Of the step that runs.
  std::vector<Load> windows_;
  MonotonicTime caught_up_{};
  std::uint64_t out_of_order_ = 0;
  Digest trace_;
};

void Wire::begin(UploadRequest request) {
  auto [response, after] = fleet_.receive(node_, request);
  answer_ = std::move(response);
  answer_at_ = fleet_.now() + after;
  fleet_.answer_due_ = answer_at_;
}

std::optional<UploadResponse> Wire::poll() {
  if (!answer_ || fleet_.now() < answer_at_) return std::nullopt;
  return std::exchange(answer_, std::nullopt);
}

std::size_t fleet_size() {
  const char* const text = std::getenv("NODEMETER_FLEET");
  return text == nullptr ? 2'000 : *parse_u64(text);
}

const char* name_of(Outage kind) {
  switch (kind) {
    case Outage::kRefuses: return "refuses connections";
    case Outage::kNeverAnswers: return "never answers";
    case Outage::kMaintenance: return "says 503 until a moment";
    case Outage::kPower: return "and the nodes are without power";
  }
  return "";
}

}  // namespace

TEST_CASE("after a 6-hour outage a fleet comes back under the load of an ordinary hour's end", "[fleet]") {
  const std::size_t size = fleet_size();
  for (const Outage kind : {Outage::kRefuses, Outage::kNeverAnswers, Outage::kMaintenance, Outage::kPower}) {
    // The power goes when the hour's entries are written and not yet sent.
    const MonotonicTime down = kind == Outage::kPower ? MonotonicTime(hours(3) + kGrace + seconds(1))
                                                      : MonotonicTime(hours(2) + seconds(1'020));
    const MonotonicTime up = down + hours(6);
    const MonotonicTime end = up + seconds(3'300);
    Fleet fleet(size, kind, down, up);
    fleet.run(end);
    const Load normal = fleet.peak(MonotonicTime{}, down);
    const Load outage = fleet.peak(down, up);
    const Load recovery = fleet.peak(up, end);
    const auto multiple = [](std::uint64_t load, std::uint64_t of) {
      return static_cast<double>(load) / static_cast<double>(of);
    };
    WARN(size << " nodes, the aggregator " << name_of(kind) << " for 6 h: busiest 10 s of an ordinary hour "
              << normal.requests << " requests, " << normal.rows << " rows; of the outage " << outage.requests
              << " requests; of the recovery " << recovery.requests << " requests ("
              << multiple(recovery.requests, normal.requests) << " times), " << recovery.rows << " rows ("
              << multiple(recovery.rows, normal.rows) << " times); everything delivered after "
              << std::chrono::duration_cast<seconds>(fleet.caught_up() - up).count() << " s; " << fleet.failed()
              << " attempts failed");
    CHECK(normal.requests > size / 10);
    CHECK(multiple(recovery.requests, normal.requests) <= kRequestsMultiple);
    CHECK(multiple(recovery.rows, normal.rows) <= kRowsMultiple);
    CHECK(multiple(outage.requests, normal.requests) <= kKnocksMultiple);
    CHECK(fleet.out_of_order() == 0);
    CHECK(fleet.backlog() == 0);
    CHECK(fleet.caught_up() > up);
    CHECK(fleet.caught_up() - up < std::chrono::minutes(10));
  }
}

TEST_CASE("a fleet's retries follow from its seeds alone", "[fleet]") {
  std::array<Digest, 2> traces;
  for (Digest& trace : traces) {
    Fleet fleet(50, Outage::kRefuses, MonotonicTime(hours(1)), MonotonicTime(hours(3)));
    fleet.run(MonotonicTime(hours(4)));
    trace = fleet.trace();
    CHECK(fleet.failed() > 1'000);
  }
  CHECK(traces[0] == traces[1]);
}

}  // namespace nodemeter
