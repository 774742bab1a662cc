#include <windows.h>

#include <aclapi.h>
#include <sddl.h>
#include <winternl.h>

#include <array>
#include <vector>

#include "platform/windows_api.h"

namespace nodemeter::windows {

namespace {

constexpr DWORD kHeldMaxMs = 2'000;
constexpr DWORD kHeldPauseMs = 20;

constexpr DWORD kDiskQuotaExceeded = 1295;  // Not in every compiler's headers.

// As <winternl.h> of all compilers does not spell it out; the layout has been the same since Windows NT.
struct ProcessEntry {
  ULONG next_entry_offset;
  ULONG number_of_threads;
  LARGE_INTEGER working_set_and_cycles[3];
  LARGE_INTEGER create_time;
  LARGE_INTEGER user_time;
  LARGE_INTEGER kernel_time;
  UNICODE_STRING image_name;
  LONG base_priority;
  HANDLE process_id;
  HANDLE parent_id;
};

struct LocalDeleter {
  void operator()(void* memory) const { ::LocalFree(memory); }
};
using Local = std::unique_ptr<void, LocalDeleter>;

// What this process' token tells: bytes that hold a TOKEN_USER, a TOKEN_OWNER. Empty: the system refuses.
std::vector<char> token_of_process(TOKEN_INFORMATION_CLASS what) {
  HANDLE opened = nullptr;
  if (::OpenProcessToken(::GetCurrentProcess(), TOKEN_QUERY, &opened) == 0) return {};
  const Handle token(opened);
  DWORD size = 0;
  (void)::GetTokenInformation(token.get(), what, nullptr, 0, &size);
  std::vector<char> bytes(size);
  if (bytes.empty() || ::GetTokenInformation(token.get(), what, bytes.data(), size, &size) == 0) return {};
  return bytes;
}

std::string sid_text(PSID sid) {
  wchar_t* text = nullptr;
  if (::ConvertSidToStringSidW(sid, &text) == 0) return "";
  const Local owner(text);
  return narrow(text);
}

std::string sid_of_account(const std::string& name) {
  if (name.empty()) return "";
  std::array<char, SECURITY_MAX_SID_SIZE> sid{};
  std::array<wchar_t, 512> domain{};
  auto sid_size = static_cast<DWORD>(sid.size());
  auto domain_size = static_cast<DWORD>(domain.size());
  SID_NAME_USE use{};
  if (::LookupAccountNameW(nullptr, wide(name).c_str(), sid.data(), &sid_size, domain.data(), &domain_size, &use) ==
      0) {
    return "";
  }
  return sid_text(sid.data());
}

}  // namespace

std::wstring wide(std::string_view text) {
  const int size = ::MultiByteToWideChar(CP_UTF8, 0, text.data(), static_cast<int>(text.size()), nullptr, 0);
  std::wstring out(static_cast<std::size_t>(size), L'\0');
  ::MultiByteToWideChar(CP_UTF8, 0, text.data(), static_cast<int>(text.size()), out.data(), size);
  return out;
}

std::string narrow(std::wstring_view text) {
  const auto length = static_cast<int>(text.size());
  const int size = ::WideCharToMultiByte(CP_UTF8, 0, text.data(), length, nullptr, 0, nullptr, nullptr);
  std::string out(static_cast<std::size_t>(size), '\0');
  ::WideCharToMultiByte(CP_UTF8, 0, text.data(), length, out.data(), size, nullptr, nullptr);
  return out;
}

std::string words(ErrorNumber error) {
  std::array<wchar_t, 512> buffer{};
  const DWORD size =
      ::FormatMessageW(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS | FORMAT_MESSAGE_MAX_WIDTH_MASK,
                       nullptr, error, 0, buffer.data(), static_cast<DWORD>(buffer.size()), nullptr);
  std::wstring_view text(buffer.data(), size);
  while (!text.empty() && (text.back() == L' ' || text.back() == L'.')) text.remove_suffix(1);
  return (text.empty() ? "error" : narrow(text)) + " (" + std::to_string(error) + ")";
}

Error failed(const std::string& what, ErrorNumber error) {
  ErrorCode code = ErrorCode::kUnavailable;
  switch (error) {
    case ERROR_FILE_NOT_FOUND:
    case ERROR_PATH_NOT_FOUND:
    case ERROR_INVALID_NAME:
    case ERROR_BAD_PATHNAME:
    case ERROR_INVALID_DRIVE: code = ErrorCode::kNotFound; break;
    case ERROR_ACCESS_DENIED:
    case ERROR_WRITE_PROTECT:
    case ERROR_PRIVILEGE_NOT_HELD: code = ErrorCode::kPermissionDenied; break;
    case ERROR_DISK_FULL:
    case ERROR_HANDLE_DISK_FULL:
    case kDiskQuotaExceeded: code = ErrorCode::kFull; break;
    default: break;
  }
  return Error{code, what + ": " + words(error)};
}

Handle::~Handle() {
  if (valid()) ::CloseHandle(handle_);
}

bool Handle::valid() const { return handle_ != nullptr && handle_ != INVALID_HANDLE_VALUE; }

bool held_by_other(ErrorNumber error) { return error == ERROR_SHARING_VIOLATION || error == ERROR_LOCK_VIOLATION; }

ErrorNumber while_held(const std::function<ErrorNumber()>& call, bool renames) {
  const auto begun = ::GetTickCount64();
  for (;;) {
    const ErrorNumber error = call();
    const bool held =
        held_by_other(error) || (renames && (error == ERROR_ACCESS_DENIED || error == ERROR_USER_MAPPED_FILE));
    if (!held || ::GetTickCount64() - begun >= kHeldMaxMs) return error;
    ::Sleep(kHeldPauseMs);
  }
}

Result<Handle> open_file(const std::filesystem::path& path, OpenMode mode, void* security) {
  const DWORD access = mode == OpenMode::kRead ? GENERIC_READ : GENERIC_READ | GENERIC_WRITE;
  const DWORD creation = mode == OpenMode::kCreateNew       ? CREATE_NEW
                         : mode == OpenMode::kWriteOrCreate ? OPEN_ALWAYS
                                                            : OPEN_EXISTING;
  Handle file;
  const ErrorNumber error = while_held([&]() -> ErrorNumber {
    file = Handle(::CreateFileW(path.c_str(), access, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                                static_cast<SECURITY_ATTRIBUTES*>(security), creation, FILE_ATTRIBUTE_NORMAL, nullptr));
    return file.valid() ? ERROR_SUCCESS : ::GetLastError();
  });
  if (error != ERROR_SUCCESS) {
    return failed((mode == OpenMode::kCreateNew ? "cannot create " : "cannot open ") + narrow(path.native()), error);
  }
  return file;
}

struct Security::Attributes {
  SECURITY_ATTRIBUTES value{};
};

Security::Security(const std::string& readers) : attributes_(new Attributes) {
  attributes_->value.nLength = sizeof attributes_->value;
  // Protected: nothing comes from the directory. What is made below a directory gets the same.
  std::string rules = std::string("D:P(A;OICI;GA;;;SY)(A;OICI;GA;;;BA)(A;OICI;GA;;;") + kServiceSid + ")";
  if (const std::string own = account_sid(); !own.empty()) rules += "(A;OICI;GA;;;" + own + ")";
  if (const std::string group = sid_of_account(readers); !group.empty()) rules += "(A;OICI;GR;;;" + group + ")";
  PSECURITY_DESCRIPTOR descriptor = nullptr;
  NM_ASSERT(::ConvertStringSecurityDescriptorToSecurityDescriptorW(wide(rules).c_str(), SDDL_REVISION_1, &descriptor,
                                                                   nullptr) != 0);
  attributes_->value.lpSecurityDescriptor = descriptor;
}

Security::~Security() {
  ::LocalFree(attributes_->value.lpSecurityDescriptor);
  delete attributes_;
}

void* Security::attributes() const { return &attributes_->value; }

std::string account_sid() {
  const std::vector<char> user = token_of_process(TokenUser);
  return user.empty() ? "" : sid_text(reinterpret_cast<const TOKEN_USER*>(user.data())->User.Sid);
}

bool memory_owner_is_trusted(const std::string& name) {
  // A handle for mapping it tells nothing of its owner.
  const Handle memory(::OpenFileMappingW(READ_CONTROL, FALSE, wide(name).c_str()));
  PSID owner = nullptr;
  PSECURITY_DESCRIPTOR descriptor = nullptr;
  if (!memory.valid() || ::GetSecurityInfo(memory.get(), SE_KERNEL_OBJECT, OWNER_SECURITY_INFORMATION, &owner, nullptr,
                                           nullptr, nullptr, &descriptor) != ERROR_SUCCESS) {
    return false;
  }
  const Local guard(descriptor);
  if (owner == nullptr) return false;
  if (::IsWellKnownSid(owner, WinLocalSystemSid) != 0 || ::IsWellKnownSid(owner, WinBuiltinAdministratorsSid) != 0) {
    return true;
  }
  const std::string sid = sid_text(owner);
  if (sid == kServiceSid || sid == account_sid()) return true;
  // Whom the system makes the owner of what this process makes, which need not be its account.
  const std::vector<char> own = token_of_process(TokenOwner);
  return !own.empty() && ::EqualSid(owner, reinterpret_cast<const TOKEN_OWNER*>(own.data())->Owner) != 0;
}

bool for_each_process(const std::function<bool(const ProcessFacts&)>& visit) {
  std::vector<char> bytes(256 * 1024);
  ULONG size = 0;
  NTSTATUS status = 0;
  // The list may grow between two calls.
  for (int attempt = 0; attempt < 8; ++attempt) {
    status =
        ::NtQuerySystemInformation(SystemProcessInformation, bytes.data(), static_cast<ULONG>(bytes.size()), &size);
    if (status >= 0) break;
    bytes.resize(bytes.size() * 2);
  }
  if (status < 0) return false;
  for (std::size_t at = 0;;) {
    const auto& entry = *reinterpret_cast<const ProcessEntry*>(bytes.data() + at);
    ProcessFacts facts;
    facts.id = reinterpret_cast<std::uintptr_t>(entry.process_id);
    facts.parent = reinterpret_cast<std::uintptr_t>(entry.parent_id);
    facts.started = static_cast<std::uint64_t>(entry.create_time.QuadPart);
    if (entry.image_name.Buffer != nullptr) {
      facts.name = std::wstring_view(entry.image_name.Buffer, entry.image_name.Length / sizeof(wchar_t));
    }
    if (!visit(facts) || entry.next_entry_offset == 0) return true;
    at += entry.next_entry_offset;
  }
}

}  // namespace nodemeter::windows
