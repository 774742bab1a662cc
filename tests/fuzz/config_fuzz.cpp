// Goal: no text, however broken, makes the configuration reader crash, hang or accept a value outside its limits.

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "agent/config_file.h"
#include "platform/contract.h"
#include "platform/text.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace nodemeter;
  const ConfigCheck check = check_options(std::string_view(reinterpret_cast<const char*>(data), size));
  for (const ConfigFault& fault : check.faults) {
    NM_ASSERT(!fault.message.empty());
    NM_ASSERT(is_plain_text(fault_text("fuzz.toml", fault)));
  }
  // Also with faults: whatever does not fit leaves the default in place.
  const Options& options = check.options;
  NM_ASSERT(options.speed >= 1 && options.speed <= kSpeedMax);
  NM_ASSERT(options.sample_interval >= kSampleIntervalMin && options.sample_interval <= kSampleIntervalMax);
  NM_ASSERT(options.node_id.empty() || NodeId::parse(options.node_id));
  NM_ASSERT(options.state_path.is_absolute());
  return 0;
}
