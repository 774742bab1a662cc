#include <windows.h>

#include <algorithm>
#include <array>
#include <utility>

#include "platform/data_file.h"
#include "platform/windows_api.h"

namespace nodemeter {

namespace {

OVERLAPPED at(std::uint64_t offset) {
  OVERLAPPED position{};
  position.Offset = static_cast<DWORD>(offset & 0xffffffffu);
  position.OffsetHigh = static_cast<DWORD>(offset >> 32);
  return position;
}

// Writes some of it; gives the error, 0 for success.
windows::ErrorNumber write_some(HANDLE file, std::uint64_t offset, std::span<const char> bytes, DWORD& written) {
  return windows::while_held([&]() -> windows::ErrorNumber {
    OVERLAPPED position = at(offset);
    return ::WriteFile(file, bytes.data(), static_cast<DWORD>(bytes.size()), &written, &position) != 0
               ? ERROR_SUCCESS
               : ::GetLastError();
  });
}

Status flush(HANDLE file, const std::string& what) {
  const windows::ErrorNumber error = windows::while_held(
      [&]() -> windows::ErrorNumber { return ::FlushFileBuffers(file) != 0 ? ERROR_SUCCESS : ::GetLastError(); });
  if (error != ERROR_SUCCESS) return windows::failed(what, error);
  return Done{};
}

}  // namespace

bool map_needs_file() { return true; }

bool held_by_other(int code) { return windows::held_by_other(static_cast<windows::ErrorNumber>(code)); }

Status extend_with_zeros(std::intptr_t file, std::uint64_t from, std::uint64_t to) {
  static constexpr std::array<char, 64 * 1024> kZeros{};
  while (from < to) {
    const auto want = static_cast<std::size_t>(std::min<std::uint64_t>(to - from, kZeros.size()));
    DWORD written = 0;
    const windows::ErrorNumber error = write_some(windows::handle_of(file), from, {kZeros.data(), want}, written);
    if (error != ERROR_SUCCESS) return windows::failed("cannot extend the data file", error);
    from += written;
  }
  return flush(windows::handle_of(file), "cannot sync the data file");
}

Status overwrite(std::intptr_t file, std::uint64_t offset, std::span<const char> bytes) {
  DWORD written = 0;
  const windows::ErrorNumber error = write_some(windows::handle_of(file), offset, bytes, written);
  if (error != ERROR_SUCCESS) return windows::failed("cannot write to the data file", error);
  if (written != bytes.size()) return Error{ErrorCode::kUnavailable, "cannot write to the data file: cut short"};
  return Done{};
}

Status sync_file(const std::filesystem::path& path) {
  const Result<windows::Handle> file = windows::open_file(path, windows::OpenMode::kWriteExisting);
  if (!file) return file.error();
  return flush(file->get(), "cannot sync " + windows::narrow(path.native()));
}

Result<DataFile> DataFile::open(const std::filesystem::path& path) {
  Result<windows::Handle> file = windows::open_file(path, windows::OpenMode::kRead);
  if (!file) return file.error();
  return DataFile(reinterpret_cast<std::intptr_t>(file->release()));
}

DataFile::DataFile(DataFile&& other) noexcept : handle_(std::exchange(other.handle_, -1)) {}

DataFile::~DataFile() {
  if (handle_ >= 0) ::CloseHandle(windows::handle_of(handle_));
}

Result<std::uint64_t> DataFile::size() const {
  LARGE_INTEGER size{};
  if (::GetFileSizeEx(windows::handle_of(handle_), &size) == 0) {
    return windows::failed("cannot read the data file's size", ::GetLastError());
  }
  return static_cast<std::uint64_t>(size.QuadPart);
}

Result<std::size_t> DataFile::read_at(std::uint64_t offset, std::span<char> into) const {
  std::size_t done = 0;
  while (done < into.size()) {
    DWORD read = 0;
    const auto want = static_cast<DWORD>(std::min<std::size_t>(into.size() - done, 1u << 30));
    const windows::ErrorNumber error = windows::while_held([&]() -> windows::ErrorNumber {
      OVERLAPPED position = at(offset + done);
      return ::ReadFile(windows::handle_of(handle_), into.data() + done, want, &read, &position) != 0
                 ? ERROR_SUCCESS
                 : ::GetLastError();
    });
    if (error == ERROR_HANDLE_EOF) break;
    if (error != ERROR_SUCCESS) {
      return windows::failed("cannot read the data file at byte " + std::to_string(offset + done), error);
    }
    if (read == 0) break;
    done += read;
  }
  return done;
}

}  // namespace nodemeter
