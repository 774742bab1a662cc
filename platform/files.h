// Small whole files: configuration, keys, exports, /proc. Every read has a limit.

#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>

#include "platform/result.h"

namespace nodemeter {

// kNotFound, kPermissionDenied, kLimitExceeded (larger than size_max), kUnavailable (anything else; message has errno).
Result<std::string> read_file(const std::filesystem::path& path, std::size_t size_max);

// Temporary file, sync, rename, sync of the directory: afterwards the old or the new content is there, never a mix.
// `owner_only`: mode 0600 from the first byte (secrets); on Windows open to this account, the service,
// administrators and the system.
Status replace_file(const std::filesystem::path& path, std::string_view content, bool owner_only = false);

// Renames a file, in place of one that may be there, or a directory, and makes that durable. On Windows it waits for
// two seconds at most for others that have it open. Errors as read_file.
Status move_path(const std::filesystem::path& from, const std::filesystem::path& to);

// Makes the directory and its parents; the last one with owner and group access only (Windows: as
// for secrets).
Status make_state_directory(const std::filesystem::path& path);

// Makes a rename or a creation in `directory` durable.
Status sync_directory(const std::filesystem::path& directory);

// What accounts that have nothing to do with a file or directory may do with it. kNotFound, kPermissionDenied,
// kUnavailable.
struct OthersMay {
  bool read = false;
  bool write = false;
};
Result<OthersMay> others_may(const std::filesystem::path& path);

// Bytes that an unprivileged process may still write on the file system of `path`.
Result<std::uint64_t> free_bytes(const std::filesystem::path& path);

// Looks at a file again and again: true when it is another one or not as it was at the last look, or cannot be read any
// more. Goes by the file's identity, size and time of writing, as finely as the file system keeps it.
class FileWatch {
 public:
  explicit FileWatch(std::filesystem::path file) : file_(std::move(file)), seen_(look()) {}
  bool changed() {
    const std::string before = std::exchange(seen_, look());
    return seen_ != before;
  }

 private:
  [[nodiscard]] std::string look() const;

  std::filesystem::path file_;
  std::string seen_;
};

// An exclusive lock of the whole process on `path`, held until destruction or process death.
class FileLock {
 public:
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;
  FileLock(FileLock&& other) noexcept;
  FileLock& operator=(FileLock&&) = delete;
  ~FileLock();

  // kLocked if another process holds it; the message names that process where known.
  static Result<FileLock> acquire(const std::filesystem::path& path);

 private:
  explicit FileLock(std::intptr_t handle) : handle_(handle) {}
  std::intptr_t handle_;
};

}  // namespace nodemeter
