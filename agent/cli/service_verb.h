// What `nodemeter service` can do with this platform's service manager: one file per platform. On Linux packages and
// systemctl do all of it, so there is no such verb.

#pragma once

#include <string>
#include <vector>

#include "agent/cli/console.h"

namespace nodemeter::cli {

struct ServiceOptions {
  std::string config;   // The agent's; "": the default.
  std::string program;  // To upgrade to.
  bool json = false;
};

struct ServiceAction {
  std::string name;
  std::string text;  // For --help.
  int (*work)(const ServiceOptions& options, const Console& console);
  std::string example = {};  // What follows the name in its example.
};

// Empty: no verb. In the order in which help lists them.
std::vector<ServiceAction> service_actions();

}  // namespace nodemeter::cli
