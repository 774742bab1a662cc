// A scenario played live: a Source for trials without a hypervisor. Its rows are marked simulated by the agent.

#pragma once

#include <memory>

#include "collectors/scenario.h"
#include "collectors/source.h"

namespace nodemeter {

// The scenario's start is now; `clock` tells how it goes on and must outlive the source. Events of the node itself
// (agent_crash, clock_step, …) have no meaning for a live agent and are passed over. After the scenario's end the VMs
// go on as they are.
std::unique_ptr<Source> open_simulated_source(Scenario scenario, const Clock& clock);

}  // namespace nodemeter
