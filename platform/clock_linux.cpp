#include <sys/timex.h>

#include <ctime>
#include <fstream>
#include <string>

#include "platform/clock.h"
#include "platform/contract.h"

namespace nodemeter {

namespace {

BootId read_boot_id() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string text;
  std::getline(file, text);
  return BootId::parse(text).value_or(BootId{});
}

Milliseconds read_clock(clockid_t id) {
  timespec t{};
  NM_ASSERT(clock_gettime(id, &t) == 0);
  return std::chrono::floor<Milliseconds>(std::chrono::seconds{t.tv_sec} + std::chrono::nanoseconds{t.tv_nsec});
}

class SystemClock final : public Clock {
 public:
  [[nodiscard]] ClockReading now() const override {
    timex query{};
    ClockReading reading;
    reading.boot = boot_;
    // CLOCK_BOOTTIME counts through suspend: a sleeping host is a late sample, not a clock step.
    reading.monotonic = MonotonicTime{read_clock(CLOCK_BOOTTIME)};
    reading.utc = UtcTime{read_clock(CLOCK_REALTIME)};
    reading.synchronised = adjtimex(&query) != TIME_ERROR && (query.status & STA_UNSYNC) == 0;
    return reading;
  }

 private:
  const BootId boot_ = read_boot_id();
};

}  // namespace

std::unique_ptr<Clock> system_clock() { return std::make_unique<SystemClock>(); }

}  // namespace nodemeter
