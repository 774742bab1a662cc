// Goal: a site that puts back an old backup of its aggregator loses nothing: what the copy lacks is asked for and comes
// again, each entry once. A relay that is killed at any moment passes everything on exactly once.
// Method: real programs, backed up while they take batches, restored, killed; a real uploader sends.

#include <signal.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <sstream>

#include "platform/files.h"
#include "tests/aggregator/plain_client.h"
#include "tests/aggregator/program.h"
#include "tests/aggregator/sender.h"
#include "tests/temporary_directory.h"
#include "uploader/curl_global.h"

namespace nodemeter {
namespace {

namespace fs = std::filesystem;
using testing::await_port;
using testing::PlainClient;
using testing::Program;
using testing::run;
using testing::Sender;
using testing::TemporaryDirectory;

std::vector<std::string> serve(const TemporaryDirectory& d, int port) {
  fs::remove(d.file("port"));
  return {"--listen", "127.0.0.1:" + std::to_string(port), "--state", d.file("state"), "--port-file", d.file("port")};
}

// Sequence numbers as stored, in order.
std::string stored(const std::string& state) {
  TemporaryDirectory output;
  std::string out;
  CHECK(run(output, {"verify", "--state", state}) == 0);
  CHECK(run(output, {"rows", "--state", state}, &out) == 0);
  return out;
}

std::size_t lines(const std::string& text) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

std::string metrics(int port) {
  PlainClient client(port);
  return client.ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
}

}  // namespace

TEST_CASE("after an old backup was put back, everything arrives again exactly once", "[restore]") {
  const CurlGlobal curl;
  TemporaryDirectory directory;
  TemporaryDirectory other;
  auto program = std::make_unique<Program>(directory, serve(directory, 0));
  const int port = await_port(directory.file("port"));
  Sender sender("node-1", port);
  sender.append(400);
  REQUIRE(sender.deliver());
  std::string err;
  CHECK(run(other, {"backup", "--state", directory.file("state"), "--to", directory.file("copy")}, nullptr, &err) == 0);
  INFO(err);
  CHECK(run(other, {"backup", "--state", directory.file("state"), "--to", directory.file("copy")}) == 1);
  sender.append(500);
  REQUIRE(sender.deliver());
  CHECK(program->end(SIGTERM) == 0);

  fs::remove_all(directory.file("state"));
  fs::rename(directory.file("copy"), directory.file("state"));
  CHECK(lines(stored(directory.file("state"))) == 400);
  program = std::make_unique<Program>(directory, serve(directory, port));
  REQUIRE(await_port(directory.file("port")) == port);
  sender.append(10);
  const auto whole = [&] {
    const std::string text = metrics(port);
    return text.find("contiguous_sequence{node=\"node-1\"") != std::string::npos &&
           text.find("\"} " + std::to_string(sender.last()) + "\n", text.find("contiguous_sequence{")) !=
               std::string::npos;
  };
  // The first acknowledgement opens the range again, and the rest is delivered from there.
  REQUIRE(sender.deliver());
  CHECK(whole());
  CHECK(program->end(SIGTERM) == 0);
  CHECK(lines(stored(directory.file("state"))) == sender.last());
}

TEST_CASE("a relay that is killed again and again passes everything on exactly once", "[restore][forward]") {
#ifdef __SANITIZE_THREAD__
  // The distribution's HTTP library is not instrumented: when the first two requests of a process come by two
  // connections at once, its static tables look like a race, and halt_on_error ends the relay in the middle of a round.
  // To ignore all that the library calls would hide that its sockets order the threads.
  WARN("not run under ThreadSanitizer");
  return;
#endif
  const CurlGlobal curl;
  TemporaryDirectory upstream;
  TemporaryDirectory site;
  REQUIRE(replace_file(upstream.file("nodes.json"),
                       R"([{"id": "site-a", "token": "token-of-the-relay", "relay": ["node-1", "node-2"]}])")
              .ok());
  std::vector<std::string> arguments = serve(upstream, 0);
  arguments.insert(arguments.end(), {"--nodes", upstream.file("nodes.json")});
  auto far = std::make_unique<Program>(upstream, arguments);
  const int far_port = await_port(upstream.file("port"));

  REQUIRE(replace_file(site.file("bearer"), "token-of-the-relay\n").ok());
  REQUIRE(replace_file(site.file("site.toml"), "[forward]\nurl = \"http://127.0.0.1:" + std::to_string(far_port) +
                                                   "/\"\ninterval = \"20ms\"\nbearer_file = \"" + site.file("bearer") +
                                                   "\"\n")
              .ok());
  const auto start = [&](int port) {
    std::vector<std::string> all = serve(site, port);
    all.insert(all.end(), {"--config", site.file("site.toml")});
    return std::make_unique<Program>(site, all);
  };
  auto relay = start(0);
  const int port = await_port(site.file("port"));
  Sender first("node-1", port, 11);
  Sender second("node-2", port, 12);
  for (int round = 0; round < 8; ++round) {
    first.append(300);
    second.append(70);
    first.deliver(std::chrono::milliseconds(first.random().between(1, 150)));
    second.deliver(std::chrono::milliseconds(first.random().between(1, 50)));
    std::unique_ptr<Program>& victim = round % 4 == 3 ? far : relay;
    CHECK(victim->end(SIGKILL) == 128 + SIGKILL);
    if (victim == far) {
      arguments[1] = "127.0.0.1:" + std::to_string(far_port);
      fs::remove(upstream.file("port"));
      far = std::make_unique<Program>(upstream, arguments);
      REQUIRE(await_port(upstream.file("port")) == far_port);
    } else {
      fs::remove(site.file("port"));
      relay = start(port);
      REQUIRE(await_port(site.file("port")) == port);
    }
  }
  const auto deliver = [&](Sender& sender) {
    if (sender.deliver()) return;
    FAIL("not everything was taken. The relay:\n" << relay->err() << "\nthe receiver upstream:\n" << far->err());
  };
  deliver(first);
  deliver(second);
  const auto backlog = [&] {
    const std::string text = metrics(port);
    std::size_t rows = 0;
    for (std::size_t at = text.find("forward_backlog_rows{"); at != std::string::npos;
         at = text.find("forward_backlog_rows{", at + 1)) {
      rows += std::stoul(text.substr(text.find("} ", at) + 2));
    }
    return rows;
  };
  for (int i = 0; i < 1'200 && backlog() > 0; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  CHECK(backlog() == 0);
  CHECK(relay->end(SIGTERM) == 0);
  CHECK(far->end(SIGTERM) == 0);
  const std::string sent = stored(site.file("state"));
  CHECK(lines(sent) == first.last() + second.last());
  CHECK(stored(upstream.file("state")) == sent);
}

}  // namespace nodemeter
