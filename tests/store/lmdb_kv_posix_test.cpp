// Goal: full file systems, modes, dead readers and foreign accounts come back as a designed answer.
// Method: provoke each one on a real store, with a file system of its own, and with other processes.

#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "as_nobody.h"
#include "lmdb_entries.h"
#include "platform/process.h"

namespace nodemeter {

namespace fs = std::filesystem;

namespace {

void write_file(const fs::path& path, const std::string& content) { std::ofstream(path, std::ios::binary) << content; }

unsigned mode_of(const fs::path& path) { return static_cast<unsigned>(fs::status(path).permissions()); }

}  // namespace

TEST_CASE("a full file system refuses entries, not marks, and entries go in again when it has room", "[lmdb]") {
  const TemporaryDirectory directory;
  const fs::path small = directory.path() / "small";
  fs::create_directories(small);
  if (::mount("tmpfs", small.c_str(), "tmpfs", 0, "size=16m") != 0) return;  // Only where file systems may be mounted.
  {
    LmdbOptions options;
    options.growth_bytes = 1u << 20;
    options.reserve_bytes = 1u << 20;
    const auto kv = taken(open_lmdb(small / "kv", options));
    int last = 0;
    Status status = Done{};
    for (; last < 10'000 && status; ++last) status = kv->commit(entry(last, 10'000));
    REQUIRE_FALSE(status.ok());
    CHECK(status.error().code == ErrorCode::kFull);
    CHECK(status.error().message.find("file system") != std::string::npos);
    CHECK(last > 1'000);
    // Somebody else takes what little is left.
    write_file(small / "other", std::string(4u << 20, 'o'));
    for (int i = 0; i < 300; ++i) {
      require_ok(kv->commit({{Table::kMeta, "mark", std::to_string(i)}, {Table::kState, "vm", std::string(900, 's')}}));
    }
    std::vector<Write> pruning;
    for (int i = 0; i < 200; ++i) pruning.push_back({Table::kEntries, std::to_string(100'000 + i), std::nullopt});
    require_ok(kv->commit(pruning));
    require_ok(kv->commit({{Table::kMeta, "pages of the commit before become free", "1"}}));
    for (int i = 0; i < 50; ++i) require_ok(kv->commit(entry(last + i, 10'000)));
  }
  CHECK(taken(open_lmdb(small / "kv", {}))->snapshot().ok() == true);
  ::umount2(small.c_str(), MNT_DETACH);
}

TEST_CASE("files are for the owner only", "[lmdb]") {
  const TemporaryDirectory directory;
  const auto kv = taken(open_lmdb(directory.path() / "kv", {}));
  CHECK(mode_of(directory.path() / "kv") == 0700);
  CHECK(mode_of(directory.path() / "kv" / "data.mdb") == 0600);
  CHECK(mode_of(directory.path() / "kv" / "lock.mdb") == 0600);
}

TEST_CASE("the slot of a reader that was killed is freed and pins no pages", "[lmdb]") {
  const TemporaryDirectory directory;
  LmdbOptions options;
  options.size_max_bytes = 8u << 20;
  const pid_t child = ::fork();
  if (child == 0) {
    // Its own opening: an environment does not survive fork().
    auto kv = open_lmdb(directory.path() / "kv", options);
    if (!kv) ::_exit(1);
    (void)(*kv)->commit({{Table::kMeta, "a", "1"}});
    auto snapshot = (*kv)->snapshot();
    ::kill(::getpid(), SIGKILL);
  }
  int state = 0;
  REQUIRE(::waitpid(child, &state, 0) == child);
  REQUIRE(WIFSIGNALED(state));
  const auto kv = taken(open_lmdb(directory.path() / "kv", options));
  kv->maintain();
  // Rewriting one row fills the map many times over, unless old pages are used again.
  for (int i = 0; i < 2'000; ++i) require_ok(kv->commit({{Table::kState, "row", std::string(20'000, 'x')}}));
}

TEST_CASE("an account that may not read the store is told path and account", "[lmdb]") {
  if (::geteuid() != 0) return;  // Only root can become somebody else.
  const TemporaryDirectory directory;
  taken(open_lmdb(directory.path() / "kv", {})).reset();
  fs::permissions(directory.path(), fs::perms::all);
  const std::string text = as_nobody([&] {
    LmdbOptions options;
    options.read_only = true;
    const auto opened = open_lmdb(directory.path() / "kv", options);
    return opened ? "opened" : std::to_string(static_cast<int>(opened.error().code)) + opened.error().message;
  });
  INFO(text);
  CHECK(text.starts_with(std::to_string(static_cast<int>(ErrorCode::kPermissionDenied))));
  CHECK(text.find((directory.path() / "kv").string()) != std::string::npos);
  CHECK(text.find("service account") != std::string::npos);
}

}  // namespace nodemeter
