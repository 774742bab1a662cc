// Goal: whatever comes back from the network becomes one answer, in bounded time and memory, and no secret leaks.
// Method: the real transport against a raw socket that answers as the test says.

#include "uploader/curl_transport.h"

#include <curl/curl.h>
#include <zlib.h>
#include <zstd.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <condition_variable>
#include <mutex>

#include "platform/files.h"
#include "tests/temporary_directory.h"
#include "tests/uploader/chain.h"
#include "tests/uploader/raw_server.h"
#include "uploader/answer.h"

namespace nodemeter {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::Connection;
using testing::RawServer;
using testing::TemporaryDirectory;

struct GlobalCurl {
  GlobalCurl() { curl_global_init(CURL_GLOBAL_DEFAULT); }
};
const GlobalCurl kGlobalCurl;

// A transport with somebody who waits for its answers.
struct Sender {
  explicit Sender(CurlOptions options) : clock(system_clock()) {
    auto opened = open_curl_transport(options, *clock, [this] {
      const std::lock_guard lock(mutex);
      ++woken;
      wake.notify_one();
    });
    REQUIRE(opened.ok());
    transport = std::move(*opened);
  }

  UploadResponse send(const std::string& body = "rows", const std::string& token = "node-1:e:1-2:00") {
    PackedBody packed = transport->packed(body);
    transport->begin(UploadRequest{.url_suffix_token = token,
                                   .headers = {{"Nodemeter-Node", "node-1"}},
                                   .body = std::move(packed.bytes),
                                   .encoding = std::move(packed.encoding)});
    return await();
  }

  UploadResponse await(seconds patience = seconds(20)) {
    std::unique_lock lock(mutex);
    REQUIRE(wake.wait_for(lock, patience, [this] { return woken > 0; }));
    --woken;
    const std::optional<UploadResponse> response = transport->poll();
    REQUIRE(response.has_value());
    CHECK_FALSE(transport->poll().has_value());
    return *response;
  }

