// Goal: the real program, killed at any moment and started again, holds every entry exactly once; it stops cleanly when
// asked, and says in words and exit codes what it is asked to do wrong.
// Method: a child process, the real uploader and transport against it, SIGKILL at random moments of an upload.

#include <curl/curl.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <thread>

#include "platform/files.h"
#include "platform/text.h"
#include "tests/aggregator/plain_client.h"
#include "tests/aggregator/program.h"
#include "tests/sim/memory_kv.h"
#include "tests/temporary_directory.h"
#include "tests/uploader/chain.h"
#include "uploader/curl_transport.h"
#include "uploader/uploader.h"

namespace nodemeter {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::await_port;
using testing::ChainBuilder;
using testing::PlainClient;
using testing::Program;
using testing::run;
using testing::TemporaryDirectory;

std::vector<std::string> serve(const TemporaryDirectory& d, int port = 0) {
  std::filesystem::remove(d.file("port"));
  return {"--listen", "127.0.0.1:" + std::to_string(port), "--state", d.file("state"), "--port-file", d.file("port")};
}

}  // namespace

TEST_CASE("killed again and again in the middle of uploads, it holds every entry exactly once", "[process]") {
  curl_global_init(CURL_GLOBAL_DEFAULT);
  const char* const rounds_text = std::getenv("NODEMETER_KILLS");
  const int rounds = rounds_text != nullptr ? std::atoi(rounds_text) : 12;
  TemporaryDirectory directory;
  auto program = std::make_unique<Program>(directory, serve(directory));
  const int port = await_port(directory.file("port"));

  MemoryDisk disk;
  MemoryKv kv(disk);
  Random random(11);
  const auto journal = Journal::open(kv, JournalOptions{.node = *NodeId::parse("node-1")}, random);
  REQUIRE(journal.ok());
  const std::unique_ptr<Clock> clock = system_clock();
  CurlOptions options;
  options.urls = {"http://127.0.0.1:" + std::to_string(port) + "/"};
  const auto transport = open_curl_transport(options, *clock, {});
  REQUIRE(transport.ok());
  NullLog log;
  UploaderOptions upload;
  upload.backoff_base = milliseconds(10);
  upload.backoff_cap = milliseconds(50);
  upload.limits.rows_max = 150;
  Uploader uploader(**journal, **transport, random, log, upload);

  const auto append = [&] {
    JournalCommit commit;
    for (int i = 0; i < 40; ++i) commit.entries.push_back(testing::entry_of(0, ""));
    REQUIRE((*journal)->commit(commit, clock->now().utc).ok());
  };
  const auto step_until = [&](MonotonicTime end, bool empty_is_enough) {
    while (clock->now().monotonic < end) {
      const ClockReading now = clock->now();
      REQUIRE(uploader.step(now.monotonic, now.utc, true).ok());
      if (empty_is_enough && (*journal)->state().acknowledged == (*journal)->state().last_sequence) return true;
      std::this_thread::sleep_for(milliseconds(1));
    }
    return false;
  };
  // Kills fall into uploads on any machine: the window follows from how long one batch takes on this one.
  for (int i = 0; i < 4; ++i) append();
  const MonotonicTime first_sent = clock->now().monotonic;
  REQUIRE(step_until(first_sent + seconds(60), true));
  const std::int64_t window_ms = std::max<std::int64_t>(30, 6 * (clock->now().monotonic - first_sent).count());
  std::uint64_t progressed = 0;
  for (int round = 0; round < rounds; ++round) {
    for (int i = 0; i < 20; ++i) append();
    const Sequence before = (*journal)->state().acknowledged;
    step_until(clock->now().monotonic + milliseconds(random.between(1, window_ms)), false);
    if ((*journal)->state().acknowledged > before) ++progressed;
    CHECK(program->end(SIGKILL) == 128 + SIGKILL);
    program = std::make_unique<Program>(directory, serve(directory, port));
    REQUIRE(await_port(directory.file("port")) == port);
  }
  REQUIRE(step_until(clock->now().monotonic + seconds(60), true));
  CHECK(program->end(SIGTERM) == 0);
  CHECK(progressed > 0);
  WARN(rounds << " kills, " << (*journal)->state().last_sequence << " entries, " << uploader.state().failed_attempts
              << " attempts failed");

  CHECK(run(directory, {"verify", "--state", directory.file("state")}) == 0);
  std::string out;
  CHECK(run(directory, {"rows", "--state", directory.file("state"), "--json"}, &out) == 0);
  Sequence expected = 0;
  std::istringstream lines(out);
  for (std::string line; std::getline(lines, line);) {
    REQUIRE(nlohmann::json::parse(line)["sequence"] == ++expected);
  }
  CHECK(expected == (*journal)->state().last_sequence);
}

