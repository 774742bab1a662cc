// Goal: what a VM's life does to its bill: starts and stops, devices that come and go, owners, migrations, reboots of
// the host. Method: hand-written samples, one case of agent/METERING.md each.

#include <catch2/catch.hpp>

#include "tests/agent/meter_fixture.h"

using namespace nodemeter;

// --- Power ----------------------------------------------------------------------------------------------------------

TEST_CASE("a saved VM stays allocated without memory, and its restored process counts from zero", "[presence]") {
  MeterFixture f;
  run_one(f);
  f.vm(1).cpu_us = 1'000'000;
  f.at(10);
  f.vm(1).levels.power = Power::kOff;
  f.event(15, 1, VmEventKind::kStopped, "saved");
  f.at(20);
  f.at(30);
  f.vm(1) = {};
  f.vm(1).run = 2;
  f.vm(1).began_s = 35;
  f.vm(1).cpu_us = 700;
  f.event(35, 1, VmEventKind::kStarted, "restored");
  f.at(40);
  f.close();
  CHECK(f.usage({kVmHours, kCpu, kMemory}) ==
        "1 00:00 covered 40000 gap 0 [owner_unknown,partial,usage_lost] vm-hours=40000 cpu-time=1000700 "
        "memory-hours=20480000\n");
}

TEST_CASE("a reboot or a reset of the guest changes nothing that is counted", "[presence]") {
  MeterFixture f;
  run_one(f);
  f.vm(1).cpu_us = 50;
  f.event(5, 1, VmEventKind::kRebooted, "rebooted");
  f.at(10);
  f.vm(1).cpu_us = 90;
  f.at(20);
  f.close();
  CHECK(f.usage({kVcores, kCpu}) ==
        "1 00:00 covered 20000 gap 0 [owner_unknown,partial] base-vm-hours=40000 cpu-time=90\n");
  CHECK(f.events("\"event\":\"rebooted\"") != "");
}

TEST_CASE("a snapshot revert within the process goes on, one that ends the process is a stop and a start",
          "[presence]") {
  MeterFixture f;
  run_one(f);
  f.vm(1).cpu_us = 100;  // The guest's clock and memory go back, the host's counters do not.
  f.event(4, 1, VmEventKind::kPaused, "from snapshot");
  f.event(5, 1, VmEventKind::kResumed, "from snapshot");
  f.at(10);
  CHECK(f.total(kCpu) == 0);
  f.vm(1).run = 2;
  f.vm(1).began_s = 16;
  f.vm(1).cpu_us = 7;
  f.event(15, 1, VmEventKind::kStopped, "from snapshot");
  f.event(16, 1, VmEventKind::kStarted, "from snapshot");
  f.at(20);
  f.close();
  CHECK(f.usage({kVmHours, kCpu, kMemory}) ==
        "1 00:00 covered 20000 gap 0 [owner_unknown,partial,usage_lost] vm-hours=20000 cpu-time=107 "
        "memory-hours=19456000\n");
}

