// What differs between platforms about the machine that the agent runs on; one file for each.

#pragma once

#include <filesystem>
#include <string>

namespace nodemeter {

// The operating system's own id of this installation, 32 hex digits; "" if there is none. A secret by systemd's
// rules: show only keyed digests of it.
std::string machine_id();

// Where the configuration is looked for if nobody says otherwise.
std::filesystem::path default_config_path();

// Where an agent keeps its journal and keys if nobody says otherwise.
std::filesystem::path default_state_path();

// What makes the agent run as the service account, as part of a sentence.
std::string as_service_account();

}  // namespace nodemeter
