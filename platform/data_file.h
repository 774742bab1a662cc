// The few operations on a database file that its library leaves to us: growing it durably, syncing it, and reading it
// without a memory map, so that a short file or a bad sector is an error and not the end of the process.

#pragma once

#include <cstdint>
#include <filesystem>
#include <span>

#include "platform/result.h"

namespace nodemeter {

// True where a memory map cannot reach beyond the end of its file (Windows), so that it has to follow the file's
// growth.
bool map_needs_file();

// An error number of the system that only says that another program has the file open or locked for the moment: a virus
// scanner, a backup (Windows). The functions here wait for two seconds before they give up.
bool held_by_other(int code);

// Writes zeros to bytes [from, to) of an open file (a descriptor on POSIX, a HANDLE on Windows) and makes them and the
// new size durable. kFull: the file system is full; the file may be longer than before. kUnavailable: anything else.
Status extend_with_zeros(std::intptr_t file, std::uint64_t from, std::uint64_t to);

// Writes bytes at an offset of an open file (as above), without a sync. kFull, kUnavailable.
Status overwrite(std::intptr_t file, std::uint64_t offset, std::span<const char> bytes);

// Makes content and size of a file durable. kNotFound, kPermissionDenied, kUnavailable.
Status sync_file(const std::filesystem::path& path);

// A file that is open for reading by position. Any thread.
class DataFile {
 public:
  // kNotFound, kPermissionDenied, kUnavailable.
  static Result<DataFile> open(const std::filesystem::path& path);
  DataFile(const DataFile&) = delete;
  DataFile& operator=(const DataFile&) = delete;
  DataFile(DataFile&& other) noexcept;
  DataFile& operator=(DataFile&&) = delete;
  ~DataFile();

  // kUnavailable.
  [[nodiscard]] Result<std::uint64_t> size() const;
  // Fills `into` and returns how much of it there was: less only at the file's end. kUnavailable: the disk refuses.
  [[nodiscard]] Result<std::size_t> read_at(std::uint64_t offset, std::span<char> into) const;

 private:
  explicit DataFile(std::intptr_t handle) : handle_(handle) {}
  std::intptr_t handle_;
};

}  // namespace nodemeter
