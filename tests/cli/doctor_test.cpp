// Goal: `doctor`'s exit code tells a script whether anything fails, and what the clock does is among it.
// Method: an in-process node on which nothing fails: a journal, a published view, a clock of the test's own. Faults of
// files, networks and processes are made for real in tests/operator/doctor_main.py.

#include <catch2/catch.hpp>

#include "command.h"
#include "live_snapshot.h"
#include "platform/process.h"

using namespace nodemeter;

namespace {

class SetClock final : public Clock {
 public:
  [[nodiscard]] ClockReading now() const override {
    ClockReading reading = real_->now();
    reading.synchronised = synchronised;
    return reading;
  }
  bool synchronised = true;

 private:
  std::unique_ptr<Clock> real_ = system_clock();
};

struct Node {
  Node() : state(simulated_state(directory)) {
    fs::permissions(fs::path(state) / "journal", fs::perms::others_all, fs::perm_options::remove);
    config =
        directory.write("nodemeter.toml", "[source]\nkind = \"simulated\"\nscenario = \"" + (directory / "s.json") +
                                              "\"\n[live]\nname = \"" + name + "\"\ngroup = \"\"\n");
    snapshot.node.process_id = current_process();
    const ClockReading reading = clock.now();
    snapshot.node.sampled = reading.utc;
    snapshot.node.sampled_monotonic = reading.monotonic;
    writer->publish(snapshot);
  }

  Outcome doctor() {
    const char* const argv[] = {"nodemeter", "doctor", "--config", config.c_str(), "--state", state.c_str()};
    std::ostringstream out;
    std::ostringstream err;
    const int code = cli::run(6, argv, out, err, {clock, false, false});
    return {code, out.str(), err.str()};
  }

  Directory directory;
  SetClock clock;
  std::string name = "nodemeter-doctor-" + Random::from_system().uuid().text();
  std::string state;
  std::string config;
  LiveSnapshot snapshot = healthy();
  std::unique_ptr<LiveWriter> writer = LiveWriter::create(name, "").value();
};

}  // namespace

TEST_CASE("doctor ends with 0 where nothing fails, although it warns", "[doctor]") {
  Node node;
  const Outcome seen = node.doctor();
  INFO(seen.out);
  CHECK(seen.code == cli::kDone);
  CHECK(seen.out.find("\nfail") == std::string::npos);
  CHECK_THAT(seen.out, Catch::Matchers::Contains("ok       clock"));
  CHECK_THAT(seen.out, Catch::Matchers::Contains("ok       journal"));
  CHECK_THAT(seen.out, Catch::Matchers::Contains("warn     source"));
}

TEST_CASE("doctor fails where the clock is not synchronised, and says what to start", "[doctor]") {
  Node node;
  node.clock.synchronised = false;
  const Outcome seen = node.doctor();
  CHECK(seen.code == cli::kFailed);
  CHECK_THAT(seen.out,
             Catch::Matchers::Contains("fail     clock") && Catch::Matchers::Contains("start a time service"));
}

TEST_CASE("doctor warns of a clock that was set just now", "[doctor]") {
  Node node;
  SECTION("as the agent saw it") { node.snapshot.node.clock_offset_moved_ms = -1'500; }
  SECTION("since the last sample") { node.snapshot.node.sampled += Milliseconds{1'500}; }
  node.writer->publish(node.snapshot);
  const Outcome seen = node.doctor();
  INFO(seen.out);
  CHECK(seen.code == cli::kDone);
  CHECK_THAT(seen.out, Catch::Matchers::Contains("it was set by -1"));
}

TEST_CASE("doctor says when the disk will be full", "[doctor]") {
  Node node;
  node.snapshot.node.store_size_max_bytes = 1ull << 50;
  node.snapshot.node.store_bytes_per_day = 1ull << 44;
  node.writer->publish(node.snapshot);
  const Outcome seen = node.doctor();
  INFO(seen.out);
  CHECK(seen.code == cli::kFailed);
  CHECK_THAT(seen.out, Catch::Matchers::Contains("fail     disk") && Catch::Matchers::Contains("full in about 0 days"));
}
