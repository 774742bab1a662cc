// `nodemeter-aggregator commerce`: delivers what is due to the configured target, once, beside a running aggregator or
// without one. Meant to be started by a timer; whatever it could not deliver, the next start delivers.

#pragma once

#include <filesystem>
#include <functional>
#include <iosfwd>
#include <string>

#include "platform/clock.h"

namespace nodemeter {

struct CommerceCommand {
  std::filesystem::path state;  // The aggregator's; commerce keeps its own below it.
  std::string registration_file;
  std::string target;  // A directory, or an http:// or https:// URL.
  std::string bearer_file;
  std::string ca_file;
  std::string meter_map;   // A JSON file; "": default_meter_map().
  std::string nodes_file;  // Whose manifests make a day complete; "": of all nodes that are known.
  bool force = false;      // Also with a billing model that does not report.
  bool json = false;
};

struct CommerceWorld {
  UtcTime now{};
  std::function<void(Milliseconds)> sleep;
  std::ostream& out;  // What was delivered.
  std::ostream& err;  // Messages.
};

// The exit code: 0 done, 1 failed, 2 configuration, 3 a day before today is not complete yet.
int commerce(const CommerceCommand& command, CommerceWorld& world);

}  // namespace nodemeter
