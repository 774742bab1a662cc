#include "agent/machine.h"
#include "platform/files.h"

namespace nodemeter {

std::string machine_id() {
  constexpr std::size_t kMachineIdBytesMax = 128;
  for (const char* path : {"/etc/machine-id", "/var/lib/dbus/machine-id"}) {
    const Result<std::string> text = read_file(path, kMachineIdBytesMax);
    if (text && !text->empty()) return text->substr(0, text->find('\n'));
  }
  return "";
}

std::filesystem::path default_config_path() { return "/etc/nodemeter/nodemeter.toml"; }

std::filesystem::path default_state_path() { return "/var/lib/nodemeter"; }

std::string as_service_account() { return "sudo -u nodemeter"; }

}  // namespace nodemeter
