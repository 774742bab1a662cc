// Goal: whatever was acknowledged to the meter is in the journal after anything, once, in order, and is delivered.
// Method: the journal on the store in memory with declared faults; journal_posix_test.cpp kills one on LMDB.

#include "store/journal.h"

#include "../sim/memory_kv.h"
#include "store/entry_codec.h"
#include "store/journal_format.h"
#include "store/lmdb_kv.h"
#include "store/reader.h"
#include "store/row_sum.h"
#include "store_fixtures.h"

namespace nodemeter {

namespace {

using Fault = MemoryDisk::Fault;

// A journal on a disk in memory that can be dropped and opened again at any time.
struct JournalFixture {
  JournalFixture() { reopen(); }
  void reopen() {
    journal.reset();
    kv = std::make_unique<MemoryKv>(disk);
    journal = taken(Journal::open(*kv, options, random));
  }
  Status append(int count, std::int64_t now_ms = 1'000'000) {
    JournalCommit commit;
    for (int i = 0; i < count; ++i) commit.entries.push_back(usage_entry(static_cast<std::uint64_t>(i), 1));
    commit.state.push_back({"vm", std::to_string(now_ms)});
    return journal->commit(commit, at_ms(now_ms));
  }
  FrozenBatch freeze(std::uint32_t rows_max = 10'000) {
    Journal::BatchLimits limits;
    limits.rows_max = rows_max;
    const auto batch = taken(journal->freeze_next(limits));
    REQUIRE(batch.has_value());
    return *batch;
  }
  std::string range(const FrozenBatch& batch) { return std::to_string(batch.first) + "-" + std::to_string(batch.last); }
  ChainCheck verify() { return taken(Reader::on(*kv)->verify({})); }
  ErrorCode open_error(const JournalOptions& other) {
    const auto opened = Journal::open(*kv, other, random);
    REQUIRE_FALSE(opened.ok());
    message = opened.error().message;
    return opened.error().code;
  }

