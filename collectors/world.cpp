#include "collectors/world.h"

#include <algorithm>

#include "collectors/sample_moves.h"
#include "platform/contract.h"

namespace nodemeter {

namespace {

constexpr std::int64_t kHourMs = 3'600'000;

// A counter that advances at a whole rate per second: exact at every instant.
std::uint64_t counted(std::uint64_t per_s, std::int64_t run_ms) {
  return static_cast<std::uint64_t>(static_cast<unsigned __int128>(per_s) * static_cast<std::uint64_t>(run_ms) / 1000);
}

}  // namespace

World::World(Scenario scenario) : scenario_(std::move(scenario)), now_(scenario_.start) {
  for (const ScenarioVm& script : scenario_.vms) {
    Machine machine;
    machine.script = &script;
    machine.vcores = script.vcores;
    machines_.emplace(script.id, machine);
  }
  advance_to(now_);
}

void World::advance_to(UtcTime t) {
  NM_ASSERT(t >= now_);
  for (;;) {
    std::optional<UtcTime> next;
    if (next_event_ < scenario_.events.size()) next = scenario_.events[next_event_].at;
    for (const auto& [id, machine] : machines_) {
      const ScenarioVm& script = *machine.script;
      const bool waits =
          !script.arrives_by_event && !machine.present && script.present_from >= now_ && machine.run == 0;
      if (waits && (!next || script.present_from < *next)) next = script.present_from;
    }
    if (!next || *next > t) break;
    integrate(*next);
    bool appeared = false;
    for (auto& [id, machine] : machines_) {
      const ScenarioVm& script = *machine.script;
      if (script.arrives_by_event || machine.run != 0 || script.present_from != now_) continue;
      machine.present = true;
      begin_run(machine, now_);
      if (now_ > scenario_.start) report(machine, VmEventKind::kArrived, "created");
      appeared = true;
    }
    if (!appeared) apply(scenario_.events[next_event_++]);
  }
  integrate(t);
}

void World::integrate(UtcTime to) {
  while (now_ < to) {
    const std::int64_t from = now_.time_since_epoch().count();
    const std::int64_t hour = from / kHourMs;
    const std::int64_t end = std::min(to.time_since_epoch().count(), (hour + 1) * kHourMs);
    const auto part = static_cast<std::uint64_t>(end - from);
    for (auto& [id, machine] : machines_) {
      if (!machine.present) continue;
      TrueUse& use = ledger_[{hour, id}];
      const Levels level = levels(machine);
      use.vm_ms += part;
      use.vcore_ms += part * level.vcores;
      use.disk_mib_ms += part * level.disk_mib.value_or(0);
      if (machine.power == Power::kOff) continue;
      use.memory_mib_ms += part * level.memory_mib;
      if (machine.power != Power::kRunning) continue;
      const std::uint64_t cpu = std::uint64_t{machine.script->cpu_percent} * machine.vcores * part * 10;
      machine.cpu_us += cpu;
      use.cpu_us += cpu;
      const std::int64_t before = machine.run_ms;
      machine.run_ms += end - from;
      for (std::size_t i = 0; i < kCountersMax; ++i) {
        for (const ScenarioDisk& disk : machine.script->disks) {
          use.disk[i] += counted(disk.per_s[i], machine.run_ms) - counted(disk.per_s[i], before);
        }
        for (const ScenarioNic& nic : machine.script->nics) {
          use.nic[i] += counted(nic.per_s[i], machine.run_ms) - counted(nic.per_s[i], before);
        }
      }
    }
    now_ = UtcTime{Milliseconds{end}};
  }
}

void World::begin_run(Machine& machine, UtcTime at) {
  machine.power = Power::kRunning;
  machine.run_began = at;
  machine.run_ms = 0;
  machine.cpu_us = 0;
  machine.run = ++runs_;
}

void World::report(const Machine& machine, VmEventKind kind, const std::string& how) {
  VmEvent event;
  event.vm = machine.script->id;
  event.kind = kind;
  event.how = how;
  event.name = machine.script->name;
  event.owner = machine.script->owner;
  event.levels = levels(machine);
  events_.push_back({now_, std::move(event)});
}

void World::apply(const ScenarioEvent& event) {
  const auto found = machines_.find(event.vm);
  if (found == machines_.end()) return;
  Machine& machine = found->second;
  const bool on = machine.present && machine.power != Power::kOff;
  switch (event.action) {
    case ScenarioAction::kArrive:
      if (machine.present || !host_up_) return;
      machine.present = true;
      begin_run(machine, now_);
      report(machine, VmEventKind::kArrived, event.how);
      return;
    case ScenarioAction::kLeave:
      if (!machine.present) return;
      machine.present = false;
      machine.restart = false;
      machine.power = Power::kOff;
      report(machine, VmEventKind::kDeparted, event.how);
      return;
    case ScenarioAction::kStart:
      if (!machine.present || on || !host_up_) return;
      begin_run(machine, now_);
      report(machine, VmEventKind::kStarted, "booted");
      return;
    case ScenarioAction::kStop:
      machine.restart = false;
      if (!on) return;
      machine.power = Power::kOff;
      report(machine, VmEventKind::kStopped, "shutdown");
      return;
    case ScenarioAction::kReboot:
      if (on) report(machine, VmEventKind::kRebooted, "guest");
      return;
    case ScenarioAction::kResize:
      machine.vcores = event.vcores;
      if (machine.present) report(machine, VmEventKind::kResized, "vcores");
      return;
    case ScenarioAction::kPause:
      if (!on || machine.power == Power::kPaused) return;
      machine.power = Power::kPaused;
      report(machine, VmEventKind::kPaused, "paused");
      return;
    case ScenarioAction::kResume:
      if (!on || machine.power != Power::kPaused) return;
      machine.power = Power::kRunning;
      report(machine, VmEventKind::kResumed, "unpaused");
      return;
    case ScenarioAction::kStuck: machine.stuck_until = now_ + event.span; return;
    default: return;
  }
}

void World::power_off() {
  host_up_ = false;
  for (auto& [id, machine] : machines_) {
    machine.restart = machine.present && machine.power != Power::kOff;
    machine.power = Power::kOff;
  }
  events_.clear();
}

void World::power_on() {
  host_up_ = true;
  for (auto& [id, machine] : machines_) {
    if (machine.restart && machine.present) begin_run(machine, now_);
    machine.restart = false;
  }
  events_.clear();
}

Levels World::levels(const Machine& machine) const {
  Levels level;
  level.power = machine.power;
  level.vcores = machine.vcores;
  level.memory_mib = machine.script->memory_mib;
  std::uint64_t disk_mib = 0;
  for (const ScenarioDisk& disk : machine.script->disks) disk_mib += disk.capacity_mib;
  level.disk_mib = disk_mib;
  return level;
}

std::vector<DeviceReading> World::devices(const Machine& machine, MonotonicTime monotonic) const {
  std::vector<DeviceReading> readings;
  const bool stuck = now_ < machine.stuck_until;
  const auto add = [&](DeviceKind kind, const std::string& id, const std::array<std::uint64_t, kCountersMax>& values,
                       std::size_t used) {
    DeviceReading reading;
    reading.kind = kind;
    reading.id = id;
    reading.run = machine.run;
    reading.begun = monotonic - (now_ - machine.run_began);
    reading.read_at = monotonic;
    for (std::size_t i = 0; i < used; ++i) {
      reading.counters[i] = stuck ? Reading{Absence::kVmBusy} : Reading{values[i]};
    }
    readings.push_back(std::move(reading));
  };
  const auto values = [&](const std::array<std::uint64_t, kCountersMax>& per_s) {
    std::array<std::uint64_t, kCountersMax> now{};
    for (std::size_t i = 0; i < kCountersMax; ++i) now[i] = counted(per_s[i], machine.run_ms);
    return now;
  };
  add(DeviceKind::kCpu, "vcpus", {machine.cpu_us}, 1);
  for (const ScenarioDisk& disk : machine.script->disks)
    add(DeviceKind::kDisk, disk.id, values(disk.per_s), kCountersMax);
  for (const ScenarioNic& nic : machine.script->nics) add(DeviceKind::kNic, nic.id, values(nic.per_s), kCountersMax);
  return readings;
}

Sample World::take_sample(const ClockReading& clock, bool events_unbroken) {
  Sample sample;
  put_instants(sample, clock);
  sample.events_unbroken = events_unbroken;
  sample.events = take_events(clock.monotonic);
  sample.vms = readings(clock.monotonic);
  return sample;
}

std::vector<VmReading> World::readings(MonotonicTime monotonic) const {
  std::vector<VmReading> readings;
  for (const auto& [id, machine] : machines_) {
    if (!machine.present) continue;
    VmReading reading;
    reading.vm = id;
    reading.name = machine.script->name;
    reading.levels = levels(machine);
    reading.owner = machine.script->owner;
    if (machine.power != Power::kOff) {
      reading.process_began = monotonic - (now_ - machine.run_began);
      reading.devices = devices(machine, monotonic);
    }
    readings.push_back(std::move(reading));
  }
  return readings;
}

std::vector<VmEvent> World::take_events(MonotonicTime monotonic) {
  std::vector<VmEvent> events;
  for (Pending& pending : events_) {
    pending.event.at = monotonic - (now_ - pending.at);
    events.push_back(std::move(pending.event));
  }
  events_.clear();
  return events;
}

}  // namespace nodemeter
