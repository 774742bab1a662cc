// Goal: no instance name, setting id, note or embedded XML, however broken, makes Hyper-V's parsers crash or hand over
// something outside their promises.
// Method: the same bytes through all of them; what is accepted is held against what the headers promise.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "collectors/hyperv_counters.h"
#include "collectors/hyperv_names.h"
#include "collectors/owner_metadata.h"
#include "platform/contract.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace nodemeter;
  const std::string text(reinterpret_cast<const char*>(data), size);
  if (const auto processor = parse_processor_instance(text)) {
    NM_ASSERT(!processor->vm_name.empty() && text.starts_with(processor->vm_name));
    NM_ASSERT(name_fits_instance(processor->vm_name, processor->vm_name));
  }
  if (const auto adapter = parse_adapter_instance(text)) {
    NM_ASSERT(!adapter->vm.is_zero() && !adapter->adapter.empty());
  }
  if (const auto id = parse_setting_id(text))
    NM_ASSERT(!id->vm.is_zero() && id->device.find('\\') == std::string::npos);
  const std::string key = storage_key_of_path(text);
  NM_ASSERT(key.find('\\') == std::string::npos && key == lower_case(key));
  const Owner owner = owner_from_notes(text);
  NM_ASSERT(owner.known || owner == Owner{});
  NM_ASSERT(owner.name.size() <= kOwnerNameMax && owner.tags.size() <= kOwnerTagsMax);
  (void)parse_virtual_disk_size(text);
  // Every value that a pass accepts is one machine's.
  std::vector<CounterColumn> columns(hyperv_counter_paths().size());
  for (CounterColumn& column : columns) {
    column.state = ColumnState::kRead;
    column.type = 0x20510500;
    column.values = {{text, size, true}, {text, size, true}};
  }
  HypervCounters counters(columns);
  HypervMachine machine;
  machine.vm.bytes[0] = 1;
  if (const auto processor = parse_processor_instance(text)) machine.name = processor->vm_name;
  counters.name_machines({machine}, {});
  NM_ASSERT(!std::holds_alternative<std::uint64_t>(counters.processors(machine.vm).time_us));
  return 0;
}
