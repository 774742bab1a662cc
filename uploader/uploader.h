// Delivery: cut, freeze, send, acknowledge, again. A state machine that is stepped; it never blocks and never drops.
//
// The batch's range is committed before its first send; the acknowledgement is committed before anything is forgotten.
// A fleet fails and recovers together, so every moment that a fleet could share is spread: after a start, after an
// hour, after any failure, and after a Retry-After. What each answer leads to is in uploader/ANSWERS.md. Threads: the
// agent's one.

#pragma once

#include <optional>
#include <string>

#include "platform/clock.h"
#include "platform/log.h"
#include "platform/random.h"
#include "store/journal.h"
#include "store/outbox.h"
#include "uploader/answer.h"
#include "uploader/transport.h"

namespace nodemeter {

// One batch is one block for ClickHouse, whatever the limits say.
inline constexpr std::uint32_t kBatchRowsMax = 50'000;
inline constexpr std::uint64_t kBatchBytesMax = 16u << 20;

struct UploaderOptions {
  Milliseconds backoff_base{1'000};
  Milliseconds backoff_cap{300'000};
  // At most this long from a commit to the first send of what it holds: small backlogs wait to travel together.
  Milliseconds interval{60'000};
  // resend_from is obeyed at most this often; the same wish again waits twice as long each time, for what the receiver
  // misses may be gone here too.
  Milliseconds resend_interval_min{3'600'000};
  // The receiver removes repeats by (node, epoch, sequence, digest), as nodemeter's own and the ClickHouse schema do.
  // false: a batch whose outcome is unknown is never cut differently, so a row that offends in it stays at the front.
  bool receiver_removes_repeats = true;
  BatchLimits limits;  // At most kBatchRowsMax and kBatchBytesMax count.
};

struct UploaderState {
  std::string phase = "idle";  // "idle", "sending", "backing off", "held".
  std::string reason;          // The last answer that was not an acknowledgement; "" after one.
  std::uint32_t attempt = 0;   // Of the current batch.
  std::uint64_t acknowledged_batches = 0;
  std::uint64_t failed_attempts = 0;
  std::uint64_t parked_entries = 0;  // Set aside by this uploader since it was made.
};

class Uploader {
 public:
  // All references must outlive the uploader.
  Uploader(Outbox& outbox, Transport& transport, Random& random, Log& log, const UploaderOptions& options);

  // Takes an answer, decides, sends what is due. Returns when to step again at the latest (an answer may come sooner).
  // `wall` is for Retry-After dates only. `flush`: send now what there is, do not wait for the interval.
  // Errors are the outbox's: kUnavailable means that the store must be reopened.
  Result<MonotonicTime> step(MonotonicTime now, UtcTime wall, bool flush);

  [[nodiscard]] const UploaderState& state() const { return state_; }

 private:
  enum class Aim {
    kBatch,  // The frozen batch itself.
    kProbe,  // Another row of a refused batch, sent alone to learn whether the receiver takes anything at all.
  };
  struct InFlight {
    FrozenBatch batch;
    Aim aim = Aim::kBatch;
  };
  // A refused batch is searched by halves: a row that offends lies in (acknowledged, bad_last].
  struct Search {
    Sequence bad_last = 0;        // 0: no such row is known now.
    Sequence batch_last = 0;      // Where the batch ended when it was first refused.
    bool other_accepted = false;  // Another row of it went through: the receiver works, the row is to blame.
    std::uint32_t probes = 0;     // Rows tried alone while the first row stands accused.
    std::string reason;
  };

  Status take(const UploadResponse& response, MonotonicTime now);
  Status take_accepted(const InFlight& sent, const Answer& answer, MonotonicTime now);
  Status take_refused(const InFlight& sent, const Answer& answer, MonotonicTime now);
  Status obey_resend(const Answer& answer, MonotonicTime now);
  Status park(const FrozenBatch& batch);
  void hold(MonotonicTime now);  // Rarer attempts, until an operator has done something.
  void back_off(const Answer& answer, MonotonicTime now);
  [[nodiscard]] std::optional<MonotonicTime> backlog_due(MonotonicTime now, bool flush);
  [[nodiscard]] Sequence search_end(const FrozenBatch& batch) const;
  Result<std::optional<InFlight>> next_to_send();
  Result<std::optional<InFlight>> probe_of(const FrozenBatch& accused);
  Status send(const InFlight& next);
  void prepare_next();
  void note_failure(const Answer& answer);

  // The body of the batch behind the one under way, made ready meanwhile.
  struct Ready {
    std::string token;
    PackedBody body;
  };

  Outbox& outbox_;
  Transport& transport_;
  Random& random_;
  Log& log_;
  UploaderOptions options_;
  UploaderState state_;
  std::optional<InFlight> in_flight_;
  std::optional<Ready> ready_;
  std::string last_token_;               // Of the newest attempt: a new one starts counting at 1.
  std::uint32_t failures_in_a_row_ = 0;  // Decides how long to back off.
  MonotonicTime next_attempt_{};
  std::optional<MonotonicTime> backlog_due_;  // When the waiting backlog has to leave.
  Sequence due_through_ = 0;                  // Entries up to here have waited long enough.
  std::optional<Search> search_;
  std::uint32_t refusals_ = 0;              // Of the same bytes: the second one counts.
  bool outcome_unknown_ = false;            // An attempt of the frozen batch may have been stored.
  std::optional<MonotonicTime> start_due_;  // What an earlier process left behind waits until then, once.
  std::optional<MonotonicTime> last_resend_;
  Sequence last_resend_wish_ = 0;
  std::uint64_t last_resend_missing_ = 0;
  Milliseconds resend_wait_{};
};

// Where an operator has to act: uniform in [cap / 2, cap].
Milliseconds held_wait(Milliseconds cap, Random& random);

// After a wish to wait: uniform between once and twice that long, for everybody was told the same.
Milliseconds wished_wait(Milliseconds wish, Milliseconds cap, Random& random);

// Full jitter: uniform in [0, min(cap, base * 2^(attempt-1))], but at least base / 2 after the first failure.
Milliseconds backoff_wait(std::uint32_t attempt, Milliseconds base, Milliseconds cap, Random& random);

}  // namespace nodemeter
