#include "store/directory_claim.h"

#include <mutex>
#include <set>
#include <system_error>

namespace nodemeter {

namespace {

class OpenDirectories {
 public:
  bool add(const std::string& path) {
    const std::lock_guard lock(mutex_);
    return paths_.insert(path).second;
  }
  void remove(const std::string& path) {
    const std::lock_guard lock(mutex_);
    paths_.erase(path);
  }

 private:
  std::mutex mutex_;
  std::set<std::string> paths_;
};

// Shared by the whole process because LMDB's restriction is.
OpenDirectories& open_directories() {
  static OpenDirectories directories;
  return directories;
}

}  // namespace

std::optional<DirectoryClaim> DirectoryClaim::take(const std::filesystem::path& directory) {
  std::error_code ignored;
  std::filesystem::path canonical = std::filesystem::weakly_canonical(directory, ignored);
  if (ignored) canonical = directory;
  std::string name = canonical.string();
  if (!open_directories().add(name)) return std::nullopt;
  return DirectoryClaim(std::move(name));
}

DirectoryClaim::~DirectoryClaim() {
  if (!name_.empty()) open_directories().remove(name_);
}

}  // namespace nodemeter
