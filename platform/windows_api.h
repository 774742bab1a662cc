// What the Windows files of every layer share: text, errors, handles, waiting for who holds a file, and who may open
// it.
//
// Only *_windows.cpp include this. It needs no windows.h: a HANDLE is a void*, a DWORD an unsigned long. Any thread.

#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include "platform/result.h"

namespace nodemeter::windows {

using ErrorNumber = unsigned long;

// UTF-8 to what the system takes, and back. What is no UTF-8 becomes a replacement character.
std::wstring wide(std::string_view text);
std::string narrow(std::wstring_view text);

// "Access is denied (5)", in the language of the system.
std::string words(ErrorNumber error);

// kNotFound, kPermissionDenied, kFull or kUnavailable; the message is `what` and the system's words.
Error failed(const std::string& what, ErrorNumber error);

// Owns a handle of the kernel.
class Handle {
 public:
  Handle() = default;
  explicit Handle(void* handle) : handle_(handle) {}
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  Handle(Handle&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Handle& operator=(Handle&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Handle();
  [[nodiscard]] void* get() const { return handle_; }
  [[nodiscard]] bool valid() const;
  [[nodiscard]] void* release() { return std::exchange(handle_, nullptr); }

 private:
  void* handle_ = nullptr;
};

// The handle that a portable header keeps as a number.
inline void* handle_of(std::intptr_t kept) {
  return reinterpret_cast<void*>(kept);  // NOLINT(performance-no-int-to-ptr): it was one.
}

// A virus scanner or a backup holds a file, or a range of it, for moments.
bool held_by_other(ErrorNumber error);

// Calls until it gives something else than an error that held_by_other() knows (with `renames`: than the answer that
// the system gives for a name whose file is held), for two seconds at most. Gives the last error, 0 for success.
ErrorNumber while_held(const std::function<ErrorNumber()>& call, bool renames = false);

enum class OpenMode { kRead, kWriteExisting, kWriteOrCreate, kCreateNew };

// Opens a file that others may read, write, rename and delete meanwhile; waits for who holds it. `security`: of a new
// file, or null for what its directory passes on.
Result<Handle> open_file(const std::filesystem::path& path, OpenMode mode, void* security = nullptr);

// The account of this program's service, NT SERVICE\nodemeter. The system derives the numbers from the name, so that
// they are the same everywhere and known before there is such a service.
inline constexpr const char* kServiceSid = "S-1-5-80-3438796617-544336640-1774245196-983091187-3660805880";

// Who may open something new: the system, administrators, the service and the account of this process, and nobody else;
// members of `readers` (an account or a group; "" or unknown: none) may read it.
class Security {
 public:
  explicit Security(const std::string& readers = "");
  Security(const Security&) = delete;
  Security& operator=(const Security&) = delete;
  ~Security();
  // A SECURITY_ATTRIBUTES*, valid as long as this object.
  [[nodiscard]] void* attributes() const;

 private:
  struct Attributes;
  Attributes* const attributes_;
};

// The account of this process in the system's notation, "S-1-5-80-…"; "" if the system refuses to tell.
std::string account_sid();

// True if the owner of this shared memory ("Global\x") is this account, the service, the system or the administrators:
// nobody else prepared it.
bool memory_owner_is_trusted(const std::string& name);

// The system counts in units of 100 ns, and its calendar (FILETIME, in two halves) begins in 1601.
inline constexpr std::int64_t kUnitsPerMillisecond = 10'000;
constexpr std::int64_t milliseconds_since_1970(std::uint32_t high, std::uint32_t low) {
  constexpr std::int64_t kFrom1601To1970 = 11'644'473'600'000;
  return static_cast<std::int64_t>(std::uint64_t{high} << 32 | low) / kUnitsPerMillisecond - kFrom1601To1970;
}

struct ProcessFacts {
  std::uint64_t id = 0;
  std::uint64_t parent = 0;
  std::uint64_t started = 0;  // Units of 100 ns since 1601, as the clock was set then; it does not change afterwards.
  std::wstring_view name;     // Valid during the call only.
};
// Every running process, until `visit` returns false. No rights are needed. False: the system refuses.
bool for_each_process(const std::function<bool(const ProcessFacts&)>& visit);

}  // namespace nodemeter::windows
