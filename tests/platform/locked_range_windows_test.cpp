// Goal: a virus scanner or a backup that locks a part of the store's file for a moment costs a moment; one that keeps
// it locked is an error that says so, and what was committed stays. Method: the program's own calls of WriteFile,
// LMDB's too, are led to a stand-in that refuses some as the system does for a locked part: Wine knows such locks and
// does not enforce them.

#include <windows.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <cstring>
#include <functional>

#include "../store/kv_conformance.h"
#include "platform/data_file.h"
#include "platform/windows_api.h"
#include "store/lmdb_kv.h"

namespace nodemeter {

namespace {

using Clock = std::chrono::steady_clock;
using WriteCall = decltype(&::WriteFile);

// Where the loader has put the address of a function of the system's for this program.
ULONGLONG* import_of(const char* name) {
  auto* const base = reinterpret_cast<BYTE*>(::GetModuleHandleW(nullptr));
  const auto* const headers =
      reinterpret_cast<IMAGE_NT_HEADERS*>(base + reinterpret_cast<IMAGE_DOS_HEADER*>(base)->e_lfanew);
  const IMAGE_DATA_DIRECTORY& imports = headers->OptionalHeader.DataDirectory[IMAGE_DIRECTORY_ENTRY_IMPORT];
  for (auto* dll = reinterpret_cast<IMAGE_IMPORT_DESCRIPTOR*>(base + imports.VirtualAddress); dll->Name != 0; ++dll) {
    const auto* names = reinterpret_cast<IMAGE_THUNK_DATA*>(base + dll->OriginalFirstThunk);
    auto* addresses = reinterpret_cast<IMAGE_THUNK_DATA*>(base + dll->FirstThunk);
    for (; names->u1.AddressOfData != 0; ++names, ++addresses) {
      if (IMAGE_SNAP_BY_ORDINAL(names->u1.Ordinal)) continue;
      const auto* const entry = reinterpret_cast<IMAGE_IMPORT_BY_NAME*>(base + names->u1.AddressOfData);
      if (std::strcmp(reinterpret_cast<const char*>(entry->Name), name) == 0) return &addresses->u1.Function;
    }
  }
  return nullptr;
}

void set_import(ULONGLONG* import, ULONGLONG address) {
  DWORD before = 0;
  REQUIRE(::VirtualProtect(import, sizeof *import, PAGE_READWRITE, &before) != 0);
  *import = address;
  REQUIRE(::VirtualProtect(import, sizeof *import, before, &before) != 0);
}

// While it lives, writes to positions of which `locked` says so are refused.
class LockedParts {
 public:
  explicit LockedParts(std::function<bool(std::uint64_t offset)> locked) : locked_(std::move(locked)) {
    REQUIRE(import_ != nullptr);
    system_ = *import_;
    current_ = this;
    set_import(import_, reinterpret_cast<ULONGLONG>(&write));
  }
  LockedParts(const LockedParts&) = delete;
  LockedParts& operator=(const LockedParts&) = delete;
  ~LockedParts() { set_import(import_, system_); }

  int refused = 0;

 private:
  static BOOL WINAPI write(HANDLE file, LPCVOID bytes, DWORD size, LPDWORD written, LPOVERLAPPED position) {
    const auto offset = position == nullptr ? 0 : std::uint64_t{position->OffsetHigh} << 32 | position->Offset;
    if (position != nullptr && current_->locked_(offset)) {
      ++current_->refused;
      ::SetLastError(ERROR_LOCK_VIOLATION);
      return FALSE;
    }
    return reinterpret_cast<WriteCall>(current_->system_)(file, bytes, size, written, position);
  }

  static inline LockedParts* current_ = nullptr;
  std::function<bool(std::uint64_t offset)> locked_;
  ULONGLONG* const import_ = import_of("WriteFile");
  ULONGLONG system_ = 0;
};

constexpr std::chrono::milliseconds kAMoment{300};
constexpr std::uint64_t kMetaEnds = 2 * 4096;  // The pages that LMDB writes last.

std::function<bool(std::uint64_t)> for_a_moment() {
  return [until = Clock::now() + kAMoment](std::uint64_t) { return Clock::now() < until; };
}

}  // namespace

TEST_CASE("a commit to a file of which a part is locked for a moment is done after it", "[held]") {
  const TemporaryDirectory directory;
  const auto kv = taken(open_lmdb(directory.path() / "kv", {}));
  require_ok(kv->commit({{Table::kMeta, "a", "1"}}));
  {
    LockedParts parts(for_a_moment());
    SECTION("pages") {}
    SECTION("while the file grows") {
      require_ok(kv->commit({{Table::kEntries, "large", std::string(6u << 20, 'x')}}));
    }
    require_ok(kv->commit({{Table::kMeta, "a", "2"}}));
    CHECK(parts.refused > 0);
  }
  CHECK(all_rows(*kv, Table::kMeta) == "a=2 ");
}

TEST_CASE("a commit to a file of which a part stays locked is an error that says so, and changes nothing", "[held]") {
  const TemporaryDirectory directory;
  {
    const auto kv = taken(open_lmdb(directory.path() / "kv", {}));
    require_ok(kv->commit({{Table::kMeta, "a", "1"}}));
    const LockedParts parts([](std::uint64_t offset) { return offset >= kMetaEnds; });
    const Status refused = kv->commit({{Table::kMeta, "a", "2"}});
    REQUIRE_FALSE(refused.ok());
    CHECK(refused.error().code == ErrorCode::kUnavailable);
    CHECK(refused.error().message.find("exclude the state directory from scans") != std::string::npos);
    CHECK_FALSE(kv->commit({{Table::kMeta, "a", "3"}}).ok());  // It is for the daemon to begin anew.
  }
  CHECK(all_rows(*taken(open_lmdb(directory.path() / "kv", {})), Table::kMeta) == "a=1 ");
}

TEST_CASE("a commit whose last page cannot be written is of unknown outcome, and the store holds", "[held]") {
  const TemporaryDirectory directory;
  {
    const auto kv = taken(open_lmdb(directory.path() / "kv", {}));
    require_ok(kv->commit({{Table::kMeta, "a", "1"}}));
    const LockedParts parts([](std::uint64_t offset) { return offset < kMetaEnds; });
    CHECK(kv->commit({{Table::kMeta, "a", "2"}}).error().code == ErrorCode::kUnavailable);
    CHECK_FALSE(kv->snapshot().ok());
  }
  const std::string rows = all_rows(*taken(open_lmdb(directory.path() / "kv", {})), Table::kMeta);
  CHECK((rows == "a=1 " || rows == "a=2 "));
}

TEST_CASE("what is written around LMDB waits for a locked part, too", "[held]") {
  const TemporaryDirectory directory;
  const auto file = taken(windows::open_file(directory.path() / "file", windows::OpenMode::kWriteOrCreate));
  const auto number = reinterpret_cast<std::intptr_t>(file.get());
  SECTION("for a moment") {
    const LockedParts parts(for_a_moment());
    CHECK(extend_with_zeros(number, 0, 100'000).ok());
    CHECK(std::filesystem::file_size(directory.path() / "file") == 100'000);
  }
  SECTION("and gives up in time") {
    const LockedParts parts([](std::uint64_t) { return true; });
    CHECK(extend_with_zeros(number, 0, 100'000).error().code == ErrorCode::kUnavailable);
  }
}

}  // namespace nodemeter
