#include <windows.h>

#include <algorithm>

#include "platform/digest.h"
#include "platform/system_clock.h"
#include "platform/windows_api.h"

namespace nodemeter {

namespace {

// Time since boot, sleep and hibernation included. The precise one is in every system from Windows 10 and Server 2016
// on, but not in Wine; the other moves in steps of up to 16 ms.
Milliseconds since_boot() {
  using Query = void(WINAPI*)(PULONGLONG);
  static const auto query = reinterpret_cast<Query>(
      reinterpret_cast<void*>(::GetProcAddress(::GetModuleHandleW(L"kernelbase.dll"), "QueryInterruptTimePrecise")));
  if (query == nullptr) return Milliseconds(static_cast<std::int64_t>(::GetTickCount64()));
  ULONGLONG units = 0;
  query(&units);
  return Milliseconds(static_cast<std::int64_t>(units) / windows::kUnitsPerMillisecond);
}

// When the session manager was started: the first process that the kernel makes, and it lives as long as the system.
std::uint64_t session_manager_started() {
  constexpr std::uint64_t kKernelProcess = 4;
  std::uint64_t started = 0;
  (void)windows::for_each_process([&](const windows::ProcessFacts& process) {
    const bool found = process.parent == kKernelProcess && process.name == L"smss.exe";
    if (found) started = process.started;
    return !found;
  });
  return started;
}

// Counts the starts of the system; where there is no session manager to ask (Wine).
std::uint64_t boot_count() {
  DWORD count = 0;
  DWORD size = sizeof count;
  (void)::RegGetValueW(HKEY_LOCAL_MACHINE,
                       L"SYSTEM\\CurrentControlSet\\Control\\Session Manager\\Memory Management\\PrefetchParameters",
                       L"BootId", RRF_RT_REG_DWORD, nullptr, &count, &size);
  return count;
}

// A time service steers the clock. Without one nobody corrects it, and it is taken for wrong.
bool clock_is_steered() {
  DWORD adjustment = 0;
  DWORD increment = 0;
  BOOL unsteered = TRUE;
  return ::GetSystemTimeAdjustment(&adjustment, &increment, &unsteered) != 0 && unsteered == 0;
}

}  // namespace

// The system keeps no name for a boot. What differs between two boots, and for no two processes of one, gives it.
BootId read_boot_id() {
  const std::uint64_t started = session_manager_started();
  const std::string what =
      started != 0 ? "session manager " + std::to_string(started) : "boot " + std::to_string(boot_count());
  const Digest digest = digest_of({"nodemeter boot id", what});
  Uuid id;
  std::copy_n(digest.bytes.begin(), id.bytes.size(), id.bytes.begin());
  return BootId(id);
}

ClockReading read_system_clocks() {
  ClockReading reading;
  reading.monotonic = MonotonicTime{since_boot()};
  FILETIME utc{};
  ::GetSystemTimePreciseAsFileTime(&utc);
  reading.utc = UtcTime{Milliseconds(windows::milliseconds_since_1970(utc.dwHighDateTime, utc.dwLowDateTime))};
  reading.synchronised = clock_is_steered();
  return reading;
}

}  // namespace nodemeter
