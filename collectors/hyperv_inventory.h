// Hyper-V's virtual machines from the rows of its classes. Pure: rows in, values out.
//
// Namespace root\virtualization\v2. Machines are Msvm_ComputerSystem; what they are given stands in the setting
// classes, joined by the GUID in InstanceID. Rows that are not virtual machines (the host), copies that are not theirs
// to be billed (replicas), templates, checkpoints, ISO images and floppies are left out. Vcores come from the processor
// settings only: counter instances are known to miss some.

#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "collectors/source.h"
#include "collectors/wmi_session.h"

namespace nodemeter {

namespace hyperv_class {
inline constexpr const char* kSystem = "Msvm_ComputerSystem";
inline constexpr const char* kPlanned = "Msvm_PlannedComputerSystem";
inline constexpr const char* kSettings = "Msvm_VirtualSystemSettingData";
inline constexpr const char* kProcessor = "Msvm_ProcessorSettingData";
inline constexpr const char* kMemory = "Msvm_MemorySettingData";
inline constexpr const char* kStorage = "Msvm_StorageAllocationSettingData";
inline constexpr const char* kSyntheticNic = "Msvm_SyntheticEthernetPortSettingData";
inline constexpr const char* kLegacyNic = "Msvm_EmulatedEthernetPortSettingData";
inline constexpr const char* kSummary = "Msvm_SummaryInformation";
}  // namespace hyperv_class

// The machines themselves: asked for with every sample. kPlanned, kSystem.
std::vector<WmiQuery> hyperv_machine_queries();
// What they are given: asked for when something changed. `vm`: of one machine only.
std::vector<WmiQuery> hyperv_setting_queries(const std::optional<VmId>& vm);
// Memory that is assigned to machines with dynamic memory.
WmiQuery hyperv_summary_query();

using WmiTables = std::map<std::string, WmiRows>;  // By class.

// One row of kSystem.
struct HypervMachine {
  VmId vm;
  std::string name;
  Power power = Power::kOff;
  bool allocated = true;  // Else a replica: somebody else's copy.
  bool migrating = false;
  std::uint64_t process = 0;          // Worker process; 0: not told.
  std::optional<Milliseconds> on;     // Since power-on, reset or restore, without the time it was paused.
  std::string state_changed;          // As WMI writes instants; "": not told.
  std::string configuration_changed;  // Likewise.

  friend bool operator==(const HypervMachine&, const HypervMachine&) = default;
};
// Nothing: not a virtual machine.
std::optional<HypervMachine> parse_machine(const WmiRow& row);

struct HypervDisk {
  std::string id;    // Controller and place on it: stays when a checkpoint changes the file.
  std::string path;  // Of the image file.
};
struct HypervNic {
  std::string id;       // The adapter's GUID, with the index of a legacy one.
  std::string adapter;  // As in AdapterInstance.
};
struct HypervSettings {
  bool described = false;     // Its row of kSettings was there,
  bool memory_given = false;  // and that of kMemory.
  std::uint32_t vcores = 0;
  std::uint64_t memory_mib = 0;  // At start.
  bool dynamic_memory = false;
  std::string notes;
  std::optional<std::uint64_t> disk_mib;  // Of all disks; only where somebody asked the storage.
  std::vector<HypervDisk> disks;          // Ordered by id; no duplicates.
  std::vector<HypervNic> nics;            // Ordered by id; no duplicates.

  // Otherwise not all of it is written yet, or not any more, and what is missing is not zero.
  [[nodiscard]] bool whole() const { return described && memory_given && vcores > 0; }
};

// Machines in order of their ids, each once.
std::vector<HypervMachine> parse_machines(const WmiTables& tables);
// Machines that are on their way in, and their display names.
std::map<VmId, std::string> parse_planned(const WmiTables& tables);
// Of every machine that any row names. kUnavailable: a class that every Hyper-V host has is not among the tables, and
// without it disks or adapters would seem to be gone.
Result<std::map<VmId, HypervSettings>> parse_settings(const WmiTables& tables);
// Assigned memory in MiB.
std::map<VmId, std::uint64_t> parse_assigned_memory(const WmiRows& summaries);

// MaxInternalSize of Msvm_VirtualHardDiskSettingData in bytes. Nothing: not there or no number.
std::optional<std::uint64_t> parse_virtual_disk_size(const std::string& xml);

// A VM's Notes are an owner record if they are a JSON object of the same members as an entry of the owners file
// (collectors/owners_file.h), all of it right: half of a record is no proof of whose VM it is. Else nobody's.
Owner owner_from_notes(const std::string& notes);

inline constexpr std::size_t kNotesBytesMax = 64u << 10;

}  // namespace nodemeter
