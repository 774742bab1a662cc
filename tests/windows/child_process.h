// Another process that a test may kill: this program again, running one of its hidden tests, with a pipe by which it
// tells numbers.

#pragma once

#include <windows.h>

#include <array>
#include <catch2/catch.hpp>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>

#include "platform/windows_api.h"

namespace nodemeter::testing {

inline constexpr const char* kChildPipe = "NODEMETER_TEST_PIPE";
inline constexpr const char* kChildArgument = "NODEMETER_TEST_ARGUMENT";

class ChildProcess {
 public:
  // Starts the test of that name, which finds `argument` in child_argument().
  ChildProcess(const std::string& test, const std::string& argument) {
    SECURITY_ATTRIBUTES inherited{sizeof inherited, nullptr, TRUE};
    HANDLE read = nullptr;
    HANDLE write = nullptr;
    REQUIRE(::CreatePipe(&read, &write, &inherited, 0) != 0);
    pipe_ = windows::Handle(read);
    windows::Handle childs_end(write);
    REQUIRE(::SetHandleInformation(read, HANDLE_FLAG_INHERIT, 0) != 0);
    set(kChildPipe, std::to_string(reinterpret_cast<std::uintptr_t>(write)));
    set(kChildArgument, argument);
    std::array<wchar_t, 32'768> program{};
    ::GetModuleFileNameW(nullptr, program.data(), static_cast<DWORD>(program.size()));
    std::wstring line = L"\"" + std::wstring(program.data()) + L"\" \"" + windows::wide(test) + L"\"";
    STARTUPINFOW start{};
    start.cb = sizeof start;
    PROCESS_INFORMATION started{};
    REQUIRE(::CreateProcessW(nullptr, line.data(), nullptr, nullptr, TRUE, 0, nullptr, nullptr, &start, &started) != 0);
    process_ = windows::Handle(started.hProcess);
    const windows::Handle thread(started.hThread);
  }
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;
  ~ChildProcess() { kill(); }

  // The next number that it told; nothing once it has ended and all of them were read.
  [[nodiscard]] std::optional<std::uint64_t> told() const {
    std::uint64_t number = 0;
    DWORD size = 0;
    if (::ReadFile(pipe_.get(), &number, sizeof number, &size, nullptr) == 0 || size != sizeof number) {
      return std::nullopt;
    }
    return number;
  }

  // At whatever instruction it is. Returns when it is gone.
  void kill() const {
    (void)::TerminateProcess(process_.get(), 9);
    (void)::WaitForSingleObject(process_.get(), INFINITE);
  }

 private:
  static void set(const char* name, const std::string& value) {
    REQUIRE(::SetEnvironmentVariableA(name, value.c_str()) != 0);
  }

  windows::Handle pipe_;
  windows::Handle process_;
};

// In the child.
inline std::string child_argument() {
  const char* argument = std::getenv(kChildArgument);
  return argument == nullptr ? "" : argument;
}

inline bool tell(std::uint64_t number) {
  const char* pipe = std::getenv(kChildPipe);
  if (pipe == nullptr) return false;
  DWORD size = 0;
  const HANDLE handle = windows::handle_of(static_cast<std::intptr_t>(std::strtoull(pipe, nullptr, 10)));
  return ::WriteFile(handle, &number, sizeof number, &size, nullptr) != 0 && size == sizeof number;
}

}  // namespace nodemeter::testing
