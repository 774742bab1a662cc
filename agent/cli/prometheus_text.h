// `status --format prometheus`: the agent's health and the registers of its VMs, for the textfile collectors of
// node_exporter and windows_exporter. Pure: snapshot and time in, text out.
//
// Names are part of the contract with dashboards and alerts: never rename, add only. Units are base units (seconds,
// bytes), counters end in _total and fall only with a new journal. A VM's series carry its id; its name and owner are
// on nodemeter_vm_info, so that a rename does not break a counter.

#pragma once

#include <string>

#include "platform/clock.h"
#include "store/live_view.h"

namespace nodemeter::cli {

std::string prometheus_text(const LiveSnapshot& snapshot, const ClockReading& now);

// No agent is running: nodemeter_up 0 and nothing else.
std::string prometheus_absent_text();

}  // namespace nodemeter::cli