  MemoryDisk disk;
  std::unique_ptr<MemoryKv> kv;
  JournalOptions options = journal_options();
  Random random{1};
  std::unique_ptr<Journal> journal;
  std::string message;
};

bool same(const JournalState& a, const JournalState& b) {
  using journal_format::encode_delivery;
  using journal_format::encode_head;
  return a.node == b.node && a.location == b.location && a.epoch == b.epoch && a.simulated == b.simulated &&
         a.oldest_kept == b.oldest_kept && a.parked == b.parked && a.previous_epoch == b.previous_epoch &&
         encode_head(a) == encode_head(b) && encode_delivery(a) == encode_delivery(b);
}

}  // namespace

TEST_CASE("an entry gets number, times and digest in its commit, and all of it is there after reopening", "[journal]") {
  JournalFixture f;
  JournalCommit commit;
  commit.entries = {usage_entry(1, 0), usage_entry(2, 0)};
  commit.state = {{"vm/1", "one"}, {"vm/2", "two"}, {"x", "y"}};
  require_ok(f.journal->commit(commit, at_ms(5'000)));
  CHECK(commit.entries[0].sequence == 1);
  CHECK(commit.entries[1].sequence == 2);
  CHECK(commit.entries[0].node == f.options.node);
  CHECK(commit.entries[0].location == "rack-7");
  CHECK(commit.entries[1].reported_at == at_ms(5'000));
  const std::string body = taken(encode_entry_body(commit.entries[0]));
  CHECK(commit.entries[0].digest == chain_digest(Digest{}, body));
  CHECK(f.journal->state().head == commit.entries[1].digest);

  const JournalState before = f.journal->state();
  f.reopen();
  CHECK(same(before, f.journal->state()));
  CHECK(taken(f.journal->state_rows("vm/")) ==
        std::vector<std::pair<std::string, std::string>>{{"vm/1", "one"}, {"vm/2", "two"}});
  std::vector<Entry> read;
  require_ok(Reader::on(*f.kv)->for_each(0, [&](const Entry& e, std::string_view) {
    read.push_back(e);
    return true;
  }));
  CHECK(read == commit.entries);
}

TEST_CASE("reported times do not fall when the clock does, not even across a restart", "[journal]") {
  JournalFixture f;
  require_ok(f.append(1, 9'000));
  f.reopen();
  require_ok(f.append(1, 4'000));
  require_ok(f.append(1, 9'001));
  std::string times;
  require_ok(Reader::on(*f.kv)->for_each(0, [&](const Entry& e, std::string_view) {
    times += std::to_string(e.reported_at.time_since_epoch().count()) + " ";
    return true;
  }));
  CHECK(times == "9000 9000 9001 ");
}

TEST_CASE("a commit that did not fit leaves everything as it was, and its entries go in later", "[journal]") {
  JournalFixture f;
  require_ok(f.append(2));
  const JournalState before = f.journal->state();
  f.disk.fail(Fault::kFull);
  CHECK(f.append(3).error().code == ErrorCode::kFull);
  CHECK(same(before, f.journal->state()));
  require_ok(f.append(3));
  CHECK(f.journal->state().last_sequence == 5);
  CHECK(f.verify().faults.empty());
}

TEST_CASE("after a commit of unknown outcome reopening tells, and the chain holds either way", "[journal]") {
  const bool written = GENERATE(true, false);
  JournalFixture f;
  require_ok(f.append(2));
  f.disk.fail(written ? Fault::kUnknownWritten : Fault::kUnknownLost);
  CHECK(f.append(3).error().code == ErrorCode::kUnavailable);
  f.reopen();
  CHECK(f.journal->state().last_sequence == (written ? 5 : 2));
  require_ok(f.append(1));
  const ChainCheck check = f.verify();
  CHECK(check.faults.empty());
  CHECK(check.entries == (written ? 6 : 3));
}

TEST_CASE("one entry beyond a limit refuses its whole commit, state included", "[journal]") {
  JournalFixture f;
  JournalCommit commit;
  commit.entries = {usage_entry(1, 0), usage_entry(2, 0)};
  commit.entries[1].detail = std::string(kDetailMax + 1, 'd');
  commit.state = {{"vm", "new"}};
  CHECK(f.journal->commit(commit, at_ms(1)).error().code == ErrorCode::kLimitExceeded);
  CHECK(f.journal->state().last_sequence == 0);
  CHECK(taken(f.journal->state_rows("")).empty());
}

TEST_CASE("a frozen batch has the same bytes and token after a crash, whatever was appended since", "[journal]") {
  JournalFixture f;
  require_ok(f.append(5));
  const FrozenBatch batch = f.freeze(3);
  const std::string body = taken(f.journal->batch_body(batch));
  CHECK(f.range(batch) == "1-3");
  CHECK(batch.token == "node-1:" + f.journal->state().epoch.text() + ":1-3:" + digest_of({body}).hex().substr(0, 16));
  CHECK(taken(decode_rows(body, 3)).back().entry.digest == batch.head);
  require_ok(f.append(5));
  f.reopen();
  const FrozenBatch again = f.freeze();
  CHECK(again.token == batch.token);
  CHECK(again.head == batch.head);
  CHECK(taken(f.journal->batch_body(again)) == body);
  require_ok(f.journal->acknowledge_frozen());
  CHECK(f.range(f.freeze()) == "4-10");
}

TEST_CASE("a batch that was prepared is frozen by the commit that acknowledges the one before it", "[journal]") {
  JournalFixture f;
  require_ok(f.append(10));
  Journal::BatchLimits limits;
  limits.rows_max = 3;
  CHECK(f.range(f.freeze(3)) == "1-3");
  f.journal->prepare_next(limits);
  CHECK(f.range(*f.journal->state().frozen) == "1-3");
  require_ok(f.append(2));

  SECTION("the same batch as it would have been") {
    f.disk.fail(Fault::kFull);
    CHECK_FALSE(f.journal->acknowledge_frozen().ok());
    CHECK(f.range(*f.journal->state().frozen) == "1-3");
    require_ok(f.journal->acknowledge_frozen());
    const FrozenBatch next = f.journal->state().frozen.value();
    CHECK(f.range(next) == "4-6");
    CHECK(f.journal->state().acknowledged == 3);
    const std::string body = taken(f.journal->batch_body(next));
    CHECK(next.token == batch_token(f.journal->state().node, next.epoch, 4, 6, body));
    CHECK(next.head == taken(decode_rows(body, 3)).back().entry.digest);
    f.reopen();
    CHECK(f.freeze().token == next.token);
    require_ok(f.journal->acknowledge_frozen());
    CHECK_FALSE(f.journal->state().frozen.has_value());
  }
  SECTION("what is not full is not prepared: it gathers more") {
    limits.rows_max = 9;
    require_ok(f.journal->acknowledge_frozen());
    f.journal->prepare_next(limits);
    require_ok(f.journal->acknowledge_frozen());
    CHECK_FALSE(f.journal->state().frozen.has_value());
  }
  SECTION("a crash forgets it, and freezes nothing") {
    f.reopen();
    require_ok(f.journal->acknowledge_frozen());
    CHECK_FALSE(f.journal->state().frozen.has_value());
  }
  SECTION("a wish to resend comes before it") {
    require_ok(f.journal->resend_from(2));
    require_ok(f.journal->acknowledge_frozen());
    CHECK(f.range(f.freeze(3)) == "2-4");
  }
  SECTION("what is left of a batch that was halved comes before it") {
    require_ok(f.journal->refreeze(2));
    require_ok(f.journal->acknowledge_frozen());
    CHECK(f.range(f.freeze(3)) == "3-5");
  }
  SECTION("and a row that is no longer set aside does") {
    require_ok(f.journal->acknowledge_frozen());
    require_ok(f.journal->refreeze(4));
    require_ok(f.journal->park_frozen("no"));
    require_ok(f.journal->resend_from(1));
    CHECK(f.range(f.freeze(3)) == "1-3");
    f.journal->prepare_next(limits);
    require_ok(f.journal->unpark());
    require_ok(f.journal->acknowledge_frozen());
    CHECK(f.range(f.freeze(3)) == "4-6");
  }
}

TEST_CASE("batches keep to rows and bytes, but a single entry always fits", "[journal]") {
  JournalFixture f;
  require_ok(f.append(4));
  Journal::BatchLimits limits;
  limits.bytes_max = 1;
  CHECK(f.range(*taken(f.journal->freeze_next(limits))) == "1-1");
  const std::size_t one = taken(f.journal->batch_body(*f.journal->state().frozen)).size();
  require_ok(f.journal->acknowledge_frozen());
  limits.bytes_max = 2 * one + one / 2;
  CHECK(f.range(*taken(f.journal->freeze_next(limits))) == "2-3");
  require_ok(f.journal->acknowledge_frozen());
  CHECK(f.range(f.freeze()) == "4-4");
  require_ok(f.journal->acknowledge_frozen());
  CHECK_FALSE(taken(f.journal->freeze_next({})).has_value());
}

TEST_CASE("halving a batch finds the offending entry, which is parked and skipped", "[journal]") {
  JournalFixture f;
  require_ok(f.append(4));
  f.freeze();
  require_ok(f.journal->refreeze(2));
  CHECK(f.range(*f.journal->state().frozen) == "1-2");
  CHECK_FALSE(f.journal->refreeze(3).ok());
  require_ok(f.journal->refreeze(1));
  require_ok(f.journal->acknowledge_frozen());
  f.freeze(1);
  require_ok(f.journal->park_frozen("HTTP 400: bad row"));
  CHECK(f.journal->state().acknowledged == 2);
  CHECK(f.range(f.freeze()) == "3-4");
  require_ok(f.journal->acknowledge_frozen());
  f.reopen();
  const auto parked = taken(f.journal->parked());
  REQUIRE(parked.size() == 1);
  CHECK(parked[0].sequence == 2);
  CHECK(parked[0].epoch == f.journal->state().epoch);
  CHECK(parked[0].reason == "HTTP 400: bad row");
  CHECK(f.journal->state().parked == 1);

  SECTION("a resend of the range goes around it") {
    require_ok(f.journal->resend_from(1));
    CHECK(f.range(f.freeze()) == "1-1");
    require_ok(f.journal->acknowledge_frozen());
    CHECK(f.range(f.freeze()) == "3-4");
  }
  SECTION("unparked, it is sent again with what follows") {
    require_ok(f.journal->unpark());
    CHECK(f.journal->state().parked == 0);
    f.reopen();
    CHECK(f.range(f.freeze()) == "2-4");
  }
}

TEST_CASE("parked entries at the end of the journal leave no backlog", "[journal]") {
  JournalFixture f;
  require_ok(f.append(2));
  for (int i = 0; i < 2; ++i) {
    f.freeze(1);
    require_ok(f.journal->park_frozen("no"));
  }
  require_ok(f.journal->resend_from(1));
  CHECK_FALSE(taken(f.journal->freeze_next({})).has_value());
  CHECK(f.journal->state().acknowledged == 2);
  f.reopen();
  CHECK(f.journal->state().acknowledged == 2);
}

TEST_CASE("a resend that is asked for while a batch is on its way waits for it", "[journal]") {
  JournalFixture f;
  require_ok(f.append(6));
  f.freeze(4);
  require_ok(f.journal->acknowledge_frozen());
  const FrozenBatch batch = f.freeze();
  require_ok(f.journal->resend_from(2));
  f.reopen();
  CHECK(f.freeze().token == batch.token);
  require_ok(f.journal->acknowledge_frozen());
  CHECK(f.range(f.freeze()) == "2-6");
  require_ok(f.journal->acknowledge_frozen());
  require_ok(f.journal->resend_from(100));  // Nothing to send again: no change.
  CHECK_FALSE(taken(f.journal->freeze_next({})).has_value());
}

TEST_CASE("delivery marks that could not be committed are not believed", "[journal]") {
  JournalFixture f;
  require_ok(f.append(3));
  f.disk.fail(Fault::kFull);
  CHECK_FALSE(f.journal->freeze_next({}).ok());
  CHECK_FALSE(f.journal->state().frozen.has_value());
  const FrozenBatch batch = f.freeze();
  f.disk.fail(Fault::kFull);
  CHECK_FALSE(f.journal->acknowledge_frozen().ok());
  CHECK(f.journal->state().frozen->token == batch.token);
  CHECK(f.journal->state().acknowledged == 0);
}

TEST_CASE("pruning takes the oldest only, spares what is frozen, and the rest still verifies", "[journal]") {
  JournalFixture f;
  for (int i = 0; i < 5; ++i) require_ok(f.append(2, 1'000 * i));
  f.freeze(3);
  require_ok(f.journal->acknowledge_frozen());
  f.freeze(2);  // 4-5.
  CHECK(taken(f.journal->prune(at_ms(1'000), 100)) == 2);
  CHECK(f.journal->state().oldest_kept == 3);
  CHECK(taken(f.journal->prune(at_ms(9'000), 100)) == 1);
  CHECK(taken(f.journal->prune(at_ms(9'000), 100)) == 0);
  CHECK(f.journal->state().oldest_kept == 4);
  f.reopen();
  ChainCheck check = f.verify();
  CHECK(check.faults.empty());
  CHECK(check.first == 4);
  CHECK(check.entries == 7);
  require_ok(f.journal->acknowledge_frozen());
  require_ok(f.journal->resend_from(1));
  CHECK(f.journal->state().acknowledged == 3);
  CHECK(taken(f.journal->prune(at_ms(9'000), 9, 3)) == 3);
  CHECK(taken(f.journal->prune(at_ms(9'000), 100)) == 4);
  CHECK(f.journal->state().acknowledged == 10);
  f.reopen();
  CHECK(f.verify().faults.empty());
  require_ok(f.append(1, 9'000));
  check = f.verify();
  CHECK(check.faults.empty());
  CHECK(check.first == 11);
}

TEST_CASE("a parked entry that is pruned is gone from the list", "[journal]") {
  JournalFixture f;
  require_ok(f.append(3, 1'000));
  f.freeze(1);
  require_ok(f.journal->park_frozen("no"));
  CHECK(taken(f.journal->prune(at_ms(2'000), 3)) == 2);
  CHECK(f.journal->state().parked == 0);
  f.reopen();
  CHECK(f.journal->state().parked == 0);
}

TEST_CASE("a store of another node, of a simulation, or of a newer program is refused with what to do", "[journal]") {
  JournalFixture f;
  JournalOptions other = f.options;
  other.node = *NodeId::parse("node-2");
  CHECK(f.open_error(other) == ErrorCode::kInvalidInput);
  CHECK(f.message ==
        "the store belongs to node 'node-1', this node is 'node-2': set node.id to the former, or use another "
        "state directory");
  other = f.options;
  other.simulated = true;
  CHECK(f.open_error(other) == ErrorCode::kInvalidInput);
  CHECK(f.message.find("real metering") != std::string::npos);
  f.disk.damage(Table::kMeta, "format", journal_format::encode_format(kStoreFormat + 1));
  CHECK(f.open_error(f.options) == ErrorCode::kUnsupported);
  CHECK(f.message.find("format 5, this program knows up to 4") != std::string::npos);

  MemoryDisk simulated;
  MemoryKv kv(simulated);
  taken(Journal::open(kv, other, f.random));
  CHECK(Journal::open(kv, f.options, f.random).error().code == ErrorCode::kInvalidInput);
  CHECK(Journal::open(kv, other, f.random).ok());
}

TEST_CASE("marks that contradict the entries are found on opening", "[journal]") {
  using namespace journal_format;
  JournalFixture f;
  require_ok(f.append(3));
  SECTION("the last entry is missing") { f.disk.lose(Table::kEntries, entry_key(1, 3)); }
  SECTION("the last entry is another one") {
    Entry forged = usage_entry(7, 7);
    forged.node = f.options.node;
    forged.epoch = f.journal->state().epoch;
    forged.sequence = 3;
    f.disk.damage(Table::kEntries, entry_key(1, 3), seal_entry(taken(encode_entry_body(forged)), Digest{}));
  }
  SECTION("the last entry is garbage") { f.disk.damage(Table::kEntries, entry_key(1, 3), "garbage"); }
  SECTION("there is one more") { f.disk.damage(Table::kEntries, entry_key(1, 4), "x"); }
  SECTION("there is one of an epoch that never was") { f.disk.damage(Table::kEntries, entry_key(2, 1), "x"); }
  SECTION("the head is missing") { f.disk.lose(Table::kMeta, "head"); }
  SECTION("the head is short") { f.disk.damage(Table::kMeta, "head", "12345"); }
  SECTION("the epoch is missing") { f.disk.lose(Table::kMeta, epoch_key(1)); }
  SECTION("more is acknowledged than there is") {
    JournalState state = f.journal->state();
    state.acknowledged = 4;
    f.disk.damage(Table::kMeta, "delivery", encode_delivery(state));
  }
  SECTION("the mark of the format is missing") { f.disk.lose(Table::kMeta, "format"); }
  CHECK(f.open_error(f.options) == ErrorCode::kCorrupt);
  CHECK(f.message.find("the journal is damaged") != std::string::npos);
}

TEST_CASE("a backup that is written to goes on under an epoch of its own, and both verify", "[journal]") {
  JournalFixture f;
  require_ok(f.append(3));
  f.freeze();
  const JournalState before = f.journal->state();
  std::vector<Write> mark{{Table::kMeta, "backup", "1"}};
  require_ok(journal_format::Sealer().seal(*f.kv, mark));
  require_ok(f.kv->commit(mark));
  f.reopen();
  const JournalState& after = f.journal->state();
  CHECK(after.epoch != before.epoch);
  CHECK(after.epoch_ordinal == 2);
  CHECK(after.last_sequence == 0);
  CHECK(after.acknowledged == 0);
  CHECK_FALSE(after.frozen.has_value());
  CHECK(after.previous_epoch == before.epoch);
  CHECK(after.previous_last_sequence == 3);
  require_ok(f.append(2));
  f.reopen();
  CHECK(f.journal->state().epoch_ordinal == 2);
  CHECK(f.journal->state().last_sequence == 2);
  const ChainCheck check = f.verify();
  CHECK(check.faults.empty());
  CHECK(check.entries == 5);
  CHECK(f.range(f.freeze()) == "1-2");
}

}  // namespace nodemeter
