#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "platform/files.h"

namespace nodemeter {

namespace {

namespace fs = std::filesystem;

ErrorCode code_of(int error) {
  switch (error) {
    case ENOENT:
    case ENOTDIR: return ErrorCode::kNotFound;
    case EACCES:
    case EPERM:
    case EROFS: return ErrorCode::kPermissionDenied;
    case ENOSPC:
    case EDQUOT: return ErrorCode::kFull;
    default: return ErrorCode::kUnavailable;
  }
}

Error failed(const std::string& what, const fs::path& path, int error) {
  return Error{code_of(error), what + " " + path.string() + ": " + std::generic_category().message(error)};
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  [[nodiscard]] int get() const { return fd_; }

 private:
  int fd_;
};

Status write_all(int fd, std::string_view content, const fs::path& path) {
  while (!content.empty()) {
    const ssize_t n = ::write(fd, content.data(), content.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return failed("cannot write", path, n < 0 ? errno : ENOSPC);
    content.remove_prefix(static_cast<std::size_t>(n));
  }
  return Done{};
}

// A power cut must not take a directory away with what is durable in it, so each name is synced, from the top down.
// Names that are there already, too: whoever made them may have been killed, or have met an error, before that.
Status make_directories(const fs::path& path, mode_t mode) {
  std::error_code error;
  const bool there = fs::is_directory(path, error);
  const fs::path parent = path.has_parent_path() ? path.parent_path() : fs::path(".");
  if (!there && parent != path) {
    if (Status made = make_directories(parent, 0777); !made) return made;
  }
  if (!there && ::mkdir(path.c_str(), mode) != 0 && errno != EEXIST) return failed("cannot create", path, errno);
  Status synced = sync_directory(parent);
  // What was there may lie below what this account may not read: an operator made it.
  if (!synced && there && synced.error().code == ErrorCode::kPermissionDenied) return Done{};
  return synced;
}

}  // namespace

Result<std::string> read_file(const fs::path& path, std::size_t size_max) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) return failed("cannot open", path, errno);
  std::string content;
  char chunk[16 * 1024];
  for (;;) {
    const ssize_t n = ::read(file.get(), chunk, sizeof chunk);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return failed("cannot read", path, errno);
    if (n == 0) return content;
    if (content.size() + static_cast<std::size_t>(n) > size_max) {
      return Error{ErrorCode::kLimitExceeded, path.string() + " is larger than " + std::to_string(size_max) + " bytes"};
    }
    content.append(chunk, static_cast<std::size_t>(n));
  }
}

Status replace_file(const fs::path& path, std::string_view content, bool owner_only) {
  const fs::path temporary = path.string() + ".new";
  (void)::unlink(temporary.c_str());
  {
    const Descriptor file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, owner_only ? 0600 : 0644));
    if (file.get() < 0) return failed("cannot create", temporary, errno);
    if (Status written = write_all(file.get(), content, temporary); !written) return written;
    if (::fsync(file.get()) != 0) return failed("cannot sync", temporary, errno);
  }
  return move_path(temporary, path);
}

Status move_path(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) return failed("cannot rename " + from.string() + " to", to, errno);
  return sync_directory(to.has_parent_path() ? to.parent_path() : fs::path("."));
}

Status make_state_directory(const fs::path& path) { return make_directories(path, 0750); }

Status sync_directory(const fs::path& directory) {
  const Descriptor handle(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (handle.get() < 0) return failed("cannot open", directory, errno);
  const bool able = ::fsync(handle.get()) == 0 || errno == EINVAL || errno == ENOSYS || errno == ENOTSUP;
  if (!able) return failed("cannot sync", directory, errno);
  return Done{};
}

std::string FileWatch::look() const {
  struct stat status {};
  if (::stat(file_.c_str(), &status) != 0) return "unreadable";
  std::string look;
  for (const std::int64_t part :
       {static_cast<std::int64_t>(status.st_dev), static_cast<std::int64_t>(status.st_ino),
        std::int64_t{status.st_size}, std::int64_t{status.st_mtim.tv_sec}, std::int64_t{status.st_mtim.tv_nsec}}) {
    look += std::to_string(part) + " ";
  }
  return look;
}

Result<OthersMay> others_may(const fs::path& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return failed("cannot look at", path, errno);
  return OthersMay{(info.st_mode & (S_IROTH | S_IXOTH)) != 0, (info.st_mode & S_IWOTH) != 0};
}

Result<std::uint64_t> free_bytes(const fs::path& path) {
  struct statvfs info {};
  if (::statvfs(path.c_str(), &info) != 0) return failed("cannot ask for free space of", path, errno);
  return static_cast<std::uint64_t>(info.f_bavail) * info.f_frsize;
}

FileLock::FileLock(FileLock&& other) noexcept : handle_(other.handle_) { other.handle_ = -1; }

FileLock::~FileLock() {
  if (handle_ >= 0) ::close(static_cast<int>(handle_));
}

Result<FileLock> FileLock::acquire(const fs::path& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return failed("cannot open", path, errno);
  FileLock lock(fd);
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    char holder[32] = {};
    const ssize_t n = ::pread(fd, holder, sizeof holder - 1, 0);
    const std::string process = n > 0 ? " (process " + std::string(holder, static_cast<std::size_t>(n)) + ")" : "";
    return Error{ErrorCode::kLocked, path.string() + " is held by another process" + process};
  }
  const std::string process = std::to_string(::getpid());
  if (::ftruncate(fd, 0) != 0 || ::pwrite(fd, process.data(), process.size(), 0) < 0) {
    return failed("cannot write", path, errno);
  }
  return lock;
}

}  // namespace nodemeter
