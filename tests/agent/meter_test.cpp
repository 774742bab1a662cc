// Goal: what is counted, what is a gap and what is marked, for the ordinary orders of events on a node.
// Method: hand-written samples; the records that come out are compared whole, as text, so that a change of meaning
// shows as a change of words. Every row of agent/METERING.md names its test here.

#include <catch2/catch.hpp>

#include "agent/meter_time.h"
#include "tests/agent/meter_fixture.h"

using namespace nodemeter;

TEST_CASE("a VM that is there all hour is billed for every millisecond of it", "[meter]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1);
  watch(f, 0, 3600);
  f.at(3630);
  CHECK(f.usage({kVcores, MeterIndex::kVmHours, kMemory, MeterIndex::kDiskAllocatedHours}) ==
        "1 00:00 covered 3600000 gap 0 [owner_unknown] base-vm-hours=7200000 vm-hours=3600000 "
        "memory-hours=3686400000 disk-allocated-hours=36000000\n");
}

TEST_CASE("an hour stays open until the close grace is over", "[meter]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1);
  watch(f, 0, 3600);
  f.at(3629);
  CHECK(f.usage() == "");
  f.at(3630);
  CHECK(f.usage() == "1 00:00 covered 3600000 gap 0 [owner_unknown] base-vm-hours=7200000\n");
}

TEST_CASE("arrival and departure count to the millisecond of their events", "[meter]") {
  MeterFixture f;
  f.empty_from(0);
  f.at(0);
  f.vm(1);
  f.event(7, 1, VmEventKind::kArrived, "created");
  f.at(10);
  f.event(13, 1, VmEventKind::kDeparted, "deleted");
  f.remove(1);
  f.at(20);
  f.close();
  CHECK(f.total(kVcores) == 2 * 6000);
  CHECK(f.total(MeterIndex::kVmHours) == 6000);
}

TEST_CASE("a VM that came and went between two samples is billed from its events", "[meter]") {
  MeterFixture f;
  f.empty_from(0);
  f.at(0);
  f.vm(1);
  f.event(3, 1, VmEventKind::kArrived, "created");
  f.event(8, 1, VmEventKind::kDeparted, "deleted");
  f.remove(1);
  f.at(10);
  f.close();
  CHECK(f.total(kVcores) == 2 * 5000);
}

TEST_CASE("a stopped VM stays allocated and uses no memory", "[meter]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1);
  f.at(0);
  f.vm(1).levels.power = Power::kOff;
  f.event(600, 1, VmEventKind::kStopped, "shutdown");
  watch(f, 600, 3600);
  f.at(3630);
  CHECK(f.usage({kVcores, kMemory}) ==
        "1 00:00 covered 3600000 gap 0 [owner_unknown,usage_lost] base-vm-hours=7200000 memory-hours=614400000\n");
}

