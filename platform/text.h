// Text forms that are the same everywhere: instants, durations, sizes, safe display.

#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "platform/clock.h"

namespace nodemeter {

// "2026-01-01T00:00:00.123Z"; without the fraction when `seconds_only`.
std::string iso_time(UtcTime t, bool seconds_only = false);

// RFC 3339 with Z or a numeric offset, optional fraction (cut to ms), or a bare date (midnight UTC).
// Years 1970 to 2199. Anything else: nothing.
std::optional<UtcTime> parse_time(std::string_view text);

// "10s", "500ms", "5m", "2h", "400d": a whole number and a unit.
std::optional<Milliseconds> parse_duration(std::string_view text);
std::string duration_text(Milliseconds d);

// "0B", "64KiB", "8GiB", "10MB": a whole number and a unit.
std::optional<std::uint64_t> parse_size(std::string_view text);
std::string size_text(std::uint64_t bytes);

std::optional<std::uint64_t> parse_u64(std::string_view text);

// What a terminal or a log line may show of text from outside: control characters become \xNN, invalid UTF-8 too, and
// more than `length_max` bytes are cut with "…".
std::string display_text(std::string_view text, std::size_t length_max = 256);

// A JSON string with its quotes. What is not valid UTF-8 is shown as display_text() shows it.
std::string json_quote(std::string_view text);

// Valid UTF-8 without control characters.
bool is_plain_text(std::string_view text);

// value * multiplier / divisor, rounded half-even to 10 decimals, trailing zeros cut. Exact: 128-bit inside.
std::string decimal_text(unsigned __int128 value, std::uint64_t multiplier, std::uint64_t divisor);

// The word of `known` that is closest to `word`, if any is close enough to suggest it.
std::optional<std::string> nearest_word(std::string_view word, const std::initializer_list<std::string_view>& known);

}  // namespace nodemeter
