#include "platform/files.h"

#include <system_error>

namespace nodemeter {

bool FileWatch::changed() {
  std::error_code error;
  const auto size = std::filesystem::file_size(file_, error);
  std::string now = error ? "unreadable" : std::to_string(size);
  const auto time = std::filesystem::last_write_time(file_, error);
  if (!error) now += " " + std::to_string(time.time_since_epoch().count());
  return std::exchange(seen_, now) != now;
}

}  // namespace nodemeter
