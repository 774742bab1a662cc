// Goal: every row is stored exactly once however often and in whatever order it comes, and what is missing or forked
// shows.
// Method: chains made by hand, posted to the store over a disk in memory that can fail and crash; at the end the stored
// rows are compared with the chains, and an independent walk recomputes every digest.

#include "uploader/aggregator/aggregator_store.h"

#include <catch2/catch.hpp>
#include <thread>

#include "platform/random.h"
#include "tests/aggregator/store_in_memory.h"
#include "tests/uploader/chain.h"

namespace nodemeter {
namespace {

using testing::ChainBuilder;
using testing::ChainRow;

constexpr UtcTime kNow = UtcTime(Milliseconds(1'800'000'000'000));

struct Fixture : testing::StoreInMemory {
  Result<std::variant<StoreOutcome, Refusal>> try_post(const std::string& body, UtcTime now = kNow) {
    const auto batch = decode_batch({}, body, {});
    REQUIRE(std::holds_alternative<IngestBatch>(batch));
    return store->store(std::get<IngestBatch>(batch), now);
  }

  StoreOutcome post(const std::string& body, UtcTime now = kNow) {
    const auto stored = try_post(body, now);
    REQUIRE(stored.ok());
    REQUIRE(std::holds_alternative<StoreOutcome>(*stored));
    return std::get<StoreOutcome>(*stored);
  }

  std::string all(const std::string& node = "") {
    std::string bytes;
    const Status walked =
        for_each_row(*kv, node.empty() ? std::nullopt : NodeId::parse(node), [&](const StoredRow& row) {
          bytes += row.row;
          return true;
        });
    REQUIRE(walked.ok());
    return bytes;
  }

  StoreCheck check() {
    Result<StoreCheck> checked = verify_store(*kv);
    REQUIRE(checked.ok());
    return *checked;
  }
};

std::vector<ChainRow> rows_of(ChainBuilder& chain, std::size_t count, const std::string& note = "") {
  std::vector<ChainRow> rows;
  for (std::size_t i = 0; i < count; ++i) rows.push_back(chain.add(note));
  return rows;
}

std::string range(const std::vector<ChainRow>& rows, Sequence first, Sequence last) {
  std::string bytes;
  for (const ChainRow& row : rows) {
    if (row.sequence >= first && row.sequence <= last) bytes += row.bytes;
  }
  return bytes;
}

}  // namespace

TEST_CASE("a batch that comes twice is stored once and acknowledged twice", "[store]") {
  Fixture f;
  ChainBuilder chain;
  const std::string body = chain.body(10);
  const StoreOutcome first = f.post(body);
  CHECK(first.stored == 10);
  CHECK(first.acknowledged == 10);
  CHECK_FALSE(first.resend_from.has_value());
  const std::uint64_t commits = f.disk.commits();
  const StoreOutcome second = f.post(body);
  CHECK(second.stored == 0);
  CHECK(second.repeats == 10);
  CHECK(second.acknowledged == 10);
  CHECK(f.disk.commits() == commits);
  CHECK(f.all() == body);
}

TEST_CASE("batches that overlap in any way leave each row once", "[store]") {
  ChainBuilder chain;
  const std::vector<ChainRow> rows = rows_of(chain, 6);
  for (Sequence a = 1; a <= 6; ++a) {
    for (Sequence b = a; b <= 6; ++b) {
      for (Sequence c = 1; c <= 6; ++c) {
        for (Sequence d = c; d <= 6; ++d) {
          Fixture f;
          f.post(range(rows, a, b));
          f.post(range(rows, c, d));
          f.post(range(rows, 1, 6));
          REQUIRE(f.all() == range(rows, 1, 6));
          REQUIRE(f.store->heads().begin()->second.contiguous == 6);
          REQUIRE(f.store->heads().begin()->second.rows == 6);
        }
      }
    }
  }
}

TEST_CASE("a hole is accepted and asked for, and closing it counts what lies beyond", "[store]") {
  Fixture f;
  ChainBuilder chain;
  const std::vector<ChainRow> rows = rows_of(chain, 20);
  CHECK_FALSE(f.post(range(rows, 1, 5)).resend_from.has_value());
  const StoreOutcome with_hole = f.post(range(rows, 9, 12));
  CHECK(with_hole.resend_from == Sequence{6});
  CHECK(with_hole.missing == 3);
  CHECK(f.check().holes.size() == 1);
  // A repeat brings nothing new, so nothing is asked: the node may not have it any more.
  CHECK_FALSE(f.post(range(rows, 9, 12)).resend_from.has_value());
  CHECK(f.post(range(rows, 13, 13)).resend_from == Sequence{6});
  CHECK_FALSE(f.post(range(rows, 6, 8)).resend_from.has_value());
  CHECK(f.store->heads().begin()->second.contiguous == 13);
  CHECK_FALSE(f.post(range(rows, 14, 20)).resend_from.has_value());
  CHECK(f.check().holes.empty());
  CHECK(f.check().faults.empty());
}

TEST_CASE("a node that goes on from an older copy says how far back it fell", "[store]") {
  const auto copy_of = [](const ChainBuilder& chain, Sequence last) {
    ChainBuilder copy("node-1", 2);
    return copy
        .add_event(R"({"event":"store-restored","previous_epoch":")" + chain.epoch().text() +
                   R"(","previous_last_sequence":)" + std::to_string(last) + "}")
        .bytes;
  };
  Fixture f;
  ChainBuilder chain;
  f.post(chain.body(9));
  const auto [last, after] = GENERATE(std::pair<Sequence, std::uint64_t>{6, 3}, std::pair{9, 0}, std::pair{12, 0});
  const StoreOutcome outcome = f.post(copy_of(chain, last));
  CHECK(outcome.new_epoch);
  CHECK(outcome.after_copy == after);
  f.reopen();
  ChainBuilder unrelated("node-1", 3);
  CHECK_FALSE(f.post(unrelated.add_event(R"({"event":"store-restored","previous_epoch":7})").bytes).after_copy);
}

