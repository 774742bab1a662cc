#include "platform/data_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>
#include <utility>

namespace nodemeter {

namespace {

Error failed(const std::string& what, int error) {
  const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  return Error{full ? ErrorCode::kFull : ErrorCode::kUnavailable, what + ": " + std::generic_category().message(error)};
}

}  // namespace

bool map_needs_file() { return false; }

bool held_by_other(int) { return false; }

Status extend_with_zeros(std::intptr_t file, std::uint64_t from, std::uint64_t to) {
  // Written, not fallocate()d: an unwritten extent becomes data by a change of metadata, which is what a later
  // fdatasync() may leave out.
  static constexpr std::array<char, 64 * 1024> kZeros{};
  const int fd = static_cast<int>(file);
  while (from < to) {
    const auto want = static_cast<std::size_t>(std::min<std::uint64_t>(to - from, kZeros.size()));
    const ssize_t n = ::pwrite(fd, kZeros.data(), want, static_cast<off_t>(from));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return failed("cannot extend the data file", n < 0 ? errno : ENOSPC);
    from += static_cast<std::uint64_t>(n);
  }
  if (::fsync(fd) != 0) return failed("cannot sync the data file", errno);
  return Done{};
}

Status overwrite(std::intptr_t file, std::uint64_t offset, std::span<const char> bytes) {
  const ssize_t n = ::pwrite(static_cast<int>(file), bytes.data(), bytes.size(), static_cast<off_t>(offset));
  if (n == static_cast<ssize_t>(bytes.size())) return Done{};
  return failed("cannot write to the data file", n < 0 ? errno : EIO);
}

Status sync_file(const std::filesystem::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    const ErrorCode code = errno == ENOENT   ? ErrorCode::kNotFound
                           : errno == EACCES ? ErrorCode::kPermissionDenied
                                             : ErrorCode::kUnavailable;
    return Error{code, "cannot open " + path.string() + ": " + std::generic_category().message(errno)};
  }
  const int result = ::fsync(fd);
  const int error = errno;
  ::close(fd);
  if (result != 0) return failed("cannot sync " + path.string(), error);
  return Done{};
}

Result<DataFile> DataFile::open(const std::filesystem::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd >= 0) return DataFile(fd);
  const ErrorCode code = errno == ENOENT || errno == ENOTDIR ? ErrorCode::kNotFound
                         : errno == EACCES || errno == EPERM ? ErrorCode::kPermissionDenied
                                                             : ErrorCode::kUnavailable;
  return Error{code, "cannot open " + path.string() + ": " + std::generic_category().message(errno)};
}

DataFile::DataFile(DataFile&& other) noexcept : handle_(std::exchange(other.handle_, -1)) {}

DataFile::~DataFile() {
  if (handle_ >= 0) ::close(static_cast<int>(handle_));
}

Result<std::uint64_t> DataFile::size() const {
  struct stat info {};
  if (::fstat(static_cast<int>(handle_), &info) != 0) return failed("cannot read the data file's size", errno);
  return static_cast<std::uint64_t>(info.st_size);
}

Result<std::size_t> DataFile::read_at(std::uint64_t offset, std::span<char> into) const {
  std::size_t done = 0;
  while (done < into.size()) {
    const ssize_t n =
        ::pread(static_cast<int>(handle_), into.data() + done, into.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return failed("cannot read the data file at byte " + std::to_string(offset + done), errno);
    if (n == 0) break;
    done += static_cast<std::size_t>(n);
  }
  return done;
}

}  // namespace nodemeter
