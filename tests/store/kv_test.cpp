// Goal: the journal may rely on the same promises whatever holds it.
// Method: one suite, run on the real store and on the one that the simulated world uses.

#include "../sim/memory_kv.h"
#include "kv_conformance.h"
#include "store/lmdb_kv.h"
#include "store/page_snapshot.h"

namespace nodemeter {

TEST_CASE("LMDB keeps the promises of a store", "[kv]") {
  const TemporaryDirectory directory;
  LmdbOptions options;
  options.size_max_bytes = 64u << 20;
  options.map_follows_file = GENERATE(false, true);
  check_kv_conformance([&] { return taken(open_lmdb(directory.path() / "kv", options)); });
}

TEST_CASE("a map that follows the file costs no more disk than the entries, and snapshots live through its moves",
          "[kv]") {
  const TemporaryDirectory directory;
  LmdbOptions options;
  options.size_max_bytes = 64u << 20;
  options.growth_bytes = 128u << 10;
  options.reserve_bytes = 64u << 10;
  options.map_follows_file = true;
  const auto kv = taken(open_lmdb(directory.path() / "kv", options));
  const auto reader = taken(open_shared(directory.path() / "kv"));
  std::unique_ptr<Snapshot> first;
  for (int i = 0; i < 300; ++i) {
    require_ok(kv->commit({{Table::kEntries, std::to_string(1'000 + i), std::string(20'000, 'x')}}));
    if (i == 0) first = taken(kv->snapshot());
    const auto seen = taken(reader->snapshot());
    REQUIRE(taken(seen->last_below(Table::kEntries, {}))->first == std::to_string(1'000 + i));
  }
  CHECK(taken(first->last_below(Table::kEntries, {}))->first == "1000");
  const std::uint64_t size = std::filesystem::file_size(directory.path() / "kv" / "data.mdb");
  CHECK(size > 300 * 20'000);
  CHECK(size < 2 * 300 * 20'000);
}

TEST_CASE("the store of the simulated world keeps the promises of a store", "[kv]") {
  MemoryDisk disk;
  check_kv_conformance([&] { return std::make_unique<MemoryKv>(disk); });
}

TEST_CASE("after a commit of unknown outcome a handle refuses everything, and reopening shows which it was", "[kv]") {
  MemoryDisk disk;
  const bool written = GENERATE(true, false);
  {
    MemoryKv kv(disk);
    disk.fail(written ? MemoryDisk::Fault::kUnknownWritten : MemoryDisk::Fault::kUnknownLost, 1);
    require_ok(kv.commit({{Table::kMeta, "a", "1"}}));
    CHECK(kv.commit({{Table::kMeta, "a", "2"}}).error().code == ErrorCode::kUnavailable);
    CHECK(kv.commit({{Table::kMeta, "a", "3"}}).error().code == ErrorCode::kUnavailable);
    CHECK_FALSE(kv.snapshot().ok());
  }
  const MemoryKv reopened(disk);
  CHECK(all_rows(reopened, Table::kMeta) == (written ? "a=2 " : "a=1 "));
}

}  // namespace nodemeter
