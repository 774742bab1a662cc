#include "collectors/hyperv_tracker.h"

#include <algorithm>
#include <utility>

#include "platform/text.h"

namespace nodemeter {

namespace {

constexpr std::int64_t kClockMoves = 500;  // Milliseconds; less is drift.

// How long after it was read a machine's row may come: from a list of many, or as a notice.
constexpr Milliseconds kRowTrail{5'000};

// WMI tells of on-times that have grown, too. A machine that tells when it was configured has changed nothing by that.
bool has_only_aged(const HypervMachine& before, HypervMachine now) {
  now.on = before.on;
  return !now.configuration_changed.empty() && now == before;
}

// The offset from UTC in an instant as WMI writes it, "yyyymmddhhmmss.ffffff+ooo".
std::string_view zone_of(std::string_view instant) {
  constexpr std::size_t kZoneAt = 21;
  return instant.substr(std::min(instant.size(), kZoneAt));
}

// Whether such an instant lies ahead of `now`: the clock was set back since.
bool is_ahead(std::string_view instant, UtcTime now) {
  const std::string_view zone = zone_of(instant);
  const std::optional<std::uint64_t> minutes = parse_u64(zone.substr(std::min<std::size_t>(zone.size(), 1)));
  if (!minutes || *minutes > 24 * 60) return false;
  const auto offset = std::chrono::minutes{*minutes};
  std::string digits;
  for (const char c : iso_time(zone.front() == '-' ? now - offset : now + offset)) {
    if (c >= '0' && c <= '9') digits += c;
  }
  constexpr std::size_t kToSeconds = 14;
  return instant.substr(0, kToSeconds) > std::string_view(digits).substr(0, kToSeconds);
}

}  // namespace

Levels levels_of(const HypervSettings& settings, Power power) {
  Levels levels;
  levels.power = power;
  levels.vcores = settings.vcores;
  levels.memory_mib = settings.memory_mib;
  levels.disk_mib = settings.disk_mib;
  return levels;
}

std::int64_t HypervTracker::wall_offset_ms() const {
  const ClockReading now = clock_.now();
  return (now.utc.time_since_epoch() - now.monotonic.time_since_epoch()).count();
}

MonotonicTime HypervTracker::started_at(const HypervMachine& machine) const {
  if (!machine.on) return stamp_;
  // Time that it was paused is not in its on-time: then it began even earlier.
  return std::clamp(stamp_ - *machine.on, MonotonicTime{}, stamp_);
}

void HypervTracker::push(Machine& machine, VmEventKind kind, std::string how, MonotonicTime at,
                         const std::optional<HypervSettings>& settings) {
  if (queue_.size() >= options_.events_max) {
    gap_ = true;
    return;
  }
  VmEvent event;
  event.vm = machine.known.vm;
  event.kind = kind;
  event.how = std::move(how);
  event.name = machine.known.name;
  event.at = machine.last_event = std::max({machine.last_event, floor_, at});
  if (settings && settings->whole()) {
    event.levels = levels_of(*settings, machine.known.power);
    if (options_.trust_notes) {
      if (Owner owner = owner_from_notes(settings->notes); owner.known) event.owner = std::move(owner);
    }
  }
  queue_.push_back(std::move(event));
}

void HypervTracker::change_power(Machine& machine, const HypervMachine& now,
                                 const std::optional<HypervSettings>& settings) {
  const HypervMachine before = std::exchange(machine.known, now);
  const bool was_on = before.power != Power::kOff;
  const bool is_on = now.power != Power::kOff;
  if (was_on && !is_on) {
    push(machine, VmEventKind::kStopped, "stopped", stamp_, settings);
  } else if (!was_on && is_on) {
    push(machine, VmEventKind::kStarted, "booted", started_at(now), settings);
  } else if (before.power != now.power) {
    const bool paused = now.power == Power::kPaused;
    push(machine, paused ? VmEventKind::kPaused : VmEventKind::kResumed, paused ? "paused" : "resumed", stamp_,
         settings);
  } else if (is_on && before.on && now.on && *now.on < *before.on && *now.on <= stamp_ - machine.seen + kRowTrail) {
    // A row that is older than the last one shows less, too, but not as little as the time since then.
    push(machine, VmEventKind::kRebooted, "reset", stamp_, settings);
  }
}

void HypervTracker::change(Machine& machine, const HypervMachine& now, bool created,
                           const std::optional<HypervSettings>& settings) {
  const bool fresh = machine.known.vm.is_zero();
  // On its way in until it is no longer migrating, or runs: until then the other host counts it.
  if (fresh) machine.came_in = now.migrating;
  const bool incoming = machine.came_in && now.migrating && !machine.allocated && now.power != Power::kRunning;
  const bool allocated = now.allocated && !incoming;
  if (allocated && machine.allocated) {
    change_power(machine, now, settings);
    return;
  }
  machine.known = now;
  if (allocated == machine.allocated) return;
  machine.allocated = allocated;
  if (allocated && fresh && !created) {
    // The notice of its coming was lost, and nobody knows when it came: the next list shows that it is here.
    urgent_ = true;
  } else if (allocated) {
    push(machine, VmEventKind::kArrived, machine.came_in ? "migrated" : "created", stamp_, settings);
    urgent_ = true;
  } else {
    push(machine, VmEventKind::kDeparted, "replica", stamp_, std::nullopt);
  }
}

void HypervTracker::remove(Machine& machine, const HypervMachine& last) {
  const bool left = machine.known.migrating || last.migrating;
  if (machine.allocated) push(machine, VmEventKind::kDeparted, left ? "migrated" : "deleted", stamp_, std::nullopt);
  machine.allocated = false;
  machine.known = HypervMachine{};
}

void HypervTracker::notice(const WmiNotice& notice, const std::optional<HypervSettings>& settings) {
  const std::optional<HypervMachine> now = parse_machine(notice.row);
  if (!now) return;
  bool urgent = false;
  {
    const std::lock_guard lock(mutex_);
    ++mark_;
    stamp_ = std::clamp(notice.came, floor_, std::max(floor_, clock_.now().monotonic));
    Machine& machine = machines_[now->vm];
    const bool was_urgent = std::exchange(urgent_, false);
    if (notice.kind != WmiNotice::Kind::kChanged || !has_only_aged(machine.known, *now)) ++changes_;
    // Instants of one zone: text order is time order, unless the clock was set back.
    const std::int64_t offset = wall_offset_ms();
    const bool one_zone =
        now->state_changed.empty() || zone_of(now->state_changed) == zone_of(machine.known.state_changed);
    const bool comparable = one_zone && machine.wall_offset_ms && *machine.wall_offset_ms - offset < kClockMoves;
    const bool stale = comparable && !machine.known.vm.is_zero() && now->state_changed < machine.known.state_changed;
    if (notice.kind == WmiNotice::Kind::kDeleted) {
      machine.noticed = mark_;
      absences_.off.erase(now->vm);
      absences_.left.insert(now->vm);
      remove(machine, *now);
    } else if (!stale) {
      machine.noticed = mark_;
      machine.wall_offset_ms = offset;
      if (now->power == Power::kOff) {
        absences_.off.insert(now->vm);
        absences_.left.erase(now->vm);
      }
      change(machine, *now, notice.kind == WmiNotice::Kind::kCreated, settings);
      machine.seen = stamp_;
    }
    urgent = urgent_;
    urgent_ = urgent_ || was_urgent;
  }
  noticed_.notify_all();
  if (urgent && options_.on_urgency) options_.on_urgency();
}

bool HypervTracker::take_changed() {
  const std::lock_guard lock(mutex_);
  const bool missed = attached_ && gap_;  // Some notices, until the next sample.
  return std::exchange(changes_taken_, changes_) != changes_ || missed;
}

HypervTracker::Absences HypervTracker::take_absences() {
  const std::lock_guard lock(mutex_);
  return std::exchange(absences_, {});
}

bool HypervTracker::arriving(const VmId& vm) const {
  const std::lock_guard lock(mutex_);
  const auto known = machines_.find(vm);
  return known == machines_.end() || known->second.known.vm.is_zero() ||
         (known->second.came_in && !known->second.allocated);
}

bool HypervTracker::has(const VmId& vm) const {
  const std::lock_guard lock(mutex_);
  const auto known = machines_.find(vm);
  return known != machines_.end() && known->second.allocated;
}

bool HypervTracker::explains(const std::vector<Standing>& listed) const {
  const std::lock_guard lock(mutex_);
  std::size_t allocated = 0;
  for (const Standing& standing : listed) {
    if (!standing.allocated) continue;
    ++allocated;
    const auto known = machines_.find(standing.machine.vm);
    if (known == machines_.end() || !known->second.allocated) return false;
    if (known->second.known.power != standing.machine.power) return false;
  }
  const auto is_allocated = [](const auto& entry) { return entry.second.allocated; };
  return static_cast<std::size_t>(std::count_if(machines_.begin(), machines_.end(), is_allocated)) == allocated;
}

void HypervTracker::accept(const std::vector<Standing>& listed, std::uint64_t mark) {
  const std::lock_guard lock(mutex_);
  std::map<VmId, Machine> machines;
  for (const Standing& standing : listed) {
    Machine machine;
    const auto known = machines_.find(standing.machine.vm);
    if (known != machines_.end()) machine = known->second;
    if (machine.noticed <= mark) {
      const bool first = machine.known.vm.is_zero();
      if (first) machine.came_in = standing.machine.migrating && !standing.allocated;
      if (machine.known.state_changed != standing.machine.state_changed) machine.wall_offset_ms = wall_offset_ms();
      if (first && is_ahead(standing.machine.state_changed, clock_.now().utc)) machine.wall_offset_ms.reset();
      machine.known = standing.machine;
      machine.seen = clock_.now().monotonic;
      machine.allocated = standing.allocated;
    }
    machines.emplace(standing.machine.vm, std::move(machine));
  }
  for (const auto& [id, machine] : machines_) {
    if (machine.noticed > mark) machines.emplace(id, machine);
  }
  machines_ = std::move(machines);
}

TakenNotices HypervTracker::take(std::uint64_t mark) {
  const std::lock_guard lock(mutex_);
  TakenNotices taken;
  taken.now = clock_.now();
  floor_ = taken.now.monotonic;
  taken.unbroken = take_unbroken();
  taken.events = std::exchange(queue_, {});
  std::stable_sort(taken.events.begin(), taken.events.end(),
                   [](const VmEvent& a, const VmEvent& b) { return a.at < b.at; });
  for (const VmEvent& event : taken.events) {
    const auto known = machines_.find(event.vm);
    if (known != machines_.end() && known->second.noticed <= mark) continue;
    const bool here = known != machines_.end() && known->second.allocated;
    taken.moved[event.vm] = here ? std::optional(known->second.known.power) : std::nullopt;
  }
  return taken;
}

}  // namespace nodemeter
