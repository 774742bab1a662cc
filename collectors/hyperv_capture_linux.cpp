#include "collectors/hyperv_capture.h"

namespace nodemeter {

Result<HypervCapture> capture_this_host() {
  return Error{ErrorCode::kUnsupported, "diagnostics are collected on a Hyper-V host; this platform has libvirt"};
}

}  // namespace nodemeter
