// Goal: what is known of a VM's earlier stays, runs and boots is used for the next one exactly as far as it proves
// something. Method: hand-written samples; each case is one that nothing but its own rule tells apart.

#include <catch2/catch.hpp>

#include "tests/agent/meter_fixture.h"

using namespace nodemeter;

// --- Departures ------------------------------------------------------------------------------------------------------

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

TEST_CASE("a definition left behind that went without an event is not the one that is listed later", "[returns]") {
  MeterFixture f;
  run_one(f);
  f.event(5, 1, VmEventKind::kDeparted, "migrated");
  f.vm(1).levels.power = Power::kOff;
  const MeterFixture::Vm off = f.vm(1);
  f.at(10);
  f.remove(1);
  f.at(20);
  f.vm(1) = off;
  f.at(30);
  f.at(40);
  f.close();
  CHECK(f.total(kVmHours) == 5000 + 10'000);
}

TEST_CASE("a definition left behind that started here stays allocated when it is off again", "[returns]") {
  MeterFixture f;
  run_one(f);
  f.event(5, 1, VmEventKind::kDeparted, "migrated");
  f.vm(1).levels.power = Power::kOff;
  f.at(10);
  f.vm(1).levels.power = Power::kRunning;
  f.vm(1).run = 2;
  f.vm(1).began_s = 15;
  f.event(15, 1, VmEventKind::kStarted, "booted");
  f.at(20);
  f.vm(1).levels.power = Power::kOff;
  f.event(25, 1, VmEventKind::kStopped, "shutdown");
  f.at(30);
  f.at(40);
  f.close();
  CHECK(f.total(kVmHours) == 5000 + 25'000);
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

// --- Returns ---------------------------------------------------------------------------------------------------------

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
  for (const std::string away : {"not listed", "told again", "listed off"}) {
    MeterFixture f;
    run_one(f);
    f.vm(1).cpu_us = 500;
    f.at(10);
    f.event(12, 1, VmEventKind::kDeparted, "migrated");
    f.vm(1).levels.power = Power::kOff;
    if (away != "listed off") f.remove(1);
    f.at(20);
    f.reboot_host(30);
    if (away == "told again") f.bare_event(40, 1, VmEventKind::kDeparted, "migrated");
    f.at(50);
    f.vm(1).levels.power = Power::kRunning;
    f.vm(1).began_s = 60;
    f.vm(1).cpu_us = 520;
    f.event(60, 1, VmEventKind::kArrived, "migrated");
    f.at(70);
    f.close();
    INFO(away);
    CHECK(f.total(kCpu) == 500 + 520);
  }
}

TEST_CASE("the notices of a restart come late and the agent crashes among them: nothing is counted twice or lost",
          "[returns]") {
  const std::string gone = GENERATE(as<std::string>{}, "stopped", "deleted", "stopped and deleted", "hour closed");
  const bool told = GENERATE(true, false);  // Of the new process's start, before its next reading.
  const bool crash = GENERATE(true, false);
  MeterFixture f;
  run_one(f);
  f.vm(1).cpu_us = 5'000;
  f.at(10);
  f.vm(1).run = 2;
  f.vm(1).began_s = 12;
  f.vm(1).cpu_us = 300;
  f.at(20);
  const MeterFixture::Vm running = f.vm(1);
  if (gone != "deleted") f.event(21, 1, VmEventKind::kStopped, "destroyed");
  if (gone != "stopped") f.event(21, 1, VmEventKind::kDeparted, "deleted");
  f.vm(1).levels.power = Power::kOff;
  if (gone != "stopped") f.remove(1);
  f.at(22);
  std::int64_t s = 23;
  if (gone == "hour closed") {
    f.at(3630);
    CHECK(f.meter().vms().empty());
    s = 3635;
  }
  if (crash) f.restart_agent();
  f.vm(1) = running;
  f.vm(1).cpu_us = 1'000;
  if (told) f.event(s, 1, gone == "stopped" ? VmEventKind::kStarted : VmEventKind::kArrived, "booted");
  f.at(s + 7);
  f.vm(1).cpu_us = 1'100;
  f.at(s + 17);
  f.close();
  INFO(gone << (told ? ", told" : "") << (crash ? ", crash" : ""));
  CHECK(f.total(kCpu) == 5'000 + 1'100);
}

TEST_CASE("an arrival whose process was not read before the agent crashed counts from its start", "[returns]") {
  for (const bool listed : {true, false}) {
    MeterFixture f;
    f.empty_from(0);
    f.at(0);
    f.vm(1).began_s = 3;  // On its way in, it waited for its VM.
    f.vm(1).run_known = false;
    f.event(4, 1, VmEventKind::kArrived, "migrated");
    const MeterFixture::Vm here = f.vm(1);
    if (!listed) f.remove(1);
    f.at(10);
    f.restart_agent();
    f.vm(1) = here;
    f.vm(1).run_known = true;
    f.vm(1).cpu_us = 900;
    f.at(20);
    f.close();
    CHECK(f.total(kCpu) == 900);
    CHECK(f.total(kVmHours) == 16'000);
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
