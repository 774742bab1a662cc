// A real file system of 24 MiB that a test program fills up, and what such programs share. Needs root, and a loop
// device and mkfs.ext4 for ext4.

#pragma once

#include <cstdlib>
#include <filesystem>
#include <initializer_list>
#include <iostream>
#include <string>
#include <utility>

#include "platform/random.h"

namespace nodemeter::testing {

namespace fs = std::filesystem;

inline bool shell(const std::string& command) { return std::system((command + " >/dev/null 2>&1").c_str()) == 0; }

inline int faults = 0;

inline void check(bool holds, const std::string& what) {
  std::cout << (holds ? "  ok    " : "  FAULT ") << what << std::endl;
  if (!holds) ++faults;
}

class SmallDisk {
 public:
  SmallDisk(const fs::path& below, bool ext4) : image_(below / "image"), at_(below / "disk") {
    fs::create_directories(at_);
    const std::string image = image_.string();
    mounted_ = ext4 ? shell("truncate -s 24M " + image + " && mkfs.ext4 -q -F -m 0 " + image + " && mount -o loop " +
                            image + " " + at_.string())
                    : shell("mount -t tmpfs -o size=24m tmpfs " + at_.string());
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  ~SmallDisk() {
    if (mounted_) shell("umount " + at_.string());
  }
  [[nodiscard]] bool mounted() const { return mounted_; }
  [[nodiscard]] const fs::path& path() const { return at_; }

  // To the last byte.
  void fill() const { shell("dd if=/dev/zero of=" + (at_ / "ballast").string() + " bs=4096"); }
  void free() const { fs::remove(at_ / "ballast"); }

 private:
  fs::path image_;
  fs::path at_;
  bool mounted_ = false;
};

// A test program's work: each of these on a small disk of each kind. Gives what main() returns.
inline int run_on_small_disks(std::initializer_list<std::pair<const char*, void (*)(const SmallDisk&)>> works) {
  const fs::path below = fs::temp_directory_path() / ("nodemeter-disk-" + Random::from_system().uuid().text());
  fs::create_directories(below);
  int tried = 0;
  for (const bool ext4 : {true, false}) {
    for (const auto& [name, work] : works) {
      const SmallDisk disk(below, ext4);
      if (!disk.mounted()) continue;
      ++tried;
      std::cout << (ext4 ? "ext4" : "tmpfs") << " of 24 MiB, " << name << std::endl;
      work(disk);
    }
  }
  std::error_code ignored;
  fs::remove_all(below, ignored);
  if (tried == 0) {
    std::cout << "skipped: this account cannot mount file systems" << std::endl;
    return 77;
  }
  std::cout << tried << " runs, " << faults << " faults" << std::endl;
  return faults == 0 ? 0 : 1;
}

}  // namespace nodemeter::testing
