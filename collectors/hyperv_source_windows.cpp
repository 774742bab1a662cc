#include <utility>

#include "collectors/hyperv_sampler.h"
#include "collectors/hyperv_source.h"
#include "collectors/hyperv_workers.h"
#include "collectors/pdh_counters_windows.h"
#include "collectors/wmi_session_windows.h"

namespace nodemeter {

Result<std::unique_ptr<Source>> open_hyperv_source(const HypervOptions& options, const Clock& clock, Log& log) {
  HypervTracker::Options tracking;
  tracking.trust_notes = options.source.trust_metadata;
  tracking.on_urgency = options.on_urgency;
  auto tracker = std::make_shared<HypervTracker>(tracking, clock);
  HypervWorkers::Options working;
  working.disk_patience = options.source.vm_deadline;
  const WmiConnector wmi = [] { return open_wmi_session(kHypervNamespace); };
  auto reader = std::make_unique<HypervWorkers>(working, wmi, open_pdh_counters, tracker, clock, log);
  HypervSampler::Options sampling;
  sampling.source = options.source;
  return std::unique_ptr<Source>(
      std::make_unique<HypervSampler>(sampling, std::move(reader), std::move(tracker), clock, log));
}

}  // namespace nodemeter
