// Goal: what LMDB does to you (full maps, foreign files, dead readers, second openings) comes back as a designed
// answer. Method: provoke each one on a real store in a temporary directory. Killing a process is not losing power: the
// growth test checks the order of sizes, not the disk. lmdb_kv_posix_test.cpp has accounts, modes and other processes.

#include "store/lmdb_kv.h"

#include <fstream>

#include "lmdb_entries.h"

namespace nodemeter {

namespace fs = std::filesystem;

namespace {

void write_file(const fs::path& path, const std::string& content) { std::ofstream(path, std::ios::binary) << content; }

}  // namespace

TEST_CASE("a full store refuses entries whole, still takes marks, and takes entries again after pruning", "[lmdb]") {
  const TemporaryDirectory directory;
  LmdbOptions options;
  options.size_max_bytes = 2u << 20;
  options.map_follows_file = GENERATE(false, true);
  const auto kv = taken(open_lmdb(directory.path() / "kv", options));
  int last = 0;
  Status status = Done{};
  for (; last < 10'000; ++last) {
    status = kv->commit(entry(last, 10'000));
    if (!status) break;
  }
  REQUIRE_FALSE(status.ok());
  CHECK(status.error().code == ErrorCode::kFull);
  CHECK(status.error().message.find("size_max") != std::string::npos);
  CHECK(last > 80);
  const std::string head = std::to_string(100'000 + last - 1);
  CHECK(taken(taken(kv->snapshot())->get(Table::kMeta, "head")) == head);
  CHECK_FALSE(taken(taken(kv->snapshot())->get(Table::kEntries, std::to_string(100'000 + last))).has_value());

  // The reserve: hundreds of commits of marks and state, while entries are refused.
  for (int i = 0; i < 300; ++i) {
    require_ok(
        kv->commit({{Table::kMeta, "acknowledged", std::to_string(i)}, {Table::kState, "vm", std::string(900, 's')}}));
  }
  CHECK(kv->commit(entry(last, 10'000)).error().code == ErrorCode::kFull);
  std::vector<Write> pruning;
  for (int i = 0; i < last / 2; ++i) pruning.push_back({Table::kEntries, std::to_string(100'000 + i), std::nullopt});
  require_ok(kv->commit(pruning));
  require_ok(kv->commit({{Table::kMeta, "pages of the commit before become free", "1"}}));
  for (int i = 0; i < last / 4; ++i) require_ok(kv->commit(entry(last + i, 10'000)));
}

TEST_CASE("no commit leaves used pages beyond what was durably there before it", "[lmdb]") {
  const TemporaryDirectory directory;
  LmdbOptions options;
  options.size_max_bytes = 64u << 20;
  options.growth_bytes = 256u << 10;
  options.reserve_bytes = 64u << 10;
  const fs::path file = directory.path() / "kv" / "data.mdb";
  const auto kv = taken(open_lmdb(directory.path() / "kv", options));
  for (int i = 0; i < 300; ++i) {
    const std::uint64_t before = fs::file_size(file);
    require_ok(kv->commit(entry(i, 10'000)));
    // LMDB itself grows a file by what it needs; ours only ever grows by whole chunks, ahead.
    CHECK(fs::file_size(file) % options.growth_bytes == 0);
    CHECK(fs::file_size(file) >= before);
    CHECK(kv->usage().used_bytes <= fs::file_size(file));
  }
}

TEST_CASE("a file that is no store, and one that was cut short, are refused and left alone", "[lmdb]") {
  const TemporaryDirectory directory;
  const fs::path kv = directory.path() / "kv";
  const fs::path file = kv / "data.mdb";
  SECTION("garbage") {
    fs::create_directories(kv);
    write_file(file, std::string(20'000, 'g'));
    const auto opened = open_lmdb(kv, {});
    REQUIRE_FALSE(opened.ok());
    CHECK(opened.error().code == ErrorCode::kCorrupt);
    CHECK(opened.error().message.find("data.mdb is not a store") != std::string::npos);
    CHECK(fs::file_size(file) == 20'000);
  }
  SECTION("cut short") {
    {
      const auto whole = taken(open_lmdb(kv, {}));
      for (int i = 0; i < 20; ++i) require_ok(whole->commit(entry(i, 10'000)));
    }
    fs::resize_file(file, 5 * 4096);
    LmdbOptions options;
    options.read_only = GENERATE(false, true);
    const auto opened = open_lmdb(kv, options);
    REQUIRE_FALSE(opened.ok());
    CHECK(opened.error().code == ErrorCode::kCorrupt);
    CHECK(opened.error().message.find("cut short") != std::string::npos);
    CHECK(fs::file_size(file) == 5 * 4096);
  }
}

TEST_CASE("a creation that did not come to its end is begun anew, and ends with one file under one name", "[lmdb]") {
  const TemporaryDirectory directory;
  const fs::path kv = directory.path() / "deep" / "kv";
  fs::create_directories(kv);
  write_file(kv / "data.mdb.new", std::string(20'000, '\0'));
  require_ok(taken(open_lmdb(kv, {}))->commit(entry(1, 100)));
  CHECK_FALSE(fs::exists(kv / "data.mdb.new"));
  CHECK(fs::hard_link_count(kv / "data.mdb") == 1);
  // Cut off between the two names: the store is whole, and what it holds stays.
  fs::create_hard_link(kv / "data.mdb", kv / "data.mdb.new");
  CHECK(all_rows(*taken(open_lmdb(kv, {})), Table::kMeta) == "head=100001 ");
  CHECK(fs::hard_link_count(kv / "data.mdb") == 1);
}

TEST_CASE("one directory is opened once per process, however it is spelled", "[lmdb]") {
  const TemporaryDirectory directory;
  {
    const auto kv = taken(open_lmdb(directory.path() / "kv", {}));
    LmdbOptions read_only;
    read_only.read_only = true;
    CHECK(open_lmdb(directory.path() / "kv", {}).error().code == ErrorCode::kLocked);
    CHECK(open_lmdb(directory.path() / "kv" / ".." / "kv", read_only).error().code == ErrorCode::kLocked);
  }
  CHECK(open_lmdb(directory.path() / "kv", {}).ok());
}

TEST_CASE("a missing store is not made by reading it", "[lmdb]") {
  const TemporaryDirectory directory;
  LmdbOptions options;
  options.read_only = true;
  CHECK(open_lmdb(directory.path() / "kv", options).error().code == ErrorCode::kNotFound);
  CHECK_FALSE(fs::exists(directory.path() / "kv"));
}

}  // namespace nodemeter
