// A real file system of 24 MiB that a test fills up. Needs root, and a loop device and mkfs.ext4 for ext4.

#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

namespace nodemeter::testing {

namespace fs = std::filesystem;

inline bool shell(const std::string& command) { return std::system((command + " >/dev/null 2>&1").c_str()) == 0; }

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

}  // namespace nodemeter::testing
