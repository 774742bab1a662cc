// The configuration file: TOML text to Options, and everything that is wrong with it at once.
//
// Every fault names file, line, key, the value found and what is allowed; an unknown key is a fault with the nearest
// known one, because a misspelt limit that is silently ignored is a bill. Files that the configuration names (keys,
// certificates, owners) are not opened here. The only user of toml++ in this layer. Pure but for load; any thread.

#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "agent/options.h"
#include "platform/result.h"

namespace nodemeter {

inline constexpr std::size_t kConfigBytesMax = 256 * 1024;

struct ConfigFault {
  std::uint32_t line = 0;  // From 1; 0: the file as a whole.
  std::string key;         // "upload.rate_limit"; "" if the fault is not about one key.
  std::string message;     // What is wrong, and what is allowed. No control characters.
};

// "nodemeter.toml:12: upload.rate_limit: …".
std::string fault_text(const std::string& file, const ConfigFault& fault);

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
