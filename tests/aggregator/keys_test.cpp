// Goal: the aggregator believes a node's first key and what that key signed for, over epochs and restarts; any other
// key is refused until the operator writes it down, and verify complains exactly where there is something to complain
// of. Method: signed journals, their batches stored in memory.

#include "uploader/aggregator/key_history.h"

#include <catch2/catch.hpp>

#include "store/journal.h"
#include "tests/aggregator/store_in_memory.h"
#include "tests/uploader/chain.h"
#include "uploader/aggregator/aggregator_store.h"

namespace nodemeter {
namespace {

SigningKey key_of(char seed) { return SigningKey::from_seed(std::string(32, seed)).value(); }

// One store of node-1: an epoch of its own.
class Node {
 public:
  explicit Node(std::uint64_t seed, std::optional<char> key) : random_(seed), kv_(disk_) { open(key); }
  void open(std::optional<char> key) {
    JournalOptions options;
    options.node = *NodeId::parse("node-1");
    if (key) options.key = key_of(*key);
    auto opened = Journal::open(kv_, options, random_);
    REQUIRE(opened.ok());
    journal_ = std::move(*opened);
  }
  void hour() {
    JournalCommit commit;
    for (int i = 0; i < 3; ++i) commit.entries.push_back(testing::entry_of(0, ""));
    commit.closed_until = ++hour_;
    REQUIRE(journal_->commit(commit, now()).ok());
  }
  void rotate(char next) { REQUIRE(journal_->rotate_key(key_of(next), now()).ok()); }
  // Everything since the last time.
  std::string sent() {
    const auto frozen = journal_->freeze_next({});
    REQUIRE(frozen.ok());
    REQUIRE(frozen->has_value());
    std::string body = *journal_->batch_body(**frozen);
    REQUIRE(journal_->acknowledge_frozen().ok());
    return body;
  }

 private:
  static UtcTime now() { return UtcTime(std::chrono::seconds(1'767'229'200)); }
  Random random_;
  MemoryDisk disk_;
  MemoryKv kv_;
  std::unique_ptr<Journal> journal_;
  std::int64_t hour_ = 490'000;
};

struct Far : testing::StoreInMemory {
  // "" if it was stored, else why not.
  std::string take(const std::string& body, std::optional<char> configured = std::nullopt) {
    auto batch = decode_batch({}, body, {});
    REQUIRE(std::holds_alternative<IngestBatch>(batch));
    if (configured) std::get<IngestBatch>(batch).configured_key = key_of(*configured).public_key();
    const auto stored = store->store(std::get<IngestBatch>(batch), UtcTime{});
    REQUIRE(stored.ok());
    const auto* const refused = std::get_if<Refusal>(&*stored);
    if (refused == nullptr) return "";
    CHECK(refused->status == 403);
    CHECK(refused->cause == "key");
    return refused->sentence;
  }
  std::vector<std::string> faults() { return verify_store(*kv)->faults; }
};

}  // namespace

TEST_CASE("a rotated key is followed, into a new epoch and over a restart", "[keys]") {
  Far far;
  Node node(1, 'a');
  node.hour();
  CHECK(far.take(node.sent()).empty());
  node.rotate('b');
  node.hour();
  CHECK(far.take(node.sent()).empty());
  far.reopen();
  Node restored(2, 'b');
  restored.hour();
  CHECK(far.take(restored.sent()).empty());
  restored.rotate('c');
  restored.hour();
  CHECK(far.take(restored.sent()).empty());
  // From a backup that was made before the first rotation.
  Node older(3, 'a');
  older.hour();
  CHECK(far.take(older.sent()).empty());
  CHECK(far.faults().empty());
  CHECK(verify_store(*far.kv)->signed_manifests == 5);
  const KeyHistory history = far.store->keys().begin()->second;
  REQUIRE(history.size() == 3);
  CHECK(history.front().how == KnownKey::How::kFirst);
  CHECK(history.back().how == KnownKey::How::kVouchedFor);
  CHECK(history.back().key == key_of('c').public_key());
}

TEST_CASE("a rotation and what follows may come in one batch, or the change alone first", "[keys]") {
  Far far;
  Node node(1, 'a');
  node.hour();
  node.rotate('b');
  CHECK(far.take(node.sent()).empty());
  node.hour();
  node.rotate('c');
  node.hour();
  CHECK(far.take(node.sent()).empty());
  CHECK(far.store->keys().begin()->second.size() == 3);
  CHECK(far.faults().empty());
}

TEST_CASE("a key that nothing vouches for is refused until the operator writes it down", "[keys]") {
  Far far;
  Node node(1, 'a');
  node.hour();
  CHECK(far.take(node.sent()).empty());
  Node stranger(2, 'x');
  stranger.hour();
  const std::string body = stranger.sent();
  CHECK(far.take(body).find("is signed with key") != std::string::npos);
  CHECK(far.take(body, 'y').find("is signed with key") != std::string::npos);
  CHECK(verify_store(*far.kv)->rows == 4);
  CHECK(far.take(body, 'x').empty());
  far.reopen();
  stranger.hour();
  CHECK(far.take(stranger.sent()).empty());
  CHECK(far.faults().empty());
  CHECK(far.store->keys().begin()->second.back().how == KnownKey::How::kConfigured);
}

TEST_CASE("a change that the old key did not sign is refused, and accepted by the operator's word", "[keys]") {
  Far far;
  Node node(1, 'a');
  node.hour();
  CHECK(far.take(node.sent()).empty());
  node.open('x');
  node.hour();
  const std::string body = node.sent();
  CHECK(far.take(body).find("changes the key") != std::string::npos);
  CHECK(far.take(body, 'x').empty());
  CHECK(far.faults().empty());
}

TEST_CASE("a configured key wins over whoever comes first", "[keys]") {
  Far far;
  Node stranger(1, 'x');
  stranger.hour();
  CHECK_FALSE(far.take(stranger.sent(), 'a').empty());
  Node node(2, 'a');
  node.hour();
  CHECK(far.take(node.sent(), 'a').empty());
}

TEST_CASE("a node that has shown a key may not go on without", "[keys]") {
  Far far;
  Node bare(1, std::nullopt);
  bare.hour();
  CHECK(far.take(bare.sent()).empty());
  Node node(2, 'a');
  node.hour();
  CHECK(far.take(node.sent()).empty());
  bare.hour();
  CHECK(far.take(bare.sent()).find("without a signature") != std::string::npos);
}

TEST_CASE("verify names a chain of another key, and takes over the only key of an older store", "[keys]") {
  Far far;
  Node node(1, 'a');
  node.hour();
  CHECK(far.take(node.sent()).empty());
  far.disk.damage(Table::kMeta, "format", std::string("\1\0\0\0", 4));
  far.disk.damage(Table::kMeta, "key/node-1", key_of('a').public_key());
  far.reopen();
  CHECK(far.store->keys().begin()->second.front().key == key_of('a').public_key());
  CHECK(far.faults().empty());
  far.disk.damage(Table::kMeta, "key/node-1", key_of('x').public_key());
  REQUIRE(far.faults().size() == 1);
  CHECK(far.faults().front().find("signed with another key than the node's") != std::string::npos);
}

}  // namespace nodemeter
