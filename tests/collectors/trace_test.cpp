// Goal: a recorded sample comes back the same, a damaged one is refused, and a replay happens now.

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <string>

#include "collectors/replay_source.h"
#include "collectors/trace.h"
#include "platform/process.h"

using namespace nodemeter;

namespace {

const std::string kFixture = std::string(FIXTURES) + "/libvirt-node.trace";

class TestClock final : public Clock {
 public:
  [[nodiscard]] ClockReading now() const override {
    ClockReading reading;
    reading.monotonic = MonotonicTime{Milliseconds{ms}};
    reading.utc = UtcTime{Milliseconds{1'700'000'000'000 + ms}};
    return reading;
  }
  std::int64_t ms = 1'000'000;
};

std::vector<std::string> lines() {
  std::ifstream file(kFixture);
  std::vector<std::string> out;
  for (std::string line; std::getline(file, line);) out.push_back(line);
  return out;
}

}  // namespace

TEST_CASE("a trace of a real node reads and writes unchanged", "[trace]") {
  const std::vector<std::string> recorded = lines();
  REQUIRE(recorded.size() >= 30);
  for (const std::string& line : recorded) {
    const Result<Sample> sample = parse_trace_line(line);
    REQUIRE(sample.ok());
    CHECK(trace_line(*sample) == line);
  }
}

TEST_CASE("a damaged line is refused with the field's name", "[trace]") {
  const std::string good = lines().at(1);
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string line = good;
    const std::size_t at = line.find(from);
    REQUIRE(at != std::string::npos);
    line.replace(at, from.size(), to);
    const Result<Sample> sample = parse_trace_line(line);
    return sample ? std::string("accepted") : sample.error().message;
  };
  CHECK(with("\"v\":1", "\"v\":2").find("version 2") != std::string::npos);
  CHECK(with("\"kind\":1", "\"kind\":9").find("kind") != std::string::npos);
  CHECK(with("\"kind\":1", "\"kind\":3").find("order") != std::string::npos);
  CHECK(with("\"vcores\":", "\"vcores\":-").find("vcores") != std::string::npos);
  CHECK(with("\"boot\":\"", "\"boot\":\"z").find("boot") != std::string::npos);
  CHECK(with("\"counters\":[", "\"counters\":[1.5,").find("counters") != std::string::npos);
  CHECK_FALSE(parse_trace_line(good.substr(0, good.size() / 2)).ok());
  CHECK_FALSE(parse_trace_line("").ok());
  CHECK_FALSE(parse_trace_line("[]").ok());
}

TEST_CASE("a replay plays each line when it is due, with the events of those it passes", "[replay]") {
  TestClock clock;
  auto opened = open_replay_source(kFixture, clock);
  REQUIRE(opened.ok());
  Source& source = **opened;
  const Result<Sample> first = source.read_all();
  REQUIRE(first.ok());
  CHECK(first->taken_at == clock.now().monotonic);
  CHECK_FALSE(first->events_unbroken);
  std::size_t recorded_events = 0;
  const std::vector<std::string> recorded = lines();
  for (std::size_t i = 1; i < recorded.size(); ++i) recorded_events += parse_trace_line(recorded[i])->events.size();
  std::size_t events = 0;
  MonotonicTime previous = first->taken_at;
  for (;;) {
    clock.ms += 2500;
    const Result<Sample> sample = source.read_all();
    if (!sample) {
      CHECK(sample.error().code == ErrorCode::kUnavailable);
      break;
    }
    events += sample->events.size();
    for (const VmEvent& event : sample->events) {
      CHECK(event.at >= previous);
      CHECK(event.at <= sample->taken_at);
    }
    for (const VmReading& vm : sample->vms) {
      for (const DeviceReading& device : vm.devices) CHECK(device.read_at <= sample->taken_at);
    }
    previous = sample->taken_at;
  }
  CHECK(events == recorded_events);
  CHECK(events > 5);
}

TEST_CASE("a replay of what is no trace does not open", "[replay]") {
  const TestClock clock;
  CHECK(open_replay_source("no-such-file", clock).error().code == ErrorCode::kNotFound);
  const auto path = std::filesystem::temp_directory_path() / ("nodemeter-replay-" + std::to_string(current_process()));
  std::ofstream(path) << "hello\n";
  CHECK(open_replay_source(path, clock).error().code == ErrorCode::kCorrupt);
  std::filesystem::remove(path);
}
