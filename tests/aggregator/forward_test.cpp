// Goal: what a relay received arrives upstream exactly as it was received, each row once, whatever dies in between.
// Method: two stores over disks in memory, the real relay between them; answers get lost, the relay's disk fills up or
// crashes at chosen commits, the receiver falls back to an older copy. Then the same with real processes and SIGKILL.

#include <catch2/catch.hpp>
#include <cstdlib>
#include <set>
#include <sstream>

#include "tests/aggregator/plain_client.h"
#include "tests/aggregator/program.h"
#include "tests/aggregator/store_in_memory.h"
#include "tests/uploader/chain.h"
#include "uploader/aggregator/aggregator_store.h"
#include "uploader/aggregator/relay.h"

namespace nodemeter {
namespace {

using std::chrono::milliseconds;
using testing::await_port;
using testing::ChainBuilder;
using testing::ChainRow;
using testing::PlainClient;
using testing::Program;
using testing::run;
using testing::TemporaryDirectory;

std::string rows_of(const KeyValue& kv) {
  std::string bytes;
  REQUIRE(for_each_row(kv, std::nullopt, [&](const StoredRow& row) {
            bytes += row.row;
            return true;
          }).ok());
  return bytes;
}

// The receiver upstream behind a transport that answers at once, or loses the answer after the rows were stored.
class Upstream final : public Transport, public testing::StoreInMemory {
 public:
  void begin(UploadRequest request) override {
    tokens.insert(request.url_suffix_token);
    answer_ = UploadResponse{};
    if (refuse_entry != 0 && request.body.find("entry to refuse") != std::string::npos) {
      answer_->status = 400;
      return;
    }
    IngestClaims claims;
    for (const auto& [name, value] : request.headers) {
      if (name == "Nodemeter-Node") claims.node = value;
      if (name == "Nodemeter-Epoch") claims.epoch = value;
      if (name == "Nodemeter-Sequence") claims.sequence = value;
      if (name == "Nodemeter-Digest") claims.digest = value;
    }
    const auto batch = decode_batch(claims, request.body, {});
    REQUIRE(std::holds_alternative<IngestBatch>(batch));
    const StoreOutcome outcome = keep(std::get<IngestBatch>(batch), UtcTime{});
    repeats += outcome.repeats;
    if (lose_every != 0 && ++answers % lose_every == 0) {
      answer_->transport_error = "the answer was lost";
      return;
    }
    answer_->status = 200;
    const std::string from = outcome.resend_from ? std::to_string(*outcome.resend_from) : "null";
    answer_->body = "{\"acknowledged\":" + std::to_string(outcome.acknowledged) + ",\"resend_from\":" + from + "}";
  }
  std::optional<UploadResponse> poll() override { return std::exchange(answer_, std::nullopt); }
  void cancel() override { answer_.reset(); }

  std::set<std::string> tokens;
  std::uint64_t repeats = 0;
  unsigned lose_every = 0;
  unsigned answers = 0;
  int refuse_entry = 0;

