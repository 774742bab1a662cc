// Decimal numbers as text, for money: exact, because binary fractions are not. Pure.

#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace nodemeter {

// "0.0080" as "0.008": digits with or without a fraction, no sign, no exponent, no superfluous zeros. Nothing: not
// that, or more than so many digits before or after the point.
std::optional<std::string> plain_decimal(std::string_view text, std::size_t whole_digits_max,
                                         std::size_t fraction_digits_max);

// The exact product of two that plain_decimal() could have given, of any length.
std::string decimal_product(std::string_view a, std::string_view b);

}  // namespace nodemeter