TEST_CASE("asked to stop, it answers what it has begun and exits with 0", "[process]") {
  TemporaryDirectory directory;
  Program program(directory, serve(directory));
  const int port = await_port(directory.file("port"));
  ChainBuilder chain;
  const std::string request = testing::post(chain.body(50));
  PlainClient client(port);
  // The connection is served from here on, and not merely waiting to be.
  REQUIRE(client.ask("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").ends_with("ok\n"));
  client.send(request.substr(0, request.size() / 2));
  std::thread later([&] {
    std::this_thread::sleep_for(milliseconds(500));
    client.send(request.substr(request.size() / 2));
  });
  std::this_thread::sleep_for(milliseconds(100));
  const int code = program.end(SIGTERM);
  later.join();
  CHECK(code == 0);
  CHECK(testing::status_of(client.answer()) == 200);
  std::string out;
  CHECK(run(directory, {"verify", "--state", directory.file("state")}, &out) == 0);
  CHECK(out.find("50 rows, 1 chains, 0 forks, 0 of 0 manifests signed, 0 holes, 0 faults") != std::string::npos);
}

TEST_CASE("a second one on the same state is told so", "[process]") {
  TemporaryDirectory directory;
  TemporaryDirectory other;
  Program program(directory, serve(directory));
  await_port(directory.file("port"));
  std::string err;
  CHECK(run(other, {"--listen", "127.0.0.1:0", "--state", directory.file("state")}, nullptr, &err) == 1);
  CHECK(err.find("another nodemeter-aggregator serves") != std::string::npos);
  // Looking is allowed while it serves.
  CHECK(run(other, {"verify", "--state", directory.file("state")}) == 0);
}

TEST_CASE("verify tells holes by 3 and forks by 1, and rows shows both", "[process]") {
  TemporaryDirectory directory;
  ChainBuilder chain;
  ChainBuilder twin;
  const std::string early = chain.body(2);
  const std::string middle = chain.body(2);
  const std::string late = chain.body(2);
  {
    Program program(directory, serve(directory));
    PlainClient client(await_port(directory.file("port")));
    CHECK(testing::status_of(client.ask(testing::post(early))) == 200);
    CHECK(testing::status_of(client.ask(testing::post(late))) == 200);
    CHECK(program.end(SIGTERM) == 0);
  }
  std::string out;
  CHECK(run(directory, {"verify", "--state", directory.file("state")}, &out) == 3);
  CHECK(out.find("entry 3 to 4 is missing") != std::string::npos);
  {
    Program program(directory, serve(directory));
    PlainClient client(await_port(directory.file("port")));
    CHECK(testing::status_of(client.ask(testing::post(middle))) == 200);
    CHECK(testing::status_of(client.ask(testing::post(twin.body(1, "a twin")))) == 200);
    CHECK(program.end(SIGTERM) == 0);
  }
  CHECK(run(directory, {"verify", "--state", directory.file("state")}, &out) == 1);
  CHECK(out.find("7 rows, 1 chains, 1 forks, 0 of 0 manifests signed, 0 holes, 0 faults") != std::string::npos);
  CHECK(run(directory, {"rows", "--state", directory.file("state"), "--node", "node-1", "--json"}, &out) == 0);
  CHECK(std::count(out.begin(), out.end(), '\n') == 7);
  const auto row = nlohmann::json::parse(out.substr(0, out.find('\n')));
  CHECK(row["sequence"] == 1);
  CHECK(row["kind"] == "usage");
  CHECK(row["meters"].size() == 1);
  CHECK(row["digest"].get<std::string>().size() == 64);
  CHECK(run(directory, {"rows", "--state", directory.file("state"), "--node", "node-2"}, &out) == 0);
  CHECK(out.empty());
}

