// A node for tests: a journal in memory, and the real uploader and transport.

#pragma once

#include <catch2/catch.hpp>
#include <memory>
#include <string>
#include <thread>

#include "platform/clock.h"
#include "platform/log.h"
#include "platform/random.h"
#include "store/journal.h"
#include "tests/sim/memory_kv.h"
#include "tests/uploader/chain.h"
#include "uploader/curl_transport.h"
#include "uploader/uploader.h"

namespace nodemeter::testing {

class Sender {
 public:
  Sender(const std::string& node, int port, std::uint64_t seed = 11) : random_(seed), kv_(disk_) {
    auto journal = Journal::open(kv_, JournalOptions{.node = *NodeId::parse(node)}, random_);
    REQUIRE(journal.ok());
    journal_ = std::move(*journal);
    CurlOptions options;
    options.urls = {"http://127.0.0.1:" + std::to_string(port) + "/"};
    auto transport = open_curl_transport(options, *clock_, {});
    REQUIRE(transport.ok());
    transport_ = std::move(*transport);
    UploaderOptions upload;
    upload.backoff_base = std::chrono::milliseconds(10);
    upload.backoff_cap = std::chrono::milliseconds(50);
    upload.resend_interval_min = std::chrono::milliseconds(1);
    upload.limits.rows_max = 150;
    uploader_ = std::make_unique<Uploader>(*journal_, *transport_, random_, log_, upload);
  }

  void append(int entries) {
    JournalCommit commit;
    for (int i = 0; i < entries; ++i) commit.entries.push_back(entry_of(0, ""));
    REQUIRE(journal_->commit(commit, clock_->now().utc).ok());
  }

  // Until everything is acknowledged; false if it is not within `patience`.
  bool deliver(std::chrono::milliseconds patience = std::chrono::seconds(60)) {
    const MonotonicTime end = clock_->now().monotonic + patience;
    while (clock_->now().monotonic < end) {
      const ClockReading now = clock_->now();
      skipped_ += std::chrono::milliseconds(20);  // Its waits after failures pass faster than those of the test.
      REQUIRE(uploader_->step(now.monotonic + skipped_, now.utc + skipped_, true).ok());
      if (acknowledged() == last()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return false;
  }

  [[nodiscard]] Sequence last() const { return journal_->state().last_sequence; }
  [[nodiscard]] Sequence acknowledged() const { return journal_->state().acknowledged; }
  Random& random() { return random_; }

 private:
  Random random_;
  MemoryDisk disk_;
  MemoryKv kv_;
  NullLog log_;
  std::unique_ptr<Clock> clock_ = system_clock();
  std::unique_ptr<Journal> journal_;
  std::unique_ptr<Transport> transport_;
  std::unique_ptr<Uploader> uploader_;
  std::chrono::milliseconds skipped_{0};
};

}  // namespace nodemeter::testing
