// A node for property tests: a random script drives it, it keeps its own truth, and the meter sees its samples.
//
// The truth is kept by adding up, millisecond stretch by stretch, without any of the meter's arithmetic.

#pragma once

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "agent/meter.h"

namespace nodemeter {

enum class Act {
  kSample,
  kArrive,
  kDelete,
  kMigrateOut,
  kMigrationFails,
  kStart,
  kStop,
  kPause,
  kResume,
  kResize,
  kHang,
  kOwner,
  kMoveClock,
  // From here on: nobody watches until the next sample.
  kRestartAgent,
  kSourceFails,
  kEventsLost,
  kServiceAway,
  kRebootHost,
};

struct Move {
  Act act = Act::kSample;
  int vm = 0;
  std::int64_t after_ms = 0;  // Passes first.
  std::int64_t amount = 0;
};

inline std::ostream& operator<<(std::ostream& out, const Move& move) {
  return out << "{" << static_cast<int>(move.act) << ", vm " << move.vm << ", +" << move.after_ms << " ms, "
             << move.amount << "}";
}

using Totals = std::map<std::pair<int, MeterIndex>, std::uint64_t>;

class RandomNode {
 public:
  static constexpr int kVms = 3;

  struct Options {
    bool faults = false;        // Unwatched time happens.
    bool clock = true;          // kMoveClock moves the clock; else it only lets time pass.
    bool reversed = false;      // Devices are listed in the opposite order.
    int restart_every = 0;      // The agent restarts within the instant of each such sample.
    std::int64_t split_ms = 0;  // Not 0: an extra sample whenever this much has passed.
  };

  explicit RandomNode(const Options& options) : options_(options) {
    boot_.bytes[0] = 1;
    new_meter();
    meter_->begin_empty(boot_, MonotonicTime{Milliseconds{now_}}, wall());
  }

  void play(const std::vector<Move>& script) {
    for (const Move& move : script) {
      const bool fault = move.act >= Act::kRestartAgent;
      if (fault && options_.faults) sample();
      pass(move.after_ms);
      apply(move);
    }
    pass(1000);
    sample();
    pass(1000);
    sample();
    keep(meter_->close_all());
  }

  const Meter& meter() const { return *meter_; }
  const std::vector<Entry>& entries() const { return entries_; }
  const Totals& truth() const { return truth_; }
  // Counters as far as somebody read them before their run ended.
  const Totals& readable() const { return readable_; }
  const std::map<std::string, std::string>& rows() const { return rows_; }

  Totals metered() const {
    Totals totals;
    for (const Entry& entry : entries_) {
      for (const MeterValue& value : entry.meters) {
        if (value.quantity != 0) totals[{entry.vm.bytes[15], find_meter(value.meter)->index}] += value.quantity;
      }
    }
    return totals;
  }

  std::int64_t accounted_ms(int vm) const {
    std::int64_t sum = 0;
    for (const Entry& entry : entries_) {
      if (entry.kind != EntryKind::kUsage || entry.vm.bytes[15] != vm) continue;
      sum += static_cast<std::int64_t>(entry.covered_ms) + entry.gap_ms;
    }
    return sum;
  }

 private:
  struct Machine {
    bool present = false;
    bool left = false;  // By a migration that may still fail.
    Levels levels;
    Owner owner;
    std::uint64_t run = 0;
    std::int64_t began = 0;
    std::uint64_t cpu = 0, written = 0;
    bool hung = false;
  };

  static VmId id(int n) {
    Uuid uuid;
    uuid.bytes[15] = static_cast<std::uint8_t>(n);
    return VmId(uuid);
  }
  UtcTime wall() const { return UtcTime{Milliseconds{1'767'225'600'000 + up_since_ + now_ + offset_}}; }

  void pass(std::int64_t ms) {
    while (options_.split_ms > 0 && ms > options_.split_ms) {
      let(options_.split_ms);
      ms -= options_.split_ms;
      if (watched_) sample();
    }
    let(ms);
  }

