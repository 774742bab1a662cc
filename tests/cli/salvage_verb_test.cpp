// Goal: what a damaged journal still holds comes back through the command line, and what does not is named by number.
// Method: pages of a simulated node's data file are overwritten; the salvaged copy is read by the other verbs.

#include <set>

#include "store/lmdb_kv.h"
#include "store/reader.h"
#include "tests/cli/command.h"

using namespace nodemeter;
using Catch::Matchers::Contains;

namespace {

std::map<Sequence, Digest> entries_of(const std::string& state) {
  const auto reader = Reader::open(state);
  REQUIRE(reader.ok());
  std::map<Sequence, Digest> entries;
  REQUIRE((*reader)->for_each(1, [&](const Entry& entry, std::string_view /*row*/) {
    entries[entry.sequence] = entry.digest;
    return true;
  }));
  return entries;
}

// Every page with the text in one of its rows, overwritten: older versions of a page stay in the file. What lies
// between a page's offsets and its rows (from `upper` on, store/lmdb_pages.h) is of an earlier use of the page.
void destroy_pages_with(const std::string& state, const std::string& text) {
  const fs::path file = journal_directory(state) / "data.mdb";
  std::stringstream stream;
  stream << std::ifstream(file, std::ios::binary).rdbuf();
  std::string bytes = stream.str();
  int destroyed = 0;
  for (std::size_t at = bytes.find(text); at != std::string::npos; at = bytes.find(text, at + 1)) {
    const std::size_t page = at / 4096 * 4096;
    const auto byte = [&](std::size_t i) { return std::size_t{static_cast<unsigned char>(bytes[page + i])}; };
    if (at - page < byte(14) + 256 * byte(15)) continue;
    bytes.replace(page, 4096, std::string(4096, '\x5a'));
    ++destroyed;
  }
  REQUIRE(destroyed > 0);
  std::ofstream(file, std::ios::binary) << bytes;
}

}  // namespace

TEST_CASE("salvage brings back what holds, names what is lost, and leaves the damaged store alone", "[cli][salvage]") {
  const Directory directory;
  const std::string state = simulated_state(directory);
  const auto whole = entries_of(state);
  const Outcome sound = nodemeter_run({"journal", "salvage", state, "--out", directory / "copy", "--json"});
  INFO(sound.err);
  CHECK(sound.code == 0);
  CHECK(entries_of(directory / "copy") == whole);

  destroy_pages_with(state, "agent down");
  const Outcome verified = nodemeter_run({"journal", "verify", "--state", state});
  CHECK(verified.code == 1);
  CHECK_THAT(verified.out, Contains("page") && Contains("affects entries"));
  CHECK_THAT(verified.err, Contains("nodemeter journal salvage"));

  const Outcome salvaged = nodemeter_run({"journal", "salvage", state, "--out", directory / "saved"});
  INFO(salvaged.out << salvaged.err);
  CHECK(salvaged.code == 3);
  CHECK_THAT(salvaged.out, Contains("entries recovered") && Contains("verified by the chain"));
  const auto saved = entries_of(directory / "saved");
  CHECK(!saved.empty());
  CHECK(saved.size() < whole.size());
  for (const auto& [sequence, digest] : saved) CHECK(whole.at(sequence) == digest);
  CHECK(nodemeter_run({"journal", "cat", "--state", directory / "saved"}).code == 0);

  const Outcome again = nodemeter_run({"journal", "salvage", state, "--out", directory / "saved"});
  CHECK(again.code != 0);
  CHECK_THAT(again.err, Contains("saved"));
  CHECK(entries_of(directory / "saved") == saved);
}

TEST_CASE("salvage of something that is no journal says so and makes nothing", "[cli][salvage]") {
  const Directory directory;
  const Outcome nothing = nodemeter_run({"journal", "salvage", directory / "nowhere", "--out", directory / "saved"});
  CHECK(nothing.code == 1);
  CHECK_FALSE(nothing.err.empty());
  CHECK_FALSE(fs::exists(directory / "saved"));
  CHECK(nodemeter_run({"journal", "salvage", directory / "nowhere"}).code == 2);
}
