// One LMDB environment per directory and process: its file locks belong to the process, and a second one would drop
// them. Any thread.

#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <utility>

namespace nodemeter {

// The name under which a directory is claimed while it is open.
class DirectoryClaim {
 public:
  // Nothing: somebody in this process has it.
  static std::optional<DirectoryClaim> take(const std::filesystem::path& directory);
  DirectoryClaim(const DirectoryClaim&) = delete;
  DirectoryClaim& operator=(const DirectoryClaim&) = delete;
  DirectoryClaim(DirectoryClaim&& other) noexcept : name_(std::exchange(other.name_, {})) {}
  DirectoryClaim& operator=(DirectoryClaim&&) = delete;
  ~DirectoryClaim();
  [[nodiscard]] const std::string& name() const { return name_; }

 private:
  explicit DirectoryClaim(std::string name) : name_(std::move(name)) {}
  std::string name_;
};

}  // namespace nodemeter
