// Who runs: this process, its account, and whether another process is still the one that it was.

#pragma once

#include <cstdint>
#include <string>

namespace nodemeter {

std::uint64_t current_process();

// When process `id` was started, in a unit that only compares with itself; 0 if there is no such process. Together with
// the id it names one process for good, although ids are used again.
std::uint64_t process_started(std::uint64_t id);

// The account that this process acts as, for messages: "nodemeter" or "uid 998".
std::string account_name();

}  // namespace nodemeter
