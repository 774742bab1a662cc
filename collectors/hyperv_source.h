// The virtual machines of a Hyper-V host, by WMI and performance counters. Built on Windows only.

#pragma once

#include <functional>
#include <memory>

#include "collectors/source.h"
#include "platform/log.h"

namespace nodemeter {

struct HypervOptions {
  SourceOptions source;
  // May be called from any thread when something deserves a read before the next interval.
  std::function<void()> on_urgency;
};

// Does not wait for the host: a service that does not answer yet is not an error, its samples will be. `clock` and
// `log` must outlive the source.
Result<std::unique_ptr<Source>> open_hyperv_source(const HypervOptions& options, const Clock& clock, Log& log);

}  // namespace nodemeter
