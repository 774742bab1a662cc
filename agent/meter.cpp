#include "agent/meter.h"

#include <algorithm>

#include "agent/meter_time.h"
#include "platform/contract.h"
#include "platform/text.h"

namespace nodemeter {

namespace {

std::string_view event_word(VmEventKind kind) {
  switch (kind) {
    case VmEventKind::kArrived: return "arrived";
    case VmEventKind::kDeparted: return "departed";
    case VmEventKind::kStarted: return "started";
    case VmEventKind::kStopped: return "stopped";
    case VmEventKind::kPaused: return "paused";
    case VmEventKind::kResumed: return "resumed";
    case VmEventKind::kResized: return "resized";
    case VmEventKind::kRebooted: return "rebooted";
  }
  return "unknown";
}

// The source could not tell which process the device belongs to.
bool run_unknown(const DeviceReading& device) { return device.run == 0; }

// What an event tells about levels; what it leaves open stays.
Levels told(const Levels& before, Levels event) {
  if (!event.disk_mib) event.disk_mib = before.disk_mib;
  return event;
}

// Whether less would be allocated or used from the event on.
bool lowers(const Levels& levels, const VmEvent& event) {
  if (event.kind == VmEventKind::kDeparted || event.kind == VmEventKind::kStopped) return true;
  return event.levels && smaller(levels, told(levels, *event.levels)) != levels;
}

}  // namespace

Meter::Meter(const MeterOptions& options, Recall recall) : options_(options), recall_(std::move(recall)) {}

void Meter::restore(NodeState node, std::vector<VmState> vms) {
  NM_ASSERT(!node_.started);
  node_ = std::move(node);
  for (VmState& vm : vms) {
    if (!vm.present || vm.levels.power == Power::kOff) vm.no_run_at = vm.seen;
    const VmId id = vm.vm;
    vms_.emplace(id, std::move(vm));
  }
}

UtcTime Meter::restore_copy(const NodeState& node, const std::vector<VmState>& vms, UtcTime last_entry) {
  NM_ASSERT(!node_.started);
  UtcTime known_until = node.started ? node.last_utc : last_entry;
  if (!node.gap_cause.empty()) known_until = std::min(known_until, node.gap_from);
  for (const VmState& vm : vms) {
    if (!vm.hours.empty()) known_until = std::min(known_until, utc_from_ms(vm.hours.begin()->first * kHourMs));
  }
  node_.gap_cause = "older copy of the store";
  node_.gap_from = known_until;
  node_changed_ = true;
  return known_until;
}

void Meter::begin_empty(const BootId& boot, MonotonicTime monotonic, UtcTime utc_now) {
  node_.started = true;
  node_.boot = boot;
  node_.last_sample = node_.last_complete = monotonic;
  node_.offset_ms = ms(utc_now) - monotonic.time_since_epoch().count();
  node_.last_utc = utc_now;
  node_.closed_until = hour_of(ms(utc_now));
  node_changed_ = true;
  gap_cause_.clear();
}

void Meter::source_failed(std::string cause) {
  if (gap_cause_.empty()) gap_cause_ = std::move(cause);
}

std::vector<Entry> Meter::step(const Sample& sample) {
  begin_interval(sample);
  for (const VmEvent& event : sample.events) apply(event);
  for (const VmReading& reading : sample.vms) observe(reading);
  for (auto& [id, vm] : vms_) settle_unlisted(vm);
  end_interval();
  close_due();
  forget_departed();
  interval_ = Interval{};
  return std::exchange(entries_, {});
}

std::vector<Entry> Meter::close_all() {
  const std::int64_t now = ms(node_.last_utc);
  for (auto& [id, vm] : vms_) {
    close_hours(vm, hour_of(now), false);
    close_hours(vm, INT64_MAX, true);
  }
  tell_gap(node_.last_utc);
  node_.closed_until = std::max(node_.closed_until, hour_of(now));
  node_changed_ = true;
  forget_departed();
  return std::exchange(entries_, {});
}

// --- One interval: from the previous sample to this one ------------------------------------------------------------

void Meter::begin_interval(const Sample& sample) {
  interval_.sample = &sample;
  interval_.first = !node_.started;
  if (interval_.first) interval_.previous_complete = kNeverComplete;
  interval_.rebooted = node_.started && node_.boot != sample.boot;
  interval_.offset_ms = ms(sample.wall) - sample.taken_at.time_since_epoch().count();
  const bool same_boot = node_.started && !interval_.rebooted;
  if (same_boot) interval_.previous_complete = node_.last_complete;
  NM_ASSERT(!same_boot || sample.taken_at >= node_.last_sample);
  if (!same_boot) node_.offset_ms = interval_.offset_ms;  // Instants of this boot have no other label.
  interval_.watched = same_boot && sample.events_unbroken && gap_cause_.empty();
  if (!interval_.watched) watched_from_ = sample.taken_at;
  if (interval_.first) {
    node_.closed_until = hour_of(ms(sample.wall));
    record_event(nullptr, "metering-started", "first sample of this store", sample.wall);
    if (sample.inventory == Inventory::kComplete) tell_gap(label(sample.taken_at));
    return;
  }
  note_gap(sample);
}

// A stretch that nobody watches is told once it is over. While only known VMs can be listed nobody watches the next
// stretch either, and it goes on with this one.
void Meter::note_gap(const Sample& sample) {
  std::string cause;
  if (!interval_.watched) cause = interval_.rebooted ? "host down" : gap_cause_.empty() ? "events lost" : gap_cause_;
  UtcTime from = node_.last_utc;
  // A clock that was followed backwards gives the stretch's end a name before its beginning: none is told twice.
  if (cause != node_.gap_cause || interval_.rebooted) from = std::max(from, tell_gap(node_.last_utc));
  if (interval_.watched) return;
  if (node_.gap_cause.empty()) {
    node_.gap_cause = std::move(cause);
    node_.gap_from = from;
    node_.gap_status = interval_.rebooted ? status_bit::kAcrossBoots : 0;
  }
  if (sample.inventory == Inventory::kComplete || interval_.rebooted) tell_gap(label(sample.taken_at));
}

UtcTime Meter::label(MonotonicTime t) const { return utc_from_ms(t.time_since_epoch().count() + node_.offset_ms); }

bool Meter::counts(const Levels& levels) const { return options_.count_stopped || levels.power != Power::kOff; }

VmState* Meter::find(const VmId& vm) {
  const auto found = vms_.find(vm);
  if (found != vms_.end()) return &found->second;
  // It may have been here before: its registers go on.
  const auto pending = gone_rows_.find(vm);
  std::optional<VmState> stored;
  if (pending != gone_rows_.end()) {
    stored = decode_vm_state(pending->second);
  } else if (recall_) {
    stored = recall_(vm);
  }
  if (!stored) return nullptr;
  stored->no_run_at.emplace();  // It was away. What it runs next began after that; arrive() knows when.
  forgotten_.erase(vm);
  return &vms_.emplace(vm, std::move(*stored)).first->second;
}

VmState& Meter::enter(const VmId& vm) {
  if (VmState* known = find(vm)) return *known;
  VmState& fresh = vms_[vm];
  fresh.vm = vm;
  fresh.boot = interval_.sample->boot;
  forgotten_.erase(vm);
  if (!interval_.first && interval_.previous_complete != kNeverComplete) {
    // The node was seen without it: whatever it runs began after that.
    fresh.seen = fresh.no_run_at.emplace(interval_.previous_complete);
  }
  return fresh;
}

Meter::Interval::Touched& Meter::touch(const VmState& vm) {
  if (interval_.last_touched.first == &vm) return *interval_.last_touched.second;
  const std::size_t before = interval_.touched.size();
  const auto entry = interval_.touched.try_emplace(interval_.touched.end(), vm.vm);  // VMs come in order.
  if (interval_.touched.size() > before) {
    entry->second.seen = vm.seen;
    entry->second.boot = vm.boot;
    entry->second.ran = vm.present && vm.levels.power != Power::kOff && !vm.no_run_at;
    entry->second.known = vm.present || vm.no_run_at || vm.left_behind;
  }
  interval_.last_touched = {&vm, &entry->second};
  return entry->second;
}

bool Meter::unwatched(const VmState& vm) {
  const Interval::Touched& touched = touch(vm);
  if (touched.settled) return false;
  return !interval_.watched || vm.boot != interval_.sample->boot || unsettled_.contains(vm.vm);
}

void Meter::seen_until(VmState& vm, MonotonicTime to) {
  if (vm.boot != interval_.sample->boot) {  // No run outlives its boot, whatever its name is.
    vm.tracks.clear();
    vm.former.clear();
  }
  vm.seen = to;
  vm.boot = interval_.sample->boot;
  vm.seen_utc = label(to);
}

void Meter::apply(const VmEvent& event) {
  VmState& vm = enter(event.vm);
  const bool ends = event.kind == VmEventKind::kStopped || event.kind == VmEventKind::kDeparted;
  // It was here since the first sample, which could not tell of it, and what it used is gone.
  if (!touch(vm).known && !vm.present && ends && !interval_.first) mark(vm, event.at, status_bit::kUsageLost);
  // What is accounted for stays: an event from before takes effect where the account stands.
  const bool same_boot = vm.boot == interval_.sample->boot;
  const MonotonicTime at = std::clamp(event.at, same_boot ? vm.seen : MonotonicTime{}, interval_.sample->taken_at);
  const bool too_late = vm.present && same_boot && event.at < vm.seen && lowers(vm.levels, event);
  const bool starts = event.kind == VmEventKind::kStarted || event.kind == VmEventKind::kResumed;
  Levels just_before = vm.levels;
  if (event.levels) just_before = smaller(vm.levels, told(vm.levels, *event.levels));
  just_before.power = Power::kOff;  // On at the event is not on before it: no event proves one run over a stretch.
  if (vm.present) advance(vm, at, just_before);
  const std::string_view word = event_word(event.kind);
  if (too_late) {
    mark(vm, at, status_bit::kLoweringEventLate);
    record_event(&vm, word, event.how, label(event.at), status_bit::kLoweringEventLate,
                 ",\"effective\":" + json_quote(iso_time(label(at))));
  }

  if (event.owner) vm.owner = std::make_shared<const Owner>(*event.owner);
  if (!event.name.empty()) vm.name = display_text(event.name, kNameMax);
  if (event.kind == VmEventKind::kDeparted) {
    if (vm.present) {
      depart(vm, at, event.how);
      if (!too_late) record_event(&vm, word, event.how, label(at));
    } else {
      // Nobody saw it arrive; from now on it is known not to be here.
      vm.left_behind = event.how == "migrated";
      seen_until(vm, at);
    }
    touch(vm).departed = true;
    return;
  }
  if (event.kind == VmEventKind::kStopped) {
    end_runs(vm, at);
    set_runs_aside(vm);
    vm.no_run_at = at;
  }
  if (event.levels) vm.levels = told(vm.levels, *event.levels);
  switch (event.kind) {
    case VmEventKind::kStarted:
    case VmEventKind::kResumed: vm.levels.power = Power::kRunning; break;
    case VmEventKind::kStopped: vm.levels.power = Power::kOff; break;
    case VmEventKind::kPaused: vm.levels.power = Power::kPaused; break;
    default: break;
  }
  const bool arrives = event.kind == VmEventKind::kArrived || (starts && !vm.present);
  if (arrives && !vm.present) {
    arrive(vm, at);
    if (event.kind != VmEventKind::kArrived) record_event(&vm, "arrived", event.how, label(at));
  }
  if (!too_late) record_event(&vm, word, event.how, label(at));
}

// It came with an event that told no levels: those that are listed first have held since the last event. Without one of
// a start, a VM that is on was on when it came.
void Meter::describe_arrival(VmState& vm, const VmReading& reading) {
  const Power told = vm.levels.power;
  vm.levels = reading.levels;
  if (told != Power::kOff) vm.levels.power = told;
  touch(vm).assumed = true;
}

// It is allocated here from `at` on.
void Meter::arrive(VmState& vm, MonotonicTime at) {
  if (vm.boot == interval_.sample->boot) {
    // Its process may be the one that was here before: a migration that failed. Then its counters go on.
    set_runs_aside(vm);
    if (vm.no_run_at) vm.no_run_at = at;
  } else {
    vm.no_run_at = at;
  }
  vm.present = true;
  vm.left_behind = false;
  unsettled_.erase(vm.vm);
  seen_until(vm, at);
  touch(vm).settled = true;
}

void Meter::observe(const VmReading& reading) {
  VmState& vm = enter(reading.vm);
  touch(vm).listed = true;
  if (touch(vm).departed && !vm.present) return;
  const MonotonicTime now = interval_.sample->taken_at;
  if (vm.left_behind && reading.levels.power == Power::kOff) {
    vm.no_run_at = now;
    seen_until(vm, now);
    return;
  }
  if (!vm.present) {
    found(vm, reading);
  } else {
    if (vm.levels.vcores == 0 && !unwatched(vm)) describe_arrival(vm, reading);
    const bool ran = vm.levels.power != Power::kOff;
    if (unwatched(vm)) {
      // A process that was read before was on throughout, whatever its start seems to be: Hyper-V's on-time begins anew
      // with a reset and stands still in a pause.
      const bool same = goes_on(vm.tracks, reading);
      Levels proven = reading.levels;
      // Nothing tells that it is that one: it may have been off in between.
      if (!reading.process_began && !same) proven.power = Power::kOff;
      bridge(vm, now, proven, same ? std::nullopt : reading.process_began);
    } else {
      advance(vm, now, vm.levels);
    }
    if (ran && reading.levels.power == Power::kOff) {
      end_runs(vm, now);
      set_runs_aside(vm);
      record_event(&vm, "stopped", "found", label(now));
    }
    if (reading.levels.vcores != vm.levels.vcores) {
      vm.levels.vcores = reading.levels.vcores;
      record_event(&vm, "resized", "found", label(now));
    }
  }
  vm.levels = reading.levels;
  describe(vm, reading);
  count_devices(vm, reading);
  if (reading.levels.power != Power::kOff) vm.former.clear();
  const bool process_known = std::none_of(reading.devices.begin(), reading.devices.end(), run_unknown);
  if (process_known) vm.no_run_at.reset();
  if (reading.levels.power == Power::kOff) vm.no_run_at = now;
}

// A VM that is there without an event that said so.
void Meter::found(VmState& vm, const VmReading& reading) {
  const MonotonicTime now = interval_.sample->taken_at;
  MonotonicTime since = now;
  const bool elsewhere = vm.boot != interval_.sample->boot;
  if (touch(vm).known && reading.process_began) {
    // Counted from the start of its process, if that is proven to lie after it was known not to be here.
    const MonotonicTime left = elsewhere ? MonotonicTime{} : vm.seen;
    const MonotonicTime known_absent = std::max(left, interval_.previous_complete);
    if (*reading.process_began >= known_absent) {
      since = std::min(*reading.process_began, now);
    } else {
      vm.no_run_at.reset();  // It ran before, somewhere or unseen: a baseline.
    }
  }
  vm.levels = reading.levels;
  vm.owner = std::make_shared<const Owner>(reading.owner);
  vm.name = display_text(reading.name, kNameMax);
  arrive(vm, since);
  record_event(&vm, "arrived", "found", label(since));
  if (since < now) cover(vm, {label(since), label(now)}, vm.levels, status_bit::kEstimated);
  seen_until(vm, now);
}

void Meter::describe(VmState& vm, const VmReading& reading) {
  const MonotonicTime now = interval_.sample->taken_at;
  if (*vm.owner != reading.owner) {
    vm.owner = std::make_shared<const Owner>(reading.owner);
    record_event(&vm, "owner-changed", reading.owner.known ? "known" : "unknown", label(now));
  }
  if (reading.name == vm.name) return;
  const std::string name = display_text(reading.name, kNameMax);
  if (vm.name != name && !vm.name.empty()) record_event(&vm, "renamed", name, label(now));
  vm.name = name;
}

void Meter::settle_unlisted(VmState& vm) {
  const auto touched = interval_.touched.find(vm.vm);
  if (touched != interval_.touched.end() && touched->second.listed) return;
  if (interval_.sample->inventory == Inventory::kKnownOnly) {  // Not known: proven or lost at a later sample.
    const bool open = !interval_.watched || vm.boot != interval_.sample->boot;
    const bool settled = touched != interval_.touched.end();  // By an event.
    if (vm.present && open && !settled) unsettled_.insert(vm.vm);
    return;
  }
  vm.left_behind = false;
  if (!vm.present) {
    if (!vm.no_run_at) vm.no_run_at = interval_.sample->taken_at;  // Whatever it runs later begins after this.
    return;
  }
  // Its departure event may still be on its way: patience until a second list. Then, or if the event may have been
  // lost, it ends at its last proof.
  if (interval_.watched && !unwatched(vm) && vm.seen >= std::max(interval_.previous_complete, watched_from_)) return;
  const UtcTime last_proof = vm.boot == interval_.sample->boot ? label(vm.seen) : vm.seen_utc;
  if (vm.levels.power != Power::kOff) mark(vm, last_proof, status_bit::kUsageLost);
  vm.present = false;
  vm.no_run_at.emplace();
  record_event(&vm, "departed", "found missing", last_proof);
}

void Meter::end_interval() {
  follow_clock();
  const Sample& sample = *interval_.sample;
  node_.started = true;
  node_.boot = sample.boot;
  node_.last_sample = sample.taken_at;
  node_.last_complete = sample.inventory == Inventory::kComplete ? sample.taken_at : interval_.previous_complete;
  node_.last_utc = label(sample.taken_at);
  if (node_.synchronised != sample.clock_synchronised) {
    node_.synchronised = sample.clock_synchronised;
    record_event(nullptr, sample.clock_synchronised ? "clock-synchronised" : "clock-unsynchronised", "",
                 node_.last_utc);
  }
  node_changed_ = true;
  gap_cause_.clear();
}

void Meter::follow_clock() {
  const std::int64_t moved = interval_.offset_ms - node_.offset_ms;
  clock_moved_ms_ = moved;
  if (std::abs(moved) <= kClockRounding.count()) return;
  const UtcTime before = label(interval_.sample->taken_at);
  node_.offset_ms = interval_.offset_ms;
  const UtcTime after = label(interval_.sample->taken_at);
  for (auto& [id, vm] : vms_) {
    // The same instant has another name now.
    if (vm.boot == interval_.sample->boot) vm.seen_utc = label(vm.seen);
  }
  if (std::abs(moved) <= kClockStepMin.count()) return;
  tell_gap(before);  // What follows has names of the new clock.
  record_event(nullptr, "clock-stepped", moved > 0 ? "forwards" : "backwards", after, 0,
               ",\"by_ms\":" + std::to_string(moved) + ",\"from\":" + json_quote(iso_time(before)));
  for (auto& [id, vm] : vms_) {
    if (!vm.present) continue;
    mark(vm, before, status_bit::kClockStepped);
    open_hour(vm, hour_of(ms(after))).status |= status_bit::kClockStepped;
  }
}

}  // namespace nodemeter
