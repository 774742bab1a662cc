// `nodemeter collect-diagnostics`: what this host's hypervisor shows, in one file.

#include "agent/cli/verbs.h"
#include "collectors/hyperv_capture.h"
#include "platform/files.h"
#include "platform/text.h"

namespace nodemeter::cli {

int collect_diagnostics(const DiagnosticsOptions& options, const Console& console) {
  Result<HypervCapture> capture = capture_this_host();
  if (!capture) return say(console, capture.error());
  if (!options.with_tenant_data) capture = without_tenant_data(*capture);
  if (Status written = replace_file(options.file, capture_text(*capture)); !written) {
    return say(console, written.error());
  }
  bool complete = true;
  for (const HypervCapture::Pass& pass : capture->passes) {
    for (const std::string& fault : pass.faults) console.err << "nodemeter: " << display_text(fault, 400) << "\n";
    complete = complete && pass.faults.empty();
  }
  console.out << options.file << (options.with_tenant_data ? " holds names and notes of tenants\n" : "\n");
  return complete ? kDone : kIncomplete;
}

}  // namespace nodemeter::cli
