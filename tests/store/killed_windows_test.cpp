// Goal: on Windows, too, a process that is killed at any instruction costs nobody else anything: the journal has what
// its agent was told of, the live view shows one publication whole, and neither waits for the dead. Method: journal,
// writer and reader in processes of their own, ended by the system at random. A kill is not a power cut: the page cache
// survives.

#include <windows.h>

#include <chrono>
#include <thread>

#include "live_numbers.h"
#include "platform/shared_region.h"
#include "store/journal.h"
#include "store/lmdb_kv.h"
#include "store/reader.h"
#include "tests/windows/child_process.h"

namespace nodemeter {

using testing::child_argument;
using testing::ChildProcess;
using testing::tell;

namespace {

LmdbOptions small_store() {
  LmdbOptions options;
  options.size_max_bytes = 64u << 20;
  return options;
}

void sleep_us(std::uint64_t us) { std::this_thread::sleep_for(std::chrono::microseconds(us)); }

}  // namespace

// ---- What the children do, until they are killed ----

TEST_CASE("child: commits to a journal and tells what it was told", "[.child]") {
  Random own = Random::from_system();
  const auto kv = taken(open_lmdb(journal_directory(child_argument()), small_store()));
  const auto journal = taken(Journal::open(*kv, journal_options(), own));
  for (;;) {
    JournalCommit commit;
    for (std::uint64_t i = 0; i <= own.below(20); ++i) commit.entries.push_back(usage_entry(i, 1));
    commit.state.push_back({"last", std::to_string(journal->state().last_sequence + commit.entries.size())});
    require_ok(journal->commit(commit, at_ms(1'000)));
    REQUIRE(tell(journal->state().last_sequence));
  }
}

TEST_CASE("child: holds a snapshot of a store", "[.child]") {
  const auto kv = taken(open_lmdb(child_argument(), small_store()));
  require_ok(kv->commit({{Table::kMeta, "a", "1"}}));
  const auto snapshot = taken(kv->snapshot());
  REQUIRE(tell(1));
  sleep_us(600'000'000);
}

TEST_CASE("child: publishes", "[.child]") {
  const auto writer = taken(LiveWriter::create(child_argument(), ""));
  for (std::uint64_t n = 1;; ++n) {
    writer->publish(numbered(n, 100));
    if (n == 1) REQUIRE(tell(n));
  }
}

TEST_CASE("child: tries to publish under a name that is taken", "[.child]") {
  const auto second = LiveWriter::create(child_argument(), "");
  REQUIRE(tell(!second.ok() && second.error().code == ErrorCode::kLocked ? 1 : 0));
}

TEST_CASE("child: reads the live view", "[.child]") {
  REQUIRE(read_live_view(child_argument()).ok());
  REQUIRE(tell(1));
  for (;;) (void)read_live_view(child_argument());
}

// ---- What is left of it ----

TEST_CASE("a killed agent's journal on Windows has every commit it was told of, and its chain holds",
          "[journal][kill]") {
  const TemporaryDirectory directory;
  Random random(7);
  Sequence told_before = 0;
  for (int round = 0; round < 15; ++round) {
    const ChildProcess agent("child: commits to a journal and tells what it was told", directory.path().string());
    Sequence told = told_before;
    // Some commits, then the kill falls anywhere in the next one.
    for (std::uint64_t i = 0; i <= random.below(8); ++i) {
      const auto next = agent.told();
      REQUIRE(next.has_value());
      told = *next;
    }
    sleep_us(random.below(3'000));
    agent.kill();
    while (const auto next = agent.told()) told = *next;
    const auto reader = taken(Reader::open(directory.path()));
    const ChainCheck check = taken(reader->verify({}));
    INFO((check.faults.empty() ? std::string() : check.faults.front()));
    REQUIRE(check.faults.empty());
    CHECK(check.last >= told);
    CHECK(told > told_before);
    const auto rows = taken(reader->state_rows("last"));
    REQUIRE(rows.size() == 1);
    CHECK(rows[0].second == std::to_string(check.last));  // State and entries came together.
    told_before = told;
  }
}

TEST_CASE("the slot of a reader that was killed on Windows is freed and pins no pages", "[lmdb][kill]") {
  const TemporaryDirectory directory;
  LmdbOptions options;
  options.size_max_bytes = 8u << 20;
  {
    const ChildProcess reader("child: holds a snapshot of a store", (directory.path() / "kv").string());
    REQUIRE(reader.told() == 1);
  }
  const auto kv = taken(open_lmdb(directory.path() / "kv", options));
  kv->maintain();
  // Rewriting one row fills the map many times over, unless old pages are used again.
  for (int i = 0; i < 600; ++i) require_ok(kv->commit({{Table::kState, "row", std::string(20'000, 'x')}}));
}

TEST_CASE("a writer killed at any instruction leaves who watches one publication whole, marked as stale",
          "[live][kill]") {
  const std::string name = fresh_name();
  Random random(11);
  for (int round = 0; round < 15; ++round) {
    const ChildProcess agent("child: publishes", name);
    REQUIRE(agent.told() == 1);
    const auto watched = taken(SharedRegion::open(name));  // The system keeps it for who still looks at it.
    sleep_us(random.below(5'000));
    agent.kill();
    const LiveSnapshot left = taken(read_live_view(name));
    REQUIRE(whole(left));
    CHECK_FALSE(left.writer_alive);
    if (round % 2 != 0) continue;
    // And the next agent takes the name over, although somebody looks at it.
    const auto writer = taken(LiveWriter::create(name, ""));
    writer->publish(numbered(7));
    CHECK(taken(read_live_view(name)).writer_alive);
  }
  CHECK(read_live_view(name).error().code == ErrorCode::kNotFound);  // Nobody does any more.
}

TEST_CASE("a second process cannot publish under a name that is taken", "[live]") {
  const std::string name = fresh_name();
  {
    const auto writer = taken(LiveWriter::create(name, ""));
    writer->publish(numbered(1));
    CHECK(ChildProcess("child: tries to publish under a name that is taken", name).told() == 1);
    CHECK(taken(read_live_view(name)).node.last_sequence == 1);
  }
  CHECK(read_live_view(name).error().code == ErrorCode::kNotFound);
}

TEST_CASE("a reader of the live view killed at any instruction does not hinder its writer", "[live][kill]") {
  const std::string name = fresh_name();
  const auto writer = taken(LiveWriter::create(name, ""));
  writer->publish(numbered(1, 100));
  Random random(13);
  std::uint64_t n = 1;
  for (int round = 0; round < 8; ++round) {
    const ChildProcess reader("child: reads the live view", name);
    REQUIRE(reader.told() == 1);
    for (std::uint64_t i = 0; i < random.below(200); ++i) writer->publish(numbered(++n, 100));
    reader.kill();
    writer->publish(numbered(++n, 100));
    CHECK(taken(read_live_view(name)).node.last_sequence == n);
  }
}

}  // namespace nodemeter