TEST_CASE("a store that lost everything asks for everything", "[store]") {
  Fixture f;
  ChainBuilder chain;
  const std::vector<ChainRow> rows = rows_of(chain, 9);
  const StoreOutcome outcome = f.post(range(rows, 7, 9));
  CHECK(outcome.resend_from == Sequence{1});
  CHECK(outcome.missing == 6);
}

TEST_CASE("a fork is kept, counted and visible, on both of its branches", "[store]") {
  Fixture f;
  ChainBuilder original;
  const std::string common = original.body(5);
  ChainBuilder twin = original;
  const std::string branch = original.body(4);
  const std::string other = twin.body(3, "another truth");
  f.post(common + branch);
  const StoreOutcome outcome = f.post(other);
  CHECK(outcome.stored == 3);
  CHECK(outcome.forks == 3);
  CHECK(outcome.acknowledged == 8);
  CHECK(f.store->heads().begin()->second.forks == 3);
  // Both go on.
  CHECK(f.post(original.body(1)).forks == 0);
  CHECK(f.post(twin.body(1, "another truth")).forks == 1);
  const StoreCheck check = f.check();
  CHECK(check.rows == 14);
  CHECK(check.forks == 4);
  CHECK(check.faults.empty());
  f.reopen();
  CHECK(f.store->heads().begin()->second.forks == 4);
}

TEST_CASE("a batch that does not continue what is stored is refused, and nothing of it is kept", "[store]") {
  Fixture f;
  ChainBuilder chain;
  f.post(chain.body(5));
  ChainBuilder liar;
  liar.body(5, "a past that never arrived");
  const auto stored = f.try_post(liar.body(2));
  REQUIRE(stored.ok());
  REQUIRE(std::holds_alternative<Refusal>(*stored));
  CHECK(std::get<Refusal>(*stored).status == 400);
  CHECK(f.check().rows == 5);

  ChainBuilder headless;
  const ChainRow first = headless.add();
  Entry entry = testing::entry_of(1, "");
  entry.node = headless.node();
  entry.epoch = Epoch(testing::uuid_of(77));
  const std::string body = seal_entry(*encode_entry_body(entry), first.digest);
  const auto unlinked = f.try_post(body);
  REQUIRE(unlinked.ok());
  CHECK(std::holds_alternative<Refusal>(*unlinked));
}

TEST_CASE("nodes and epochs do not mix", "[store]") {
  Fixture f;
  ChainBuilder a("node-1", 1);
  ChainBuilder b("node-1", 2);
  ChainBuilder c("node-10", 1);
  const std::string rows_a = a.body(3);
  const std::string rows_b = b.body(3);
  const std::string rows_c = c.body(3);
  f.post(rows_c);
  f.post(rows_b);
  f.post(rows_a);
  CHECK(f.all() == rows_a + rows_b + rows_c);
  CHECK(f.all("node-1") == rows_a + rows_b);
  CHECK(f.all("node-10") == rows_c);
  CHECK(f.store->heads().size() == 3);
  CHECK(f.check().chains == 3);
}

