// Goal: whatever the wall clock does, no total changes; it only names the hours.
// Method: hand-written samples, one case of agent/METERING.md each.

#include <catch2/catch.hpp>

#include "agent/meter_time.h"
#include "tests/agent/meter_fixture.h"

using namespace nodemeter;

namespace {

// A VM that uses one millisecond of CPU in each second, sampled every ten minutes.
void watch_use(MeterFixture& f, std::int64_t from, std::int64_t to) {
  for (std::int64_t s = from; s <= to; s += 600) {
    f.vm(1).cpu_us = static_cast<std::uint64_t>(s) * 1000;
    f.at(s);
  }
}

void run_unsampled(MeterFixture& f) {
  f.empty_from(0);
  f.vm(1).began_s = 0;
}

}  // namespace

TEST_CASE("a clock set by a second, an hour or a day, forwards or backwards, changes no total", "[clock]") {
  for (const std::int64_t by_s : {1, -1, 3600, -3600, 86'400, -86'400}) {
    MeterFixture f;
    run_unsampled(f);
    watch_use(f, 0, 9000);
    f.step_clock(by_s);
    watch_use(f, 9600, 18'000);
    f.close();
    INFO(by_s);
    CHECK(f.total(kVmHours) == 18'000'000);
    CHECK(f.total(kCpu) == 18'000'000);
    CHECK(f.events("clock-stepped").find("\"by_ms\":" + std::to_string(by_s * 1000) + ",") != std::string::npos);
    CHECK(f.marks().find("clock_stepped") != std::string::npos);
    for (const Entry& entry : f.entries()) CHECK(entry.gap_ms == 0);
  }
}

TEST_CASE("a clock set forwards and back again changes no total, and a further record of an hour is late", "[clock]") {
  MeterFixture f;
  run_unsampled(f);
  watch_use(f, 0, 600);
  f.step_clock(86'400);
  watch_use(f, 1200, 1800);
  f.step_clock(-86'400);
  watch_use(f, 2400, 3600);
  f.at(3630);
  f.close();
  CHECK(f.total(kVmHours) == 3'630'000);
  // The first half of the hour was closed when the clock said tomorrow; the rest is a further record.
  CHECK(f.usage({kVmHours}) ==
        "1 00:00 covered 1200000 gap 0 [clock_stepped,owner_unknown] vm-hours=1200000\n"
        "1 00:00 covered 1200000 gap 0 [clock_stepped,owner_unknown,late] vm-hours=1200000\n"
        "1 01:00 covered 30000 gap 0 [owner_unknown,late,partial] vm-hours=30000\n"
        "1 00:00 covered 1200000 gap 0 [clock_stepped,owner_unknown,partial] vm-hours=1200000\n");
}

TEST_CASE("a step takes effect at the sample that shows it", "[clock]") {
  MeterFixture f;
  run_unsampled(f);
  watch_use(f, 0, 3000);
  f.step_clock(3600);
  watch_use(f, 3600, 4200);
  f.close();
  CHECK(f.usage({kVmHours, kCpu}) ==
        "1 00:00 covered 3600000 gap 0 [clock_stepped,owner_unknown] vm-hours=3600000 cpu-time=3600000\n"
        "1 02:00 covered 600000 gap 0 [clock_stepped,owner_unknown,partial] vm-hours=600000 cpu-time=600000\n");
}

TEST_CASE("a leap second that repeats a second makes its hour a second longer", "[clock]") {
  MeterFixture f;
  run_unsampled(f);
  watch_use(f, 0, 3000);
  f.at(3599);
  f.step_clock(-1);
  f.at(3600);
  f.at(3601);
  f.at(3631);
  f.close();
  CHECK(f.usage({kVmHours}) ==
        "1 00:00 covered 3601000 gap 0 [clock_stepped,owner_unknown] vm-hours=3601000\n"
        "1 01:00 covered 30000 gap 0 [owner_unknown,partial] vm-hours=30000\n");
}

TEST_CASE("a clock that drifts by up to half a second between samples is followed without a mark", "[clock]") {
  for (const std::int64_t by : {1, 2, -2, 500, -500}) {
    MeterFixture f;
    run_unsampled(f);
    watch_use(f, 0, 600);
    f.move_clock_ms(by);
    f.at(1200);
    INFO(by);
    CHECK(f.meter().clock_moved_ms() == by);
    f.at(1800);
    CHECK(f.meter().clock_moved_ms() == (by == 1 ? 1 : 0));  // Rounding is not followed.
    CHECK(f.meter().node().last_utc ==
          MeterFixture::kStart + std::chrono::seconds(1800) + Milliseconds(by == 1 ? 0 : by));
    f.close();
    CHECK(f.events("clock-stepped") == "");
    CHECK(f.marks() == "owner_unknown,partial");
    CHECK(f.total(kVmHours) == 1'800'000);
  }
}

TEST_CASE("a clock that moves by more than half a second was set", "[clock]") {
  for (const std::int64_t by : {501, -501}) {
    MeterFixture f;
    run_unsampled(f);
    watch_use(f, 0, 600);
    f.move_clock_ms(by);
    f.at(1200);
    f.close();
    CHECK(f.events(by > 0 ? "\"how\":\"forwards\"" : "\"how\":\"backwards\"") != "");
    CHECK(f.marks() == "clock_stepped,owner_unknown,partial");
  }
}

TEST_CASE("a step is told with both names of its instant and with monotonic time", "[clock]") {
  MeterFixture f;
  run_unsampled(f);
  f.at(0);
  f.step_clock(-7);
  f.at(60);
  CHECK(f.events("clock-stepped") ==
        "{\"event\":\"clock-stepped\",\"how\":\"backwards\",\"at\":\"2026-01-01T00:00:53.000Z\","
        "\"monotonic_ms\":1060000,\"by_ms\":-7000,\"from\":\"2026-01-01T00:01:00.000Z\"}\n");
  CHECK(f.entries().back().status == 0);
}

TEST_CASE("a host that slept is sampled late: its VMs stayed allocated", "[clock]") {
  MeterFixture f;
  run_unsampled(f);
  watch_use(f, 0, 600);
  f.at(600 + 8 * 3600);
  f.close();
  CHECK(f.total(kVmHours) == 600'000 + 8 * 3'600'000);
  CHECK(f.events("cause") == "");
  CHECK(f.marks() == "owner_unknown,partial");
}

TEST_CASE("a clock that becomes synchronised is told, and only time before it is marked", "[clock]") {
  MeterFixture f;
  run_unsampled(f);
  f.synchronised(false);
  watch_use(f, 0, 3600);
  f.synchronised(true);
  watch_use(f, 4200, 7200);
  f.at(7230);
  CHECK(f.usage({kVmHours}) ==
        "1 00:00 covered 3600000 gap 0 [clock_unsynchronised,owner_unknown] vm-hours=3600000\n"
        "1 01:00 covered 3600000 gap 0 [owner_unknown] vm-hours=3600000\n");
  CHECK(f.events("\"event\":\"clock-unsynchronised\"") != "");
  CHECK(f.events("\"event\":\"clock-synchronised\"") != "");
}

TEST_CASE("a clock set while nobody watched names the time after the next sample", "[clock]") {
  MeterFixture f;
  run_unsampled(f);
  watch_use(f, 0, 600);
  f.restart_agent();
  f.step_clock(3600);
  f.at(1200);
  f.at(1800);
  f.close();
  CHECK(f.usage({kVmHours}) ==
        "1 00:00 covered 1200000 gap 0 [estimated,clock_stepped,owner_unknown] vm-hours=1200000\n"
        "1 01:00 covered 600000 gap 0 [clock_stepped,owner_unknown,partial] vm-hours=600000\n");
  CHECK(f.events("agent down").find("\"to\":\"2026-01-01T00:20:00.000Z\",\"ms\":600000") != std::string::npos);
}

TEST_CASE("a clock that is before 1970 names hours as any other", "[clock]") {
  MeterFixture f;
  f.step_clock(-MeterFixture::kStart.time_since_epoch() / std::chrono::seconds(1) - 5400);
  run_unsampled(f);
  watch_use(f, 0, 9000);
  f.close();
  std::map<std::int64_t, std::uint64_t> covered;
  for (const Entry& entry : f.entries()) {
    if (entry.kind == EntryKind::kUsage) covered[entry.usage_start.time_since_epoch().count()] += entry.covered_ms;
  }
  CHECK(covered == std::map<std::int64_t, std::uint64_t>{{-7200, 1'800'000}, {-3600, 3'600'000}, {0, 3'600'000}});
}

TEST_CASE("hours before 1970 are hours, too", "[clock]") {
  CHECK(hour_of(0) == 0);
  CHECK(hour_of(kHourMs - 1) == 0);
  CHECK(hour_of(kHourMs) == 1);
  CHECK(hour_of(-1) == -1);
  CHECK(hour_of(-kHourMs) == -1);
  CHECK(hour_of(-kHourMs - 1) == -2);
}

TEST_CASE("a clock that was followed names the end of what was seen, for a gap across a reboot", "[clock]") {
  MeterFixture f;
  run_one(f);
  f.move_clock_ms(400);
  f.at(10);
  f.reboot_host(30);
  f.vm(1).levels.power = Power::kOff;
  f.at(40);
  f.close();
  CHECK(f.usage().find("1 00:00 covered 10000 gap 30000 [") == 0);
}

TEST_CASE("a clock that moves after a reboot renames nothing from before it", "[clock]") {
  MeterFixture f;
  run_one(f);
  f.at(10);
  f.reboot_host(30);
  f.remove(1);
  f.inventory(Inventory::kKnownOnly);
  f.at(40);
  f.move_clock_ms(400);
  f.at(50);
  f.inventory(Inventory::kComplete);
  f.vm(1).levels.power = Power::kOff;
  f.at(60);
  f.close();
  CHECK(f.usage().find("1 00:00 covered 10000 gap 50400 [") == 0);
}

TEST_CASE("a step of the clock marks the hours of VMs that are here, and of no others", "[clock]") {
  MeterFixture f;
  run_one(f);
  f.event(5, 1, VmEventKind::kDeparted, "deleted");
  f.remove(1);
  f.vm(2).began_s = 0;
  f.vm(2).cpu_us.reset();
  f.at(10);
  f.step_clock(60);
  f.at(20);
  f.close();
  CHECK(f.marks(1) == "owner_unknown,partial,usage_lost");
  CHECK(f.marks(2).find("clock_stepped,counter_missing") != std::string::npos);
  CHECK(lines(f.usage()) == 2);
}

TEST_CASE("a clock that stands before 1970 has the same hours", "[clock]") {
  const auto told = [](std::int64_t days) {
    MeterFixture f;
    f.step_clock(-days * 86'400);
    run_one(f);
    f.at(1800);
    f.remove(1);
    f.event(3600, 1, VmEventKind::kDeparted, "deleted");  // On the edge: it ends the hour before.
    f.at(3610);
    f.close();
    return f.usage();
  };
  CHECK(told(0) == "1 00:00 covered 3600000 gap 0 [owner_unknown,usage_lost] base-vm-hours=7200000\n");
  CHECK(told(60 * 365) == told(0));
}
