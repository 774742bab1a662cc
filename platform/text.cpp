#include "platform/text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <initializer_list>

#include "platform/contract.h"

namespace nodemeter {

namespace {

using namespace std::chrono;

void append_padded(std::string& out, std::uint64_t value, std::size_t width) {
  const std::string digits = std::to_string(value);
  if (digits.size() < width) out.append(width - digits.size(), '0');
  out += digits;
}

// Takes exactly `width` digits off the front.
std::optional<unsigned> take_digits(std::string_view& text, std::size_t width) {
  if (text.size() < width) return std::nullopt;
  unsigned value = 0;
  for (std::size_t i = 0; i < width; ++i) {
    if (text[i] < '0' || text[i] > '9') return std::nullopt;
    value = value * 10 + static_cast<unsigned>(text[i] - '0');
  }
  text.remove_prefix(width);
  return value;
}

bool take(std::string_view& text, char c) {
  if (text.empty() || text.front() != c) return false;
  text.remove_prefix(1);
  return true;
}

std::optional<sys_days> take_date(std::string_view& text) {
  const auto y = take_digits(text, 4);
  if (!y || !take(text, '-')) return std::nullopt;
  const auto m = take_digits(text, 2);
  if (!m || !take(text, '-')) return std::nullopt;
  const auto d = take_digits(text, 2);
  if (!d || *y < 1970 || *y > 2199) return std::nullopt;
  const year_month_day date{year{static_cast<int>(*y)}, month{*m}, day{*d}};
  if (!date.ok()) return std::nullopt;
  return sys_days{date};
}

std::optional<Milliseconds> take_fraction(std::string_view& text) {
  if (!take(text, '.')) return Milliseconds{0};
  int value = 0;
  int digits = 0;
  while (!text.empty() && text.front() >= '0' && text.front() <= '9') {
    if (digits < 3) value = value * 10 + (text.front() - '0');
    ++digits;
    text.remove_prefix(1);
  }
  if (digits == 0) return std::nullopt;
  for (int i = digits; i < 3; ++i) value *= 10;
  return Milliseconds{value};
}

// "Z", "+02:00", and Azure's "+00:00Z".
std::optional<minutes> take_zone(std::string_view& text) {
  if (take(text, 'Z') || take(text, 'z')) return minutes{0};
  if (text.empty() || (text.front() != '+' && text.front() != '-')) return std::nullopt;
  const bool west = text.front() == '-';
  text.remove_prefix(1);
  const auto h = take_digits(text, 2);
  if (!h || !take(text, ':')) return std::nullopt;
  const auto m = take_digits(text, 2);
  if (!m || *h > 14 || *m > 59) return std::nullopt;
  const minutes offset{static_cast<int>(*h * 60 + *m)};
  if (offset == minutes{0}) (void)take(text, 'Z');
  return west ? -offset : offset;
}

struct Unit {
  std::string_view name;
  std::uint64_t factor;
};

// A whole number followed by one of `units`. Nothing on overflow.
std::optional<std::uint64_t> parse_with_unit(std::string_view text, std::initializer_list<Unit> units) {
  std::uint64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || rest == text.data()) return std::nullopt;
  const std::string_view name(rest, static_cast<std::size_t>(end - rest));
  for (const Unit& unit : units) {
    if (unit.name != name) continue;
    if (value > UINT64_MAX / unit.factor) return std::nullopt;
    return value * unit.factor;
  }
  return std::nullopt;
}

// Length of the valid UTF-8 sequence at the front, 0 if there is none.
std::size_t utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  const std::uint8_t first = byte(0);
  if (first < 0x80) return 1;
  const std::size_t length = first >= 0xf0 && first <= 0xf4  ? 4
                             : first >= 0xe0 && first < 0xf0 ? 3
                             : first >= 0xc2 && first < 0xe0 ? 2
                                                             : 0;
  if (length == 0 || text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  if (first == 0xe0 && byte(1) < 0xa0) return 0;  // Overlong.
  if (first == 0xed && byte(1) > 0x9f) return 0;  // Surrogates.
  if (first == 0xf0 && byte(1) < 0x90) return 0;  // Overlong.
  if (first == 0xf4 && byte(1) > 0x8f) return 0;  // Beyond U+10FFFF.
  return length;
}

// Control characters of ASCII and of Latin-1 (U+0080 to U+009F), and the marks that reorder text on a terminal.
bool is_control(std::string_view sequence) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(sequence[i]); };
  if (sequence.size() == 1) return byte(0) < 0x20 || byte(0) == 0x7f;
  if (sequence.size() == 2) return byte(0) == 0xc2 && byte(1) < 0xa0;
  if (sequence.size() == 3 && byte(0) == 0xe2) {
    return (byte(1) == 0x80 && (byte(2) >= 0xa8 && byte(2) <= 0xae)) ||
           (byte(1) == 0x81 && byte(2) >= 0xa6 && byte(2) <= 0xa9);
  }
  return false;
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::array<std::size_t, 65> row{};
  if (b.size() > 64 || a.size() > 64) return 64;
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return row[b.size()];
}

}  // namespace

