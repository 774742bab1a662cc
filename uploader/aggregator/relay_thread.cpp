#include "uploader/aggregator/relay_thread.h"

#include <algorithm>
#include <utility>

namespace nodemeter {
namespace {

// How long a store that has no room is left alone.
constexpr Milliseconds kFullWait{30'000};

void line(std::string& out, std::string_view name, std::string_view type, std::string_view help) {
  out.append("# HELP ").append(name).append(" ").append(help).append("\n");
  out.append("# TYPE ").append(name).append(" ").append(type).append("\n");
}

}  // namespace

Result<std::unique_ptr<RelayThread>> RelayThread::start(const AggregatorConfig& config, ForwardQueue& queue,
                                                        const Clock& clock, Log& log) {
  std::unique_ptr<RelayThread> self(new RelayThread(queue, clock, log));
  auto transport = open_curl_transport(config.forward, clock, [me = self.get()] { me->wake(); });
  if (!transport) return transport.error();
  self->transport_ = std::move(*transport);
  UploaderOptions options;
  options.interval = config.forward_interval;
  self->relay_ = std::make_unique<Relay>(queue, *self->transport_, self->random_, log, options);
  self->thread_ = std::thread([me = self.get()] { me->run(); });
  return self;
}

RelayThread::~RelayThread() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
  relay_.reset();
  transport_.reset();
}

void RelayThread::wake() {
  const std::lock_guard lock(mutex_);
  woken_ = true;
  changed_.notify_all();
}

void RelayThread::run() {
  for (;;) {
    const ClockReading now = clock_.now();
    const Result<MonotonicTime> next = relay_->step(now);
    Milliseconds wait = kFullWait;
    if (next) {
      wait = std::max(Milliseconds(0), std::chrono::duration_cast<Milliseconds>(*next - now.monotonic));
    } else {
      log_.error("the store does not note what was passed on", {{"why", next.error().message}});
      if (next.error().code != ErrorCode::kFull) {
        failed_ = true;
        return;
      }
    }
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, wait, [this] { return woken_ || stopping_; });
    if (stopping_) return;
    woken_ = false;
  }
}

std::string RelayThread::metrics() const {
  const RelayState state = relay_->state();
  std::string out;
  const auto number = [&](std::string_view name, std::string_view type, std::string_view help, std::uint64_t value) {
    line(out, name, type, help);
    out.append(name).append(" ").append(std::to_string(value)).append("\n");
  };
  number("nodemeter_aggregator_forward_batches_total", "counter", "Batches that the receiver upstream acknowledged.",
         state.acknowledged_batches);
  number("nodemeter_aggregator_forward_failures_total", "counter", "Attempts that it did not acknowledge.",
         state.failed_attempts);
  number("nodemeter_aggregator_forward_held", "gauge", "1: passing on waits for an operator.",
         state.phase == "held" ? 1 : 0);
  const std::map<ChainKey, ForwardBacklog> backlog = queue_.backlog();
  const auto gauge = [&](std::string_view name, std::string_view help, auto value) {
    line(out, name, "gauge", help);
    for (const auto& [chain, one] : backlog) {
      out.append(name).append("{node=\"" + chain.node.text() + "\",epoch=\"" + chain.epoch.text() + "\"} ");
      out.append(std::to_string(value(one))).append("\n");
    }
  };
  gauge("nodemeter_aggregator_forward_backlog_rows", "Rows that are still to be passed on.",
        [](const ForwardBacklog& b) { return b.rows; });
  gauge("nodemeter_aggregator_forward_parked_rows", "Rows that the receiver upstream refused for good.",
        [](const ForwardBacklog& b) { return b.parked; });
  return out;
}

}  // namespace nodemeter
