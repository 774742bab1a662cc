// Goal: whoever edits, deletes, reorders, cuts or forges a journal is found out by `verify`; whoever does not, is not.
// Method: a signed journal over the store in memory, then one change at a time under its lock, then the checker.

#include <catch2/catch.hpp>

#include "store/entry_codec.h"
#include "store/journal_format.h"
#include "store/reader.h"
#include "store/row_sum.h"
#include "tests/sim/memory_kv.h"
#include "tests/store/store_fixtures.h"

using namespace nodemeter;
using namespace nodemeter::journal_format;

namespace {

SigningKey key_of(char c) { return SigningKey::from_seed(std::string(32, c)).value(); }

struct SignedJournal {
  SignedJournal() {
    options.key = key_of('a');
    reopen();
  }
  void reopen() {
    journal.reset();
    kv.emplace(disk);
    journal = taken(Journal::open(*kv, options, random));
  }
  // Usage of `vms` VMs; with a manifest if the hour is given as closed.
  void hour(std::int64_t hour, int vms = 3, bool manifest = true) {
    JournalCommit commit;
    for (int vm = 0; vm < vms; ++vm) commit.entries.push_back(usage_entry(static_cast<std::uint64_t>(vm), hour));
    if (manifest) commit.closed_until = 490'001 + hour;
    require_ok(journal->commit(commit, at_ms((490'001 + hour) * 3'600'000)));
    last = commit.entries.back();
  }
  ChainCheck verify(const std::string& key = {}) { return taken(Reader::on(*kv)->verify({}, key)); }
  std::string first_fault(const std::string& key = {}) {
    const ChainCheck check = verify(key);
    return check.faults.empty() ? "" : check.faults.front();
  }
  Entry stored(Sequence sequence) {
    return taken(decode_entry(*taken(taken(kv->snapshot())->get(Table::kEntries, entry_key(1, sequence))))).entry;
  }
  // Puts changed entries back with a chain that holds from there on, as a forger who knows the format would.
  void rewrite_from(Sequence from, const std::function<void(Entry&)>& change) {
    Digest previous = from == 1 ? Digest{} : stored(from - 1).digest;
    for (Sequence s = from; s <= journal->state().last_sequence; ++s) {
      Entry entry = stored(s);
      change(entry);
      std::string body = taken(encode_entry_body(entry));
      previous = chain_digest(previous, body);
      disk.damage(Table::kEntries, entry_key(1, s), seal_entry(std::move(body), previous));
    }
    JournalState state = journal->state();
    state.head = previous;
    disk.damage(Table::kMeta, std::string(kHeadKey), encode_head(state));
  }

  MemoryDisk disk;
  std::optional<MemoryKv> kv;
  Random random{1};
  JournalOptions options = journal_options();
  std::unique_ptr<Journal> journal;
  Entry last;
};

}  // namespace

TEST_CASE("a commit that closes an hour ends with a signed manifest over everything since the last", "[signed]") {
  SignedJournal f;
  f.hour(0);
  CHECK(f.last.kind == EntryKind::kManifest);
  CHECK(f.last.sequence == 4);
  CHECK(f.last.usage_start == std::chrono::sys_seconds(std::chrono::hours(490'000)));
  f.hour(1, 2, false);
  f.hour(2, 1);
  const Manifest manifest = taken(manifest_of(f.last));
  CHECK(manifest.statement.first == 4);
  CHECK(manifest.statement.last == 7);
  CHECK(manifest.statement.closed_until == 490'003);
  const std::uint64_t of_vm_0 = usage_entry(0, 0).meters[0].quantity, of_vm_1 = usage_entry(1, 0).meters[0].quantity;
  CHECK(manifest.sums.at(490'001).at(meter_catalogue()[0].id) == of_vm_0 + of_vm_1);
  CHECK(f.journal->state().manifested == 7);
  f.reopen();
  CHECK(f.journal->state().manifested == 7);
  CHECK(f.journal->state().closed_until == 490'003);
  const ChainCheck check = f.verify(key_of('a').public_key());
  CHECK(check.faults == std::vector<std::string>{});
  CHECK(check.manifests == 2);
  CHECK(check.signed_manifests == 2);
  CHECK(check.partial == 0);
  CHECK(check.signed_until == 7);
  CHECK(f.first_fault(key_of('b').public_key()) == "entry 4: its manifest is signed with another key than the node's");
}

TEST_CASE("an hour without entries has its manifest", "[signed]") {
  SignedJournal f;
  f.hour(0, 0);
  CHECK(f.last.sequence == 1);
  CHECK(taken(manifest_of(f.last)).statement.last == 0);
  f.hour(1, 0);
  CHECK(taken(manifest_of(f.last)).statement.last == 1);
  CHECK(f.first_fault().empty());
}

TEST_CASE("a store without a key makes manifests that nobody signed", "[signed]") {
  SignedJournal f;
  f.options.key.reset();
  f.reopen();
  f.hour(0);
  CHECK(f.first_fault().empty());
  CHECK(f.verify().signed_manifests == 0);
  CHECK(f.first_fault(key_of('a').public_key()) == "entry 4: its manifest is not signed");
}

TEST_CASE("a forger who mends the chain is found by the manifest", "[signed]") {
  SignedJournal f;
  f.hour(0);
  f.hour(1);
  SECTION("less is billed") {
    f.rewrite_from(2, [](Entry& entry) {
      if (entry.sequence == 2) entry.meters[0].quantity -= 1;
    });
    CHECK(f.first_fault() == "entry 4: its manifest's head is not that of the chain");
  }
  SECTION("two entries change places") {
    const Entry one = f.stored(1), two = f.stored(2);
    f.rewrite_from(1, [&](Entry& entry) {
      const Sequence sequence = entry.sequence;
      if (sequence == 1) entry = two;
      if (sequence == 2) entry = one;
      entry.sequence = sequence;
    });
    CHECK(f.first_fault() == "entry 4: its manifest's head is not that of the chain");
  }
  SECTION("the manifest says so, too, but cannot be signed") {
    f.rewrite_from(4, [](Entry& entry) {
      if (entry.sequence != 4) return;
      Manifest manifest = taken(manifest_of(entry));
      manifest.statement.closed_until += 1;
      entry.detail = manifest_detail(manifest);
    });
    CHECK(f.first_fault() == "entry 4: its manifest's signature does not hold");
  }
  SECTION("it is signed with a key of the forger's") {
    f.rewrite_from(4, [](Entry& entry) {
      if (entry.kind != EntryKind::kManifest) return;
      Manifest manifest = taken(manifest_of(entry));
      manifest.public_key = key_of('x').public_key();
      manifest.signature = key_of('x').sign(manifest.statement.text());
      entry.detail = manifest_detail(manifest);
    });
    CHECK(f.first_fault(key_of('a').public_key()) ==
          "entry 4: its manifest is signed with another key than the node's");
  }
  SECTION("a manifest is turned into an event") {
    f.rewrite_from(4, [](Entry& entry) {
      if (entry.sequence == 4) entry.kind = EntryKind::kEvent;
    });
    CHECK(f.first_fault(key_of('a').public_key()) == "entry 8: its manifest's head is not that of the chain");
  }
}

TEST_CASE("what was cut off the journal's end is missed", "[signed]") {
  SignedJournal f;
  f.hour(0);
  f.hour(1);
  f.disk.lose(Table::kEntries, entry_key(1, 8));
  CHECK(Reader::on(*f.kv)->state().error().code == ErrorCode::kCorrupt);
}

TEST_CASE("a rotated key is vouched for by the one before it", "[signed]") {
  SignedJournal f;
  f.hour(0);
  require_ok(f.journal->rotate_key(key_of('b'), at_ms(490'002ll * 3'600'000)));
  f.hour(1);
  const ChainCheck check = f.verify(key_of('a').public_key());
  CHECK(check.faults == std::vector<std::string>{});
  CHECK(check.key == key_of('b').public_key());
  CHECK(check.signed_manifests == 2);
  f.options.key = key_of('b');
  f.reopen();
  CHECK(f.journal->state().public_key == key_of('b').public_key());
  f.hour(2);
  CHECK(f.first_fault(key_of('a').public_key()).empty());
}

TEST_CASE("a key that nothing vouches for is named in the journal and by verify", "[signed]") {
  SignedJournal f;
  f.hour(0);
  f.options.key = key_of('c');
  f.reopen();
  f.hour(1);
  CHECK(key_change_of(f.stored(5)).has_value());
  CHECK(f.first_fault() == "entry 5: the node's key changed without a signature of the one before: ask who changed it");
}

TEST_CASE("a pruned journal verifies from where it begins, and its cut manifest is counted as partial", "[signed]") {
  SignedJournal f;
  f.hour(0);
  f.hour(1);
  CHECK(taken(f.journal->prune(at_ms(INT64_MAX), 3)) == 2);
  ChainCheck check = f.verify(key_of('a').public_key());
  CHECK(check.faults == std::vector<std::string>{});
  CHECK(check.partial == 1);
  CHECK(taken(f.journal->prune(at_ms(INT64_MAX), 100)) == 5);  // Not the last manifest: none covers it yet.
  check = f.verify(key_of('a').public_key());
  CHECK(check.faults == std::vector<std::string>{});
  CHECK(check.entries == 1);
}

TEST_CASE("so many hours at once make several manifests, one after the other", "[signed]") {
  SignedJournal f;
  JournalCommit commit;
  for (std::int64_t hour = 0; hour < static_cast<std::int64_t>(2 * kManifestHoursMax + 1); ++hour) {
    commit.entries.push_back(usage_entry(1, hour));
  }
  commit.closed_until = 491'000;
  require_ok(f.journal->commit(commit, at_ms(491'000ll * 3'600'000)));
  f.hour(1'000);
  const ChainCheck check = f.verify(key_of('a').public_key());
  CHECK(check.faults == std::vector<std::string>{});
  CHECK(check.manifests == 4);
  CHECK(check.partial == 0);
}

TEST_CASE("a changed mark or state row is found on opening", "[signed]") {
  SignedJournal f;
  JournalCommit commit;
  commit.state = {{"vm/1", "ten hours"}, {"vm/2", "two hours"}};
  require_ok(f.journal->commit(commit, at_ms(1)));
  commit.state = {{"vm/1", "six hours"}, {"vm/2", std::nullopt}, {"vm/2", "one hour"}};
  require_ok(f.journal->commit(commit, at_ms(2)));
  f.hour(0);
  const auto open_error = [&] { return Journal::open(*f.kv, f.options, f.random).error().code; };
  REQUIRE(Journal::open(*f.kv, f.options, f.random).ok());
  SECTION("a bit") { f.disk.damage(Table::kState, "vm/1", "six houst"); }
  SECTION("an older value") { f.disk.damage(Table::kState, "vm/1", "ten hours"); }
  SECTION("a row too many") { f.disk.damage(Table::kState, "vm/3", "x"); }
  SECTION("a row lost") { f.disk.lose(Table::kState, "vm/2"); }
  SECTION("two values swapped") {
    f.disk.damage(Table::kState, "vm/1", "one hour");
    f.disk.damage(Table::kState, "vm/2", "six hours");
  }
  SECTION("the location") { f.disk.damage(Table::kMeta, "location", "rack-8"); }
  SECTION("the sum itself") { f.disk.damage(Table::kMeta, "sum", std::string(16, 'x')); }
  SECTION("the sum is gone") { f.disk.lose(Table::kMeta, "sum"); }
  CHECK(open_error() == ErrorCode::kCorrupt);
}

TEST_CASE("a damaged entry is not frozen for sending", "[signed]") {
  SignedJournal f;
  f.hour(0);
  std::string row = *taken(taken(f.kv->snapshot())->get(Table::kEntries, entry_key(1, 2)));
  row[row.size() / 2] = static_cast<char>(row[row.size() / 2] ^ 1);
  f.disk.damage(Table::kEntries, entry_key(1, 2), row);
  const auto frozen = f.journal->freeze_next({});
  REQUIRE_FALSE(frozen.ok());
  CHECK(frozen.error().code == ErrorCode::kCorrupt);
  CHECK(frozen.error().message.find("entry 2") != std::string::npos);
}

TEST_CASE("the state rows of format 3 change tables when the store is taken over, and none stays behind", "[signed]") {
  SignedJournal f;
  f.hour(0, 3);
  std::vector<Write> older{{Table::kMeta, "format", encode_format(3)},
                           {Table::kState, "moved", "old"},
                           {Table::kState, "node", "old"},
                           {Table::kState, "vm/7", "vm"}};
  require_ok(Sealer().seal(*f.kv, older));
  require_ok(f.kv->commit(older));
  f.reopen();
  CHECK(taken(taken(f.kv->snapshot())->get(Table::kState, "node")) == std::nullopt);
  CHECK(taken(taken(f.kv->snapshot())->get(Table::kState, "moved")) == std::nullopt);
  JournalCommit next;
  next.state = {{"node", "new"}};
  require_ok(f.journal->commit(next, UtcTime(std::chrono::hours(500'000))));
  f.reopen();
  using Rows = std::vector<std::pair<std::string, std::string>>;
  CHECK(taken(f.journal->state_rows("node")) == Rows{{"node", "new"}});
  CHECK(taken(f.journal->state_rows("moved")) == Rows{{"moved", "old"}});
  CHECK(taken(f.journal->state_rows("vm/7")) == Rows{{"vm/7", "vm"}});

  std::vector<Write> stray{{Table::kState, "node", "old"}};
  require_ok(Sealer().seal(*f.kv, stray));
  require_ok(f.kv->commit(stray));
  CHECK(f.journal->state_rows("node").error().code == ErrorCode::kCorrupt);
}

TEST_CASE("a store of format 2 is taken over, and what its manifests cover stays covered", "[signed]") {
  SignedJournal f;
  f.hour(0, 3);
  const Sequence covered = f.journal->state().manifested;
  f.hour(1, 3, false);
  std::vector<Write> older{{Table::kMeta, "format", encode_format(2)}};
  require_ok(Sealer().seal(*f.kv, older));
  require_ok(f.kv->commit(older));
  f.reopen();
  CHECK(f.journal->state().manifested == covered);
  CHECK(taken(taken(f.kv->snapshot())->get(Table::kMeta, "format")) == encode_format(kStoreFormat));
  f.hour(2);
  CHECK(f.first_fault().empty());
}

TEST_CASE("a store of format 1 is taken over in one commit", "[signed]") {
  SignedJournal f;
  f.hour(0, 3, false);
  f.disk.damage(Table::kMeta, "format", encode_format(1));
  f.disk.lose(Table::kMeta, "sum");
  f.disk.lose(Table::kMeta, "manifest");
  f.disk.lose(Table::kMeta, "key");
  CHECK(f.verify().faults.empty());
  f.reopen();
  CHECK(f.journal->state().manifested == 3);
  f.hour(1);
  CHECK(taken(manifest_of(f.last)).statement.first == 4);
  CHECK(f.first_fault().empty());
  f.reopen();
}
