// Received bodies made plain again, never larger than asked for: a bomb costs its own size and no more.

#pragma once

#include <string>
#include <string_view>

#include "platform/result.h"

namespace nodemeter {

// `encoding` is the Content-Encoding: "", "identity", "gzip" or "zstd". Pure; any thread.
//   kUnsupported    another encoding
//   kLimitExceeded  more than `size_max` bytes come out
//   kInvalidInput   damaged, cut off, or followed by something else
Result<std::string> inflate_body(std::string_view encoding, std::string bytes, std::size_t size_max);

}  // namespace nodemeter
