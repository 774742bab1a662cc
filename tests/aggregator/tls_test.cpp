// Goal: batches travel only between the right two ends: no answer from a wrong server counts, no wrong sender is heard,
// and each such case is held for an operator and not retried like weather.
// Method: the real transport and the real server over TLS, with certificates made for this run.

#include <curl/curl.h>

#include <catch2/catch.hpp>
#include <condition_variable>
#include <mutex>

#include "tests/aggregator/certificates.h"
#include "tests/aggregator/front.h"
#include "tests/aggregator/server_fixture.h"
#include "tests/uploader/chain.h"
#include "tests/uploader/raw_server.h"
#include "uploader/answer.h"
#include "uploader/curl_transport.h"

namespace nodemeter {
namespace {

using testing::Certificates;
using testing::ChainBuilder;
using testing::ServerFixture;

const Certificates& certificates() {
  static const Certificates made;
  return made;
}

ServerOptions server_with(const std::string& certificate, bool client_ca = false) {
  curl_global_init(CURL_GLOBAL_DEFAULT);
  ServerOptions options;
  options.cert_file = certificates().cert(certificate);
  options.key_file = certificates().key(certificate);
  if (client_ca) options.client_ca_file = certificates().cert("ca");
  return options;
}

CurlOptions sender_to(const ServerFixture& server, const std::string& client = "") {
  CurlOptions options;
  options.urls = {server.url("https")};
  options.ca_file = certificates().cert("ca");
  if (!client.empty()) {
    options.cert_file = certificates().cert(client);
    options.key_file = certificates().key(client);
  }
  return options;
}

UploadResponse send(const CurlOptions& options, const std::string& body, const std::string& node = "node-1") {
  const std::unique_ptr<Clock> clock = system_clock();
  std::mutex mutex;
  std::condition_variable wake;
  bool woken = false;
  const auto transport = open_curl_transport(options, *clock, [&] {
    const std::lock_guard lock(mutex);
    woken = true;
    wake.notify_one();
  });
  REQUIRE(transport.ok());
  (*transport)
      ->begin(
          UploadRequest{.url_suffix_token = "node-1:e:1-2:00", .headers = {{"Nodemeter-Node", node}}, .body = body});
  std::unique_lock lock(mutex);
  REQUIRE(wake.wait_for(lock, std::chrono::seconds(20), [&] { return woken; }));
  return *(*transport)->poll();
}

}  // namespace

TEST_CASE("a batch over TLS is acknowledged, in every encoding", "[tls]") {
  ServerFixture server(server_with("server"));
  ChainBuilder chain;
  for (const Compression c : {Compression::kNone, Compression::kGzip, Compression::kZstd}) {
    CurlOptions options = sender_to(server);
    options.compression = c;
    const std::string body = chain.body(200);
    const UploadResponse response = send(options, body);
    INFO(response.transport_error.value_or(response.body));
    CHECK(classify(response, chain.last()).verdict == Verdict::kAccepted);
  }
}

TEST_CASE("a server that cannot prove who it is gets nothing, and that is for an operator", "[tls]") {
  ChainBuilder chain;
  const std::string body = chain.body(2);
  for (const std::string certificate : {"expired", "not-yet-valid", "wrong-host", "stranger"}) {
    INFO(certificate);
    ServerFixture server(server_with(certificate));
    const UploadResponse response = send(sender_to(server), body);
    REQUIRE(response.transport_error.has_value());
    INFO(*response.transport_error);
    CHECK(response.certificate_error);
    CHECK(response.sent_nothing);
    CHECK(classify(response, 2).verdict == Verdict::kHeld);
    // A clock that is wrong looks just like that.
    const bool by_date = certificate == "expired" || certificate == "not-yet-valid";
    CHECK((response.transport_error->find("clock") != std::string::npos) == by_date);
    CHECK(server.rows().empty());
  }
  ServerFixture server(server_with("server"));
  CurlOptions untrusting = sender_to(server);
  untrusting.ca_file = certificates().cert("other-ca");
  CHECK(send(untrusting, body).certificate_error);
  CurlOptions missing = sender_to(server);
  missing.ca_file = certificates().cert("not-there");
  CHECK(classify(send(missing, body), 2).verdict == Verdict::kHeld);
  CHECK(server.rows().empty());
}

TEST_CASE("with a client authority, a certificate is needed and speaks for its node only", "[tls]") {
  ServerFixture server(server_with("server", true));
  ChainBuilder chain;
  const std::string body = chain.body(2);
  const UploadResponse nobody = send(sender_to(server), body);
  CHECK(nobody.status == 401);
  CHECK(classify(nobody, 2).verdict == Verdict::kHeld);

  const UploadResponse forged = send(sender_to(server, "false-node-1"), body);
  INFO(forged.transport_error.value_or("status " + std::to_string(forged.status)));
  CHECK(forged.status == 401);
  CHECK(classify(forged, 2).verdict == Verdict::kHeld);

  CHECK(send(sender_to(server, "node-2"), body).status == 403);
  CHECK(send(sender_to(server, "node-2"), body, "node-2").status == 403);  // Its own name, but node-1's rows.
  CHECK(server.rows().empty());
  CHECK(classify(send(sender_to(server, "node-1"), body), 2).verdict == Verdict::kAccepted);
}

TEST_CASE("a nodes file may ask for another certificate name", "[tls]") {
  ServerOptions options = server_with("server", true);
  const auto nodes = NodeRegistry::parse(R"([{"id":"node-1","certificate_name":"node-2.example.org"}])");
  REQUIRE(nodes.ok());
  options.nodes = *nodes;
  ServerFixture server(std::move(options));
  ChainBuilder chain;
  const std::string body = chain.body(2);
  CHECK(send(sender_to(server, "node-1"), body).status == 401);
  CHECK(send(sender_to(server, "node-2"), body).status == 200);
}

TEST_CASE("a proxy carries TLS through and learns nothing, and the connection through it is kept", "[tls]") {
  ServerFixture server(server_with("server"));
  std::string seen;
  int tunnels = 0;
  testing::RawServer proxy({[&](testing::Connection& c) {
    std::string request;
    while (request.find("\r\n\r\n") == std::string::npos) {
      const std::string more = c.read(1);
      if (more.empty()) return;
      request += more;
    }
    ++tunnels;
    c.write("HTTP/1.1 200 Connection established\r\n\r\n");
    seen += c.tunnel_to(server.port());
  }});
  ChainBuilder chain;
  CurlOptions options = sender_to(server);
  options.compression = Compression::kNone;
  options.proxy = proxy.url("");
  for (int i = 0; i < 2; ++i) {
    const UploadResponse response = send(options, chain.body(3));
    INFO(response.transport_error.value_or(response.body));
    CHECK(classify(response, chain.last()).verdict == Verdict::kAccepted);
  }
  proxy.stop();
  CHECK(tunnels == 2);  // One for each transport.
  CHECK(seen.size() > 2'000);
  CHECK(seen.find("node-1") == std::string::npos);
}

TEST_CASE("HTTP/2 is spoken where a front offers it, and its failures are weather", "[tls]") {
  // nghttpx speaks HTTP/2 to the node and HTTP/1.1 to the aggregator behind it.
  if (std::system("command -v nghttpx >/dev/null 2>&1") != 0) {
    WARN("nghttpx is missing (platform/install test): not run");
    return;
  }
  testing::TemporaryDirectory directory;
  ServerFixture server;
  testing::Front front(directory, certificates(), server.port());
  ChainBuilder chain;
  CurlOptions options;
  options.urls = {"https://127.0.0.1:" + std::to_string(front.port()) + "/"};
  options.ca_file = certificates().cert("ca");
  const std::string body = chain.body(6'000);  // Some megabytes: more than a stream's window.
  const UploadResponse response = send(options, body);
  INFO(response.transport_error.value_or(response.body));
  CHECK(classify(response, chain.last()).verdict == Verdict::kAccepted);
  CHECK(response.headers.contains("via"));
  CHECK(server.rows() == body);
  CHECK(front.log().find("HTTP/2") != std::string::npos);
  front.end();
  const UploadResponse gone = send(options, chain.body(1));
  CHECK(classify(gone, chain.last()).verdict == Verdict::kRetry);
  CHECK(gone.sent_nothing);
}

TEST_CASE("plain HTTP to a TLS port, and TLS to a plain one, are not acknowledgements", "[tls]") {
  ChainBuilder chain;
  const std::string body = chain.body(2);
  {
    ServerFixture server(server_with("server"));
    CurlOptions options = sender_to(server);
    options.urls = {server.url("http")};
    CHECK(classify(send(options, body), 2).verdict == Verdict::kRetry);
    CHECK(server.rows().empty());
  }
  ServerFixture server;
  CHECK(classify(send(sender_to(server), body), 2).verdict == Verdict::kRetry);
  CHECK(server.rows().empty());
}

TEST_CASE("a server with files that are no certificate does not start", "[tls]") {
  MemoryDisk disk;
  MemoryKv kv(disk);
  const auto store = AggregatorStore::open(kv);
  REQUIRE(store.ok());
  NullLog log;
  const std::unique_ptr<Clock> clock = system_clock();
  const auto opens = [&](ServerOptions options) {
    options.address = ListenAddress{.host = "127.0.0.1", .port = 0};
    return AggregatorServer::open(options, **store, *clock, log).ok();
  };
  ServerOptions options = server_with("server");
  options.key_file = certificates().key("node-1");
  CHECK_FALSE(opens(options));
  options = server_with("server");
  options.cert_file = certificates().key("server");
  CHECK_FALSE(opens(options));
  options = server_with("server", true);
  options.client_ca_file = "/nowhere";
  CHECK_FALSE(opens(options));
}

}  // namespace nodemeter
