// The process as the daemon's Service: signals and the service manager, chosen by platform file.

#pragma once

#include <memory>

#include "agent/daemon.h"

namespace nodemeter::cli {

// From now on SIGTERM and SIGINT ask for a stop, and SIGHUP for a reload, instead of ending the process. On Windows
// Ctrl-C does, or, if the service manager has started this process, its controls; then messages go to the event log.
// One per process. kUnavailable: the system refuses a pipe or a handler.
Result<std::unique_ptr<Service>> open_process_service();

}  // namespace nodemeter::cli