std::string iso_time(UtcTime t, bool seconds_only) {
  const auto day = floor<days>(t);
  const year_month_day date{day};
  const hh_mm_ss clock{t - day};
  std::string out;
  append_padded(out, static_cast<std::uint64_t>(static_cast<int>(date.year())), 4);
  out += '-';
  append_padded(out, static_cast<unsigned>(date.month()), 2);
  out += '-';
  append_padded(out, static_cast<unsigned>(date.day()), 2);
  out += 'T';
  append_padded(out, static_cast<std::uint64_t>(clock.hours().count()), 2);
  out += ':';
  append_padded(out, static_cast<std::uint64_t>(clock.minutes().count()), 2);
  out += ':';
  append_padded(out, static_cast<std::uint64_t>(clock.seconds().count()), 2);
  if (!seconds_only) {
    out += '.';
    append_padded(out, static_cast<std::uint64_t>(clock.subseconds().count()), 3);
  }
  return out + 'Z';
}

std::optional<UtcTime> parse_time(std::string_view text) {
  const auto date = take_date(text);
  if (!date) return std::nullopt;
  if (text.empty()) return UtcTime{*date};
  if (!take(text, 'T') && !take(text, 't') && !take(text, ' ')) return std::nullopt;
  const auto h = take_digits(text, 2);
  if (!h || !take(text, ':')) return std::nullopt;
  const auto m = take_digits(text, 2);
  if (!m || *h > 23 || *m > 59) return std::nullopt;
  unsigned s = 0;
  if (take(text, ':')) {
    const auto parsed = take_digits(text, 2);
    if (!parsed || *parsed > 59) return std::nullopt;
    s = *parsed;
  }
  const auto fraction = take_fraction(text);
  if (!fraction) return std::nullopt;
  const auto offset = take_zone(text);
  if (!offset || !text.empty()) return std::nullopt;
  return UtcTime{*date} + hours{*h} + minutes{*m} + seconds{s} + *fraction - *offset;
}

std::optional<Milliseconds> parse_duration(std::string_view text) {
  const auto ms = parse_with_unit(text, {{"ms", 1}, {"s", 1'000}, {"m", 60'000}, {"h", 3'600'000}, {"d", 86'400'000}});
  if (!ms || *ms > static_cast<std::uint64_t>(INT64_MAX)) return std::nullopt;
  return Milliseconds{static_cast<std::int64_t>(*ms)};
}

std::string duration_text(Milliseconds d) {
  const std::int64_t ms = d.count();
  for (const Unit& unit : {Unit{"d", 86'400'000}, Unit{"h", 3'600'000}, Unit{"m", 60'000}, Unit{"s", 1'000}}) {
    const auto factor = static_cast<std::int64_t>(unit.factor);
    if (ms != 0 && ms % factor == 0) return std::to_string(ms / factor) + std::string(unit.name);
  }
  return std::to_string(ms) + "ms";
}

