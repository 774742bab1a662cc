// When to sample: at every multiple of the interval within the UTC hour, and on each hour's edge. Pure.

#pragma once

#include <algorithm>

#include "platform/clock.h"

namespace nodemeter {

class Schedule {
 public:
  explicit Schedule(Milliseconds interval) : interval_(interval) {}

  // The first instant after `now` at which a sample is due.
  [[nodiscard]] MonotonicTime next_after(const ClockReading& now) const {
    constexpr Milliseconds kHour{3'600'000};
    const Milliseconds into_hour = now.utc.time_since_epoch() % kHour;
    const Milliseconds next = into_hour - into_hour % interval_ + interval_;
    return now.monotonic + (std::min(next, kHour) - into_hour);
  }

 private:
  Milliseconds interval_;
};

}  // namespace nodemeter
