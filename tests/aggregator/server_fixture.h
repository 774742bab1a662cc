// The real server in this process, on a free loopback port, over a store in memory.

#pragma once

#include <catch2/catch.hpp>
#include <memory>
#include <string>
#include <thread>

#include "platform/clock.h"
#include "platform/log.h"
#include "tests/sim/memory_kv.h"
#include "uploader/aggregator/server.h"

namespace nodemeter::testing {

class ServerFixture {
 public:
  explicit ServerFixture(ServerOptions options = {}) : clock_(system_clock()) {
    options.address = ListenAddress{.host = "127.0.0.1", .port = 0};
    options.threads = 8;
    auto store = AggregatorStore::open(kv);
    REQUIRE(store.ok());
    store_ = std::move(*store);
    auto server = AggregatorServer::open(options, *store_, *clock_, log_);
    if (!server) FAIL(server.error().message);
    server_ = std::move(*server);
    thread_ = std::thread([this] { server_->run(); });
  }
  ServerFixture(const ServerFixture&) = delete;
  ServerFixture& operator=(const ServerFixture&) = delete;
  ~ServerFixture() {
    server_->stop();
    thread_.join();
  }

  [[nodiscard]] int port() const { return server_->port(); }
  [[nodiscard]] bool failed() const { return server_->failed(); }
  std::string url(const std::string& scheme = "http") const {
    return scheme + "://127.0.0.1:" + std::to_string(port()) + "/";
  }

  [[nodiscard]] std::string rows() const {
    std::string bytes;
    const Status walked = for_each_row(kv, std::nullopt, [&](const StoredRow& row) {
      bytes += row.row;
      return true;
    });
    REQUIRE(walked.ok());
    return bytes;
  }

  MemoryDisk disk;
  MemoryKv kv{disk};

 private:
  std::unique_ptr<Clock> clock_;
  NullLog log_;
  std::unique_ptr<AggregatorStore> store_;
  std::unique_ptr<AggregatorServer> server_;
  std::thread thread_;
};

}  // namespace nodemeter::testing
