// A hand-written node for meter tests: say what is there at each instant, compare what was recorded as text.

#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "agent/meter.h"
#include "platform/text.h"

namespace nodemeter {

inline VmId vm_id(int n) {
  Uuid id;
  id.bytes[15] = static_cast<std::uint8_t>(n);
  return VmId(id);
}

inline constexpr auto kVcores = MeterIndex::kBaseVmHours;
inline constexpr auto kVmHours = MeterIndex::kVmHours;
inline constexpr auto kCpu = MeterIndex::kCpuTime;
inline constexpr auto kMemory = MeterIndex::kMemoryHours;
inline constexpr auto kDiskSize = MeterIndex::kDiskAllocatedHours;
inline constexpr auto kWrite = MeterIndex::kDiskWriteBytes;
inline constexpr auto kOperations = MeterIndex::kDiskWriteOperations;
inline constexpr auto kReceive = MeterIndex::kNetworkReceiveBytes;

class MeterFixture {
 public:
  struct Vm {
    Levels levels{Power::kRunning, 2, 1024, 10};
    std::uint64_t run = 1;
    std::optional<std::int64_t> began_s;  // Of the process, in seconds of the fixture's time.
    std::optional<std::uint64_t> cpu_us = 0;
    std::optional<std::uint64_t> disk_write_bytes;  // A disk "vda" if set.
    bool disk_busy = false;
    std::uint64_t disk_operations = 0;
    std::uint8_t width = 64;
    std::string disk_id = "vda";
    std::optional<std::uint64_t> every_counter;  // Of all devices, in place of theirs;
    std::optional<std::uint64_t> bytes_stay;     // but this for a disk's bytes.
    std::uint64_t disk_run = 0;                  // 0: that of the process.
    std::optional<std::int64_t> disk_plugged_s;  // Proven: plugged at or after this.
    bool disk_offered = true;
    std::optional<std::uint64_t> nic_receive_bytes;  // A NIC "52:54" if set.
    bool nic_vouched = true;                         // False: its counters may be older than the process.
    bool run_known = true;                           // False: the process was not found at this sample.
    bool reversed = false;                           // Devices are listed in the opposite order.
    Owner owner;
    std::string name = "vm";
  };

  // Hour 0 of the fixture begins at 2026-01-01T00:00:00Z; the node booted 1 000 s before.
  static constexpr std::int64_t kBootLead = 1000;
  static inline const UtcTime kStart = *parse_time("2026-01-01T00:00:00Z");

  explicit MeterFixture(const MeterOptions& options = {}) : options_(options) {
    boot_.bytes[0] = 1;
    new_meter();
  }

  // The store has watched an empty node from `s` on.
  void empty_from(std::int64_t s) {
    meter_->begin_empty(boot_, monotonic(s), wall(s));
    keep_rows();
    unbroken_ = true;
  }

  Vm& vm(int n) { return vms_[n]; }
  void remove(int n) { vms_.erase(n); }

  void event(std::int64_t s, int n, VmEventKind kind, const std::string& how = "") {
    VmEvent event;
    event.vm = vm_id(n);
    event.kind = kind;
    event.at = monotonic(s);
    event.how = how;
    if (const auto found = vms_.find(n); found != vms_.end()) event.levels = found->second.levels;
    events_.push_back(std::move(event));
  }

  // An event as most sources tell it: without levels.
  void bare_event(std::int64_t s, int n, VmEventKind kind, const std::string& how = "") {
    event(s, n, kind, how);
    events_.back().levels.reset();
  }

  // Takes a sample of what is there at `s` seconds.
  void at(std::int64_t s) {
    Sample sample;
    sample.boot = boot_;
    sample.taken_at = monotonic(s);
    sample.wall = wall(s);
    sample.clock_synchronised = synchronised_;
    sample.inventory = inventory_;
    sample.events_unbroken = unbroken_;
    sample.events = std::exchange(events_, {});
    for (const auto& [n, vm] : vms_) sample.vms.push_back(reading(n, vm, sample.taken_at));
    keep(meter_->step(sample));
    unbroken_ = true;
  }

  void inventory(Inventory inventory) { inventory_ = inventory; }
  void synchronised(bool is) { synchronised_ = is; }
  void break_events() { unbroken_ = false; }
  void source_failed() {
    meter_->source_failed("source failed");
    unbroken_ = false;
  }
  void step_clock(std::int64_t by_s) { wall_offset_ += std::chrono::seconds(by_s); }
  void move_clock_ms(std::int64_t by) { wall_offset_ += Milliseconds(by); }

