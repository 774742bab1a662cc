// Goal: a journal that was put back from a copy bills nothing twice. What was used after the copy may stand in entries
// that the lost store delivered; the store that goes on cannot know, and says so.
// Method: a scripted node whose store is copied in the middle of an hour and goes on; then the copy is put in its
// place.

#include <catch2/catch.hpp>

#include "store/journal_format.h"
#include "store/row_sum.h"
#include "tests/agent/scripted_node.h"
#include "tests/sim/memory_kv.h"
#include "tests/store/store_fixtures.h"

using namespace nodemeter;

namespace {

const std::string kWeb = "6f1c0000-0000-4000-8000-000000000001";

// As journal backup leaves it.
void mark_as_copy(KeyValue& kv) {
  std::vector<Write> mark{{Table::kMeta, std::string(journal_format::kBackupKey), "1"}};
  require_ok(journal_format::Sealer().seal(kv, mark));
  require_ok(kv.commit(mark));
}

struct Lives {
  explicit Lives(int copied_at) {
    node.meter_until(copied_at, original, false);
    copied = disk;
    mark_as_copy(copy);
    node.meter_until(110, original, true);
    node.pass(std::chrono::minutes{5});
    restored_at = node.world().now();
    node.meter_until(170, copy, true);
  }
  std::vector<Entry> entries(EntryKind kind) const {
    std::vector<Entry> found;
    require_ok(Reader::on(copy)->for_each(1, [&](const Entry& entry, std::string_view) {
      if (entry.kind == kind) found.push_back(entry);
      return true;
    }));
    return found;
  }

  ScriptedNode node;
  MemoryDisk disk;
  MemoryKv original{disk};
  MemoryDisk copied;
  MemoryKv copy{copied};
  UtcTime restored_at{};
};

}  // namespace

TEST_CASE("a store that was put back from an older copy bills nothing twice, and declares what it cannot know",
          "[restored]") {
  Lives lives(85);
  const std::uint64_t before = cpu_us(*Reader::on(lives.original), kWeb);
  const std::uint64_t after = cpu_us(*Reader::on(lives.copy), kWeb);
  // 4 vcores at 25 %: a second of processor time each second. The node's first 111 minutes are billed by the store that
  // was lost, the last 55 by the one that goes on.
  CHECK(before == 111ull * 60 * 1'000'000);
  CHECK(after == 55ull * 60 * 1'000'000);
  CHECK(taken(Reader::on(lives.copy)->verify({})).faults.empty());

  const std::vector<Entry> events = lives.entries(EntryKind::kEvent);
  REQUIRE_FALSE(events.empty());
  CHECK(events.front().sequence == 1);
  CHECK(events.front().detail.starts_with(R"({"event":"store-restored","how":"older copy")"));
  const JournalState lost = taken(Reader::on(lives.original)->state());
  CHECK(events.front().detail.find("\"previous_epoch\":\"" + lost.epoch.text()) != std::string::npos);

  // The copy's last closed hour ended at 01:00, so nothing of the time since is in its entries.
  const std::vector<Entry> gaps = lives.entries(EntryKind::kGap);
  REQUIRE(gaps.size() == 1);
  CHECK(gaps[0].usage_start == lives.node.world().scenario().start + std::chrono::minutes(60));
  CHECK(gaps[0].usage_end == lives.restored_at);
  CHECK(gaps[0].detail.find("older copy of the store") != std::string::npos);
}

TEST_CASE("an agent that ends between putting a store back and its first sample declares the same gap", "[restored]") {
  Lives lives(85);
  MemoryDisk other = lives.disk;  // Another life of the same store.
  MemoryKv kv(other);
  mark_as_copy(kv);
  const UtcTime now = lives.node.world().now();
  lives.node.open(kv);  // And ends at once.
  lives.node.pass(std::chrono::minutes{1});
  lives.node.meter_until(175, kv, true);
  std::vector<std::pair<UtcTime, UtcTime>> gaps;
  int restored = 0;
  require_ok(Reader::on(kv)->for_each(1, [&](const Entry& entry, std::string_view) {
    if (entry.kind == EntryKind::kGap) gaps.emplace_back(entry.usage_start, entry.usage_end);
    restored += entry.detail.find("store-restored") != std::string::npos ? 1 : 0;
    return true;
  }));
  CHECK(restored == 1);
  REQUIRE(gaps.size() == 1);
  // The lost store had ended for good: every hour was closed, up to its last sample.
  CHECK(gaps[0].first == lives.node.world().scenario().start + std::chrono::minutes(111));
  CHECK(gaps[0].second == now + std::chrono::minutes(1));
}
