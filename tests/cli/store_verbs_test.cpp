// Goal: a backup is whole or not there, and prune deletes what it said and nothing that is still to be delivered.
// Method: the command line on a state directory that `simulate` made; an agent's lock held by this process.

#include <thread>

#include "command.h"
#include "platform/files.h"
#include "platform/process.h"
#include "platform/random.h"
#include "store/lmdb_kv.h"
#include "store/reader.h"

using namespace nodemeter;
using Catch::Matchers::Contains;

namespace {

namespace fs = std::filesystem;

constexpr const char* kSixHours = R"({ "start": "2026-01-01T00:00:00Z", "end": "2026-01-01T06:00:00Z",
  "sample_interval_s": 60, "vms": [ { "id": "6f1c0000-0000-4000-8000-000000000001", "name": "web", "vcores": 4,
  "memory_mib": 8192, "subscription": "11111111-1111-4111-8111-111111111111", "cpu_percent": 25 } ] })";

class Node {
 public:
  Node() : path_(fs::temp_directory_path() / ("nodemeter-cli-" + Random::from_system().uuid().text())) {
    fs::create_directories(path_);
    std::ofstream(path_ / "s.json") << kSixHours;
    std::ofstream(path_ / "up.toml") << "[state]\npath = \"" << state()
                                     << "\"\n[upload]\nurl = \"https://a.example/\"\n";
    const Outcome made = run({"simulate", (path_ / "s.json").string(), "--state", state()});
    INFO(made.err);
    REQUIRE(made.code == 0);
  }
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;
  ~Node() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  [[nodiscard]] std::string state() const { return (path_ / "state").generic_string(); }
  [[nodiscard]] std::string other(const char* name) const { return (path_ / name).string(); }
  [[nodiscard]] JournalState journal(const std::string& directory) const {
    auto reader = Reader::open(directory);
    REQUIRE(reader.ok());
    return (*reader)->state().value();
  }
  [[nodiscard]] Outcome run(const std::vector<std::string>& arguments) const { return nodemeter_run(arguments); }

 private:
  fs::path path_;
};

}  // namespace

TEST_CASE("a backup verifies, says what it holds, and is never written over", "[cli]") {
  const Node node;
  const Outcome made = node.run({"journal", "backup", node.other("backup"), "--state", node.state()});
  INFO(made.err);
  CHECK(made.code == 0);
  CHECK_THAT(made.out, Contains("entries up to " + std::to_string(node.journal(node.state()).last_sequence)));
  CHECK(node.run({"journal", "verify", "--state", node.other("backup")}).code == 0);
  CHECK(node.journal(node.other("backup")).head == node.journal(node.state()).head);
  const Outcome again = node.run({"journal", "backup", node.other("backup"), "--state", node.state()});
  CHECK(again.code == 2);
  CHECK_THAT(again.err, Contains("exists already"));
  CHECK(node.run({"journal", "backup", node.other("b2"), "--state", node.other("none")}).code == 1);
  CHECK_FALSE(fs::exists(node.other("b2")));
}

TEST_CASE("cat --follow goes on where it left off, over pruning, a copy put back and a replaced journal", "[cli]") {
  const Node node;
  const Sequence last = node.journal(node.state()).last_sequence;
  const auto journal = fs::path(node.state()) / "journal";
  const auto shown = [](const std::string& out) { return std::count(out.begin(), out.end(), '\n'); };
  const auto appended = [&](const fs::path& state, int entries) {
    // As the agent does it: what is marked as a copy begins a new epoch.
    const auto store = open_lmdb(state / "journal", {});
    REQUIRE(store.ok());
    Random random = Random::from_system();
    const JournalState before = node.journal(state.string());
    const auto opened = Journal::open(**store, {before.node, before.location, before.simulated, {}}, random);
    REQUIRE(opened.ok());
    for (int i = 0; i < entries; ++i) {
      JournalCommit commit;
      Entry entry;
      entry.kind = EntryKind::kEvent;
      entry.detail = R"({"event":"of the test"})";
      commit.entries.push_back(entry);
      REQUIRE((*opened)->commit(commit, before.last_reported_at).ok());
    }
  };
  REQUIRE(node.run({"journal", "backup", node.other("copy"), "--state", node.state()}).code == 0);

  Outcome followed;
  std::thread follower([&] {
    followed = node.run(
        {"journal", "cat", "--follow", "--from", std::to_string(last), "--count", "7", "--state", node.state()});
  });
  const auto soon = [] { std::this_thread::sleep_for(std::chrono::seconds(2)); };
  appended(node.state(), 1);
  soon();  // Two entries are out.
  fs::rename(journal, fs::path(node.state()) / "journal.damaged-1");
  soon();  // There is none.
  appended(node.other("copy"), 2);
  fs::rename(fs::path(node.other("copy")) / "journal", journal);
  appended(node.state(), 3);  // The copy's epoch is shown from its beginning.
  follower.join();
  INFO(followed.err << followed.out);
  CHECK(followed.code == 0);
  CHECK(shown(followed.out) == 7);
  CHECK_THAT(followed.err, Contains("there is no journal for the moment"));
  CHECK_THAT(followed.err, Contains("a new epoch begins"));
}

