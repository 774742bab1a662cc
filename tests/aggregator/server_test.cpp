// Goal: whatever is sent to the server's port, only good batches of the right sender are stored, every refusal is one
// JSON sentence with the status that makes the sender do the right thing, and no request costs more than its limit.
// Method: bytes on a plain socket against the real server.

#include "uploader/aggregator/server.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <thread>

#include "tests/aggregator/plain_client.h"
#include "tests/aggregator/server_fixture.h"
#include "tests/uploader/chain.h"
#include "uploader/compress.h"

namespace nodemeter {
namespace {

using testing::ChainBuilder;
using testing::PlainClient;
using testing::post;
using testing::ServerFixture;
using testing::status_of;

nlohmann::json json_of(const std::string& answer) {
  REQUIRE(answer.find("Content-Type: application/json\r\n") != std::string::npos);
  return nlohmann::json::parse(answer.substr(answer.find("\r\n\r\n") + 4), nullptr, false);
}

std::string refusal(const std::string& answer, int status) {
  INFO(answer);
  CHECK(status_of(answer) == status);
  const nlohmann::json json = json_of(answer);
  REQUIRE(json.is_object());
  REQUIRE(json.contains("error"));
  return json["error"].get<std::string>();
}

ServerOptions with_nodes() {
  ServerOptions options;
  const auto nodes = NodeRegistry::parse(
      R"([{"id":"node-1","token":"token-of-the-first"},{"id":"node-2","token":"token-of-the-second"}])");
  REQUIRE(nodes.ok());
  options.nodes = *nodes;
  return options;
}

// The descriptor in this process that listens on the port.
int listening_socket(int port) {
  for (int fd = 3; fd < 1'024; ++fd) {
    sockaddr_in address{};
    socklen_t size = sizeof address;
    int listens = 0;
    socklen_t listens_size = sizeof listens;
    if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0 ||
        ::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &listens_size) != 0) {
      continue;
    }
    if (listens != 0 && address.sin_family == AF_INET && ntohs(address.sin_port) == port) return fd;
  }
  FAIL("nobody listens on the port");
  return -1;
}

}  // namespace

