// The configuration file: TOML text to Options, and everything that is wrong with it at once.
//
// Every fault names file, line, key, the value found and what is allowed; an unknown key is a fault with the nearest
// known one, because a misspelt limit that is silently ignored is a bill. Files that the configuration names (keys,
// certificates, owners) are not opened here. (platform/config_text.h reads the text.) Pure but for load; any thread.

#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "agent/options.h"
#include "platform/config_text.h"
#include "platform/result.h"

namespace nodemeter {

struct ConfigCheck {
  Options options;                  // Use it only if there are no faults.
  std::vector<ConfigFault> faults;  // In order of lines.
};

// Reads the text of a configuration. The empty text is valid: all defaults.
ConfigCheck check_options(std::string_view text);

// Reads and checks a file. kNotFound, kPermissionDenied, kLimitExceeded (kConfigBytesMax), kUnavailable.
Result<ConfigCheck> check_options_file(const std::filesystem::path& path);

// The options in `path`. A file that is not there is an error only if `required`; otherwise defaults hold.
// kInvalidInput: the message lists all faults, one a line. Other errors are check_options_file's.
Result<Options> load_options(const std::filesystem::path& path, bool required);

}  // namespace nodemeter
