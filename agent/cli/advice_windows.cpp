#include "agent/cli/advice.h"

namespace nodemeter::cli {

std::string Advice::join_group(const std::string& group) const {
  return "open a console as administrator, or join the group " + group + " and log in again";
}

const Advice& advice() {
  static const Advice words{
      .as_service = "run this in a console that was opened as administrator",
      .read_history = "history is read in a console that was opened as administrator, or on a backup with --state",
      .start =
          "start it (nodemeter service start) and look at the application log of the event viewer (source nodemeter)",
      .restart = "restart it: nodemeter service stop, then nodemeter service start",
      .stop_first = "stop the agent (nodemeter service stop), run this again, and start it",
      .hypervisor = "see whether the hypervisor's management runs: Get-Service vmms, winmgmt",
      .hypervisor_rights = "run nodemeter service install again, which puts the service into the groups that it needs",
      .time_service = "start a time service (net start w32time, then w32tm /resync) and see w32tm /query /status",
      .time_setter = "see what sets it (w32tm /query /status)",
      .end = "Ctrl-C",
      .close_file = "let administrators, the system and the service only open it: icacls ",
      .doctor = "nodemeter doctor",
      .metrics_file = R"("C:\Program Files\windows_exporter\textfile_inputs\nodemeter.prom")"};
  return words;
}

}  // namespace nodemeter::cli
