// What an operator can do about it on this platform, in its words; one file per platform. Each is the end of a
// sentence.

#pragma once

#include <string>

namespace nodemeter::cli {

struct Advice {
  std::string as_service;         // To see what only the service account sees.
  std::string read_history;       // The same, for a verb that reads the journal.
  std::string start;              // The agent does not run.
  std::string restart;            // It runs, and should begin anew.
  std::string stop_first;         // It runs, and stands in the way.
  std::string hypervisor;         // The hypervisor does not answer.
  std::string hypervisor_rights;  // It refuses this account.
  std::string time_service;       // Nobody sets the clock.
  std::string time_setter;        // Somebody sets it too often.
  std::string end;                // What stops an agent in the foreground; the end of a sentence with "until".
  std::string close_file;         // Before the path of a file that is open to everybody.
  std::string doctor;             // How the verb is started so that it sees everything; not a sentence.
  std::string metrics_file;       // Where the node's exporter looks for files of metrics; a path.

  // For whoever may not look at the live view that `group` may see.
  [[nodiscard]] std::string join_group(const std::string& group) const;
};

const Advice& advice();

}  // namespace nodemeter::cli
