#include <utility>

#include "agent/hypervisor.h"
#include "collectors/libvirt_source.h"

namespace nodemeter {

Result<std::unique_ptr<Source>> open_hypervisor(const Options& options, const Clock& clock, Log& log,
                                                std::function<void()> on_urgency) {
  if (options.source_kind == SourceKind::kHyperv) {
    return Error{ErrorCode::kUnsupported, "source.kind is \"hyperv\"; this platform has libvirt"};
  }
  LibvirtOptions libvirt;
  libvirt.source = options.source;
  libvirt.uri = options.source_uri;
  libvirt.on_urgency = std::move(on_urgency);
  return open_libvirt_source(libvirt, clock, log);
}

}  // namespace nodemeter
