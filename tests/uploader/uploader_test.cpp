// Goal: whatever the receiver and the network do, every entry arrives exactly once in the receiver's set, oldest first,
// and only a row that the receiver provably refuses is set aside.
// Method: the real uploader and journal over a store in memory, against a receiver in this file that removes repeats
// and obeys a script; time is a number that the test moves.

#include "uploader/uploader.h"

#include <catch2/catch.hpp>
#include <deque>
#include <functional>
#include <map>
#include <set>

#include "platform/digest.h"
#include "store/entry_codec.h"
#include "tests/sim/memory_kv.h"
#include "tests/uploader/chain.h"

namespace nodemeter {
namespace {

using std::chrono::seconds;

UploadResponse status_answer(int status) {
  UploadResponse response;
  response.status = status;
  return response;
}

UploadResponse acknowledgement(Sequence last, std::optional<Sequence> resend = std::nullopt,
                               std::uint64_t missing = 0) {
  UploadResponse response = status_answer(200);
  response.body = "{\"acknowledged\":" + std::to_string(last) +
                  ",\"resend_from\":" + (resend ? std::to_string(*resend) : "null") +
                  ",\"missing\":" + std::to_string(missing) + "}";
  return response;
}

UploadResponse lost(bool sent_nothing) {
  UploadResponse response;
  response.transport_error = "connection reset";
  response.sent_nothing = sent_nothing;
  return response;
}

std::string header(const UploadRequest& request, const std::string& name) {
  for (const auto& [key, value] : request.headers) {
    if (key == name) return value;
  }
  return "";
}

// A receiver: keeps a set of rows, refuses the rows it was told to, and lets a script answer first.
class Receiver final : public Transport {
 public:
  void begin(UploadRequest request) override {
    REQUIRE_FALSE(answer_.has_value());
    requests.push_back(request);
    std::optional<UploadResponse> scripted;
    if (!script.empty()) {
      const auto act = script.front();
      script.pop_front();
      scripted = act(*this, request);
    }
    answer_ = scripted ? *scripted : take(request);
  }
  std::optional<UploadResponse> poll() override { return std::exchange(answer_, std::nullopt); }
  void cancel() override { answer_.reset(); }

  // All or nothing, as both real receivers are.
  UploadResponse take(const UploadRequest& request) {
    const auto rows = decode_rows(request.body, 100'000);
    REQUIRE(rows.ok());
    REQUIRE_FALSE(rows->empty());
    for (const DecodedEntry& row : *rows) {
      if (refused.contains(row.entry.sequence)) return status_answer(400);
    }
    for (const DecodedEntry& row : *rows) {
      const auto [at, fresh] = stored.emplace(row.entry.sequence, row.entry.digest);
      REQUIRE(at->second == row.entry.digest);
      if (!fresh) ++repeats;
    }
    return acknowledgement(rows->back().entry.sequence);
  }

  using Act = std::function<std::optional<UploadResponse>(Receiver&, const UploadRequest&)>;
  std::deque<Act> script;
  std::set<Sequence> refused;
  std::map<Sequence, Digest> stored;
  std::uint64_t repeats = 0;
  std::vector<UploadRequest> requests;

 private:
  std::optional<UploadResponse> answer_;
};

Receiver::Act answers(const UploadResponse& response) {
  return [response](Receiver&, const UploadRequest&) { return std::optional(response); };
}

struct World {
  explicit World(UploaderOptions o = {}) : options(o) {
    auto opened = Journal::open(kv, JournalOptions{.node = *NodeId::parse("node-1")}, random);
    REQUIRE(opened.ok());
    journal = std::move(*opened);
    restart();
  }

  void restart() { uploader = std::make_unique<Uploader>(*journal, receiver, random, log, options); }

