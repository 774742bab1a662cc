// A block device whose every write and flush is logged: qemu-storage-daemon over a file, exported by FUSE, under a loop
// device. Needs root, /dev/fuse and free loop devices.

#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace nodemeter::crash {

inline constexpr std::uint64_t kBlock = 4096;

// One entry of the log. `flush`: everything before it is on disk; `force`: so is the write itself.
struct BlockCall {
  std::uint64_t block = 0;
  bool flush = false;
  bool force = false;
  bool discard = false;
  std::uint64_t blocks = 0;
  std::string data;
};

// A loop device over `file`; detached on destruction.
class LoopDevice {
 public:
  static std::optional<LoopDevice> attach(const std::filesystem::path& file);
  LoopDevice(const LoopDevice&) = delete;
  LoopDevice& operator=(const LoopDevice&) = delete;
  LoopDevice(LoopDevice&& other) noexcept;
  LoopDevice& operator=(LoopDevice&&) = delete;
  ~LoopDevice();
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  explicit LoopDevice(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

// An ext4 mounted somewhere; unmounted on destruction.
class Ext4 {
 public:
  // Nothing: the kernel does not mount it.
  static std::optional<Ext4> mount(const std::string& device, const std::filesystem::path& at);
  Ext4(const Ext4&) = delete;
  Ext4& operator=(const Ext4&) = delete;
  Ext4(Ext4&& other) noexcept;
  Ext4& operator=(Ext4&&) = delete;
  ~Ext4();

 private:
  explicit Ext4(std::filesystem::path at) : at_(std::move(at)) {}
  std::filesystem::path at_;
};

// The daemon that logs.
class LoggedFile {
 public:
  // Exports `image` as `exported`; the log grows in `log`. Nothing: it does not start here.
  static std::optional<LoggedFile> start(const std::filesystem::path& image, const std::filesystem::path& log,
                                         const std::filesystem::path& exported);
  LoggedFile(const LoggedFile&) = delete;
  LoggedFile& operator=(const LoggedFile&) = delete;
  LoggedFile(LoggedFile&& other) noexcept;
  LoggedFile& operator=(LoggedFile&&) = delete;
  ~LoggedFile();  // Ends the daemon, so that the log is whole.

 private:
  explicit LoggedFile(pid_t daemon) : daemon_(daemon) {}
  pid_t daemon_;
};

// Empty: the file is no log.
std::vector<BlockCall> read_block_log(const std::filesystem::path& log);

// Why none of this works here; empty if it should.
std::string why_no_block_log();

}  // namespace nodemeter::crash