  // The agent restarts from what it stored, and from nothing else.
  void restart_agent() {
    keep_rows();
    StoredMeter stored = this->stored();
    new_meter();
    meter_->restore(stored.node, std::move(stored.vms));
    unbroken_ = false;
  }

  // The agent starts on an older copy of its store: this one.
  void restart_on_copy() {
    keep_rows();
    const StoredMeter stored = this->stored();
    rows_.clear();
    new_meter();
    meter_->restore_copy(stored.node, stored.vms, stored.node.last_utc);
    unbroken_ = false;
  }

  // The host reboots: its monotonic clock restarts at `s`.
  void reboot_host(std::int64_t s) {
    restart_agent();
    ++boot_.bytes[0];
    boot_began_s_ = s;
  }

  void close() { keep(meter_->close_all()); }

  // Usage records as "vm hour covered gap [status] meter=quantity …", one line each, in order.
  std::string usage(std::initializer_list<MeterIndex> meters = {MeterIndex::kBaseVmHours}) const {
    std::ostringstream out;
    for (const Entry& entry : entries_) {
      if (entry.kind != EntryKind::kUsage) continue;
      out << int{entry.vm.bytes[15]} << " " << iso_time(entry.usage_start, true).substr(11, 5) << " covered "
          << entry.covered_ms << " gap " << entry.gap_ms << " [" << status_text(entry.status) << "]";
      for (const MeterIndex meter : meters) {
        const MeterInfo& info = meter_catalogue()[static_cast<std::size_t>(meter)];
        for (const MeterValue& value : entry.meters) {
          if (value.meter == info.id) out << " " << info.name << "=" << value.quantity;
        }
      }
      out << "\n";
    }
    return out.str();
  }

  std::string events(const std::string& word = "") const {
    std::string out;
    for (const Entry& entry : entries_) {
      if (entry.kind == EntryKind::kUsage) continue;
      if (entry.detail.find(word) != std::string::npos) out += entry.detail + "\n";
    }
    return out;
  }

  std::uint64_t total(MeterIndex meter, int n = 0) const {
    std::uint64_t sum = 0;
    for (const Entry& entry : entries_) {
      if (n != 0 && entry.vm != vm_id(n)) continue;
      for (const MeterValue& value : entry.meters) {
        if (value.meter == meter_catalogue()[static_cast<std::size_t>(meter)].id) sum += value.quantity;
      }
    }
    return sum;
  }

  // The marks of a VM's records, together.
  std::string marks(int n = 1) const {
    std::uint32_t all = 0;
    for (const Entry& entry : entries_) {
      if (entry.kind == EntryKind::kUsage && entry.vm == vm_id(n)) all |= entry.status;
    }
    return status_text(all);
  }

  // True: as if the store were full, state rows wait in the meter.
  void keep_rows_back(bool back) {
    rows_wait_ = back;
    keep_rows();
  }
  const std::map<std::string, std::string>& rows() const { return rows_; }
  const std::vector<Entry>& entries() const { return entries_; }
  // Those that the last sample changed.
  const std::vector<std::pair<std::string, std::optional<std::string>>>& last_rows() const { return last_rows_; }
  Meter& meter() { return *meter_; }
  MonotonicTime monotonic(std::int64_t s) const { return MonotonicTime{std::chrono::seconds(s - boot_began_s_)}; }

 private:
  UtcTime wall(std::int64_t s) const { return kStart + std::chrono::seconds(s) + wall_offset_; }

  VmReading reading(int n, const Vm& vm, MonotonicTime now) const {
    VmReading reading;
    reading.vm = vm_id(n);
    reading.name = vm.name;
    reading.levels = vm.levels;
    reading.owner = vm.owner;
    if (vm.levels.power == Power::kOff) return reading;
    if (vm.began_s) reading.process_began = monotonic(*vm.began_s);
    if (!vm.run_known) reading.process_began.reset();
    DeviceReading cpu;
    cpu.kind = DeviceKind::kCpu;
    cpu.id = "vcpus";
    cpu.run = vm.run_known ? vm.run : 0;
    cpu.begun = reading.process_began;
    cpu.read_at = now;
    cpu.counters[kCpuTimeUs] = vm.cpu_us && vm.run_known ? Reading{*vm.cpu_us} : Reading{Absence::kReadFailed};
    reading.devices.push_back(cpu);
    if (vm.disk_write_bytes) reading.devices.push_back(disk(vm, cpu));
    if (vm.nic_receive_bytes) {
      DeviceReading nic = cpu;
      nic.kind = DeviceKind::kNic;
      nic.id = "52:54";
      if (!vm.nic_vouched) nic.begun.reset();
      nic.carried = !vm.nic_vouched;
      nic.counters = {*vm.nic_receive_bytes, std::uint64_t{0}, std::uint64_t{0}, std::uint64_t{0}};
      reading.devices.push_back(nic);
    }
    for (DeviceReading& device : reading.devices) {
      if (vm.every_counter) device.counters.fill(*vm.every_counter);
      if (vm.bytes_stay && device.kind == DeviceKind::kDisk) {
        device.counters[kReadBytes] = device.counters[kWriteBytes] = *vm.bytes_stay;
      }
      if (vm.every_counter) device.operations_width_bits = vm.width;
    }
    if (vm.reversed) std::reverse(reading.devices.begin(), reading.devices.end());
    return reading;
  }

