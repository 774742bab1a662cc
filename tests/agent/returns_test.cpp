// Goal: what is known of a VM's earlier stays, runs and boots is used for the next one exactly as far as it proves
// something, and every event is written down once.
// Method: hand-written samples; each case is one that nothing but its own rule tells apart.

#include <catch2/catch.hpp>

#include <algorithm>

#include "agent/meter_time.h"
#include "tests/agent/meter_fixture.h"

using namespace nodemeter;

namespace {

constexpr auto kVcores = MeterIndex::kBaseVmHours;
constexpr auto kVmHours = MeterIndex::kVmHours;
constexpr auto kCpu = MeterIndex::kCpuTime;
constexpr auto kMemory = MeterIndex::kMemoryHours;
constexpr auto kWrite = MeterIndex::kDiskWriteBytes;

void run_one(MeterFixture& f) {
  f.empty_from(0);
  f.vm(1).began_s = 0;
  f.at(0);
}

std::size_t lines(const std::string& text) { return static_cast<std::size_t>(std::ranges::count(text, '\n')); }

}  // namespace

// --- The agent's own restart ----------------------------------------------------------------------------------------

TEST_CASE("one device whose run goes on shows that the process does", "[returns]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1).disk_write_bytes = 0;
  f.vm(1).disk_run = 5;
  f.at(0);
  f.at(10);
  f.restart_agent();
  f.vm(1).disk_run = 6;  // Plugged in again meanwhile.
  f.at(110);
  f.close();
  CHECK(f.total(kMemory) == 1024 * 110'000);
}

TEST_CASE("after a restart of the agent a new run without a proven start is a baseline, too", "[returns]") {
  MeterFixture f;
  run_one(f);
  f.restart_agent();
  f.vm(1).run = 2;
  f.vm(1).began_s.reset();
  f.vm(1).cpu_us = 50;
  f.at(10);
  f.vm(1).cpu_us = 60;
  f.at(20);
  f.close();
  CHECK(f.total(kCpu) == 10);
}

TEST_CASE("a node that is declared empty was seen without any VM until then, and its hours before are closed",
          "[returns]") {
  MeterFixture f;
  f.empty_from(0);
  CHECK(f.meter().node().closed_until == hour_of(ms(MeterFixture::kStart)));
  f.vm(1).began_s = -500;  // It ran elsewhere, or was overlooked.
  f.vm(1).cpu_us = 900;
  f.at(10);
  f.vm(1).cpu_us = 950;
  f.at(20);
  f.close();
  CHECK(f.total(kVmHours) == 10'000);
  CHECK(f.total(kCpu) == 50);

  MeterFixture gap;
  gap.empty_from(0);
  gap.break_events();
  gap.at(10);
  CHECK(gap.events("events lost").find("\"from\":\"2026-01-01T00:00:00.000Z\"") != std::string::npos);
}

TEST_CASE("closing everything leaves of a VM that left its registers only", "[returns]") {
  MeterFixture f;
  run_one(f);
  f.event(5, 1, VmEventKind::kDeparted, "deleted");
  f.remove(1);
  f.at(10);
  f.close();
  CHECK(f.meter().vms().empty());
  CHECK(f.rows().count(vm_row_key(vm_id(1))) == 0);
  CHECK(f.rows().count(gone_row_key(vm_id(1))) == 1);
}

TEST_CASE("a VM that nobody counted and that arrives within the same commit has its row", "[returns]") {
  MeterFixture f;
  f.empty_from(0);
  f.keep_rows_back(true);
  f.bare_event(5, 1, VmEventKind::kPaused);
  f.at(10);
  f.vm(1).began_s = 13;
  f.event(13, 1, VmEventKind::kArrived, "created");
  f.at(20);
  f.keep_rows_back(false);
  CHECK(f.rows().count(vm_row_key(vm_id(1))) == 1);
}

TEST_CASE("an event right after an unwatched stretch shows the levels of its other side", "[returns]") {
  for (const VmEventKind kind : {VmEventKind::kResized, VmEventKind::kPaused, VmEventKind::kRebooted}) {
    const auto counted = [&](std::uint32_t vcores, bool told) {
      MeterFixture f;
      run_one(f);
      f.restart_agent();
      f.vm(1).levels.vcores = vcores;
      if (told) {
        f.event(60, 1, kind);
      } else {
        f.bare_event(60, 1, kind);
      }
      if (kind == VmEventKind::kPaused) f.vm(1).levels.power = Power::kPaused;
      f.at(100);
      f.close();
      return f.total(kVcores);
    };
    INFO(static_cast<int>(kind));
    CHECK(counted(1, true) == 100'000);
    CHECK(counted(8, true) == 2 * 60'000 + 8 * 40'000);
    CHECK(counted(8, false) == 2 * 100'000);
  }
}

TEST_CASE("an arrival right after an unwatched stretch is known, and so is the time after it", "[returns]") {
  MeterFixture f;
  f.empty_from(0);
  f.at(0);
  f.break_events();
  f.vm(1).began_s = 5;
  f.vm(1).levels.vcores = 4;
  f.event(5, 1, VmEventKind::kArrived, "created");
  f.vm(1).levels.vcores = 2;
  f.at(10);
  f.close();
  CHECK(f.total(kVcores) == 4 * 5000);
  CHECK(f.marks() == "owner_unknown,partial");
}

// --- Departures -----------------------------------------------------------------------------------------------------

TEST_CASE("a definition left behind by a VM that nobody saw here is not allocated", "[returns]") {
  MeterFixture f;
  f.empty_from(0);
  f.at(0);
  f.bare_event(5, 1, VmEventKind::kDeparted, "migrated");
  f.vm(1).levels.power = Power::kOff;
  f.at(10);
  f.at(20);
  f.close();
  CHECK(f.usage() == "");
}

TEST_CASE("a VM that was told to have left is known to be away until then, even if nobody saw it here", "[returns]") {
  MeterFixture f;
  f.empty_from(0);
  f.at(10);
  f.inventory(Inventory::kKnownOnly);
  f.bare_event(15, 1, VmEventKind::kDeparted, "migrated");
  f.at(20);
  f.inventory(Inventory::kComplete);
  f.vm(1).began_s = 12;
  f.vm(1).cpu_us = 700;
  f.at(30);
  f.vm(1).cpu_us = 720;
  f.at(40);
  f.close();
  CHECK(f.usage({kVmHours, kCpu}) ==
        "1 00:00 covered 10000 gap 0 [baseline,owner_unknown,partial] vm-hours=10000 cpu-time=20\n");
}

TEST_CASE("a definition left behind that is off was not running here until then", "[returns]") {
  MeterFixture f;
  run_one(f);
  f.event(5, 1, VmEventKind::kDeparted, "migrated");
  f.vm(1).levels.power = Power::kOff;
  f.at(10);
  f.inventory(Inventory::kKnownOnly);
  f.at(20);
  f.inventory(Inventory::kComplete);
  f.vm(1).levels.power = Power::kRunning;
  f.vm(1).run = 2;
  f.vm(1).began_s = 15;  // On its way in, it waited for its VM.
  f.vm(1).cpu_us = 90;
  f.at(30);
  f.vm(1).cpu_us = 95;
  f.at(40);
  f.close();
  CHECK(f.total(kVmHours) == 5000 + 10'000);
  CHECK(f.total(kCpu) == 5);
}

TEST_CASE("a definition left behind before the first sample counts its run from zero once it was seen off",
          "[returns]") {
  MeterFixture f;
  f.bare_event(3, 1, VmEventKind::kDeparted, "migrated");
  f.vm(1).levels.power = Power::kOff;
  f.at(5);
  f.at(15);
  f.vm(1).levels.power = Power::kRunning;
  f.vm(1).cpu_us = 40;
  f.event(18, 1, VmEventKind::kStarted, "booted");
  f.at(20);
  f.close();
  CHECK(f.usage({kVmHours, kCpu}) == "1 00:00 covered 2000 gap 0 [owner_unknown,partial] vm-hours=2000 cpu-time=40\n");
}

TEST_CASE("a departure that is told twice loses nothing of a process that stays", "[returns]") {
  MeterFixture f;
  run_one(f);
  f.vm(1).cpu_us = 5'000'000;
  f.at(10);
  f.event(12, 1, VmEventKind::kDeparted, "migrated");
  f.event(13, 1, VmEventKind::kDeparted, "migrated");
  f.event(14, 1, VmEventKind::kArrived, "migration cancelled");
  f.vm(1).cpu_us = 5'600'000;
  f.at(20);
  f.close();
  CHECK(f.total(kCpu) == 5'600'000);
  CHECK(f.total(kVmHours) == 18'000);
}

TEST_CASE("a listing from just before a departure brings nobody back", "[returns]") {
  MeterFixture f;
  run_one(f);
  f.event(15, 1, VmEventKind::kDeparted, "deleted");
  f.at(20);
  f.remove(1);
  f.at(30);
  f.at(40);
  f.close();
  CHECK(f.total(kVmHours) == 15'000);
  CHECK(lines(f.events("\"event\":\"arrived\"")) == 1);
  CHECK(lines(f.events("\"event\":\"departed\"")) == 1);
}

TEST_CASE("a VM that is off and goes without an event has lost no use", "[returns]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1).levels.power = Power::kOff;
  f.at(0);
  f.at(10);
  f.remove(1);
  f.at(20);
  f.at(30);
  f.close();
  CHECK(f.usage({kVmHours}) == "1 00:00 covered 10000 gap 0 [owner_unknown,partial] vm-hours=10000\n");
}

// --- Returns --------------------------------------------------------------------------------------------------------

TEST_CASE("a process that leaves again before it was read goes on when it comes back, also over a restart of the agent",
          "[returns]") {
  MeterFixture f;
  run_one(f);
  f.vm(1).cpu_us = 5'000'000;
  f.at(10);
  f.event(12, 1, VmEventKind::kDeparted, "migrated");
  f.event(14, 1, VmEventKind::kArrived, "migration cancelled");
  f.event(16, 1, VmEventKind::kDeparted, "migrated");
  const MeterFixture::Vm here = f.vm(1);
  f.remove(1);
  f.at(20);
  f.restart_agent();
  f.at(22);
  f.vm(1) = here;
  f.vm(1).cpu_us = 5'600'000;
  f.event(25, 1, VmEventKind::kArrived, "migration cancelled");
  f.at(30);
  f.close();
  CHECK(f.total(kVmHours) == 12'000 + 2'000 + 5'000);
  CHECK(f.total(kCpu) == 5'600'000);
}

TEST_CASE("a VM whose process began in the very instant of the last list without it counts from there", "[returns]") {
  MeterFixture f;
  f.empty_from(0);
  f.at(10);
  f.vm(1).began_s = 10;
  f.vm(1).cpu_us = 60;
  f.at(20);
  f.at(30);
  f.close();
  CHECK(f.total(kVmHours) == 20'000);
  CHECK(f.total(kCpu) == 60);
}

TEST_CASE("a VM that returns counts from zero even where no source tells when its run began", "[returns]") {
  for (const bool reboot : {false, true}) {
    MeterFixture f;
    run_one(f);
    f.event(10, 1, VmEventKind::kDeparted, "deleted");
    f.remove(1);
    f.at(10);
    f.at(3630);
    CHECK(f.meter().vms().empty());
    if (reboot) f.reboot_host(3632);
    f.vm(1).run = 2;
    f.vm(1).cpu_us = 33;
    f.event(3635, 1, VmEventKind::kArrived, "created");
    f.at(3640);
    f.close();
    CHECK(f.total(kCpu) == 33);
  }
}

TEST_CASE("a VM that was overlooked for long counts from zero in another run only", "[returns]") {
  for (const std::uint64_t run : {1u, 2u}) {
    MeterFixture f;
    run_one(f);
    f.vm(1).began_s.reset();
    f.vm(1).cpu_us = 500;
    f.at(10);
    const MeterFixture::Vm here = f.vm(1);
    f.remove(1);
    f.at(20);
    f.at(30);  // Ended at second 10.
    f.vm(1) = here;
    f.vm(1).run = run;
    f.vm(1).cpu_us = 800;
    f.at(40);
    f.close();
    CHECK(f.total(kCpu) == (run == 1 ? 800 : 500 + 800));
  }
}

TEST_CASE("a VM that stops and starts between two samples counts from zero even where no source tells its start",
          "[returns]") {
  MeterFixture f;
  run_one(f);
  f.vm(1).cpu_us = 9;
  f.at(10);
  f.vm(1).run = 2;
  f.vm(1).began_s.reset();
  f.vm(1).cpu_us = 20;
  f.event(14, 1, VmEventKind::kStopped, "shutdown");
  f.event(16, 1, VmEventKind::kStarted, "booted");
  f.at(20);
  f.close();
  CHECK(f.usage({kCpu}) == "1 00:00 covered 20000 gap 0 [owner_unknown,partial,usage_lost] cpu-time=29\n");
}

TEST_CASE("what a VM used is spread from its arrival, also if its process waited, and after a reboot", "[returns]") {
  for (const bool reboot : {false, true}) {
    MeterFixture f;
    run_one(f);
    f.event(5, 1, VmEventKind::kDeparted, "deleted");
    f.remove(1);
    f.at(10);
    if (reboot) f.reboot_host(2900);
    f.at(3000);
    f.vm(1).run = 2;
    f.vm(1).began_s = 3100;
    f.vm(1).cpu_us = 3000;
    f.event(3580, 1, VmEventKind::kArrived, "migrated");
    f.at(3620);
    f.close();
    CHECK(f.usage({kCpu}) ==
          "1 00:00 covered 25000 gap 0 [owner_unknown,usage_lost] cpu-time=1500\n"
          "1 01:00 covered 20000 gap 0 [owner_unknown,partial] cpu-time=1500\n");
  }
}

TEST_CASE("a VM that left before a reboot counts from its new process's start, and nothing of the old one",
          "[returns]") {
  MeterFixture f;
  run_one(f);
  f.event(5, 1, VmEventKind::kDeparted, "deleted");
  f.remove(1);
  f.at(10);
  f.reboot_host(400);
  f.vm(1).run = 2;
  f.vm(1).began_s = 450;
  f.vm(1).cpu_us = 12;
  f.at(500);
  f.close();
  CHECK(f.usage({kVmHours, kCpu}) ==
        "1 00:00 covered 55000 gap 0 [estimated,owner_unknown,partial,usage_lost] vm-hours=55000 cpu-time=12\n");
}

TEST_CASE("a VM that migrated out before a reboot and comes back after it has lost nothing more", "[returns]") {
  MeterFixture f;
  run_one(f);
  f.at(10);
  f.event(12, 1, VmEventKind::kDeparted, "migrated");
  f.remove(1);
  f.at(20);
  f.reboot_host(3500);
  f.at(3600);
  f.vm(1).run = 2;
  f.vm(1).began_s = 3603;
  f.event(3605, 1, VmEventKind::kArrived, "migrated");
  f.at(3610);
  f.close();
  CHECK(f.usage({kVmHours}) ==
        "1 00:00 covered 12000 gap 0 [owner_unknown,usage_lost] vm-hours=12000\n"
        "1 01:00 covered 5000 gap 0 [owner_unknown,partial] vm-hours=5000\n");
}

TEST_CASE("no difference is taken over a reboot, whatever name a run has", "[returns]") {
  for (const bool told_again : {false, true}) {
    MeterFixture f;
    run_one(f);
    f.vm(1).cpu_us = 500;
    f.at(10);
    f.event(12, 1, VmEventKind::kDeparted, "migrated");
    f.remove(1);
    f.at(20);
    f.reboot_host(30);
    if (told_again) f.bare_event(40, 1, VmEventKind::kDeparted, "migrated");
    f.at(50);
    f.vm(1).began_s = 60;
    f.vm(1).cpu_us = 520;
    f.event(60, 1, VmEventKind::kArrived, "migrated");
    f.at(70);
    f.close();
    CHECK(f.total(kCpu) == 500 + 520);
  }
}

TEST_CASE("a VM that ended unlisted and is created again is watched from its arrival", "[returns]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1).levels.power = Power::kOff;
  f.at(0);
  f.remove(1);
  f.inventory(Inventory::kKnownOnly);
  f.break_events();
  f.at(10);
  f.inventory(Inventory::kComplete);
  f.at(20);
  f.vm(1).began_s = 25;
  f.event(25, 1, VmEventKind::kArrived, "created");
  f.at(30);
  f.at(40);
  f.close();
  CHECK(f.usage({kVmHours}) == "1 00:00 covered 15000 gap 0 [owner_unknown,partial] vm-hours=15000\n");
}

TEST_CASE("a disk that a listing missed after a migration that failed is not billed twice", "[returns]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1).began_s = 0;
  f.vm(1).disk_write_bytes = 0;
  f.at(0);
  f.vm(1).disk_write_bytes = 1000;
  f.at(10);
  f.event(12, 1, VmEventKind::kDeparted, "migrated");
  f.event(14, 1, VmEventKind::kArrived, "migration cancelled");
  f.vm(1).disk_write_bytes = 1500;
  f.at(20);
  f.vm(1).disk_write_bytes.reset();
  f.at(30);
  f.vm(1).disk_write_bytes = 1600;
  f.at(40);
  f.close();
  CHECK(f.total(kWrite) == 1500);
}

TEST_CASE("what happened before a store's first sample is not billed, whatever an event tells", "[returns]") {
  MeterFixture f;
  f.bare_event(3, 1, VmEventKind::kStopped, "shutdown");
  f.vm(1).began_s = -500;
  f.vm(1).cpu_us.reset();
  f.at(5);
  f.at(15);
  f.close();
  CHECK(f.total(kVmHours) == 10'000);
}

// --- What is written down -------------------------------------------------------------------------------------------

TEST_CASE("an event that comes too late is written down once", "[returns]") {
  for (const VmEventKind kind : {VmEventKind::kStopped, VmEventKind::kDeparted}) {
    MeterFixture f;
    run_one(f);
    f.at(10);
    f.event(5, 1, kind, "late");
    f.vm(1).levels.power = Power::kOff;
    if (kind == VmEventKind::kDeparted) f.remove(1);
    f.at(20);
    const std::string told = f.events("\"how\":\"late\"");
    CHECK(lines(told) == 1);
    CHECK(told.find("\"at\":\"2026-01-01T00:00:05.000Z\"") != std::string::npos);
    CHECK(told.find("\"effective\":\"2026-01-01T00:00:10.000Z\"") != std::string::npos);
  }
}

TEST_CASE("a start of a VM that was not here is an arrival, and an arrival is told once", "[returns]") {
  MeterFixture f;
  run_one(f);
  f.event(5, 1, VmEventKind::kDeparted, "migrated");
  f.vm(1).levels.power = Power::kOff;
  f.at(10);
  f.vm(1).levels.power = Power::kRunning;
  f.vm(1).run = 2;
  f.event(25, 1, VmEventKind::kStarted, "booted");
  f.vm(2);
  f.event(26, 2, VmEventKind::kArrived, "created");
  f.at(30);
  CHECK(f.events("\"event\":\"arrived\",\"how\":\"booted\"").find("00:00:25.000Z") != std::string::npos);
  CHECK(lines(f.events("\"event\":\"started\",\"how\":\"booted\"")) == 1);
  CHECK(lines(f.events("\"how\":\"created\"")) == 1);
}

TEST_CASE("a resize that only a reading shows is told with the level that it shows", "[returns]") {
  MeterFixture f;
  run_one(f);
  f.vm(1).levels.vcores = 4;
  f.at(10);
  const Entry& entry = f.entries().back();
  CHECK(entry.detail.find("\"event\":\"resized\",\"how\":\"found\",\"at\":\"2026-01-01T00:00:10.000Z\"") !=
        std::string::npos);
  CHECK(entry.vcores == 4);
}

TEST_CASE("a VM that is found carries its owner and its name from the start", "[returns]") {
  MeterFixture f;
  f.empty_from(0);
  f.at(0);
  f.vm(1).name = "web";
  f.vm(1).owner.known = true;
  f.vm(1).owner.subscription = vm_id(8);
  f.at(10);
  const Entry& entry = f.entries().back();
  CHECK(entry.detail.find(
            "\"event\":\"arrived\",\"how\":\"found\",\"at\":\"2026-01-01T00:00:10.000Z\",\"name\":\"web\"") !=
        std::string::npos);
  CHECK(entry.subscription == vm_id(8));
  CHECK(f.events("owner-changed") == "");
}

TEST_CASE("live rates are over the time since the previous reading, whatever happened in between", "[returns]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1).began_s = 0;
  f.vm(2).began_s = 0;
  f.at(0);
  f.event(5, 1, VmEventKind::kRebooted);
  f.event(5, 2, VmEventKind::kRebooted);
  f.at(10);
  for (const auto& [id, vm] : f.meter().vms()) CHECK(vm.rates.span_ms == 10'000);
}

TEST_CASE("an hour that holds nothing but a gap carries the cores that its VM had", "[returns]") {
  MeterFixture f;
  run_one(f);
  f.at(3000);
  f.reboot_host(7500);
  f.vm(1).levels.power = Power::kOff;
  f.at(7800);
  f.close();
  std::vector<std::uint32_t> cores;
  for (const Entry& entry : f.entries()) {
    if (entry.kind == EntryKind::kUsage) cores.push_back(entry.vcores);
  }
  CHECK(cores == std::vector<std::uint32_t>{2, 2, 2});
}

TEST_CASE("an event carries its VM's tenant, and on a simulated node its own marks, too", "[returns]") {
  MeterOptions options;
  options.simulated = true;
  MeterFixture f(options);
  f.empty_from(0);
  f.vm(1).owner.known = true;
  f.vm(1).owner.tenant = vm_id(7);
  f.at(0);
  f.at(10);
  f.event(5, 1, VmEventKind::kStopped, "late");
  f.vm(1).levels.power = Power::kOff;
  f.at(20);
  const auto late =
      std::ranges::find_if(f.entries(), [](const Entry& e) { return e.detail.find("late") != std::string::npos; });
  REQUIRE(late != f.entries().end());
  CHECK(late->tenant == vm_id(7));
  CHECK(late->status == (status_bit::kLoweringEventLate | status_bit::kSimulated));
}

TEST_CASE("a row that was given out is not given out again, and holds no row before it", "[returns]") {
  MeterFixture f;
  run_one(f);
  f.vm(2).began_s = 0;
  f.event(10, 1, VmEventKind::kDeparted, "deleted");
  f.remove(1);
  f.at(10);
  f.at(3630);
  const std::string gone = f.rows().at(gone_row_key(vm_id(1)));
  CHECK(decode_vm_state(gone));
  CHECK(f.meter().take_changed_rows().empty());
  f.at(3640);
  for (const auto& [key, row] : f.last_rows()) CHECK(key.find(vm_id(1).text()) == std::string::npos);
  CHECK(f.rows().at(gone_row_key(vm_id(1))) == gone);
  f.vm(2).name = "renamed";
  f.at(3650);
  REQUIRE(f.meter().vms().at(vm_id(2)).row);
  CHECK_FALSE(f.meter().vms().at(vm_id(2)).row->row);
}

TEST_CASE("an hour that ended under another owner keeps it over a restart of the agent", "[returns]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1).began_s = 0;
  f.vm(1).owner.known = true;
  f.vm(1).owner.subscription = vm_id(8);
  f.vm(1).owner.tags["team"] = "a";
  f.at(0);
  f.at(3600);
  f.vm(1).owner.subscription = vm_id(9);
  f.at(3610);
  f.restart_agent();
  f.at(3640);
  f.close();
  std::vector<Uuid> owners;
  for (const Entry& entry : f.entries()) {
    if (entry.kind == EntryKind::kUsage) owners.push_back(entry.subscription);
  }
  CHECK(owners == std::vector<Uuid>{vm_id(8), vm_id(9)});
}

TEST_CASE("letters and digits of a resource's name stay as they are, from the first to the last", "[returns]") {
  Owner owner;
  owner.known = true;
  owner.resource_group = "azAZ09";
  CHECK(resource_uri(vm_id(1), owner).find("/resourceGroups/azAZ09/") != std::string::npos);
}

// --- The clock ------------------------------------------------------------------------------------------------------

TEST_CASE("a clock that was followed names the end of what was seen, for a gap across a reboot", "[returns]") {
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

TEST_CASE("a clock that moves after a reboot renames nothing from before it", "[returns]") {
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

TEST_CASE("a step of the clock marks the hours of VMs that are here, and of no others", "[returns]") {
  MeterFixture f;
  run_one(f);
  f.event(5, 1, VmEventKind::kDeparted, "deleted");
  f.remove(1);
  f.vm(2).began_s = 0;
  f.at(10);
  f.step_clock(60);
  f.at(20);
  f.close();
  CHECK(f.marks(1) == "owner_unknown,partial,usage_lost");
  CHECK(f.marks(2).find("clock_stepped") != std::string::npos);
  CHECK(lines(f.usage()) == 2);
}