TEST_CASE("with count_stopped off only powered-on time is allocated", "[meter]") {
  MeterFixture f(only_powered_on());
  f.empty_from(0);
  f.vm(1);
  f.at(0);
  f.vm(1).levels.power = Power::kOff;
  f.event(600, 1, VmEventKind::kStopped, "shutdown");
  watch(f, 600, 3600);
  f.at(3630);
  CHECK(f.total(MeterIndex::kVmHours) == 600'000);
}

TEST_CASE("a paused VM keeps its memory and its cores", "[meter]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1);
  f.at(0);
  f.vm(1).levels.power = Power::kPaused;
  f.event(600, 1, VmEventKind::kPaused);
  watch(f, 600, 3600);
  f.close();
  CHECK(f.total(kVcores) == 7'200'000);
  CHECK(f.total(kMemory) == 3'686'400'000);
}

TEST_CASE("a resize counts from its event", "[meter]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1);
  f.at(0);
  f.vm(1).levels.vcores = 4;
  f.event(5, 1, VmEventKind::kResized);
  f.at(10);
  f.close();
  CHECK(f.total(kVcores) == 2 * 5000 + 4 * 5000);
}

TEST_CASE("a resize that only a reading shows counts from that reading", "[meter]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1);
  f.at(0);
  f.vm(1).levels.vcores = 4;
  f.at(10);
  f.at(20);
  f.close();
  CHECK(f.total(kVcores) == 2 * 10'000 + 4 * 10'000);
}

TEST_CASE("counter use is the difference of two readings of one run", "[meter]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1).began_s = 0;
  f.vm(1).disk_write_bytes = 0;
  f.at(0);
  f.vm(1).cpu_us = 5'000'000;
  f.vm(1).disk_write_bytes = 4096;
  f.at(10);
  f.close();
  CHECK(f.total(kCpu) == 5'000'000);
  CHECK(f.total(kWrite) == 4096);
}

TEST_CASE("the first sample after install bills nothing that was used before it", "[meter]") {
  MeterFixture f;
  f.vm(1).began_s = -500;
  f.vm(1).cpu_us = 77'000'000;
  f.at(5);
  f.vm(1).cpu_us = 78'000'000;
  f.at(15);
  f.close();
  CHECK(f.total(kCpu) == 1'000'000);
  CHECK(f.total(kVcores) == 2 * 10'000);
  CHECK(f.usage() == "1 00:00 covered 10000 gap 0 [baseline,owner_unknown,partial] base-vm-hours=20000\n");
}

TEST_CASE("a run that began after the last sample counts from zero", "[meter]") {
  MeterFixture f;
  f.empty_from(0);
  f.at(0);
  f.vm(1).began_s = 4;
  f.vm(1).cpu_us = 3'000'000;
  f.event(4, 1, VmEventKind::kArrived, "created");
  f.at(10);
  f.close();
  CHECK(f.total(kCpu) == 3'000'000);
}

TEST_CASE("a VM that restarted between two samples is billed for what is certain, and marked", "[meter]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1).began_s = 0;
  f.at(0);
  f.vm(1).cpu_us = 9'000'000;
  f.at(10);
  f.vm(1) = {};
  f.vm(1).run = 2;
  f.vm(1).began_s = 16;
  f.vm(1).cpu_us = 2'000'000;
  f.event(14, 1, VmEventKind::kStopped, "shutdown");
  f.event(16, 1, VmEventKind::kStarted, "booted");
  f.at(20);
  f.close();
  CHECK(f.total(kCpu) == 11'000'000);
  CHECK(f.usage() == "1 00:00 covered 20000 gap 0 [owner_unknown,partial,usage_lost] base-vm-hours=40000\n");
}

TEST_CASE("a new run without a proven start is a baseline", "[meter]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1).began_s = 0;
  f.at(0);
  f.vm(1).run = 2;
  f.vm(1).began_s.reset();
  f.vm(1).cpu_us = 50'000'000;
  f.at(10);
  f.vm(1).cpu_us = 51'000'000;
  f.at(20);
  f.close();
  CHECK(f.total(kCpu) == 1'000'000);
  CHECK(f.usage().find("run_changed,baseline") != std::string::npos);
}

TEST_CASE("a counter that falls within its run is a new baseline, never negative", "[meter]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1).began_s = 0;
  f.vm(1).cpu_us = 0;
  f.at(0);
  f.vm(1).cpu_us = 8'000'000;
  f.at(10);
  f.vm(1).cpu_us = 1'000'000;
  f.at(20);
  f.vm(1).cpu_us = 1'500'000;
  f.at(30);
  f.close();
  CHECK(f.total(kCpu) == 8'500'000);
  CHECK(f.usage().find("counter_fell") != std::string::npos);
}

TEST_CASE("a counter that cannot be read is marked and caught up with later", "[meter]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1).began_s = 0;
  f.vm(1).disk_write_bytes = 0;
  f.at(0);
  f.vm(1).disk_busy = true;
  f.vm(1).disk_write_bytes = 1000;
  f.at(10);
  f.vm(1).disk_busy = false;
  f.vm(1).disk_write_bytes = 3000;
  f.at(20);
  f.close();
  CHECK(f.total(kWrite) == 3000);
  CHECK(f.usage() == "1 00:00 covered 20000 gap 0 [counter_missing,owner_unknown,partial] base-vm-hours=40000\n");
}

TEST_CASE("a disk first readable late counts from the start of its proven run", "[meter]") {
  MeterFixture f;
  f.empty_from(0);
  f.at(0);
  f.vm(1).began_s = 5;
  f.vm(1).disk_write_bytes = 500;
  f.vm(1).disk_busy = true;
  f.event(5, 1, VmEventKind::kArrived, "created");
  f.at(10);
  f.vm(1).disk_busy = false;
  f.vm(1).disk_write_bytes = 900;
  f.at(20);
  f.close();
  CHECK(f.total(kWrite) == 900);
}

TEST_CASE("a difference that spans an hour edge is split by time, and nothing of it is lost", "[meter]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1).began_s = 0;
  f.vm(1).cpu_us = 0;
  f.at(3590);
  f.vm(1).cpu_us = 1'000'003;
  f.at(3620);
  f.at(3700);
  f.close();
  // From second 0 (the run's proven start) to 3590 nothing; 30 s hold the difference, 10 of them in the first hour.
  CHECK(f.usage({kCpu}).find("1 00:00 covered") == 0);
  CHECK(f.total(kCpu) == 1'000'003);
  CHECK(f.usage({kCpu}).find("cpu-time=333334\n") != std::string::npos);
}

TEST_CASE("a reading exactly on the edge belongs to the hour before it", "[meter]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1).began_s = 0;
  watch(f, 0, 3000);
  f.vm(1).cpu_us = 600;
  f.at(3600);
  f.at(3630);
  CHECK(f.usage({kCpu}) == "1 00:00 covered 3600000 gap 0 [owner_unknown] cpu-time=600\n");
}

TEST_CASE("a 32-bit counter that wraps is accepted below the rate limit only", "[meter]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1).began_s = 0;
  f.vm(1).width = 32;
  f.vm(1).disk_write_bytes = 0;
  f.vm(1).disk_operations = 0;
  f.at(0);
  f.vm(1).disk_operations = 4'294'967'290;
  f.at(3000);
  f.vm(1).disk_operations = 4;
  f.at(3010);
  f.vm(1).disk_operations = 3;  // Would be 2^32 - 1 operations in ten seconds.
  f.at(3020);
  f.close();
  CHECK(f.total(MeterIndex::kDiskWriteOperations) == 4'294'967'300);
  CHECK(f.usage().find("wrapped") != std::string::npos);
  CHECK(f.usage().find("counter_fell") != std::string::npos);
}

TEST_CASE("agent down: a VM of one run is billed across the gap, marked estimated", "[meter]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1).began_s = 0;
  f.at(0);
  f.vm(1).cpu_us = 1'000'000;
  f.at(10);
  f.restart_agent();
  f.vm(1).cpu_us = 31'000'000;
  f.at(310);
  f.close();
  CHECK(f.total(kVcores) == 2 * 310'000);
  CHECK(f.total(kCpu) == 31'000'000);
  CHECK(f.usage() == "1 00:00 covered 310000 gap 0 [estimated,owner_unknown,partial] base-vm-hours=620000\n");
  CHECK(f.events("agent down") ==
        "{\"cause\":\"agent "
        "down\",\"from\":\"2026-01-01T00:00:10.000Z\",\"to\":\"2026-01-01T00:05:10.000Z\",\"ms\":300000}\n");
}

TEST_CASE("agent down: the smaller of both sides counts", "[meter]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1).began_s = 0;
  f.at(0);
  f.restart_agent();
  f.vm(1).levels.vcores = 8;
  f.vm(1).levels.memory_mib = 512;
  f.at(100);
  f.close();
  CHECK(f.total(kVcores) == 2 * 100'000);
  CHECK(f.total(kMemory) == 512 * 100'000);
}

TEST_CASE("agent down: a VM that is gone afterwards ends at its last proof", "[meter]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1);
  f.at(0);
  f.at(10);
  f.restart_agent();
  f.remove(1);
  f.at(300);
  f.close();
  CHECK(f.total(kVcores) == 2 * 10'000);
  CHECK(f.events("found missing").find("00:00:10.000Z") != std::string::npos);
}

TEST_CASE("agent down: a VM that came meanwhile counts from the proven start of its process", "[meter]") {
  MeterFixture f;
  f.empty_from(0);
  f.at(0);
  f.restart_agent();
  f.vm(1).began_s = 200;
  f.vm(1).cpu_us = 1234;
  f.at(300);
  f.close();
  CHECK(f.total(kVcores) == 2 * 100'000);
  CHECK(f.total(kCpu) == 1234);
}

TEST_CASE("agent down: a VM restarted meanwhile keeps its allocation, its memory only while proven on", "[meter]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1).began_s = 0;
  f.at(0);
  f.restart_agent();
  f.vm(1).run = 2;
  f.vm(1).began_s = 60;
  f.vm(1).cpu_us = 500;
  f.at(100);
  f.close();
  CHECK(f.total(kVcores) == 2 * 100'000);
  CHECK(f.total(kMemory) == 1024 * 40'000);
  CHECK(f.total(kCpu) == 500);
}

TEST_CASE("agent down: a VM that is off on both sides stays allocated", "[meter]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1).levels.power = Power::kOff;
  f.at(0);
  f.restart_agent();
  f.at(100);
  f.close();
  CHECK(f.total(MeterIndex::kVmHours) == 100'000);
  CHECK(f.usage().find("estimated") != std::string::npos);
}

TEST_CASE("host down: time across a reboot is a gap up to the proven start of the new run", "[meter]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1).began_s = 0;
  f.at(0);
  f.vm(1).cpu_us = 5;
  f.at(100);
  f.reboot_host(400);
  f.vm(1).run = 2;
  f.vm(1).began_s = 450;
  f.vm(1).cpu_us = 40;
  f.at(500);
  f.close();
  CHECK(f.usage({kVcores, kCpu}) ==
        "1 00:00 covered 150000 gap 350000 [estimated,gap,owner_unknown,partial,usage_lost,across_boots] "
        "base-vm-hours=300000 cpu-time=45\n");
}

TEST_CASE("source failed: the time is bridged like any gap, under its own cause", "[meter]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1).began_s = 0;
  f.at(0);
  f.source_failed();
  f.at(60);
  f.close();
  CHECK(f.total(kVcores) == 2 * 60'000);
  CHECK(f.events("source failed") != "");
}

TEST_CASE("while only known VMs can be listed, an unlisted one is neither billed nor ended", "[meter]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1).levels.power = Power::kOff;
  f.vm(2).began_s = 0;
  f.at(0);
  f.inventory(Inventory::kKnownOnly);
  const MeterFixture::Vm off = f.vm(1);
  f.remove(1);
  f.at(10);
  f.inventory(Inventory::kComplete);
  f.vm(1) = off;
  f.at(20);
  f.close();
  CHECK(f.total(MeterIndex::kVmHours, 1) == 20'000);
  CHECK(f.total(MeterIndex::kVmHours, 2) == 20'000);
}

TEST_CASE("migration out ends at its instant, and the definition left behind does not count until it starts",
          "[meter]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1).began_s = 0;
  f.at(0);
  f.event(5, 1, VmEventKind::kDeparted, "migrated");
  f.vm(1).levels.power = Power::kOff;
  f.at(10);
  f.at(20);
  f.vm(1).levels.power = Power::kRunning;
  f.vm(1).run = 2;
  f.vm(1).began_s = 25;
  f.vm(1).cpu_us = 9;
  f.event(25, 1, VmEventKind::kStarted, "booted");
  f.at(30);
  f.close();
  CHECK(f.total(MeterIndex::kVmHours) == 5000 + 5000);
  CHECK(f.total(kCpu) == 9);
}

TEST_CASE("a VM that returns goes on with its registers", "[meter]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1);
  f.at(0);
  f.event(10, 1, VmEventKind::kDeparted, "migrated");
  f.remove(1);
  f.at(10);
  f.close();
  f.at(20);
  f.vm(1);
  f.event(30, 1, VmEventKind::kArrived, "migrated");
  f.at(40);
  f.close();
  REQUIRE(f.total(MeterIndex::kVmHours) == 20'000);
  CHECK(f.entries().back().meters.front().reading == 2 * 20'000);
}

TEST_CASE("the clock stepped forwards: no total changes, the time has new names", "[meter]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1);
  f.at(0);
  f.at(600);
  f.step_clock(7200);
  f.at(1200);
  f.at(1800);
  f.close();
  CHECK(f.total(MeterIndex::kVmHours) == 1'800'000);
  CHECK(f.usage().find("1 00:00 covered 1200000 gap 0 [clock_stepped") == 0);
  CHECK(f.usage().find("1 02:00 covered 600000 gap 0 [clock_stepped") != std::string::npos);
  CHECK(f.events("clock-stepped").find("\"by_ms\":7200000") != std::string::npos);
}

TEST_CASE("the clock stepped back into a closed hour: its time becomes a further, late record", "[meter]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1);
  watch(f, 0, 3600);
  f.at(3700);
  const std::string first = f.usage();
  f.step_clock(-1800);
  f.at(3800);
  f.at(3900);
  watch(f, 4500, 6900);
  f.close();
  CHECK(f.total(MeterIndex::kVmHours) == 6'900'000);
  CHECK(f.usage().find(first) == 0);
  CHECK(f.usage().find("late") != std::string::npos);
}

TEST_CASE("a small move of the clock is followed without an event", "[meter]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1);
  f.at(0);
  f.at(10);
  CHECK(f.events("clock-stepped") == "");
}

TEST_CASE("an unsynchronised clock is marked on the records it names", "[meter]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1);
  f.at(0);
  f.synchronised(false);
  f.at(10);
  f.close();
  CHECK(f.usage().find("clock_unsynchronised") != std::string::npos);
  CHECK(f.events("clock-unsynchronised") != "");
}

TEST_CASE("owner and licence of a record are those in force at the hour's end", "[meter]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1);
  watch(f, 0, 1200);
  Owner owner;
  owner.known = true;
  owner.subscription = vm_id(9);
  owner.windows_licence = true;
  f.vm(1).owner = owner;
  watch(f, 1800, 3600);
  f.vm(1).owner = Owner{};
  f.at(3630);
  CHECK(f.usage({MeterIndex::kBaseVmHours, MeterIndex::kWindowsVmHours}) ==
        "1 00:00 covered 3600000 gap 0 [] windows-vm-hours=7200000\n");
}

TEST_CASE("sampling late by a minute loses nothing while the event stream is unbroken", "[meter]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1);
  f.at(0);
  f.at(70);
  f.close();
  CHECK(f.usage() == "1 00:00 covered 70000 gap 0 [owner_unknown,partial] base-vm-hours=140000\n");
}

TEST_CASE("two samples in one instant count once", "[meter]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1).began_s = 0;
  f.at(0);
  f.vm(1).cpu_us = 100;
  f.at(10);
  f.at(10);
  f.close();
  CHECK(f.total(MeterIndex::kVmHours) == 10'000);
  CHECK(f.total(kCpu) == 100);
}
