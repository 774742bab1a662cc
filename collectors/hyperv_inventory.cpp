#include "collectors/hyperv_inventory.h"

#include <algorithm>

#include "collectors/domain_xml.h"
#include "collectors/hyperv_names.h"
#include "collectors/owners_file.h"
#include "collectors/xml_walk.h"

namespace nodemeter {

namespace {

constexpr std::uint64_t kMebibyte = 1u << 20;
constexpr std::uint64_t kVcoresMax = 65'536;

// EnabledState. The table of the second WMI version ends at 10; its text still has the codes of the first, and saved
// and paused are not told apart from memory only: 6 and 9 of the second are what 32769 and 32768 were in the first.
enum EnabledState : std::uint64_t {
  kOther = 1,
  kEnabled = 2,
  kDisabled = 3,
  kSaved = 6,
  kQuiesced = 9,
  kPausedFirst = 32'768,
  kSavedFirst = 32'769,
};
constexpr std::uint64_t kStatusMigrating = 32'774;
enum ReplicationMode : std::uint64_t { kReplica = 2, kTestReplica = 3, kExtendedReplica = 4 };
constexpr std::string_view kVirtualHardDisk = "Microsoft:Hyper-V:Virtual Hard Disk";

// What is neither surely off nor surely paused is on its way between states, and has its cores and memory.
Power power_of(const WmiRow& row) {
  const std::uint64_t state = row.number("EnabledState").value_or(0);
  switch (state) {
    case kDisabled:
    case kSaved:
    case kSavedFirst: return Power::kOff;
    case kQuiesced:
    case kPausedFirst: return Power::kPaused;
    case 0:
    case kOther: return row.number("ProcessID").value_or(0) == 0 ? Power::kOff : Power::kRunning;
    default: return Power::kRunning;
  }
}

const WmiRows& rows_of(const WmiTables& tables, const char* class_name) {
  static const WmiRows kNone;
  const auto found = tables.find(class_name);
  return found == tables.end() ? kNone : found->second;
}

// Calls `use` for each row of the class that belongs to a machine.
template <class Use>
void for_settings(const WmiTables& tables, const char* class_name, const Use& use) {
  for (const WmiRow& row : rows_of(tables, class_name)) {
    const std::optional<SettingId> id = parse_setting_id(row.text("InstanceID"));
    if (id) use(*id, row);
  }
}

void add_nics(const WmiTables& tables, const char* class_name, std::map<VmId, HypervSettings>& settings) {
  for_settings(tables, class_name, [&](const SettingId& id, const WmiRow&) {
    if (id.device.empty() || id.device.size() > kDeviceIdMax) return;
    // A legacy adapter's counters are named by what follows its GUID.
    const std::size_t slash = id.device.rfind('/');
    settings[id.vm].nics.push_back({id.device, id.device.substr(slash == std::string::npos ? 0 : slash + 1)});
  });
}

template <class Device>
void in_order(std::vector<Device>& devices) {
  std::stable_sort(devices.begin(), devices.end(), [](const Device& a, const Device& b) { return a.id < b.id; });
  const auto same = [](const Device& a, const Device& b) { return a.id == b.id; };
  devices.erase(std::unique(devices.begin(), devices.end(), same), devices.end());
}

class DiskSizeVisitor final : public XmlVisitor {
 public:
  void open(const std::vector<std::string_view>& path, const XmlAttributes& attributes) override {
    if (path.back() == "PROPERTY") in_size_ = attributes.get("NAME") == "MaxInternalSize";
    if (path.back() == "VALUE" && in_size_) text_.clear();
  }
  void text(const std::vector<std::string_view>& path, std::string_view piece) override {
    if (in_size_ && path.back() == "VALUE" && text_.size() < 64) text_ += piece;
  }
  void close(const std::vector<std::string_view>& path) override {
    if (path.back() == "VALUE" && in_size_) size = parse_u64(text_);
    if (path.back() == "PROPERTY") in_size_ = false;
  }
  std::optional<std::uint64_t> size;

