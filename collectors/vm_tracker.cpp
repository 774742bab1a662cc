#include "collectors/vm_tracker.h"

#include <algorithm>

#include "collectors/domain_xml.h"
#include "collectors/owner_metadata.h"
#include "platform/text.h"

namespace nodemeter {

namespace {

// A node that plugs more devices between two samples than this has its definitions read again anyway.
constexpr std::size_t kChangesMax = 8192;

template <std::size_t N>
std::string word(const char* const (&words)[N], int detail) {
  return detail >= 0 && static_cast<std::size_t>(detail) < N ? words[detail] : "detail " + std::to_string(detail);
}

std::string how_started(int detail) {
  static const char* const kWords[] = {"booted", "migrated", "restored", "snapshot", "wakeup"};
  return word(kWords, detail);
}

std::string how_suspended(int detail) {
  static const char* const kWords[] = {"paused",   "migrating", "ioerror",  "watchdog",       "restored",
                                       "snapshot", "api-error", "postcopy", "postcopy-failed"};
  return word(kWords, detail);
}

std::string how_resumed(int detail) {
  static const char* const kWords[] = {"resumed", "migrated", "snapshot", "postcopy", "postcopy-failed"};
  return word(kWords, detail);
}

std::string how_stopped(int detail) {
  static const char* const kWords[] = {"shutdown", "destroyed", "crashed", "migrated", "saved", "failed", "snapshot"};
  return word(kWords, detail);
}

}  // namespace

Levels levels_of(const DomainDefinition& definition, Power power) {
  return Levels{power, definition.vcpus, definition.memory_mib, std::nullopt};
}

std::optional<Power> allocated_power(const ListedDomain& domain) {
  using namespace domain_state;
  if (!domain.active_id) {
    // A definition that stayed where its VM left from.
    if (domain.state == kOff && domain.reason == kOffMigrated) return std::nullopt;
    return Power::kOff;
  }
  switch (domain.state) {
    case kPaused:
      // Either end of a migration: the source counted until here, the destination counts once it resumes.
      if (domain.reason == kPausedMigration || domain.reason == kPausedPostcopy) return std::nullopt;
      return Power::kPaused;
    case kCrashed:
    case kSuspended: return Power::kPaused;  // The process and its memory are still there.
    default: return Power::kRunning;
  }
}

bool arrives_by_migration(const ListedDomain& domain) {
  using namespace domain_state;
  return (domain.state == kRunning && domain.reason == kRunningMigrated) ||
         (domain.state == kPaused && (domain.reason == kPausedMigration || domain.reason == kPausedPostcopy));
}

void VmTracker::push(const LifecycleNotice& notice, VmEventKind kind, std::string how, std::optional<Power> power) {
  ++pushed_;
  if (queue_.size() >= options_.events_max) {
    gap_ = true;
    return;
  }
  VmEvent event;
  event.vm = notice.vm;
  event.kind = kind;
  event.at = stamp_;
  event.how = std::move(how);
  event.name = display_text(notice.name, kDomainNameMax);
  // A place for the power until the definition is there; describe() fills the rest or takes it away.
  if (power) event.levels = Levels{*power, 0, 0, std::nullopt};
  queue_.push_back(Queued{pushed_, std::move(event)});
}

void VmTracker::arrive(Vm& vm, const LifecycleNotice& notice, std::string how, Power power) {
  vm.power = power;
  vm.migrating_in = vm.migrating_out = false;
  urgent_ = true;
  push(notice, VmEventKind::kArrived, std::move(how), power);
}

void VmTracker::depart(Vm& vm, const LifecycleNotice& notice, std::string how) {
  if (vm.power) push(notice, VmEventKind::kDeparted, std::move(how), std::nullopt);
  vm.power.reset();
}

void VmTracker::apply_started(Vm& vm, const LifecycleNotice& notice) {
  if (notice.detail == domain_event::kStartedMigrated) {
    vm.migrating_in = true;
    vm.power.reset();
    return;
  }
  // Unknown until now: a transient VM, or a definition that an earlier migration left behind.
  if (!vm.power) arrive(vm, notice, "created", Power::kOff);
  vm.power = Power::kRunning;
  push(notice, VmEventKind::kStarted, how_started(notice.detail), vm.power);
}

void VmTracker::apply_suspended(Vm& vm, const LifecycleNotice& notice) {
  if (notice.detail == domain_event::kSuspendedMigrated || notice.detail == domain_event::kSuspendedPostcopy) {
    if (!vm.migrating_in) {
      depart(vm, notice, "migrated");
      vm.migrating_out = true;
    }
    return;
  }
  if (!vm.power) {
    // It came in paused, because it was paused where it came from.
    if (vm.migrating_in) arrive(vm, notice, "migrated", Power::kPaused);
    return;
  }
  vm.power = Power::kPaused;
  push(notice, VmEventKind::kPaused, how_suspended(notice.detail), vm.power);
}

void VmTracker::apply_resumed(Vm& vm, const LifecycleNotice& notice) {
  const bool migrated =
      notice.detail == domain_event::kResumedMigrated || notice.detail == domain_event::kResumedPostcopy;
  if (!vm.power && (migrated || vm.migrating_in || vm.migrating_out)) {
    arrive(vm, notice, vm.migrating_out ? "migration cancelled" : "migrated", Power::kRunning);
    return;
  }
  // A start resumes the vcpus too, and libvirt may tell so before it tells the start.
  if (vm.power != Power::kPaused) return;
  vm.power = Power::kRunning;
  push(notice, VmEventKind::kResumed, how_resumed(notice.detail), vm.power);
}

void VmTracker::apply_stopped(Vm& vm, const LifecycleNotice& notice) {
  const bool left = notice.detail == domain_event::kStoppedMigrated || vm.migrating_out;
  vm.migrating_in = vm.migrating_out = false;
  if (left) {
    depart(vm, notice, "migrated");
  } else if (!vm.persistent) {
    depart(vm, notice, how_stopped(notice.detail));
  } else if (vm.power) {
    vm.power = Power::kOff;
    push(notice, VmEventKind::kStopped, how_stopped(notice.detail), vm.power);
  }
  if (!vm.persistent) vms_.erase(notice.vm);
}

void VmTracker::apply(const LifecycleNotice& notice) {
  Vm& vm = vms_[notice.vm];
  vm.noticed = mark_;
  switch (notice.event) {
    case domain_event::kDefined: {
      const bool known = vm.persistent || vm.power || vm.migrating_in || vm.migrating_out;
      vm.persistent = true;
      if (!known) {
        arrive(vm, notice, "created", Power::kOff);
      } else if (vm.power == Power::kOff && notice.detail != domain_event::kDefinedAdded) {
        const bool renamed = notice.detail == domain_event::kDefinedRenamed;
        push(notice, VmEventKind::kResized, renamed ? "renamed" : "redefined", vm.power);
      }
      break;
    }
    case domain_event::kUndefined:
      vm.persistent = false;
      if (vm.power == Power::kOff) depart(vm, notice, "deleted");
      if (!vm.power && !vm.migrating_in && !vm.migrating_out) vms_.erase(notice.vm);
      break;
    case domain_event::kStarted: apply_started(vm, notice); break;
    case domain_event::kSuspended: apply_suspended(vm, notice); break;
    case domain_event::kResumed: apply_resumed(vm, notice); break;
    case domain_event::kStopped: apply_stopped(vm, notice); break;
    case domain_event::kSleeping:
    case domain_event::kCrashed:
      // If the process ends too, a stop follows.
      if (vm.power && vm.power != Power::kOff) {
        vm.power = Power::kPaused;
        push(notice, VmEventKind::kPaused, notice.event == domain_event::kCrashed ? "crashed" : "sleeping", vm.power);
      }
      break;
    default: break;  // kShutdown announces a stop that follows; later libvirts may tell more.
  }
}

void VmTracker::lifecycle(const LifecycleNotice& notice) {
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  bool urgent = false;
  {
    const std::lock_guard lock(mutex_);
    ++mark_;
    stamp_ = clock_.now().monotonic;
    first = pushed_;
    const bool was_urgent = std::exchange(urgent_, false);
    apply(notice);
    urgent = urgent_;
    urgent_ = urgent_ || was_urgent;
    last = pushed_;
    if (changes_.definitions.size() < kChangesMax) changes_.definitions.insert(notice.vm);
  }
  noticed_.notify_all();
  // Outside the lock: this asks libvirt, and a sample must not wait for it.
  if (last > first) describe(notice, first, last);
  if (urgent && options_.on_urgency) options_.on_urgency();
}

// Adds levels and owner to the events numbered (first, last], if they have not been taken meanwhile.
void VmTracker::describe(const LifecycleNotice& notice, std::uint64_t first, std::uint64_t last) {
  const bool wanted = notice.event == domain_event::kDefined || notice.event == domain_event::kStarted ||
                      notice.event == domain_event::kResumed;
  std::optional<DomainDefinition> definition;
  Owner owner;
  if (wanted && notice.definition) {
    if (Result<std::string> xml = notice.definition(); xml) {
      if (Result<DomainDefinition> parsed = parse_domain_xml(*xml); parsed) definition = std::move(*parsed);
      if (options_.trust_metadata) owner = parse_owner_metadata(*xml);
    }
  }
  const std::lock_guard lock(mutex_);
  for (Queued& queued : queue_) {
    if (queued.number <= first || queued.number > last) continue;
    if (!queued.event.levels) continue;
    if (!definition) {
      queued.event.levels.reset();
      continue;
    }
    queued.event.levels = levels_of(*definition, queued.event.levels->power);
    if (owner.known) queued.event.owner = owner;
  }
}

void VmTracker::rebooted(VmId vm) {
  {
    const std::lock_guard lock(mutex_);
    ++mark_;
    stamp_ = clock_.now().monotonic;
    const auto known = vms_.find(vm);
    if (known == vms_.end() || !known->second.power) return;
    // One press of the reset button is several resets to QEMU.
    if (!queue_.empty() && queue_.back().event.vm == vm && queue_.back().event.kind == VmEventKind::kRebooted) return;
    LifecycleNotice notice;
    notice.vm = vm;
    push(notice, VmEventKind::kRebooted, "rebooted", std::nullopt);
  }
  noticed_.notify_all();
}

void VmTracker::changed(VmId vm) {
  const std::lock_guard lock(mutex_);
  if (changes_.definitions.size() < kChangesMax) changes_.definitions.insert(vm);
}

void VmTracker::device_added(VmId vm, const std::string& alias) {
  const std::lock_guard lock(mutex_);
  if (changes_.definitions.size() < kChangesMax) changes_.definitions.insert(vm);
  if (changes_.plugged.size() < kChangesMax && alias.size() <= kDeviceIdMax) {
    changes_.plugged.push_back(PluggedDevice{vm, alias});
  }
}

bool VmTracker::explains(const std::vector<Standing>& listed) const {
  const std::lock_guard lock(mutex_);
  std::size_t allocated = 0;
  for (const Standing& standing : listed) {
    if (!standing.power) continue;
    ++allocated;
    const auto known = vms_.find(standing.vm);
    if (known == vms_.end() || known->second.power != standing.power) return false;
  }
  const auto is_allocated = [](const auto& entry) { return entry.second.power.has_value(); };
  return static_cast<std::size_t>(std::count_if(vms_.begin(), vms_.end(), is_allocated)) == allocated;
}

void VmTracker::accept(const std::vector<Standing>& listed, std::uint64_t mark) {
  const std::lock_guard lock(mutex_);
  std::map<VmId, Vm> vms;
  for (const Standing& standing : listed) {
    Vm vm;
    if (const auto known = vms_.find(standing.vm); known != vms_.end()) vm = known->second;
    if (vm.noticed <= mark) {
      vm.persistent = standing.persistent;
      vm.power = standing.power;
      if (standing.power) vm.migrating_in = vm.migrating_out = false;
      // Not allocated though its process is here, and nobody saw it leave: it is on its way in.
      if (!standing.power && !standing.persistent && !vm.migrating_out) vm.migrating_in = true;
    }
    vms.emplace(standing.vm, vm);
  }
  for (const auto& [id, vm] : vms_) {
    if (vm.noticed > mark) vms.emplace(id, vm);
  }
  vms_ = std::move(vms);
}

VmTracker::Changes VmTracker::take_changes() {
  const std::lock_guard lock(mutex_);
  return std::exchange(changes_, Changes{});
}

TakenNotices VmTracker::take(std::uint64_t mark) {
  const std::lock_guard lock(mutex_);
  TakenNotices taken;
  taken.now = clock_.now();
  taken.unbroken = take_unbroken();
  taken.events.reserve(queue_.size());
  for (Queued& queued : queue_) {
    // The definition has not come yet, so only the power is known: say nothing rather than zero cores.
    if (queued.event.levels && queued.event.levels->vcores == 0 && queued.event.levels->memory_mib == 0) {
      queued.event.levels.reset();
    }
    if (taken.moved.emplace(queued.event.vm, std::nullopt).second) {
      const auto known = vms_.find(queued.event.vm);
      const bool later = known == vms_.end() || known->second.noticed > mark;
      if (!later) {
        taken.moved.erase(queued.event.vm);
      } else if (known != vms_.end()) {
        taken.moved[queued.event.vm] = known->second.power;
      }
    }
    taken.events.push_back(std::move(queued.event));
  }
  queue_.clear();
  queue_.shrink_to_fit();
  return taken;
}

}  // namespace nodemeter