  void append(std::size_t count) {
    JournalCommit commit;
    for (std::size_t i = 0; i < count; ++i) commit.entries.push_back(testing::entry_of(0, ""));
    REQUIRE(journal->commit(commit, UtcTime(seconds(1'767'229'200))).ok());
  }

  // Steps at the moments that the uploader asks for, until `span` has gone by.
  void run(Milliseconds span, bool flush = true) {
    const MonotonicTime end = now + span;
    for (;;) {
      const auto next = uploader->step(now, UtcTime(now.time_since_epoch()), flush);
      REQUIRE(next.ok());
      if (*next >= end) break;
      now = std::max(*next, now + Milliseconds(1));
      REQUIRE(++steps < 100'000);
    }
    now = end;
  }

  [[nodiscard]] bool everything_but(const std::set<Sequence>& missing) const {
    for (Sequence s = 1; s <= journal->state().last_sequence; ++s) {
      if (receiver.stored.contains(s) == missing.contains(s)) return false;
    }
    return journal->state().acknowledged == journal->state().last_sequence;
  }

  UploaderOptions options;
  MemoryDisk disk;
  MemoryKv kv{disk};
  Random random{7};
  NullLog log;
  Receiver receiver;
  std::unique_ptr<Journal> journal;
  std::unique_ptr<Uploader> uploader;
  MonotonicTime now{seconds(1'000)};
  int steps = 0;
};

}  // namespace

TEST_CASE("backing off never waits longer than the cap, nor less than half the base, and spreads", "[uploader]") {
  Random random(3);
  const Milliseconds base(1'000);
  const Milliseconds cap(300'000);
  for (std::uint32_t attempt = 1; attempt < 100; ++attempt) {
    const Milliseconds ceiling = attempt > 9 ? cap : std::min(cap, base * (1 << (attempt - 1)));
    Milliseconds least = cap;
    Milliseconds most(0);
    for (int i = 0; i < 500; ++i) {
      const Milliseconds wait = backoff_wait(attempt, base, cap, random);
      REQUIRE(wait >= base / 2);
      REQUIRE(wait <= std::max(ceiling, base / 2));
      least = std::min(least, wait);
      most = std::max(most, wait);
    }
    if (attempt >= 4) {
      CHECK(least < ceiling / 4);
      CHECK(most > ceiling * 3 / 4);
    }
  }
  CHECK(backoff_wait(UINT32_MAX, base, cap, random) <= cap);
}

TEST_CASE("a batch says whose it is, which part, and under which token", "[uploader]") {
  World w;
  w.append(3);
  w.run(seconds(10));
  REQUIRE(w.receiver.requests.size() == 1);
  const UploadRequest& request = w.receiver.requests[0];
  const std::string epoch = w.journal->state().epoch.text();
  CHECK(header(request, "Nodemeter-Node") == "node-1");
  CHECK(header(request, "Nodemeter-Epoch") == epoch);
  CHECK(header(request, "Nodemeter-Sequence") == "1-3");
  CHECK(header(request, "Nodemeter-Digest") == w.journal->state().head.hex());
  CHECK(header(request, "Nodemeter-Attempt") == "1");
  CHECK(request.url_suffix_token == "node-1:" + epoch + ":1-3:" + digest_of({request.body}).hex().substr(0, 16));
  CHECK(w.everything_but({}));
}

TEST_CASE("a resend is byte for byte the same, in this process and in the next one", "[uploader]") {
  World w;
  w.append(5);
  w.receiver.script = {answers(lost(false)), answers(status_answer(503)), answers(lost(false))};
  w.run(seconds(3));
  w.append(5);  // What came meanwhile does not change the batch.
  w.restart();
  w.run(seconds(600));
  REQUIRE(w.receiver.requests.size() >= 4);
  for (std::size_t i = 1; i < 4; ++i) {
    CHECK(w.receiver.requests[i].body == w.receiver.requests[0].body);
    CHECK(w.receiver.requests[i].url_suffix_token == w.receiver.requests[0].url_suffix_token);
  }
  CHECK(w.everything_but({}));
}

TEST_CASE("the range is frozen in the store before the first byte leaves", "[uploader]") {
  World w;
  w.append(4);
  bool frozen = false;
  w.receiver.script = {[&](Receiver&, const UploadRequest& request) -> std::optional<UploadResponse> {
    Random other(1);
    const auto reopened = Journal::open(w.kv, JournalOptions{.node = *NodeId::parse("node-1")}, other);
    REQUIRE(reopened.ok());
    frozen = (*reopened)->state().frozen && (*reopened)->state().frozen->token == request.url_suffix_token;
    return std::nullopt;
  }};
  w.run(seconds(10));
  CHECK(frozen);
}

TEST_CASE("a lost acknowledgement costs a repeat and nothing else", "[uploader]") {
  World w;
  w.append(6);
  w.receiver.script = {[](Receiver& r, const UploadRequest& request) -> std::optional<UploadResponse> {
    r.take(request);
    return lost(false);
  }};
  w.run(seconds(60));
  CHECK(w.everything_but({}));
  CHECK(w.receiver.repeats == 6);
  CHECK(w.uploader->state().failed_attempts == 1);
  CHECK(w.uploader->state().reason.empty());
}

TEST_CASE("a small backlog waits to travel together, but no longer than the interval", "[uploader]") {
  World w;
  w.run(seconds(1), false);
  w.append(1);
  w.run(seconds(29), false);
  CHECK(w.receiver.requests.empty());
  w.append(1);
  w.run(seconds(32), false);
  REQUIRE(w.receiver.requests.size() == 1);
  CHECK(w.everything_but({}));
  w.append(1);
  w.run(seconds(1), true);
  CHECK(w.receiver.requests.size() == 2);
}

TEST_CASE("what an earlier process left behind waits half an interval at most, and not at all to finish",
          "[uploader]") {
  for (const bool finishing : {false, true}) {
    World w;
    w.append(2);
    w.restart();
    w.run(finishing ? seconds(3) : seconds(33), finishing);
    CHECK(w.everything_but({}));
  }
}

TEST_CASE("no limit makes a batch larger than one block", "[uploader]") {
  UploaderOptions options;
  options.limits = {.rows_max = 1'000'000, .bytes_max = 1u << 30};
  World w(options);
  for (int i = 0; i < 6; ++i) w.append(10'000);
  w.run(seconds(60));
  REQUIRE(w.receiver.requests.size() >= 2);
  std::size_t most = 0;
  for (const UploadRequest& request : w.receiver.requests) {
    CHECK(request.body.size() <= kBatchBytesMax);
    most = std::max(most, decode_rows(request.body, 100'000)->size());
  }
  CHECK(most == kBatchRowsMax);
  CHECK(w.everything_but({}));
}

TEST_CASE("another configuration after a crash does not touch the batch that was begun", "[uploader]") {
  for (const std::uint32_t rows_max : {1u, 3u, 40u}) {
    UploaderOptions options;
    options.limits.rows_max = 7;
    World w(options);
    w.append(20);
    w.receiver.script = {[](Receiver& r, const UploadRequest& request) -> std::optional<UploadResponse> {
      r.take(request);  // It arrived; nobody here knows.
      return lost(false);
    }};
    w.run(seconds(1));
    REQUIRE(w.receiver.requests.size() == 1);
    MemoryKv survivor(w.disk);  // What a crash leaves behind.
    w.options.limits = {.rows_max = rows_max, .bytes_max = rows_max * 300ull};
    w.options.interval = seconds(5);
    Random other(99);
    auto opened = Journal::open(survivor, JournalOptions{.node = *NodeId::parse("node-1"), .location = "moved"}, other);
    REQUIRE(opened.ok());
    w.uploader.reset();
    w.journal = std::move(*opened);
    w.restart();
    w.run(seconds(600));
    REQUIRE(w.receiver.requests.size() >= 2);
    CHECK(w.receiver.requests[1].body == w.receiver.requests[0].body);
    CHECK(w.receiver.requests[1].url_suffix_token == w.receiver.requests[0].url_suffix_token);
    // One token, one body: for as long as the node lives.
    std::map<std::string, std::string> bodies;
    for (const UploadRequest& request : w.receiver.requests) {
      const auto [at, fresh] = bodies.emplace(request.url_suffix_token, request.body);
      CHECK(at->second == request.body);
    }
    CHECK(w.everything_but({}));
    w.uploader.reset();
    w.journal.reset();
  }
}

TEST_CASE("every kind of failure backs off by the same spread and capped wait", "[uploader]") {
  Random random(5);
  const Milliseconds cap(300'000);
  std::set<Milliseconds> held;
  std::set<Milliseconds> wished;
  for (int i = 0; i < 1'000; ++i) {
    held.insert(held_wait(cap, random));
    wished.insert(wished_wait(seconds(60), cap, random));
  }
  CHECK(*held.begin() >= cap / 2);
  CHECK(*held.rbegin() <= cap);
  CHECK(held.size() > 900);
  CHECK(*wished.begin() >= seconds(60));
  CHECK(*wished.rbegin() <= seconds(120));
  CHECK(wished.size() > 900);
  CHECK(wished_wait(Milliseconds(0), cap, random) == Milliseconds(0));
  CHECK(wished_wait(seconds(3'600), cap, random) <= seconds(3'900));

  // The wait grows over failures of different kinds, and nothing but an acknowledgement resets it.
  World w;
  w.append(1);
  std::vector<MonotonicTime> attempts;
  for (int i = 0; i < 400; ++i) {
    w.receiver.script.push_back([&, i](Receiver&, const UploadRequest&) -> std::optional<UploadResponse> {
      attempts.push_back(w.now);
      return i % 3 == 0 ? lost(false) : i % 3 == 1 ? lost(true) : status_answer(503);
    });
  }
  w.run(seconds(3'600));
  REQUIRE(attempts.size() > 15);
  CHECK(attempts.size() < 60);
  Milliseconds longest(0);
  for (std::size_t i = 1; i < attempts.size(); ++i) {
    longest = std::max(longest, std::chrono::duration_cast<Milliseconds>(attempts[i] - attempts[i - 1]));
  }
  CHECK(longest > seconds(120));
  CHECK(longest <= cap + seconds(2));
}

TEST_CASE("a parked row is sent again when somebody asks for it", "[uploader]") {
  World w;
  w.append(9);
  w.receiver.refused = {4};
  w.run(seconds(600));
  REQUIRE(w.everything_but({4}));
  const auto parked = w.journal->parked();
  REQUIRE(parked.ok());
  REQUIRE(parked->size() == 1);
  CHECK(parked->front().sequence == 4);
  CHECK(parked->front().reason.find("HTTP 400") != std::string::npos);
  w.receiver.refused.clear();
  REQUIRE(w.journal->unpark().ok());
  w.run(seconds(600));
  CHECK(w.everything_but({}));
  CHECK(w.journal->state().parked == 0);
}

TEST_CASE("a block that spans too many partitions is halved, and no row is blamed", "[uploader]") {
  World w;
  w.append(40);
  UploadResponse partitions = status_answer(500);
  partitions.headers["x-clickhouse-exception-code"] = "252";
  partitions.body = "Code: 252. DB::Exception: Too many partitions for single INSERT block (more than 100).";
  for (int i = 0; i < 300; ++i) {
    w.receiver.script.push_back([=](Receiver& r, const UploadRequest& request) -> std::optional<UploadResponse> {
      return decode_rows(request.body, 1'000)->size() > 3 ? partitions : r.take(request);
    });
  }
  w.run(seconds(3'600));
  CHECK(w.everything_but({}));
  CHECK(w.journal->state().parked == 0);
}

TEST_CASE("a large backlog leaves in batches without waiting in between", "[uploader]") {
  UploaderOptions options;
  options.limits.rows_max = 10;
  World w(options);
  w.append(95);
  w.run(seconds(30), false);
  CHECK(w.everything_but({}));
  CHECK(w.receiver.requests.size() == 10);
}

TEST_CASE("Retry-After is waited for, but not for ever", "[uploader]") {
  World w;
  w.append(1);
  UploadResponse patience = status_answer(503);
  patience.headers["retry-after"] = "120";
  UploadResponse forever = status_answer(429);
  forever.headers["retry-after"] = "99999999";
  w.receiver.script = {answers(patience), answers(forever)};
  w.run(seconds(119));
  CHECK(w.receiver.requests.size() == 1);
  w.run(seconds(122));  // Between once and twice as long: everybody was asked to come back then.
  CHECK(w.receiver.requests.size() == 2);
  w.run(seconds(3'470));
  CHECK(w.receiver.requests.size() == 2);
  w.run(seconds(440));
  CHECK(w.everything_but({}));
}

TEST_CASE("what an operator has to mend is held, kept, and tried at the cap", "[uploader]") {
  World w;
  w.append(3);
  for (int i = 0; i < 5; ++i) w.receiver.script.push_back(answers(status_answer(401)));
  w.run(seconds(149));
  CHECK(w.uploader->state().phase == "held");
  CHECK(w.uploader->state().reason.find("401") != std::string::npos);
  CHECK(w.receiver.requests.size() == 1);
  w.run(seconds(152));
  CHECK(w.receiver.requests.size() == 2);
  w.run(seconds(440));
  CHECK(w.receiver.requests.size() >= 3);
  CHECK(w.receiver.stored.empty());
  w.run(seconds(4 * 300));
  CHECK(w.everything_but({}));
  CHECK(w.uploader->state().phase == "idle");
}

TEST_CASE("any one row that is refused is found, parked, and costs no other row", "[uploader]") {
  for (Sequence bad = 1; bad <= 17; ++bad) {
    World w;
    w.append(17);
    w.receiver.refused = {bad};
    w.run(seconds(600));
    INFO("row " << bad);
    CHECK(w.everything_but({bad}));
    CHECK(w.journal->state().parked == 1);
    CHECK(w.receiver.requests.size() < 25);
  }
}

TEST_CASE("several rows that are refused are each found", "[uploader]") {
  for (const std::set<Sequence>& bad : std::vector<std::set<Sequence>>{
           {1, 2}, {1, 2, 3}, {16, 17}, {1, 17}, {4, 5, 9}, {2, 4, 6, 8, 10, 12, 14, 16}, {1, 2, 3, 4, 5, 6, 7, 8}}) {
    World w;
    w.append(17);
    w.receiver.refused = bad;
    w.run(seconds(3'600));
    CHECK(w.everything_but(bad));
    CHECK(w.journal->state().parked == bad.size());
  }
}

TEST_CASE("nothing is parked while the receiver refuses everything", "[uploader]") {
  World w;
  w.append(9);
  for (Sequence s = 1; s <= 9; ++s) w.receiver.refused.insert(s);
  w.run(seconds(6 * 3'600));
  CHECK(w.journal->state().parked == 0);
  CHECK(w.receiver.stored.empty());
  CHECK(w.uploader->state().phase == "held");
  CHECK(w.receiver.requests.size() < 300);
  w.receiver.refused.clear();
  w.run(seconds(3'600));
  CHECK(w.everything_but({}));
}

TEST_CASE("a single row with no other to compare it with stays until there is one", "[uploader]") {
  World w;
  w.append(1);
  w.receiver.refused = {1};
  w.run(seconds(3'600));
  CHECK(w.journal->state().parked == 0);
  w.append(1);
  w.run(seconds(3'600));
  CHECK(w.everything_but({1}));
  CHECK(w.journal->state().parked == 1);
}

TEST_CASE("a body that was damaged once on its way is sent again before anything is cut", "[uploader]") {
  World w;
  w.append(8);
  w.receiver.script = {answers(status_answer(400))};
  w.run(seconds(60));
  REQUIRE(w.receiver.requests.size() == 2);
  CHECK(w.receiver.requests[0].body == w.receiver.requests[1].body);
  CHECK(w.everything_but({}));
}

TEST_CASE("a batch that is too large is halved until it fits", "[uploader]") {
  World w;
  w.append(40);
  const auto limited = [](Receiver& r, const UploadRequest& request) -> std::optional<UploadResponse> {
    const auto rows = decode_rows(request.body, 1'000);
    return rows->size() > 5 ? status_answer(413) : r.take(request);
  };
  for (int i = 0; i < 200; ++i) w.receiver.script.push_back(limited);
  w.run(seconds(600));
  CHECK(w.everything_but({}));
  CHECK(w.journal->state().parked == 0);
}

TEST_CASE("without a receiver that removes repeats, a batch of unknown outcome is not cut", "[uploader]") {
  UploaderOptions options;
  options.receiver_removes_repeats = false;
  World w(options);
  w.append(8);
  w.receiver.script = {answers(lost(false))};
  w.receiver.refused = {3};
  w.run(seconds(3'600));
  CHECK(w.uploader->state().phase == "held");
  for (const UploadRequest& request : w.receiver.requests) CHECK(request.body == w.receiver.requests[0].body);

  World known(options);
  known.append(8);
  known.receiver.script = {answers(lost(true))};
  known.receiver.refused = {3};
  known.run(seconds(600));
  CHECK(known.everything_but({3}));
}

TEST_CASE("a wish to resend is obeyed once an hour, and ever more rarely when it does not help", "[uploader]") {
  UploaderOptions options;
  World w(options);
  w.append(10);
  std::vector<MonotonicTime> obeyed;
  const auto greedy = [&](Receiver& r, const UploadRequest& request) -> std::optional<UploadResponse> {
    if (header(request, "Nodemeter-Sequence").starts_with("1-") && request.body.size() > 0) obeyed.push_back(w.now);
    UploadResponse response = r.take(request);
    const auto rows = decode_rows(request.body, 1'000);
    return acknowledgement(rows->back().entry.sequence, 1);
  };
  for (int i = 0; i < 10'000; ++i) w.receiver.script.push_back(greedy);
  for (int hour = 0; hour < 48; ++hour) {
    w.append(1);
    w.run(seconds(3'600));
  }
  REQUIRE(obeyed.size() >= 3);
  CHECK(obeyed.size() < 9);
  for (std::size_t i = 2; i < obeyed.size(); ++i) CHECK(obeyed[i] - obeyed[i - 1] >= seconds(3'600));
  CHECK(w.journal->state().acknowledged == w.journal->state().last_sequence);
}

TEST_CASE("another wish does not wait as long as the one before it, which was in vain", "[uploader]") {
  // Further up, or for more than a row at the same place that the receiver never takes.
  const auto [later_wish, later_missing] = GENERATE(std::pair<Sequence, std::uint64_t>{5, 1}, std::pair{1, 4});
  World w;
  w.append(10);
  Sequence wish = 1;
  std::uint64_t missing = 1;
  std::size_t sent_from_wish = 0;
  const auto asks = [&](Receiver& r, const UploadRequest& request) -> std::optional<UploadResponse> {
    if (header(request, "Nodemeter-Sequence").starts_with(std::to_string(wish) + "-")) ++sent_from_wish;
    UploadResponse response = r.take(request);
    return acknowledgement(decode_rows(request.body, 1'000)->back().entry.sequence, wish, missing);
  };
  for (int i = 0; i < 1'000; ++i) w.receiver.script.push_back(asks);
  for (int hour = 0; hour < 24; ++hour) {
    w.append(1);
    w.run(seconds(3'600));
  }
  const std::size_t in_vain = sent_from_wish;
  CHECK(in_vain >= 3);
  w.append(1);
  w.run(seconds(3'600));
  CHECK(sent_from_wish == in_vain);  // By now it waits for hours.
  wish = later_wish;
  missing = later_missing;
  sent_from_wish = 0;
  for (int hour = 0; hour < 2; ++hour) {
    w.append(1);
    w.run(seconds(3'600));
  }
  CHECK(sent_from_wish >= 1);
}

TEST_CASE("a receiver that lost everything gets everything again", "[uploader]") {
  World w;
  w.append(10);
  w.run(seconds(60));
  w.receiver.stored.clear();
  w.append(1);
  w.receiver.script = {[](Receiver& r, const UploadRequest& request) -> std::optional<UploadResponse> {
    r.take(request);
    return acknowledgement(11, 1);
  }};
  w.run(seconds(60));
  CHECK(w.everything_but({}));
}

TEST_CASE("under any mixture of faults every entry arrives, and a restart changes nothing", "[uploader]") {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    INFO("seed " << seed);
    UploaderOptions options;
    options.limits.rows_max = 8;
    World w(options);
    Random chaos(seed);
    std::set<Sequence> bad;
    for (int round = 0; round < 30; ++round) {
      w.append(1 + chaos.below(5));
      if (chaos.chance(1, 10)) bad.insert(w.journal->state().last_sequence);
      w.receiver.refused = bad;
      if (chaos.chance(1, 3)) w.receiver.script.push_back(answers(lost(chaos.chance(1, 2))));
      if (chaos.chance(1, 5)) w.receiver.script.push_back(answers(status_answer(chaos.chance(1, 2) ? 503 : 403)));
      if (chaos.chance(1, 4)) {
        w.receiver.script.push_back([](Receiver& r, const UploadRequest& request) -> std::optional<UploadResponse> {
          r.take(request);
          return lost(false);
        });
      }
      w.run(seconds(static_cast<std::int64_t>(chaos.below(400))));
      if (chaos.chance(1, 4)) w.restart();
    }
    w.append(1);  // A good row, for the last bad one to be compared with.
    w.run(seconds(24 * 3'600));
    CHECK(w.everything_but(bad));
    CHECK(w.journal->state().parked == bad.size());
  }
}

}  // namespace nodemeter