 private:
  bool in_size_ = false;
  std::string text_;
};

}  // namespace

std::vector<WmiQuery> hyperv_machine_queries() {
  return {{hyperv_class::kSystem,
           {"Name", "ElementName", "EnabledState", "OperationalStatus", "ProcessID", "OnTimeInMilliseconds",
            "ReplicationMode", "TimeOfLastStateChange", "TimeOfLastConfigurationChange"},
           ""},
          {hyperv_class::kPlanned, {"Name", "ElementName"}, ""}};
}

std::vector<WmiQuery> hyperv_setting_queries(const std::optional<VmId>& vm) {
  std::string condition;
  if (vm) condition = "InstanceID LIKE 'Microsoft:" + vm->text() + "%'";
  return {
      {hyperv_class::kSettings, {"InstanceID", "Notes"}, condition},
      {hyperv_class::kProcessor, {"InstanceID", "VirtualQuantity"}, condition},
      {hyperv_class::kMemory, {"InstanceID", "VirtualQuantity", "AllocationUnits", "DynamicMemoryEnabled"}, condition},
      {hyperv_class::kStorage, {"InstanceID", "ResourceSubType", "HostResource"}, condition},
      {hyperv_class::kSyntheticNic, {"InstanceID"}, condition},
      {hyperv_class::kLegacyNic, {"InstanceID"}, condition}};
}

WmiQuery hyperv_summary_query() { return {hyperv_class::kSummary, {"Name", "MemoryUsage"}, ""}; }

std::optional<HypervMachine> parse_machine(const WmiRow& row) {
  const std::optional<VmId> vm = VmId::parse(row.text("Name"));
  if (!vm || vm->is_zero()) return std::nullopt;  // The host's own row has its computer name.
  HypervMachine machine;
  machine.vm = *vm;
  machine.name = row.text("ElementName");
  machine.power = power_of(row);
  machine.migrating = row.number("OperationalStatus", 1) == kStatusMigrating;
  machine.process = row.number("ProcessID").value_or(0);
  const std::optional<std::uint64_t> on = row.number("OnTimeInMilliseconds");
  constexpr std::uint64_t kCenturyMs = 100ull * 366 * 86'400'000;
  if (on && *on > 0 && *on < kCenturyMs && machine.power != Power::kOff) {
    machine.on = Milliseconds{static_cast<std::int64_t>(*on)};
  }
  machine.state_changed = row.text("TimeOfLastStateChange");
  machine.configuration_changed = row.text("TimeOfLastConfigurationChange");
  switch (row.number("ReplicationMode").value_or(0)) {
    case kTestReplica: machine.allocated = false; break;
    case kReplica:
    case kExtendedReplica: machine.allocated = machine.power != Power::kOff; break;  // On: it took over.
    default: break;
  }
  return machine;
}

std::vector<HypervMachine> parse_machines(const WmiTables& tables) {
  std::vector<HypervMachine> machines;
  for (const WmiRow& row : rows_of(tables, hyperv_class::kSystem)) {
    if (std::optional<HypervMachine> machine = parse_machine(row)) machines.push_back(std::move(*machine));
  }
  const auto before = [](const HypervMachine& a, const HypervMachine& b) { return a.vm < b.vm; };
  std::stable_sort(machines.begin(), machines.end(), before);
  const auto same = [](const HypervMachine& a, const HypervMachine& b) { return a.vm == b.vm; };
  machines.erase(std::unique(machines.begin(), machines.end(), same), machines.end());
  return machines;
}

std::map<VmId, std::string> parse_planned(const WmiTables& tables) {
  std::map<VmId, std::string> planned;
  for (const WmiRow& row : rows_of(tables, hyperv_class::kPlanned)) {
    if (const std::optional<VmId> vm = VmId::parse(row.text("Name"))) planned[*vm] = row.text("ElementName");
  }
  return planned;
}

Result<std::map<VmId, HypervSettings>> parse_settings(const WmiTables& tables) {
  for (const char* always : {hyperv_class::kSettings, hyperv_class::kProcessor, hyperv_class::kMemory,
                             hyperv_class::kStorage, hyperv_class::kSyntheticNic}) {
    if (!tables.contains(always)) return Error{ErrorCode::kUnavailable, std::string("WMI shows no ") + always};
  }
  std::map<VmId, HypervSettings> settings;
  for_settings(tables, hyperv_class::kSettings, [&](const SettingId& id, const WmiRow& row) {
    if (!id.device.empty()) return;
    settings[id.vm].described = true;
    const auto notes = row.all().find("Notes");
    if (notes == row.all().end()) return;
    std::string& text = settings[id.vm].notes;
    for (const std::string& line : notes->second) {
      if (text.size() + line.size() <= kNotesBytesMax) text += line + "\n";
    }
  });
  for_settings(tables, hyperv_class::kProcessor, [&](const SettingId& id, const WmiRow& row) {
    const std::uint64_t vcores = row.number("VirtualQuantity").value_or(0);
    if (vcores <= kVcoresMax) settings[id.vm].vcores = static_cast<std::uint32_t>(vcores);
  });
  for_settings(tables, hyperv_class::kMemory, [&](const SettingId& id, const WmiRow& row) {
    HypervSettings& vm = settings[id.vm];
    vm.memory_given = row.number("VirtualQuantity").has_value();
    const std::string units(row.text("AllocationUnits"));
    const std::uint64_t quantity = row.number("VirtualQuantity").value_or(0);
    // "byte * 2^20" wherever it was seen; nothing else is taken for it.
    if (units.empty() || units == "byte * 2^20" || units == "MegaBytes") vm.memory_mib = quantity;
    if (units == "byte") vm.memory_mib = quantity / kMebibyte;
    vm.dynamic_memory = row.flag("DynamicMemoryEnabled");
  });
  for_settings(tables, hyperv_class::kStorage, [&](const SettingId& id, const WmiRow& row) {
    const bool hard_disk = row.text("ResourceSubType") == kVirtualHardDisk;
    const std::string path(row.text("HostResource"));
    if (!hard_disk || path.empty() || id.device.empty() || id.device.size() > kDeviceIdMax) return;
    settings[id.vm].disks.push_back({id.device, path});
  });
  add_nics(tables, hyperv_class::kSyntheticNic, settings);
  add_nics(tables, hyperv_class::kLegacyNic, settings);
  for (auto& [vm, one] : settings) {
    in_order(one.disks);
    in_order(one.nics);
  }
  return settings;
}

std::map<VmId, std::uint64_t> parse_assigned_memory(const WmiRows& summaries) {
  std::map<VmId, std::uint64_t> assigned;
  for (const WmiRow& row : summaries) {
    const std::optional<VmId> vm = VmId::parse(row.text("Name"));
    const std::optional<std::uint64_t> mib = row.number("MemoryUsage");
    if (vm && mib && *mib > 0) assigned[*vm] = *mib;
  }
  return assigned;
}

std::optional<std::uint64_t> parse_virtual_disk_size(const std::string& xml) {
  DiskSizeVisitor visitor;
  if (!walk_xml(xml, false, visitor)) return std::nullopt;
  return visitor.size;
}

Owner owner_from_notes(const std::string& notes) {
  const std::size_t begin = notes.find_first_not_of(" \t\r\n");
  if (begin == std::string::npos || notes[begin] != '{' || notes.size() > kNotesBytesMax) return Owner{};
  const Result<OwnerEntry> entry = parse_owner_entry(notes, "notes");
  if (!entry || !entry->subscription) return Owner{};
  return overlaid(Owner{}, *entry);
}

}  // namespace nodemeter
