// The relay at work in a serving aggregator: its transport and its thread. The process holds a CurlGlobal.

#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "platform/clock.h"
#include "platform/log.h"
#include "platform/random.h"
#include "uploader/aggregator/config.h"
#include "uploader/aggregator/relay.h"
#include "uploader/curl_transport.h"

namespace nodemeter {

class RelayThread {
 public:
  // Begins to pass on what `queue` holds. kInvalidInput: a URL is wrong. All references must outlive the thread.
  static Result<std::unique_ptr<RelayThread>> start(const AggregatorConfig& config, ForwardQueue& queue,
                                                    const Clock& clock, Log& log);
  // Gives up a request under way: its batch goes again after the next start, under the same token.
  ~RelayThread();
  RelayThread(const RelayThread&) = delete;
  RelayThread& operator=(const RelayThread&) = delete;

  // The store has failed under it: the process has to end and open it again. Any thread.
  [[nodiscard]] bool failed() const { return failed_; }

  // For /metrics. Any thread.
  [[nodiscard]] std::string metrics() const;

 private:
  RelayThread(ForwardQueue& queue, const Clock& clock, Log& log)
      : queue_(queue), clock_(clock), log_(log), random_(Random::from_system()) {}
  void run();
  void wake();

  ForwardQueue& queue_;
  const Clock& clock_;
  Log& log_;
  Random random_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool woken_ = false;     // Guarded by mutex_.
  bool stopping_ = false;  // Guarded by mutex_.
  std::unique_ptr<Transport> transport_;
  std::unique_ptr<Relay> relay_;
  std::atomic<bool> failed_ = false;
  std::thread thread_;
};

}  // namespace nodemeter