  DeviceReading disk(const Vm& vm, const DeviceReading& of_process) const {
    DeviceReading disk = of_process;
    disk.kind = DeviceKind::kDisk;
    disk.id = vm.disk_id;
    if (vm.disk_run != 0) disk.run = vm.disk_run;
    if (vm.disk_plugged_s) disk.begun = monotonic(*vm.disk_plugged_s);
    disk.operations_width_bits = vm.width;
    const auto value = [&](std::uint64_t v) -> Reading {
      if (!vm.disk_offered) return Absence::kNotOffered;
      return vm.disk_busy ? Reading{Absence::kVmBusy} : Reading{v};
    };
    disk.counters = {value(0), value(*vm.disk_write_bytes), value(0), value(vm.disk_operations)};
    return disk;
  }

  void keep(std::vector<Entry> entries) {
    entries_.insert(entries_.end(), entries.begin(), entries.end());
    keep_rows();
  }

  void keep_rows() {
    if (rows_wait_) return;
    last_rows_ = meter_->take_changed_rows();
    for (auto& [key, row] : last_rows_) {
      if (row) {
        rows_.insert_or_assign(key, *row);
      } else {
        rows_.erase(key);
      }
    }
    // Whatever the meter did: the rows say all of what it remembers.
    const StoredMeter stored = this->stored();
    REQUIRE(encode_node_state(stored.node) == encode_node_state(meter_->node()));
    REQUIRE(stored.vms.size() == meter_->vms().size());
    for (const VmState& vm : stored.vms) REQUIRE(encode_vm_state(vm) == encode_vm_state(meter_->vms().at(vm.vm)));
  }

  StoredMeter stored() const {
    const Result<StoredMeter> stored = decode_rows({rows_.begin(), rows_.end()});
    if (!stored) FAIL(stored.error().message);
    return *stored;
  }

  std::optional<VmState> recall(const VmId& vm) const {
    const auto row = rows_.find(gone_row_key(vm));
    return row == rows_.end() ? std::nullopt : decode_vm_state(row->second);
  }

  void new_meter() {
    meter_ = std::make_unique<Meter>(options_, [this](const VmId& vm) { return recall(vm); });
  }

  const MeterOptions options_;
  std::unique_ptr<Meter> meter_;
  BootId boot_;
  std::int64_t boot_began_s_ = -kBootLead;
  Milliseconds wall_offset_{0};
  bool unbroken_ = false;
  bool rows_wait_ = false;
  bool synchronised_ = true;
  Inventory inventory_ = Inventory::kComplete;
  std::map<int, Vm> vms_;
  std::vector<VmEvent> events_;
  std::vector<Entry> entries_;
  std::map<std::string, std::string> rows_;
  std::vector<std::pair<std::string, std::optional<std::string>>> last_rows_;
};

// A VM that runs since second 0, sampled there.
inline void run_one(MeterFixture& f) {
  f.empty_from(0);
  f.vm(1).began_s = 0;
  f.at(0);
}

// One sample every ten minutes from `from` to `to`.
inline void watch(MeterFixture& f, std::int64_t from, std::int64_t to) {
  for (std::int64_t s = from; s <= to; s += 600) f.at(s);
}

inline Owner owned_by(int n) {
  Owner owner;
  owner.known = true;
  owner.subscription = vm_id(n);
  return owner;
}

inline MeterOptions only_powered_on() {
  MeterOptions options;
  options.count_stopped = false;
  return options;
}

inline std::size_t lines(const std::string& text) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

}  // namespace nodemeter
