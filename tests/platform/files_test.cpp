// Goal: small files are replaced whole, closed to others where that is asked for, and locked by one holder at a time.
// Method: real files in a temporary directory, under names beyond ASCII; the same expectations on every platform.

#include "platform/files.h"

#include <catch2/catch.hpp>
#include <chrono>

#include "platform/process.h"
#include "tests/temporary_directory.h"

namespace nodemeter {

namespace fs = std::filesystem;
using testing::TemporaryDirectory;

namespace {

// "mètre-計.txt": neither in one code page nor in one byte a character.
fs::path named(const TemporaryDirectory& directory) { return directory.path() / fs::path(u8"m\u00e8tre-\u8a08.txt"); }

}  // namespace

TEST_CASE("a file is replaced whole, and what was begun before is no obstacle", "[files]") {
  const TemporaryDirectory directory;
  const fs::path file = named(directory);
  CHECK(read_file(file, 100).error().code == ErrorCode::kNotFound);
  fs::path unfinished = file;
  unfinished += ".new";
  REQUIRE(replace_file(unfinished, "half").ok());
  REQUIRE(replace_file(file, "one\n").ok());
  REQUIRE(replace_file(file, std::string("two\r\n\0x", 7)).ok());
  CHECK(*read_file(file, 100) == std::string("two\r\n\0x", 7));
  CHECK_FALSE(fs::exists(unfinished));
  CHECK(read_file(file, 6).error().code == ErrorCode::kLimitExceeded);
  CHECK(replace_file(directory.path() / "missing" / "file", "x").error().code == ErrorCode::kNotFound);
}

TEST_CASE("a move takes the place of a file, and takes a directory along", "[files]") {
  const TemporaryDirectory directory;
  REQUIRE(replace_file(directory.path() / "a", "a").ok());
  REQUIRE(replace_file(named(directory), "b").ok());
  REQUIRE(move_path(directory.path() / "a", named(directory)).ok());
  CHECK(*read_file(named(directory), 10) == "a");
  CHECK_FALSE(fs::exists(directory.path() / "a"));
  REQUIRE(make_state_directory(directory.path() / "d" / "e").ok());
  REQUIRE(replace_file(directory.path() / "d" / "e" / "f", "f").ok());
  REQUIRE(move_path(directory.path() / "d", directory.path() / "moved").ok());
  CHECK(*read_file(directory.path() / "moved" / "e" / "f", 10) == "f");
  CHECK(move_path(directory.path() / "a", directory.path() / "b").error().code == ErrorCode::kNotFound);
}

TEST_CASE("secrets and state are closed to others from the first byte on", "[files]") {
  const TemporaryDirectory directory;
  const fs::path secret = named(directory);
  REQUIRE(replace_file(secret, "secret", true).ok());
  REQUIRE(make_state_directory(directory.path() / "state").ok());
  for (const fs::path& path : {secret, directory.path() / "state"}) {
    const Result<OthersMay> others = others_may(path);
    REQUIRE(others.ok());
    CHECK_FALSE(others->read);
    CHECK_FALSE(others->write);
  }
  CHECK(*read_file(secret, 100) == "secret");
  CHECK(others_may(directory.path() / "nothing").error().code == ErrorCode::kNotFound);
}

TEST_CASE("a lock has one holder, whose process it names, and goes with it", "[files]") {
  const TemporaryDirectory directory;
  const fs::path file = named(directory);
  {
    const Result<FileLock> held = FileLock::acquire(file);
    REQUIRE(held.ok());
    const Result<FileLock> second = FileLock::acquire(file);
    REQUIRE_FALSE(second.ok());
    CHECK(second.error().code == ErrorCode::kLocked);
    CHECK(second.error().message.find("process " + std::to_string(current_process())) != std::string::npos);
  }
  CHECK(FileLock::acquire(file).ok());
}

TEST_CASE("a watch notices what was changed, made and taken away", "[files]") {
  const TemporaryDirectory directory;
  FileWatch watch(named(directory));
  CHECK_FALSE(watch.changed());
  REQUIRE(replace_file(named(directory), "one").ok());
  CHECK(watch.changed());
  CHECK_FALSE(watch.changed());
  REQUIRE(replace_file(named(directory), "longer").ok());
  CHECK(watch.changed());
  REQUIRE(replace_file(named(directory), "LONGER").ok());  // Within the same second, and as long.
  CHECK(watch.changed());
  CHECK_FALSE(watch.changed());
  fs::remove(named(directory));
  CHECK(watch.changed());
}

TEST_CASE("this process is known by its start, and ids that nobody has are nobody", "[files]") {
  const std::uint64_t started = process_started(current_process());
  CHECK(started != 0);
  CHECK(process_started(current_process()) == started);
  CHECK(process_started(0xffff'fff0) == 0);
  CHECK_FALSE(account_name().empty());
  CHECK(*free_bytes(fs::temp_directory_path()) > 0);
}

}  // namespace nodemeter
