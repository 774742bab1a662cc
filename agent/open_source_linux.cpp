#include <utility>

#include "agent/open_source.h"
#include "collectors/libvirt_source.h"
#include "collectors/owned_source.h"
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

Result<std::unique_ptr<Source>> open_hypervisor(const Options& options, const Clock& clock, Log& log,
                                                std::function<void()> on_urgency) {
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

}  // namespace

bool is_trial(SourceKind kind) { return kind == SourceKind::kSimulated || kind == SourceKind::kReplay; }

Result<std::unique_ptr<Source>> open_source(const Options& options, const Clock& clock, Log& log,
                                            std::function<void()> on_urgency) {
  Result<std::unique_ptr<Source>> source = open_hypervisor(options, clock, log, std::move(on_urgency));
  if (!source || options.owners_file.empty()) return source;
  OwnersOptions owners;
  owners.file = options.owners_file;
  owners.kept = options.state_path / "owners.json";
  owners.patterns_allowed = options.source.trust_metadata;
  return open_owned_source(owners, std::move(source).value(), log);
}

}  // namespace nodemeter
