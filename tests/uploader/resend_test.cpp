// Goal: a receiver that lost entries gets them again, and one that asks in vain does not keep the node busy.
// Method: as uploader_test.cpp.

#include "tests/uploader/scripted_receiver.h"

using namespace nodemeter;
using std::chrono::seconds;

TEST_CASE("a wish to resend is obeyed once an hour, and ever more rarely when it does not help", "[uploader]") {
  UploaderOptions options;
  SendingNode w(options);
  w.append(10);
  std::vector<MonotonicTime> obeyed;
  const auto greedy = [&](ScriptedReceiver& r, const UploadRequest& request) -> std::optional<UploadResponse> {
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
  SendingNode w;
  w.append(10);
  Sequence wish = 1;
  std::uint64_t missing = 1;
  std::size_t sent_from_wish = 0;
  const auto asks = [&](ScriptedReceiver& r, const UploadRequest& request) -> std::optional<UploadResponse> {
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
  SendingNode w;
  w.append(10);
  w.run(seconds(60));
  w.receiver.stored.clear();
  w.append(1);
  w.receiver.script = {[](ScriptedReceiver& r, const UploadRequest& request) -> std::optional<UploadResponse> {
    r.take(request);
    return acknowledgement(11, 1);
  }};
  w.run(seconds(60));
  CHECK(w.everything_but({}));
}
