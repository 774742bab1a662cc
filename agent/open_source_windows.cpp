#include <utility>

#include "agent/hypervisor.h"
#include "collectors/hyperv_source.h"

namespace nodemeter {

Result<std::unique_ptr<Source>> open_hypervisor(const Options& options, const Clock& clock, Log& log,
                                                std::function<void()> on_urgency) {
  if (options.source_kind == SourceKind::kLibvirt) {
    return Error{ErrorCode::kUnsupported, "source.kind is \"libvirt\"; this platform has Hyper-V"};
  }
  HypervOptions hyperv;
  hyperv.source = options.source;
  hyperv.on_urgency = std::move(on_urgency);
  return open_hyperv_source(hyperv, clock, log);
}

}  // namespace nodemeter
