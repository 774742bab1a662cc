// The source that a configuration asks for. The only place that knows every kind.

#pragma once

#include <functional>
#include <memory>

#include "agent/options.h"
#include "collectors/source.h"
#include "platform/clock.h"
#include "platform/log.h"

namespace nodemeter {

// True if what this source shows is not this node's real consumption: its rows are marked.
bool is_trial(SourceKind kind);

// `clock` and `log` must outlive the source. The owners file lies over what it shows (collectors/owned_source.h). A
// hypervisor that does not answer yet is not an error: its samples will be. `on_urgency` may be called from any thread
// when something deserves a read before the next interval.
//   kUnsupported   this kind is for another platform
//   kInvalidInput  a scenario, trace or owners file is wrong; the message names the place
//   and what reading those files gives.
Result<std::unique_ptr<Source>> open_source(const Options& options, const Clock& clock, Log& log,
                                            std::function<void()> on_urgency);

}  // namespace nodemeter
