// A receiver that keeps a set of rows and obeys a script, and an uploader that sends to it in simulated time.

#pragma once

#include <catch2/catch.hpp>
#include <deque>
#include <functional>
#include <map>
#include <set>

#include "store/entry_codec.h"
#include "tests/sim/memory_kv.h"
#include "tests/uploader/chain.h"
#include "uploader/uploader.h"

namespace nodemeter {

inline UploadResponse status_answer(int status) {
  UploadResponse response;
  response.status = status;
  return response;
}

inline UploadResponse acknowledgement(Sequence last, std::optional<Sequence> resend = std::nullopt,
                                      std::uint64_t missing = 0) {
  UploadResponse response = status_answer(200);
  response.body = "{\"acknowledged\":" + std::to_string(last) +
                  ",\"resend_from\":" + (resend ? std::to_string(*resend) : "null") +
                  ",\"missing\":" + std::to_string(missing) + "}";
  return response;
}

inline UploadResponse lost(bool sent_nothing) {
  UploadResponse response;
  response.transport_error = "connection reset";
  response.sent_nothing = sent_nothing;
  return response;
}

inline std::string header(const UploadRequest& request, const std::string& name) {
  for (const auto& [key, value] : request.headers) {
    if (key == name) return value;
  }
  return "";
}

// A receiver: keeps a set of rows, refuses the rows it was told to, and lets a script answer first.
class ScriptedReceiver final : public Transport {
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

  using Act = std::function<std::optional<UploadResponse>(ScriptedReceiver&, const UploadRequest&)>;
  std::deque<Act> script;
  std::set<Sequence> refused;
  std::map<Sequence, Digest> stored;
  std::uint64_t repeats = 0;
  std::vector<UploadRequest> requests;

 private:
  std::optional<UploadResponse> answer_;
};

inline ScriptedReceiver::Act answers(const UploadResponse& response) {
  return [response](ScriptedReceiver&, const UploadRequest&) { return std::optional(response); };
}

struct SendingNode {
  explicit SendingNode(UploaderOptions o = {}) : options(o) {
    auto opened = Journal::open(kv, JournalOptions{.node = *NodeId::parse("node-1")}, random);
    REQUIRE(opened.ok());
    journal = std::move(*opened);
    restart();
  }

  void restart() { uploader = std::make_unique<Uploader>(*journal, receiver, random, log, options); }

  void append(std::size_t count) {
    JournalCommit commit;
    for (std::size_t i = 0; i < count; ++i) commit.entries.push_back(testing::entry_of(0, ""));
    REQUIRE(journal->commit(commit, UtcTime(std::chrono::seconds(1'767'229'200))).ok());
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
  ScriptedReceiver receiver;
  std::unique_ptr<Journal> journal;
  std::unique_ptr<Uploader> uploader;
  MonotonicTime now{std::chrono::seconds(1'000)};
  int steps = 0;
};

}  // namespace nodemeter
