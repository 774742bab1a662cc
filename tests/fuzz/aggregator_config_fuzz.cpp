// Goal: no text, however broken, makes the aggregator's readers of files (configuration, nodes) crash, hang or accept a
// value outside its limits.

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "platform/contract.h"
#include "platform/text.h"
#include "uploader/aggregator/config.h"
#include "uploader/aggregator/nodes.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace nodemeter;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  ConfigFaults faults;
  const AggregatorConfig config = parse_aggregator_config(text, "fuzz.toml", faults);
  for (const std::string& fault : faults.messages) NM_ASSERT(is_plain_text(fault));
  NM_ASSERT(parse_listen_address(config.address).has_value());
  NM_ASSERT(config.size_max >= 16ull << 20);
  (void)serving_fault(config);

  const Result<NodeRegistry> nodes = NodeRegistry::parse(text, "fuzz.json");
  if (nodes) {
    NM_ASSERT(nodes->nodes().size() <= nodes->size());
    for (const NodeId& node : nodes->nodes()) NM_ASSERT(nodes->check(node.text(), {}) == Access::kUnknown);
  } else {
    NM_ASSERT(nodes.error().message.starts_with("fuzz.json:"));
  }
  return 0;
}
