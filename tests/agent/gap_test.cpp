// Goal: time that nobody watched is declared, once, with its cause and its bounds, and no crash loses the declaration.
// Method: hand-written samples, one case of agent/METERING.md each.

#include <catch2/catch.hpp>

#include "tests/agent/meter_fixture.h"

using namespace nodemeter;

namespace {

// The service is away: only the VMs that are known are seen, by their processes.
void service_away(MeterFixture& f, std::int64_t from, std::int64_t to, std::int64_t every = 10) {
  f.inventory(Inventory::kKnownOnly);
  for (std::int64_t s = from; s <= to; s += every) {
    f.break_events();
    f.at(s);
  }
}

void service_back(MeterFixture& f, std::int64_t s) {
  f.inventory(Inventory::kComplete);
  f.break_events();
  f.at(s);
}

// "cause from to" of each gap entry, a line each; from and to as minutes and seconds.
std::string gaps(const MeterFixture& f) {
  std::string out;
  for (const Entry& entry : f.entries()) {
    if (entry.kind != EntryKind::kGap) continue;
    const auto text = [&](const std::string& key) {
      const std::size_t at = entry.detail.find("\"" + key + "\":\"") + key.size() + 4;
      return entry.detail.substr(at, entry.detail.find('"', at) - at);
    };
    out += text("cause") + " " + text("from").substr(11, 8) + " " + text("to").substr(11, 8) + "\n";
  }
  return out;
}

}  // namespace

TEST_CASE("each gap has its cause and its bounds, and adds nothing to a VM's hours", "[gaps]") {
  MeterFixture f;
  run_one(f);
  f.restart_agent();
  f.at(10);
  f.source_failed();
  f.at(20);
  f.break_events();
  f.at(30);
  f.reboot_host(35);
  f.vm(1).began_s = 40;
  f.vm(1).run = 2;
  f.at(40);
  f.close();
  const auto gap = [](const std::string& cause, const std::string& from, const std::string& to) {
    return "{\"cause\":\"" + cause + "\",\"from\":\"2026-01-01T00:00:" + from +
           ".000Z\",\"to\":\"2026-01-01T00:00:" + to + ".000Z\",\"ms\":10000}\n";
  };
  CHECK(f.events("cause") == gap("agent down", "00", "10") + gap("source failed", "10", "20") +
                                 gap("events lost", "20", "30") + gap("host down", "30", "40"));
  for (const Entry& entry : f.entries()) {
    if (entry.kind == EntryKind::kGap) CHECK(entry.gap_ms == 0);
  }
  CHECK(f.usage({kVmHours}) ==
        "1 00:00 covered 30000 gap 10000 [estimated,gap,owner_unknown,partial,usage_lost,across_boots] "
        "vm-hours=30000\n");
}

TEST_CASE("a gap entry's bounds are whole seconds around it", "[gaps]") {
  MeterFixture f;
  run_one(f);
  f.move_clock_ms(300);
  f.at(10);
  f.restart_agent();
  f.at(20);
  const auto gap = std::find_if(f.entries().begin(), f.entries().end(),
                                [](const Entry& entry) { return entry.kind == EntryKind::kGap; });
  REQUIRE(gap != f.entries().end());
  CHECK(gap->usage_start == MeterFixture::kStart + std::chrono::seconds(10));
  CHECK(gap->usage_end == MeterFixture::kStart + std::chrono::seconds(21));
}

TEST_CASE("while the service is away there is one gap entry for the whole stretch", "[gaps]") {
  MeterFixture f;
  run_one(f);
  f.at(10);
  service_away(f, 20, 600);
  CHECK(gaps(f).empty());  // It goes on.
  CHECK(f.meter().node().gap_cause == "events lost");
  service_back(f, 610);
  CHECK(gaps(f) == "events lost 00:00:10 00:10:10\n");
  f.at(620);
  f.close();
  CHECK(gaps(f) == "events lost 00:00:10 00:10:10\n");
  CHECK(f.usage({kVmHours}) == "1 00:00 covered 620000 gap 0 [estimated,owner_unknown,partial] vm-hours=620000\n");
}

TEST_CASE("a gap that goes on is told of each hour when that hour closes", "[gaps]") {
  MeterFixture f;
  run_one(f);
  service_away(f, 600, 7800, 600);
  CHECK(gaps(f) == "events lost 00:00:00 01:10:00\nevents lost 01:10:00 02:10:00\n");
  service_back(f, 7810);
  CHECK(gaps(f) == "events lost 00:00:00 01:10:00\nevents lost 01:10:00 02:10:00\nevents lost 02:10:00 02:10:10\n");
}

TEST_CASE("a gap that goes on outlives the agent, and the time without the agent has its own entry", "[gaps]") {
  MeterFixture f;
  run_one(f);
  service_away(f, 10, 100);
  f.restart_agent();
  service_away(f, 200, 300, 100);
  service_back(f, 310);
  CHECK(gaps(f) == "events lost 00:00:00 00:01:40\nagent down 00:01:40 00:03:20\nevents lost 00:03:20 00:05:10\n");
}

TEST_CASE("a gap that goes on ends where the host reboots or the clock is set", "[gaps]") {
  MeterFixture f;
  run_one(f);
  service_away(f, 10, 100);
  f.step_clock(1800);
  service_away(f, 110, 120);
  f.reboot_host(130);
  service_back(f, 140);
  f.close();
  CHECK(gaps(f) == "events lost 00:00:00 00:01:50\nevents lost 00:31:50 00:32:00\nhost down 00:32:00 00:32:20\n");
}

TEST_CASE("a gap that goes on is told when the agent ends for good, and when events can be told again", "[gaps]") {
  MeterFixture f;
  run_one(f);
  service_away(f, 10, 100);
  SECTION("the agent ends") { f.close(); }
  SECTION("a list that is not complete, and every event") { f.at(110); }
  CHECK(gaps(f) == "events lost 00:00:00 00:01:40\n");
}

TEST_CASE("a gap entry over a reboot says that its length was taken from UTC", "[gaps]") {
  MeterFixture f;
  run_one(f);
  f.restart_agent();
  f.at(10);
  f.step_clock(-3600);  // The clock lost more than the host was down.
  f.reboot_host(20);
  f.at(30);
  CHECK(gaps(f) == "agent down 00:00:00 00:00:10\nhost down 00:00:10 00:00:10\n");
  for (const Entry& entry : f.entries()) {
    if (entry.kind != EntryKind::kGap) continue;
    const bool host_down = entry.detail.find("host down") != std::string::npos;
    CHECK(entry.status == (host_down ? status_bit::kAcrossBoots : 0));
  }
}