 private:
  std::optional<UploadResponse> answer_;
};

struct Site {
  Site() { reopen(); }
  void open_store() {
    relay.reset();
    store.reset();
    kv = std::make_unique<MemoryKv>(disk);
    auto opened = AggregatorStore::open(*kv);
    REQUIRE(opened.ok());
    store = std::move(*opened);
  }
  void reopen() {
    open_store();
    if (forwarding) forward();
  }
  void forward() {
    forwarding = true;
    while (!store->forward_queue().switch_on().ok()) open_store();
    UploaderOptions options;
    options.backoff_base = milliseconds(10);
    options.backoff_cap = milliseconds(50);
    options.interval = milliseconds(10);
    options.resend_interval_min = milliseconds(1);
    options.limits.rows_max = 4;
    relay = std::make_unique<Relay>(store->forward_queue(), upstream, random, log, options);
  }
  bool take(const std::string& body) {
    const auto batch = decode_batch({}, body, {});
    REQUIRE(std::holds_alternative<IngestBatch>(batch));
    return store->store(std::get<IngestBatch>(batch), UtcTime{}).ok();
  }
  void steps(int count) {
    for (int i = 0; i < count; ++i) {
      clock.monotonic += milliseconds(20);
      if (!relay->step(clock).ok()) reopen();
    }
  }
  // Until nothing is left to pass on.
  void drain() {
    for (int i = 0; i < 3'000 && backlog() > 0; ++i) steps(1);
    REQUIRE(backlog() == 0);
  }
  std::uint64_t backlog() const {
    std::uint64_t rows = 0;
    for (const auto& [chain, one] : store->forward_queue().backlog()) rows += one.rows;
    return rows;
  }
  MemoryDisk disk;
  std::unique_ptr<MemoryKv> kv;
  std::unique_ptr<AggregatorStore> store;
  Upstream upstream;
  Random random{5};
  NullLog log;
  ClockReading clock{};
  std::unique_ptr<Relay> relay;
  bool forwarding = false;
};

}  // namespace

TEST_CASE("rows are passed on as received: nodes, epochs, holes that close late, both branches of a fork",
          "[forward]") {
  Site site;
  ChainBuilder a("node-a");
  ChainBuilder b("node-b", 9);
  site.take(a.body(7));  // Before there was anybody to pass on to.
  ChainBuilder twin = a;
  site.take(twin.body(3, "another truth"));
  site.forward();
  site.take(b.body(2));
  const std::string late = b.body(3);
  site.take(b.body(2));
  site.take(a.body(5));
  site.drain();
  CHECK(rows_of(*site.upstream.kv) == rows_of(*site.kv));
  site.take(late);
  CHECK(site.backlog() == 3);
  site.drain();
  CHECK(rows_of(*site.upstream.kv) == rows_of(*site.kv));
  CHECK(site.upstream.store->heads().begin()->second.forks == 3);
  // A batch of the original kind has the original's token.
  CHECK(site.upstream.tokens.contains(batch_token(b.node(), b.epoch(), 3, 5, late)));
}

TEST_CASE("nothing is lost or doubled when the relay's store fills up or crashes at any commit", "[forward]") {
  for (const MemoryDisk::Fault fault :
       {MemoryDisk::Fault::kFull, MemoryDisk::Fault::kUnknownLost, MemoryDisk::Fault::kUnknownWritten}) {
    for (std::uint64_t after = 0; after < 14; ++after) {
      Site site;
      site.upstream.lose_every = 3;
      ChainBuilder chain;
      site.take(chain.body(5));
      site.disk.fail(fault, after);
      site.forward();
      for (int i = 0; i < 4; ++i) {
        const std::string body = chain.body(6);
        while (!site.take(body)) site.reopen();
        site.steps(2);
      }
      site.drain();
      REQUIRE(rows_of(*site.upstream.kv) == rows_of(*site.kv));
      REQUIRE(site.upstream.store->heads().begin()->second.contiguous == 29);
    }
  }
}

TEST_CASE("a receiver that fell back to an older copy gets what it lost", "[forward]") {
  Site site;
  site.forward();
  ChainBuilder chain;
  site.take(chain.body(10));
  site.drain();
  const MemoryDisk copy = site.upstream.disk;
  site.take(chain.body(30));
  site.drain();
  site.upstream.disk = copy;
  site.upstream.reopen();
  site.take(chain.body(2));
  site.drain();
  CHECK(rows_of(*site.upstream.kv) == rows_of(*site.kv));
}

TEST_CASE("a row that the receiver refuses is set aside and told, the rest goes on", "[forward]") {
  Site site;
  site.forward();
  site.upstream.refuse_entry = 1;
  ChainBuilder chain;
  std::string body = chain.body(5);
  body += chain.add("entry to refuse").bytes;
  body += chain.body(6);
  site.take(body);
  site.drain();
  CHECK(site.store->forward_queue().backlog().begin()->second.parked == 1);
  site.reopen();
  CHECK(site.store->forward_queue().backlog().begin()->second.parked == 1);
  CHECK(site.upstream.store->heads().begin()->second.rows == 11);
}

TEST_CASE("switched off and on again, everything goes once more and is stored once", "[forward]") {
  Site site;
  site.forward();
  ChainBuilder chain;
  site.take(chain.body(6));
  site.drain();
  REQUIRE(site.store->forward_queue().switch_off().ok());
  site.take(chain.body(6));
  CHECK(site.backlog() == 0);
  REQUIRE(site.store->forward_queue().switch_on().ok());
  CHECK(site.backlog() == 12);
  site.drain();
  CHECK(rows_of(*site.upstream.kv) == rows_of(*site.kv));
  CHECK(site.upstream.repeats == 6);
}

}  // namespace nodemeter