  std::unique_ptr<Clock> clock;
  std::mutex mutex;
  std::condition_variable wake;
  int woken = 0;
  std::unique_ptr<Transport> transport;
};

CurlOptions options_for(const std::string& url) {
  CurlOptions options;
  options.urls = {url};
  options.compression = Compression::kNone;
  options.connect_timeout = milliseconds(2'000);
  options.total_timeout = milliseconds(3'000);
  options.low_speed_time = milliseconds(2'000);
  return options;
}

std::string http_answer(const std::string& body, const std::string& extra = "", const std::string& status = "200 OK") {
  return "HTTP/1.1 " + status + "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" + extra + "\r\n" + body;
}

RawServer::Step answers(const std::string& bytes) {
  return [bytes](Connection& c) {
    c.read_request();
    c.write(bytes);
  };
}

const std::string kAck = R"({"acknowledged":2,"resend_from":null})";

}  // namespace

TEST_CASE("the token and the headers arrive as they were given", "[transport]") {
  std::string request;
  RawServer server({[&](Connection& c) {
    request = c.read_request();
    c.write(http_answer(kAck, "X-Thing:  a value \r\n"));
  }});
  {
    Sender sender(options_for(server.url("/in?query=INSERT%20INTO%20t%20FORMAT%20MsgPack&async_insert=0")));
    const UploadResponse response = sender.send("the rows", "node-1:e:1-2:00/&=+");
    CHECK_FALSE(response.transport_error.has_value());
    CHECK(response.status == 200);
    CHECK(response.body == kAck);
    CHECK(response.headers.at("x-thing") == "a value");
    CHECK(response.received_at > UtcTime(seconds(1'700'000'000)));
    CHECK(classify(response, 2).verdict == Verdict::kAccepted);
  }
  CHECK(
      request.starts_with("POST /in?query=INSERT%20INTO%20t%20FORMAT%20MsgPack&async_insert=0"
                          "&insert_deduplication_token=node-1%3ae%3a1-2%3a00%2f%26%3d%2b HTTP/1.1\r\n"));
  CHECK(request.find("Content-Type: application/vnd.msgpack\r\n") != std::string::npos);
  CHECK(request.find("Nodemeter-Node: node-1\r\n") != std::string::npos);
  CHECK(request.find("User-Agent: nodemeter") != std::string::npos);
  CHECK(request.find("Expect") == std::string::npos);
  CHECK(request.find("Content-Encoding") == std::string::npos);
  CHECK(request.ends_with("\r\n\r\nthe rows"));
}

TEST_CASE("a compressed body is the same body", "[transport]") {
  std::string request;
  RawServer server({[&](Connection& c) {
    request = c.read_request();
    c.write(http_answer(kAck));
  }});
  std::string body;
  for (unsigned i = 0; i < 300'000; ++i) body += static_cast<char>('a' + i % 1'000 * (i % 1'000) % 23);
  std::string back(body.size(), '\0');

  SECTION("zstd") {
    {
      CurlOptions options = options_for(server.url());
      options.compression = Compression::kZstd;
      Sender(options).send(body);
    }
    CHECK(request.find("Content-Encoding: zstd\r\n") != std::string::npos);
    const std::string sent = request.substr(request.find("\r\n\r\n") + 4);
    CHECK(sent.size() < body.size() / 2);
    CHECK(ZSTD_decompress(back.data(), back.size(), sent.data(), sent.size()) == body.size());
  }
  SECTION("gzip") {
    {
      CurlOptions options = options_for(server.url());
      options.compression = Compression::kGzip;
      Sender(options).send(body);
    }
    CHECK(request.find("Content-Encoding: gzip\r\n") != std::string::npos);
    std::string sent = request.substr(request.find("\r\n\r\n") + 4);
    z_stream stream{};
    REQUIRE(inflateInit2(&stream, 31) == Z_OK);
    stream.next_in = reinterpret_cast<Bytef*>(sent.data());
    stream.avail_in = static_cast<uInt>(sent.size());
    stream.next_out = reinterpret_cast<Bytef*>(back.data());
    stream.avail_out = static_cast<uInt>(back.size());
    CHECK(inflate(&stream, Z_FINISH) == Z_STREAM_END);
    inflateEnd(&stream);
  }
  CHECK(back == body);
}

TEST_CASE("the connection is kept between batches", "[transport]") {
  RawServer server({[](Connection& c) {
    for (;;) {
      if (c.read_request().find("\r\n\r\n") == std::string::npos) return;
      c.write(http_answer(kAck));
    }
  }});
  Sender sender(options_for(server.url()));
  for (int i = 0; i < 5; ++i) CHECK(sender.send().status == 200);
  CHECK(server.connections() == 1);
}

TEST_CASE("a connection that ends at any byte of the answer is weather", "[transport]") {
  const std::string whole = http_answer(kAck);
  for (std::size_t cut = 0; cut < whole.size(); cut += cut + 9 < whole.size() ? 9 : 1) {
    for (const bool hard : {false, true}) {
      INFO("cut after " << cut << (hard ? ", reset" : ", closed"));
      RawServer server({[&](Connection& c) {
        c.read_request();
        c.write(whole.substr(0, cut));
        if (hard) c.reset();
      }});
      Sender sender(options_for(server.url()));
      const UploadResponse response = sender.send();
      CHECK(classify(response, 2).verdict == Verdict::kRetry);
      CHECK_FALSE(response.sent_nothing);
    }
  }
}

TEST_CASE("a connection that is reset within the request is weather", "[transport]") {
  for (const std::size_t after : {0u, 1u, 100u, 100'000u}) {
    RawServer server({[&](Connection& c) {
      c.read(after);
      c.reset();
    }});
    Sender sender(options_for(server.url()));
    CHECK(classify(sender.send(std::string(8'000'000, 'x')), 2).verdict == Verdict::kRetry);
  }
}

TEST_CASE("a connection that is reset at any byte of a batch is weather, and the next one brings the same bytes",
          "[transport]") {
  testing::ChainBuilder chain;
  const std::string body = chain.body(2);
  std::string whole;
  {
    RawServer server({[&](Connection& c) {
      whole = c.read_request();
      c.write(http_answer(kAck));
    }});
    Sender(options_for(server.url())).send(body);
  }
  std::atomic<std::size_t> position = 0;  // The server's thread looks at both.
  std::atomic<std::size_t> wrong = 0;
  RawServer server({[&](Connection& c) {
    const std::size_t wanted = position;
    // The port of this server has as many digits as that of the first: only their own bytes differ.
    if (c.read(wanted).size() != wanted) ++wrong;
    c.reset();
  }});
  Sender sender(options_for(server.url()));
  for (; position < whole.size(); ++position) {
    const Answer answer = classify(sender.send(body), 2);
    if (answer.verdict != Verdict::kRetry) ++wrong;
  }
  CHECK(whole.size() > body.size());
  CHECK(wrong == 0);
  RawServer working({[&](Connection& c) {
    const std::string again = c.read_request();
    if (!again.ends_with(body)) ++wrong;
    c.write(http_answer(kAck));
  }});
  CHECK(classify(Sender(options_for(working.url())).send(body), 2).verdict == Verdict::kAccepted);
  CHECK(wrong == 0);
}

TEST_CASE("a name that nobody knows is weather, and nothing was sent", "[transport]") {
  Sender sender(options_for("https://aggregator.invalid/"));
  const UploadResponse response = sender.send();
  CHECK(response.sent_nothing);
  CHECK_FALSE(response.certificate_error);
  CHECK(classify(response, 2).verdict == Verdict::kRetry);
}

TEST_CASE("a proxy that does not let us through is held if it says so, and has passed nothing on", "[transport]") {
  TemporaryDirectory directory;
  std::vector<std::string> asked;
  std::mutex mutex;  // Of `answer`.
  std::string answer;
  const auto from_now_on = [&](std::string text) {
    const std::lock_guard lock(mutex);
    answer = std::move(text);
  };
  RawServer proxy({[&](Connection& c) {
    std::string request;
    while (request.find("\r\n\r\n") == std::string::npos) {
      const std::string more = c.read(1);
      if (more.empty()) break;
      request += more;
    }
    asked.push_back(request);
    const std::lock_guard lock(mutex);
    c.write(answer);
  }});
  CurlOptions options = options_for("https://aggregator.example.org:8443/in");
  options.proxy = proxy.url("");
  from_now_on(http_answer("<html>who are you?</html>", "Connection: close\r\n", "407 Proxy Authentication Required"));
  {
    Sender sender(options);
    const UploadResponse refused = sender.send();
    INFO(refused.transport_error.value_or(""));
    CHECK(refused.sent_nothing);
    CHECK(classify(refused, 2).verdict == Verdict::kHeld);
    from_now_on(http_answer("", "Connection: close\r\n", "502 Bad Gateway"));
    const UploadResponse broken = sender.send();
    CHECK(broken.sent_nothing);
    CHECK(classify(broken, 2).verdict == Verdict::kRetry);
  }
  options.proxy_auth_file = directory.file("auth");
  {
    Sender sender(options);
    CHECK(classify(sender.send(), 2).verdict == Verdict::kHeld);  // The file is not there.
    REQUIRE(replace_file(options.proxy_auth_file, "node:hunter2\n").ok());
    from_now_on(http_answer("", "Proxy-Authenticate: Basic realm=\"x\"\r\nConnection: close\r\n", "407 No"));
    sender.send();
  }
  proxy.stop();
  REQUIRE(asked.size() >= 3);
  for (const std::string& request : asked) CHECK(request.starts_with("CONNECT aggregator.example.org:8443 HTTP/1."));
  CHECK(asked.back().find("Proxy-Authorization: Basic bm9kZTpodW50ZXIy\r\n") != std::string::npos);
  for (const std::string& request : asked) CHECK(request.find("Nodemeter-Node") == std::string::npos);
}

TEST_CASE("plain HTTP never goes through a proxy, and a proxy that is none is refused", "[transport]") {
  RawServer proxy({answers(http_answer(kAck))});
  RawServer server({answers(http_answer(kAck))});
  CurlOptions options = options_for(server.url());
  options.proxy = proxy.url("");
  CHECK(classify(Sender(options).send(), 2).verdict == Verdict::kAccepted);
  CHECK(proxy.connections() == 0);

  const std::unique_ptr<Clock> clock = system_clock();
  for (const char* const bad : {"http://user:hunter2@proxy.example.org:3128", "ftp://proxy.example.org", "not a url"}) {
    options.proxy = bad;
    const auto opened = open_curl_transport(options, *clock, {});
    REQUIRE_FALSE(opened.ok());
    CHECK(opened.error().message.find("hunter2") == std::string::npos);
  }
  options.proxy = "";
  options.proxy_auth_file = "/auth";
  CHECK_FALSE(open_curl_transport(options, *clock, {}).ok());
}

TEST_CASE("a server that never answers is given up in time", "[transport]") {
  RawServer server({[](Connection& c) {
    c.read_request();
    c.wait(seconds(60));
  }});
  Sender sender(options_for(server.url()));
  const auto start = std::chrono::steady_clock::now();
  const UploadResponse response = sender.send();
  CHECK(response.transport_error.has_value());
  CHECK_FALSE(response.sent_nothing);
  CHECK(std::chrono::steady_clock::now() - start < seconds(8));
}

TEST_CASE("a server that answers one byte a second is given up in time", "[transport]") {
  RawServer server({[](Connection& c) {
    c.read_request();
    for (const char byte : http_answer(kAck)) {
      if (!c.write(std::string(1, byte)) || !c.wait(seconds(1))) return;
    }
  }});
  CurlOptions options = options_for(server.url());
  options.total_timeout = milliseconds(60'000);
  Sender sender(options);
  const auto start = std::chrono::steady_clock::now();
  CHECK(classify(sender.send(), 2).verdict == Verdict::kRetry);
  CHECK(std::chrono::steady_clock::now() - start < seconds(12));
}

TEST_CASE("garbage instead of HTTP is weather", "[transport]") {
  for (const std::string& garbage :
       {std::string("\x16\x03\x01\x02\x00\x01"), std::string("SSH-2.0-OpenSSH_9.2\r\n"), std::string(3'000, '\0'),
        std::string("HTTP/9.9 200 OK\r\n\r\n"), std::string("HTTP/1.1 abc\r\n\r\n"), std::string("\r\n\r\n\r\n")}) {
    RawServer server({answers(garbage)});
    Sender sender(options_for(server.url()));
    CHECK(classify(sender.send(), 2).verdict == Verdict::kRetry);
  }
}

TEST_CASE("an answer without end costs a bounded amount and is no acknowledgement", "[transport]") {
  RawServer server({[](Connection& c) {
    c.read_request();
    c.write("HTTP/1.1 200 OK\r\n\r\n");
    while (c.write(std::string(65'536, 'x'))) {
    }
  }});
  Sender sender(options_for(server.url()));
  const UploadResponse response = sender.send();
  CHECK(response.status == 200);
  CHECK(response.body.size() == kAnswerBytesMax);
  CHECK(classify(response, 2).verdict == Verdict::kRetry);
}

TEST_CASE("headers without end are given up", "[transport]") {
  RawServer server({[](Connection& c) {
    c.read_request();
    c.write("HTTP/1.1 200 OK\r\n");
    while (c.write("X-Filler: " + std::string(1'000, 'x') + "\r\n")) {
    }
  }});
  Sender sender(options_for(server.url()));
  CHECK(classify(sender.send(), 2).verdict == Verdict::kRetry);
}

TEST_CASE("a redirect is held and never followed", "[transport]") {
  RawServer elsewhere({answers(http_answer(kAck))});
  for (const char* const status : {"301 Moved", "302 Found", "307 Temporary", "308 Permanent"}) {
    RawServer server({answers(http_answer("", "Location: " + elsewhere.url() + "\r\n", status))});
    Sender sender(options_for(server.url()));
    CHECK(classify(sender.send(), 2).verdict == Verdict::kHeld);
  }
  CHECK(elsewhere.connections() == 0);
}

TEST_CASE("where nobody listens, nothing was sent", "[transport]") {
  std::string url;
  {
    RawServer gone({answers("")});
    url = gone.url();
  }
  Sender sender(options_for(url));
  const UploadResponse response = sender.send();
  CHECK(response.sent_nothing);
  CHECK(classify(response, 2).verdict == Verdict::kRetry);
}

TEST_CASE("with several URLs, one that cannot be reached costs no attempt", "[transport]") {
  std::string dead;
  {
    RawServer gone({answers("")});
    dead = gone.url();
  }
  RawServer server({answers(http_answer(kAck))});
  CurlOptions options = options_for(dead);
  options.urls.push_back(server.url());
  Sender sender(options);
  CHECK(classify(sender.send(), 2).verdict == Verdict::kAccepted);
  CHECK(classify(sender.send(), 2).verdict == Verdict::kAccepted);
}

TEST_CASE("an attempt that may have arrived is not repeated elsewhere behind the uploader's back", "[transport]") {
  RawServer breaks({[](Connection& c) { c.read_request(); }});
  RawServer server({answers(http_answer(kAck))});
  CurlOptions options = options_for(breaks.url());
  options.urls.push_back(server.url());
  Sender sender(options);
  CHECK(sender.send().transport_error.has_value());
  CHECK(server.connections() == 0);
  CHECK(classify(sender.send(), 2).verdict == Verdict::kAccepted);
  CHECK(server.connections() == 1);
}

TEST_CASE("a transfer under way is given up when it is cancelled, and its answer never shows", "[transport]") {
  RawServer server({[](Connection& c) {
                      c.read_request();
                      c.wait(seconds(60));
                    },
                    answers(http_answer(kAck))});
  CurlOptions options = options_for(server.url());
  options.total_timeout = milliseconds(30'000);
  options.low_speed_time = milliseconds(30'000);
  Sender sender(options);
  sender.transport->begin(UploadRequest{.url_suffix_token = "t", .headers = {}, .body = "a"});
  std::this_thread::sleep_for(milliseconds(200));
  const auto start = std::chrono::steady_clock::now();
  sender.transport->cancel();
  CHECK_FALSE(sender.transport->poll().has_value());
  sender.transport->begin(UploadRequest{.url_suffix_token = "t", .headers = {}, .body = "b"});
  // The raw server serves one connection at a time, so the second request's answer shows that the first has ended.
  CHECK(classify(sender.await(), 2).verdict == Verdict::kAccepted);
  CHECK(std::chrono::steady_clock::now() - start < seconds(10));
}

TEST_CASE("a transport can be destroyed in the middle of anything", "[transport]") {
  RawServer server({[](Connection& c) { c.wait(seconds(60)); }});
  for (const int delay : {0, 1, 50}) {
    const auto start = std::chrono::steady_clock::now();
    {
      Sender sender(options_for(server.url()));
      sender.transport->begin(UploadRequest{.url_suffix_token = "t", .headers = {}, .body = "a"});
      std::this_thread::sleep_for(milliseconds(delay));
    }
    CHECK(std::chrono::steady_clock::now() - start < seconds(5));
  }
}

TEST_CASE("credentials are read again for every attempt, and a file that cannot be read is for an operator",
          "[transport]") {
  TemporaryDirectory directory;
  std::vector<std::string> requests;
  RawServer server({[&](Connection& c) {
    requests.push_back(c.read_request());
    c.write(http_answer(kAck, "Connection: close\r\n"));
  }});
  CurlOptions options = options_for(server.url());
  options.bearer_file = directory.file("bearer");
  options.clickhouse_user = "ingest";
  options.clickhouse_key_file = directory.file("key");
  {
    Sender sender(options);
    UploadResponse response = sender.send();
    CHECK(response.configuration_error);
    CHECK(response.sent_nothing);
    CHECK(classify(response, 2).verdict == Verdict::kHeld);

    REQUIRE(replace_file(options.bearer_file, "first\n").ok());
    REQUIRE(replace_file(options.clickhouse_key_file, "  secret \r\n").ok());
    CHECK(sender.send().status == 200);
    REQUIRE(replace_file(options.bearer_file, "second").ok());
    CHECK(sender.send().status == 200);
    for (const std::string& bad : {std::string(), std::string(" \n"), std::string("two words"),
                                   std::string("a\r\nX-Injected: 1"), std::string(100'000, 'x')}) {
      REQUIRE(replace_file(options.bearer_file, bad).ok());
      response = sender.send();
      CHECK(response.configuration_error);
      CHECK(response.transport_error->find("words") == std::string::npos);
    }
  }
  REQUIRE(requests.size() == 2);
  CHECK(requests[0].find("Authorization: Bearer first\r\n") != std::string::npos);
  CHECK(requests[0].find("X-ClickHouse-User: ingest\r\n") != std::string::npos);
  CHECK(requests[0].find("X-ClickHouse-Key: secret\r\n") != std::string::npos);
  CHECK(requests[1].find("Authorization: Bearer second\r\n") != std::string::npos);
}

TEST_CASE("URLs that are not safe are refused before anything is sent", "[transport]") {
  const std::unique_ptr<Clock> clock = system_clock();
  const auto opens = [&](const std::string& url, bool plaintext = false) {
    CurlOptions options;
    options.urls = {url};
    options.plaintext = plaintext;
    const auto opened = open_curl_transport(options, *clock, {});
    if (!opened) CHECK(opened.error().message.find("hunter2") == std::string::npos);
    return opened.ok();
  };
  CHECK(opens("https://aggregator.example.org:8443/?query=INSERT INTO t FORMAT MsgPack"));
  CHECK(opens("http://127.0.0.1:8123/"));
  CHECK(opens("http://localhost:8123/"));
  CHECK(opens("http://[::1]:8123/"));
  CHECK(opens("http://aggregator.example.org/", true));
  CHECK_FALSE(opens("http://aggregator.example.org/"));
  CHECK_FALSE(opens("http://127.0.0.1.example.org/"));
  CHECK_FALSE(opens("http://localhost.example.org/"));
  CHECK_FALSE(opens("https://user:hunter2@example.org/"));
  CHECK_FALSE(opens("ftp://example.org/", true));
  CHECK_FALSE(opens("file:///etc/passwd", true));
  CHECK_FALSE(opens("https://example.org/#part"));
  CHECK_FALSE(opens(""));
  CHECK_FALSE(opens("not a url"));
}

TEST_CASE("a rate limit slows the sending and does not make it time out", "[transport]") {
  RawServer server({answers(http_answer(kAck))});
  CurlOptions options = options_for(server.url());
  options.rate_limit_bytes_per_s = 100'000;
  options.total_timeout = milliseconds(1'000);
  Sender sender(options);
  const auto start = std::chrono::steady_clock::now();
  CHECK(classify(sender.send(std::string(300'000, 'x')), 2).verdict == Verdict::kAccepted);
  const auto took = std::chrono::steady_clock::now() - start;
  CHECK(took > milliseconds(1'200));
  CHECK(took < seconds(10));
}

}  // namespace nodemeter
