// Goal: a reader never stands in the writer's way, and needs no rights beyond reading.
// Method: real directories, read by other processes and by an account without rights.

#include <sys/wait.h>
#include <unistd.h>

#include "as_nobody.h"
#include "ten_entries.h"

namespace nodemeter {

namespace fs = std::filesystem;

TEST_CASE("a store is read beside its writer, and after it", "[reader]") {
  const TemporaryDirectory directory;
  int go[2];
  int done[2];
  REQUIRE((::pipe(go) == 0 && ::pipe(done) == 0));
  const pid_t child = ::fork();
  if (child == 0) {
    Random random(5);
    const auto kv = open_lmdb(journal_directory(directory.path()), {});
    const auto journal = Journal::open(**kv, journal_options(), random);
    char command = 0;
    while (::read(go[0], &command, 1) == 1 && command == '+') {
      JournalCommit commit;
      commit.entries.push_back(usage_entry(1, 1));
      const bool ok = (*journal)->commit(commit, at_ms(1)).ok();
      if (::write(done[1], ok ? "+" : "-", 1) != 1) break;
    }
    ::_exit(0);
  }
  const auto tell = [&](char command) { return ::write(go[1], &command, 1) == 1; };
  const auto answered = [&] {
    char answer = 0;
    return ::read(done[0], &answer, 1) == 1 && answer == '+';
  };
  REQUIRE((tell('+') && answered()));
  const auto reader = taken(Reader::open(directory.path()));
  CHECK(numbers(*reader, 0) == "1 ");
  REQUIRE((tell('+') && answered()));
  CHECK(numbers(*reader, 0) == "1 2 ");
  tell('q');
  ::waitpid(child, nullptr, 0);
  CHECK(taken(reader->verify({})).faults.empty());
  CHECK(reader->usage().used_bytes > 0);
}

TEST_CASE("a copy on a medium that cannot be written is read without locks", "[reader]") {
  if (::geteuid() != 0) return;  // Only root can become somebody without rights.
  const TemporaryDirectory directory;
  fs::permissions(directory.path(), fs::perms::all);
  make_store(directory.path() / "state");
  const fs::path copy = journal_directory(directory.path() / "copy");
  fs::create_directories(copy);
  fs::copy_file(journal_directory(directory.path() / "state") / "data.mdb", copy / "data.mdb");
  fs::permissions(copy / "data.mdb", static_cast<fs::perms>(0444));
  const std::string said = as_nobody([&] {
    const auto reader = Reader::open(directory.path() / "copy");
    if (!reader) return reader.error().message;
    const auto check = (*reader)->verify({});
    return check ? "entries " + std::to_string(check->entries) : check.error().message;
  });
  CHECK(said == "entries 10");
  CHECK_FALSE(fs::exists(copy / "lock.mdb"));

  // Nor does a lock file matter that belongs to a writer; the data file does.
  fs::copy_file(journal_directory(directory.path() / "state") / "lock.mdb", copy / "lock.mdb");
  fs::permissions(copy / "lock.mdb", static_cast<fs::perms>(0600));
  CHECK(Reader::open(directory.path() / "copy").ok());
  fs::permissions(copy / "data.mdb", static_cast<fs::perms>(0600));
  const std::string refused = as_nobody([&] {
    const auto reader = Reader::open(directory.path() / "copy");
    return reader ? std::string("opened") : reader.error().message;
  });
  CHECK(refused.find("may not open " + copy.string()) != std::string::npos);
}

}  // namespace nodemeter
