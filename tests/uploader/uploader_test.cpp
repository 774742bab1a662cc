// Goal: whatever the receiver and the network do, every entry arrives exactly once in the receiver's set, oldest first.
// Method: the real uploader and journal over a store in memory, against a receiver that removes repeats and obeys a
// script; time is a number that the test moves.

#include "platform/digest.h"
#include "tests/uploader/scripted_receiver.h"

using namespace nodemeter;
using std::chrono::seconds;

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
  SendingNode w;
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
  SendingNode w;
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
  SendingNode w;
  w.append(4);
  bool frozen = false;
  w.receiver.script = {[&](ScriptedReceiver&, const UploadRequest& request) -> std::optional<UploadResponse> {
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
  SendingNode w;
  w.append(6);
  w.receiver.script = {[](ScriptedReceiver& r, const UploadRequest& request) -> std::optional<UploadResponse> {
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
  SendingNode w;
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
    SendingNode w;
    w.append(2);
    w.restart();
    w.run(finishing ? seconds(3) : seconds(33), finishing);
    CHECK(w.everything_but({}));
  }
}

TEST_CASE("no limit makes a batch larger than one block", "[uploader]") {
  UploaderOptions options;
  options.limits = {.rows_max = 1'000'000, .bytes_max = 1u << 30};
  SendingNode w(options);
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
    SendingNode w(options);
    w.append(20);
    w.receiver.script = {[](ScriptedReceiver& r, const UploadRequest& request) -> std::optional<UploadResponse> {
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
  SendingNode w;
  w.append(1);
  std::vector<MonotonicTime> attempts;
  for (int i = 0; i < 400; ++i) {
    w.receiver.script.push_back([&, i](ScriptedReceiver&, const UploadRequest&) -> std::optional<UploadResponse> {
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

TEST_CASE("a large backlog leaves in batches without waiting in between", "[uploader]") {
  UploaderOptions options;
  options.limits.rows_max = 10;
  SendingNode w(options);
  w.append(95);
  w.run(seconds(30), false);
  CHECK(w.everything_but({}));
  CHECK(w.receiver.requests.size() == 10);
}

TEST_CASE("Retry-After is waited for, but not for ever", "[uploader]") {
  SendingNode w;
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
  SendingNode w;
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

TEST_CASE("under any mixture of faults every entry arrives, and a restart changes nothing", "[uploader]") {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    INFO("seed " << seed);
    UploaderOptions options;
    options.limits.rows_max = 8;
    SendingNode w(options);
    Random chaos(seed);
    std::set<Sequence> bad;
    for (int round = 0; round < 30; ++round) {
      w.append(1 + chaos.below(5));
      if (chaos.chance(1, 10)) bad.insert(w.journal->state().last_sequence);
      w.receiver.refused = bad;
      if (chaos.chance(1, 3)) w.receiver.script.push_back(answers(lost(chaos.chance(1, 2))));
      if (chaos.chance(1, 5)) w.receiver.script.push_back(answers(status_answer(chaos.chance(1, 2) ? 503 : 403)));
      if (chaos.chance(1, 4)) {
        w.receiver.script.push_back(
            [](ScriptedReceiver& r, const UploadRequest& request) -> std::optional<UploadResponse> {
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
