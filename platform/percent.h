// Percent-encoding of URLs (RFC 3986).

#pragma once

#include <string>
#include <string_view>

namespace nodemeter {

// `text` with everything but letters, digits, "-._~" and the characters of `also_plain` as %XX, bytewise.
std::string percent_encoded(std::string_view text, std::string_view also_plain = {});

}  // namespace nodemeter
