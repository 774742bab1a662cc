// The hypervisor of the platform; one file for each.

#pragma once

#include <functional>
#include <memory>

#include "agent/options.h"
#include "collectors/source.h"
#include "platform/clock.h"
#include "platform/log.h"

namespace nodemeter {

// For every kind but simulated and replay. As open_source (agent/open_source.h), which calls it.
Result<std::unique_ptr<Source>> open_hypervisor(const Options& options, const Clock& clock, Log& log,
                                                std::function<void()> on_urgency);

}  // namespace nodemeter
