// Goal: counters become usage only where two readings of one run prove it, and every other case is marked.
// Method: hand-written samples, one case of agent/METERING.md each.

#include <catch2/catch.hpp>

#include "tests/agent/meter_fixture.h"

using namespace nodemeter;

namespace {

void run_with_disk(MeterFixture& f, std::uint8_t width) {
  f.empty_from(0);
  f.vm(1).began_s = 0;
  f.vm(1).width = width;
  f.vm(1).disk_write_bytes = 0;
  f.at(0);
}

}  // namespace

TEST_CASE("a counter that stalls is a reading of zero, not an absence", "[counters]") {
  MeterFixture f;
  run_one(f);
  f.at(10);
  f.close();
  CHECK(f.usage({kCpu, kWrite}) == "1 00:00 covered 10000 gap 0 [owner_unknown,partial] cpu-time=0\n");
}

TEST_CASE("a counter that jumps back by a little is not billed for what it regains", "[counters]") {
  MeterFixture f;
  run_one(f);
  f.vm(1).cpu_us = 8'000'000;
  f.at(10);
  f.vm(1).cpu_us = 7'000'000;
  f.at(20);
  f.vm(1).cpu_us = 7'999'999;
  f.at(30);
  f.vm(1).cpu_us = 8'000'000;
  f.at(40);
  f.vm(1).cpu_us = 8'000'001;
  f.at(50);
  f.close();
  CHECK(f.total(kCpu) == 8'000'001);
  CHECK(f.marks() == "counter_fell,owner_unknown,partial");
}

TEST_CASE("a fall is little only up to a million base units, and if more than half remains", "[counters]") {
  const auto billed = [](std::uint64_t high, std::uint64_t low) {
    MeterFixture f;
    run_one(f);
    f.vm(1).cpu_us = high;
    f.at(10);
    f.vm(1).cpu_us = low;
    f.at(20);
    f.vm(1).cpu_us = low + 10;
    f.at(30);
    f.close();
    CHECK(f.marks() == "counter_fell,owner_unknown,partial");
    return f.total(kCpu) - high;
  };
  CHECK(billed(8'000'000, 7'000'000) == 0);
  CHECK(billed(8'000'000, 6'999'999) == 10);
  CHECK(billed(1000, 501) == 0);
  CHECK(billed(1000, 500) == 10);
  CHECK(billed(1000, 0) == 10);
}