TEST_CASE("a server whose listening socket fails says so, and does not only seem to serve", "[server]") {
  ServerFixture server;
  PlainClient client(server.port());
  REQUIRE(status_of(client.ask("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")) == 200);
  CHECK_FALSE(server.failed());
  REQUIRE(::shutdown(listening_socket(server.port()), SHUT_RDWR) == 0);
  for (int i = 0; i < 6'000 && !server.failed(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  CHECK(server.failed());
}

TEST_CASE("a batch is acknowledged at any path, with ClickHouse's query and without", "[server]") {
  ServerFixture server;
  ChainBuilder chain;
  PlainClient client(server.port());
  for (const char* const path :
       {"/", "/a/b?query=INSERT%20INTO%20t%20FORMAT%20MsgPack&insert_deduplication_token=x%3Ay"}) {
    const std::string body = chain.body(3);
    for (int i = 0; i < 2; ++i) {
      const std::string answer = client.ask(post(body, "Content-Type: application/vnd.msgpack\r\n", path));
      REQUIRE(status_of(answer) == 200);
      const nlohmann::json json = json_of(answer);
      CHECK(json["acknowledged"] == chain.last());
      CHECK(json["resend_from"].is_null());
    }
  }
  CHECK(server.kv.usage().used_bytes > 0);
}

TEST_CASE("a hole is asked for in the answer", "[server]") {
  ServerFixture server;
  ChainBuilder chain;
  chain.body(4);
  PlainClient client(server.port());
  const nlohmann::json json = json_of(client.ask(post(chain.body(2))));
  CHECK(json["acknowledged"] == 6);
  CHECK(json["resend_from"] == 1);
}

TEST_CASE("health and metrics tell what happened", "[server]") {
  ServerFixture server;
  ChainBuilder chain;
  PlainClient client(server.port());
  CHECK(client.ask("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").ends_with("ok\n"));
  const std::string body = chain.body(3);
  client.ask(post(body));
  client.ask(post(body));
  client.ask(post("garbage"));
  const std::string metrics = client.ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
  CHECK(metrics.find("\nnodemeter_aggregator_batches_total 2\n") != std::string::npos);
  CHECK(metrics.find("\nnodemeter_aggregator_rows_stored_total 3\n") != std::string::npos);
  CHECK(metrics.find("\nnodemeter_aggregator_repeats_removed_total 3\n") != std::string::npos);
  CHECK(metrics.find("\nnodemeter_aggregator_forks_total 0\n") != std::string::npos);
  CHECK(metrics.find("\nnodemeter_aggregator_refused_total{cause=\"") != std::string::npos);
  CHECK(metrics.find("\nnodemeter_aggregator_node_last_sequence{node=\"node-1\",epoch=\"" + chain.epoch().text() +
                     "\"} 3\n") != std::string::npos);
  CHECK(metrics.find("nodemeter_aggregator_node_last_arrival_seconds") != std::string::npos);
  refusal(client.ask("GET /anything HTTP/1.1\r\nHost: x\r\n\r\n"), 404);
}

TEST_CASE("bad rows are refused in a sentence, and the connection goes on", "[server]") {
  ServerFixture server;
  ChainBuilder chain;
  const std::string one = chain.add().bytes;
  chain.add();
  const std::string three = chain.add().bytes;
  PlainClient client(server.port());
  CHECK(refusal(client.ask(post(one + three)), 400).find("entry 3 follows entry 1") != std::string::npos);
  CHECK(refusal(client.ask(post(one.substr(0, one.size() - 1))), 400).find("byte 0") != std::string::npos);
  refusal(client.ask(post("")), 400);
  refusal(client.ask(post(std::string(1'000, '\xff'))), 400);
  refusal(client.ask(post(one, "Nodemeter-Node: node-2\r\n")), 403);
  refusal(client.ask(post(one, "Nodemeter-Sequence: 1-2\r\n")), 400);
  refusal(client.ask(post(one, "Content-Encoding: br\r\n")), 415);
  refusal(client.ask(post(one, "Content-Encoding: gzip\r\n")), 400);
  refusal(client.ask(post(one, "Content-Type: multipart/form-data; boundary=x\r\n")), 415);
  CHECK(server.rows().empty());
}

TEST_CASE("compressed batches are read, and a client cannot name the inner header itself", "[server]") {
  ServerFixture server;
  ChainBuilder chain;
  PlainClient client(server.port());
  CHECK(status_of(client.ask(post(*compressed(chain.body(3), Compression::kZstd), "Content-Encoding: zstd\r\n"))) ==
        200);
  CHECK(status_of(client.ask(post(*compressed(chain.body(3), Compression::kGzip), "content-encoding: gzip\r\n"))) ==
        200);
  CHECK(status_of(client.ask(post(chain.body(3), "Nodemeter-Received-Encoding: zstd\r\n"))) == 200);
}

TEST_CASE("a body that is too large is 413, plain, chunked or as a bomb", "[server]") {
  const std::string zeros(100u << 20, '\0');
  const std::string gzip_bomb = *compressed(zeros, Compression::kGzip);
  const std::string zstd_bomb = *compressed(zeros, Compression::kZstd);
  ServerFixture server;
  const std::string large((16u << 20) + 1, 'x');
  refusal(PlainClient(server.port()).ask(post(large)), 413);
  PlainClient client(server.port());
  refusal(client.ask(post(large)), 413);
  refusal(client.ask(post(large)), 413);  // The first was read to its end: the connection is still in step.
  refusal(client.ask(post(gzip_bomb, "Content-Encoding: gzip\r\n")), 413);
  refusal(client.ask(post(zstd_bomb, "Content-Encoding: zstd\r\n")), 413);
  ChainBuilder chain;
  CHECK(status_of(client.ask(post(chain.body(1)))) == 200);
}

TEST_CASE("a request whose length is not certain ends the connection", "[server]") {
  ServerFixture server;
  ChainBuilder chain;
  const std::string good = post(chain.body(1));
  const auto ends_with = [&](const std::string& head, int status) {
    PlainClient client(server.port());
    client.send(head);
    refusal(client.answer(), status);
    client.send(good);  // Smuggled behind the bad one: must not be taken.
    CHECK(client.ends());
    CHECK(server.rows().empty());
  };
  ends_with("POST / HTTP/1.1\r\nHost: x\r\n\r\n", 411);
  ends_with("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400);
  ends_with("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5x\r\n\r\n", 400);
  ends_with("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n", 413);
  ends_with("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", 400);
  ends_with("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400);
  ends_with("PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde", 405);
  ends_with("DELETE / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 405);
}

TEST_CASE("a chunked batch is a batch", "[server]") {
  ServerFixture server;
  ChainBuilder chain;
  const std::string body = chain.body(2);
  std::string chunks;
  for (std::size_t at = 0; at < body.size(); at += 50) {
    const std::string piece = body.substr(at, 50);
    char size[16];
    std::snprintf(size, sizeof size, "%zx", piece.size());
    chunks += std::string(size) + "\r\n" + piece + "\r\n";
  }
  PlainClient client(server.port());
  CHECK(status_of(client.ask("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks +
                             "0\r\n\r\n")) == 200);
  CHECK(server.rows() == body);
}

TEST_CASE("a sender that goes away in the middle leaves nothing", "[server]") {
  ServerFixture server;
  ChainBuilder chain;
  const std::string request = post(chain.body(3));
  for (std::size_t cut = 1; cut < request.size(); cut += 40) PlainClient(server.port()).send(request.substr(0, cut));
  PlainClient client(server.port());
  CHECK(client.ask("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").ends_with("ok\n"));
  CHECK(server.rows().empty());
  CHECK(status_of(client.ask(request)) == 200);
}

TEST_CASE("no token is 401, another node's is 403, and its body is not looked at", "[server]") {
  ServerFixture server(with_nodes());
  ChainBuilder chain;
  const std::string body = chain.body(2);
  const std::string node = "Nodemeter-Node: node-1\r\n";
  PlainClient client(server.port());
  refusal(client.ask(post(body)), 400);
  refusal(client.ask(post(body, node)), 401);
  refusal(client.ask(post(body, node + "Authorization: Bearer wrong\r\n")), 401);
  refusal(client.ask(post(body, node + "Authorization: Basic dG9rZW4=\r\n")), 401);
  refusal(client.ask(post(body, node + "Authorization: Bearer token-of-the-second\r\n")), 403);
  refusal(client.ask(post(body, "Nodemeter-Node: node-9\r\nAuthorization: Bearer token-of-the-first\r\n")), 403);
  refusal(client.ask(post(body, "Nodemeter-Node: node-2\r\nAuthorization: Bearer token-of-the-second\r\n")), 403);
  refusal(client.ask(post("garbage", node)), 401);
  CHECK(server.rows().empty());
  CHECK(status_of(client.ask(post(body, node + "Authorization: Bearer token-of-the-first\r\n"))) == 200);
}

TEST_CASE("simulated rows are refused where nobody asked for a trial", "[server]") {
  ChainBuilder chain;
  const std::string body = chain.add("", status_bit::kSimulated).bytes;
  {
    ServerFixture server;
    refusal(PlainClient(server.port()).ask(post(body)), 403);
  }
  ServerOptions options;
  options.limits.allow_simulated = true;
  ServerFixture server(std::move(options));
  CHECK(status_of(PlainClient(server.port()).ask(post(body))) == 200);
}

TEST_CASE("a full store asks for patience, a failed one says so to everybody", "[server]") {
  ServerFixture server;
  ChainBuilder chain;
  const std::string body = chain.body(1);
  PlainClient client(server.port());
  server.disk.fail(MemoryDisk::Fault::kFull);
  const std::string full = client.ask(post(body));
  refusal(full, 503);
  CHECK(full.find("Retry-After: ") != std::string::npos);
  CHECK_FALSE(server.failed());
  server.disk.fail(MemoryDisk::Fault::kUnknownLost);
  refusal(client.ask(post(body)), 503);
  CHECK(server.failed());
  refusal(client.ask(post(body)), 503);
  refusal(client.ask("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"), 503);
}

TEST_CASE("a second server on the same port is refused, not given half of the batches", "[server]") {
  ServerFixture server;
  MemoryDisk disk;
  MemoryKv kv(disk);
  const auto store = AggregatorStore::open(kv);
  REQUIRE(store.ok());
  NullLog log;
  const std::unique_ptr<Clock> clock = system_clock();
  ServerOptions options;
  options.address = ListenAddress{.host = "127.0.0.1", .port = server.port()};
  const auto second = AggregatorServer::open(options, **store, *clock, log);
  REQUIRE_FALSE(second.ok());
  CHECK(second.error().code == ErrorCode::kLocked);
}

TEST_CASE("many connections at once lose and double nothing", "[server]") {
  ServerFixture server;
  constexpr std::size_t kSenders = 12;  // More than the fixture's threads.
  std::vector<std::vector<std::string>> batches(kSenders);
  std::size_t bytes = 0;
  for (std::size_t n = 0; n < kSenders; ++n) {
    ChainBuilder chain("node-" + std::to_string(n));
    for (int b = 0; b < 10; ++b) {
      batches[n].push_back(chain.body(4));
      bytes += batches[n].back().size();
    }
  }
  std::vector<std::thread> senders;
  std::atomic<int> acknowledged = 0;
  for (std::size_t n = 0; n < kSenders; ++n) {
    senders.emplace_back([&, n] {
      for (const std::string& body : batches[n]) {
        PlainClient client(server.port());
        for (int i = 0; i < 2; ++i) {
          if (status_of(client.ask(post(body))) == 200) ++acknowledged;
        }
      }
    });
  }
  for (std::thread& sender : senders) sender.join();
  CHECK(acknowledged == static_cast<int>(2 * 10 * kSenders));
  CHECK(server.rows().size() == bytes);
}

TEST_CASE("a head that trickles in is answered with 408 and holds no thread", "[server][limits]") {
  ServerOptions options;
  options.connections.head_time_max = Milliseconds(400);
  options.connections.idle_max = Milliseconds(400);
  ServerFixture server(std::move(options));
  std::vector<std::unique_ptr<PlainClient>> slow;
  for (int i = 0; i < 8; ++i) {  // As many as the fixture has threads.
    slow.push_back(std::make_unique<PlainClient>(server.port()));
    slow.back()->send("POST / HTTP/1.1\r\nHost: ");
  }
  for (int byte = 0; byte < 40; ++byte) {
    for (const auto& client : slow) client->send("x");
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  for (const auto& client : slow) {
    refusal(client->answer(), 408);
    CHECK(client->ends());
  }
  PlainClient silent(server.port());
  CHECK(silent.ends());
  ChainBuilder chain;
  PlainClient client(server.port());
  CHECK(status_of(client.ask(post(chain.body(1)))) == 200);
  CHECK(client.ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").find("refused_total{cause=\"head\"} 8\n") !=
        std::string::npos);
}

TEST_CASE("one connection too many is told so, and those that wait are served", "[server][limits]") {
  ServerOptions options;
  options.connections.waiting_max = 2;
  options.connections.idle_max = Milliseconds(60'000);
  ServerFixture server(std::move(options));
  const std::string healthz = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
  std::vector<std::unique_ptr<PlainClient>> busy;
  for (int i = 0; i < 8; ++i) {  // Each keeps one of the fixture's threads.
    busy.push_back(std::make_unique<PlainClient>(server.port()));
    CHECK(status_of(busy.back()->ask(healthz)) == 200);
  }
  PlainClient waits(server.port());
  PlainClient waits_too(server.port());
  PlainClient refused(server.port());
  CHECK(refusal(refused.answer(), 503) == "too many connections at once");
  CHECK(refused.ends());
  busy.clear();
  CHECK(status_of(waits.ask(healthz)) == 200);
  CHECK(status_of(waits_too.ask(healthz)) == 200);
}

TEST_CASE("a node that goes back, begins anew or runs twice is told, with its last contact", "[server]") {
  ServerFixture server;
  PlainClient client(server.port());
  ChainBuilder old("node-1", 1);
  const std::string first = old.body(3);
  client.ask(post(first));
  client.ask(post(old.body(3)));
  const auto metric = [&](const std::string& line) {
    return client.ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").find("\n" + line + "\n") != std::string::npos;
  };
  CHECK(metric("nodemeter_aggregator_node_went_back_total{node=\"node-1\"} 0"));
  client.ask(post(first));
  CHECK(metric("nodemeter_aggregator_node_went_back_total{node=\"node-1\"} 1"));
  ChainBuilder next("node-1", 2);
  client.ask(post(next.body(9)));
  CHECK(metric("nodemeter_aggregator_node_twins_total{node=\"node-1\"} 0"));
  client.ask(post(old.body(1)));  // Reported before the newer store's last entry: the rest of a backlog.
  CHECK(metric("nodemeter_aggregator_node_twins_total{node=\"node-1\"} 0"));
  client.ask(post(old.body(5)));
  CHECK(metric("nodemeter_aggregator_node_twins_total{node=\"node-1\"} 1"));
  // What was asked for is no step back.
  ChainBuilder hole("node-2");
  const std::string missing = hole.body(2);
  client.ask(post(hole.body(2)));
  client.ask(post(missing));
  client.ask(post(missing));
  CHECK(metric("nodemeter_aggregator_node_went_back_total{node=\"node-2\"} 0"));
  CHECK(client.ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").find("node_last_contact_seconds{node=\"node-2\"} 1") !=
        std::string::npos);
  CHECK(metric("nodemeter_aggregator_store_rows 25"));
}

}  // namespace nodemeter