TEST_CASE("arrival times rise with every commit, even over a restart with a clock set back", "[store]") {
  Fixture f;
  ChainBuilder chain;
  f.post(chain.body(1), kNow);
  f.post(chain.body(1), kNow - Milliseconds(5'000));
  f.reopen();
  f.post(chain.body(1), kNow - Milliseconds(10'000));
  ChainBuilder other("node-2");
  f.post(other.body(1), kNow - Milliseconds(10'000));
  f.post(chain.body(1), kNow + Milliseconds(1));
  std::vector<UtcTime> times;
  REQUIRE(for_each_row(*f.kv, std::nullopt, [&](const StoredRow& row) {
            times.push_back(row.arrived);
            return true;
          }).ok());
  // Each commit has its own, so that "until this one" means the same for ever.
  const auto ms = [](std::int64_t n) { return kNow + Milliseconds(n); };
  CHECK(times == std::vector<UtcTime>{kNow, ms(1), ms(2), ms(4), ms(3)});
}

TEST_CASE("a crash at any commit loses nothing that was acknowledged", "[store]") {
  for (const MemoryDisk::Fault fault :
       {MemoryDisk::Fault::kFull, MemoryDisk::Fault::kUnknownLost, MemoryDisk::Fault::kUnknownWritten}) {
    for (std::uint64_t after = 0; after < 8; ++after) {
      Fixture f;
      ChainBuilder chain;
      std::string sent;
      f.disk.fail(fault, after);
      for (int i = 0; i < 6; ++i) {
        const std::string body = chain.body(3);
        sent += body;
        while (!f.try_post(body).ok()) {
          CHECK(f.store->heads().empty() == (sent.size() == body.size()));
          if (fault != MemoryDisk::Fault::kFull) f.reopen();
        }
      }
      CHECK(f.all() == sent);
      CHECK(f.check().faults.empty());
      f.reopen();
      CHECK(f.store->heads().begin()->second.rows == 18);
    }
  }
}

TEST_CASE("damage on the disk is found by verification", "[store]") {
  Fixture f;
  ChainBuilder chain;
  f.post(chain.body(5));
  std::string key;
  std::string value;
  {
    const auto snapshot = f.kv->snapshot();
    REQUIRE(snapshot.ok());
    int n = 0;
    REQUIRE((*snapshot)
                ->scan(Table::kEntries, "",
                       [&](std::string_view k, std::string_view v) {
                         key = k;
                         value = v;
                         return ++n < 3;
                       })
                .ok());
  }
  for (std::size_t at = 8; at < value.size(); at += 7) {
    std::string damaged = value;
    damaged[at] = static_cast<char>(damaged[at] ^ 1);
    f.disk.damage(Table::kEntries, key, damaged);
    CHECK_FALSE(f.check().faults.empty());
  }
  f.disk.lose(Table::kEntries, key);
  CHECK(f.check().holes.size() == 1);
}

TEST_CASE("a store of a newer program is not touched", "[store]") {
  Fixture f;
  f.disk.damage(Table::kMeta, "format", std::string("\x04\0\0\0", 4));
  MemoryKv kv(f.disk);
  const auto opened = AggregatorStore::open(kv);
  REQUIRE_FALSE(opened.ok());
  CHECK(opened.error().code == ErrorCode::kUnsupported);
}

TEST_CASE("many senders at once leave every row once", "[store]") {
  Fixture f;
  constexpr int kNodes = 4;
  std::vector<std::string> expected(kNodes);
  std::vector<std::vector<std::string>> batches(kNodes);
  for (int n = 0; n < kNodes; ++n) {
    ChainBuilder chain("node-" + std::to_string(n));
    for (int b = 0; b < 20; ++b) {
      batches[static_cast<std::size_t>(n)].push_back(chain.body(5));
      expected[static_cast<std::size_t>(n)] += batches[static_cast<std::size_t>(n)].back();
    }
  }
  std::vector<std::thread> senders;
  for (int t = 0; t < 2 * kNodes; ++t) {  // Two senders per node: each batch comes twice at about the same time.
    senders.emplace_back([&, n = static_cast<std::size_t>(t % kNodes)] {
      for (const std::string& body : batches[n]) {
        const auto batch = decode_batch({}, body, {});
        if (!f.store->store(std::get<IngestBatch>(batch), kNow).ok()) std::abort();
        (void)f.store->heads();
      }
    });
  }
  for (std::thread& sender : senders) sender.join();
  for (int n = 0; n < kNodes; ++n) CHECK(f.all("node-" + std::to_string(n)) == expected[static_cast<std::size_t>(n)]);
  CHECK(f.check().forks == 0);
  CHECK(f.check().holes.empty());
}

}  // namespace nodemeter
