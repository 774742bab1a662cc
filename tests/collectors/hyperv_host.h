// A Hyper-V host in memory, for tests: rows and counters as they were set, answered by a HypervReader.

#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "collectors/hyperv_counters.h"
#include "collectors/hyperv_reader.h"
#include "collectors/hyperv_sampler.h"

namespace nodemeter {

struct HandClock final : Clock {
  [[nodiscard]] ClockReading now() const override {
    ClockReading reading;
    reading.boot = BootId(*Uuid::parse("10000000-0000-0000-0000-0000000000b0"));
    reading.monotonic = MonotonicTime{Milliseconds{ms}};
    reading.utc = UtcTime{Milliseconds{1'767'225'600'000 + ms}};
    return reading;
  }
  std::int64_t ms = 3'600'000;
};

struct FakeVm {
  std::string name;
  Power power = Power::kRunning;
  std::uint64_t process = 100;
  std::int64_t began_ms = 0;  // On the clock; the on-time follows from it.
  std::uint32_t vcores = 2;
  std::string path{};  // Of its one disk; "": none.
  std::string state_changed = "1";
  std::string notes{};
  bool migrating = false;
  std::uint64_t ticks = 0;  // Of each processor, 100 ns.
  std::array<std::uint64_t, kCountersMax> disk{};
  std::array<std::uint64_t, kCountersMax> nic{};
  bool has_nic = false;
  bool listed = true;             // Among the rows of machines.
  bool described = true;          // Its settings are there.
  std::string counter_name = {};  // Under which its processors are shown, if another one.
  bool tells_on_time = true;
  std::uint64_t assigned_mib = 0;  // Of dynamic memory; 0: it has none.
};

class FakeHost final : public HypervReader {
 public:
  explicit FakeHost(HandClock& clock) : clock_(clock) {}

  std::map<VmId, FakeVm> vms;
  std::int64_t lag_ms = 0;  // Between counters and rows.
  bool wmi_away = false;
  bool counters_away = false;
  bool has_classes = true;
  bool shows_anything = true;  // Of WMI, to this account.
  int settings_asked = 0;
  std::string missing_class;
  std::vector<VmId> planned;  // Copies on their way in.
  std::uint32_t timer_type = 0x20510500;
  std::map<std::size_t, CounterColumn> instead;  // Of these columns.
  std::string unsized;                           // An image file whose size is not read yet.

  static VmId id(int n) {
    VmId vm;
    vm.bytes[0] = 0xab;
    vm.bytes[15] = static_cast<std::uint8_t>(n);
    return vm;
  }

  // Its own, which is among those of its machines.
  [[nodiscard]] static WmiRow own_row() {
    WmiRow row;
    row.set("Name", "NODE-01");
    row.set("EnabledState", "2");
    return row;
  }

  [[nodiscard]] WmiRow row(const VmId& id) const {
    const FakeVm& vm = vms.at(id);
    WmiRow row;
    row.set("Name", id.text());
    row.set("ElementName", vm.name);
    row.set("EnabledState", vm.power == Power::kRunning ? "2" : vm.power == Power::kPaused ? "9" : "3");
    row.set("OperationalStatus", vm.migrating ? WmiRow::Values{"2", "32774"} : WmiRow::Values{"2"});
    row.set("TimeOfLastStateChange", vm.state_changed);
    row.set("TimeOfLastConfigurationChange", std::to_string(vm.vcores) + "/" + std::to_string(vm.path.size()));
    if (vm.power == Power::kOff) return row;
    row.set("ProcessID", std::to_string(vm.process));
    if (vm.tells_on_time) row.set("OnTimeInMilliseconds", std::to_string(clock_.ms - vm.began_ms));
    return row;
  }

  Result<Rows> rows(const std::vector<WmiQuery>& queries) override {
    if (wmi_away) return Error{ErrorCode::kUnavailable, "away"};
    clock_.ms += std::exchange(lag_ms, 0);
    Rows answer;
    answer.asked = answer.answered = clock_.now().monotonic;
    for (const WmiQuery& query : queries) {
      if (query.class_name == hyperv_class::kSettings) ++settings_asked;
      if (!has_classes || query.class_name == missing_class) continue;
      WmiRows& rows = answer.tables[query.class_name];
      if (!shows_anything) continue;
      if (query.class_name == hyperv_class::kSystem) rows.push_back(own_row());
      for (const auto& [id, vm] : vms) add_row(query.class_name, id, vm, rows);
      for (const VmId& id : planned) {
        if (query.class_name == hyperv_class::kPlanned) rows.emplace_back().set("Name", id.text());
      }
    }
    return answer;
  }