TEST_CASE("a 32-bit counter that falls by a little has not wrapped, however long nobody watched", "[counters]") {
  MeterFixture f;
  run_with_disk(f, 32);
  f.vm(1).disk_operations = 4'000'000'000;
  f.at(2000);
  f.vm(1).disk_operations = 3'999'999'000;
  f.at(5600);
  f.close();
  CHECK(f.total(kOperations) == 4'000'000'000);
  CHECK(f.marks() == "counter_fell,owner_unknown,partial");
}

TEST_CASE("a restarted run is told from a wrap by its run, not by its value", "[counters]") {
  MeterFixture f;
  run_with_disk(f, 32);
  f.vm(1).disk_operations = 4'294'967'000;
  f.at(3000);
  f.vm(1).run = 2;
  f.vm(1).began_s = 3005;
  f.vm(1).disk_operations = 5;
  f.event(3004, 1, VmEventKind::kStopped, "crashed");
  f.event(3005, 1, VmEventKind::kStarted, "booted");
  f.at(3010);
  f.close();
  CHECK(f.total(kOperations) == 4'294'967'005);
  CHECK(f.marks() == "owner_unknown,partial,usage_lost");
}

TEST_CASE("only operations of a 32-bit source wrap, and only at a believable rate", "[counters]") {
  const auto operations = [](std::uint8_t width, std::int64_t after_s) {
    MeterFixture f;
    run_with_disk(f, width);
    f.vm(1).disk_operations = 4'294'967'295;
    f.at(1000);
    f.vm(1).disk_operations = 49'999'999;
    f.at(1000 + after_s);
    f.close();
    return std::pair(f.total(kOperations) - 4'294'967'295, f.marks());
  };
  CHECK(operations(32, 10) == std::pair(std::uint64_t{50'000'000}, std::string("owner_unknown,partial,wrapped")));
  CHECK(operations(32, 9) == std::pair(std::uint64_t{0}, std::string("counter_fell,owner_unknown,partial")));
  CHECK(operations(64, 10) == std::pair(std::uint64_t{0}, std::string("counter_fell,owner_unknown,partial")));

  MeterFixture bytes;  // Of the same device: 64 bits wide everywhere.
  run_with_disk(bytes, 32);
  bytes.vm(1).disk_write_bytes = 4'294'967'295;
  bytes.at(1000);
  bytes.vm(1).disk_write_bytes = 10;
  bytes.at(1010);
  bytes.close();
  CHECK(bytes.total(kWrite) == 4'294'967'295);
}

TEST_CASE("operations that fall together with their device's bytes have not wrapped", "[counters]") {
  const auto billed = [](std::uint64_t bytes) {
    MeterFixture f;
    run_with_disk(f, 32);
    f.vm(1).disk_operations = 4'294'967'000;
    f.vm(1).disk_write_bytes = 5000;
    f.at(1000);
    f.vm(1).disk_operations = 4;
    f.vm(1).disk_write_bytes = bytes;
    f.at(1010);
    f.close();
    return std::pair(f.total(kOperations) - 4'294'967'000, f.marks());
  };
  CHECK(billed(5000) == std::pair(std::uint64_t{300}, std::string("owner_unknown,partial,wrapped")));
  CHECK(billed(2000) == std::pair(std::uint64_t{0}, std::string("counter_fell,owner_unknown,partial")));
  CHECK(billed(4999) == std::pair(std::uint64_t{0}, std::string("counter_fell,owner_unknown,partial")));
}

TEST_CASE("a value that does not fit 32 bits cannot have wrapped", "[counters]") {
  MeterFixture f;
  run_with_disk(f, 32);
  f.vm(1).disk_operations = 4'294'967'296;
  f.at(1000);
  f.vm(1).disk_operations = 7;
  f.at(1010);
  f.close();
  CHECK(f.total(kOperations) == 4'294'967'296);
  CHECK(f.marks() == "counter_fell,owner_unknown,partial");
}

TEST_CASE("a missing counter that appears later begins with a baseline", "[counters]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1).began_s = 0;
  f.vm(1).disk_write_bytes = 500;
  f.vm(1).disk_offered = false;
  f.at(0);
  f.at(10);
  CHECK(f.total(kWrite) == 0);
  f.vm(1).disk_offered = true;
  f.at(20);
  f.vm(1).disk_write_bytes = 512;
  f.at(30);
  f.close();
  CHECK(f.total(kWrite) == 12);
  CHECK(f.marks() == "baseline,owner_unknown,partial");
}

TEST_CASE("a counter that is not offered any more goes on where it was when it is again", "[counters]") {
  MeterFixture f;
  run_with_disk(f, 64);
  f.vm(1).disk_write_bytes = 100;
  f.at(10);
  f.vm(1).disk_offered = false;
  f.at(20);
  f.vm(1).disk_offered = true;
  f.vm(1).disk_write_bytes = 130;
  f.at(30);
  f.close();
  CHECK(f.total(kWrite) == 130);
}

TEST_CASE("a counter that cannot be read over an hour edge is spread over both hours, the first one late",
          "[counters]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1).began_s = 0;
  f.vm(1).disk_write_bytes = 0;
  f.at(0);
  f.at(1800);
  f.vm(1).disk_busy = true;
  f.at(3600);
  f.at(3630);
  f.vm(1).disk_busy = false;
  f.vm(1).disk_write_bytes = 3601;
  f.at(5400);
  f.close();
  CHECK(f.usage({kVmHours, kWrite}) ==
        "1 00:00 covered 3600000 gap 0 [counter_missing,owner_unknown] vm-hours=3600000 disk-write-bytes=0\n"
        "1 00:00 covered 0 gap 0 [estimated,owner_unknown,late] disk-write-bytes=1800\n"
        "1 01:00 covered 1800000 gap 0 [estimated,counter_missing,owner_unknown,partial] vm-hours=1800000 "
        "disk-write-bytes=1801\n");
}

TEST_CASE("a sample that cannot tell the VM's process costs that reading and nothing else", "[counters]") {
  MeterFixture f;
  run_one(f);
  f.vm(1).cpu_us = 1000;
  f.at(10);
  f.vm(1).run_known = false;
  f.at(20);
  f.vm(1).run_known = true;
  f.vm(1).cpu_us = 3000;
  f.at(30);
  f.close();
  CHECK(f.total(kCpu) == 3000);
  CHECK(f.marks() == "counter_missing,owner_unknown,partial");
}

TEST_CASE("a process that cannot be told at the first samples counts from its start all the same", "[counters]") {
  MeterFixture f;
  f.empty_from(0);
  f.at(0);
  f.vm(1).began_s = 4;
  f.vm(1).run_known = false;
  f.event(4, 1, VmEventKind::kArrived, "created");
  f.at(10);
  f.at(20);
  f.vm(1).run_known = true;
  f.vm(1).cpu_us = 900;
  f.at(30);
  f.close();
  CHECK(f.total(kCpu) == 900);
  CHECK(f.marks() == "counter_missing,owner_unknown,partial");
}

TEST_CASE("a NIC that may be older than its VM's process begins with a baseline", "[counters]") {
  MeterFixture f;
  f.empty_from(0);
  f.at(0);
  f.vm(1).began_s = 4;
  f.vm(1).nic_receive_bytes = 1'000'000;
  f.vm(1).nic_vouched = false;
  f.event(4, 1, VmEventKind::kArrived, "created");
  f.at(10);
  f.vm(1).nic_receive_bytes = 1'000'100;
  f.at(20);
  f.close();
  CHECK(f.total(kReceive) == 100);
  CHECK(f.marks() == "baseline,owner_unknown,partial");
}

TEST_CASE("a VM that was off counts from zero even where no source tells when its run began", "[counters]") {
  for (const bool restart : {false, true}) {
    MeterFixture f;
    f.empty_from(0);
    f.vm(1).levels.power = Power::kOff;
    f.at(0);
    if (restart) f.restart_agent();
    f.vm(1).levels.power = Power::kRunning;
    f.vm(1).cpu_us = 444;
    f.at(10);
    f.close();
    CHECK(f.total(kCpu) == 444);
  }
}

TEST_CASE("a run begun before the VM's last sample is a baseline, at it or after it counts from zero", "[counters]") {
  const auto billed = [](std::int64_t began_s) {
    MeterFixture f;
    run_one(f);
    f.at(10);
    f.vm(1).run = 2;
    f.vm(1).began_s = began_s;
    f.vm(1).cpu_us = 60;
    f.at(20);
    f.close();
    return f.total(kCpu);
  };
  CHECK(billed(9) == 0);
  CHECK(billed(10) == 60);
  CHECK(billed(11) == 60);
}

TEST_CASE("a run begun before the VM's last sample is a baseline, though the VM left and came back since",
          "[counters]") {
  const auto billed = [](std::int64_t began_s) {
    MeterFixture f;
    run_one(f);
    f.at(10);
    f.event(14, 1, VmEventKind::kDeparted, "migrated");
    f.event(15, 1, VmEventKind::kArrived, "migration cancelled");
    f.vm(1).run = 2;  // The sample at 10 s could not see that it was there already.
    f.vm(1).began_s = began_s;
    f.vm(1).cpu_us = 60;
    f.at(20);
    f.vm(1).cpu_us = 67;
    f.at(30);
    f.close();
    return f.total(kCpu);
  };
  CHECK(billed(9) == 7);
  CHECK(billed(10) == 67);
}

TEST_CASE("a process that was read before did not begin since, and a new run of one of its devices is a baseline",
          "[counters]") {
  MeterFixture f;
  run_one(f);
  f.vm(1).disk_write_bytes = 500;
  f.at(10);
  f.vm(1).began_s = 14;  // An on-time that stood still in a pause.
  f.vm(1).cpu_us = 20;
  f.vm(1).disk_run = 5;
  f.vm(1).disk_write_bytes = 700;
  f.at(20);
  f.vm(1).disk_write_bytes = 703;
  f.at(30);
  f.close();
  CHECK(f.total(kCpu) == 20);
  CHECK(f.total(kWrite) == 3);
}

TEST_CASE("a device that may have counted before begins with a baseline, though the VM was off", "[counters]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1).levels.power = Power::kOff;
  f.at(0);
  f.vm(1).levels.power = Power::kRunning;
  f.vm(1).nic_receive_bytes = 1'000'000;
  f.vm(1).nic_vouched = false;
  f.at(10);
  f.vm(1).nic_receive_bytes = 1'000'100;
  f.at(20);
  f.close();
  CHECK(f.total(kReceive) == 100);
}

TEST_CASE("while the first complete list has not come, nothing counts from before it", "[counters]") {
  MeterFixture f;
  f.inventory(Inventory::kKnownOnly);
  f.vm(1).began_s = -900;
  f.vm(1).cpu_us = 5'000'000;
  f.at(0);
  f.inventory(Inventory::kComplete);
  f.vm(2).began_s = -800;  // Was here all the time, and not listed.
  f.vm(2).cpu_us = 7'000'000;
  f.at(10);
  f.vm(2).cpu_us = 7'000'009;
  f.at(20);
  f.close();
  CHECK(f.total(kCpu) == 9);
  CHECK(f.total(kVmHours, 1) == 20'000);
  CHECK(f.total(kVmHours, 2) == 10'000);
  CHECK(f.marks(2) == "baseline,owner_unknown,partial");
}

TEST_CASE("after a reboot a VM new to the store counts from its process's start", "[counters]") {
  MeterFixture f;
  f.empty_from(0);
  f.at(0);
  f.at(100);
  f.reboot_host(400);
  f.vm(1).began_s = 450;
  f.vm(1).cpu_us = 12;
  f.at(500);
  f.close();
  CHECK(f.usage({kVmHours, kCpu}) ==
        "1 00:00 covered 50000 gap 0 [estimated,owner_unknown,partial] vm-hours=50000 cpu-time=12\n");
}

TEST_CASE("of a disk's four counters and a NIC's four, operations alone are 32 bits wide", "[counters]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1).began_s = 0;
  f.vm(1).width = 32;
  f.vm(1).every_counter = 4'294'967'000;
  f.vm(1).disk_write_bytes = 0;
  f.vm(1).nic_receive_bytes = 0;
  f.at(1000);
  f.vm(1).every_counter = 4;
  f.vm(1).bytes_stay = 4'294'967'000;
  f.at(1010);
  f.close();
  for (const MeterInfo& info : meter_catalogue()) {
    if (info.index == MeterIndex::kMemoryHours || info.index == MeterIndex::kDiskAllocatedHours) continue;
    if (info.index <= MeterIndex::kVmHours) continue;
    const bool wraps = info.index == MeterIndex::kDiskReadOperations || info.index == MeterIndex::kDiskWriteOperations;
    INFO(info.name);
    CHECK(f.total(info.index) == (wraps ? 4'294'967'300 : 4'294'967'000));
  }
}

TEST_CASE("what a run used before it was first read is spread from its own start", "[counters]") {
  MeterFixture f;
  f.empty_from(0);
  f.at(0);
  f.at(1800);
  f.vm(1).began_s = 3590;
  f.vm(1).cpu_us = 3000;
  f.event(3580, 1, VmEventKind::kArrived, "created");
  f.at(3620);
  f.close();
  CHECK(f.usage({kCpu}) ==
        "1 00:00 covered 20000 gap 0 [owner_unknown] cpu-time=1000\n"
        "1 01:00 covered 20000 gap 0 [owner_unknown,partial] cpu-time=2000\n");
}

TEST_CASE("a millisecond after an edge is of the next hour", "[counters]") {
  MeterFixture f;
  f.move_clock_ms(1);
  f.empty_from(0);
  f.vm(1).began_s = 0;
  f.vm(1).disk_write_bytes = 0;
  f.at(0);
  f.at(3590);
  f.vm(1).cpu_us = 10'000'000;
  f.vm(1).disk_busy = true;
  f.at(3600);
  f.vm(1).disk_busy = false;
  f.at(3631);
  f.close();
  CHECK(f.usage({kCpu}) ==
        "1 00:00 covered 3599999 gap 0 [estimated,owner_unknown] cpu-time=9999000\n"
        "1 01:00 covered 31001 gap 0 [estimated,counter_missing,owner_unknown,partial] cpu-time=1000\n");
}

TEST_CASE("the live rates are those of the last two readings", "[counters]") {
  MeterFixture f;
  run_one(f);
  f.vm(1).cpu_us = 5000;
  f.at(10);
  const VmState::Rates& rates = f.meter().vms().at(vm_id(1)).rates;
  CHECK(rates.span_ms == 10'000);
  CHECK(rates.delta[static_cast<std::size_t>(kCpu)] == 5000u);
  CHECK_FALSE(rates.delta[static_cast<std::size_t>(kWrite)]);
  f.at(10);
  CHECK(f.meter().vms().at(vm_id(1)).rates.span_ms == 0);
}

TEST_CASE("a restart whose notices come after a reading of the new process is not counted twice", "[counters]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1).began_s = 0;
  f.vm(1).cpu_us = 1'000;
  f.at(0);
  f.vm(1).cpu_us = 5'000;
  f.at(10);
  f.vm(1).run = 2;
  f.vm(1).began_s = 12;
  f.vm(1).cpu_us = 300;
  f.at(20);
  const std::string gone = GENERATE(as<std::string>{}, "stopped", "deleted", "stopped and deleted", "seen off");
  if (gone == "seen off") {  // The notice of the stop reaches the reading, that of the start does not.
    f.event(21, 1, VmEventKind::kStopped, "destroyed");
    const MeterFixture::Vm running = f.vm(1);
    f.vm(1).levels.power = Power::kOff;
    f.at(22);
    f.vm(1) = running;
  } else {
    if (gone != "deleted") f.event(21, 1, VmEventKind::kStopped, "destroyed");
    if (gone != "stopped") f.event(21, 1, VmEventKind::kDeparted, "deleted");
  }
  if (gone == "stopped" || gone == "seen off") {
    f.event(23, 1, VmEventKind::kStarted, "booted");
  } else {
    f.event(23, 1, VmEventKind::kArrived, "created");
  }
  f.vm(1).cpu_us = 1'000;
  f.at(30);
  f.close();
  CHECK(f.total(MeterIndex::kCpuTime) == 1'000 + 4'000 + 1'000);
}

TEST_CASE("live rates are over the time since the previous reading, whatever happened in between", "[counters]") {
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

TEST_CASE("a stop or a departure of a VM that no list had yet says that its use is lost", "[counters]") {
  for (const VmEventKind kind : {VmEventKind::kStopped, VmEventKind::kDeparted}) {
    MeterFixture f;
    f.inventory(Inventory::kKnownOnly);
    f.at(0);
    f.bare_event(5, 1, kind, "shutdown");
    f.inventory(Inventory::kComplete);
    f.at(10);
    f.close();
    CHECK(f.usage() == "1 00:00 covered 0 gap 0 [owner_unknown,partial,usage_lost]\n");
  }
}

TEST_CASE("a VM that left before any list had it, and comes back after one that does not, counts from zero",
          "[counters]") {
  for (const char* how : {"deleted", "migrated"}) {
    MeterFixture f;
    f.inventory(Inventory::kKnownOnly);
    f.at(0);
    f.bare_event(5, 1, VmEventKind::kDeparted, how);
    f.inventory(Inventory::kComplete);
    f.at(10);
    f.vm(1).cpu_us = 700;
    f.event(15, 1, VmEventKind::kArrived, "created");
    f.at(20);
    f.close();
    CHECK(f.total(kCpu) == 700);
  }
}
