#include <sys/timex.h>

#include <ctime>
#include <fstream>
#include <string>

#include "platform/contract.h"
#include "platform/system_clock.h"

namespace nodemeter {

namespace {

Milliseconds read_clock(clockid_t id) {
  timespec t{};
  NM_ASSERT(clock_gettime(id, &t) == 0);
  return std::chrono::floor<Milliseconds>(std::chrono::seconds{t.tv_sec} + std::chrono::nanoseconds{t.tv_nsec});
}

}  // namespace

BootId read_boot_id() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string text;
  std::getline(file, text);
  return BootId::parse(text).value_or(BootId{});
}

ClockReading read_system_clocks() {
  timex query{};
  ClockReading reading;
  // CLOCK_BOOTTIME counts through suspend: a sleeping host is a late sample, not a clock step.
  reading.monotonic = MonotonicTime{read_clock(CLOCK_BOOTTIME)};
  reading.utc = UtcTime{read_clock(CLOCK_REALTIME)};
  reading.synchronised = adjtimex(&query) != TIME_ERROR && (query.status & STA_UNSYNC) == 0;
  return reading;
}

}  // namespace nodemeter
