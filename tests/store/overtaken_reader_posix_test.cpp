// Goal: a reader that is stopped or killed in mid-read costs the writer nothing, and never believes pages that were
// taken for new ones under its eyes.
// Method: a real file. Readers are held still, by a visitor that commits and by SIGSTOP, while the writer commits as
// much as days of metering; the file's size, the writer's answers and what the readers say afterwards are compared.

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <iostream>

#include "store/lmdb_kv.h"
#include "store/page_snapshot.h"
#include "store/reader.h"
#include "tests/store/store_fixtures.h"

using namespace nodemeter;

namespace {

// A store whose commits rewrite state rows, as samples do, and add an entry now and then.
struct Node {
  explicit Node(const std::filesystem::path& state) : directory(journal_directory(state)) {
    kv = taken(open_lmdb(directory, {}));
    journal = taken(Journal::open(*kv, journal_options(), random));
  }
  void sample() {
    JournalCommit commit;
    ++samples;
    for (int vm = 0; vm < 20; ++vm) {
      commit.state.push_back({"vm/" + std::to_string(vm), std::string(600, static_cast<char>('a' + samples % 26))});
    }
    if (samples % 36 == 1) commit.entries.push_back(usage_entry(1, static_cast<std::int64_t>(samples)));
    require_ok(journal->commit(commit, at_ms(static_cast<std::int64_t>(samples) * 10'000)));
  }
  [[nodiscard]] std::uint64_t used() const { return kv->usage().used_bytes; }
  [[nodiscard]] std::uint64_t file_bytes() const { return std::filesystem::file_size(directory / "data.mdb"); }

  std::filesystem::path directory;
  std::unique_ptr<KeyValue> kv;
  Random random{1};
  std::unique_ptr<Journal> journal;
  std::uint64_t samples = 0;
};

// A child process that runs `work` and ends with 0 if it gives true.
template <class Work>
pid_t in_child(const Work& work) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(work() ? 0 : 1);
  return child;
}

int exit_of(pid_t child) {
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

TEST_CASE("a snapshot that holds nothing knows when it was overtaken, and not before", "[overtaken]") {
  const TemporaryDirectory directory;
  Node node(directory.path());
  for (int i = 0; i < 10; ++i) node.sample();
  const auto shared = taken(open_shared(node.directory));
  const auto snapshot = taken(shared->snapshot());
  const auto before = taken(snapshot->get(Table::kState, "vm/7"));
  CHECK(snapshot->intact());
  node.sample();
  CHECK(snapshot->intact());
  CHECK(taken(snapshot->get(Table::kState, "vm/7")) == before);
  node.sample();
  CHECK_FALSE(snapshot->intact());
}

TEST_CASE("until it says that it was overtaken, every row of a snapshot is the one of its moment", "[overtaken]") {
  const TemporaryDirectory directory;
  Node node(directory.path());
  for (int i = 0; i < 200; ++i) node.sample();
  const auto shared = taken(open_shared(node.directory));
  std::uint64_t whole = 0, overtaken = 0;
  for (int round = 0; round < 60; ++round) {
    const auto snapshot = taken(shared->snapshot());
    const char letter = static_cast<char>('a' + node.samples % 26);
    int rows = 0;
    bool right = true;
    // The writer goes on in the middle of the scan, 0 to 3 commits.
    const Status scanned = snapshot->scan(Table::kState, "vm/", [&](std::string_view, std::string_view value) {
      if (++rows == 5) {
        for (int i = 0; i < round % 4; ++i) node.sample();
      }
      right = right && value == std::string(600, letter);
      return true;
    });
    if (!snapshot->intact()) {
      ++overtaken;
      continue;
    }
    ++whole;
    CHECK(scanned.ok());
    CHECK(right);
    CHECK(rows == 20);
  }
  CHECK(whole == 30);
  CHECK(overtaken == 30);
}

TEST_CASE("a read is repeated until it is of one moment", "[overtaken]") {
  const TemporaryDirectory directory;
  Node node(directory.path());
  for (int i = 0; i < 10; ++i) node.sample();
  const auto shared = taken(open_shared(node.directory));
  int attempts = 0;
  const auto read = [&](const Snapshot& snapshot) -> Result<std::string> {
    for (int i = 0; i < 3 && attempts < 4; ++i) node.sample();
    ++attempts;
    return snapshot.get(Table::kState, "vm/1").value().value_or("");
  };
  const std::string value = taken(consistent(*shared, read));
  CHECK(value == std::string(600, static_cast<char>('a' + node.samples % 26)));
  CHECK(attempts == 5);
  const auto hopeless = consistent(*shared, [&](const Snapshot&) -> Result<int> {
    for (int i = 0; i < 2; ++i) node.sample();
    return 1;
  });
  CHECK(hopeless.error().code == ErrorCode::kUnavailable);
}

TEST_CASE("a reader stopped for days in mid-read keeps no page, and reads on when it is woken", "[overtaken]") {
  const TemporaryDirectory directory;
  Node node(directory.path());
  for (int i = 0; i < 400; ++i) node.sample();
  const std::uint64_t used = node.used();
  int ready[2];
  REQUIRE(::pipe(ready) == 0);
  std::vector<pid_t> readers;
  for (int i = 0; i < 3; ++i) {
    readers.push_back(in_child([&] {
      const auto reader = Reader::open(directory.path());
      std::uint64_t entries = 0;
      const Status read = reader.ok() ? (*reader)->for_each(1,
                                                            [&](const Entry&, std::string_view) {
                                                              if (++entries == 3) {
                                                                (void)!::write(ready[1], "r", 1);
                                                                ::raise(SIGSTOP);
                                                              }
                                                              return true;
                                                            })
                                      : Status(reader.error());
      return read.ok() && entries >= 11 && (*reader)->verify({}, {})->faults.empty();
    }));
  }
  char byte = 0;
  for (std::size_t i = 0; i < readers.size(); ++i) REQUIRE(::read(ready[0], &byte, 1) == 1);
  ::close(ready[0]);
  ::close(ready[1]);
  ::kill(readers.back(), SIGKILL);
  CHECK(exit_of(readers.back()) == 128 + SIGKILL);
  readers.pop_back();
  constexpr int kSamples = 5'000;  // Of 10 s each: half a day; days, where a sample is a minute.
  const std::uint64_t file = node.file_bytes();
  for (int i = 0; i < kSamples; ++i) node.sample();
  std::cout << "in use: " << used << " bytes before, " << node.used() << " after " << kSamples
            << " commits beside stopped readers; file " << file << " and " << node.file_bytes() << "\n";
  // What was added are 139 entries of about a thousand bytes each.
  CHECK(node.used() < used + 400'000);
  CHECK(node.file_bytes() == file);
  for (const pid_t reader : readers) {
    ::kill(reader, SIGCONT);
    CHECK(exit_of(reader) == 0);
  }
}

TEST_CASE("more readers than LMDB has slots read at the same time", "[overtaken]") {
  const TemporaryDirectory directory;
  Node node(directory.path());
  for (int i = 0; i < 100; ++i) node.sample();
  std::vector<pid_t> readers;
  for (int i = 0; i < 200; ++i) {
    readers.push_back(in_child([&] {
      const auto reader = Reader::open(directory.path());
      return reader.ok() && (*reader)->verify({}, {})->faults.empty();
    }));
  }
  for (int i = 0; i < 50; ++i) node.sample();
  int failed = 0;
  for (const pid_t reader : readers) failed += exit_of(reader) == 0 ? 0 : 1;
  CHECK(failed == 0);
}
