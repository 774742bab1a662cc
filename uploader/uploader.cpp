#include "uploader/uploader.h"

#include <algorithm>
#include <utility>

#include "store/entry_codec.h"

namespace nodemeter {
namespace {

// An answer wakes the agent; this is only how long a lost wake-up can cost.
constexpr Milliseconds kPollInterval{1'000};

// A receiver may ask for patience, but not forever: a Retry-After of a year is somebody's mistake.
constexpr Milliseconds kRetryAfterMax{3'600'000};

// The same wish to resend waits at most this long before it is obeyed again.
constexpr Milliseconds kResendWaitMax{7 * 86'400'000ll};

// How many other rows are tried alone before the receiver is held to refuse everything.
constexpr std::uint32_t kProbesMax = 16;

UploadRequest request_for(const NodeId& node, const FrozenBatch& batch, std::uint32_t attempt, PackedBody body) {
  UploadRequest request;
  request.url_suffix_token = batch.token;
  request.headers = {
      {"Nodemeter-Node", node.text()},
      {"Nodemeter-Epoch", batch.epoch.text()},
      {"Nodemeter-Sequence", std::to_string(batch.first) + "-" + std::to_string(batch.last)},
      {"Nodemeter-Digest", batch.head.hex()},
      {"Nodemeter-Attempt", std::to_string(attempt)},
  };
  request.body = std::move(body.bytes);
  request.encoding = std::move(body.encoding);
  return request;
}

// Whether the attempt has certainly stored nothing.
bool outcome_is_known(const UploadResponse& response, const Answer& answer) {
  if (response.sent_nothing || response.configuration_error) return true;
  return answer.verdict == Verdict::kHeld || answer.verdict == Verdict::kData;
}

}  // namespace

Milliseconds backoff_wait(std::uint32_t attempt, Milliseconds base, Milliseconds cap, Random& random) {
  Milliseconds ceiling = std::min(base, cap);
  for (std::uint32_t i = 1; i < attempt && ceiling < cap; ++i) ceiling = std::min(cap, ceiling * 2);
  const auto span = static_cast<std::uint64_t>(std::max<std::int64_t>(1, ceiling.count()));
  const Milliseconds wait(static_cast<std::int64_t>(random.below(span)));
  return std::max(wait, std::min(base / 2, cap));
}

Milliseconds held_wait(Milliseconds cap, Random& random) {
  const Milliseconds half = cap / 2;
  return half +
         Milliseconds(static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>((cap - half).count()) + 1)));
}

Milliseconds wished_wait(Milliseconds wish, Milliseconds cap, Random& random) {
  const Milliseconds spread = std::min(wish, cap);
  return wish + Milliseconds(static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(spread.count()) + 1)));
}

Uploader::Uploader(Outbox& outbox, Transport& transport, Random& random, Log& log, const UploaderOptions& options)
    : outbox_(outbox), transport_(transport), random_(random), log_(log), options_(options) {
  resend_wait_ = options_.resend_interval_min;
  options_.limits.rows_max = std::min(options_.limits.rows_max, kBatchRowsMax);
  options_.limits.bytes_max = std::min(options_.limits.bytes_max, kBatchBytesMax);
  // An attempt of an earlier process may have arrived: nobody is left who knows.
  outcome_unknown_ = outbox_.state().frozen.has_value();
  // An answer to an uploader that is gone is nobody's: the batch goes again.
  transport_.cancel();
}

Result<MonotonicTime> Uploader::step(MonotonicTime now, UtcTime, bool flush) {
  if (in_flight_) {
    const std::optional<UploadResponse> response = transport_.poll();
    if (!response) return now + kPollInterval;
    if (const Status taken = take(*response, now); !taken) return taken.error();
  }
  if (now < next_attempt_) return next_attempt_;
  const std::optional<MonotonicTime> due = backlog_due(now, flush);
  if (!due) {
    if (state_.reason.empty()) state_.phase = "idle";
    return now + options_.interval;
  }
  if (now < *due) return *due;

  Result<std::optional<InFlight>> next = next_to_send();
  if (!next) return next.error();
  if (!next->has_value()) return now + options_.interval;
  if (const Status sent = send(**next); !sent) return sent.error();
  return now + kPollInterval;
}

