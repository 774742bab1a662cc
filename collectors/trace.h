// A Sample as one line of JSON and back: recorded traces for support, demonstrations and tests.
//
// A line begins {"v":1,…}: readers refuse other versions. Numbers are whole; instants are milliseconds; a counter is a
// number, or {"absent":reason}. Enumerations are their numbers of source.h. Lists are in the order that source.h
// demands, and reading checks it, so a trace that was edited by hand cannot bring a VM twice.

#pragma once

#include <string>
#include <string_view>

#include "collectors/source.h"
#include "platform/result.h"

namespace nodemeter {

inline constexpr std::size_t kTraceLineMax = 16u << 20;  // 4096 VMs with a dozen devices each stay below.

// Without a line end. Text that is no valid UTF-8 is replaced.
std::string trace_line(const Sample& sample);

// kCorrupt: not such a line; the message names the field. kUnsupported: of another version. kLimitExceeded: too long.
Result<Sample> parse_trace_line(std::string_view line);

}  // namespace nodemeter
