#include "agent/agent.h"

#include <algorithm>
#include <exception>

#include "platform/contract.h"
#include "platform/process.h"
#include "platform/text.h"
#include "store/reader.h"

namespace nodemeter {

namespace {

constexpr Milliseconds kMaintenanceInterval{60'000};

// Retention: how often to look, and the pause between two lots of one go.
constexpr Milliseconds kPruneInterval{600'000};
constexpr Milliseconds kPrunePause{1'000};

// Work that can wait begins only if no sample is due within this time (or half the interval, if that is less).
constexpr Milliseconds kQuiet{500};

constexpr std::string_view kStoreReplaced = R"({"event":"store-replaced")";

std::string phase_word(AgentPhase phase) {
  switch (phase) {
    case AgentPhase::kMetering: return "metering";
    case AgentPhase::kSourceDown: return "source down";
    case AgentPhase::kStoreFull: return "disk full";
    case AgentPhase::kFailed: return "failed";
  }
  return "failed";
}

Meter::Recall recall_from(const Journal& journal, const std::map<std::string, std::optional<std::string>>& pending) {
  return [&journal, &pending](const VmId& vm) -> std::optional<VmState> {
    const std::string key = gone_row_key(vm);
    if (const auto row = pending.find(key); row != pending.end()) {
      return row->second ? decode_vm_state(*row->second) : std::nullopt;
    }
    const auto rows = journal.state_rows(key);
    if (!rows || rows->empty()) return std::nullopt;
    return decode_vm_state(rows->front().second);
  };
}

}  // namespace

Agent::Agent(const AgentOptions& options, const Seams& seams, std::unique_ptr<Journal> journal)
    : options_(options),
      seams_(seams),
      journal_(std::move(journal)),
      keeper_(*journal_, seams.store, options.retention, seams.transport != nullptr || seams.medium != nullptr),
      meter_(options.meter, recall_from(*journal_, pending_rows_)),
      schedule_(options.sample_interval),
      started_(seams.clock.now().utc) {
  NM_ASSERT(seams_.transport == nullptr || seams_.medium == nullptr);
  if (seams_.medium != nullptr) {
    carrier_ = std::make_unique<Carrier>(*journal_, *seams_.medium, seams_.log, options_.carrier);
  }
  if (seams_.transport == nullptr) return;
  uploader_ = std::make_unique<Uploader>(*journal_, *seams_.transport, seams_.random, seams_.log, options_.uploader);
}

Result<std::unique_ptr<Agent>> Agent::open(const AgentOptions& options, const Seams& seams) {
  JournalOptions journal_options;
  journal_options.node = options.node;
  journal_options.location = options.location;
  journal_options.simulated = options.meter.simulated;
  journal_options.key = options.key;
  Result<std::unique_ptr<Journal>> journal = Journal::open(seams.store, journal_options, seams.random);
  if (!journal) return journal.error();
  std::unique_ptr<Agent> agent(new Agent(options, seams, std::move(journal).value()));
  if (Status restored = agent->restore(); !restored) return restored.error();
  if (Status noted = agent->note_replaced_store(); !noted) return noted.error();
  return agent;
}

Entry Agent::event_of_the_store(UtcTime now, std::string detail) const {
  Entry entry;
  entry.kind = EntryKind::kEvent;
  entry.usage_start = entry.usage_end = std::chrono::floor<std::chrono::seconds>(now);
  if (options_.meter.simulated) entry.status |= status_bit::kSimulated;
  entry.detail = std::move(detail);
  return entry;
}

// A store that took the place of a damaged one says so in its first entry, and status for a day.
Status Agent::note_replaced_store() {
  if (journal_->state().last_sequence == 0 && !options_.store_replaced.empty()) {
    JournalCommit first;
    const UtcTime now = seams_.clock.now().utc;
    first.entries.push_back(event_of_the_store(now, options_.store_replaced));
    if (Status committed = journal_->commit(first, now); !committed) return committed;
  }
  if (journal_->state().last_sequence == 0 || journal_->state().oldest_kept != 1) return Done{};
  return Reader::on(seams_.store)->for_each(1, [this](const Entry& entry, std::string_view) {
    if (entry.kind != EntryKind::kEvent || entry.detail.find(kStoreReplaced) == std::string::npos) return false;
    store_noticed_ = entry.reported_at;
    store_notice_ = "the journal was damaged and replaced at " + iso_time(entry.reported_at) +
                    ": see the first of nodemeter events, and nodemeter journal salvage";
    return false;
  });
}

Status Agent::restore() {
  std::vector<std::pair<std::string, std::string>> rows;
  for (const std::string_view prefix : {kNodeRowKey, kMovedRowKey, kVmRowPrefix}) {
    auto some = journal_->state_rows(prefix);
    if (!some) return some.error();
    std::move(some->begin(), some->end(), std::back_inserter(rows));
  }
  Result<StoredMeter> stored = decode_rows(rows);
  if (!stored) return stored.error();
  const JournalState& journal = journal_->state();
  if (journal.last_sequence == 0 && journal.previous_epoch != Epoch{}) return begin_from_copy(*stored);
  if (stored->node.started || !stored->node.gap_cause.empty()) meter_.restore(stored->node, std::move(stored->vms));
  return Done{};
}

// The store is an older copy of itself, opened for the first time. One commit says so and drops what the copy knew of
// counters and open hours: what was made of them after the copy may be at the receiver.
Status Agent::begin_from_copy(const StoredMeter& copy) {
  const JournalState& journal = journal_->state();
  const UtcTime now = seams_.clock.now().utc;
  const UtcTime known_until = meter_.restore_copy(copy.node, copy.vms, journal.last_reported_at);
  JournalCommit first;
  first.entries.push_back(event_of_the_store(
      now, R"({"event":"store-restored","how":"older copy","at":)" + json_quote(iso_time(now)) + ",\"known_until\":" +
               json_quote(iso_time(known_until)) + ",\"previous_epoch\":" + json_quote(journal.previous_epoch.text()) +
               ",\"previous_last_sequence\":" + std::to_string(journal.previous_last_sequence) + "}"));
  const auto all = journal_->state_rows("");
  if (!all) return all.error();
  for (const auto& [key, row] : *all) first.state.push_back({key, std::nullopt});
  for (auto& [key, row] : meter_.take_changed_rows()) first.state.push_back({std::move(key), std::move(row)});
  seams_.log.warning("the journal is an older copy: what was used since is declared a gap, not metered again",
                     {{"known_until", iso_time(known_until)}});
  return journal_->commit(first, now);
}

void Agent::begin_empty() {
  const ClockReading now = seams_.clock.now();
  meter_.begin_empty(now.boot, now.monotonic, now.utc);
}

MonotonicTime Agent::step() {
  const ClockReading now = seams_.clock.now();
  MonotonicTime next = now.monotonic + options_.sample_interval;
  guarded([&] { next = step_now(now); });
  return next;
}

void Agent::finish() {
  guarded([&] {
    const ClockReading now = seams_.clock.now();
    sample(now);
    collect(meter_.close_all());
    finishing_ = true;
    commit(now);
    next_upload_ = now.monotonic;
    publish();
  });
}

const UploaderState* Agent::delivery() const {
  if (uploader_) return &uploader_->state();
  return carrier_ ? &carrier_->state() : nullptr;
}

std::uint64_t Agent::undelivered() const { return carrier_ ? carrier_->unwritten() : backlog(); }

std::uint64_t Agent::backlog() const { return journal_->state().last_sequence - journal_->state().acknowledged; }

// A broken promise inside stops the agent, not the process that embeds it.
void Agent::guarded(const std::function<void()>& work) {
  if (phase_ == AgentPhase::kFailed) return;
  try {
    work();
  } catch (const std::exception& broken) {
    fail(broken.what());
  }
}

MonotonicTime Agent::step_now(const ClockReading& now) {
  const bool due = !next_sample_ || now.monotonic >= *next_sample_;
  if (!finishing_ && (seams_.source.take_urgency() || due)) {
    sample(now);
    next_sample_ = schedule_.next_after(seams_.clock.now());
    publish();
  }
  if (phase_ == AgentPhase::kFailed) return now.monotonic + options_.sample_interval;
  if (finishing_ && !pending_.entries.empty()) commit(now);
  upload(now);
  if (now.monotonic >= next_maintenance_) maintain(now);
  if (!finishing_ && (!next_prune_ || now.monotonic >= *next_prune_) && quiet(now)) prune(now);
  MonotonicTime next = finishing_ ? now.monotonic + kMaintenanceInterval : next_sample_.value_or(now.monotonic);
  if (uploader_ || carrier_) next = std::min(next, next_upload_);
  if (next_prune_ && *next_prune_ > now.monotonic) next = std::min(next, *next_prune_);
  return next;
}

bool Agent::quiet(const ClockReading& now) const {
  return next_sample_ && *next_sample_ - now.monotonic >= std::min(kQuiet, options_.sample_interval / 2);
}

void Agent::maintain(const ClockReading& now) {
  next_maintenance_ = now.monotonic + kMaintenanceInterval;
  seams_.store.maintain();
  if (seams_.live == nullptr) return;  // Nobody would see it.
  if (const Result<StoreForecast> forecast = keeper_.forecast(now.utc)) forecast_ = *forecast;
}

void Agent::prune(const ClockReading& now) {
  const Result<bool> more = keeper_.prune(now.utc);
  next_prune_ = now.monotonic + (more && *more ? kPrunePause : kPruneInterval);
  if (more || more.error().code == ErrorCode::kFull) return;
  if (more.error().code == ErrorCode::kUnavailable || more.error().code == ErrorCode::kCorrupt) {
    return fail(more.error());
  }
  seams_.log.error("entries past retention cannot be deleted", {{"why", more.error().message}});
}

void Agent::sample(const ClockReading& now) {
  Result<Sample> sample = seams_.source.read_all();
  if (!sample) {
    if (source_reason_ != sample.error().message) {
      seams_.log.error("the hypervisor cannot be read: this time is a gap until it answers",
                       {{"why", sample.error().message}});
    }
    source_reason_ = sample.error().message;
    meter_.source_failed("source failed");
    phase_ = AgentPhase::kSourceDown;
    reason_ = source_reason_;
    return;
  }
  if (!source_reason_.empty()) seams_.log.info("the hypervisor answers again");
  source_reason_.clear();
  collect(meter_.step(*sample));
  if (meter_.clock_moved_ms() > kClockStepMin.count() || meter_.clock_moved_ms() < -kClockStepMin.count()) {
    seams_.log.warning("the wall clock was set", {{"by_ms", std::to_string(meter_.clock_moved_ms())}});
  }
  commit(now);
  const ClockReading end = seams_.clock.now();
  sample_duration_us_ = static_cast<std::uint64_t>((end.monotonic - now.monotonic).count()) * 1000;
}

void Agent::collect(std::vector<Entry> entries) {
  // What waits from earlier could not be written down in time.
  for (Entry& waiting : pending_.entries) {
    if (waiting.kind == EntryKind::kUsage) waiting.status |= status_bit::kLate;
  }
  note_gaps(entries, meter_.node().last_utc);
  std::move(entries.begin(), entries.end(), std::back_inserter(pending_.entries));
  for (auto& [key, row] : meter_.take_changed_rows()) pending_rows_.insert_or_assign(std::move(key), std::move(row));
}

void Agent::commit(const ClockReading& now) {
  // What an hour's close brought is signed in the commit that brings it; and at the end whatever there is.
  const std::int64_t closed_until = meter_.node().closed_until;
  const JournalState& journal = journal_->state();
  const bool unsigned_rest = journal.last_sequence + pending_.entries.size() > journal.manifested + 1;
  if (closed_until > journal.closed_until || (finishing_ && unsigned_rest)) pending_.closed_until = closed_until;
  pending_.state.clear();
  for (const auto& [key, row] : pending_rows_) pending_.state.push_back({key, row});
  const Status committed = journal_->commit(pending_, now.utc);
  if (committed) {
    if (phase_ == AgentPhase::kStoreFull)
      seams_.log.info("the store has room again: everything that waited is committed");
    pending_ = JournalCommit{};
    pending_rows_.clear();
    phase_ = AgentPhase::kMetering;
    reason_.clear();
    return;
  }
  if (committed.error().code != ErrorCode::kFull) {
    fail(committed.error());
    return;
  }
  if (phase_ != AgentPhase::kStoreFull) {
    seams_.log.error("the store is full: metering goes on in memory", {{"why", committed.error().message}});
  }
  phase_ = AgentPhase::kStoreFull;
  reason_ = committed.error().message;
}

void Agent::upload(const ClockReading& now) {
  if (!uploader_ && !carrier_) return;
  const Result<MonotonicTime> next =
      uploader_ ? uploader_->step(now.monotonic, now.utc, finishing_) : carrier_->step(now.monotonic, finishing_);
  if (next) {
    next_upload_ = *next;
    return;
  }
  if (next.error().code == ErrorCode::kFull) {
    next_upload_ = now.monotonic + options_.sample_interval;
    return;
  }
  fail(next.error());
}

void Agent::fail(const Error& error) {
  store_damaged_ = error.code == ErrorCode::kCorrupt;
  fail(error.message);
}

void Agent::fail(const std::string& why) {
  phase_ = AgentPhase::kFailed;
  reason_ = why;
  seams_.log.error("the agent stops: it appends nothing more", {{"why", why}});
  if (seams_.live) publish();
}

// --- The live view --------------------------------------------------------------------------------------------------

void Agent::note_gaps(const std::vector<Entry>& entries, UtcTime now) {
  const auto today = std::chrono::floor<std::chrono::days>(now);
  if (today != gap_day_) {
    gap_day_ = today;
    gaps_today_ = gap_ms_today_ = 0;
  }
  for (const Entry& entry : entries) {
    if (entry.kind != EntryKind::kGap) continue;
    ++gaps_today_;
    gap_ms_today_ += static_cast<std::uint64_t>(Milliseconds(entry.usage_end - entry.usage_start).count());
  }
}

void Agent::publish() {
  if (seams_.live == nullptr) return;
  LiveSnapshot snapshot;
  snapshot.node = live_node();
  snapshot.vms = live_vms();
  seams_.live->publish(snapshot);
}

LiveNode Agent::live_node() {
  const JournalState& journal = journal_->state();
  LiveNode node;
  node.node = options_.node.text();
  node.version = options_.version;
  node.source = seams_.source.description();
  node.state = phase_word(phase_);
  node.reason = reason_;
  if (reason_.empty() && meter_.node().last_utc < store_noticed_ + std::chrono::days(1)) node.reason = store_notice_;
  node.process_id = current_process();
  node.started = started_;
  node.sampled = meter_.node().last_utc;
  node.sampled_monotonic = meter_.node().last_sample;
  node.sample_interval_ms = static_cast<std::uint64_t>(options_.sample_interval.count());
  node.sample_duration_us = sample_duration_us_;
  node.clock_synchronised = meter_.node().synchronised;
  node.clock_offset_moved_ms = meter_.clock_moved_ms();
  node.epoch = journal.epoch;
  node.last_sequence = journal.last_sequence;
  node.acknowledged = journal.acknowledged;
  const UploaderState* const sending = delivery();
  node.uploading = sending != nullptr;
  if (sending != nullptr) {
    node.upload_state = sending->phase;
    node.upload_reason = sending->reason;
  }
  node.parked = journal.parked;
  const KeyValue::Usage usage = seams_.store.usage();
  node.store_used_bytes = usage.used_bytes;
  node.store_size_max_bytes = usage.size_max_bytes;
  node.store_bytes_per_day = forecast_.bytes_per_day;
  node.store_retained_bytes = forecast_.retained_bytes;
  if (sending != nullptr) {
    if (const Result<UtcTime> oldest = keeper_.oldest_unacknowledged()) node.oldest_unacknowledged = *oldest;
  }
  node.gaps_today = gaps_today_;
  node.gap_ms_today = gap_ms_today_;
  if (const NodeState& state = meter_.node(); !state.gap_cause.empty()) {  // Goes on, and has no entry yet.
    ++node.gaps_today;
    if (state.last_utc > state.gap_from) {
      node.gap_ms_today += static_cast<std::uint64_t>((state.last_utc - state.gap_from).count());
    }
  }
  node.simulated = options_.meter.simulated;
  const OwnersState owners = seams_.source.owners_state();
  node.owners_fault = owners.fault;
  node.owners_listed = owners.entries;
  node.owner_conflicts = owners.conflicts;
  return node;
}

namespace {

// What was recorded and what the open hours hold on top of it.
void add_registers(const VmState& vm, LiveVm& row) {
  for (const MeterInfo& info : meter_catalogue()) {
    if (info.index == MeterIndex::kWindowsVmHours) continue;
    std::uint64_t sum = at(vm.registers, info.index);
    if (info.index == MeterIndex::kBaseVmHours) sum += at(vm.registers, MeterIndex::kWindowsVmHours);
    bool known = sum != 0;
    for (const auto& [hour, open] : vm.hours) {
      sum += at(open.quantity, info.index);
      known = known || (open.metered & (1u << static_cast<unsigned>(info.index))) != 0;
    }
    if (known) row.registers[static_cast<std::size_t>(info.index)] = sum;
  }
}

}  // namespace

std::vector<LiveVm> Agent::live_vms() const {
  constexpr std::int64_t kHourMs = 3'600'000;
  const std::int64_t hour = meter_.node().last_utc.time_since_epoch().count() / kHourMs;
  std::vector<LiveVm> rows;
  for (const auto& stored : meter_.vms()) {
    const VmState& vm = stored.second;
    if (!vm.present) continue;
    LiveVm row;
    row.vm = vm.vm;
    row.name = vm.name;
    row.subscription = vm.owner->subscription;
    row.tenant = vm.owner->tenant;
    row.owner_known = vm.owner->known;
    row.billable = vm.owner->billable;
    row.windows_licence = vm.owner->windows_licence;
    row.power = static_cast<std::uint8_t>(vm.levels.power);
    row.vcores = vm.levels.vcores;
    row.memory_mib = vm.levels.memory_mib;
    row.disk_mib = vm.levels.disk_mib.value_or(0);
    const auto per_second = [&](MeterIndex meter) -> std::optional<std::uint64_t> {
      const std::optional<std::uint64_t>& delta = vm.rates.delta[static_cast<std::size_t>(meter)];
      if (!delta || vm.rates.span_ms == 0) return std::nullopt;
      return *delta * 1000 / vm.rates.span_ms;
    };
    row.cpu_permille = per_second(MeterIndex::kCpuTime);
    if (row.cpu_permille) *row.cpu_permille /= 1000;  // Microseconds per second to thousandths of a core.
    row.disk_read_bytes_per_s = per_second(MeterIndex::kDiskReadBytes);
    row.disk_write_bytes_per_s = per_second(MeterIndex::kDiskWriteBytes);
    row.network_receive_bytes_per_s = per_second(MeterIndex::kNetworkReceiveBytes);
    row.network_transmit_bytes_per_s = per_second(MeterIndex::kNetworkTransmitBytes);
    if (const auto open = vm.hours.find(hour); open != vm.hours.end()) {
      row.hour_vcore_ms = at(open->second.quantity, MeterIndex::kBaseVmHours);
      row.hour_gap_ms = static_cast<std::uint64_t>(std::max<std::int64_t>(0, open->second.gap_ms));
      row.status = open->second.status;
    }
    add_registers(vm, row);
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace nodemeter