// When the backlog has to leave; nothing if there is none.
std::optional<MonotonicTime> Uploader::backlog_due(MonotonicTime now, bool flush) {
  const DeliveryState& state = outbox_.state();
  // What an earlier process left behind has waited long enough; but a whole site may have got its power back just now.
  if (!start_due_) {
    due_through_ = state.last_sequence;
    start_due_ = now + Milliseconds(static_cast<std::int64_t>(
                           random_.below(static_cast<std::uint64_t>((options_.interval / 2).count()) + 1)));
  }
  const bool backlog = state.frozen || state.last_sequence > state.acknowledged;
  if (!backlog) {
    backlog_due_.reset();
    return std::nullopt;
  }
  const std::uint64_t waiting = state.last_sequence - std::min(state.acknowledged, state.last_sequence);
  if (flush) return now;
  if (state.frozen || search_ || state.acknowledged < due_through_ || waiting >= options_.limits.rows_max) {
    return std::max(now, *start_due_);
  }
  if (!backlog_due_) {
    // Hours end everywhere at once. Within the promised interval every node picks its own moment.
    const Milliseconds half = options_.interval / 2;
    const auto span = static_cast<std::uint64_t>(std::max<std::int64_t>(1, (options_.interval - half).count()));
    backlog_due_ = now + half + Milliseconds(static_cast<std::int64_t>(random_.below(span)));
  }
  return backlog_due_;
}

// How far the next batch may reach while rows that offend are searched for.
Sequence Uploader::search_end(const FrozenBatch& batch) const {
  if (!search_) return batch.last;
  // A row that offends is known to lie in [first, bad_last]: half of that, not another full batch.
  if (batch.first < search_->bad_last && batch.last >= search_->bad_last) {
    return batch.first + (search_->bad_last - batch.first) / 2;
  }
  if (batch.first == search_->bad_last) return batch.first;
  // What went through speaks for rows of the same batch only.
  return std::min(batch.last, std::max(batch.first, search_->batch_last));
}

Result<std::optional<Uploader::InFlight>> Uploader::next_to_send() {
  Result<std::optional<FrozenBatch>> frozen = outbox_.freeze_next(options_.limits);
  if (!frozen) return frozen.error();
  if (!frozen->has_value()) return std::optional<InFlight>();
  backlog_due_.reset();
  FrozenBatch batch = **frozen;
  // Nothing of the searched batch is left: what follows stands for itself.
  if (search_ && batch.first > search_->batch_last) {
    search_.reset();
    refusals_ = 0;
  }
  if (const Sequence end = search_end(batch); end < batch.last) {
    if (const Status cut = outbox_.refreeze(end); !cut) return cut.error();
    NM_ASSERT(outbox_.state().frozen.has_value());
    batch = *outbox_.state().frozen;
  }
  if (!search_) due_through_ = std::max(due_through_, batch.last);
  if (search_ && batch.first == batch.last && refusals_ >= 2 && !search_->other_accepted) return probe_of(batch);
  return std::optional<InFlight>(InFlight{.batch = std::move(batch), .aim = Aim::kBatch});
}

// A single row stands accused, and nothing of its batch went through yet. Another row, alone, tells whether the
// receiver takes anything. Its bytes and its token are those of the journal, so that sending it again later is a
// repeat like any other. Every second turn is the accused row's own: it may have become acceptable.
Result<std::optional<Uploader::InFlight>> Uploader::probe_of(const FrozenBatch& accused) {
  const std::uint32_t turn = search_->probes++;
  // At first a row of the same batch; if none of them goes through, they may all offend, and any later row will do.
  const Sequence newest = outbox_.state().last_sequence;
  const Sequence reach = turn < kProbesMax ? std::max(search_->batch_last, accused.last + 1) : newest;
  const Sequence last = std::min(reach, newest);
  const bool can_probe = options_.receiver_removes_repeats && last > accused.last && turn % 2 == 0;
  if (!can_probe) return std::optional<InFlight>(InFlight{.batch = accused, .aim = Aim::kBatch});

  const Sequence distance = Sequence{1} << std::min<std::uint32_t>(turn / 2 % kProbesMax, 62);
  FrozenBatch probe;
  probe.epoch = accused.epoch;
  probe.first = probe.last = std::min(accused.last + distance, last);
  const Result<std::string> body = outbox_.batch_body(probe);
  if (!body) return body.error();
  const Result<DecodedEntry> row = decode_entry(*body);
  if (!row) return row.error();
  probe.head = row->entry.digest;
  probe.token = batch_token(outbox_.state().node, probe.epoch, probe.first, probe.last, *body);
  return std::optional<InFlight>(InFlight{.batch = std::move(probe), .aim = Aim::kProbe});
}

