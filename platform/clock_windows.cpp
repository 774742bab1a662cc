#include <windows.h>

#include <algorithm>

#include "platform/clock.h"
#include "platform/digest.h"
#include "platform/windows_api.h"

namespace nodemeter {

namespace {

// The system counts in units of 100 ns; its calendar begins in 1601.
constexpr std::int64_t kUnitsPerMillisecond = 10'000;
constexpr std::int64_t kMillisecondsFrom1601To1970 = 11'644'473'600'000;

Milliseconds milliseconds(std::uint64_t units) {
  return Milliseconds(static_cast<std::int64_t>(units) / kUnitsPerMillisecond);
}

// Time since boot, sleep and hibernation included. The precise one is in every system from Windows 10 and Server 2016
// on, but not in Wine; the other moves in steps of up to 16 ms.
Milliseconds since_boot() {
  using Query = void(WINAPI*)(PULONGLONG);
  static const auto query = reinterpret_cast<Query>(
      reinterpret_cast<void*>(::GetProcAddress(::GetModuleHandleW(L"kernelbase.dll"), "QueryInterruptTimePrecise")));
  if (query == nullptr) return Milliseconds(static_cast<std::int64_t>(::GetTickCount64()));
  ULONGLONG units = 0;
  query(&units);
  return milliseconds(units);
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

// A time service steers the clock. Without one nobody corrects it, and it is taken for wrong.
bool clock_is_steered() {
  DWORD adjustment = 0;
  DWORD increment = 0;
  BOOL unsteered = TRUE;
  return ::GetSystemTimeAdjustment(&adjustment, &increment, &unsteered) != 0 && unsteered == 0;
}

class SystemClock final : public Clock {
 public:
  [[nodiscard]] ClockReading now() const override {
    ClockReading reading;
    reading.boot = boot_;
    reading.monotonic = MonotonicTime{since_boot()};
    FILETIME utc{};
    ::GetSystemTimePreciseAsFileTime(&utc);
    const std::uint64_t units = std::uint64_t{utc.dwHighDateTime} << 32 | utc.dwLowDateTime;
    reading.utc = UtcTime{milliseconds(units) - Milliseconds(kMillisecondsFrom1601To1970)};
    reading.synchronised = clock_is_steered();
    return reading;
  }

 private:
  const BootId boot_ = read_boot_id();
};

}  // namespace

std::unique_ptr<Clock> system_clock() { return std::make_unique<SystemClock>(); }

}  // namespace nodemeter
