// Goal: only a row that the receiver provably refuses is set aside, and it costs no other row.
// Method: as uploader_test.cpp.

#include "tests/uploader/scripted_receiver.h"

using namespace nodemeter;
using std::chrono::seconds;

TEST_CASE("a parked row is sent again when somebody asks for it", "[uploader]") {
  SendingNode w;
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
  SendingNode w;
  w.append(40);
  UploadResponse partitions = status_answer(500);
  partitions.headers["x-clickhouse-exception-code"] = "252";
  partitions.body = "Code: 252. DB::Exception: Too many partitions for single INSERT block (more than 100).";
  for (int i = 0; i < 300; ++i) {
    w.receiver.script.push_back(
        [=](ScriptedReceiver& r, const UploadRequest& request) -> std::optional<UploadResponse> {
          return decode_rows(request.body, 1'000)->size() > 3 ? partitions : r.take(request);
        });
  }
  w.run(seconds(3'600));
  CHECK(w.everything_but({}));
  CHECK(w.journal->state().parked == 0);
}

TEST_CASE("any one row that is refused is found, parked, and costs no other row", "[uploader]") {
  for (Sequence bad = 1; bad <= 17; ++bad) {
    SendingNode w;
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
    SendingNode w;
    w.append(17);
    w.receiver.refused = bad;
    w.run(seconds(3'600));
    CHECK(w.everything_but(bad));
    CHECK(w.journal->state().parked == bad.size());
  }
}

TEST_CASE("nothing is parked while the receiver refuses everything", "[uploader]") {
  SendingNode w;
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
  SendingNode w;
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
  SendingNode w;
  w.append(8);
  w.receiver.script = {answers(status_answer(400))};
  w.run(seconds(60));
  REQUIRE(w.receiver.requests.size() == 2);
  CHECK(w.receiver.requests[0].body == w.receiver.requests[1].body);
  CHECK(w.everything_but({}));
}

TEST_CASE("a batch that is too large is halved until it fits", "[uploader]") {
  SendingNode w;
  w.append(40);
  const auto limited = [](ScriptedReceiver& r, const UploadRequest& request) -> std::optional<UploadResponse> {
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
  SendingNode w(options);
  w.append(8);
  w.receiver.script = {answers(lost(false))};
  w.receiver.refused = {3};
  w.run(seconds(3'600));
  CHECK(w.uploader->state().phase == "held");
  for (const UploadRequest& request : w.receiver.requests) CHECK(request.body == w.receiver.requests[0].body);

  SendingNode known(options);
  known.append(8);
  known.receiver.script = {answers(lost(true))};
  known.receiver.refused = {3};
  known.run(seconds(600));
  CHECK(known.everything_but({3}));
}
