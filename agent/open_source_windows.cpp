#include "agent/hypervisor.h"

namespace nodemeter {

Result<std::unique_ptr<Source>> open_hypervisor(const Options& options, const Clock&, Log&, std::function<void()>) {
  if (options.source_kind == SourceKind::kLibvirt) {
    return Error{ErrorCode::kUnsupported, "source.kind is \"libvirt\"; this platform has Hyper-V"};
  }
  return Error{ErrorCode::kUnsupported, "this build does not read Hyper-V: set source.kind to simulated or replay"};
}

}  // namespace nodemeter