TEST_CASE("prune says what would go, deletes just that, and the chain holds from there", "[cli]") {
  const Node node;
  const std::vector<std::string> prune = {"journal", "prune",     "--before", "2026-01-01T03:30:00Z",
                                          "--state", node.state()};
  std::vector<std::string> dry = prune;
  dry.emplace_back("--dry-run");
  const Outcome planned = node.run(dry);
  CHECK(planned.code == 0);
  CHECK(node.journal(node.state()).oldest_kept == 1);
  const Outcome done = node.run(prune);
  INFO(done.err);
  CHECK(done.code == 0);
  const Sequence oldest = node.journal(node.state()).oldest_kept;
  CHECK(oldest > 3);
  CHECK_THAT(planned.out, Contains(std::to_string(oldest - 1) + " entries would be deleted"));
  CHECK_THAT(done.out, Contains(std::to_string(oldest - 1) + " entries deleted"));
  CHECK(node.run({"journal", "verify", "--state", node.state()}).code == 0);
  CHECK_THAT(node.run(prune).out, Contains("0 entries deleted"));
  CHECK(node.run({"journal", "prune", "--keep", "1d", "--state", node.state()}).code == 0);
  CHECK(node.journal(node.state()).oldest_kept > oldest);
}

TEST_CASE("prune keeps what an uploading node has not delivered, unless it is told to lose it", "[cli]") {
  const Node node;
  const std::vector<std::string> prune = {"journal", "prune", "--keep", "1d", "--config", node.other("up.toml")};
  const JournalState before = node.journal(node.state());
  {
    auto store = open_lmdb(journal_directory(node.state()), {});
    REQUIRE(store.ok());
    Random random(1);
    JournalOptions options;
    options.node = before.node;
    options.simulated = true;
    auto journal = Journal::open(**store, options, random);
    REQUIRE(journal.ok());
    REQUIRE((*journal)->resend_from(5).ok());
  }
  const Outcome kept = node.run(prune);
  INFO(kept.err);
  CHECK(kept.code == 0);
  CHECK(node.journal(node.state()).oldest_kept == 5);
  CHECK_THAT(kept.out, Contains("4 entries deleted") &&
                           Contains(std::to_string(before.last_sequence - 4) + " entries older than that, but not "
                                                                               "delivered yet: kept"));
  std::vector<std::string> lossy = prune;
  lossy.emplace_back("--unacknowledged");
  CHECK(node.run(lossy).code == 0);
  CHECK(node.journal(node.state()).oldest_kept == before.last_sequence);  // What no manifest covers stays.
}

TEST_CASE("prune is refused beside an agent, and the message names its process", "[cli]") {
  const Node node;
  const auto lock = FileLock::acquire(fs::path(node.state()) / "agent.lock");
  REQUIRE(lock.ok());
  const Outcome refused = node.run({"journal", "prune", "--keep", "1d", "--state", node.state()});
  CHECK(refused.code == 1);
  CHECK_THAT(refused.err,
             Contains("(process " + std::to_string(current_process()) + ")") && Contains("stop the agent"));
  CHECK(node.run({"journal", "prune", "--keep", "1d", "--dry-run", "--state", node.state()}).code == 0);
}

TEST_CASE("prune without a limit, or with one that makes no sense, is wrong usage", "[cli]") {
  const Node node;
  CHECK(node.run({"journal", "prune", "--state", node.state()}).code == 2);
  CHECK(node.run({"journal", "prune", "--keep", "soon", "--state", node.state()}).code == 2);
  CHECK(node.run({"journal", "prune", "--before", "then", "--state", node.state()}).code == 2);
  CHECK(node.run({"journal", "prune", "--keep", "1d", "--before", "2026-01-01", "--state", node.state()}).code == 2);
  CHECK(node.journal(node.state()).oldest_kept == 1);
}
