#include "platform/decimal.h"

#include <algorithm>
#include <boost/multiprecision/cpp_int.hpp>

#include "platform/contract.h"

namespace nodemeter {

namespace {

using Whole = boost::multiprecision::cpp_int;

bool is_digits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

std::size_t fraction_digits(std::string_view text) {
  const std::size_t point = text.find('.');
  return point == std::string_view::npos ? 0 : text.size() - point - 1;
}

// Boost takes a leading zero for octal.
Whole without_point(std::string_view text) {
  std::string digits(text);
  digits.erase(std::remove(digits.begin(), digits.end(), '.'), digits.end());
  NM_ASSERT(is_digits(digits));
  digits.erase(0, std::min(digits.find_first_not_of('0'), digits.size() - 1));
  return Whole(digits);
}

// `digits` with the point before the last `fraction` of them, superfluous zeros cut.
std::string with_point(std::string digits, std::size_t fraction) {
  if (digits.size() <= fraction) digits.insert(0, fraction + 1 - digits.size(), '0');
  std::string whole = digits.substr(0, digits.size() - fraction);
  std::string rest = digits.substr(digits.size() - fraction);
  whole.erase(0, std::min(whole.find_first_not_of('0'), whole.size() - 1));
  rest.erase(rest.find_last_not_of('0') + 1);
  return rest.empty() ? whole : whole + "." + rest;
}

}  // namespace

std::optional<std::string> plain_decimal(std::string_view text, std::size_t whole_digits_max,
                                         std::size_t fraction_digits_max) {
  const std::size_t point = text.find('.');
  const std::string_view whole = text.substr(0, point);
  const std::string_view rest = point == std::string_view::npos ? "0" : text.substr(point + 1);
  if (!is_digits(whole) || !is_digits(rest)) return std::nullopt;
  if (whole.size() > whole_digits_max || rest.size() > std::max<std::size_t>(1, fraction_digits_max)) {
    return std::nullopt;
  }
  return with_point(std::string(whole) + std::string(rest), rest.size());
}

std::string decimal_product(std::string_view a, std::string_view b) {
  return with_point((without_point(a) * without_point(b)).str(), fraction_digits(a) + fraction_digits(b));
}

}  // namespace nodemeter
