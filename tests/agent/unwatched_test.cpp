// Goal: of time that nobody watched, exactly what is proven counts, and the rest is a gap.
// Method: hand-written samples, one case of agent/METERING.md each.

#include <catch2/catch.hpp>

#include "agent/meter_time.h"
#include "tests/agent/meter_fixture.h"

using namespace nodemeter;

// --- The agent was away ----------------------------------------------------------------------------------------------

TEST_CASE("one device whose run goes on shows that the process does", "[unwatched]") {
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

TEST_CASE("after a restart of the agent a new run without a proven start is a baseline, too", "[unwatched]") {
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
          "[unwatched]") {
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

TEST_CASE("an event right after an unwatched stretch shows the levels of its other side", "[unwatched]") {
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

TEST_CASE("an arrival right after an unwatched stretch is known, and so is the time after it", "[unwatched]") {
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

// --- The source or the host was away ---------------------------------------------------------------------------------

TEST_CASE("while only known VMs can be listed, a VM that is off is bridged when it is listed again", "[unwatched]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1).levels.power = Power::kOff;
  f.at(0);
  const MeterFixture::Vm off = f.vm(1);
  f.remove(1);
  f.inventory(Inventory::kKnownOnly);
  for (int s = 10; s <= 3630; s += 10) {
    f.break_events();
    f.at(s);
  }
  CHECK(f.usage() == "");
  f.inventory(Inventory::kComplete);
  f.vm(1) = off;
  f.break_events();
  f.at(3640);
  f.close();
  CHECK(f.usage({kVmHours}) ==
        "1 00:00 covered 3600000 gap 0 [estimated,owner_unknown,late] vm-hours=3600000\n"
        "1 01:00 covered 40000 gap 0 [estimated,owner_unknown,partial] vm-hours=40000\n");
}

TEST_CASE("an event right after an unwatched stretch settles it, and what follows is known", "[unwatched]") {
  MeterFixture f;
  run_one(f);
  f.restart_agent();
  f.vm(1).levels.power = Power::kPaused;
  f.event(60, 1, VmEventKind::kPaused, "");
  f.at(100);
  f.close();
  CHECK(f.total(kVmHours) == 100'000);
  CHECK(f.total(kMemory) == 1024 * 40'000);
  CHECK(f.marks() == "estimated,owner_unknown,partial");
}

TEST_CASE("a start right after an unwatched stretch proves that the VM was off before it", "[unwatched]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1).levels.power = Power::kOff;
  f.at(0);
  f.restart_agent();
  f.vm(1).levels.power = Power::kRunning;
  f.vm(1).began_s = 60;
  f.event(60, 1, VmEventKind::kStarted, "booted");
  f.at(100);
  f.close();
  CHECK(f.total(kVmHours) == 100'000);
  CHECK(f.total(kMemory) == 1024 * 40'000);
}

TEST_CASE("the smaller of two levels is the smaller of each, and off unless both are on", "[unwatched]") {
  const Levels big{Power::kRunning, 8, 4096, 100};
  const Levels small{Power::kPaused, 4, 1024, 50};
  CHECK(smaller(big, small) == small);
  CHECK(smaller(small, big) == Levels{Power::kRunning, 4, 1024, 50});
  const Levels off{Power::kOff, 8, 512, 100};
  CHECK(smaller(big, off) == off);
  CHECK(smaller(off, big) == off);
  const Levels no_disk{Power::kRunning, 8, 4096, std::nullopt};
  CHECK(smaller(big, no_disk) == no_disk);
  CHECK(smaller(no_disk, big) == no_disk);
}

TEST_CASE("after the event that settles an unwatched stretch, levels hold until what changes them", "[unwatched]") {
  MeterFixture f;
  run_one(f);
  f.restart_agent();
  f.event(60, 1, VmEventKind::kRebooted);
  f.vm(1).levels.vcores = 1;
  f.at(100);
  f.close();
  CHECK(f.total(kVcores) == 2 * 100'000);
}

TEST_CASE("use over an unwatched stretch is marked estimated in every hour that it falls into", "[unwatched]") {
  MeterFixture f;
  run_one(f);
  f.at(1800);
  f.vm(1).cpu_us.reset();
  f.at(3600);
  f.at(3630);
  f.restart_agent();
  f.vm(1).cpu_us = 1900;
  f.at(3700);
  f.at(7230);
  CHECK(f.usage({kCpu}) ==
        "1 00:00 covered 3600000 gap 0 [counter_missing,owner_unknown] cpu-time=0\n"
        "1 00:00 covered 0 gap 0 [estimated,owner_unknown,late] cpu-time=1800\n"
        "1 01:00 covered 3600000 gap 0 [estimated,counter_missing,owner_unknown] cpu-time=100\n");
}

TEST_CASE("a VM that an event settles is watched from there, even while it is not listed", "[unwatched]") {
  MeterFixture f;
  f.empty_from(0);
  f.at(0);
  f.inventory(Inventory::kKnownOnly);
  f.break_events();
  f.vm(1).began_s = 5;
  f.event(5, 1, VmEventKind::kArrived, "created");
  const MeterFixture::Vm here = f.vm(1);
  f.remove(1);
  f.at(10);
  f.inventory(Inventory::kComplete);
  f.vm(1) = here;
  f.at(20);
  f.close();
  CHECK(f.usage({kVmHours}) == "1 00:00 covered 15000 gap 0 [owner_unknown,partial] vm-hours=15000\n");
}

TEST_CASE("once a VM was listed again, its time is watched again", "[unwatched]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1).levels.power = Power::kOff;
  f.at(0);
  const MeterFixture::Vm off = f.vm(1);
  f.remove(1);
  f.inventory(Inventory::kKnownOnly);
  f.break_events();
  f.at(10);
  f.inventory(Inventory::kComplete);
  f.vm(1) = off;
  watch(f, 600, 7200);
  f.at(7230);
  CHECK(f.usage({kVmHours}) ==
        "1 00:00 covered 3600000 gap 0 [estimated,owner_unknown] vm-hours=3600000\n"
        "1 01:00 covered 3600000 gap 0 [owner_unknown] vm-hours=3600000\n");
}

TEST_CASE("a gap's hours carry the owner that its VM had, and keep their marks", "[unwatched]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1).began_s = 0;
  f.vm(1).cpu_us.reset();
  f.vm(1).owner.known = true;
  f.vm(1).owner.subscription = vm_id(8);
  f.at(10);
  f.vm(1).owner.subscription = vm_id(9);
  f.at(20);
  f.reboot_host(30);
  f.vm(1).levels.power = Power::kOff;
  f.at(40);
  f.close();
  CHECK(f.marks() == "estimated,gap,counter_missing,partial,usage_lost,across_boots");
  CHECK(f.entries().back().subscription == vm_id(9));
}

TEST_CASE("after a reboot a VM that was here counts its new run from zero, told or not", "[unwatched]") {
  MeterFixture f;
  run_one(f);
  f.at(100);
  f.reboot_host(400);
  f.vm(1).run = 2;
  f.vm(1).began_s.reset();
  f.vm(1).cpu_us = 70;
  f.at(500);
  f.close();
  CHECK(f.total(kCpu) == 70);
}

TEST_CASE("an estimated stretch since a new run's start is marked in its own hour, too", "[unwatched]") {
  MeterFixture f;
  run_one(f);
  f.restart_agent();
  f.vm(1).run = 2;
  f.vm(1).began_s = 3600;
  f.vm(1).cpu_us.reset();
  f.at(7200);
  f.at(7230);
  CHECK(f.usage({kVmHours}).find("1 01:00 covered 3600000 gap 0 [estimated,") != std::string::npos);
}

TEST_CASE("an event right after an unwatched stretch does not tell that the VM was on over it", "[unwatched]") {
  const auto memory_after = [](VmEventKind kind, std::string how) {
    MeterFixture f;
    run_one(f);
    f.restart_agent();
    f.event(60, 1, kind, std::move(how));
    f.remove(1);
    f.at(100);
    f.close();
    CHECK(f.total(kVmHours) == 60'000);
    return f.total(kMemory);
  };
  CHECK(memory_after(VmEventKind::kDeparted, "deleted") == 0);
  CHECK(memory_after(VmEventKind::kDeparted, "migrated") == 0);
  CHECK(memory_after(VmEventKind::kStopped, "shutdown") == 0);
}

TEST_CASE("an event of a VM that was not listed after an unwatched stretch is bridged, too", "[unwatched]") {
  MeterFixture f;
  run_one(f);
  const MeterFixture::Vm here = f.vm(1);
  f.remove(1);
  f.inventory(Inventory::kKnownOnly);
  f.break_events();
  f.at(0);  // It may have stopped in the same instant.
  f.inventory(Inventory::kComplete);
  f.vm(1).levels.power = Power::kOff;
  f.at(10);
  f.at(20);
  f.close();
  CHECK(f.total(kVmHours) == 20'000);
  CHECK(f.total(kMemory) == 0);
  CHECK(f.marks() == "estimated,owner_unknown,partial,usage_lost");
}

TEST_CASE("across unwatched time memory counts only if the same process or a proven start says that it was on",
          "[unwatched]") {
  const auto memory = [](bool same_run) {
    MeterFixture f;
    run_one(f);
    f.vm(1).began_s.reset();
    f.at(10);
    f.restart_agent();
    if (!same_run) f.vm(1).run = 2;
    f.at(110);
    f.at(120);
    f.close();
    CHECK(f.total(kVmHours) == 120'000);
    return f.total(kMemory) / 1024;
  };
  CHECK(memory(true) == 120'000);
  CHECK(memory(false) == 20'000);
}

TEST_CASE("a process that was read before was on throughout, whatever its start seems to be", "[unwatched]") {
  MeterFixture f;
  run_one(f);
  f.at(10);
  f.restart_agent();
  f.vm(1).began_s = 60;  // Its on-time began anew with a reset.
  f.at(110);
  f.close();
  CHECK(f.total(kMemory) / 1024 == 110'000);
}

TEST_CASE("a run that begins in the instant of the sample does not prove that the VM was on before it", "[unwatched]") {
  MeterFixture f;
  run_one(f);
  f.restart_agent();
  f.vm(1).run = 2;
  f.vm(1).began_s = 100;
  f.at(100);
  f.close();
  CHECK(f.total(kVmHours) == 100'000);
  CHECK(f.total(kMemory) == 0);
}

TEST_CASE("with count_stopped off, unwatched time that is not proven on is a gap", "[unwatched]") {
  MeterFixture f(only_powered_on());
  run_one(f);
  f.restart_agent();
  f.vm(1).run = 2;
  f.vm(1).began_s = 60;
  f.at(100);
  f.close();
  CHECK(f.usage({kVmHours}) ==
        "1 00:00 covered 40000 gap 60000 [estimated,gap,run_changed,owner_unknown,partial,usage_lost] "
        "vm-hours=40000\n");
}

TEST_CASE("with count_stopped off, a VM that is off on both sides has neither time nor gap", "[unwatched]") {
  MeterFixture f(only_powered_on());
  f.empty_from(0);
  f.vm(1).levels.power = Power::kOff;
  f.at(0);
  f.restart_agent();
  f.at(100);
  f.reboot_host(150);
  f.at(200);
  f.close();
  CHECK(f.usage() == "");
}

TEST_CASE("with count_stopped off, a VM that went off unwatched is a gap", "[unwatched]") {
  MeterFixture f(only_powered_on());
  run_one(f);
  f.restart_agent();
  f.vm(1).levels.power = Power::kOff;
  f.at(100);
  f.close();
  CHECK(f.usage({kVmHours}) == "1 00:00 covered 0 gap 100000 [estimated,gap,owner_unknown,partial,usage_lost]\n");
}

TEST_CASE("host down: a VM that is off afterwards is a gap up to the sample", "[unwatched]") {
  MeterFixture f;
  run_one(f);
  f.at(100);
  f.reboot_host(400);
  f.vm(1).levels.power = Power::kOff;
  f.at(500);
  f.at(600);
  f.close();
  CHECK(f.usage({kVmHours}) ==
        "1 00:00 covered 200000 gap 400000 [estimated,gap,owner_unknown,partial,usage_lost,across_boots] "
        "vm-hours=200000\n");
}

TEST_CASE("host down: a VM that is gone afterwards ends at its last proof, in that instant's hour", "[unwatched]") {
  MeterFixture f;
  run_one(f);
  watch(f, 600, 3000);
  f.reboot_host(7300);
  f.remove(1);
  f.at(7400);
  CHECK(f.usage({kVmHours}) == "1 00:00 covered 3000000 gap 0 [owner_unknown,usage_lost] vm-hours=3000000\n");
  CHECK(f.events("found missing").find("\"at\":\"2026-01-01T00:50:00.000Z\"") != std::string::npos);
}

TEST_CASE("host down: the gap is spread over its hours", "[unwatched]") {
  MeterFixture f;
  run_one(f);
  f.at(3000);
  f.reboot_host(3500);
  f.vm(1).run = 2;
  f.vm(1).began_s = 7500;
  f.at(7800);
  f.close();
  CHECK(f.usage({kVmHours}) ==
        "1 00:00 covered 3000000 gap 600000 [estimated,gap,owner_unknown,across_boots] vm-hours=3000000\n"
        "1 01:00 covered 0 gap 3600000 [estimated,gap,owner_unknown,across_boots]\n"
        "1 02:00 covered 300000 gap 300000 [estimated,gap,owner_unknown,partial,usage_lost,across_boots] "
        "vm-hours=300000\n");
}

TEST_CASE("host down: if the clock lost more than the node was down, nothing is said of that time", "[unwatched]") {
  MeterFixture f;
  run_one(f);
  f.at(600);
  f.reboot_host(650);
  f.step_clock(-500);
  f.vm(1).run = 2;
  f.vm(1).began_s = 660;
  f.at(700);
  f.at(760);
  f.close();
  CHECK(f.usage({kVmHours}) ==
        "1 00:00 covered 660000 gap 0 [estimated,owner_unknown,partial,usage_lost,across_boots] vm-hours=660000\n");
}

TEST_CASE("a gap that begins while the clock is followed backwards does not overlap the one before", "[unwatched]") {
  MeterFixture f;
  f.empty_from(0);
  f.at(0);
  f.inventory(Inventory::kKnownOnly);
  f.break_events();
  f.move_clock_ms(-234);
  f.at(0);
  f.inventory(Inventory::kComplete);
  f.source_failed();
  f.at(10);
  CHECK(f.events("cause") ==
        R"({"cause":"events lost","from":"2026-01-01T00:00:00.000Z","to":"2026-01-01T00:00:00.000Z","ms":0})"
        "\n"
        R"({"cause":"source failed","from":"2026-01-01T00:00:00.000Z","to":"2026-01-01T00:00:09.766Z","ms":9766})"
        "\n");
}

TEST_CASE("the runs that a stopped VM set aside do not outlive the boot", "[unwatched]") {
  MeterFixture f;
  run_one(f);
  f.vm(1).cpu_us = 500'000;
  f.vm(1).levels.power = Power::kOff;
  f.event(10, 1, VmEventKind::kStopped, "shutdown");
  f.at(10);
  const std::uint64_t before = f.total(kCpu);
  f.reboot_host(20);
  f.at(30);
  f.vm(1).levels.power = Power::kRunning;
  f.vm(1).began_s = 35;
  f.vm(1).cpu_us = 520'000;  // By chance the run has the same name.
  f.event(35, 1, VmEventKind::kStarted, "booted");
  f.at(40);
  f.close();
  CHECK(f.total(kCpu) == before + 520'000);
}

// --- On an older copy of the store -----------------------------------------------------------------------------------

TEST_CASE("on an older copy the gap begins where the copy had told everything, and is told with the first whole list",
          "[unwatched]") {
  MeterFixture f;
  f.empty_from(0);
  f.at(600);
  f.inventory(Inventory::kKnownOnly);
  f.break_events();
  f.at(700);  // From 600 on nobody watched, and no entry says so yet.
  f.restart_on_copy();
  SECTION("whole at once") {}
  SECTION("what is known only, first") {
    f.at(1100);
    CHECK(f.events("cause").empty());
  }
  f.inventory(Inventory::kComplete);
  f.at(1200);
  CHECK(f.events("cause").find(R"({"cause":"older copy of the store","from":"2026-01-01T00:10:00.000Z")") == 0);
}
