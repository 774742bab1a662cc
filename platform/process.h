// Who runs: this process, its account and its heap, and whether another process is still the one that it was.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace nodemeter {

std::uint64_t current_process();

// When process `id` was started, in a unit that only compares with itself; 0 if there is no such process. Together with
// the id it names one process for good, although ids are used again.
std::uint64_t process_started(std::uint64_t id);

// The account that this process acts as, for messages: "nodemeter" or "uid 998".
std::string account_name();

// For a program's own start: its arguments as UTF-8, and standard streams that pass bytes on as they are (Windows gives
// arguments in a code page, and translates line ends).
std::vector<std::string> program_arguments(int argc, char** argv);

// For a program's own start, not for an embedder's: freed blocks of some hundred KiB and more go back to the system at
// once. The heap would keep what batches of changing sizes leave behind: half as much again as is in use.
void return_freed_blocks();

}  // namespace nodemeter
