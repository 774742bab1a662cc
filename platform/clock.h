// The three times of a node, and the one seam that reads them.
//
// Monotonic time counts from boot, includes suspend, and only measures durations. UTC names hours for people and
// invoices; it may step and is never subtracted. Both are cut to milliseconds, so that all arithmetic is exact.
//
// Only a composition root calls system_clock(); everything else is given a Clock, which stands still within one step.

#pragma once

#include <chrono>
#include <memory>

#include "platform/ids.h"

namespace nodemeter {

using Milliseconds = std::chrono::milliseconds;

struct MonotonicEpoch {
  using duration = Milliseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<MonotonicEpoch, duration>;
  static constexpr bool is_steady = true;
};

// Milliseconds since the node booted. Comparable only within one boot.
using MonotonicTime = std::chrono::time_point<MonotonicEpoch, Milliseconds>;

// Milliseconds since 1970-01-01T00:00:00Z.
using UtcTime = std::chrono::sys_time<Milliseconds>;

struct ClockReading {
  BootId boot;
  MonotonicTime monotonic{};
  UtcTime utc{};
  bool synchronised = true;  // The operating system believes its wall clock to be set.
};

class Clock {
 public:
  virtual ~Clock() = default;
  Clock(const Clock&) = delete;
  Clock& operator=(const Clock&) = delete;

  // Any thread.
  [[nodiscard]] virtual ClockReading now() const = 0;

 protected:
  Clock() = default;
};

// The operating system's clocks: CLOCK_BOOTTIME, CLOCK_REALTIME and the kernel's boot id on Linux; on Windows the
// interrupt time, the system time, and an id made from the first process of the boot.
std::unique_ptr<Clock> system_clock();

// The same, running `speed` times faster from now on: trials and tests with a simulated or replayed source.
std::unique_ptr<Clock> accelerated_clock(std::unique_ptr<Clock> base, std::uint32_t speed);

}  // namespace nodemeter
