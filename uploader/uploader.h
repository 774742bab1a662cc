// Delivery: cut, freeze, send, acknowledge, again. A state machine that is stepped; it never blocks and never drops.
//
// The batch's range is committed before its first send; the acknowledgement is committed before anything is forgotten.
// Threads: the agent's one.

#pragma once

#include <optional>
#include <string>

#include "platform/clock.h"
#include "platform/log.h"
#include "platform/random.h"
#include "store/journal.h"
#include "uploader/answer.h"
#include "uploader/transport.h"

namespace nodemeter {

struct UploaderOptions {
  Milliseconds backoff_base{1'000};
  Milliseconds backoff_cap{300'000};
  // At most this long from a commit to the first send of what it holds: small backlogs wait to travel together.
  Milliseconds interval{60'000};
  Milliseconds resend_interval_min{3'600'000};  // resend_from is obeyed at most this often.
  Journal::BatchLimits limits;
};

struct UploaderState {
  std::string phase = "idle";  // "idle", "sending", "backing off", "held".
  std::string reason;          // The last answer that was not an acknowledgement; "" after one.
  std::uint32_t attempt = 0;   // Of the current batch.
  std::uint64_t acknowledged_batches = 0;
  std::uint64_t failed_attempts = 0;
};

class Uploader {
 public:
  // All references must outlive the uploader.
  Uploader(Journal& journal, Transport& transport, Random& random, Log& log, const UploaderOptions& options);

  // Takes an answer, decides, sends what is due. Returns when to step again at the latest (an answer may come sooner).
  // `wall` is for Retry-After dates only. `flush`: send now what there is, do not wait for the interval.
  // Errors are the journal's: kUnavailable means that the store must be reopened.
  Result<MonotonicTime> step(MonotonicTime now, UtcTime wall, bool flush);

  [[nodiscard]] const UploaderState& state() const { return state_; }

 private:
  Result<Done> take(const UploadResponse& response, MonotonicTime now);
  void back_off(const Answer& answer, MonotonicTime now);

  Journal& journal_;
  Transport& transport_;
  Random& random_;
  Log& log_;
  UploaderOptions options_;
  UploaderState state_;
  std::optional<FrozenBatch> in_flight_;
  MonotonicTime next_attempt_{};
  std::optional<MonotonicTime> backlog_since_;
  std::optional<MonotonicTime> last_resend_;
  bool outcome_unknown_ = false;     // An attempt of the frozen batch may have been stored.
  bool accepted_since_data_ = false; // Another row went through after a data fault: the receiver works.
  std::string data_reason_;
};

// Full jitter: uniform in [0, min(cap, base * 2^(attempt-1))], but at least base / 2 after the first failure.
Milliseconds backoff_wait(std::uint32_t attempt, Milliseconds base, Milliseconds cap, Random& random);

}  // namespace nodemeter
