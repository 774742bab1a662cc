// What every KeyValue has to do. `Opener` opens the same store anew each time it is called; the handle that it gave
// before is closed by then.

#pragma once

#include <functional>

#include "store/kv.h"
#include "store_fixtures.h"

namespace nodemeter {

using Opener = std::function<std::unique_ptr<KeyValue>()>;

inline std::string all_rows(const KeyValue& kv, Table table, std::string_view from = {}) {
  std::string rows;
  const auto snapshot = taken(kv.snapshot());
  require_ok(snapshot->scan(table, from, [&rows](std::string_view key, std::string_view value) {
    rows += std::string(key) + "=" + std::string(value) + " ";
    return true;
  }));
  return rows;
}

inline void check_kv_conformance(const Opener& open) {
  std::unique_ptr<KeyValue> kv = open();
  const auto reopen = [&] {
    kv.reset();
    kv = open();
  };

  SECTION("tables are apart, keys come in byte order, and all of it is there after reopening") {
    require_ok(kv->commit({{Table::kMeta, "b", "1"}, {Table::kMeta, "a", "2"}, {Table::kState, "b", "3"}}));
    require_ok(kv->commit({{Table::kMeta, std::string("\xff", 1), "4"}}));
    reopen();
    CHECK(all_rows(*kv, Table::kMeta) == "a=2 b=1 \xff=4 ");
    CHECK(all_rows(*kv, Table::kState) == "b=3 ");
    CHECK(all_rows(*kv, Table::kEntries).empty());
    CHECK(all_rows(*kv, Table::kMeta, "aa") == "b=1 \xff=4 ");
  }
  SECTION("a later write of one commit wins over an earlier one, and deleting what is not there is fine") {
    require_ok(kv->commit({{Table::kMeta, "a", "1"}, {Table::kMeta, "a", "2"}, {Table::kMeta, "c", std::nullopt}}));
    CHECK(all_rows(*kv, Table::kMeta) == "a=2 ");
    require_ok(kv->commit({{Table::kMeta, "a", std::nullopt}}));
    CHECK(all_rows(*kv, Table::kMeta).empty());
  }
  SECTION("entries may come out of order and be replaced") {
    require_ok(kv->commit({{Table::kEntries, "2", "two"}, {Table::kEntries, "1", "one"}, {Table::kEntries, "3", "x"}}));
    require_ok(kv->commit({{Table::kEntries, "3", "three"}, {Table::kEntries, "2", "zwei"}}));
    CHECK(all_rows(*kv, Table::kEntries) == "1=one 2=zwei 3=three ");
  }
  SECTION("a snapshot does not see what is committed after it") {
    require_ok(kv->commit({{Table::kMeta, "a", "old"}}));
    const auto before = taken(kv->snapshot());
    require_ok(kv->commit({{Table::kMeta, "a", "new"}, {Table::kMeta, "b", "new"}}));
    CHECK(taken(before->get(Table::kMeta, "a")) == "old");
    CHECK_FALSE(taken(before->get(Table::kMeta, "b")).has_value());
    CHECK(taken(taken(kv->snapshot())->get(Table::kMeta, "a")) == "new");
  }
  SECTION("an empty value is a value") {
    require_ok(kv->commit({{Table::kMeta, "a", ""}}));
    reopen();
    CHECK(taken(taken(kv->snapshot())->get(Table::kMeta, "a")) == "");
  }
  SECTION("the last row below a key is found at the edges too") {
    const auto last_below = [&](std::string_view key) {
      const auto row = taken(taken(kv->snapshot())->last_below(Table::kMeta, key));
      return row ? row->first : "none";
    };
    CHECK(last_below("") == "none");
    CHECK(last_below("x") == "none");
    require_ok(kv->commit({{Table::kMeta, "b", "1"}, {Table::kMeta, "d", "2"}}));
    CHECK(last_below("") == "d");
    CHECK(last_below("e") == "d");
    CHECK(last_below("d") == "b");
    CHECK(last_below("c") == "b");
    CHECK(last_below("b") == "none");
  }
  SECTION("a scan stops where it is told to") {
    require_ok(kv->commit({{Table::kMeta, "a", "1"}, {Table::kMeta, "b", "2"}}));
    int visited = 0;
    require_ok(taken(kv->snapshot())->scan(Table::kMeta, {}, [&](std::string_view, std::string_view) {
      ++visited;
      return false;
    }));
    CHECK(visited == 1);
  }
  SECTION("a key without bytes or with too many refuses the whole commit") {
    for (const std::size_t size : {std::size_t{0}, kKeyBytesMax + 1}) {
      const Status refused = kv->commit({{Table::kMeta, "a", "1"}, {Table::kMeta, std::string(size, 'k'), "2"}});
      REQUIRE_FALSE(refused.ok());
      CHECK(refused.error().code == ErrorCode::kInvalidInput);
      CHECK(all_rows(*kv, Table::kMeta).empty());
    }
    require_ok(kv->commit({{Table::kMeta, std::string(kKeyBytesMax, 'k'), "1"}}));
  }
  SECTION("values larger than a page survive") {
    const std::string large(300'000, 'x');
    require_ok(kv->commit({{Table::kEntries, "1", large}}));
    reopen();
    CHECK(taken(taken(kv->snapshot())->get(Table::kEntries, "1")) == large);
  }
  SECTION("use grows with what is stored") {
    const std::uint64_t before = kv->usage().used_bytes;
    require_ok(kv->commit({{Table::kEntries, "1", std::string(100'000, 'x')}}));
    CHECK(kv->usage().used_bytes >= before + 100'000);
    CHECK(kv->usage().size_max_bytes > kv->usage().used_bytes);
  }
}

}  // namespace nodemeter
