// The agent: a source, a meter, a journal and an uploader on one thread. Start reading here.
//
//   source -> Sample -> meter -> one commit { entries, state } -> live view
//                                                              -> uploader -> aggregator
//
// step() runs to completion with time standing still inside; it blocks only as long as the source's deadline and one
// durable commit take. Nothing global: no signal handlers, no threads of its own, no abort. A failed assertion turns
// the agent Failed: it appends nothing more, and its owner decides (the daemon exits and is restarted).
//
// Threads: one at a time.

#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/meter.h"
#include "agent/schedule.h"
#include "agent/store_keeper.h"
#include "collectors/source.h"
#include "platform/clock.h"
#include "platform/log.h"
#include "platform/random.h"
#include "store/journal.h"
#include "store/live_view.h"
#include "uploader/carrier.h"
#include "uploader/uploader.h"

namespace nodemeter {

struct AgentOptions {
  NodeId node;
  std::string location = "local";
  std::string version;
  std::optional<SigningKey> key;  // Signs a manifest for every hour that closes.
  Milliseconds sample_interval{10'000};
  MeterOptions meter;
  UploaderOptions uploader;
  // Detail (JSON) of an event that a new store begins with; "": none. It is shown as a reason for a day.
  std::string store_replaced;
  CarrierOptions carrier;
  Milliseconds retention{400ll * 86'400'000};  // From acknowledgement, or from reporting where nothing is delivered.
};

// Everything outside. All must outlive the agent; `transport` and `medium` null: metering only, and at most one of them
// is not; `live` null: no live view.
struct Seams {
  Clock& clock;
  Source& source;
  KeyValue& store;
  Transport* transport = nullptr;
  LiveWriter* live = nullptr;
  Random& random;
  Log& log;
  Medium* medium = nullptr;
};

enum class AgentPhase { kMetering, kSourceDown, kStoreFull, kFailed };

class Agent {
 public:
  // Opens the journal and takes up where it ended. Errors are Journal::open's.
  static Result<std::unique_ptr<Agent>> open(const AgentOptions& options, const Seams& seams);

  // Declares that this store has watched the node without any VM until now. For simulations, before the first step.
  void begin_empty();

  // Samples, commits, closes, uploads: whatever is due. Returns when to call again at the latest; a source's urgency or
  // a transport's answer is a reason to call sooner. After kFailed it does nothing.
  MonotonicTime step();

  // Makes a sample due: the machine has slept, or its clock was set.
  void sample_soon() { next_sample_.reset(); }

  // Samples once more, closes every open hour (partial where it is not over), commits. Then step() only uploads,
  // without waiting, until undelivered() is zero. For the end of a simulation and for a node that leaves the site.
  void finish();

  [[nodiscard]] AgentPhase phase() const { return phase_; }
  [[nodiscard]] const std::string& reason() const { return reason_; }
  // Failed because what is stored makes no sense: the owner puts the store aside and opens an agent on a new one.
  [[nodiscard]] bool store_damaged() const { return store_damaged_; }
  [[nodiscard]] std::uint64_t backlog() const;  // Entries not yet acknowledged.
  // Entries for which the agent can still do something: with a medium, those that are not on it.
  [[nodiscard]] std::uint64_t undelivered() const;
  [[nodiscard]] const Journal& journal() const { return *journal_; }
  [[nodiscard]] const Meter& meter() const { return meter_; }

 private:
  Agent(const AgentOptions& options, const Seams& seams, std::unique_ptr<Journal> journal);

  Status restore();
  void guarded(const std::function<void()>& work);
  MonotonicTime step_now(const ClockReading& now);
  void sample(const ClockReading& now);
  void collect(std::vector<Entry> entries);
  void commit(const ClockReading& now);
  void upload(const ClockReading& now);
  void maintain(const ClockReading& now);
  void prune(const ClockReading& now);
  [[nodiscard]] bool quiet(const ClockReading& now) const;
  void publish();
  [[nodiscard]] LiveNode live_node();
  [[nodiscard]] std::vector<LiveVm> live_vms() const;
  void note_gaps(const std::vector<Entry>& entries, UtcTime now);
  void fail(const std::string& why);
  void fail(const Error& error);
  Status note_replaced_store();
  Status begin_from_copy(const StoredMeter& copy);
  [[nodiscard]] Entry event_of_the_store(UtcTime now, std::string detail) const;

  const AgentOptions options_;
  Seams seams_;
  std::unique_ptr<Journal> journal_;
  StoreKeeper keeper_;
  Meter meter_;
  Schedule schedule_;
  std::unique_ptr<Uploader> uploader_;
  std::unique_ptr<Carrier> carrier_;
  [[nodiscard]] const UploaderState* delivery() const;  // Null: nothing is delivered.

  // Made by the meter, not yet durable: of one sample in the ordinary case, of several while the store is full.
  JournalCommit pending_;
  std::map<std::string, std::optional<std::string>> pending_rows_;

  AgentPhase phase_ = AgentPhase::kMetering;
  std::string reason_;
  bool store_damaged_ = false;
  std::string store_notice_;  // Shown while nothing worse is, for a day.
  UtcTime store_noticed_{};
  std::string source_reason_;
  bool finishing_ = false;
  UtcTime started_{};
  std::optional<MonotonicTime> next_sample_;  // Nothing: at once.
  MonotonicTime next_upload_{};
  MonotonicTime next_maintenance_{};
  std::uint64_t sample_duration_us_ = 0;
  std::optional<MonotonicTime> next_prune_;  // Nothing: at once.
  StoreForecast forecast_;
  std::chrono::sys_days gap_day_{};
  std::uint64_t gaps_today_ = 0;
  std::uint64_t gap_ms_today_ = 0;
};

}  // namespace nodemeter
