#include "block_log.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <fstream>
#include <thread>

namespace nodemeter::crash {

namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t kMagic = 0x6a736677736872;  // dm-log-writes, version 1.

template <class Integer>
Integer field(const std::string& sector, std::size_t at) {
  Integer value = 0;
  std::memcpy(&value, sector.data() + at, sizeof value);
  return value;
}

bool on_path(const std::string& program) {
  for (const char* folder : {"/usr/bin/", "/usr/sbin/", "/bin/", "/sbin/"}) {
    if (::access((folder + program).c_str(), X_OK) == 0) return true;
  }
  return false;
}

}  // namespace

std::optional<LoopDevice> LoopDevice::attach(const fs::path& file) {
  const int control = ::open("/dev/loop-control", O_RDWR | O_CLOEXEC);
  const int backing = ::open(file.c_str(), O_RDWR | O_CLOEXEC);
  std::optional<LoopDevice> device;
  // Somebody else may take the free one in between: ask again.
  for (int tries = 0; tries < 50 && control >= 0 && backing >= 0 && !device; ++tries) {
    const int number = ::ioctl(control, LOOP_CTL_GET_FREE);
    const std::string path = "/dev/loop" + std::to_string(number);
    const int fd = number < 0 ? -1 : ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    if (fd >= 0 && ::ioctl(fd, LOOP_SET_FD, backing) == 0) {
      device.emplace(LoopDevice(path));
    } else {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    if (fd >= 0) ::close(fd);
  }
  if (control >= 0) ::close(control);
  if (backing >= 0) ::close(backing);
  return device;
}

LoopDevice::LoopDevice(LoopDevice&& other) noexcept : path_(std::move(other.path_)) { other.path_.clear(); }

LoopDevice::~LoopDevice() {
  if (path_.empty()) return;
  const int fd = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  ::ioctl(fd, LOOP_CLR_FD, 0);
  ::close(fd);
}

std::optional<Ext4> Ext4::mount(const std::string& device, const fs::path& at) {
  fs::create_directories(at);
  if (::mount(device.c_str(), at.c_str(), "ext4", MS_NOATIME, "") != 0) return std::nullopt;
  return Ext4(at);
}

Ext4::Ext4(Ext4&& other) noexcept : at_(std::move(other.at_)) { other.at_.clear(); }

Ext4::~Ext4() {
  if (!at_.empty() && ::umount(at_.c_str()) != 0) ::umount2(at_.c_str(), MNT_DETACH);
}

std::optional<LoggedFile> LoggedFile::start(const fs::path& image, const fs::path& log, const fs::path& exported) {
  std::ofstream(exported).put('\0');
  const std::vector<std::string> arguments{
      "qemu-storage-daemon",
      "--blockdev",
      "driver=file,node-name=file,filename=" + image.string(),
      "--blockdev",
      "driver=file,node-name=logfile,filename=" + log.string(),
      "--blockdev",
      "driver=raw,node-name=raw,file=file",
      "--blockdev",
      "driver=blklogwrites,node-name=logged,file=raw,log=logfile,log-sector-size=4096",
      "--export",
      "type=fuse,id=export,node-name=logged,mountpoint=" + exported.string() + ",writable=on"};
  const pid_t daemon = ::fork();
  if (daemon == 0) {
    std::vector<char*> argv;
    for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    ::execvp(argv[0], argv.data());
    ::_exit(127);
  }
  if (daemon < 0) return std::nullopt;
  LoggedFile started(daemon);
  for (int tries = 0; tries < 200; ++tries) {
    std::error_code error;
    if (fs::file_size(exported, error) == fs::file_size(image) && !error) return started;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  return std::nullopt;
}

LoggedFile::LoggedFile(LoggedFile&& other) noexcept : daemon_(other.daemon_) { other.daemon_ = -1; }

LoggedFile::~LoggedFile() {
  if (daemon_ < 0) return;
  ::kill(daemon_, SIGTERM);
  ::waitpid(daemon_, nullptr, 0);
}

std::vector<BlockCall> read_block_log(const fs::path& log) {
  std::ifstream in(log, std::ios::binary);
  std::string sector(kBlock, '\0');
  const auto read = [&] { return static_cast<bool>(in.read(sector.data(), static_cast<std::streamsize>(kBlock))); };
  if (!read() || field<std::uint64_t>(sector, 0) != kMagic || field<std::uint32_t>(sector, 24) != kBlock) return {};
  const auto entries = field<std::uint64_t>(sector, 16);
  std::vector<BlockCall> calls;
  for (std::uint64_t i = 0; i < entries && read(); ++i) {
    BlockCall call;
    const auto flags = field<std::uint64_t>(sector, 16);
    call.block = field<std::uint64_t>(sector, 0);
    call.blocks = field<std::uint64_t>(sector, 8);
    call.flush = (flags & 1) != 0;
    call.force = (flags & 2) != 0;
    call.discard = (flags & 4) != 0;
    if (!call.discard) {
      call.data.resize(call.blocks * kBlock);
      if (!in.read(call.data.data(), static_cast<std::streamsize>(call.data.size()))) break;
    }
    calls.push_back(std::move(call));
  }
  return calls;
}

std::string why_no_block_log() {
  if (::geteuid() != 0) return "only root may mount";
  for (const char* program : {"qemu-storage-daemon", "mkfs.ext4"}) {
    if (!on_path(program)) return std::string(program) + " is not installed";
  }
  for (const char* device : {"/dev/fuse", "/dev/loop-control"}) {
    if (::access(device, R_OK | W_OK) != 0) return std::string(device) + " is not there";
  }
  return {};
}

}  // namespace nodemeter::crash
