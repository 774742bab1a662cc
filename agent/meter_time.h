// Hours and instants as integers, for the meter's arithmetic.

#pragma once

#include <cstdint>

#include "platform/clock.h"

namespace nodemeter {

inline constexpr std::int64_t kHourMs = 3'600'000;

inline std::int64_t ms(UtcTime t) { return t.time_since_epoch().count(); }
inline UtcTime utc_from_ms(std::int64_t v) { return UtcTime{Milliseconds{v}}; }

// Hours since 1970 of the hour that holds `v`; right for times before 1970, too.
inline std::int64_t hour_of(std::int64_t v) { return v >= 0 ? v / kHourMs : -((-v + kHourMs - 1) / kHourMs); }

}  // namespace nodemeter
