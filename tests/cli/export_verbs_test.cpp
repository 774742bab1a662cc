// Goal: an operator takes the journal away and somebody else checks it, by commands alone.
// Method: the whole command line on a state directory that `simulate` made, and on one with a key file.

#include <catch2/catch.hpp>

#include "agent/node_key.h"
#include "command.h"
#include "platform/files.h"
#include "store/lmdb_kv.h"
#include "store/reader.h"

using namespace nodemeter;
using Catch::Matchers::Contains;

namespace {

std::string key_of(const std::string& state) {
  const Outcome info = nodemeter_run({"journal", "verify", "--state", state, "--json"});
  const std::size_t at = info.out.find("\"key\":\"") + 7;
  return info.out.substr(at, 64);
}

std::uint64_t files_in(const std::string& directory) {
  std::uint64_t files = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator(directory)) ++files;
  return files;
}

}  // namespace

TEST_CASE("an exported journal verifies off the node, with the key and without the state", "[cli][export]") {
  const Directory directory;
  const std::string state = simulated_state(directory);
  const std::string file = directory / "all.nmx";
  const std::string key = key_of(state);
  const Outcome exported = nodemeter_run({"journal", "export", "--state", state, "--out", file});
  CHECK(exported.code == 0);
  CHECK(exported.out.empty());
  CHECK_THAT(exported.err, Contains("entries exported"));
  CHECK_FALSE(fs::exists(file + ".part"));
  fs::remove_all(state);

  Outcome verified = nodemeter_run({"journal", "verify", file, "--key", key});
  CHECK(verified.code == 0);
  CHECK(verified.err.empty());
  CHECK_THAT(verified.out, Contains("manifests signed") && Contains("key " + key));
  verified = nodemeter_run({"journal", "verify", file, "--key", directory.write("signing.pub", key + "\n"), "--json"});
  CHECK(verified.code == 0);
  CHECK_THAT(verified.out, Contains("\"holds\":true"));
  verified = nodemeter_run({"journal", "verify", file});
  CHECK(verified.code == 0);
  CHECK_THAT(verified.err, Contains("give --key the node's signing.pub"));
  verified = nodemeter_run({"journal", "verify", file, "--key", std::string(64, 'a')});
  CHECK(verified.code == 1);
  CHECK_THAT(verified.out, Contains("signed with another key than the node's"));
}

TEST_CASE("standard output takes the same bytes as a file", "[cli][export]") {
  const Directory directory;
  const std::string state = simulated_state(directory);
  const Outcome piped = nodemeter_run({"journal", "export", "--state", state});
  CHECK(nodemeter_run({"journal", "export", "--state", state, "--out", directory / "f"}).code == 0);
  CHECK(piped.out == *read_file(directory / "f", 1u << 20));
}

TEST_CASE("an extract proves each of its rows and says what has no proof yet", "[cli][export]") {
  const Directory directory;
  const std::string state = simulated_state(directory);
  const std::string file = directory / "customer.nmx";
  CHECK(nodemeter_run({"journal", "export", "--state", state, "--subscription", "11111111-1111-4111-8111-111111111111",
                       "--out", file})
            .code == 0);
  const Outcome verified = nodemeter_run({"journal", "verify", file, "--key", key_of(state)});
  CHECK(verified.code == 0);
  CHECK_THAT(verified.out, Contains("3 of 3 single entries are proven"));
}

TEST_CASE("a wrong range or a damaged file is told, and nothing half-written stays", "[cli][export]") {
  const Directory directory;
  const std::string state = simulated_state(directory);
  CHECK(nodemeter_run({"journal", "export", "--state", state, "--start", "yesterday"}).code == 2);
  CHECK(nodemeter_run({"journal", "export", "--state", state, "--first", "9", "--last", "3"}).code == 2);
  CHECK(nodemeter_run({"journal", "export", "--state", state, "--subscription", "x"}).code == 2);
  CHECK(nodemeter_run({"journal", "verify", "--state", state, "--key", "no such file"}).code == 2);
  fs::create_directories(directory / "out");
  CHECK(nodemeter_run({"journal", "export", "--state", directory / "none", "--out", directory / "out/f"}).code == 1);
  CHECK(files_in(directory / "out") == 0);
  CHECK(nodemeter_run({"journal", "export", "--state", state, "--out", directory / "none/f"}).code == 1);
  CHECK(nodemeter_run({"journal", "verify", directory.write("junk", "not an export")}).code == 1);
  CHECK(nodemeter_run({"journal", "verify", directory / "none"}).code == 1);
}

TEST_CASE("a rotated key is vouched for by the old one, and the agent goes on with the new one", "[cli][export]") {
  const Directory directory;
  const std::string state = directory / "state";
  JournalOptions options;
  options.node = *NodeId::parse("node-1");
  Random random(1);
  const auto with_journal = [&](const std::function<void(Journal&)>& work) {
    fs::create_directories(state);
    const auto kv = open_lmdb(journal_directory(state), {});
    REQUIRE(kv.ok());
    const Result<SigningKey> key = open_node_key(state, **kv);
    REQUIRE(key.ok());
    options.key = *key;
    const auto journal = Journal::open(**kv, options, random);
    REQUIRE(journal.ok());
    work(**journal);
  };
  const auto close_hour = [](std::int64_t hour) {
    return [hour](Journal& journal) {
      JournalCommit commit;
      commit.closed_until = hour;
      REQUIRE(journal.commit(commit, UtcTime(std::chrono::hours(hour))).ok());
    };
  };
  with_journal(close_hour(490'000));
  const std::string first_key = *read_file(fs::path(state) / "signing.pub", 100);
  const Result<OthersMay> others = others_may(fs::path(state) / "signing.key");
  REQUIRE(others.ok());
  CHECK_FALSE(others->read);
  CHECK_FALSE(others->write);

  const Outcome rotated = nodemeter_run({"journal", "rotate-key", "--state", state});
  CHECK(rotated.code == 0);
  CHECK_THAT(rotated.out, Contains("signed by the one before, " + first_key.substr(0, 64)));
  CHECK(*read_file(fs::path(state) / "signing.pub", 100) != first_key);
  with_journal(close_hour(490'001));
  const Outcome verified = nodemeter_run({"journal", "verify", "--state", state, "--key", first_key.substr(0, 64)});
  CHECK(verified.code == 0);
  CHECK_THAT(verified.out, Contains("2 of 2 manifests signed"));

  // A crash between the journal's commit and the rename: the next start finishes it.
  with_journal([&](Journal& journal) {
    const Result<SigningKey> next = prepare_next_key(state);
    REQUIRE(next.ok());
    REQUIRE(journal.rotate_key(*next, UtcTime(std::chrono::hours(490'002))).ok());
  });
  with_journal(close_hour(490'003));
  CHECK_FALSE(fs::exists(fs::path(state) / "signing.key.next"));
  CHECK(nodemeter_run({"journal", "verify", "--state", state, "--key", first_key.substr(0, 64)}).code == 0);
}
