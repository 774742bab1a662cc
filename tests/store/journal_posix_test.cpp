// Goal: whatever a killed agent was told of is in the journal, once and in order.
// Method: the journal on LMDB in a process that is killed at random. A kill is not a power cut: the page cache
// survives.

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "store/journal.h"
#include "store/lmdb_kv.h"
#include "store/reader.h"
#include "store_fixtures.h"

namespace nodemeter {

TEST_CASE("a killed agent's journal has every commit it was told of, and its chain holds", "[journal][kill]") {
  const TemporaryDirectory directory;
  LmdbOptions lmdb;
  lmdb.size_max_bytes = 64u << 20;
  Random random(7);
  Sequence told_before = 0;
  for (int round = 0; round < 50; ++round) {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    const pid_t child = ::fork();
    if (child == 0) {
      Random own(static_cast<std::uint64_t>(round));
      auto kv = open_lmdb(journal_directory(directory.path()), lmdb);
      if (!kv) ::_exit(1);
      auto journal = Journal::open(**kv, journal_options(), own);
      if (!journal) ::_exit(2);
      for (;;) {
        JournalCommit commit;
        for (std::uint64_t i = 0; i <= own.below(20); ++i) commit.entries.push_back(usage_entry(i, 1));
        commit.state.push_back({"last", std::to_string((*journal)->state().last_sequence + commit.entries.size())});
        if (!(*journal)->commit(commit, at_ms(1'000))) ::_exit(3);
        const Sequence told = (*journal)->state().last_sequence;
        if (::write(ends[1], &told, sizeof told) != sizeof told) ::_exit(4);
      }
    }
    ::close(ends[1]);
    Sequence told = told_before;
    // Some commits, then the kill falls anywhere in the next one.
    for (std::uint64_t i = 0; i < random.below(8); ++i) {
      if (::read(ends[0], &told, sizeof told) != sizeof told) break;
    }
    ::usleep(static_cast<useconds_t>(random.below(3'000)));
    ::kill(child, SIGKILL);
    Sequence more = 0;
    while (::read(ends[0], &more, sizeof more) == sizeof more) told = more;
    ::close(ends[0]);
    int state = 0;
    REQUIRE(::waitpid(child, &state, 0) == child);
    REQUIRE(WIFSIGNALED(state));

    const auto reader = Reader::open(directory.path());
    if (!reader) {
      CHECK(reader.error().code == ErrorCode::kNotFound);  // Killed before the first commit.
      CHECK(told == 0);
      continue;
    }
    const ChainCheck check = taken((*reader)->verify({}));
    INFO((check.faults.empty() ? std::string() : check.faults.front()));
    REQUIRE(check.faults.empty());
    CHECK(check.last >= told);
    if (check.last > 0) {
      const auto rows = taken((*reader)->state_rows("last"));
      REQUIRE(rows.size() == 1);
      CHECK(rows[0].second == std::to_string(check.last));  // State and entries came together.
    }
    told_before = told;
  }
  CHECK(told_before > 50);
}

}  // namespace nodemeter
