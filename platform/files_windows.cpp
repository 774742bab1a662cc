#include <windows.h>

#include <aclapi.h>

#include <algorithm>
#include <array>
#include <system_error>

#include "platform/files.h"
#include "platform/process.h"
#include "platform/windows_api.h"

namespace nodemeter {

namespace {

namespace fs = std::filesystem;

// Beyond what the lock file holds, so that others may read who holds it: a lock forbids reading, too.
constexpr DWORD kLockOffsetHigh = 0x7fffffff;

windows::ErrorNumber result_of(BOOL success) { return success != 0 ? ERROR_SUCCESS : ::GetLastError(); }

Error failed(const std::string& what, const fs::path& path, windows::ErrorNumber error) {
  return windows::failed(what + " " + windows::narrow(path.native()), error);
}

fs::path parent_of(const fs::path& path) { return path.has_parent_path() ? path.parent_path() : fs::path("."); }

// Groups that an account is in without anybody having put it there.
bool is_everybody(PSID sid) {
  for (const WELL_KNOWN_SID_TYPE type : {WinWorldSid, WinAuthenticatedUserSid, WinBuiltinUsersSid, WinInteractiveSid,
                                         WinBuiltinGuestsSid, WinAnonymousSid}) {
    if (::IsWellKnownSid(sid, type) != 0) return true;
  }
  return false;
}

Status write_all(HANDLE file, std::string_view content, const fs::path& path) {
  while (!content.empty()) {
    DWORD written = 0;
    const auto want = static_cast<DWORD>(std::min<std::size_t>(content.size(), 1u << 30));
    if (::WriteFile(file, content.data(), want, &written, nullptr) == 0) {
      return failed("cannot write", path, ::GetLastError());
    }
    content.remove_prefix(written);
  }
  return Done{};
}

Status make_directories(const fs::path& path, void* security) {
  std::error_code error;
  if (path.empty() || fs::is_directory(path, error)) return Done{};
  if (path.has_parent_path() && path.parent_path() != path) {
    if (Status made = make_directories(path.parent_path(), nullptr); !made) return made;
  }
  if (::CreateDirectoryW(path.c_str(), static_cast<SECURITY_ATTRIBUTES*>(security)) == 0 &&
      ::GetLastError() != ERROR_ALREADY_EXISTS) {
    return failed("cannot create", path, ::GetLastError());
  }
  return sync_directory(parent_of(path));
}

}  // namespace

Result<std::string> read_file(const fs::path& path, std::size_t size_max) {
  const Result<windows::Handle> file = windows::open_file(path, windows::OpenMode::kRead);
  if (!file) return file.error();
  std::string content;
  std::array<char, 16 * 1024> chunk{};
  for (;;) {
    DWORD n = 0;
    const windows::ErrorNumber error = windows::while_held([&] {
      return result_of(::ReadFile(file->get(), chunk.data(), static_cast<DWORD>(chunk.size()), &n, nullptr));
    });
    if (error != ERROR_SUCCESS) return failed("cannot read", path, error);
    if (n == 0) return content;
    if (content.size() + n > size_max) {
      return Error{ErrorCode::kLimitExceeded,
                   windows::narrow(path.native()) + " is larger than " + std::to_string(size_max) + " bytes"};
    }
    content.append(chunk.data(), n);
  }
}

Status replace_file(const fs::path& path, std::string_view content, bool owner_only) {
  fs::path temporary = path;
  temporary += ".new";
  (void)::DeleteFileW(temporary.c_str());
  {
    const windows::Security security;
    const Result<windows::Handle> file =
        windows::open_file(temporary, windows::OpenMode::kCreateNew, owner_only ? security.attributes() : nullptr);
    if (!file) return file.error();
    if (Status written = write_all(file->get(), content, temporary); !written) return written;
    if (::FlushFileBuffers(file->get()) == 0) return failed("cannot sync", temporary, ::GetLastError());
  }
  return move_path(temporary, path);
}

Status move_path(const fs::path& from, const fs::path& to) {
  const windows::ErrorNumber error = windows::while_held(
      [&] {
        return result_of(::MoveFileExW(from.c_str(), to.c_str(), MOVEFILE_REPLACE_EXISTING | MOVEFILE_WRITE_THROUGH));
      },
      true);
  if (error != ERROR_SUCCESS) {
    return failed("cannot rename " + windows::narrow(from.native()) + " to", to, error);
  }
  return sync_directory(parent_of(to));
}

Status make_state_directory(const fs::path& path) {
  const windows::Security security;
  return make_directories(path, security.attributes());
}

Status sync_directory(const fs::path& directory) {
  constexpr DWORD kShared = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
  const windows::Handle handle(::CreateFileW(directory.c_str(), GENERIC_READ | GENERIC_WRITE, kShared, nullptr,
                                             OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, nullptr));
  // NTFS keeps names in a log of its own. Asking for more is worth a try, and refused for good reasons: a directory
  // that this account may not write to, or a file system that cannot.
  if (handle.valid()) {
    (void)::FlushFileBuffers(handle.get());
    return Done{};
  }
  const windows::ErrorNumber error = ::GetLastError();
  const bool missing = error == ERROR_FILE_NOT_FOUND || error == ERROR_PATH_NOT_FOUND;
  return missing ? Status(failed("cannot open", directory, error)) : Status(Done{});
}

// Not by the C++ library: it gives whole seconds here.
std::string FileWatch::look() const {
  const Result<windows::Handle> file = windows::open_file(file_, windows::OpenMode::kRead);
  BY_HANDLE_FILE_INFORMATION info{};
  if (!file || ::GetFileInformationByHandle(file->get(), &info) == 0) return "unreadable";
  std::string look;
  for (const DWORD part :
       {info.dwVolumeSerialNumber, info.nFileIndexHigh, info.nFileIndexLow, info.nFileSizeHigh, info.nFileSizeLow,
        info.ftLastWriteTime.dwHighDateTime, info.ftLastWriteTime.dwLowDateTime}) {
    look += std::to_string(part) + " ";
  }
  return look;
}

Result<OthersMay> others_may(const fs::path& path) {
  PACL list = nullptr;
  PSECURITY_DESCRIPTOR descriptor = nullptr;
  std::wstring name = path.native();
  const windows::ErrorNumber error = ::GetNamedSecurityInfoW(name.data(), SE_FILE_OBJECT, DACL_SECURITY_INFORMATION,
                                                             nullptr, nullptr, &list, nullptr, &descriptor);
  if (error != ERROR_SUCCESS) return failed("cannot look at", path, error);
  OthersMay may;
  if (list == nullptr) may = {true, true};  // No list: nothing is forbidden.
  for (DWORD i = 0; list != nullptr && i < list->AceCount; ++i) {
    void* entry = nullptr;
    if (::GetAce(list, i, &entry) == 0) continue;
    auto& allowed = *static_cast<ACCESS_ALLOWED_ACE*>(entry);
    const bool counts = allowed.Header.AceType == ACCESS_ALLOWED_ACE_TYPE &&
                        (allowed.Header.AceFlags & INHERIT_ONLY_ACE) == 0 && is_everybody(&allowed.SidStart);
    if (!counts) continue;
    may.read = may.read || (allowed.Mask & (FILE_READ_DATA | GENERIC_READ | GENERIC_ALL)) != 0;
    may.write = may.write || (allowed.Mask & (FILE_WRITE_DATA | FILE_APPEND_DATA | DELETE | WRITE_DAC | WRITE_OWNER |
                                              GENERIC_WRITE | GENERIC_ALL)) != 0;
  }
  ::LocalFree(descriptor);
  return may;
}

Result<std::uint64_t> free_bytes(const fs::path& path) {
  ULARGE_INTEGER free{};
  if (::GetDiskFreeSpaceExW(path.c_str(), &free, nullptr, nullptr) == 0) {
    return failed("cannot ask for free space of", path, ::GetLastError());
  }
  return std::uint64_t{free.QuadPart};
}

FileLock::FileLock(FileLock&& other) noexcept : handle_(other.handle_) { other.handle_ = -1; }

FileLock::~FileLock() {
  if (handle_ >= 0) ::CloseHandle(windows::handle_of(handle_));
}

Result<FileLock> FileLock::acquire(const fs::path& path) {
  const windows::Security security;
  Result<windows::Handle> file = windows::open_file(path, windows::OpenMode::kWriteOrCreate, security.attributes());
  if (!file) return file.error();
  OVERLAPPED beyond{};
  beyond.OffsetHigh = kLockOffsetHigh;
  if (::LockFileEx(file->get(), LOCKFILE_EXCLUSIVE_LOCK | LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &beyond) == 0) {
    const windows::ErrorNumber error = ::GetLastError();
    if (error != ERROR_LOCK_VIOLATION && error != ERROR_IO_PENDING) return failed("cannot lock", path, error);
    constexpr std::size_t kHolderMax = 32;
    const Result<std::string> holder = read_file(path, kHolderMax);
    const std::string process = holder && !holder->empty() ? " (process " + *holder + ")" : "";
    return Error{ErrorCode::kLocked, windows::narrow(path.native()) + " is held by another process" + process};
  }
  if (::SetEndOfFile(file->get()) == 0) return failed("cannot write", path, ::GetLastError());
  if (Status written = write_all(file->get(), std::to_string(current_process()), path); !written) {
    return written.error();
  }
  return FileLock(reinterpret_cast<std::intptr_t>(file->release()));
}

}  // namespace nodemeter
