#include "uploader/aggregator/relay.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

namespace nodemeter {
namespace {

constexpr Milliseconds kLookInterval{1'000};

}  // namespace

// The one transport, as one chain sees it.
class Relay::Turn final : public Transport {
 public:
  explicit Turn(Relay& relay) : relay_(relay) {}
  [[nodiscard]] PackedBody packed(std::string rows) const override { return relay_.transport_.packed(std::move(rows)); }
  void begin(UploadRequest request) override {
    NM_ASSERT(relay_.holder_ == nullptr);
    relay_.holder_ = this;
    relay_.transport_.begin(std::move(request));
  }
  std::optional<UploadResponse> poll() override {
    if (relay_.holder_ != this) return std::nullopt;
    std::optional<UploadResponse> response = relay_.transport_.poll();
    if (response) relay_.holder_ = nullptr;
    return response;
  }
  void cancel() override {
    if (relay_.holder_ != this) return;
    relay_.holder_ = nullptr;
    relay_.transport_.cancel();
  }

 private:
  Relay& relay_;
};

struct Relay::Lane {
  Lane(Relay& relay, const ChainKey& chain)
      : outbox(relay.queue_.outbox(chain)),
        turn(relay),
        uploader(*outbox, turn, relay.random_, relay.log_, relay.options_) {}
  std::unique_ptr<Outbox> outbox;
  Turn turn;
  Uploader uploader;
  MonotonicTime due{};
  bool waiting = false;  // Had something to pass on when it was looked at last.
};

Relay::Relay(ForwardQueue& queue, Transport& transport, Random& random, Log& log, const UploaderOptions& options)
    : queue_(queue), transport_(transport), random_(random), log_(log), options_(options) {}

Relay::~Relay() { transport_.cancel(); }

Result<MonotonicTime> Relay::step_lane(const ChainKey& chain, Lane& lane, const ClockReading& now) {
  Result<MonotonicTime> next = lane.uploader.step(now.monotonic, now.utc, false);
  if (!next) return next;
  lane.due = *next;
  if (holder_ == &lane.turn) last_ = chain;
  return next;
}

Result<MonotonicTime> Relay::step(const ClockReading& now) {
  if (holder_ != nullptr) {
    const auto lane = lanes_.find(last_);
    NM_ASSERT(lane != lanes_.end());
    Result<MonotonicTime> next = step_lane(lane->first, *lane->second, now);
    if (!next || holder_ != nullptr) return next;
  }
  MonotonicTime soonest = now.monotonic + kLookInterval;
  std::vector<ChainKey> waiting;
  for (const auto& [chain, backlog] : queue_.backlog()) {
    std::unique_ptr<Lane>& lane = lanes_[chain];
    if (!lane) lane = std::make_unique<Lane>(*this, chain);
    const bool had = std::exchange(lane->waiting, backlog.rows > 0);
    if (!lane->waiting) continue;
    if (!had) lane->due = now.monotonic;
    waiting.push_back(chain);
  }
  // Whoever comes after the last one begins.
  const auto first = std::upper_bound(waiting.begin(), waiting.end(), last_);
  std::rotate(waiting.begin(), first, waiting.end());
  for (const ChainKey& chain : waiting) {
    const std::unique_ptr<Lane>& lane = lanes_[chain];
    if (lane->due > now.monotonic) {
      soonest = std::min(soonest, lane->due);
      continue;
    }
    Result<MonotonicTime> next = step_lane(chain, *lane, now);
    if (!next) return next;
    soonest = std::min(soonest, *next);
    if (holder_ != nullptr) break;
  }
  note_state();
  return soonest;
}

void Relay::note_state() {
  constexpr std::string_view kPhases[] = {"idle", "sending", "backing off", "held"};
  RelayState now;
  std::size_t worst = 0;
  for (const auto& [chain, lane] : lanes_) {
    const UploaderState& state = lane->uploader.state();
    now.acknowledged_batches += state.acknowledged_batches;
    now.failed_attempts += state.failed_attempts;
    const auto at = static_cast<std::size_t>(std::find(std::begin(kPhases), std::end(kPhases), state.phase) - kPhases);
    if (at < worst) continue;
    worst = at;
    now.phase = state.phase;
    if (!state.reason.empty()) now.reason = chain.node.text() + ": " + state.reason;
  }
  const std::lock_guard lock(state_mutex_);
  state_ = std::move(now);
}

RelayState Relay::state() const {
  const std::lock_guard lock(state_mutex_);
  return state_;
}

}  // namespace nodemeter
