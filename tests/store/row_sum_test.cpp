#include "store/row_sum.h"

#include <catch2/catch.hpp>

#include "store/journal_format.h"
#include "tests/sim/memory_kv.h"
#include "tests/store/store_fixtures.h"

using namespace nodemeter;
using journal_format::check_sum;
using journal_format::Sealer;

namespace {

// Counts what is read again.
class CountedKv final : public KeyValue {
 public:
  explicit CountedKv(MemoryDisk& disk) : kv_(disk) {}
  Status commit(const std::vector<Write>& writes) override { return kv_.commit(writes); }
  Result<std::unique_ptr<Snapshot>> snapshot() const override {
    ++snapshots;
    return kv_.snapshot();
  }
  Usage usage() const override { return kv_.usage(); }
  mutable int snapshots = 0;

 private:
  MemoryKv kv_;
};

struct Fixture {
  Fixture() {
    REQUIRE(commit(
        sealer, {{Table::kMeta, std::string(journal_format::kFormatKey), journal_format::encode_format(kStoreFormat)},
                 {Table::kState, "vm/1", "one"}}));
  }
  bool commit(Sealer& by, std::vector<Write> writes) {
    require_ok(by.seal(kv, writes));
    if (!kv.commit(writes)) return false;
    by.committed();
    return true;
  }
  bool holds() { return check_sum(*taken(kv.snapshot())).ok(); }

  MemoryDisk disk;
  CountedKv kv{disk};
  Sealer sealer;
};

}  // namespace

TEST_CASE("the sum holds over puts, replacements and deletions, of one commit and of several", "[sum]") {
  Fixture f;
  CHECK(f.holds());
  CHECK(f.commit(f.sealer, {{Table::kState, "vm/1", "two"},
                            {Table::kState, "vm/1", "three"},
                            {Table::kState, "vm/2", "x"},
                            {Table::kState, "vm/2", std::nullopt},
                            {Table::kState, "vm/3", std::nullopt},
                            {Table::kEntries, "e", "entries have their chain"}}));
  CHECK(f.holds());
  CHECK(f.commit(f.sealer, {{Table::kState, "vm/1", std::nullopt}, {Table::kMeta, "vm/1", "of another table"}}));
  CHECK(f.holds());
  CHECK(f.commit(f.sealer, {{Table::kState, "vm/1", "again"}}));
  CHECK(f.holds());
}

TEST_CASE("another sealer goes on where the first one ended", "[sum]") {
  Fixture f;
  Sealer second;
  CHECK(f.commit(second, {{Table::kState, "vm/1", "two"}, {Table::kState, "vm/2", "x"}}));
  CHECK(f.holds());
}

TEST_CASE("what a sealer wrote it does not read again", "[sum]") {
  Fixture f;
  f.kv.snapshots = 0;
  for (int i = 0; i < 5; ++i) CHECK(f.commit(f.sealer, {{Table::kState, "vm/1", std::to_string(i)}}));
  CHECK(f.kv.snapshots == 0);
  CHECK(f.holds());
}

TEST_CASE("a commit that was refused leaves the sum of what is there", "[sum]") {
  Fixture f;
  f.disk.fail(MemoryDisk::Fault::kFull);
  CHECK_FALSE(f.commit(f.sealer, {{Table::kState, "vm/1", "two"}, {Table::kState, "vm/2", "x"}}));
  CHECK(f.holds());
  CHECK(f.commit(f.sealer, {{Table::kState, "vm/2", "y"}, {Table::kState, "vm/1", std::nullopt}}));
  CHECK(f.holds());
}

TEST_CASE("a damaged row shows, and its successor is not spoiled by it", "[sum]") {
  Fixture f;
  f.disk.damage(Table::kState, "vm/1", "onf");
  CHECK_FALSE(f.holds());
  CHECK(f.commit(f.sealer, {{Table::kState, "vm/1", "two"}}));
  CHECK(f.holds());
  f.disk.lose(Table::kState, "vm/1");
  CHECK_FALSE(f.holds());
}
