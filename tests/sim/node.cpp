#include "tests/sim/node.h"

#include <algorithm>

#include "collectors/sample_moves.h"
#include "platform/contract.h"

namespace nodemeter {

namespace {

MeterIndex meter_of(DeviceKind kind, std::size_t counter) {
  const auto from = [&](MeterIndex first) {
    return static_cast<MeterIndex>(static_cast<std::size_t>(first) + counter);
  };
  switch (kind) {
    case DeviceKind::kCpu: return MeterIndex::kCpuTime;
    case DeviceKind::kDisk: return from(MeterIndex::kDiskReadBytes);
    case DeviceKind::kNic: return from(MeterIndex::kNetworkReceiveBytes);
  }
  return MeterIndex::kCpuTime;
}

std::size_t counters_of(DeviceKind kind) { return kind == DeviceKind::kCpu ? 1 : kCountersMax; }

}  // namespace

VmId plan_vm_id(const Plan& plan, std::size_t index) {
  return VmId(uuid_from_name(Uuid{}, "plan/" + std::to_string(plan.seed) + "/" + std::to_string(index)));
}

SimNode::SimNode(const Plan& plan) : plan_(plan) {
  begin_boot();
  for (std::size_t i = 0; i < subscriptions_.size(); ++i) {
    subscriptions_[i] = uuid_from_name(Uuid{}, "subscription/" + std::to_string(i));
  }
  machines_.resize(plan.vms.size());
  for (std::uint32_t i = 0; i < plan.vms.size(); ++i) {
    Machine& machine = machines_[i];
    machine.plan = &plan.vms[i];
    machine.id = plan_vm_id(plan, i);
    machine.vcores = machine.plan->vcores;
    machine.memory_mib = machine.plan->memory_mib;
    machine.name = i % 3;  // Names repeat.
    machine.owner = machine.plan->owner_known ? 1 : 0;
    add_device(machine, DeviceKind::kCpu, 0);
    for (std::uint32_t n = 0; n < machine.plan->disks; ++n) add_device(machine, DeviceKind::kDisk, 0);
    for (std::uint32_t n = 0; n < machine.plan->nics; ++n) add_device(machine, DeviceKind::kNic, 0);
    note(machine);
    if (machine.plan->first_ms == 0) {
      machine.present = true;
      begin_run(machine);
      note(machine);
      if (plan.begins_empty) report(machine, VmEventKind::kArrived, "created");
    } else if (machine.plan->first_ms > 0) {
      own_.emplace(machine.plan->first_ms, Own{i, Op::arrive});
    }
  }
}

// --- Time -----------------------------------------------------------------------------------------------------------

std::int64_t SimNode::next_own() const { return own_.empty() ? INT64_MAX : own_.begin()->first; }

void SimNode::advance(std::int64_t to) {
  NM_ASSERT(to >= now_);
  while (now_ < to || next_own() <= to) {
    const std::int64_t next = std::min(to, std::max(now_, next_own()));
    const std::int64_t awake_from = std::clamp(suspended_until_, now_, next);
    const std::int64_t ran = next - awake_from;
    if (host_up_ && ran > 0) {
      for (Machine& machine : machines_) {
        if (machine.present && machine.power == Power::kRunning) run_devices(machine, ran);
      }
    }
    now_ = next;
    while (next_own() <= now_) {
      const Own own = own_.begin()->second;
      own_.erase(own_.begin());
      apply_own(own);
    }
  }
}

void SimNode::run_devices(Machine& machine, std::int64_t ran) {
  Truth& truth = truth_[machine.id];
  for (Device& device : machine.devices) {
    device.ran_ms += ran;
    for (std::size_t i = 0; i < counters_of(device.kind); ++i) {
      const std::uint64_t before = device.value[i];
      if (device.kind == DeviceKind::kCpu) {
        device.value[i] +=
            std::uint64_t{machine.plan->cpu_percent} * machine.vcores * static_cast<std::uint64_t>(ran) * 10;
      } else {
        device.value[i] = device.per_s[i] * static_cast<std::uint64_t>(device.ran_ms) / 1000;
      }
      truth.counted[static_cast<std::size_t>(meter_of(device.kind, i))] += device.value[i] - before;
    }
  }
}

std::int64_t SimNode::wall() const {
  return plan_.start_ms + now_ + wall_offset_ + drift_ppm_ * (now_ - drift_since_) / 1'000'000;
}

ClockReading SimNode::clock() const {
  ClockReading reading;
  reading.boot = boot_;
  reading.monotonic = MonotonicTime{Milliseconds{now_ - boot_began_}};
  reading.utc = UtcTime{Milliseconds{wall()}};
  reading.synchronised = now_ >= unsynchronised_until_;
  return reading;
}

void SimNode::begin_boot() {
  boot_ = BootId(uuid_from_name(Uuid{}, "plan-boot/" + std::to_string(plan_.seed) + "/" + std::to_string(boots_)));
}

void SimNode::step_wall(std::int64_t by) { wall_offset_ += by; }

void SimNode::drift(std::int64_t ppm) {
  wall_offset_ = wall() - plan_.start_ms - now_;
  drift_ppm_ = ppm;
  drift_since_ = now_;
}

void SimNode::power_off() {
  host_up_ = false;
  for (Machine& machine : machines_) {
    machine.restart = machine.present && machine.power != Power::kOff;
    machine.power = Power::kOff;
    machine.migrating = false;
    note(machine);
  }
  // What was under way ends with the host, except for VMs that come later anyway.
  std::erase_if(own_, [](const auto& entry) { return entry.second.op != Op::arrive; });
}

void SimNode::power_on(std::int64_t wall_error_ms) {
  host_up_ = true;
  ++boots_;
  begin_boot();
  boot_began_ = now_;
  wall_offset_ += wall_error_ms;
  for (Machine& machine : machines_) {
    if (machine.restart && machine.present) begin_run(machine);
    machine.restart = false;
    note(machine);
  }
  cut_stream();
}

// --- What happens to VMs --------------------------------------------------------------------------------------------

void SimNode::apply(const PlanOp& op, bool watched) {
  if (!host_up_ || now_ < suspended_until_) return;
  apply_to(machines_[op.vm], op, watched);
}

void SimNode::apply_to(Machine& machine, const PlanOp& op, bool watched) {
  if (machine.migrating) return;
  apply_lifecycle(machine, op, watched);
  apply_devices(machine, op);
  redefine_notices(machine);
  note(machine);
}

void SimNode::apply_own(const Own& own) {
  Machine& machine = machines_[own.vm];
  if (!host_up_) return;
  switch (own.op) {
    case Op::arrive: arrive(machine, "created"); break;
    case Op::start: start(machine); break;
    case Op::migrate_fails:
      if (!machine.migrating) return;
      machine.migrating = false;
      machine.present = true;
      machine.power = Power::kRunning;
      report(machine, VmEventKind::kArrived, "migration cancelled");
      break;
    default: break;
  }
  note(machine);
}

void SimNode::apply_lifecycle(Machine& machine, const PlanOp& op, bool watched) {
  const bool on = machine.present && machine.power != Power::kOff;
  const auto index = static_cast<std::uint32_t>(&machine - machines_.data());
  switch (op.op) {
    case Op::arrive: arrive(machine, "created"); return;
    case Op::migrate_in: arrive(machine, "migrated"); return;
    case Op::leave:
      machine.left_behind = false;
      if (machine.present) depart(machine, op.a == 0 ? "deleted" : "deallocated");
      return;
    case Op::migrate_out:
      if (!on) return;
      depart(machine, "migrated");
      machine.left_behind = machine.plan->persistent && watched && now_ >= away_until_ && now_ >= down_until_;
      machine.left_at = now_;
      machine.left_in = samples_ + 1;
      return;
    case Op::migrate_fails:
      if (!machine.present || machine.power != Power::kRunning) return;
      depart(machine, "migrated");
      machine.migrating = true;
      own_.emplace(now_ + op.a, Own{index, Op::migrate_fails});
      return;
    case Op::recreate:
      if (machine.present) depart(machine, "deleted");
      own_.emplace(now_ + op.a, Own{index, Op::arrive});
      return;
    case Op::start: start(machine); return;
    case Op::stop: stop(machine); return;
    case Op::restart:
      stop(machine);
      own_.emplace(now_ + op.a, Own{index, Op::start});
      return;
    case Op::reboot:
      if (on) report(machine, VmEventKind::kRebooted, "guest");
      return;
    case Op::pause:
      if (!on || machine.power == Power::kPaused) return;
      machine.power = Power::kPaused;
      report(machine, VmEventKind::kPaused, "paused");
      return;
    case Op::resume:
      if (!on || machine.power != Power::kPaused) return;
      machine.power = Power::kRunning;
      report(machine, VmEventKind::kResumed, "unpaused");
      return;
    default: return;
  }
}

void SimNode::apply_devices(Machine& machine, const PlanOp& op) {
  const bool on = machine.present && machine.power != Power::kOff;
  switch (op.op) {
    case Op::resize:
      resize(machine, static_cast<std::uint32_t>(op.a));
      if (machine.present) report(machine, VmEventKind::kResized, "vcores");
      return;
    case Op::resize_quietly: resize(machine, static_cast<std::uint32_t>(op.a)); return;
    case Op::balloon: machine.memory_mib = static_cast<std::uint64_t>(op.a); return;
    case Op::rename: machine.name = static_cast<std::uint32_t>(op.a); return;
    case Op::owner: machine.owner = static_cast<std::uint32_t>(op.a); return;
    case Op::plug_disk: add_device(machine, DeviceKind::kDisk, now_ + op.a); return;
    case Op::plug_nic: add_device(machine, DeviceKind::kNic, now_ + op.a); return;
    case Op::unplug:
      if (machine.devices.size() > 1) {
        const auto which = 1 + static_cast<std::size_t>(op.a) % (machine.devices.size() - 1);
        // What came and went between two readings leaves no trace at all.
        Device& gone = machine.devices[which];
        for (std::size_t i = 0; i < counters_of(gone.kind) && gone.shown_run != gone.run; ++i) {
          hide(machine, gone, i, gone.value[i] - gone.fallen[i]);
        }
        machine.devices.erase(machine.devices.begin() + static_cast<std::ptrdiff_t>(which));
      }
      return;
    case Op::hang:
      machine.hangs_until = now_ + op.a;
      machine.hangs_whole = op.b != 1;
      return;
    case Op::stall:
      for (Device& device : machine.devices) {
        if (now_ < device.frozen_until) continue;
        device.frozen = device.value;
        device.frozen_until = now_ + op.a;
      }
      return;
    case Op::fall:
      if (!on || machine.plan->width_32) return;
      for (Device& device : machine.devices) {
        for (std::size_t i = 0; i < kCountersMax; ++i) {
          const std::uint64_t shown = device.value[i] - device.fallen[i];
          if (i < counters_of(device.kind)) hide(machine, device, i, shown * static_cast<std::uint64_t>(op.a) / 100);
        }
        device.frozen_until = -1;
      }
      return;
    default: return;
  }
}

void SimNode::add_device(Machine& machine, DeviceKind kind, std::int64_t readable_from) {
  if (machine.devices.size() > 8) return;
  Device device;
  const std::uint64_t n = ++machine.devices_made;
  device.kind = kind;
  device.id = kind == DeviceKind::kCpu ? "vcpus" : (kind == DeviceKind::kDisk ? "vd" : "nic") + std::to_string(n);
  device.run = ++runs_;
  device.began = now_;
  device.readable_from = readable_from;
  device.capacity_mib = kind == DeviceKind::kDisk ? 1000 * n : 0;
  const std::uint64_t operations =
      machine.plan->width_32 ? 200'000 + machine.plan->rate % 3'000'000 : machine.plan->rate / 4096 + n;
  device.per_s = {machine.plan->rate + n, machine.plan->rate / 2, operations, operations / 3};
  const auto place = std::lower_bound(
      machine.devices.begin(), machine.devices.end(), device,
      [](const Device& a, const Device& b) { return std::tie(a.kind, a.id) < std::tie(b.kind, b.id); });
  machine.devices.insert(place, std::move(device));
}

// A source asks for the definition when a notice comes: one that is on its way will tell of this change as well.
void SimNode::redefine_notices(const Machine& machine) {
  for (Notice& notice : notices_) {
    if (notice.due <= now_ || notice.event.vm != machine.id) continue;
    const Power power = notice.event.levels->power;
    notice.event.levels = levels(machine);
    notice.event.levels->power = power;
  }
}

void SimNode::resize(Machine& machine, std::uint32_t vcores) {
  if (vcores < machine.vcores) {
    // The time of the vcpus that go is no longer in the sum.
    Device& cpu = machine.devices.front();
    hide(machine, cpu, 0, (cpu.value[0] - cpu.fallen[0]) / machine.vcores * (machine.vcores - vcores));
  }
  machine.vcores = vcores;
}

void SimNode::hide(const Machine& machine, Device& device, std::size_t counter, std::uint64_t amount) {
  device.fallen[counter] += amount;
  truth_[machine.id].hidden[static_cast<std::size_t>(meter_of(device.kind, counter))] += amount;
}

void SimNode::begin_run(Machine& machine) {
  machine.power = Power::kRunning;
  machine.run_began = now_;
  machine.hangs_until = -1;
  for (Device& device : machine.devices) {
    device.run = ++runs_;
    device.began = now_;
    device.ran_ms = 0;
    device.value = device.fallen = {};
    device.frozen_until = -1;
    device.readable_from = now_;
  }
}

void SimNode::arrive(Machine& machine, const char* how) {
  if (machine.present || machine.migrating) return;
  machine.present = true;
  machine.left_behind = false;
  begin_run(machine);
  report(machine, VmEventKind::kArrived, how);
  urgent_ = plan_.urgent;
}

void SimNode::depart(Machine& machine, const char* how) {
  machine.present = false;
  machine.restart = false;
  machine.power = Power::kOff;
  report(machine, VmEventKind::kDeparted, how);
}

void SimNode::start(Machine& machine) {
  const bool here = machine.present && machine.power == Power::kOff;
  if (!here && !(machine.left_behind && !machine.present)) return;
  machine.present = true;
  machine.left_behind = false;
  begin_run(machine);
  report(machine, VmEventKind::kStarted, "booted");
}

void SimNode::stop(Machine& machine) {
  if (!machine.present || machine.power == Power::kOff) return;
  machine.power = Power::kOff;
  report(machine, VmEventKind::kStopped, "shutdown");
}

void SimNode::note(const Machine& machine) {
  std::vector<Moment>& moments = truth_[machine.id].moments;
  const Levels level = levels(machine);
  const Moment moment{now_, machine.present, level.power, level.vcores, level.memory_mib, *level.disk_mib};
  moments.push_back(moment);
}

// --- What is shown --------------------------------------------------------------------------------------------------

void SimNode::forget_left_behind_since(std::uint64_t sample) {
  for (Machine& machine : machines_) machine.left_behind = machine.left_behind && machine.left_in <= sample;
}

void SimNode::cut_stream() {
  forget_notices([](const Notice&) { return true; });
}

void SimNode::hang_up() {
  forget_notices([this](const Notice& notice) { return notice.due <= now_; });
  for (Machine& machine : machines_) machine.told = standing(machine);  // The next one begins with a listing.
}

void SimNode::forget_notices(const std::function<bool(const Notice&)>& lost) {
  for (const Notice& notice : notices_) {
    if (!lost(notice)) continue;
    for (Machine& machine : machines_) {
      if (machine.id == notice.event.vm && machine.left_at >= notice.at) machine.left_behind = false;
    }
  }
  std::erase_if(notices_, lost);
  unbroken_ = false;
}

void SimNode::service_away_until(std::int64_t t) {
  cut_stream();
  if (now_ >= away_until_) {
    for (Machine& machine : machines_) machine.known_to_process_watch = machine.present;
  }
  away_until_ = std::max(away_until_, t);
}

void SimNode::source_down_until(std::int64_t t) {
  cut_stream();
  down_until_ = std::max(down_until_, t);
}

void SimNode::everything_answers() {
  if (now_ < away_until_ || now_ < down_until_) cut_stream();
  away_until_ = down_until_ = -1;
  late_until_ = std::min(late_until_, now_);
  for (Notice& notice : notices_) notice.due = std::min(notice.due, now_);
  for (Machine& machine : machines_) {
    machine.hangs_until = -1;
    for (Device& device : machine.devices) {
      device.frozen_until = -1;
      device.readable_from = now_;
    }
  }
}

void SimNode::report(const Machine& machine, VmEventKind kind, const char* how) {
  if (now_ < away_until_ || now_ < down_until_) return;
  VmEvent event;
  event.vm = machine.id;
  event.kind = kind;
  event.how = how;
  event.name = "vm-" + std::to_string(machine.name);
  event.owner = owner(machine);
  event.levels = levels(machine);
  notices_.push_back({now_, std::max(now_, late_until_), std::move(event)});
}

Levels SimNode::levels(const Machine& machine) const {
  Levels level;
  level.power = machine.power;
  level.vcores = machine.vcores;
  level.memory_mib = machine.memory_mib;
  level.disk_mib = 0;
  for (const Device& device : machine.devices) *level.disk_mib += device.capacity_mib;
  return level;
}

Owner SimNode::owner(const Machine& machine) const {
  Owner owner;
  if (machine.owner == 0) return owner;
  owner.known = true;
  owner.subscription = subscriptions_.at(machine.owner);
  owner.name = "vm-" + std::to_string(machine.name);
  owner.windows_licence = machine.plan->windows;
  owner.billable = machine.owner != 7;
  return owner;
}

VmReading SimNode::reading(const Machine& machine, MonotonicTime monotonic, bool service) const {
  VmReading reading;
  reading.vm = machine.id;
  reading.name = "vm-" + std::to_string(machine.name);
  reading.levels = levels(machine);
  reading.owner = owner(machine);
  if (machine.power == Power::kOff) return reading;
  if (machine.plan->starts_proven) reading.process_began = monotonic - Milliseconds{now_ - machine.run_began};
  for (const Device& device : machine.devices) {
    DeviceReading shown;
    shown.kind = device.kind;
    shown.id = device.id;
    shown.run = device.shown_run = device.run;
    shown.read_at = monotonic;
    if (machine.plan->starts_proven) shown.begun = monotonic - Milliseconds{now_ - device.began};
    if (machine.plan->width_32) shown.operations_width_bits = 32;
    const bool hangs = now_ < machine.hangs_until && (machine.hangs_whole || device.kind == DeviceKind::kDisk);
    for (std::size_t i = 0; i < counters_of(device.kind); ++i) {
      const std::uint64_t full = now_ < device.frozen_until ? device.frozen[i] : device.value[i];
      std::uint64_t value = full - std::min(full, device.fallen[i]);
      if (machine.plan->width_32 && device.kind == DeviceKind::kDisk && i >= kReadOperations) value &= 0xffffffffu;
      shown.counters[i] = value;
      if (!service && device.kind != DeviceKind::kCpu) shown.counters[i] = Absence::kReadFailed;
      if (hangs || now_ < device.readable_from) shown.counters[i] = Absence::kVmBusy;
    }
    reading.devices.push_back(std::move(shown));
  }
  return reading;
}

const SimNode::Machine& SimNode::machine_of(const VmId& vm) const {
  const auto found = std::find_if(machines_.begin(), machines_.end(), [&](const Machine& m) { return m.id == vm; });
  NM_ASSERT(found != machines_.end());
  return *found;
}

std::int64_t SimNode::ran_ms(const VmId& vm) const { return machine_of(vm).devices.front().ran_ms; }

std::uint64_t SimNode::run_of(const VmId& vm) const { return machine_of(vm).devices.front().run; }

std::vector<std::pair<DeviceKind, std::string>> SimNode::device_ids(const VmId& vm) const {
  std::vector<std::pair<DeviceKind, std::string>> ids;
  for (const Device& device : machine_of(vm).devices) ids.emplace_back(device.kind, device.id);
  return ids;
}

std::optional<Power> SimNode::standing(const Machine& machine) {
  return machine.present ? std::optional(machine.power) : std::nullopt;
}

// As the tracker of a real source does it: notices come in order, stamped when they come; and a sample waits for them
// if without them what it lists would be a riddle. A restart whose two notices are both on their way is none.
void SimNode::tell(Sample& sample) {
  const bool understood = std::all_of(machines_.begin(), machines_.end(),
                                      [](const Machine& machine) { return machine.told == standing(machine); });
  const bool none_came = notices_.empty() || notices_.front().due > now_;
  if (none_came && understood) return;
  std::int64_t stamp = 0;
  for (Notice& notice : notices_) {
    stamp = std::max(stamp, std::min(notice.due, now_));
    truth_[notice.event.vm].late_ms += stamp - notice.at;
    notice.event.at = sample.taken_at - Milliseconds{now_ - stamp};
    sample.events.push_back(std::move(notice.event));
  }
  notices_.clear();
}

Result<Sample> SimNode::read_all() {
  if (now_ < down_until_) {
    cut_stream();
    return Error{ErrorCode::kUnavailable, "the simulated hypervisor is down"};
  }
  const bool service = now_ >= away_until_;
  ++samples_;
  const ClockReading now = clock();
  Sample sample;
  put_instants(sample, now);
  sample.inventory = service ? Inventory::kComplete : Inventory::kKnownOnly;
  sample.events_unbroken = unbroken_ && service;
  tell(sample);
  for (Machine& machine : machines_) {
    machine.told = standing(machine);
    const bool seen = service || (machine.power != Power::kOff && machine.known_to_process_watch);
    if (!seen || !(machine.present || machine.left_behind)) continue;
    sample.vms.push_back(reading(machine, now.monotonic, service));
  }
  std::sort(sample.vms.begin(), sample.vms.end(), [](const auto& a, const auto& b) { return a.vm < b.vm; });
  unbroken_ = service;
  return sample;
}

}  // namespace nodemeter
