#include "collectors/hyperv_counters.h"

#include <algorithm>

#include "collectors/hyperv_names.h"

namespace nodemeter {

namespace {

constexpr const char* kProcessorSet = "Hyper-V Hypervisor Virtual Processor";
constexpr const char* kStorageSet = "Hyper-V Virtual Storage Device";
constexpr const char* kNicSet = "Hyper-V Virtual Network Adapter";

enum Column : std::size_t {
  kGuestTime,
  kDiskRead,
  kDiskWritten,
  kReads,
  kWrites,
  kReadOperationsOlder,
  kWriteOperationsOlder,
  kReceived,
  kSent,
  kPacketsReceived,
  kPacketsSent,
  kColumns,
};

constexpr std::uint32_t kTimer100Ns = 0x20510500;
constexpr std::uint32_t kPrecisionTimer100Ns = 0x20570500;
constexpr std::uint64_t kTicksPerUs = 10;

// PERF_SIZE_LARGE within a type code. Without one: what the provider's description says.
bool is_64_bits_wide(std::uint32_t type) { return (type & 0x300) == 0x100; }

// What becomes of these in instance names differs from source to source.
constexpr std::string_view kUnreliable = "#*/\\";

char bracketed(char c) { return c == '(' ? '[' : c == ')' ? ']' : c; }

Absence why_absent(const CounterColumn& column) {
  return column.state == ColumnState::kNotOffered ? Absence::kNotOffered : Absence::kReadFailed;
}

}  // namespace

const std::vector<CounterPath>& hyperv_counter_paths() {
  static const std::vector<CounterPath> kPaths = {
      {kProcessorSet, "% Guest Run Time"},   {kStorageSet, "Read Bytes/sec"}, {kStorageSet, "Write Bytes/sec"},
      {kStorageSet, "Read Count"},           {kStorageSet, "Write Count"},    {kStorageSet, "Read Operations/Sec"},
      {kStorageSet, "Write Operations/Sec"}, {kNicSet, "Bytes Received/sec"}, {kNicSet, "Bytes Sent/sec"},
      {kNicSet, "Packets Received/sec"},     {kNicSet, "Packets Sent/sec"},
  };
  return kPaths;
}

bool name_fits_instance(std::string_view vm_name, std::string_view instance_name) {
  if (vm_name.size() != instance_name.size()) return false;
  for (std::size_t i = 0; i < vm_name.size(); ++i) {
    const char shown = instance_name[i];
    if (bracketed(vm_name[i]) == bracketed(shown)) continue;
    if (kUnreliable.find(vm_name[i]) == std::string_view::npos || (shown != '-' && shown != '_')) return false;
  }
  return true;
}

template <class KeyOf>
void HypervCounters::read_devices(const CounterColumn& column, std::size_t counter, const KeyOf& key_of,
                                  Instances& into) {
  std::set<std::string> seen;
  for (const CounterValue& value : column.values) {
    std::string_view instance = value.instance;
    const bool twice = take_repeat_mark(instance);
    const std::string key = key_of(instance);
    if (key.empty()) continue;
    Device& device = into[key];
    device.present = true;
    device.ambiguous = device.ambiguous || !seen.insert(key).second || twice;
    device.counters[counter] = value.valid ? Reading{value.raw} : Reading{Absence::kVmBusy};
  }
}

HypervCounters::HypervCounters(const std::vector<CounterColumn>& columns) {
  no_disk_.unread = no_nic_.unread = columns.size() != kColumns;
  if (columns.size() != kColumns) return;
  read_processors(columns[kGuestTime]);

  const bool older = columns[kReads].state == ColumnState::kNotOffered;
  const CounterColumn& reads = columns[older ? kReadOperationsOlder : kReads];
  const CounterColumn& writes = columns[older ? kWriteOperationsOlder : kWrites];
  const std::array<const CounterColumn*, kCountersMax> disk = {&columns[kDiskRead], &columns[kDiskWritten], &reads,
                                                               &writes};
  const std::array<const CounterColumn*, kCountersMax> nic = {&columns[kReceived], &columns[kSent],
                                                              &columns[kPacketsReceived], &columns[kPacketsSent]};
  const auto disk_key = [](std::string_view instance) { return storage_key_of_instance(instance); };
  const auto nic_key = [](std::string_view instance) -> std::string {
    const std::optional<AdapterInstance> adapter = parse_adapter_instance(instance);
    return adapter ? adapter->vm.text() + " " + adapter->adapter : std::string();
  };
  const bool wide = is_64_bits_wide(reads.type) && is_64_bits_wide(writes.type);
  no_disk_.operations_width_bits = wide ? 64 : 32;
  no_disk_.variant = older ? 1 : 0;
  for (std::size_t i = 0; i < kCountersMax; ++i) {
    no_disk_.counters[i] = why_absent(*disk[i]);
    no_nic_.counters[i] = why_absent(*nic[i]);
    no_disk_.unread = no_disk_.unread || disk[i]->state == ColumnState::kFailed;
    no_nic_.unread = no_nic_.unread || nic[i]->state == ColumnState::kFailed;
    read_devices(*disk[i], i, disk_key, disks_);
    read_devices(*nic[i], i, nic_key, nics_);
  }
  constexpr std::uint64_t kLow32 = 0xffffffffu;
  for (auto& [key, device] : disks_) {
    device.operations_width_bits = no_disk_.operations_width_bits;
    device.variant = no_disk_.variant;
    for (const std::size_t i : {kReadOperations, kWriteOperations}) {
      auto* value = std::get_if<std::uint64_t>(&device.counters[i]);
      if (value != nullptr && !wide) *value &= kLow32;
    }
  }
  // A column that was not read at all leaves its reason.
  const auto explain = [](Instances& instances, const Device& none) {
    for (auto& [key, device] : instances) {
      for (std::size_t i = 0; i < kCountersMax; ++i) {
        const auto* absence = std::get_if<Absence>(&device.counters[i]);
        if (absence != nullptr && *absence == Absence::kReadFailed) device.counters[i] = none.counters[i];
      }
    }
  };
  explain(disks_, no_disk_);
  explain(nics_, no_nic_);
}

void HypervCounters::read_processors(const CounterColumn& column) {
  processors_absent_ = why_absent(column);
  if (column.state != ColumnState::kRead) return;
  if (column.type != kTimer100Ns && column.type != kPrecisionTimer100Ns) {
    processors_absent_ = Absence::kNotOffered;  // Of a unit that nobody knows.
    return;
  }
  for (const CounterValue& value : column.values) {
    const std::optional<ProcessorInstance> processor = parse_processor_instance(value.instance);
    if (!processor) continue;
    Group& group = processors_[std::string(processor->vm_name)];
    group.repeated = group.repeated || processor->numbered_twice || !group.numbers.insert(processor->number).second;
    group.invalid = group.invalid || !value.valid;
    group.ticks += value.raw;
  }
}

template <class Use>
void HypervCounters::for_names(const HypervMachine& machine, const Use& use) const {
  if (machine.name.find_first_of(kUnreliable) != std::string::npos) {
    for (const auto& [name, group] : processors_) {
      if (name_fits_instance(machine.name, name)) use(name);
    }
    return;
  }
  std::string plain = machine.name;
  std::transform(plain.begin(), plain.end(), plain.begin(), bracketed);
  if (processors_.contains(plain)) use(plain);
  if (plain != machine.name && processors_.contains(machine.name)) use(machine.name);
}

void HypervCounters::name_machines(const std::vector<HypervMachine>& running,
                                   const std::vector<HypervMachine>& claims) {
  named_.clear();
  ambiguous_.clear();
  std::map<std::string, std::set<VmId>, std::less<>> owners;
  for (const HypervMachine& machine : claims) {
    for_names(machine, [&](const std::string& name) { owners[name].insert(machine.vm); });
  }
  std::map<VmId, std::set<std::string>> names;
  for (const HypervMachine& machine : running) {
    for_names(machine, [&](const std::string& name) {
      owners[name].insert(machine.vm);
      names[machine.vm].insert(name);
    });
  }
  for (const auto& [vm, of_vm] : names) {
    const auto shared = [&](const std::string& name) { return owners[name].size() > 1; };
    if (of_vm.size() > 1 || std::any_of(of_vm.begin(), of_vm.end(), shared)) {
      ambiguous_.insert(vm);
    } else {
      named_[vm] = *of_vm.begin();
    }
  }
}

HypervCounters::Processors HypervCounters::processors(const VmId& vm) const {
  Processors read;
  read.time_us = processors_absent_;
  read.ambiguous = ambiguous_.contains(vm);
  const auto name = named_.find(vm);
  if (name == named_.end() || read.ambiguous) return read;
  const Group& group = processors_.find(name->second)->second;
  read.numbers = group.numbers;
  read.present = true;
  read.ambiguous = group.repeated;
  if (group.invalid) read.time_us = Absence::kVmBusy;
  if (!group.invalid && !group.repeated) read.time_us = static_cast<std::uint64_t>(group.ticks / kTicksPerUs);
  return read;
}

HypervCounters::Device HypervCounters::disk(const std::string& path) const {
  const auto found = disks_.find(storage_key_of_path(path));
  return found == disks_.end() ? no_disk_ : found->second;
}

HypervCounters::Device HypervCounters::nic(const VmId& vm, const std::string& adapter) const {
  const auto found = nics_.find(vm.text() + " " + adapter);
  return found == nics_.end() ? no_nic_ : found->second;
}

}  // namespace nodemeter