std::optional<std::uint64_t> parse_size(std::string_view text) {
  return parse_with_unit(text, {{"B", 1},
                                {"KiB", 1ull << 10},
                                {"MiB", 1ull << 20},
                                {"GiB", 1ull << 30},
                                {"TiB", 1ull << 40},
                                {"kB", 1'000},
                                {"MB", 1'000'000},
                                {"GB", 1'000'000'000},
                                {"TB", 1'000'000'000'000}});
}

std::string size_text(std::uint64_t bytes) {
  static constexpr std::array<std::string_view, 5> kUnits{"B", "KiB", "MiB", "GiB", "TiB"};
  std::size_t unit = 0;
  std::uint64_t tenths = bytes * 10;
  if (bytes > UINT64_MAX / 10) return std::to_string(bytes >> 40) + " TiB";
  while (tenths >= 10'240 && unit + 1 < kUnits.size()) {
    tenths = (tenths + 512) / 1024;
    ++unit;
  }
  std::string out = std::to_string(tenths / 10);
  if (unit > 0) out += "." + std::to_string(tenths % 10);
  return out + " " + std::string(kUnits[unit]);
}

std::optional<std::uint64_t> parse_u64(std::string_view text) {
  std::uint64_t value = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || rest != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

std::string display_text(std::string_view text, std::size_t length_max) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    const bool shown = length > 0 && !is_control(text.substr(0, length));
    const std::size_t taken = shown ? length : 1;
    if (out.size() + (shown ? taken : 4) > length_max) return out + "…";
    if (shown) {
      out.append(text.substr(0, taken));
    } else {
      const auto b = static_cast<std::uint8_t>(text.front());
      out += {'\\', 'x', kHex[b >> 4], kHex[b & 15]};
    }
    text.remove_prefix(taken);
  }
  return out;
}

std::string json_quote(std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  const std::string safe = is_plain_text(text) ? std::string(text) : display_text(text, text.size() * 4);
  std::string out = "\"";
  for (const char c : safe) {
    const auto b = static_cast<std::uint8_t>(c);
    if (c == '"' || c == '\\') {
      out += {'\\', c};
    } else if (b < 0x20) {
      out += {'\\', 'u', '0', '0', kHex[b >> 4], kHex[b & 15]};
    } else {
      out.push_back(c);
    }
  }
  return out + '"';
}

bool is_plain_text(std::string_view text) {
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    if (length == 0 || is_control(text.substr(0, length))) return false;
    text.remove_prefix(length);
  }
  return true;
}

std::string decimal_text(unsigned __int128 value, std::uint64_t multiplier, std::uint64_t divisor) {
  using Wide = unsigned __int128;
  NM_ASSERT(divisor > 0);
  NM_ASSERT(multiplier > 0);
  // value * multiplier must fit: sums of a fleet stay below 2^96, multipliers below 2^32.
  NM_ASSERT(value <= ~Wide{0} / multiplier);
  const Wide scaled = value * multiplier;
  Wide whole = scaled / divisor;
  Wide rest = scaled % divisor;
  std::array<unsigned, 10> digits{};
  for (unsigned& digit : digits) {
    rest *= 10;
    digit = static_cast<unsigned>(rest / divisor);
    rest %= divisor;
  }
  const Wide twice = rest * 2;
  const bool up = twice > divisor || (twice == divisor && digits.back() % 2 == 1);
  if (up) {
    std::size_t i = digits.size();
    while (i > 0 && ++digits[i - 1] == 10) digits[--i] = 0;
    if (i == 0) ++whole;
  }
  std::string out;
  do {
    out.push_back(static_cast<char>('0' + static_cast<unsigned>(whole % 10)));
    whole /= 10;
  } while (whole > 0);
  std::reverse(out.begin(), out.end());
  out.push_back('.');
  for (const unsigned digit : digits) out.push_back(static_cast<char>('0' + digit));
  while (out.back() == '0') out.pop_back();
  if (out.back() == '.') out.pop_back();
  return out;
}

std::optional<std::string> nearest_word(std::string_view word, const std::initializer_list<std::string_view>& known) {
  std::size_t best = std::max<std::size_t>(2, word.size() / 3) + 1;
  std::optional<std::string> found;
  for (const std::string_view candidate : known) {
    const std::size_t distance = edit_distance(word, candidate);
    if (distance < best) {
      best = distance;
      found = std::string(candidate);
    }
  }
  return found;
}

}  // namespace nodemeter