  Result<Counters> counters() override {
    if (counters_away) return Error{ErrorCode::kUnavailable, "away"};
    Counters answer;
    answer.asked = answer.answered = clock_.now().monotonic;
    answer.columns.resize(hyperv_counter_paths().size());
    for (CounterColumn& column : answer.columns) column.state = ColumnState::kRead;
    answer.columns[0].type = timer_type;
    for (const auto& [id, vm] : vms) {
      if (vm.power != Power::kOff) add_values(id, vm, answer.columns);
    }
    for (const auto& [position, column] : instead) answer.columns[position] = column;
    return answer;
  }

  std::map<std::string, std::uint64_t> disk_sizes(const std::vector<std::string>& paths) override {
    std::map<std::string, std::uint64_t> sizes;
    for (const std::string& path : paths) {
      if (path != unsized) sizes[path] = 10u << 20;
    }
    return sizes;
  }

 private:
  static constexpr const char* kAdapter = "3E6E9C29-55F6-44C7-AC81-A10E8039000E";

  void add_row(const std::string& class_name, const VmId& id, const FakeVm& vm, WmiRows& rows) const {
    if (class_name == hyperv_class::kSystem && vm.listed) rows.push_back(row(id));
    if (!vm.described) return;
    WmiRow setting;
    const std::string prefix = "Microsoft:" + id.text();
    if (class_name == hyperv_class::kSettings) {
      setting.set("InstanceID", prefix);
      if (!vm.notes.empty()) setting.set("Notes", vm.notes);
      rows.push_back(setting);
    } else if (class_name == hyperv_class::kSummary) {
      setting.set("Name", id.text());
      setting.set("MemoryUsage", std::to_string(vm.assigned_mib));
      rows.push_back(setting);
    } else if (class_name == hyperv_class::kProcessor) {
      setting.set("InstanceID", prefix + "\\p\\0");
      setting.set("VirtualQuantity", std::to_string(vm.vcores));
      rows.push_back(setting);
    } else if (class_name == hyperv_class::kMemory) {
      setting.set("InstanceID", prefix + "\\m");
      setting.set("VirtualQuantity", "1024");
      setting.set("DynamicMemoryEnabled", vm.assigned_mib != 0 ? "true" : "false");
      rows.push_back(setting);
    } else if (class_name == hyperv_class::kStorage && !vm.path.empty()) {
      setting.set("InstanceID", prefix + "\\c\\0\\0\\L");
      setting.set("ResourceSubType", "Microsoft:Hyper-V:Virtual Hard Disk");
      setting.set("HostResource", vm.path);
      rows.push_back(setting);
    } else if (class_name == hyperv_class::kSyntheticNic && vm.has_nic) {
      setting.set("InstanceID", prefix + "\\" + kAdapter);
      rows.push_back(setting);
    }
  }

  static void add_values(const VmId& id, const FakeVm& vm, std::vector<CounterColumn>& columns) {
    const std::string& name = vm.counter_name.empty() ? vm.name : vm.counter_name;
    for (std::uint32_t n = 0; n < vm.vcores; ++n) {
      columns[0].values.push_back({name + ":Hv VP " + std::to_string(n), vm.ticks, true});
    }
    std::string instance = vm.path;
    for (char& c : instance) c = c == '\\' ? '-' : c;
    for (std::size_t i = 0; i < kCountersMax; ++i) {
      if (!instance.empty()) columns[1 + i].values.push_back({instance, vm.disk[i], true});
      if (vm.has_nic) {
        columns[7 + i].values.push_back({vm.name + "_Network Adapter_" + id.text() + "--" + kAdapter, vm.nic[i], true});
      }
    }
  }

  HandClock& clock_;
};

}  // namespace nodemeter
