// Names by which Hyper-V's counters and settings refer to virtual machines and their devices. Pure; all of it text from
// outside, so whatever does not fit exactly is nothing.
//
// Formats seen on real hosts: a processor is `<VM name>:Hv VP <n>`, where the name may hold colons; an adapter is
// `<VM name>_<adapter name>_<VM GUID>--<adapter GUID>`, of a legacy one `--<index>`; a disk is its path with every `\`
// and `/` turned into `-`, which cannot be turned back. Settings are `Microsoft:<VM GUID>\<device>…`.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "platform/ids.h"

namespace nodemeter {

struct ProcessorInstance {
  std::string_view vm_name;
  std::uint32_t number = 0;
  bool numbered_twice = false;  // "#1" at the end: a namesake's; whose, nobody can say.
};
// Parsed from the right. Nothing: _Total, or none.
std::optional<ProcessorInstance> parse_processor_instance(std::string_view instance);

struct AdapterInstance {
  VmId vm;
  std::string adapter;          // GUID in lower case, or a legacy adapter's index.
  bool numbered_twice = false;  // As of processors.
};
// Nothing: _Total, a switch, a physical adapter.
std::optional<AdapterInstance> parse_adapter_instance(std::string_view instance);

// What a storage instance is compared by: the prefix of long paths cut, lower case (ASCII, as paths do not differ by
// it). `path` as settings show it.
std::string storage_key_of_path(std::string_view path);
std::string storage_key_of_instance(std::string_view instance);

// Takes the "#<n>" off the end by which some readers tell instances of one name apart. False: there is none.
bool take_repeat_mark(std::string_view& instance);

struct SettingId {
  VmId vm;
  std::string device;  // What follows the VM, `\` as `/`, lower case; empty: the VM itself.
};
// Nothing: a template, a pool, a definition.
std::optional<SettingId> parse_setting_id(std::string_view instance_id);

// ASCII only.
std::string lower_case(std::string_view text);

}  // namespace nodemeter
