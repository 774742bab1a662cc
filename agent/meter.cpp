#include "agent/meter.h"

#include <algorithm>

#include "platform/contract.h"
#include "platform/text.h"

namespace nodemeter {

namespace {

constexpr std::int64_t kHourMs = 3'600'000;

std::int64_t ms(UtcTime t) { return t.time_since_epoch().count(); }
UtcTime utc(std::int64_t v) { return UtcTime{Milliseconds{v}}; }

// Hours since 1970 of the hour that holds `v`; right for times before 1970, too.
std::int64_t hour_of(std::int64_t v) { return v >= 0 ? v / kHourMs : -((-v + kHourMs - 1) / kHourMs); }

// Across time that nobody watched, the smaller of both sides is what is proven.
Levels smaller(const Levels& a, const Levels& b) {
  Levels low;
  low.power = a.power == Power::kOff || b.power == Power::kOff ? Power::kOff : b.power;
  low.vcores = std::min(a.vcores, b.vcores);
  low.memory_mib = std::min(a.memory_mib, b.memory_mib);
  if (a.disk_mib && b.disk_mib) low.disk_mib = std::min(*a.disk_mib, *b.disk_mib);
  return low;
}

Levels with_power(Levels levels, Power power) {
  levels.power = power;
  return levels;
}

std::string_view event_word(VmEventKind kind) {
  switch (kind) {
    case VmEventKind::kArrived:
      return "arrived";
    case VmEventKind::kDeparted:
      return "departed";
    case VmEventKind::kStarted:
      return "started";
    case VmEventKind::kStopped:
      return "stopped";
    case VmEventKind::kPaused:
      return "paused";
    case VmEventKind::kResumed:
      return "resumed";
    case VmEventKind::kResized:
      return "resized";
    case VmEventKind::kRebooted:
      return "rebooted";
  }
  return "unknown";
}

}  // namespace

Meter::Meter(const MeterOptions& options, Recall recall) : options_(options), recall_(std::move(recall)) {}

void Meter::restore(NodeState node, std::vector<VmState> vms) {
  node_ = node;
  vms_.clear();
  for (VmState& vm : vms) {
    if (!vm.present || vm.levels.power == Power::kOff) vm.no_run_at = vm.seen;
    const VmId id = vm.vm;
    vms_.emplace(id, std::move(vm));
  }
  gap_cause_ = "agent down";
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
  node_.closed_until = std::max(node_.closed_until, hour_of(now));
  node_changed_ = true;
  forget_departed();
  return std::exchange(entries_, {});
}

// --- One interval: from the previous sample to this one ------------------------------------------------------------

void Meter::begin_interval(const Sample& sample) {
  interval_ = Interval{};
  interval_.sample = &sample;
  interval_.first = !node_.started;
  interval_.rebooted = node_.started && node_.boot != sample.boot;
  interval_.offset_ms = ms(sample.wall) - sample.taken_at.time_since_epoch().count();
  const bool same_boot = node_.started && !interval_.rebooted;
  NM_ASSERT(!same_boot || sample.taken_at >= node_.last_sample);
  if (same_boot) {
    interval_.previous = node_.last_sample;
    interval_.previous_complete = node_.last_complete;
  } else {
    node_.offset_ms = interval_.offset_ms;  // Instants of this boot have no other label.
  }
  interval_.watched = same_boot && sample.events_unbroken && gap_cause_.empty();
  if (interval_.first) {
    node_.closed_until = hour_of(ms(sample.wall));
    record_event(nullptr, "metering-started", "first sample of this store", sample.wall);
    return;
  }
  if (interval_.watched) return;
  const std::string cause = interval_.rebooted ? "host down" : gap_cause_.empty() ? "events lost" : gap_cause_;
  record_gap(VmId{}, cause, node_.last_utc, label(sample.taken_at));
}

UtcTime Meter::label(MonotonicTime t) const { return utc(t.time_since_epoch().count() + node_.offset_ms); }

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
  stored->no_run_at = stored->boot == interval_.sample->boot ? stored->seen : MonotonicTime{};
  forgotten_.erase(vm);
  gone_rows_.erase(vm);
  return &vms_.emplace(vm, std::move(*stored)).first->second;
}

