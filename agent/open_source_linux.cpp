#include <utility>

#include "agent/open_source.h"
#include "collectors/libvirt_source.h"
#include "collectors/replay_source.h"
#include "collectors/scenario.h"
#include "collectors/simulated_source.h"
#include "platform/files.h"

namespace nodemeter {

namespace {

Result<std::unique_ptr<Source>> open_simulated(const Options& options, const Clock& clock) {
  const Result<std::string> text = read_file(options.scenario, kScenarioBytesMax);
  if (!text) return text.error();
  Result<Scenario> scenario = parse_scenario(*text);
  if (!scenario) return Error{scenario.error().code, options.scenario + ": " + scenario.error().message};
  return open_simulated_source(std::move(*scenario), clock);
}

}  // namespace

bool is_trial(SourceKind kind) { return kind == SourceKind::kSimulated || kind == SourceKind::kReplay; }

Result<std::unique_ptr<Source>> open_source(const Options& options, const Clock& clock, Log& log,
                                            std::function<void()> on_urgency) {
  // Going on without it would bill somebody else: what the file says overrides the hypervisor.
  if (!options.owners_file.empty()) {
    return Error{ErrorCode::kUnsupported,
                 "owners.file is set, but this version reads owners from the hypervisor only: remove the key, or stay "
                 "with the version that reads it"};
  }
  switch (options.source_kind) {
    case SourceKind::kSimulated: return open_simulated(options, clock);
    case SourceKind::kReplay: return open_replay_source(options.trace, clock);
    case SourceKind::kHyperv:
      return Error{ErrorCode::kUnsupported, "source.kind is \"hyperv\"; this platform has libvirt"};
    case SourceKind::kAuto:
    case SourceKind::kLibvirt: break;
  }
  LibvirtOptions libvirt;
  libvirt.source = options.source;
  libvirt.uri = options.source_uri;
  libvirt.on_urgency = std::move(on_urgency);
  return open_libvirt_source(libvirt, clock, log);
}

}  // namespace nodemeter