  void let(std::int64_t ms) {
    now_ += ms;
    const auto span = static_cast<std::uint64_t>(ms);
    for (auto& [n, vm] : machines_) {
      if (!vm.present) continue;
      truth_[{n, MeterIndex::kVmHours}] += span;
      truth_[{n, MeterIndex::kBaseVmHours}] += span * vm.levels.vcores;
      truth_[{n, MeterIndex::kDiskAllocatedHours}] += span * 7;
      if (vm.levels.power != Power::kOff) truth_[{n, MeterIndex::kMemoryHours}] += span * vm.levels.memory_mib;
      if (vm.levels.power != Power::kRunning) continue;
      vm.cpu += span * 713;
      vm.written += span * 11;
      truth_[{n, MeterIndex::kCpuTime}] += span * 713;
      truth_[{n, MeterIndex::kDiskWriteBytes}] += span * 11;
    }
  }

  void tell(int n, VmEventKind kind, const std::string& how) {
    VmEvent event;
    event.vm = id(n);
    event.kind = kind;
    event.at = MonotonicTime{Milliseconds{now_}};
    event.how = how;
    event.levels = machines_[n].levels;
    if (watched_) events_.push_back(std::move(event));
  }

  void begin_run(Machine& vm) {
    vm.run = ++runs_;
    vm.began = now_;
    vm.cpu = vm.written = 0;
    vm.levels.power = Power::kRunning;
  }