Status Uploader::send(const InFlight& next) {
  PackedBody body;
  if (ready_ && ready_->token == next.batch.token) {
    body = std::move(ready_->body);
    ready_.reset();
  } else {
    Result<std::string> rows = outbox_.batch_body(next.batch);
    if (!rows) return rows.error();
    body = transport_.packed(std::move(*rows));
  }
  state_.attempt = next.batch.token == last_token_ ? state_.attempt + 1 : 1;
  last_token_ = next.batch.token;
  state_.phase = "sending";
  in_flight_ = next;
  transport_.begin(request_for(outbox_.state().node, next.batch, state_.attempt, std::move(body)));
  prepare_next();
  return Done{};
}

// What follows is cut and packed while this travels; it is sent only after its range is committed. Where rows are
// searched for, the next cut depends on the answer.
void Uploader::prepare_next() {
  if (in_flight_->aim == Aim::kProbe || search_) return;
  const std::optional<FrozenBatch> next = outbox_.prepare_next(options_.limits);
  if (next && ready_ && ready_->token == next->token) return;
  ready_.reset();
  if (!next) return;
  // A fault shows when the batch is frozen and read again.
  Result<std::string> rows = outbox_.batch_body(*next);
  if (rows) ready_ = Ready{.token = next->token, .body = transport_.packed(std::move(*rows))};
}

Status Uploader::take(const UploadResponse& response, MonotonicTime now) {
  NM_ASSERT(in_flight_.has_value());
  const InFlight sent = *std::exchange(in_flight_, std::nullopt);
  const Answer answer = classify(response, sent.batch.last);
  if (answer.verdict == Verdict::kAccepted) return take_accepted(sent, answer, now);

  if (sent.aim == Aim::kBatch && !outcome_is_known(response, answer)) outcome_unknown_ = true;
  note_failure(answer);
  if (answer.verdict == Verdict::kData) return take_refused(sent, answer, now);
  back_off(answer, now);
  return Done{};
}

Status Uploader::take_accepted(const InFlight& sent, const Answer& answer, MonotonicTime now) {
  failures_in_a_row_ = 0;
  next_attempt_ = now;
  if (sent.aim == Aim::kProbe) {
    // The accused row now goes once more, and is set aside if it is refused again.
    if (search_) search_->other_accepted = true;
    return Done{};
  }
  if (Status marked = outbox_.acknowledge_frozen(); !marked) return marked;
  if (!state_.reason.empty()) log_.info("upload works again", {{"acknowledged", std::to_string(sent.batch.last)}});
  ++state_.acknowledged_batches;
  state_.reason.clear();
  state_.phase = "idle";
  outcome_unknown_ = false;
  refusals_ = 0;
  if (search_) {
    search_->other_accepted = true;
    search_->probes = 0;
    if (sent.batch.last >= search_->bad_last) search_->bad_last = 0;
    if (sent.batch.last >= search_->batch_last) search_.reset();
  }
  if (answer.resend_from) return obey_resend(answer, now);
  return Done{};
}

