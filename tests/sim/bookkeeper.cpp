#include "tests/sim/bookkeeper.h"

#include <algorithm>

namespace nodemeter {

namespace {

constexpr std::int64_t kHour = 3'600'000;

std::int64_t number(MonotonicTime t) { return t.time_since_epoch().count(); }
std::uint64_t u(std::int64_t v) { return static_cast<std::uint64_t>(v); }

MeterIndex meter_of(DeviceKind kind, std::size_t counter) {
  constexpr MeterIndex kDisk[] = {MeterIndex::kDiskReadBytes, MeterIndex::kDiskWriteBytes,
                                  MeterIndex::kDiskReadOperations, MeterIndex::kDiskWriteOperations};
  constexpr MeterIndex kNic[] = {MeterIndex::kNetworkReceiveBytes, MeterIndex::kNetworkTransmitBytes,
                                 MeterIndex::kNetworkReceivePackets, MeterIndex::kNetworkTransmitPackets};
  if (kind == DeviceKind::kCpu) return MeterIndex::kCpuTime;
  return kind == DeviceKind::kDisk ? kDisk[counter] : kNic[counter];
}

// What an event tells of levels; the kind tells the power where nothing else does.
void follow_levels(Levels& levels, const VmEvent& event) {
  const std::optional<std::uint64_t> disk_mib = levels.disk_mib;
  if (event.levels) levels = *event.levels;
  if (!levels.disk_mib) levels.disk_mib = disk_mib;
  switch (event.kind) {
    case VmEventKind::kStarted:
    case VmEventKind::kResumed: levels.power = Power::kRunning; break;
    case VmEventKind::kDeparted:
    case VmEventKind::kStopped: levels.power = Power::kOff; break;
    case VmEventKind::kPaused: levels.power = Power::kPaused; break;
    default: break;
  }
}

}  // namespace

void Bookkeeper::begins_empty(const ClockReading& now, std::int64_t true_ms) {
  started_ = pending_start_ = ever_complete_ = true;
  boot_ = now.boot;
  last_ = last_complete_ = number(now.monotonic);
  last_utc_ = now.utc.time_since_epoch().count();
  offset_ = last_utc_ - last_;
  last_true_ = last_complete_true_ = true_ms;
}

void Bookkeeper::taken(const Sample& sample, std::int64_t true_ms) {
  pending_.push_back({sample, true_ms, std::exchange(failed_, false)});
  ++taken_samples_;
}

void Bookkeeper::committed() {
  if (pending_.empty()) return;
  for (const Taken& taken : pending_) add_up(taken);
  pending_.clear();
  pending_start_ = false;
  durable_samples_ = taken_samples_;
}

void Bookkeeper::agent_died() {
  pending_.clear();
  failed_ = true;
  if (pending_start_) started_ = pending_start_ = ever_complete_ = false;
}

void Bookkeeper::add_up(const Taken& taken) {
  const Sample& sample = taken.sample;
  now_ = &sample;
  mono_ = number(sample.taken_at);
  true_ms_ = taken.true_ms;
  const std::int64_t offset = sample.wall.time_since_epoch().count() - mono_;
  first_ = !started_;
  same_boot_ = started_ && boot_ == sample.boot;
  label_ = same_boot_ ? offset_ : offset;
  watched_ = same_boot_ && sample.events_unbroken && !taken.failed_before;
  if (!watched_) broken_ = mono_;
  note_gap();
  if (!same_boot_) {
    last_ = last_complete_ = 0;
    last_complete_true_ = last_true_;  // This boot began after it.
  }
  if (!same_boot_ && !first_) ever_complete_ = true;  // Nothing ran before this boot.
  if (first_) began_at_ = true_ms_;
  if (!first_ && !watched_) unwatched_ms_ += true_ms_ - last_true_;
  looks_.push_back(true_ms_);

  std::map<VmId, std::vector<const VmEvent*>> events;
  std::map<VmId, const VmReading*> listed;
  for (const VmEvent& event : sample.events) events[event.vm].push_back(&event);
  for (const VmReading& reading : sample.vms) listed[reading.vm] = &reading;
  std::set<VmId> ids;
  for (const auto& [id, vm] : vms_) ids.insert(id);
  for (const auto& [id, list] : events) ids.insert(id);
  for (const auto& [id, reading] : listed) ids.insert(id);
  for (const VmId& id : ids) {
    const auto reading = listed.find(id);
    add_up_vm(id, events[id], reading == listed.end() ? nullptr : reading->second);
  }

  // The clock is followed, except for the millisecond by which two clocks may always differ.
  const std::int64_t moved = offset - label_;
  // Unless a reboot or the setting of the clock ended it.
  stretch_goes_on_ =
      sample.inventory == Inventory::kKnownOnly && same_boot_ && !watched_ && moved >= -500 && moved <= 500;
  offset_ = moved < -1 || moved > 1 ? offset : label_;
  for (auto& [id, vm] : vms_) {
    if (vm.boot == sample.boot) vm.seen_utc = vm.seen + offset_;
  }
  started_ = true;
  boot_ = sample.boot;
  last_ = mono_;
  if (sample.inventory == Inventory::kComplete) {
    last_complete_ = mono_;
    last_complete_true_ = true_ms_;
  }
  ever_complete_ = ever_complete_ || sample.inventory == Inventory::kComplete;
  last_utc_ = mono_ + offset_;
  last_true_ = true_ms_;
  if (stretch_goes_on_) gaps_.back().to = std::max(gaps_.back().from, last_utc_);
}

// One stretch, as long as every sample in it says that it goes on; a clock that was set ends it.
void Bookkeeper::note_gap() {
  if (first_ || watched_) return;
  const std::int64_t to = mono_ + label_;
  if (stretch_goes_on_ && same_boot_ && !gaps_.empty()) {
    gaps_.back().to = std::max(gaps_.back().from, to);
  } else {
    // A clock that was followed backwards while the stretch before went on: none is told twice.
    const std::int64_t from = stretch_goes_on_ && !gaps_.empty() ? std::max(last_utc_, gaps_.back().to) : last_utc_;
    gaps_.push_back({from, std::max(from, to)});
  }
}

void Bookkeeper::add_up_vm(const VmId& id, const std::vector<const VmEvent*>& events, const VmReading* listed) {
  const auto [entry, fresh] = vms_.try_emplace(id);
  Vm& vm = entry->second;
  if (fresh) {
    vm.boot = now_->boot;
    vm.seen = last_complete_;
    vm.seen_true = last_complete_true_;
  }
  Account& account = accounts_[id];
  if (fresh) account.unwatched_ms = unwatched_ms_;  // It may have been here before, unseen.
  if (fresh && watched_ && !events.empty() && events.front()->kind != VmEventKind::kArrived) {
    // What is told first is not that it came: it was here, unseen, until an event says that it is allocated.
    const auto starts = [](const VmEvent* e) {
      return e->kind == VmEventKind::kStarted || e->kind == VmEventKind::kResumed;
    };
    const auto start = std::find_if(events.begin(), events.end(), starts);
    const std::int64_t until = start == events.end() ? mono_ : number((*start)->at);
    account.unwatched_ms += std::max<std::int64_t>(0, until - vm.seen);
  }
  const Standing before = vm;
  vm.doubtful = vm.left_behind && (vm.doubtful || !watched_);
  if (vm.doubtful) account.unwatched_ms += true_ms_ - vm.seen_true;
  const bool followed = std::exchange(vm.followed, false) || vm.seen >= last_;
  const bool continuous = !vm.present || (vm.boot == now_->boot && followed);
  if (watched_ && continuous) {
    watched(vm, account, events, listed);
  } else {
    unwatched(vm, account, events, listed);
  }
  if (listed && !(vm.left_behind && listed->levels.power == Power::kOff)) {
    vm.present = true;
    vm.left_behind = false;
    vm.levels = listed->levels;
    count(vm, account, *listed, before);
  }
  if (listed || !vm.present) {
    // Where it is known to be, or known not to be.
    if (listed || now_->inventory == Inventory::kComplete) {
      vm.boot = now_->boot;
      vm.seen = mono_;
      vm.seen_true = true_ms_;
    }
  }
  vm.known = true;
}

// Every event is known: levels hold from each to the next.
void Bookkeeper::watched(Vm& vm, Account& account, const std::vector<const VmEvent*>& events, const VmReading* listed) {
  std::int64_t cursor = vm.seen;
  for (const VmEvent* event : events) {
    const std::int64_t t = std::clamp(number(event->at), last_, mono_);
    if (vm.present) cover(account, cursor + label_, t + label_, vm.levels);
    follow_levels(vm.levels, *event);
    cursor = t;
    switch (event->kind) {
      case VmEventKind::kArrived:
      case VmEventKind::kStarted:
      case VmEventKind::kResumed:
        vm.present = true;
        vm.left_behind = false;
        break;
      case VmEventKind::kDeparted:
        vm.present = false;
        vm.left_behind = event->how == "migrated";
        went(vm);
        break;
      default: break;
    }
  }
  if (!listed) {
    vm.left_behind = false;
    if (!vm.present) return;
    vm.boot = now_->boot;
    vm.seen = cursor;
    vm.followed = true;  // It could not be read, and no event says that it left.
    if (now_->inventory == Inventory::kComplete && cursor < std::max(last_complete_, broken_)) {
      // The second list that lacks it, or its departure may have been lost.
      account.unwatched_ms += true_ms_ - vm.seen_true;
      vm.seen_true = true_ms_;
      vm.present = vm.followed = false;
      went(vm);
    }
    return;
  }
  if (vm.left_behind && listed->levels.power == Power::kOff) return;
  if (!vm.present) {
    found(vm, account, *listed);
    return;
  }
  assume_levels(vm, listed);
  cover(account, cursor + label_, mono_ + label_, vm.levels);
}

// Nothing told what a VM without a description was given when it came: what is told first has held since.
void Bookkeeper::assume_levels(Vm& vm, const VmReading* listed) {
  if (!vm.present || vm.levels.vcores != 0 || !listed) return;
  const Power power = vm.levels.power == Power::kOff ? listed->levels.power : vm.levels.power;
  vm.levels = listed->levels;
  vm.levels.power = power;
}

// Something may have happened that nobody saw.
void Bookkeeper::unwatched(Vm& vm, Account& account, const std::vector<const VmEvent*>& events,
                           const VmReading* listed) {
  const bool unknown = !listed && now_->inventory == Inventory::kKnownOnly;
  if (unknown && events.empty()) {
    if (vm.present) return;                           // It may still be there: proven or lost at a later sample.
    account.unwatched_ms += true_ms_ - vm.seen_true;  // It may have come.
    vm.seen_true = true_ms_;
    return;
  }
  std::int64_t stretch = true_ms_ - vm.seen_true;
  if (vm.boot != now_->boot) stretch = std::max(stretch, mono_ + label_ - vm.seen_utc);
  account.unwatched_ms += stretch;
  // What happens to a VM that is not allocated, as far as is known, says nothing of where it was.
  const auto tells = [&](const VmEvent* event) {
    return vm.present || event->kind == VmEventKind::kArrived || event->kind == VmEventKind::kStarted ||
           event->kind == VmEventKind::kResumed || event->kind == VmEventKind::kDeparted;
  };
  if (std::any_of(events.begin(), events.end(), tells)) {
    const std::int64_t known_until = follow_events(vm, account, events);
    vm.boot = now_->boot;
    vm.seen = known_until;
    if (!listed && now_->inventory == Inventory::kKnownOnly) {
      vm.followed = vm.present;
    } else if (!listed && watched_) {
      vm.left_behind = false;
      vm.followed = vm.present;  // Until the next list.
    } else if (!listed) {
      vm.present = vm.left_behind = false;  // Its departure was not seen: it ends at its last event.
      went(vm);
    } else if (vm.present) {
      assume_levels(vm, listed);
      cover(account, known_until + label_, mono_ + label_, vm.levels);
    } else if (!(vm.left_behind && listed->levels.power == Power::kOff)) {
      found(vm, account, *listed);
    }
    return;
  }
  const bool here = listed && !(vm.left_behind && listed->levels.power == Power::kOff);
  if (vm.present && here) {
    bridge(vm, account, *listed);
  } else if (here) {
    found(vm, account, *listed);
  } else {
    vm.present = false;
    if (!listed) vm.left_behind = false;
    went(vm);
  }
}

void Bookkeeper::went(Vm& vm) {
  for (auto& [key, device] : vm.devices) device.stayed = false;
}

// The first event of a VM that was here ends the stretch: it was here until then, and nothing proves that it was on.
// What follows is known. Gives the instant of the last event.
std::int64_t Bookkeeper::follow_events(Vm& vm, Account& account, const std::vector<const VmEvent*>& events) {
  bool known = false;
  std::int64_t cursor = vm.seen;
  for (const VmEvent* event : events) {
    const bool same_boot = known || vm.boot == now_->boot;
    const std::int64_t t = std::clamp(number(event->at), same_boot ? cursor : 0, mono_);
    if (vm.present && known) cover(account, cursor + label_, t + label_, vm.levels);
    if (vm.present && !known) bridge_to_event(vm, account, *event, t);
    known = known || vm.present;
    follow_levels(vm.levels, *event);
    cursor = t;
    switch (event->kind) {
      case VmEventKind::kArrived:
      case VmEventKind::kStarted:
      case VmEventKind::kResumed:
        vm.present = known = true;
        vm.left_behind = false;
        break;
      case VmEventKind::kDeparted:
        vm.present = false;
        vm.left_behind = event->how == "migrated";
        known = true;
        went(vm);
        break;
      default: break;
    }
  }
  return cursor;
}

void Bookkeeper::bridge_to_event(const Vm& vm, Account& account, const VmEvent& event, std::int64_t t) {
  const bool was_on = vm.levels.power != Power::kOff;
  if (vm.boot != now_->boot) {
    account.unwatched_ms += std::max<std::int64_t>(0, t + label_ - vm.seen_utc);
    if (count_stopped_ || was_on) span(account, vm.seen_utc, t + label_);
    return;
  }
  Levels low = vm.levels;
  if (event.levels) {  // The other side of the stretch.
    low.vcores = std::min(low.vcores, event.levels->vcores);
    low.disk_mib = std::min(low.disk_mib.value_or(0), event.levels->disk_mib.value_or(0));
  }
  low.power = Power::kOff;
  if (count_stopped_) {
    cover(account, vm.seen + label_, t + label_, low);
  } else if (was_on) {
    span(account, vm.seen + label_, t + label_);
  }
}

// Whether any run is shown that was known before: then it is the process from before.
bool Bookkeeper::goes_on(const Vm& vm, const VmReading& listed) {
  return std::any_of(listed.devices.begin(), listed.devices.end(), [&](const DeviceReading& device) {
    const auto known = vm.devices.find({device.kind, device.id});
    return known != vm.devices.end() && known->second.run == device.run;
  });
}

void Bookkeeper::bridge(Vm& vm, Account& account, const VmReading& listed) {
  Levels low = listed.levels;
  low.vcores = std::min(low.vcores, vm.levels.vcores);
  low.memory_mib = std::min(low.memory_mib, vm.levels.memory_mib);
  low.disk_mib = std::min(low.disk_mib.value_or(0), vm.levels.disk_mib.value_or(0));
  const bool was_on = vm.levels.power != Power::kOff;
  const bool same_run = goes_on(vm, listed);
  // It is on now; nothing else says whether it was on before.
  const bool told = listed.process_began || same_run;
  const bool is_on = listed.levels.power != Power::kOff && told;
  const std::int64_t to = mono_ + label_;
  if (vm.boot != now_->boot) {
    const std::int64_t from = vm.seen_utc;
    if (to <= from) return;
    account.unwatched_ms += to - from;
    std::int64_t on_since = to;
    if (listed.process_began) on_since = std::clamp(number(*listed.process_began) + label_, from, to);
    if (!told) low.power = Power::kOff;
    if (count_stopped_ || was_on) span(account, from, on_since);
    cover(account, on_since, to, low);
    return;
  }
  const std::int64_t from = vm.seen + label_;
  std::int64_t on_since = to;
  bool restarted = false;
  if (listed.process_began && !same_run) {
    const std::int64_t began = number(*listed.process_began);
    restarted = began > vm.seen && began <= mono_;
    if (restarted) on_since = began + label_;
  }
  Levels first = low;
  if (!was_on || !is_on || restarted) first.power = Power::kOff;
  if (counts(first.power)) {
    cover(account, from, on_since, first);
  } else if (was_on || is_on) {
    span(account, from, on_since);
  }
  if (restarted) cover(account, on_since, to, low);
}

void Bookkeeper::found(Vm& vm, Account& account, const VmReading& listed) {
  account.unwatched_ms += true_ms_ - vm.seen_true;
  if (first_ || !listed.process_began || !(vm.known || ever_complete_)) return;
  const std::int64_t began = number(*listed.process_began);
  const std::int64_t absent = vm.boot == now_->boot ? vm.seen : 0;
  if (began >= absent && began < mono_) cover(account, began + label_, mono_ + label_, listed.levels);
}

void Bookkeeper::span(Account& account, std::int64_t from_utc, std::int64_t to_utc) {
  for (std::int64_t t = from_utc; t < to_utc;) {
    const std::int64_t hour = t / kHour;
    const std::int64_t end = std::min(to_utc, (hour + 1) * kHour);
    account.hours[hour] += end - t;
    t = end;
  }
}

void Bookkeeper::cover(Account& account, std::int64_t from_utc, std::int64_t to_utc, const Levels& levels) {
  if (!counts(levels.power) || to_utc <= from_utc) return;
  span(account, from_utc, to_utc);
  const std::int64_t length = to_utc - from_utc;
  account.covered_ms += length;
  if (levels.vcores == 0) account.unwatched_ms += length;  // It was here, and nothing told what it was given.
  account.vcore_ms += u(length) * levels.vcores;
  account.disk_mib_ms += u(length) * levels.disk_mib.value_or(0);
  if (levels.power != Power::kOff) account.memory_mib_ms += u(length) * levels.memory_mib;
}

// --- Counters: subtraction within one run ----------------------------------------------------------------------------

void Bookkeeper::count(Vm& vm, Account& account, const VmReading& listed, const Standing& before) {
  const bool was_on = before.known && before.present && before.levels.power != Power::kOff && before.boot == now_->boot;
  const bool old_process = goes_on(vm, listed);
  for (const DeviceReading& reading : listed.devices) {
    if (reading.run == 0) continue;  // Nobody could tell which one it is.
    Device& device = vm.devices[{reading.kind, reading.id}];
    if (device.run != reading.run) {
      device = Device{};
      device.run = reading.run;
      const bool of_old_process = old_process && (!reading.begun || reading.begun == listed.process_began);
      const bool after_last =
          reading.begun && !of_old_process && (before.boot != now_->boot || number(*reading.begun) >= before.seen);
      device.surely_from_zero = !first_ && after_last && (before.known || ever_complete_);
      // Without a proven start: only where something else shows that it was not there before.
      device.perhaps_from_zero = after_last || !(was_on && watched_ && now_->events.empty());
      if (first_ && now_->events.empty()) device.perhaps_from_zero = false;
      if (reading.carried || of_old_process) device.perhaps_from_zero = false;
      if (reading.begun && was_on && number(*reading.begun) < before.seen) device.perhaps_from_zero = false;
    }
    const bool stayed = std::exchange(device.stayed, true);
    // Bytes do not wrap: where they fall, operations began anew, too.
    bool anew = false;
    for (std::size_t i = 0; i < kReadOperations; ++i) {
      const auto* value = std::get_if<std::uint64_t>(&reading.counters[i]);
      anew = anew || (value && device.chains[i].base && *value < *device.chains[i].base);
    }
    for (std::size_t i = 0; i < kCountersMax; ++i) {
      const auto* value = std::get_if<std::uint64_t>(&reading.counters[i]);
      if (!value) continue;
      Bounds& sum = account.counted[static_cast<std::size_t>(meter_of(reading.kind, i))];
      Chain& chain = device.chains[i];
      std::uint64_t rise = 0;
      // A little fall: what it regains was billed already.
      const bool fell = chain.base && *value < *chain.base;
      if (fell && *chain.base - *value <= 1'000'000 && *value > *chain.base / 2) continue;
      if (!chain.base) {
        if (device.surely_from_zero) sum.low += *value;
        if (device.perhaps_from_zero) sum.high += *value;
      } else if (*value >= *chain.base) {
        rise = *value - *chain.base;
      } else if (reading.operations_width_bits == 32 && reading.kind == DeviceKind::kDisk && i >= kReadOperations) {
        const std::uint64_t wrapped = (std::uint64_t{1} << 32) - *chain.base + *value;
        const std::int64_t ms = number(reading.read_at) - chain.read_at;
        if (!anew && wrapped <= 5'000'000 * u(ms) / 1000) rise = wrapped;
      }
      sum.high += rise;
      if (stayed) sum.low += rise;
      chain.base = *value;
      chain.read_at = number(reading.read_at);
    }
  }
}

}  // namespace nodemeter
