// Goal: the journal may rely on the same promises whatever holds it.
// Method: one suite, run on the real store and on the one that the simulated world uses.

#include "../sim/memory_kv.h"
#include "kv_conformance.h"
#include "store/lmdb_kv.h"

namespace nodemeter {

TEST_CASE("LMDB keeps the promises of a store", "[kv]") {
  const TemporaryDirectory directory;
  LmdbOptions options;
  options.size_max_bytes = 64u << 20;
  check_kv_conformance([&] { return taken(open_lmdb(directory.path() / "kv", options)); });
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