VmState& Meter::enter(const VmId& vm) {
  if (VmState* known = find(vm)) return *known;
  VmState& fresh = vms_[vm];
  fresh.vm = vm;
  fresh.boot = interval_.sample->boot;
  if (!interval_.first) {
    // The node was seen without it: whatever it runs began after that.
    fresh.seen = fresh.no_run_at.emplace(interval_.previous_complete);
    fresh.seen_utc = label(fresh.seen);
  }
  return fresh;
}

Meter::Interval::Touched& Meter::touch(const VmState& vm) {
  changed_.insert(vm.vm);
  const auto [entry, fresh] = interval_.touched.try_emplace(vm.vm);
  if (fresh) {
    entry->second.seen = vm.seen;
    entry->second.boot = vm.boot;
  }
  return entry->second;
}

bool Meter::unwatched(const VmState& vm) {
  const Interval::Touched& touched = touch(vm);
  if (touched.settled) return false;
  return !interval_.watched || vm.boot != interval_.sample->boot || vm.seen < interval_.previous;
}

void Meter::seen_until(VmState& vm, MonotonicTime to) {
  touch(vm);
  vm.seen = to;
  vm.boot = interval_.sample->boot;
  vm.seen_utc = label(to);
}

void Meter::apply(const VmEvent& event) {
  const MonotonicTime at = std::clamp(event.at, interval_.previous, interval_.sample->taken_at);
  VmState& vm = enter(event.vm);
  touch(vm);
  const bool starts = event.kind == VmEventKind::kStarted || event.kind == VmEventKind::kResumed;
  Levels just_before = vm.levels;
  if (event.kind == VmEventKind::kStarted) just_before.power = Power::kOff;
  if (event.levels && event.kind == VmEventKind::kResized) just_before = smaller(vm.levels, *event.levels);
  if (vm.present) advance(vm, at, just_before);
  const MonotonicTime effective = vm.present || vm.boot != interval_.sample->boot ? at : std::max(at, vm.seen);

  if (event.owner) vm.owner = std::make_shared<const Owner>(*event.owner);
  if (!event.name.empty()) vm.name = display_text(event.name, kNameMax);
  if (event.kind == VmEventKind::kDeparted) {
    if (vm.present) depart(vm, effective, event.how);
    if (event.how != "migrated") vm.left_behind = false;
    touch(vm).departed = true;
    return;
  }
  if (event.kind == VmEventKind::kStopped) {
    end_runs(vm, effective);
    vm.no_run_at = effective;
  }
  if (event.levels) vm.levels = *event.levels;
  switch (event.kind) {
    case VmEventKind::kStarted:
    case VmEventKind::kResumed:
      vm.levels.power = Power::kRunning;
      break;
    case VmEventKind::kStopped:
      vm.levels.power = Power::kOff;
      break;
    case VmEventKind::kPaused:
      vm.levels.power = Power::kPaused;
      break;
    default:
      break;
  }
  const bool arrives = event.kind == VmEventKind::kArrived || (starts && !vm.present);
  if (arrives && !vm.present) {
    vm.present = true;
    vm.left_behind = false;
    seen_until(vm, effective);
    touch(vm).settled = true;
    if (event.kind != VmEventKind::kArrived) record_event(&vm, "arrived", event.how, label(effective));
  }
  record_event(&vm, event_word(event.kind), event.how, label(effective));
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
    const bool ran = vm.levels.power != Power::kOff;
    if (unwatched(vm)) {
      bridge(vm, now, reading.levels, reading.process_began);
    } else {
      advance(vm, now, vm.levels);
    }
    if (ran && reading.levels.power == Power::kOff) {
      end_runs(vm, now);
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
  vm.no_run_at.reset();
  if (reading.levels.power == Power::kOff) vm.no_run_at = now;
}

// A VM that is there without an event that said so.
void Meter::found(VmState& vm, const VmReading& reading) {
  const MonotonicTime now = interval_.sample->taken_at;
  MonotonicTime since = now;
  const bool elsewhere = vm.boot != interval_.sample->boot;
  if (!interval_.first && reading.process_began) {
    // Counted from the start of its process, if that is proven to lie after it was known not to be here.
    const MonotonicTime known_absent = elsewhere ? MonotonicTime{} : vm.seen;
    if (*reading.process_began >= known_absent) since = std::min(*reading.process_began, now);
  }
  vm.present = true;
  vm.left_behind = false;
  vm.levels = reading.levels;
  vm.owner = std::make_shared<const Owner>(reading.owner);
  vm.name = display_text(reading.name, kNameMax);
  if (elsewhere) vm.no_run_at = MonotonicTime{};
  seen_until(vm, since);
  touch(vm).settled = true;
  record_event(&vm, "arrived", "found", label(since));
  if (since < now) touch(vm).estimated = true;
  if (since < now) cover(vm, {label(since), label(now)}, vm.levels, status_bit::kEstimated);
  seen_until(vm, now);
}

void Meter::describe(VmState& vm, const VmReading& reading) {
  const MonotonicTime now = interval_.sample->taken_at;
  if (*vm.owner != reading.owner) {
    vm.owner = std::make_shared<const Owner>(reading.owner);
    record_event(&vm, "owner-changed", reading.owner.known ? "known" : "unknown", label(now));
  }
  const std::string name = display_text(reading.name, kNameMax);
  if (vm.name != name && !vm.name.empty()) record_event(&vm, "renamed", name, label(now));
  vm.name = name;
}

void Meter::settle_unlisted(VmState& vm) {
  const auto touched = interval_.touched.find(vm.vm);
  if (touched != interval_.touched.end() && touched->second.listed) return;
  if (interval_.sample->inventory == Inventory::kKnownOnly) return;  // Not known: proven or lost at a later sample.
  vm.left_behind = false;
  if (!vm.present) return;
  // Its departure event may still be on its way: one sample's patience. Then it ends at its last proof.
  if (interval_.watched && vm.boot == interval_.sample->boot && vm.seen >= interval_.previous) return;
  touch(vm);
  const UtcTime last_proof = vm.boot == interval_.sample->boot ? label(vm.seen) : vm.seen_utc;
  vm.present = false;
  end_runs(vm, vm.seen);
  vm.no_run_at = vm.boot == interval_.sample->boot ? vm.seen : MonotonicTime{};
  record_event(&vm, "departed", "found missing", last_proof);
}

void Meter::end_interval() {
  follow_clock();
  const Sample& sample = *interval_.sample;
  node_.started = true;
  node_.boot = sample.boot;
  node_.last_sample = sample.taken_at;
  if (sample.inventory == Inventory::kComplete) node_.last_complete = sample.taken_at;
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
  record_event(nullptr, "clock-stepped", moved > 0 ? "forwards" : "backwards", after,
               ",\"by_ms\":" + std::to_string(moved) + ",\"from\":" + json_quote(iso_time(before)));
  for (auto& [id, vm] : vms_) {
    if (!vm.present) continue;
    touch(vm);
    open_hour(vm, hour_of(ms(before))).status |= status_bit::kClockStepped;
    open_hour(vm, hour_of(ms(after))).status |= status_bit::kClockStepped;
  }
}

// --- Time: covered or gap -------------------------------------------------------------------------------------------

// The VM was here until `to`. `just_before`: what is known to have been in force right before `to`.
void Meter::advance(VmState& vm, MonotonicTime to, const Levels& just_before) {
  if (unwatched(vm)) {
    bridge(vm, to, just_before, std::nullopt);
    return;
  }
  if (to <= vm.seen) return;
  cover(vm, {label(vm.seen), label(to)}, vm.levels, 0);
  seen_until(vm, to);
}

// The VM was here before a stretch that nobody watched, and it is here at `to`: what is proven about the stretch?
void Meter::bridge(VmState& vm, MonotonicTime to, const Levels& after, std::optional<MonotonicTime> process_began) {
  touch(vm).settled = touch(vm).estimated = true;
  const Levels low = smaller(vm.levels, after);
  if (vm.boot != interval_.sample->boot) {
    bridge_boots(vm, label(to), with_power(low, after.power), process_began);
    if (vm.levels.power != Power::kOff) end_runs(vm, to);
    vm.no_run_at = MonotonicTime{};
    seen_until(vm, to);
    return;
  }
  if (to <= vm.seen) return;
  const bool new_run = process_began && *process_began > vm.seen && *process_began < to;
  const MonotonicTime known_on = new_run ? *process_began : to;
  // Until a run that began inside: on both sides it was here, but nothing says that it was on.
  const Levels until = new_run ? with_power(low, Power::kOff) : low;
  const Span first{label(vm.seen), label(known_on)};
  if (counts(until)) {
    cover(vm, first, until, status_bit::kEstimated);
  } else if (vm.levels.power != Power::kOff || after.power != Power::kOff) {
    add_gap(vm, first, status_bit::kEstimated);
  }
  if (new_run) cover(vm, {label(known_on), label(to)}, with_power(low, after.power), status_bit::kEstimated);
  seen_until(vm, to);
}

// Across a reboot presence on both sides proves nothing about the time between, except for a run that began in it.
void Meter::bridge_boots(VmState& vm, UtcTime to, const Levels& low, std::optional<MonotonicTime> process_began) {
  const std::uint32_t status = status_bit::kEstimated | status_bit::kAcrossBoots;
  const UtcTime from = vm.seen_utc;
  if (to <= from) return;  // The clock lost more than the node was down: nothing can be said of it.
  const UtcTime known_on = process_began ? std::clamp(label(*process_began), from, to) : to;
  if (options_.count_stopped || vm.levels.power != Power::kOff) add_gap(vm, {from, known_on}, status);
  if (known_on < to) cover(vm, {known_on, to}, low, status);
}

void Meter::cover(VmState& vm, Span span, const Levels& levels, std::uint32_t status) {
  if (!counts(levels)) return;
  if (!interval_.sample->clock_synchronised) status |= status_bit::kClockUnsynchronised;
  const auto count = [](OpenHour& open, MeterIndex meter, std::uint64_t quantity) {
    at(open.quantity, meter) += quantity;
    open.metered |= 1u << static_cast<unsigned>(meter);
  };
  for (std::int64_t from = ms(span.from); from < ms(span.to);) {
    const std::int64_t hour = hour_of(from);
    const std::int64_t end = std::min(ms(span.to), (hour + 1) * kHourMs);
    const auto part = static_cast<std::uint64_t>(end - from);
    OpenHour& open = open_hour(vm, hour);
    open.covered_ms += part;
    open.status |= status;
    open.vcores = levels.vcores;
    open.owner = vm.owner;
    count(open, MeterIndex::kVmHours, part);
    count(open, MeterIndex::kBaseVmHours, part * levels.vcores);
    count(open, MeterIndex::kMemoryHours, levels.power == Power::kOff ? 0 : part * levels.memory_mib);
    if (levels.disk_mib) {
      count(open, MeterIndex::kDiskAllocatedHours, part * *levels.disk_mib);
    } else {
      open.status |= status_bit::kCounterMissing;
    }
    from = end;
  }
}

void Meter::add_gap(VmState& vm, Span span, std::uint32_t status) {
  for (std::int64_t from = ms(span.from); from < ms(span.to);) {
    const std::int64_t hour = hour_of(from);
    const std::int64_t end = std::min(ms(span.to), (hour + 1) * kHourMs);
    OpenHour& open = open_hour(vm, hour);
    open.gap_ms += end - from;
    open.status |= status;
    open.owner = vm.owner;
    from = end;
  }
}

void Meter::depart(VmState& vm, MonotonicTime at, const std::string& how) {
  end_runs(vm, at);
  vm.present = false;
  vm.left_behind = how == "migrated";
  vm.levels.power = Power::kOff;
  vm.no_run_at = at;
  record_event(&vm, "departed", how, label(at));
}

// The counters went with the process: what was used since their last reading is not known.
void Meter::end_runs(VmState& vm, MonotonicTime at) {
  const bool unread = std::any_of(vm.tracks.begin(), vm.tracks.end(), [&](const DeviceTrack& track) {
    return std::any_of(track.base.begin(), track.base.end(),
                       [&](const std::optional<CounterBase>& base) { return base && base->read_at < at; });
  });
  if (unread && vm.present) mark(vm, at, status_bit::kUsageLost);
  vm.tracks.clear();
}

// --- Counters -------------------------------------------------------------------------------------------------------

void Meter::count_devices(VmState& vm, const VmReading& reading) {
  vm.rates = {};
  const Interval::Touched& touched = touch(vm);
  if (touched.boot == interval_.sample->boot && interval_.sample->taken_at > touched.seen) {
    vm.rates.span_ms = static_cast<std::uint64_t>((interval_.sample->taken_at - touched.seen).count());
  }
  for (const DeviceReading& device : reading.devices) count_device(vm, device);
  const auto unplugged = [&](const DeviceTrack& track) {
    return std::none_of(reading.devices.begin(), reading.devices.end(), [&](const DeviceReading& device) {
      return device.kind == track.kind && device.id == track.id;
    });
  };
  const auto first_gone = std::stable_partition(vm.tracks.begin(), vm.tracks.end(),
                                                [&](const DeviceTrack& track) { return !unplugged(track); });
  if (first_gone == vm.tracks.end()) return;
  mark(vm, interval_.sample->taken_at, status_bit::kRunChanged | status_bit::kUsageLost);
  vm.tracks.erase(first_gone, vm.tracks.end());
}

namespace {

struct CounterMeter {
  DeviceKind kind;
  std::size_t counter;
  MeterIndex meter;
  bool operations;  // Of Reading's operations_width_bits.
};

constexpr CounterMeter kCounterMeters[] = {
    {DeviceKind::kCpu, kCpuTimeUs, MeterIndex::kCpuTime, false},
    {DeviceKind::kDisk, kReadBytes, MeterIndex::kDiskReadBytes, false},
    {DeviceKind::kDisk, kWriteBytes, MeterIndex::kDiskWriteBytes, false},
    {DeviceKind::kDisk, kReadOperations, MeterIndex::kDiskReadOperations, true},
    {DeviceKind::kDisk, kWriteOperations, MeterIndex::kDiskWriteOperations, true},
    {DeviceKind::kNic, kReceiveBytes, MeterIndex::kNetworkReceiveBytes, false},
    {DeviceKind::kNic, kTransmitBytes, MeterIndex::kNetworkTransmitBytes, false},
    {DeviceKind::kNic, kReceivePackets, MeterIndex::kNetworkReceivePackets, false},
    {DeviceKind::kNic, kTransmitPackets, MeterIndex::kNetworkTransmitPackets, false},
};

// The advance of a 32-bit counter that wrapped once, if its rate is believable.
std::optional<std::uint64_t> wrapped_advance(std::uint64_t before, std::uint64_t now, Milliseconds span) {
  constexpr std::uint64_t kRange = 1ull << 32;
  if (before >= kRange || now >= kRange || span.count() <= 0) return std::nullopt;
  const std::uint64_t advance = kRange - before + now;
  const std::uint64_t most = kWrapOperationsPerSecondMax * static_cast<std::uint64_t>(span.count()) / 1000;
  return advance <= most ? std::optional(advance) : std::nullopt;
}

}  // namespace

void Meter::count_device(VmState& vm, const DeviceReading& reading) {
  const auto known = std::find_if(vm.tracks.begin(), vm.tracks.end(), [&](const DeviceTrack& track) {
    return track.kind == reading.kind && track.id == reading.id;
  });
  const bool same_run = known != vm.tracks.end() && known->run == reading.run;
  if (known != vm.tracks.end() && !same_run) {
    mark(vm, reading.read_at, status_bit::kRunChanged | status_bit::kUsageLost);
    vm.tracks.erase(known);
  }
  DeviceTrack& track = same_run ? *known : begin_run(vm, reading);
  for (const CounterMeter& rule : kCounterMeters) {
    if (rule.kind != reading.kind) continue;
    const Reading& counter = reading.counters[rule.counter];
    if (const Absence* absence = std::get_if<Absence>(&counter)) {
      const bool failed = *absence == Absence::kVmBusy || *absence == Absence::kReadFailed;
      if (failed) mark(vm, reading.read_at, status_bit::kCounterMissing);
      continue;
    }
    const std::uint64_t value = std::get<std::uint64_t>(counter);
    std::optional<CounterBase>& base = track.base[rule.counter];
    std::optional<std::uint64_t> advance;
    if (base && value >= base->value) advance = value - base->value;
    if (base && value < base->value && rule.operations && reading.operations_width_bits == 32) {
      advance = wrapped_advance(base->value, value, reading.read_at - base->read_at);
      if (advance) mark(vm, reading.read_at, status_bit::kWrapped);
    }
    if (advance) {
      count_delta(vm, rule.meter, *advance, base->read_at, reading.read_at);
    } else {
      mark(vm, reading.read_at, base ? status_bit::kCounterFell : status_bit::kBaseline);
    }
    base = CounterBase{value, reading.read_at};
  }
}

// A run that was not there before. Its counters count from zero only if it is proven to have begun after the VM's last
// committed sample; otherwise what it used before is somebody else's knowledge.
DeviceTrack& Meter::begin_run(VmState& vm, const DeviceReading& reading) {
  DeviceTrack& track = vm.tracks.emplace_back();
  track.kind = reading.kind;
  track.id = reading.id;
  track.run = reading.run;
  const Interval::Touched& touched = touch(vm);
  std::optional<MonotonicTime> begun;
  if (vm.no_run_at) {
    begun = std::max(reading.begun.value_or(*vm.no_run_at), *vm.no_run_at);
  } else if (reading.begun && !interval_.first) {
    if (touched.boot != interval_.sample->boot || *reading.begun >= touched.seen) begun = reading.begun;
  }
  if (!begun) return track;
  for (const CounterMeter& rule : kCounterMeters) {
    const Absence* absence = std::get_if<Absence>(&reading.counters[rule.counter]);
    if (rule.kind != reading.kind || (absence && *absence == Absence::kNotOffered)) continue;
    track.base[rule.counter] = CounterBase{0, std::min(*begun, reading.read_at)};
  }
  return track;
}

void Meter::count_delta(VmState& vm, MeterIndex meter, std::uint64_t delta, MonotonicTime from, MonotonicTime to) {
  std::optional<std::uint64_t>& rate = vm.rates.delta[static_cast<std::size_t>(meter)];
  rate = rate.value_or(0) + delta;
  const std::int64_t begin = ms(label(from));
  const std::int64_t end = ms(label(to));
  const std::uint32_t status = touch(vm).estimated ? status_bit::kEstimated : 0;
  const auto count = [&](std::int64_t hour, std::uint64_t quantity) {
    OpenHour& open = open_hour(vm, hour);
    at(open.quantity, meter) += quantity;
    open.metered |= 1u << static_cast<unsigned>(meter);
    open.status |= status;
  };
  // The interval ends at its last instant: a reading exactly on an edge speaks for the hour before it.
  const std::int64_t last_hour = hour_of(end > begin ? end - 1 : begin);
  std::uint64_t given = 0;
  for (std::int64_t hour = hour_of(begin); hour < last_hour; ++hour) {
    const auto elapsed = static_cast<std::uint64_t>((hour + 1) * kHourMs - begin);
    const auto span = static_cast<std::uint64_t>(end - begin);
    const auto until = static_cast<std::uint64_t>(static_cast<unsigned __int128>(delta) * elapsed / span);
    count(hour, until - given);
    given = until;
  }
  count(last_hour, delta - given);
}

void Meter::mark(VmState& vm, MonotonicTime at, std::uint32_t status) {
  const std::int64_t t = ms(label(at));
  // An instant on an edge ends the hour before it; if that hour holds nothing of this VM, it begins the next.
  const auto before = vm.hours.find(hour_of(t - 1));
  const std::int64_t hour = before != vm.hours.end() ? before->first : hour_of(t);
  touch(vm);
  open_hour(vm, hour).status |= status;
}

// --- Records --------------------------------------------------------------------------------------------------------

OpenHour& Meter::open_hour(VmState& vm, std::int64_t hour) {
  const auto [entry, fresh] = vm.hours.try_emplace(hour);
  if (fresh) {
    entry->second.owner = vm.owner;
    entry->second.vcores = vm.levels.vcores;
  }
  return entry->second;
}

void Meter::close_due() {
  const std::int64_t below = hour_of(ms(node_.last_utc) - options_.close_grace.count());
  for (auto& [id, vm] : vms_) close_hours(vm, below, false);
  node_.closed_until = std::max(node_.closed_until, below);
}

void Meter::close_hours(VmState& vm, std::int64_t below, bool partial) {
  while (!vm.hours.empty() && vm.hours.begin()->first < below) {
    const auto [hour, open] = *vm.hours.begin();
    vm.hours.erase(vm.hours.begin());
    changed_.insert(vm.vm);
    Entry entry = usage_entry(vm, hour, open, partial);
    for (const MeterValue& value : entry.meters) {
      at(vm.registers, find_meter(value.meter)->index) = value.reading;
    }
    entries_.push_back(std::move(entry));
  }
}

Entry Meter::usage_entry(VmState& vm, std::int64_t hour, const OpenHour& open, bool partial) const {
  const Owner& owner = *open.owner;
  Entry entry;
  entry.kind = EntryKind::kUsage;
  entry.vm = vm.vm;
  entry.usage_start = std::chrono::sys_seconds{std::chrono::hours{hour}};
  entry.usage_end = entry.usage_start + std::chrono::hours{1};
  entry.subscription = owner.subscription;
  entry.tenant = owner.tenant;
  entry.resource_uri = resource_uri(vm.vm, owner);
  entry.vcores = open.vcores;
  entry.billable = owner.billable;
  entry.covered_ms = open.covered_ms;
  entry.gap_ms = open.gap_ms;
  entry.status = open.status;
  if (open.gap_ms != 0) entry.status |= status_bit::kGap;
  if (!owner.known) entry.status |= status_bit::kOwnerUnknown;
  if (hour < node_.closed_until) entry.status |= status_bit::kLate;
  if (partial) entry.status |= status_bit::kPartial;
  if (options_.simulated) entry.status |= status_bit::kSimulated;
  for (const auto& [key, value] : owner.tags) {
    if (entry.tags.size() < kTagsMax) entry.tags.emplace(display_text(key, kNameMax), display_text(value, kNameMax));
  }
  entry.detail = "{\"name\":" + json_quote(vm.name) + "}";
  for (const MeterInfo& info : meter_catalogue()) {
    if ((open.metered & (1u << static_cast<unsigned>(info.index))) == 0) continue;
    MeterIndex index = info.index;
    if (index == MeterIndex::kBaseVmHours && owner.windows_licence) index = MeterIndex::kWindowsVmHours;
    const std::uint64_t quantity = at(open.quantity, info.index);
    const std::uint64_t before = at(vm.registers, index);
    NM_ASSERT(before <= UINT64_MAX - quantity);
    entry.meters.push_back({meter_catalogue()[static_cast<std::size_t>(index)].id, quantity, before + quantity});
  }
  return entry;
}

void Meter::record_gap(const VmId& vm, const std::string& cause, UtcTime from, UtcTime to) {
  const UtcTime end = std::max(from, to);
  Entry entry;
  entry.kind = EntryKind::kGap;
  entry.vm = vm;
  entry.usage_start = std::chrono::floor<std::chrono::seconds>(from);
  entry.usage_end = std::chrono::ceil<std::chrono::seconds>(end);
  if (options_.simulated) entry.status |= status_bit::kSimulated;
  entry.detail = "{\"cause\":" + json_quote(cause) + ",\"from\":" + json_quote(iso_time(from)) +
                 ",\"to\":" + json_quote(iso_time(end)) + ",\"ms\":" + std::to_string((end - from).count()) + "}";
  entries_.push_back(std::move(entry));
}

void Meter::record_event(const VmState* vm, std::string_view what, const std::string& how, UtcTime at,
                         const std::string& extra) {
  Entry entry;
  entry.kind = EntryKind::kEvent;
  entry.usage_start = entry.usage_end = std::chrono::floor<std::chrono::seconds>(at);
  if (options_.simulated) entry.status |= status_bit::kSimulated;
  entry.detail = "{\"event\":" + json_quote(what) + ",\"how\":" + json_quote(display_text(how, kNameMax)) +
                 ",\"at\":" + json_quote(iso_time(at));
  if (vm) {
    entry.vm = vm->vm;
    entry.subscription = vm->owner->subscription;
    entry.tenant = vm->owner->tenant;
    entry.vcores = vm->levels.vcores;
    entry.detail += ",\"name\":" + json_quote(vm->name);
  }
  entry.detail += ",\"monotonic_ms\":" + std::to_string(ms(at) - node_.offset_ms) + extra + "}";
  entries_.push_back(std::move(entry));
}

// --- Rows -----------------------------------------------------------------------------------------------------------

void Meter::forget_departed() {
  for (auto entry = vms_.begin(); entry != vms_.end();) {
    VmState& vm = entry->second;
    if (vm.present || vm.left_behind || !vm.hours.empty()) {
      ++entry;
      continue;
    }
    vm.tracks.clear();
    const bool used = std::any_of(vm.registers.begin(), vm.registers.end(), [](std::uint64_t r) { return r > 0; });
    if (used) gone_rows_[vm.vm] = encode_vm_state(vm);
    forgotten_.insert(vm.vm);
    changed_.erase(vm.vm);
    entry = vms_.erase(entry);
  }
}

std::vector<std::pair<std::string, std::optional<std::string>>> Meter::take_changed_rows() {
  std::vector<std::pair<std::string, std::optional<std::string>>> rows;
  for (const VmId& id : changed_) {
    const auto vm = vms_.find(id);
    if (vm != vms_.end()) rows.emplace_back(vm_row_key(id), encode_vm_state(vm->second));
  }
  for (const VmId& id : forgotten_) rows.emplace_back(vm_row_key(id), std::nullopt);
  for (auto& [id, row] : gone_rows_) rows.emplace_back(gone_row_key(id), std::move(row));
  if (node_changed_) rows.emplace_back(std::string(kNodeRowKey), encode_node_state(node_));
  changed_.clear();
  forgotten_.clear();
  gone_rows_.clear();
  node_changed_ = false;
  return rows;
}

std::string vm_row_key(const VmId& vm) { return std::string(kVmRowPrefix) + vm.text(); }

std::string gone_row_key(const VmId& vm) { return "gone/" + vm.text(); }

std::string resource_uri(const VmId& vm, const Owner& owner) {
  const auto encoded = [](std::string_view text) {
    static constexpr char kHex[] = "0123456789ABCDEF";
    std::string out;
    for (const char c : text.substr(0, kNameMax)) {
      const auto b = static_cast<std::uint8_t>(c);
      const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                         c == '.' || c == '_' || c == '~';
      if (plain) {
        out.push_back(c);
      } else {
        out += {'%', kHex[b >> 4], kHex[b & 15]};
      }
    }
    return out;
  };
  const std::string group = owner.resource_group.empty() ? "unowned" : owner.resource_group;
  const std::string name = owner.known && !owner.name.empty() ? owner.name : vm.text();
  return "/subscriptions/" + owner.subscription.text() + "/resourceGroups/" + encoded(group) +
         "/providers/Microsoft.Compute/virtualMachines/" + encoded(name);
}

}  // namespace nodemeter