  void apply(const Move& move) {
    Machine& vm = machines_[move.vm];
    const bool on = vm.present && vm.levels.power != Power::kOff;
    switch (move.act) {
      case Act::kSample: sample(); break;
      case Act::kArrive:
        if (vm.present || !watched_) break;
        vm = Machine{};
        vm.present = true;
        vm.levels = Levels{Power::kRunning, 1 + static_cast<std::uint32_t>(move.amount % 5), 64, 7};
        begin_run(vm);
        tell(move.vm, VmEventKind::kArrived, "created");
        break;
      case Act::kDelete:
      case Act::kMigrateOut:
        if (!vm.present || !watched_) break;
        vm.left = move.act == Act::kMigrateOut && vm.levels.power == Power::kRunning;
        vm.present = false;
        tell(move.vm, VmEventKind::kDeparted, vm.left ? "migrated" : "deleted");
        break;
      case Act::kMigrationFails:
        if (vm.present || !vm.left || !watched_) break;
        vm.present = true;
        tell(move.vm, VmEventKind::kArrived, "migration cancelled");
        break;
      case Act::kStart:
        if (!vm.present || on) break;
        begin_run(vm);
        tell(move.vm, VmEventKind::kStarted, "booted");
        break;
      case Act::kStop:
        if (!on) break;
        vm.levels.power = Power::kOff;
        tell(move.vm, VmEventKind::kStopped, "shutdown");
        break;
      case Act::kPause:
      case Act::kResume:
        if (!on) break;
        vm.levels.power = move.act == Act::kPause ? Power::kPaused : Power::kRunning;
        tell(move.vm, move.act == Act::kPause ? VmEventKind::kPaused : VmEventKind::kResumed, "");
        break;
      case Act::kResize:
        if (!vm.present || !watched_) break;
        vm.levels.vcores = 1 + static_cast<std::uint32_t>(move.amount % 9);
        tell(move.vm, VmEventKind::kResized, "");
        break;
      case Act::kHang: vm.hung = !vm.hung; break;
      case Act::kOwner: vm.owner.known = !vm.owner.known; break;
      case Act::kMoveClock:
        if (options_.clock) offset_ += (move.amount % 3 == 0 ? 1 : 10'000) * (move.amount - 500);
        break;
      case Act::kRestartAgent:
      case Act::kSourceFails:
      case Act::kEventsLost:
      case Act::kServiceAway:
      case Act::kRebootHost:
        if (options_.faults) fail(move);
        break;
    }
  }

  void fail(const Move& move) {
    watched_ = false;
    events_.clear();
    if (move.act == Act::kRestartAgent) restart();
    if (move.act == Act::kSourceFails) meter_->source_failed("source failed");
    if (move.act == Act::kServiceAway) known_only_ = true;
    if (move.act != Act::kRebootHost) return;
    known_only_ = false;
    up_since_ += now_;
    now_ = 0;
    ++boot_.bytes[0];
    restart();
    for (auto& [n, vm] : machines_) {
      vm.left = false;
      if (!vm.present || vm.levels.power == Power::kOff) continue;
      vm.levels.power = Power::kOff;  // Down, then up again a moment later.
    }
    let(move.amount);
    for (auto& [n, vm] : machines_) {
      if (vm.present && move.vm != n) begin_run(vm);
    }
  }

  void restart() {
    Result<StoredMeter> stored = decode_rows({rows_.begin(), rows_.end()});
    new_meter();
    meter_->restore(stored->node, std::move(stored->vms));
  }

  void sample() {
    take();
    if (options_.restart_every == 0 || ++samples_ % options_.restart_every != 0) return;
    restart();
    watched_ = false;
    take();
  }

  void take() {
    Sample sample;
    sample.boot = boot_;
    sample.taken_at = MonotonicTime{Milliseconds{now_}};
    sample.wall = wall();
    sample.inventory = known_only_ ? Inventory::kKnownOnly : Inventory::kComplete;
    sample.events_unbroken = watched_;
    sample.events = std::exchange(events_, {});
    for (auto& [n, vm] : machines_) {
      if (!vm.present || (known_only_ && vm.levels.power == Power::kOff)) continue;
      sample.vms.push_back(reading(n, vm));
    }
    keep(meter_->step(sample));
    watched_ = true;
    known_only_ = false;
  }

  VmReading reading(int n, const Machine& vm) {
    VmReading reading;
    reading.vm = id(n);
    reading.name = "vm";
    reading.levels = vm.levels;
    reading.owner = vm.owner;
    if (vm.levels.power == Power::kOff) return reading;
    reading.process_began = MonotonicTime{Milliseconds{vm.began}};
    DeviceReading cpu;
    cpu.kind = DeviceKind::kCpu;
    cpu.id = "vcpus";
    cpu.run = vm.run;
    cpu.begun = reading.process_began;
    cpu.read_at = MonotonicTime{Milliseconds{now_}};
    cpu.counters[kCpuTimeUs] = value(n, MeterIndex::kCpuTime, vm, vm.cpu);
    DeviceReading disk = cpu;
    disk.kind = DeviceKind::kDisk;
    disk.id = "vda";
    disk.counters = {std::uint64_t{0}, value(n, MeterIndex::kDiskWriteBytes, vm, vm.written), std::uint64_t{0},
                     std::uint64_t{0}};
    reading.devices = {cpu, disk};
    if (options_.reversed) std::swap(reading.devices[0], reading.devices[1]);
    return reading;
  }

  Reading value(int n, MeterIndex meter, const Machine& vm, std::uint64_t counter) {
    if (vm.hung) return Absence::kVmBusy;
    std::uint64_t& read = read_[{vm.run, meter}];
    readable_[{n, meter}] += counter - read;
    read = counter;
    return counter;
  }

  std::optional<VmState> recall(const VmId& vm) const {
    const auto row = rows_.find(gone_row_key(vm));
    return row == rows_.end() ? std::nullopt : decode_vm_state(row->second);
  }

  void keep(std::vector<Entry> entries) {
    entries_.insert(entries_.end(), entries.begin(), entries.end());
    for (auto& [key, row] : meter_->take_changed_rows()) {
      if (row) {
        rows_.insert_or_assign(key, *row);
      } else {
        rows_.erase(key);
      }
    }
  }

  void new_meter() {
    meter_ = std::make_unique<Meter>(MeterOptions{}, [this](const VmId& vm) { return recall(vm); });
  }

  const Options options_;
  std::unique_ptr<Meter> meter_;
  BootId boot_;
  std::int64_t now_ = 0;       // Since the boot.
  std::int64_t up_since_ = 0;  // The boot.
  std::int64_t offset_ = 0;    // Of the wall clock.
  bool watched_ = true;
  bool known_only_ = false;
  std::uint64_t runs_ = 0;
  int samples_ = 0;
  std::map<int, Machine> machines_;
  std::vector<VmEvent> events_;
  std::vector<Entry> entries_;
  std::map<std::string, std::string> rows_;
  Totals truth_, readable_;
  std::map<std::pair<std::uint64_t, MeterIndex>, std::uint64_t> read_;
};

}  // namespace nodemeter
