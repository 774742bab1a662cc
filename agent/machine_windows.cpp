#include <windows.h>

#include <knownfolders.h>
#include <shlobj.h>

#include <array>

#include "agent/machine.h"
#include "platform/windows_api.h"

namespace nodemeter {

namespace {

// %ProgramData%\\nodemeter
std::filesystem::path data_folder() {
  wchar_t* found = nullptr;
  std::filesystem::path folder = L"C:\\ProgramData";
  if (::SHGetKnownFolderPath(FOLDERID_ProgramData, 0, nullptr, &found) == S_OK) folder = found;
  ::CoTaskMemFree(found);
  return folder / L"nodemeter";
}

}  // namespace

std::string machine_id() {
  // Made when the system is installed. Not what a machine shows on the network.
  std::array<wchar_t, 64> text{};
  DWORD size = sizeof text;
  if (::RegGetValueW(HKEY_LOCAL_MACHINE, L"SOFTWARE\\Microsoft\\Cryptography", L"MachineGuid",
                     RRF_RT_REG_SZ | RRF_SUBKEY_WOW6464KEY, nullptr, text.data(), &size) != ERROR_SUCCESS) {
    return "";
  }
  std::string id;
  for (const char c : windows::narrow(text.data())) {
    if (c >= 'A' && c <= 'F') {
      id.push_back(static_cast<char>(c - 'A' + 'a'));
    } else if (c != '-' && c != '{' && c != '}') {
      id.push_back(c);
    }
  }
  return id;
}

std::filesystem::path default_config_path() { return data_folder() / L"nodemeter.toml"; }

std::filesystem::path default_state_path() { return data_folder() / L"state"; }

std::string as_service_account() { return "nodemeter service start"; }

}  // namespace nodemeter