TEST_CASE("the nodes file is read again when it changes, and a faulty one changes nothing", "[process]") {
  TemporaryDirectory directory;
  const std::string nodes = directory.file("nodes.json");
  const auto with_token = [](const std::string& token) { return R"([{"id":"node-1","token":")" + token + "\"}]\n"; };
  REQUIRE(replace_file(nodes, with_token("the-token-of-before")).ok());
  std::vector<std::string> arguments = serve(directory);
  arguments.insert(arguments.end(), {"--nodes", nodes});
  Program program(directory, arguments);
  PlainClient client(await_port(directory.file("port")));
  ChainBuilder chain;
  const std::string body = chain.body(1);
  const auto status = [&](const std::string& token) {
    return testing::status_of(
        client.ask(testing::post(body, "Nodemeter-Node: node-1\r\nAuthorization: Bearer " + token + "\r\n")));
  };
  const auto await_log = [&](const std::string& text) {
    for (int i = 0; i < 600 && program.err().find(text) == std::string::npos; ++i) {
      std::this_thread::sleep_for(milliseconds(50));
    }
    return program.err().find(text) != std::string::npos;
  };
  CHECK(status("the-token-of-before") == 200);
  REQUIRE(replace_file(nodes, "[{\"id\":\n7}]").ok());
  CHECK(await_log("nodes.json:1: entry 1"));
  CHECK(status("the-token-of-before") == 200);
  REQUIRE(replace_file(nodes, with_token("the-token-of-after!")).ok());
  CHECK(await_log("the nodes file was read again"));
  CHECK(status("the-token-of-before") == 401);
  CHECK(status("the-token-of-after!") == 200);
  CHECK(program.end(SIGTERM) == 0);
}

TEST_CASE("wrong use is 2, and the message says what is wrong", "[process]") {
  TemporaryDirectory d;
  std::string err;
  CHECK(run(d, {"--no-such-flag"}) == 2);
  CHECK(run(d, {"rows"}) == 2);
  CHECK(run(d, {"version"}) == 0);
  CHECK(run(d, {"--help"}) == 0);
  CHECK(run(d, {"--listen", "0.0.0.0:0", "--state", d.file("s")}, nullptr, &err) == 2);
  CHECK(err.find("plain HTTP is for loopback") != std::string::npos);
  REQUIRE(replace_file(d.file("good.toml"), "[listen]\naddress = \"127.0.0.1:8443\"\n").ok());
  REQUIRE(replace_file(d.file("bad.toml"), "[listen]\nadress = \"127.0.0.1:8443\"\n").ok());
  CHECK(run(d, {"config", "check", d.file("good.toml")}) == 0);
  CHECK(run(d, {"config", "check", d.file("bad.toml")}, nullptr, &err) == 2);
  CHECK(err.find("bad.toml:2: listen.adress: unknown key; did you mean \"address\"?") != std::string::npos);
  CHECK(run(d, {"config", "check", d.file("none.toml")}, nullptr, &err) == 2);
  CHECK(run(d, {"verify", "--state", d.file("nowhere")}, nullptr, &err) == 1);
}

}  // namespace nodemeter
