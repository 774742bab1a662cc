#include <windows.h>

#include <fcntl.h>
#include <io.h>
#include <sddl.h>
#include <shellapi.h>

#include <array>
#include <cstdio>

#include "platform/process.h"
#include "platform/windows_api.h"

namespace nodemeter {

std::uint64_t current_process() { return ::GetCurrentProcessId(); }

std::uint64_t process_started(std::uint64_t id) {
  // Not by a handle: the process of a service account shows its times to few others.
  std::uint64_t started = 0;
  (void)windows::for_each_process([&](const windows::ProcessFacts& process) {
    if (process.id == id) started = process.started;
    return process.id != id;
  });
  return started;
}

std::vector<std::string> program_arguments(int, char**) {
  for (std::FILE* stream : {stdin, stdout, stderr}) (void)::_setmode(::_fileno(stream), _O_BINARY);
  (void)::SetConsoleOutputCP(CP_UTF8);
  int count = 0;
  wchar_t** const words = ::CommandLineToArgvW(::GetCommandLineW(), &count);
  std::vector<std::string> arguments;
  for (int i = 0; words != nullptr && i < count; ++i) arguments.push_back(windows::narrow(words[i]));
  ::LocalFree(words);
  return arguments;
}

void return_freed_blocks() {}  // The system's heap gives large blocks back at once.

std::string account_name() {
  std::string sid = windows::account_sid();
  PSID bytes = nullptr;
  if (sid.empty() || ::ConvertStringSidToSidW(windows::wide(sid).c_str(), &bytes) == 0) return "(unknown)";
  std::array<wchar_t, 512> name{};
  std::array<wchar_t, 512> domain{};
  auto name_size = static_cast<DWORD>(name.size());
  auto domain_size = static_cast<DWORD>(domain.size());
  SID_NAME_USE use{};
  const BOOL found = ::LookupAccountSidW(nullptr, bytes, name.data(), &name_size, domain.data(), &domain_size, &use);
  ::LocalFree(bytes);
  if (found == 0) return sid;
  return windows::narrow(domain.data()) + "\\" + windows::narrow(name.data());
}

}  // namespace nodemeter
