#include "agent/cli/advice.h"

namespace nodemeter::cli {

std::string Advice::join_group(const std::string& group) const {
  return "join the group: sudo usermod -aG " + group + " $USER, then log in again";
}

const Advice& advice() {
  static const Advice words{
      .as_service = "run this as the service account: sudo -u nodemeter nodemeter doctor",
      .read_history =
          "history is read as the service account: sudo -u nodemeter nodemeter …, or on a backup with --state",
      .start = "start it (systemctl start nodemeter) and look at its log (journalctl -u nodemeter)",
      .restart = "restart it: systemctl restart nodemeter",
      .stop_first = "stop the agent (systemctl stop nodemeter), run this again, and start it",
      .hypervisor = "see whether the hypervisor runs: systemctl status libvirtd (or virtqemud)",
      .hypervisor_rights =
          "the service account has to be in the group libvirt (usermod -aG libvirt nodemeter), then restart",
      .time_service = "start a time service (chrony, systemd-timesyncd) and see timedatectl",
      .time_setter = "see what sets it (chronyc tracking)",
      .end = "SIGTERM or SIGINT",
      .close_file = "chmod o-rwx ",
      .doctor = "sudo -u nodemeter nodemeter doctor",
      .metrics_file = "/var/lib/prometheus/node-exporter/nodemeter.prom"};
  return words;
}

}  // namespace nodemeter::cli
