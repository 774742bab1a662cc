#include <utility>

#include "agent/open_source.h"
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

Result<std::unique_ptr<Source>> open_source(const Options& options, const Clock& clock, Log&,
                                            std::function<void()> on_urgency) {
  (void)on_urgency;
  switch (options.source_kind) {
    case SourceKind::kSimulated: return open_simulated(options, clock);
    case SourceKind::kReplay:
    case SourceKind::kHyperv:
    case SourceKind::kAuto:
    case SourceKind::kLibvirt: break;
  }
  return Error{ErrorCode::kUnsupported, "source.kind is not available on this platform"};
}

}  // namespace nodemeter
