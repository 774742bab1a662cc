// Goal: a virus scanner or a backup that has a file open for a moment costs a moment, and one that keeps it an error.
// Method: open the file as they do, without sharing it, and let go after a while or not at all. Locks on parts of a
// file are not tried: Wine does not enforce them.

#include <windows.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <thread>

#include "../store/kv_conformance.h"
#include "platform/data_file.h"
#include "platform/files.h"
#include "store/lmdb_kv.h"

namespace nodemeter {

namespace fs = std::filesystem;

namespace {

constexpr std::chrono::milliseconds kAMoment{300};

// Has the file for itself until destruction, or for a moment.
class Scanner {
 public:
  explicit Scanner(const fs::path& file)
      : handle_(::CreateFileW(file.c_str(), GENERIC_READ, 0, nullptr, OPEN_EXISTING, 0, nullptr)) {
    REQUIRE(handle_ != INVALID_HANDLE_VALUE);
  }
  Scanner(const Scanner&) = delete;
  Scanner& operator=(const Scanner&) = delete;
  ~Scanner() {
    if (thread_.joinable()) thread_.join();
    if (handle_ != INVALID_HANDLE_VALUE) ::CloseHandle(handle_);
  }
  void let_go_soon() {
    thread_ = std::thread([this] {
      std::this_thread::sleep_for(kAMoment);
      ::CloseHandle(std::exchange(handle_, INVALID_HANDLE_VALUE));
    });
  }

 private:
  HANDLE handle_;
  std::thread thread_;
};

}  // namespace

TEST_CASE("a file that is held for a moment is waited for", "[held]") {
  const TemporaryDirectory directory;
  const fs::path file = directory.path() / "file";
  REQUIRE(replace_file(file, "one").ok());
  SECTION("to read it") {
    Scanner scanner(file);
    scanner.let_go_soon();
    CHECK(*read_file(file, 100) == "one");
  }
  SECTION("to replace it") {
    Scanner scanner(file);
    scanner.let_go_soon();
    REQUIRE(replace_file(file, "two").ok());
    CHECK(*read_file(file, 100) == "two");
  }
  SECTION("to sync it") {
    Scanner scanner(file);
    scanner.let_go_soon();
    CHECK(sync_file(file).ok());
  }
}

TEST_CASE("a file that stays held is an error in time, and left as it was", "[held]") {
  const TemporaryDirectory directory;
  const fs::path file = directory.path() / "file";
  REQUIRE(replace_file(file, "one").ok());
  {
    const Scanner scanner(file);
    CHECK(read_file(file, 100).error().code == ErrorCode::kUnavailable);
    CHECK_FALSE(replace_file(file, "two").ok());
  }
  CHECK(*read_file(file, 100) == "one");
}

TEST_CASE("a store whose file is scanned while it is opened opens", "[held]") {
  const TemporaryDirectory directory;
  require_ok(taken(open_lmdb(directory.path() / "kv", {}))->commit({{Table::kMeta, "a", "1"}}));
  Scanner scanner(directory.path() / "kv" / "data.mdb");
  scanner.let_go_soon();
  const auto kv = taken(open_lmdb(directory.path() / "kv", {}));
  CHECK(all_rows(*kv, Table::kMeta) == "a=1 ");
}

TEST_CASE("the error numbers of the system that mean held are known", "[held]") {
  CHECK(held_by_other(ERROR_SHARING_VIOLATION));
  CHECK(held_by_other(ERROR_LOCK_VIOLATION));
  CHECK_FALSE(held_by_other(ERROR_ACCESS_DENIED));
  CHECK(map_needs_file());
}

}  // namespace nodemeter
