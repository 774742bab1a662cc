#include <utility>

#include "agent/hypervisor.h"
#include "agent/open_source.h"
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

Result<std::unique_ptr<Source>> open_kind(const Options& options, const Clock& clock, Log& log,
                                          std::function<void()> on_urgency) {
  if (options.source_kind == SourceKind::kSimulated) return open_simulated(options, clock);
  if (options.source_kind == SourceKind::kReplay) return open_replay_source(options.trace, clock);
  return open_hypervisor(options, clock, log, std::move(on_urgency));
}

}  // namespace

bool is_trial(SourceKind kind) { return kind == SourceKind::kSimulated || kind == SourceKind::kReplay; }

Result<std::unique_ptr<Source>> open_source(const Options& options, const Clock& clock, Log& log,
                                            std::function<void()> on_urgency) {
  Result<std::unique_ptr<Source>> source = open_kind(options, clock, log, std::move(on_urgency));
  if (!source || options.owners_file.empty()) return source;
  OwnersOptions owners;
  owners.file = options.owners_file;
  owners.kept = options.state_path / "owners.json";
  owners.patterns_allowed = options.source.trust_metadata;
  return open_owned_source(owners, std::move(source).value(), log);
}

}  // namespace nodemeter
