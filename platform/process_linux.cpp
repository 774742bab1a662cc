#include <malloc.h>
#include <pwd.h>
#include <unistd.h>

#include <array>

#include "platform/files.h"
#include "platform/process.h"
#include "platform/text.h"

namespace nodemeter {

std::uint64_t current_process() { return static_cast<std::uint64_t>(::getpid()); }

std::uint64_t process_started(std::uint64_t id) {
  const Result<std::string> stat = read_file("/proc/" + std::to_string(id) + "/stat", 64 * 1024);
  if (!stat) return 0;
  // Field 2 is the program's name in brackets and may hold anything; field 22 is the start in ticks since boot.
  std::string_view rest = *stat;
  const std::size_t name_end = rest.rfind(')');
  if (name_end == std::string_view::npos) return 0;
  rest.remove_prefix(name_end + 1);
  if (rest.starts_with(" Z") || rest.starts_with(" X")) return 0;  // Dead; only its parent has not looked yet.
  for (int field = 2; field < 22; ++field) {
    const std::size_t space = rest.find(' ');
    if (space == std::string_view::npos) return 0;
    rest.remove_prefix(space + 1);
  }
  return parse_u64(rest.substr(0, rest.find(' '))).value_or(0);
}

std::vector<std::string> program_arguments(int argc, char** argv) { return {argv, argv + argc}; }

void return_freed_blocks() {
  // Set once, it no longer follows the largest block that was freed.
  (void)::mallopt(M_MMAP_THRESHOLD, 256 * 1024);
}

std::string account_name() {
  passwd entry{};
  passwd* found = nullptr;
  std::array<char, 4096> buffer{};
  if (::getpwuid_r(::geteuid(), &entry, buffer.data(), buffer.size(), &found) == 0 && found != nullptr) {
    return found->pw_name;
  }
  return "uid " + std::to_string(::geteuid());
}

}  // namespace nodemeter