TEST_CASE("a stop that only a reading shows counts as running until that reading", "[presence]") {
  MeterFixture f;
  run_one(f);
  f.vm(1).levels.power = Power::kOff;
  f.at(10);
  f.at(20);
  f.close();
  CHECK(f.total(kMemory) == 1024 * 10'000);
  CHECK(f.total(kVmHours) == 20'000);
  CHECK(f.marks() == "owner_unknown,partial,usage_lost");
  CHECK(f.events("\"event\":\"stopped\",\"how\":\"found\"") != "");
}

TEST_CASE("what was read at the very end of a run is not marked lost", "[presence]") {
  MeterFixture f;
  run_one(f);
  f.vm(1).cpu_us = 5;
  f.at(10);
  f.vm(1).levels.power = Power::kOff;
  f.event(10, 1, VmEventKind::kStopped, "shutdown");
  f.at(20);
  f.close();
  CHECK(f.marks() == "owner_unknown,partial");
}

TEST_CASE("a device that was not read at the end of its run is marked lost, even if another was", "[presence]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1).began_s = 0;
  f.vm(1).disk_write_bytes = 0;
  f.at(0);
  f.vm(1).disk_busy = true;
  f.at(10);
  f.vm(1).levels.power = Power::kOff;
  f.event(10, 1, VmEventKind::kStopped, "shutdown");
  f.at(20);
  f.close();
  CHECK(f.marks() == "counter_missing,owner_unknown,partial,usage_lost");
}

TEST_CASE("an event that does not tell the disks leaves their size as it was", "[presence]") {
  MeterFixture f;
  run_one(f);
  f.vm(1).levels.disk_mib.reset();
  f.event(4, 1, VmEventKind::kPaused);
  f.vm(1).levels.disk_mib = 10;
  f.vm(1).levels.power = Power::kPaused;
  f.at(10);
  f.close();
  CHECK(f.total(kDiskSize) == 10 * 10'000);
  CHECK(f.marks() == "owner_unknown,partial");
}

TEST_CASE("a disk size that is not known is not billed and is marked", "[presence]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1).levels.disk_mib.reset();
  f.at(0);
  f.at(10);
  f.vm(1).levels.disk_mib = 10;
  f.at(20);
  f.at(30);
  f.close();
  CHECK(f.total(kDiskSize) == 10 * 10'000);
  CHECK(f.marks() == "counter_missing,owner_unknown,partial");
}

// --- Devices --------------------------------------------------------------------------------------------------------

TEST_CASE("a disk plugged in counts from its proven plugging, else its first reading is a baseline", "[presence]") {
  for (const bool proven : {true, false}) {
    MeterFixture f;
    run_one(f);
    f.at(10);
    f.vm(1).disk_write_bytes = 4096;
    if (proven) f.vm(1).disk_plugged_s = 10;
    f.at(20);
    f.vm(1).disk_write_bytes = 5000;
    f.at(30);
    f.close();
    CHECK(f.total(kWrite) == (proven ? 5000 : 904));
    CHECK(f.marks() == (proven ? "owner_unknown,partial" : "baseline,owner_unknown,partial"));
  }
}

TEST_CASE("a disk or NIC unplugged is billed up to its last reading, and the others go on", "[presence]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1).began_s = 0;
  f.vm(1).disk_write_bytes = 0;
  f.vm(1).nic_receive_bytes = 0;
  f.at(0);
  f.vm(1).disk_write_bytes = 10;
  f.vm(1).nic_receive_bytes = 20;
  f.at(10);
  f.vm(1).disk_write_bytes.reset();
  f.vm(1).nic_receive_bytes = 50;
  f.vm(1).cpu_us = 70;
  f.at(20);
  CHECK(f.meter().vms().at(vm_id(1)).tracks.size() == 2);
  f.vm(1).nic_receive_bytes.reset();
  f.vm(1).cpu_us = 90;
  f.at(30);
  f.close();
  CHECK(f.total(kWrite) == 10);
  CHECK(f.total(kReceive) == 50);
  CHECK(f.total(kCpu) == 90);
  CHECK(f.marks() == "run_changed,owner_unknown,partial,usage_lost");
}

TEST_CASE("a disk plugged in again under its old name is another run", "[presence]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1).began_s = 0;
  f.vm(1).disk_write_bytes = 0;
  f.at(0);
  f.vm(1).disk_write_bytes = 100;
  f.at(10);
  f.vm(1).disk_run = 77;
  f.vm(1).disk_plugged_s = 12;
  f.vm(1).disk_write_bytes = 150;
  f.at(20);
  f.close();
  CHECK(f.total(kWrite) == 250);
  CHECK(f.marks() == "run_changed,owner_unknown,partial,usage_lost");
}

TEST_CASE("a device under another name is another device, and nothing of it is billed twice", "[presence]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1).began_s = 0;
  f.vm(1).disk_write_bytes = 0;
  f.at(0);
  f.vm(1).disk_write_bytes = 1000;
  f.at(10);
  f.vm(1).disk_id = "vdb";
  f.vm(1).disk_write_bytes = 1200;
  f.at(20);
  f.vm(1).disk_write_bytes = 1500;
  f.at(30);
  f.close();
  CHECK(f.total(kWrite) == 1000 + 300);
  CHECK(f.marks() == "run_changed,baseline,owner_unknown,partial,usage_lost");
}

TEST_CASE("devices may be listed in any order", "[presence]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1).began_s = 0;
  f.vm(1).disk_write_bytes = 0;
  f.vm(1).nic_receive_bytes = 0;
  for (int i = 0; i <= 4; ++i) {
    f.vm(1).disk_write_bytes = 10 * i;
    f.vm(1).nic_receive_bytes = 100 * i;
    f.vm(1).cpu_us = 1000 * i;
    f.vm(1).reversed = i % 2 == 1;
    f.at(10 * i);
  }
  f.close();
  CHECK(f.total(kWrite) == 40);
  CHECK(f.total(kReceive) == 400);
  CHECK(f.total(kCpu) == 4000);
  CHECK(f.marks() == "owner_unknown,partial");
}

TEST_CASE("a vcpu unplugged lowers the level from the reading that shows it, and no CPU time is negative",
          "[presence]") {
  MeterFixture f;
  run_one(f);
  f.vm(1).cpu_us = 40'000'000;
  f.at(10);
  f.vm(1).levels.vcores = 1;
  f.vm(1).cpu_us = 21'000'000;  // The source lost what the vcpu had counted.
  f.at(20);
  f.vm(1).cpu_us = 22'000'000;
  f.at(30);
  f.close();
  CHECK(f.total(kVcores) == 2 * 20'000 + 10'000);
  CHECK(f.total(kCpu) == 41'000'000);
  CHECK(f.marks() == "counter_fell,owner_unknown,partial");
}

// --- Names and owners -----------------------------------------------------------------------------------------------

TEST_CASE("two VMs of one name are two VMs, and a renamed VM stays one", "[presence]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1).name = "web";
  f.vm(2).name = "web";
  f.at(0);
  f.vm(2).name = "db";
  f.at(10);
  f.at(20);
  f.close();
  CHECK(f.total(kVmHours, 1) == 20'000);
  CHECK(f.total(kVmHours, 2) == 20'000);
  CHECK(f.events("\"event\":\"renamed\",\"how\":\"db\"").find("\"name\":\"web\"") != std::string::npos);
  CHECK(f.entries().back().detail == "{\"name\":\"db\"}");
}

TEST_CASE("an owner that changes has the record whose hour ends under it", "[presence]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1).owner = owned_by(8);
  for (int s = 0; s <= 3600; s += 600) f.at(s);
  f.vm(1).owner = owned_by(9);
  for (int s = 4200; s <= 7200; s += 600) f.at(s);
  f.at(7230);
  std::vector<Uuid> owners;
  for (const Entry& entry : f.entries()) {
    if (entry.kind == EntryKind::kUsage) owners.push_back(entry.subscription);
  }
  CHECK(owners == std::vector<Uuid>{vm_id(8), vm_id(9)});
  CHECK(f.events("owner-changed") != "");
}

TEST_CASE("an owner that appears late has the whole hour, and hours before it stay unowned", "[presence]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1);
  for (int s = 0; s <= 4800; s += 600) f.at(s);
  f.vm(1).owner = owned_by(9);
  for (int s = 5400; s <= 7200; s += 600) f.at(s);
  f.at(7230);
  CHECK(f.usage({kVmHours}) ==
        "1 00:00 covered 3600000 gap 0 [owner_unknown] vm-hours=3600000\n"
        "1 01:00 covered 3600000 gap 0 [] vm-hours=3600000\n");
}

TEST_CASE("a record of a VM that left carries the owner it left under", "[presence]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1).owner = owned_by(8);
  f.at(0);
  f.vm(1).owner = owned_by(9);
  f.at(10);
  f.event(20, 1, VmEventKind::kDeparted, "deleted");
  f.remove(1);
  f.at(30);
  f.at(3630);
  CHECK(f.entries().back().subscription == vm_id(9));
  CHECK(f.total(kVmHours) == 20'000);
}

// --- Migration ------------------------------------------------------------------------------------------------------

TEST_CASE("migration in counts from the resumption here, and its process from zero", "[presence]") {
  MeterFixture f;
  f.empty_from(0);
  f.at(0);
  f.at(10);
  f.vm(1).began_s = 3;  // The process waited for the VM: it was here before the VM was.
  f.vm(1).cpu_us = 600;
  f.event(14, 1, VmEventKind::kArrived, "migrated");
  f.at(20);
  f.close();
  CHECK(f.usage({kVmHours, kCpu}) == "1 00:00 covered 6000 gap 0 [owner_unknown,partial] vm-hours=6000 cpu-time=600\n");
}

TEST_CASE("a VM that migrates out and back within the hour has one record with both stays", "[presence]") {
  MeterFixture f;
  run_one(f);
  f.vm(1).cpu_us = 1000;
  f.at(10);
  f.event(15, 1, VmEventKind::kDeparted, "migrated");
  f.remove(1);
  f.at(20);
  f.at(100);
  f.vm(1).run = 2;
  f.vm(1).began_s = 103;
  f.vm(1).cpu_us = 30;
  f.event(105, 1, VmEventKind::kArrived, "migrated");
  f.at(110);
  f.at(3630);
  CHECK(f.usage({kVmHours, kCpu}) ==
        "1 00:00 covered 3510000 gap 0 [owner_unknown,usage_lost] vm-hours=3510000 cpu-time=1030\n");
}

TEST_CASE("a migration that fails brings the same process back, and nothing is counted twice", "[presence]") {
  MeterFixture f;
  run_one(f);
  f.vm(1).cpu_us = 5'000'000;
  f.at(10);
  f.event(12, 1, VmEventKind::kDeparted, "migrated");
  f.event(14, 1, VmEventKind::kArrived, "migration cancelled");
  f.vm(1).cpu_us = 5'600'000;
  f.at(20);
  CHECK(f.meter().vms().at(vm_id(1)).tracks.size() == 1);
  f.close();
  CHECK(f.total(kVmHours) == 18'000);
  CHECK(f.total(kCpu) == 5'600'000);
}

TEST_CASE("a migration that fails brings a process back, and what it shows anew is a baseline", "[presence]") {
  MeterFixture f;
  f.empty_from(0);
  f.at(0);
  f.event(4, 1, VmEventKind::kArrived, "created");
  f.vm(1).cpu_us = 100;
  f.vm(1).disk_write_bytes = 500;
  f.at(10);
  f.event(14, 1, VmEventKind::kDeparted, "migrated");
  f.event(15, 1, VmEventKind::kArrived, "migration cancelled");
  f.vm(1).cpu_us = 170;
  f.vm(1).disk_run = 5;  // Another image file.
  f.vm(1).disk_write_bytes = 800;
  f.at(20);
  f.vm(1).disk_write_bytes = 803;
  f.at(30);
  f.close();
  CHECK(f.total(kCpu) == 170);
  CHECK(f.total(kWrite) == 503);
}

TEST_CASE("a migration that fails twice between two samples counts nothing twice", "[presence]") {
  MeterFixture f;
  run_one(f);
  f.vm(1).cpu_us = 5'000'000;
  f.at(10);
  for (int s = 12; s < 18; s += 3) {
    f.event(s, 1, VmEventKind::kDeparted, "migrated");
    f.event(s + 1, 1, VmEventKind::kArrived, "migration cancelled");
  }
  f.vm(1).cpu_us = 5'600'000;
  f.at(20);
  f.close();
  CHECK(f.total(kVmHours) == 18'000);
  CHECK(f.total(kCpu) == 5'600'000);
}

TEST_CASE("a migration that fails after the hour was closed and the agent restarted counts nothing twice",
          "[presence]") {
  for (const bool definition_stays : {true, false}) {
    MeterFixture f;
    run_one(f);
    f.vm(1).cpu_us = 5'000'000;
    f.at(3590);
    f.event(3595, 1, VmEventKind::kDeparted, "migrated");
    const MeterFixture::Vm here = f.vm(1);
    f.vm(1).levels.power = Power::kOff;
    if (!definition_stays) f.remove(1);
    f.at(3600);
    f.at(3630);
    f.restart_agent();
    f.at(3640);
    f.vm(1) = here;
    f.vm(1).cpu_us = 5'600'000;
    f.event(3645, 1, VmEventKind::kResumed, "migration cancelled");
    f.at(3650);
    f.close();
    CHECK(f.total(kVmHours) == 3595'000 + 5'000);
    CHECK(f.total(kCpu) == 5'600'000);
  }
}

TEST_CASE("a VM that comes back in another process after a migration is not marked for the one it left", "[presence]") {
  MeterFixture f;
  run_one(f);
  f.at(10);
  f.event(12, 1, VmEventKind::kDeparted, "migrated");
  f.remove(1);
  f.at(20);
  f.at(3630);
  f.vm(1).run = 2;
  f.vm(1).began_s = 3632;
  f.vm(1).disk_write_bytes = 8;
  f.event(3633, 1, VmEventKind::kArrived, "migrated");
  f.at(3640);
  f.close();
  CHECK(f.usage({kVmHours, kWrite}) ==
        "1 00:00 covered 12000 gap 0 [owner_unknown,usage_lost] vm-hours=12000\n"
        "1 01:00 covered 7000 gap 0 [owner_unknown,partial] vm-hours=7000 disk-write-bytes=8\n");
}

TEST_CASE("a process that the VM had before it was known to be away is no proof of where it ran", "[presence]") {
  // It came back unseen: listed, in a process older than the last sight of the node without it.
  MeterFixture f;
  f.empty_from(0);
  f.at(0);
  f.at(10);
  f.vm(1).began_s = 5;
  f.vm(1).cpu_us = 900;
  f.at(20);
  f.vm(1).cpu_us = 950;
  f.at(30);
  f.close();
  CHECK(f.usage({kVmHours, kCpu}) ==
        "1 00:00 covered 10000 gap 0 [baseline,owner_unknown,partial] vm-hours=10000 cpu-time=50\n");
}

TEST_CASE("deleted and created again with the same id: two stays, one register", "[presence]") {
  MeterFixture f;
  run_one(f);
  f.vm(1).cpu_us = 100;
  f.at(10);
  f.vm(1) = {};
  f.vm(1).run = 2;
  f.vm(1).began_s = 16;
  f.vm(1).cpu_us = 3;
  f.event(13, 1, VmEventKind::kDeparted, "deleted");
  f.event(16, 1, VmEventKind::kArrived, "created");
  f.at(20);
  f.close();
  CHECK(f.usage({kVmHours, kCpu}) ==
        "1 00:00 covered 17000 gap 0 [owner_unknown,partial,usage_lost] vm-hours=17000 cpu-time=103\n");
  CHECK(f.entries().back().meters.front().reading == 2 * 17'000);
}

TEST_CASE("a definition left behind that is deleted was not allocated in between", "[presence]") {
  MeterFixture f;
  run_one(f);
  f.event(5, 1, VmEventKind::kDeparted, "migrated");
  f.vm(1).levels.power = Power::kOff;
  f.at(10);
  f.at(20);
  CHECK(f.meter().vms().at(vm_id(1)).left_behind);
  f.event(25, 1, VmEventKind::kDeparted, "deleted");
  f.remove(1);
  f.at(30);
  f.at(3630);
  CHECK(f.total(kVmHours) == 5000);
  CHECK(f.meter().vms().empty());
}

// --- Contradictions and late events ---------------------------------------------------------------------------------

TEST_CASE("missing from a complete list: one sample's patience for the event, which then counts exactly",
          "[presence]") {
  MeterFixture f;
  run_one(f);
  f.at(10);
  const MeterFixture::Vm here = f.vm(1);
  f.remove(1);
  f.at(20);
  CHECK(f.meter().vms().at(vm_id(1)).present);
  f.event(14, 1, VmEventKind::kDeparted, "deleted");
  f.at(30);
  f.close();
  CHECK(f.usage({kVmHours}) == "1 00:00 covered 14000 gap 0 [owner_unknown,partial,usage_lost] vm-hours=14000\n");
}

TEST_CASE("a list that may lack others is none of the two that end a VM", "[presence]") {
  for (const bool broken : {false, true}) {
    MeterFixture f;
    f.empty_from(0);
    f.at(0);
    f.vm(1).cpu_us = 0;
    f.event(5, 1, VmEventKind::kArrived, "created");
    f.event(5, 1, VmEventKind::kStarted, "booted");
    const MeterFixture::Vm here = f.vm(1);
    f.remove(1);
    f.inventory(Inventory::kKnownOnly);
    if (broken) f.break_events();
    f.at(10);
    f.inventory(Inventory::kComplete);
    f.at(20);
    f.vm(1) = here;
    f.at(30);
    f.close();
    CHECK(f.total(kVmHours) == (broken ? 0 : 25'000));  // A departure may have been lost.
    CHECK(f.events("found missing").empty() == !broken);
  }
}

TEST_CASE("missing from two complete lists without an event: ended at its last proof, marked", "[presence]") {
  MeterFixture f;
  run_one(f);
  f.vm(1).cpu_us = 500;
  f.at(10);
  const MeterFixture::Vm here = f.vm(1);
  f.remove(1);
  f.at(20);
  f.at(30);
  CHECK(f.events("found missing").find("00:00:10.000Z") != std::string::npos);
  // It was only overlooked: the same process, so nothing is counted twice.
  f.vm(1) = here;
  f.vm(1).cpu_us = 800;
  f.at(40);
  f.at(50);
  f.close();
  CHECK(f.total(kVmHours) == 10'000 + 10'000);
  CHECK(f.total(kCpu) == 800);
  CHECK(f.marks() == "owner_unknown,partial,usage_lost");
}

TEST_CASE("an event that would lower what is accounted for comes too late: recorded and marked", "[presence]") {
  MeterFixture f;
  run_one(f);
  f.at(3600);
  f.at(3630);
  const std::string closed = f.usage({kVmHours});
  f.event(3590, 1, VmEventKind::kDeparted, "deleted");
  f.remove(1);
  f.at(3640);
  f.close();
  CHECK(f.usage({kVmHours}) ==
        closed + "1 01:00 covered 30000 gap 0 [owner_unknown,partial,lowering_event_late] vm-hours=30000\n");
  CHECK(f.events("\"event\":\"departed\",\"how\":\"deleted\",\"at\":\"2026-01-01T00:59:50.000Z\"")
            .find("\"effective\":\"2026-01-01T01:00:30.000Z\"") != std::string::npos);
  std::size_t marked = 0;
  for (const Entry& entry : f.entries()) {
    if (entry.kind == EntryKind::kEvent && (entry.status & status_bit::kLoweringEventLate) != 0) ++marked;
  }
  CHECK(marked == 1);
}

TEST_CASE("a late event that lowers nothing is not marked", "[presence]") {
  MeterFixture f;
  run_one(f);
  f.at(10);
  f.vm(1).levels.vcores = 4;
  f.event(5, 1, VmEventKind::kResized);
  f.at(20);
  f.vm(1).levels.vcores = 3;
  f.event(15, 1, VmEventKind::kResized);
  f.at(30);
  f.close();
  CHECK(f.total(kVcores) == 2 * 10'000 + 4 * 10'000 + 3 * 10'000);
  CHECK(f.marks() == "owner_unknown,partial,lowering_event_late");
  CHECK(f.events("\"effective\"").find("00:00:15.000Z") != std::string::npos);
  CHECK(f.events("\"effective\"").find("00:00:05.000Z") == std::string::npos);
}

TEST_CASE("an event of a VM that is not allocated here counts nothing", "[presence]") {
  MeterFixture f;
  f.empty_from(0);
  f.at(0);
  f.bare_event(5, 1, VmEventKind::kStopped, "failed");
  f.bare_event(6, 1, VmEventKind::kDeparted, "migrated");
  f.bare_event(6, 1, VmEventKind::kDeparted, "deleted");
  f.at(10);
  f.close();
  CHECK(f.usage() == "");
  CHECK(f.meter().vms().empty());
}

TEST_CASE("an arrival or a start that tells no levels holds what is listed first, also if that is a sample later",
          "[presence]") {
  for (const VmEventKind kind : {VmEventKind::kArrived, VmEventKind::kStarted}) {
    for (const std::int64_t listed_s : {3610, 3620}) {
      MeterFixture f;
      f.inventory(Inventory::kKnownOnly);
      f.at(0);
      f.bare_event(3500, 1, kind, "booted");
      if (listed_s > 3610) f.at(3610);
      f.vm(1).levels = {Power::kRunning, 4, 1024, 10};
      f.inventory(Inventory::kComplete);
      f.at(listed_s);
      f.close();
      const auto ms = static_cast<std::uint64_t>(listed_s - 3500) * 1000;
      CHECK(f.total(kVcores) == 4 * ms);
      CHECK(f.total(kMemory) == 1024 * ms);
      CHECK(f.total(kDiskSize) == 10 * ms);
      CHECK(f.usage({kVmHours}).find("00:00 covered 100000 gap 0 [estimated") != std::string::npos);
      CHECK(f.usage({kVmHours}).find(" gap 0 [estimated", f.usage({kVmHours}).find("01:00")) != std::string::npos);
    }
  }
}

TEST_CASE("what changed before the first list that has a VM does not have that list's levels", "[presence]") {
  MeterFixture f;
  f.inventory(Inventory::kKnownOnly);
  f.at(0);
  f.bare_event(5, 1, VmEventKind::kStarted, "booted");
  f.bare_event(7, 1, VmEventKind::kStopped, "shutdown");
  f.bare_event(8, 1, VmEventKind::kStarted, "booted");
  f.vm(1).levels.vcores = 4;
  f.inventory(Inventory::kComplete);
  f.at(10);
  f.close();
  CHECK(f.total(kVmHours) == 5000);
  CHECK(f.total(kVcores) == 4 * 2000);
  CHECK(f.marks().find("counter_missing") != std::string::npos);
}

TEST_CASE("a start that tells no levels proves none over time that nobody watched", "[presence]") {
  MeterFixture f;
  f.empty_from(0);
  f.at(0);
  f.bare_event(5, 1, VmEventKind::kStarted, "booted");
  f.inventory(Inventory::kKnownOnly);
  f.at(10);
  f.restart_agent();
  f.vm(1).levels.vcores = 4;
  f.inventory(Inventory::kComplete);
  f.at(20);
  f.at(30);
  f.close();
  CHECK(f.total(kVcores) == 4 * 10'000);
}