Status Uploader::obey_resend(const Answer& answer, MonotonicTime now) {
  const Sequence from = *answer.resend_from;
  const std::uint64_t missing = answer.missing.value_or(0);
  if (from > outbox_.state().acknowledged) return Done{};
  const bool same_wish = last_resend_ && from == last_resend_wish_ && missing <= last_resend_missing_;
  // A wish that sending again did not fulfil waits longer each time. Another one is of something that was lost since:
  // from elsewhere on, or more than before above a row that the receiver will never take.
  const Milliseconds wait = same_wish ? resend_wait_ : options_.resend_interval_min;
  if (last_resend_ && now - *last_resend_ < wait) return Done{};
  resend_wait_ = same_wish ? std::min(kResendWaitMax, resend_wait_ * 2) : options_.resend_interval_min;
  last_resend_ = now;
  last_resend_wish_ = from;
  last_resend_missing_ = missing;
  log_.warning("the receiver misses entries and gets them again", {{"from", std::to_string(from)}});
  if (Status reopened = outbox_.resend_from(from); !reopened) return reopened;
  due_through_ = outbox_.state().last_sequence;
  return Done{};
}

// Something in the batch is refused. The same bytes go once more, for a body can be damaged on its way; then halves.
Status Uploader::take_refused(const InFlight& sent, const Answer& answer, MonotonicTime now) {
  const FrozenBatch& batch = sent.batch;
  const auto soon = [&] {
    next_attempt_ = now + backoff_wait(1, options_.backoff_base, options_.backoff_cap, random_);
  };
  state_.phase = "backing off";
  if (sent.aim == Aim::kProbe) {
    if (search_ && search_->probes >= 2 * kProbesMax) {
      // It takes nothing at all: that is for an operator, and no row is set aside for it.
      hold(now);
      return Done{};
    }
    soon();
    return Done{};
  }
  ++refusals_;
  const bool whole_or_single = !search_ || batch.first == batch.last;
  if (whole_or_single && refusals_ < 2) {
    soon();
    return Done{};
  }
  if (outcome_unknown_ && !options_.receiver_removes_repeats) {
    state_.reason = answer.reason + "; an earlier attempt may have been stored, so the batch is not cut";
    hold(now);
    return Done{};
  }
  if (!search_) search_ = Search{.bad_last = batch.last, .batch_last = batch.last, .reason = {}};
  search_->bad_last = batch.last;
  search_->reason = answer.reason;
  if (batch.first < batch.last) {
    refusals_ = 0;
    outcome_unknown_ = false;
    soon();
    return outbox_.refreeze(batch.first + (batch.last - batch.first) / 2);
  }
  if (search_->other_accepted) return park(batch);
  if (search_->probes >= 2 * kProbesMax || batch.last >= outbox_.state().last_sequence) {
    hold(now);
    return Done{};
  }
  soon();
  return Done{};
}

Status Uploader::park(const FrozenBatch& batch) {
  const std::string reason = search_->reason;
  if (Status parked = outbox_.park_frozen(reason); !parked) return parked;
  log_.error("the receiver refuses one entry: it is parked, the rest goes on",
             {{"sequence", std::to_string(batch.first)}, {"reason", reason}});
  ++state_.parked_entries;
  refusals_ = 0;
  outcome_unknown_ = false;
  // The rest of the batch has already shown that the receiver works; past it, a new refusal has to show it again.
  if (batch.last >= search_->batch_last) {
    search_.reset();
  } else {
    search_->bad_last = 0;
    search_->probes = 0;
  }
  return Done{};
}

void Uploader::note_failure(const Answer& answer) {
  ++state_.failed_attempts;
  if (state_.reason == answer.reason) return;
  state_.reason = answer.reason;
  log_.warning("a batch was not acknowledged",
               {{"attempt", std::to_string(state_.attempt)}, {"reason", answer.reason}});
}

void Uploader::hold(MonotonicTime now) {
  ++failures_in_a_row_;
  state_.phase = "held";
  next_attempt_ = now + held_wait(options_.backoff_cap, random_);
}

void Uploader::back_off(const Answer& answer, MonotonicTime now) {
  if (answer.verdict == Verdict::kHeld) return hold(now);
  ++failures_in_a_row_;
  state_.phase = "backing off";
  const Milliseconds wait = backoff_wait(failures_in_a_row_, options_.backoff_base, options_.backoff_cap, random_);
  const Milliseconds wish = std::min(answer.retry_after.value_or(Milliseconds(0)), kRetryAfterMax);
  next_attempt_ = now + std::max(wait, wished_wait(wish, options_.backoff_cap, random_));
}

}  // namespace nodemeter
