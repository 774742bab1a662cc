// Goal: what is past retention goes, in small commits that no sample waits for; what was not delivered stays; the chain
// holds from the first entry that is kept; and the forecast says what then happens.
// Method: the real agent on a store in memory with a steady node, for simulated weeks.

#include <catch2/catch.hpp>

#include "agent/agent.h"
#include "agent/simulation.h"
#include "store/reader.h"
#include "tests/bench/steady_node.h"
#include "tests/sim/memory_kv.h"

using namespace nodemeter;

namespace {

constexpr Milliseconds kMinute{60'000};
constexpr Milliseconds kHour{3'600'000};
constexpr Milliseconds kDay{86'400'000};
constexpr UtcTime kStart{Milliseconds{1'767'225'600'000}};

// Counts what each commit deletes.
class WatchedKv final : public KeyValue {
 public:
  explicit WatchedKv(KeyValue& store) : store_(store) {}
  Status commit(const std::vector<Write>& writes) override {
    std::uint64_t deleted = 0;
    for (const Write& write : writes) deleted += write.table == Table::kEntries && !write.value ? 1 : 0;
    largest_lot = std::max(largest_lot, deleted);
    lots += deleted == 0 ? 0 : 1;
    return store_.commit(writes);
  }
  Result<std::unique_ptr<Snapshot>> snapshot() const override { return store_.snapshot(); }
  Usage usage() const override { return store_.usage(); }

  std::uint64_t largest_lot = 0;
  std::uint64_t lots = 0;

 private:
  KeyValue& store_;
};

class Shown final : public LiveWriter {
 public:
  void publish(const LiveSnapshot& snapshot) override { node = snapshot.node; }
  LiveNode node;
};

struct Watched {
  explicit Watched(std::uint32_t vms) : node(clock, vms, 1) {
    options.node = *NodeId::parse("node-1");
    options.sample_interval = kHour;
    options.retention = 2 * kDay;
    far_clock.set(kStart);
  }
  void start(Transport* transport = nullptr) {
    agent.reset();
    auto opened = Agent::open(options, {clock, node, watched, transport, &shown, random, log});
    REQUIRE(opened.ok());
    agent = std::move(opened).value();
  }
  void run(Milliseconds time, Milliseconds step = 10 * kMinute) {
    for (Milliseconds passed{0}; passed < time; passed += step) {
      clock.pass(step);
      far_clock.set(clock.now().utc);
      node.advance();
      agent->step();
      agent->step();  // What came due by the first one.
      REQUIRE(agent->phase() == AgentPhase::kMetering);
    }
  }
  Milliseconds age_of_oldest() {
    UtcTime oldest = clock.now().utc;
    REQUIRE(Reader::on(kv)->for_each(agent->journal().state().oldest_kept, [&](const Entry& entry, std::string_view) {
      oldest = entry.reported_at;
      return false;
    }));
    return clock.now().utc - oldest;
  }
  void check_chain() {
    const auto check = Reader::on(kv)->verify({});
    REQUIRE(check.ok());
    CHECK(check->faults == std::vector<std::string>{});
  }

  SteadyClock clock{kStart};
  SteadyNode node;
  MemoryDisk disk;
  MemoryKv kv{disk};
  WatchedKv watched{kv};
  Shown shown;
  SimulatedClock far_clock{kStart, 1};
  SimulatedAggregator far_end{far_clock};
  Random random{1};
  NullLog log;
  AgentOptions options;
  std::unique_ptr<Agent> agent;
};

}  // namespace

TEST_CASE("entries go when they are past retention, and the chain holds from there", "[retention]") {
  Watched w(5);
  w.start();
  w.run(2 * kDay);
  CHECK(w.agent->journal().state().oldest_kept == 1);
  w.run(5 * kDay);
  CHECK(w.agent->journal().state().oldest_kept > 5 * 24 * 4);
  CHECK(w.age_of_oldest() <= 2 * kDay + kHour);
  CHECK(w.age_of_oldest() > 2 * kDay - 2 * kHour);
  w.check_chain();
  const std::uint64_t size = w.disk.bytes();
  w.start();  // A restart changes nothing.
  w.run(5 * kDay);
  CHECK(w.age_of_oldest() <= 2 * kDay + kHour);
  CHECK(w.disk.bytes() < size + size / 10);
  w.check_chain();
}

TEST_CASE("what was not delivered stays, and retention runs from its acknowledgement", "[retention]") {
  Watched w(3);
  w.far_end.fail_until(kStart + 5 * kDay);
  w.start(&w.far_end);
  w.run(5 * kDay - kHour, kMinute);
  CHECK(w.agent->journal().state().acknowledged == 0);
  CHECK(w.agent->journal().state().oldest_kept == 1);
  w.run(3 * kHour, kMinute);
  const Sequence delivered = w.agent->journal().state().acknowledged;
  CHECK(delivered > 4 * 24 * 3);
  CHECK(w.agent->journal().state().oldest_kept == 1);  // Old, but only just acknowledged.
  w.run(kDay + 20 * kHour, kMinute);
  CHECK(w.agent->journal().state().oldest_kept == 1);
  w.run(2 * kDay, kMinute);  // To the day; a day begins at midnight.
  CHECK(w.agent->journal().state().oldest_kept > delivered);
  CHECK(w.age_of_oldest() >= 2 * kDay - kHour);
  CHECK(w.age_of_oldest() <= 3 * kDay + kHour);
  w.check_chain();
}

TEST_CASE("a backlog of old entries goes in small lots, and never when a sample is due", "[retention]") {
  Watched w(100);
  w.options.retention = 60 * kDay;
  w.start();
  w.run(2 * kDay);
  const Sequence last = w.agent->journal().state().last_sequence;
  CHECK(last > 4'500);
  w.options.retention = kDay;
  w.start();
  w.node.advance();
  w.agent->step();  // The first one samples.
  const std::uint64_t before = w.watched.lots;
  w.clock.pass(kHour - Milliseconds{400});
  w.node.advance();
  w.agent->step();
  CHECK(w.watched.lots == before);  // 400 ms before the next sample.
  w.run(Milliseconds{10'000}, Milliseconds{1'000});
  CHECK(w.watched.largest_lot == StoreKeeper::kLot);
  CHECK(w.watched.lots >= before + 4);
  CHECK(w.age_of_oldest() <= kDay + kHour);
  w.check_chain();
}

TEST_CASE("the forecast comes from the journal, also after a restart", "[retention]") {
  Watched w(5);
  w.options.retention = 400 * kDay;
  w.start();
  w.run(2 * kHour);
  CHECK(w.shown.node.store_bytes_per_day == 0);
  w.run(kDay + 22 * kHour);
  w.start();
  w.run(2 * kHour);
  const LiveNode forecast = w.shown.node;
  const KeyValue::Usage before = w.disk.usage();
  w.run(kDay);
  const std::uint64_t grown = w.disk.usage().entries_bytes - before.entries_bytes;
  CHECK(forecast.store_bytes_per_day > grown - grown / 10);
  CHECK(forecast.store_bytes_per_day < grown + grown / 10);
  const std::uint64_t other = before.used_bytes - before.entries_bytes;
  CHECK(forecast.store_retained_bytes > 360 * grown + other);
  CHECK(forecast.store_retained_bytes < 440 * grown + other);
}

TEST_CASE("while nothing is delivered, retention is not counted on", "[retention]") {
  Watched w(2);
  w.far_end.fail_until(kStart + 100 * kDay);
  w.start(&w.far_end);
  w.run(12 * kHour, kMinute);
  CHECK(w.shown.node.oldest_unacknowledged != UtcTime{});
  CHECK(w.shown.node.store_retained_bytes != 0);
  w.run(kDay, kMinute);
  CHECK(w.shown.node.store_bytes_per_day != 0);
  CHECK(w.shown.node.store_retained_bytes == 0);
}
