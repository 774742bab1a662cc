// The meter's arithmetic: time into covered or gap, counters into quantities.

#include <algorithm>

#include "agent/meter.h"
#include "agent/meter_time.h"

namespace nodemeter {

namespace {

Levels with_power(Levels levels, Power power) {
  levels.power = power;
  return levels;
}

bool is_of(const DeviceTrack& track, const DeviceReading& device) {
  return track.kind == device.kind && track.id == device.id;
}

}  // namespace

Levels smaller(const Levels& a, const Levels& b) {
  Levels low;
  low.power = a.power == Power::kOff || b.power == Power::kOff ? Power::kOff : b.power;
  low.vcores = std::min(a.vcores, b.vcores);
  low.memory_mib = std::min(a.memory_mib, b.memory_mib);
  if (a.disk_mib && b.disk_mib) low.disk_mib = std::min(*a.disk_mib, *b.disk_mib);
  return low;
}

// --- Time: covered or gap -------------------------------------------------------------------------------------------

// The VM was here until `to`. `just_before`: what is known to have been in force right before `to`.
void Meter::advance(VmState& vm, MonotonicTime to, const Levels& just_before) {
  if (unwatched(vm)) {
    bridge(vm, to, just_before, std::nullopt);
    return;
  }
  if (to <= vm.seen) return;
  cover(vm, {label(vm.seen), label(to)}, vm.levels, touch(vm).assumed ? status_bit::kEstimated : 0);
  seen_until(vm, to);
}

// The VM was here before a stretch that nobody watched, and it is here at `to`: what is proven about the stretch?
void Meter::bridge(VmState& vm, MonotonicTime to, const Levels& after, std::optional<MonotonicTime> process_began) {
  touch(vm).settled = touch(vm).estimated = true;
  unsettled_.erase(vm.vm);
  const Levels low = smaller(vm.levels, after);
  if (vm.boot != interval_.sample->boot) {
    bridge_boots(vm, label(to), with_power(low, after.power), process_began);
    if (!vm.tracks.empty()) mark(vm, to, status_bit::kUsageLost);
    vm.no_run_at = MonotonicTime{};
    seen_until(vm, to);
    return;
  }
  if (to <= vm.seen) return;
  const bool new_run = process_began && *process_began > vm.seen;
  const MonotonicTime known_on = new_run ? std::min(*process_began, to) : to;
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
  if (to <= from) {
    // The clock lost more than the node was down: nothing can be said of that time.
    mark(vm, to, status);
    return;
  }
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
  set_runs_aside(vm);  // A migration may fail, and then the same process goes on.
  vm.levels.power = Power::kOff;
  vm.no_run_at = at;
}

// Nobody can read the counters any more: what was used since their last reading is not known.
void Meter::end_runs(VmState& vm, MonotonicTime at) {
  const auto unread = [&](const DeviceTrack& track) {
    return std::any_of(track.base.begin(), track.base.end(),
                       [&](const std::optional<CounterBase>& base) { return base && base->read_at < at; });
  };
  // A run that no sample ever saw is lost whole.
  const bool lost = vm.tracks.empty() || std::any_of(vm.tracks.begin(), vm.tracks.end(), unread);
  if (lost && vm.present && vm.levels.power != Power::kOff) mark(vm, at, status_bit::kUsageLost);
}

// A notice that comes late may tell of the end of an earlier process, while readings already show the one after it: a
// run that is read again goes on where it was, and is not counted from zero a second time.
void Meter::set_runs_aside(VmState& vm) {
  if (!vm.tracks.empty()) vm.former = std::exchange(vm.tracks, {});
}

// --- Counters -------------------------------------------------------------------------------------------------------

// Whether one of these runs is read again.
bool Meter::goes_on(const std::vector<DeviceTrack>& tracks, const VmReading& reading) {
  return std::any_of(tracks.begin(), tracks.end(), [&](const DeviceTrack& track) {
    return std::any_of(reading.devices.begin(), reading.devices.end(),
                       [&](const DeviceReading& device) { return is_of(track, device) && device.run == track.run; });
  });
}

void Meter::count_devices(VmState& vm, const VmReading& reading) {
  vm.rates = {};
  const Interval::Touched& touched = touch(vm);
  if (touched.boot == interval_.sample->boot && interval_.sample->taken_at > touched.seen) {
    vm.rates.span_ms = static_cast<std::uint64_t>((interval_.sample->taken_at - touched.seen).count());
  }
  // A process that was read before did not begin since, whatever its on-time says, which stands still in a pause; nor
  // did what it shows anew, unless that is proven of the device itself.
  const bool same = goes_on(vm.tracks, reading) || goes_on(vm.former, reading);
  for (const DeviceReading& device : reading.devices) {
    count_device(vm, device, same && (!device.begun || device.begun == reading.process_began));
  }
  const auto unplugged = [&](const DeviceTrack& track) {
    return std::none_of(reading.devices.begin(), reading.devices.end(),
                        [&](const DeviceReading& device) { return is_of(track, device); });
  };
  const auto first_gone = std::stable_partition(vm.tracks.begin(), vm.tracks.end(),
                                                [&](const DeviceTrack& track) { return !unplugged(track); });
  if (first_gone == vm.tracks.end()) return;
  mark(vm, interval_.sample->taken_at, status_bit::kRunChanged | status_bit::kUsageLost);
  vm.tracks.erase(first_gone, vm.tracks.end());
}

struct Meter::CounterMeter {
  DeviceKind kind;
  std::size_t counter;
  MeterIndex meter;
  bool operations;  // As wide as DeviceReading::operations_width_bits tells.
};

namespace {

constexpr Meter::CounterMeter kCounterMeters[] = {
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
std::optional<std::uint64_t> wrapped_advance(const Meter::CounterMeter& rule, const DeviceReading& device,
                                             const CounterBase& before, const CounterBase& now) {
  constexpr std::uint64_t kRange = 1ull << 32;
  const Milliseconds span = now.read_at - before.read_at;
  if (!rule.operations || device.operations_width_bits != 32) return std::nullopt;
  if (before.value >= kRange || span.count() <= 0) return std::nullopt;
  const std::uint64_t advance = kRange - before.value + now.value;
  const std::uint64_t most = kWrapOperationsPerSecondMax * static_cast<std::uint64_t>(span.count()) / 1000;
  return advance <= most ? std::optional(advance) : std::nullopt;
}

// Whether a counter of the device fell that is too wide to wrap: then none of them wrapped, they began anew.
bool bytes_fell(const DeviceTrack& track, const DeviceReading& device) {
  return std::any_of(std::begin(kCounterMeters), std::end(kCounterMeters), [&](const Meter::CounterMeter& rule) {
    if (rule.kind != device.kind || rule.operations) return false;
    const auto* now = std::get_if<std::uint64_t>(&device.counters[rule.counter]);
    const std::optional<CounterBase>& before = track.base[rule.counter];
    return now != nullptr && before && *now < before->value;
  });
}

}  // namespace

void Meter::count_device(VmState& vm, const DeviceReading& device, bool older) {
  auto known =
      std::find_if(vm.tracks.begin(), vm.tracks.end(), [&](const DeviceTrack& track) { return is_of(track, device); });
  if (device.run == 0) {  // Nobody could tell which run it is: this reading is missing, and nothing else.
    mark(vm, device.read_at, status_bit::kCounterMissing);
    return;
  }
  if (known != vm.tracks.end() && known->run != device.run) {
    mark(vm, device.read_at, status_bit::kRunChanged | status_bit::kUsageLost);
    vm.tracks.erase(known);
    known = vm.tracks.end();
  }
  DeviceTrack& track = known != vm.tracks.end() ? *known : begin_run(vm, device, older);
  const bool may_wrap = !bytes_fell(track, device);
  for (const CounterMeter& rule : kCounterMeters) {
    if (rule.kind == device.kind) count_counter(vm, rule, device, track.base[rule.counter], may_wrap);
  }
}

void Meter::count_counter(VmState& vm, const CounterMeter& rule, const DeviceReading& device,
                          std::optional<CounterBase>& base, bool may_wrap) {
  const Reading& counter = device.counters[rule.counter];
  if (const Absence* absence = std::get_if<Absence>(&counter)) {
    const bool failed = *absence == Absence::kVmBusy || *absence == Absence::kReadFailed;
    if (failed) mark(vm, device.read_at, status_bit::kCounterMissing);
    return;
  }
  const CounterBase now{std::get<std::uint64_t>(counter), device.read_at};
  if (!base) {
    mark(vm, device.read_at, status_bit::kBaseline);
  } else if (now.value >= base->value) {
    count_delta(vm, rule.meter, now.value - base->value, base->read_at, now.read_at);
  } else if (base->value - now.value <= kSmallFallMax && now.value > base->value / 2) {
    mark(vm, device.read_at, status_bit::kCounterFell);
    return;
  } else if (const auto advance = may_wrap ? wrapped_advance(rule, device, *base, now) : std::nullopt) {
    mark(vm, device.read_at, status_bit::kWrapped);
    count_delta(vm, rule.meter, *advance, base->read_at, now.read_at);
  } else {
    mark(vm, device.read_at, status_bit::kCounterFell);
  }
  base = now;
}

// A run that was not there before. Its counters count from zero only if it is proven to have begun after the VM's last
// committed sample; otherwise what it used before is somebody else's knowledge.
DeviceTrack& Meter::begin_run(VmState& vm, const DeviceReading& device, bool older) {
  for (const DeviceTrack& track : vm.former) {
    if (is_of(track, device) && track.run == device.run) return vm.tracks.emplace_back(track);
  }
  DeviceTrack& track = vm.tracks.emplace_back();
  track.kind = device.kind;
  track.id = device.id;
  track.run = device.run;
  const Interval::Touched& touched = touch(vm);
  if (device.carried || older) return track;
  const bool same_boot = touched.boot == interval_.sample->boot;
  // It was there at the last sample already, unread, whatever notices of a departure and a return say since.
  const bool unread = device.begun && touched.ran && same_boot && *device.begun < touched.seen;
  std::optional<MonotonicTime> begun;
  if (vm.no_run_at && !unread) {
    begun = std::max(device.begun.value_or(*vm.no_run_at), *vm.no_run_at);
  } else if (device.begun && touched.known) {
    if (!same_boot || *device.begun >= touched.seen) begun = device.begun;
  }
  if (!begun) return track;
  for (const CounterMeter& rule : kCounterMeters) {
    const Absence* absence = std::get_if<Absence>(&device.counters[rule.counter]);
    if (rule.kind != device.kind || (absence && *absence == Absence::kNotOffered)) continue;
    track.base[rule.counter] = CounterBase{0, std::min(*begun, device.read_at)};
  }
  return track;
}

void Meter::count_delta(VmState& vm, MeterIndex meter, std::uint64_t delta, MonotonicTime from, MonotonicTime to) {
  std::optional<std::uint64_t>& rate = vm.rates.delta[static_cast<std::size_t>(meter)];
  rate = rate.value_or(0) + delta;
  const std::int64_t begin = ms(label(from));
  const std::int64_t end = ms(label(to));
  // The interval ends at its last instant: a reading exactly on an edge speaks for the hour before it.
  const std::int64_t last_hour = hour_of(end > begin ? end - 1 : begin);
  // Readings were missing in between, and the shares of the hours are by time alone.
  const Interval::Touched& touched = touch(vm);
  const bool missing = touched.boot == interval_.sample->boot && from < touched.seen;
  const bool shared_out = hour_of(begin) < last_hour && missing;
  const std::uint32_t status = touched.estimated || shared_out ? status_bit::kEstimated : 0;
  const auto count = [&](std::int64_t hour, std::uint64_t quantity) {
    OpenHour& open = open_hour(vm, hour);
    at(open.quantity, meter) += quantity;
    open.metered |= 1u << static_cast<unsigned>(meter);
    open.status |= status;
  };
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

void Meter::mark(VmState& vm, UtcTime at, std::uint32_t status) {
  const std::int64_t t = ms(at);
  // An instant on an edge ends the hour before it; if that hour holds nothing of this VM, it begins the next.
  const auto before = vm.hours.find(hour_of(t - 1));
  const std::int64_t hour = before != vm.hours.end() ? before->first : hour_of(t);
  open_hour(vm, hour).status |= status;
}

}  // namespace nodemeter
