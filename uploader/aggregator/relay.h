// Passes on what the aggregator received, for a site with one way out: to ClickHouse or to an aggregator upstream, by
// the agent's own uploader, transport and rules for answers. One request is under way at a time: chains (node and
// epoch) follow one another, and one whose batch fails makes room for the next while it backs off. What is still to be
// passed on is the store's (forward_queue.h), so a relay may die at any moment.
//
// Threads: step() from one; the rest from any.

#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "platform/clock.h"
#include "platform/log.h"
#include "platform/random.h"
#include "uploader/aggregator/forward_queue.h"
#include "uploader/transport.h"
#include "uploader/uploader.h"

namespace nodemeter {

struct RelayState {
  std::string phase = "idle";  // "idle", "sending", "backing off", "held": the worst of all chains.
  std::string reason;          // Why something was not taken; "" if nothing is wrong.
  std::uint64_t acknowledged_batches = 0;
  std::uint64_t failed_attempts = 0;
};

class Relay {
 public:
  // All references must outlive the relay.
  Relay(ForwardQueue& queue, Transport& transport, Random& random, Log& log, const UploaderOptions& options);
  ~Relay();
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;

  // Takes an answer, sends what is due. Returns when to step again at the latest; sooner after an answer and after rows
  // were stored. Errors are the store's: kFull may pass, after the others the store has to be opened again.
  Result<MonotonicTime> step(const ClockReading& now);

  [[nodiscard]] RelayState state() const;

 private:
  class Turn;
  struct Lane;
  void note_state();
  Result<MonotonicTime> step_lane(const ChainKey& chain, Lane& lane, const ClockReading& now);

  ForwardQueue& queue_;
  Transport& transport_;
  Random& random_;
  Log& log_;
  const UploaderOptions options_;
  const Turn* holder_ = nullptr;  // Whose request is under way.
  std::map<ChainKey, std::unique_ptr<Lane>> lanes_;
  ChainKey last_;  // Whose turn it was.
  mutable std::mutex state_mutex_;
  RelayState state_;  // Guarded by state_mutex_.
};

}  // namespace nodemeter
