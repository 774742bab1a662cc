// Goal: what LMDB writes passes every check, what was damaged does not, and LMDB's own way out does not end a process.
// Method: a store with all kinds of pages, made by hundreds of commits of seeded sizes, beside a map of what it must
// hold; then one damage of each kind. Thousands of random damages are tests/corruption's.

#include "store/lmdb_pages.h"

#include <lmdb.h>

#include <fstream>
#include <map>
#include <sstream>

#include "store/lmdb_check.h"
#include "store/lmdb_kv.h"
#include "store/page_snapshot.h"
#include "store_fixtures.h"

namespace nodemeter {

namespace fs = std::filesystem;
using namespace lmdb_pages;

namespace {

using Rows = std::map<std::pair<std::string, std::string>, std::string>;

LmdbOptions small() {
  LmdbOptions options;
  options.size_max_bytes = 64u << 20;
  options.growth_bytes = 64u << 10;
  return options;
}

// Commits that grow, shrink, replace and delete, with values on and off the leaves.
void churn(KeyValue& kv, Random& random, int commits, Rows& rows) {
  for (int i = 0; i < commits; ++i) {
    std::vector<Write> writes;
    const std::uint64_t count = 1 + random.below(30);
    for (std::uint64_t k = 0; k < count; ++k) {
      const auto table = static_cast<Table>(random.below(3));
      std::string key = std::to_string(random.below(400));
      key += std::string(random.below(4) == 0 ? random.below(300) : 0, 'k');
      const std::string name = kTableNames[static_cast<std::size_t>(table)];
      if (random.below(3) == 0) {
        rows.erase({name, key});
        writes.push_back({table, key, std::nullopt});
        continue;
      }
      const std::string value(random.below(20) == 0 ? random.below(30'000) : random.below(600), 'v');
      rows[{name, key}] = value;
      writes.push_back({table, key, value});
    }
    require_ok(kv.commit(writes));
  }
}

std::string content(const fs::path& file) {
  std::ostringstream text;
  text << std::ifstream(file, std::ios::binary).rdbuf();
  return text.str();
}

std::string message(const Status& status) { return status ? "" : status.error().message; }

// A store with entries on several levels, and its bytes.
struct Stored {
  Stored() {
    {
      const auto kv = taken(open_lmdb(directory.path() / "kv", small()));
      for (int i = 0; i < 40; ++i) {
        std::vector<Write> writes;
        for (int k = 0; k < 50; ++k) {
          writes.push_back({Table::kEntries, std::to_string(100'000 + 50 * i + k), std::string(700, 'e')});
        }
        writes.push_back({Table::kState, "long", std::string(9'000, 's')});
        writes.push_back({Table::kMeta, "mark", std::to_string(i)});
        require_ok(kv->commit(writes));
      }
    }
    bytes = content(directory.path() / "kv" / "data.mdb");
    version = taken(read_version(*bytes_in_memory(bytes)));
    for (const Tree& tree : taken(read_tables(*bytes_in_memory(bytes), version))) trees[tree.name] = tree;
  }
  // What the quick check and the whole check say about the bytes with one of them changed.
  std::pair<std::string, WholeCheck> after(std::uint64_t offset, std::uint8_t bits) {
    std::string damaged = bytes;
    damaged[offset] = static_cast<char>(damaged[offset] ^ bits);
    const auto source = bytes_in_memory(damaged);
    Result<WholeCheck> whole = check_whole(*source);
    return {message(check_quick(*source)), whole ? *whole : WholeCheck{}};
  }
  TemporaryDirectory directory;
  std::string bytes;
  Version version;
  std::map<std::string, Tree> trees;
};

}  // namespace

TEST_CASE("whatever was committed, the pages hold and give back every row", "[pages]") {
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    INFO("seed " << seed);
    const TemporaryDirectory directory;
    Random random(seed);
    Rows rows;
    for (int opening = 0; opening < 3; ++opening) {
      {
        const auto kv = taken(open_lmdb(directory.path() / "kv", small()));
        churn(*kv, random, 60, rows);
      }
      const auto bytes = taken(open_bytes(directory.path() / "kv" / "data.mdb"));
      Rows seen;
      const WholeCheck check =
          taken(check_whole(*bytes, [&](const Tree& table, std::string_view key, std::string_view value) {
            seen[{table.name, std::string(key)}] = std::string(value);
          }));
      INFO((check.faults.empty() ? std::string() : check.faults.front().what));
      CHECK(check.faults.empty());
      CHECK(check.rows == rows.size());
      CHECK(seen == rows);
      CHECK(message(check_quick(*bytes)) == "");
    }
  }
}

TEST_CASE("a snapshot keeps its moment while pages are used again", "[pages]") {
  const TemporaryDirectory directory;
  const auto kv = taken(open_lmdb(directory.path() / "kv", small()));
  Random random(5);
  Rows rows;
  churn(*kv, random, 40, rows);
  const Rows then = rows;
  const auto snapshot = taken(kv->snapshot());
  churn(*kv, random, 1, rows);
  const auto all = [&] {
    Rows seen;
    for (const Table table : {Table::kMeta, Table::kState, Table::kEntries}) {
      require_ok(snapshot->scan(table, {}, [&](std::string_view key, std::string_view value) {
        seen[{kTableNames[static_cast<std::size_t>(table)], std::string(key)}] = std::string(value);
        return true;
      }));
    }
    return seen;
  };
  CHECK(all() == then);
  churn(*kv, random, 60, rows);  // Many commits later the meta page of that moment is long gone.
  CHECK(all() == then);
}

TEST_CASE("damage is located: the page, its table, and the rows that it takes away", "[pages]") {
  Stored stored;
  const Tree& entries = stored.trees.at("entries");
  REQUIRE(entries.depth >= 2);
  const bool depth_two = entries.depth == 2;

  // The last child of the root: from its separator on nothing can be reached.
  Page root;
  require_ok(root.load(*bytes_in_memory(stored.bytes), stored.version, entries.root, false));
  const std::uint64_t child = root.child(root.count() - 1);
  const auto [quick, whole] = stored.after(child * 4096 + 10, 0x40);
  const int kind = depth_two ? 66 : 65;
  REQUIRE(whole.faults.size() == 1);
  CHECK(whole.faults[0].table == "entries");
  CHECK(whole.faults[0].page == child);
  CHECK(whole.faults[0].offset == child * 4096);
  CHECK(whole.faults[0].from == root.key(root.count() - 1));
  CHECK_FALSE(whole.faults[0].to.has_value());
  CHECK(quick == "page " + std::to_string(child) + " (byte " + std::to_string(child * 4096) +
                     "), table entries: it is no page of a tree (kind " + std::to_string(kind) + ")");
  CHECK(whole.rows < entries.entries + 2);

  // A meta page's transaction number, any bit of it: the two do not follow each other any more.
  for (std::uint64_t bit = 0; bit < 64; ++bit) {
    CHECK(stored.after(16 + 128 + bit / 8, static_cast<std::uint8_t>(1u << (bit % 8))).first != "");
    CHECK(stored.after(4096 + 16 + 128 + bit / 8, static_cast<std::uint8_t>(1u << (bit % 8))).first != "");
  }
  // A count of pages: they do not add up to the file's.
  const std::uint64_t newest = stored.version.transaction % 2 * 4096;
  CHECK(stored.after(newest + 16 + 72 + 8, 0x01).first.find("counts") != std::string::npos);
}

TEST_CASE("a file that is cut short says how much of it is gone", "[pages]") {
  Stored stored;
  const std::string half = stored.bytes.substr(0, stored.version.last_page / 2 * 4096);
  const std::string said = message(check_quick(*bytes_in_memory(half)));
  CHECK(said.find("cut short: it has " + std::to_string(half.size())) != std::string::npos);
  fs::resize_file(stored.directory.path() / "kv" / "data.mdb", half.size());
  for (const bool read_only : {true, false}) {
    LmdbOptions options = small();
    options.read_only = read_only;
    const auto opened = open_lmdb(stored.directory.path() / "kv", options);
    REQUIRE_FALSE(opened.ok());
    CHECK(opened.error().code == ErrorCode::kCorrupt);
  }
}

TEST_CASE("a store that is damaged while it is open answers, and writes nothing more", "[pages]") {
  Stored stored;
  const fs::path file = stored.directory.path() / "kv" / "data.mdb";
  const auto kv = taken(open_lmdb(stored.directory.path() / "kv", small()));
  std::string wrong = stored.bytes;
  for (std::uint64_t page = 2; page <= stored.version.last_page; ++page) {
    wrong.replace(page * 4096, 4096, std::string(4096, '\x5a'));
  }
  {
    std::fstream writer(file, std::ios::binary | std::ios::in | std::ios::out);
    writer.seekp(2 * 4096);
    writer.write(wrong.data() + 8192, static_cast<std::streamsize>(stored.version.last_page * 4096 - 4096));
  }
  const Status committed = kv->commit({{Table::kState, "x", "y"}});
  REQUIRE_FALSE(committed.ok());
  CHECK(committed.error().code == ErrorCode::kCorrupt);
  CHECK(kv->snapshot().error().code == ErrorCode::kCorrupt);
  CHECK(kv->usage().size_max_bytes == small().size_max_bytes);
  // Cut short under a map: reading it there would end the process. Windows does not let anybody do that.
  std::error_code refused;
  fs::resize_file(file, 8192, refused);
  CHECK(kv->commit({{Table::kState, "x", "y"}}).error().code == ErrorCode::kCorrupt);
  CHECK(kv->snapshot().error().code == ErrorCode::kCorrupt);
}

// The last line, behind all checks: LMDB's assertions end the process unless somebody throws out of them.
TEST_CASE("LMDB's assertion can be left by an exception", "[pages]") {
  Stored stored;
  // A branch with one child is what LMDB asserts against. Our own checks would never let it come to that.
  std::string damaged = stored.bytes;
  const std::uint64_t root = stored.trees.at("entries").root;
  damaged[root * 4096 + 12] = 18;
  damaged[root * 4096 + 13] = 0;
  const fs::path directory = stored.directory.path() / "damaged";
  fs::create_directory(directory);
  std::ofstream(directory / "data.mdb", std::ios::binary) << damaged;

  static MDB_env* env = nullptr;  // Never closed, and never forgotten: a leak to nobody.
  REQUIRE(mdb_env_create(&env) == 0);
  REQUIRE(mdb_env_set_maxdbs(env, 3) == 0);
  mdb_env_set_assert(env, [](MDB_env*, const char* what) { throw std::runtime_error(what); });
  REQUIRE(mdb_env_open(env, directory.string().c_str(), MDB_NOTLS, 0600) == 0);
  MDB_txn* txn = nullptr;
  REQUIRE(mdb_txn_begin(env, nullptr, 0, &txn) == 0);
  MDB_dbi dbi = 0;
  REQUIRE(mdb_dbi_open(txn, "entries", 0, &dbi) == 0);
  MDB_val key{6, const_cast<char*>("100500")};
  MDB_val value{1, const_cast<char*>("v")};
  CHECK_THROWS_AS(mdb_put(txn, dbi, &key, &value, 0), std::runtime_error);
  // The handles are left alone, as the store does: what they hold goes with the process.
}

}  // namespace nodemeter
