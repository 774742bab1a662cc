// What must be true of a state directory after a crash, and a process of its own to find out.

#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "workload.h"

namespace nodemeter::crash {

struct Expectation {
  const Workload& workload;
  const std::vector<Digest>& contents;  // expected_contents()
};

// Opens the store as the agent does and looks at all of it: the content is that of operation `acknowledged` or, whole,
// of the one after it; the chain verifies; registers agree with entries; a frozen batch has the bytes of its token; the
// next entry takes the next number and is there after another opening. `acknowledged` -1: not even the creation was.
// Empty: all of that holds. Else what does not.
std::string judge(const std::filesystem::path& state, const Expectation& expected, std::int64_t acknowledged);

// Which of `contents` the store holds: `acknowledged` or the next. -1: neither.
std::int64_t position_of(const Digest& content, const std::vector<Digest>& contents, std::int64_t acknowledged);

// Runs `examine` in a child process; what it returns, or how the child died.
std::string in_child(const std::function<std::string()>& examine);

}  // namespace nodemeter::crash
