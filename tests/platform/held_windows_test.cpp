// Goal: a virus scanner or a backup that has a file open for a moment costs a moment, and one that keeps it an error.
// Who only reads is in nobody's way, and nobody is kept from reading. A store takes its disk in steps.
// Method: open the file as they do, with or without sharing it, and let go after a while or not at all. Locks on parts
// of a file: locked_range_windows_test.cpp, since Wine does not enforce them.

#include <windows.h>

#include <array>
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

// Reads the file, which others may only do what is `shared` with, until destruction, or for a moment.
class Scanner {
 public:
  explicit Scanner(const fs::path& file, DWORD shared = 0)
      : handle_(::CreateFileW(file.c_str(), GENERIC_READ, shared, nullptr, OPEN_EXISTING, 0, nullptr)) {
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

TEST_CASE("a backup that reads the store stops no commit, and nobody can take its file away from it", "[held]") {
  const TemporaryDirectory directory;
  const fs::path file = directory.path() / "kv" / "data.mdb";
  LmdbOptions options;
  options.growth_bytes = options.reserve_bytes = 256u << 10;
  const auto kv = taken(open_lmdb(directory.path() / "kv", options));
  const Scanner backup(file, FILE_SHARE_READ | FILE_SHARE_WRITE);
  const std::uint64_t before = fs::file_size(file);
  for (int i = 0; i < 100; ++i)
    require_ok(kv->commit({{Table::kEntries, std::to_string(i), std::string(20'000, 'x')}}));
  CHECK(fs::file_size(file) > before);  // The file and its map have grown under the reader's eyes.
  for (const DWORD shared : {DWORD{0}, DWORD{FILE_SHARE_READ}}) {
    const HANDLE refused = ::CreateFileW(file.c_str(), GENERIC_READ, shared, nullptr, OPEN_EXISTING, 0, nullptr);
    CHECK(refused == INVALID_HANDLE_VALUE);
    CHECK(::GetLastError() == ERROR_SHARING_VIOLATION);
  }
}

TEST_CASE("a file that is read here can be read, moved and deleted by others meanwhile", "[held]") {
  const TemporaryDirectory directory;
  const fs::path file = directory.path() / "file";
  REQUIRE(replace_file(file, "one").ok());
  const auto reader = taken(DataFile::open(file));
  CHECK(*read_file(file, 100) == "one");
  REQUIRE(move_path(file, directory.path() / "moved").ok());
  CHECK(::DeleteFileW((directory.path() / "moved").c_str()) != 0);
  std::array<char, 3> bytes{};
  CHECK(taken(reader.read_at(0, bytes)) == 3);
  CHECK(std::string(bytes.data(), bytes.size()) == "one");
}

TEST_CASE("a store that may become large takes its disk in steps", "[held]") {
  const TemporaryDirectory directory;
  const fs::path file = directory.path() / "kv" / "data.mdb";
  const LmdbOptions options;
  REQUIRE(options.size_max_bytes >= 1ull << 30);
  for (int round = 0; round < 3; ++round) {  // Also when it is opened again.
    const auto kv = taken(open_lmdb(directory.path() / "kv", options));
    for (int i = 0; i < 50; ++i) {
      const std::string key = std::to_string(100 * round + i);
      require_ok(kv->commit({{Table::kEntries, key, std::string(100'000, 'x')}}));
      const std::uint64_t size = fs::file_size(file);
      CHECK(size % options.growth_bytes == 0);
      CHECK(size <= kv->usage().used_bytes + options.reserve_bytes + 2 * options.growth_bytes);
    }
  }
  CHECK(fs::file_size(file) > 3 * 50 * 100'000);
}

TEST_CASE("the error numbers of the system that mean held are known", "[held]") {
  CHECK(held_by_other(ERROR_SHARING_VIOLATION));
  CHECK(held_by_other(ERROR_LOCK_VIOLATION));
  CHECK_FALSE(held_by_other(ERROR_ACCESS_DENIED));
  CHECK(map_needs_file());
}

}  // namespace nodemeter
