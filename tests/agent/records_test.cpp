// Goal: how hours close, what a record carries, and what is told as an event, once.
// Method: hand-written samples, one case of agent/METERING.md each.

#include <algorithm>
#include <catch2/catch.hpp>

#include "agent/meter_time.h"
#include "tests/agent/meter_fixture.h"

using namespace nodemeter;

// --- Hours and records -----------------------------------------------------------------------------------------------

TEST_CASE("the first sample of a store says so and closes nothing before it", "[records]") {
  MeterFixture f;
  f.vm(1);
  f.at(5);
  CHECK(f.events("metering-started").find("2026-01-01T00:00:05.000Z") != std::string::npos);
  CHECK(f.events("cause") == "");
  CHECK(f.meter().node().closed_until == hour_of(ms(MeterFixture::kStart)));
  f.at(15);
  CHECK(f.total(kCpu) == 0);
}

TEST_CASE("the close grace may be longer, and records that were closed are never made again", "[records]") {
  MeterOptions options;
  options.close_grace = Milliseconds(600'000);
  MeterFixture f(options);
  f.empty_from(0);
  f.vm(1);
  watch(f, 0, 3600);
  f.at(4199);
  CHECK(f.usage() == "");
  f.at(4200);
  const std::string closed = f.usage({kVmHours});
  CHECK(closed == "1 00:00 covered 3600000 gap 0 [owner_unknown] vm-hours=3600000\n");
  f.at(4300);
  CHECK(f.usage({kVmHours}) == closed);
  CHECK(f.meter().node().closed_until == hour_of(ms(MeterFixture::kStart)) + 1);
}

TEST_CASE("knowledge that comes after the hour closed is a further record, later in sequence and marked late",
          "[records]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1).levels.power = Power::kOff;
  f.at(0);
  const MeterFixture::Vm off = f.vm(1);
  f.remove(1);
  f.inventory(Inventory::kKnownOnly);
  f.at(3500);
  f.at(3630);
  f.inventory(Inventory::kComplete);
  f.vm(1) = off;
  f.at(3640);
  f.close();
  CHECK(f.usage({kVmHours}) ==
        "1 00:00 covered 3600000 gap 0 [owner_unknown,late] vm-hours=3600000\n"
        "1 01:00 covered 40000 gap 0 [owner_unknown,partial] vm-hours=40000\n");
}

TEST_CASE("every register is the sum of the quantities before it, in all records of a VM", "[records]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1).began_s = 0;
  f.vm(1).disk_write_bytes = 0;
  for (int s = 0; s <= 14'400; s += 600) {
    f.vm(1).cpu_us = static_cast<std::uint64_t>(s) * 3;
    f.vm(1).disk_write_bytes = static_cast<std::uint64_t>(s) * 5;
    f.vm(1).owner.windows_licence = s > 6000;
    f.at(s);
  }
  f.close();
  std::map<Uuid, std::uint64_t> sums;
  std::size_t records = 0;
  for (const Entry& entry : f.entries()) {
    if (entry.kind == EntryKind::kUsage) ++records;
    for (const MeterValue& value : entry.meters) {
      sums[value.meter] += value.quantity;
      CHECK(value.reading == sums[value.meter]);
    }
  }
  CHECK(records == 4);
  CHECK(f.total(kVcores) == 2 * 3'600'000);
  CHECK(f.total(MeterIndex::kWindowsVmHours) == 3 * 2 * 3'600'000);
}

TEST_CASE("closing everything closes whole hours whole and marks the running one partial", "[records]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1);
  watch(f, 0, 3600);
  f.at(3620);
  f.close();
  CHECK(f.usage({kVmHours}) ==
        "1 00:00 covered 3600000 gap 0 [owner_unknown] vm-hours=3600000\n"
        "1 01:00 covered 20000 gap 0 [owner_unknown,partial] vm-hours=20000\n");
  CHECK(f.meter().node().closed_until == hour_of(ms(MeterFixture::kStart)) + 1);
}

TEST_CASE("a simulated node marks every entry it makes", "[records]") {
  MeterOptions options;
  options.simulated = true;
  MeterFixture f(options);
  run_one(f);
  f.restart_agent();
  f.at(10);
  f.close();
  std::set<EntryKind> kinds;
  for (const Entry& entry : f.entries()) {
    CHECK((entry.status & status_bit::kSimulated) != 0);
    kinds.insert(entry.kind);
  }
  CHECK(kinds == std::set{EntryKind::kUsage, EntryKind::kGap, EntryKind::kEvent});
  CHECK(f.marks() == "estimated,owner_unknown,partial,simulated");

  MeterFixture rebooted(options);
  run_one(rebooted);
  rebooted.reboot_host(20);
  rebooted.at(30);
  const auto gap = std::ranges::find(rebooted.entries(), EntryKind::kGap, &Entry::kind);
  REQUIRE(gap != rebooted.entries().end());
  CHECK(gap->status == (status_bit::kSimulated | status_bit::kAcrossBoots));
}

TEST_CASE("a usage record carries identity, owner, level, tags and name", "[records]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1).name = "web \"1\"";
  Owner& owner = f.vm(1).owner;
  owner.known = true;
  owner.subscription = vm_id(8);
  owner.tenant = vm_id(9);
  owner.resource_group = "r/g";
  owner.name = "web 1";
  owner.billable = false;
  owner.tags["team"] = "a";
  f.at(0);
  f.at(10);
  f.close();
  const Entry& entry = f.entries().back();
  CHECK(entry.vm == vm_id(1));
  CHECK(entry.usage_start == MeterFixture::kStart);
  CHECK(entry.usage_end == MeterFixture::kStart + std::chrono::hours(1));
  CHECK(entry.subscription == vm_id(8));
  CHECK(entry.tenant == vm_id(9));
  CHECK(entry.resource_uri == "/subscriptions/" + vm_id(8).text() +
                                  "/resourceGroups/r%2Fg/providers/Microsoft.Compute/virtualMachines/web%201");
  CHECK(entry.vcores == 2);
  CHECK_FALSE(entry.billable);
  CHECK(entry.tags == std::map<std::string, std::string>{{"team", "a"}});
  CHECK(entry.detail == "{\"name\":\"web \\\"1\\\"\"}");
  CHECK(status_text(entry.status) == "partial");
}

TEST_CASE("an event names its VM, its owner and its instant", "[records]") {
  MeterFixture f;
  f.empty_from(0);
  f.at(0);
  f.vm(1).owner.known = true;
  f.vm(1).owner.subscription = vm_id(8);
  f.event(7, 1, VmEventKind::kArrived, "created");
  f.at(10);
  f.event(17, 1, VmEventKind::kPaused);
  f.vm(1).levels.power = Power::kPaused;
  f.at(20);
  const Entry& entry = f.entries().back();
  CHECK(entry.kind == EntryKind::kEvent);
  CHECK(entry.vm == vm_id(1));
  CHECK(entry.subscription == vm_id(8));
  CHECK(entry.vcores == 2);
  CHECK(entry.usage_start == MeterFixture::kStart + std::chrono::seconds(17));
  CHECK(entry.usage_end == entry.usage_start);
  CHECK(entry.status == 0);
  CHECK(entry.detail ==
        "{\"event\":\"paused\",\"how\":\"\",\"at\":\"2026-01-01T00:00:17.000Z\",\"name\":\"vm\",\"monotonic_ms\":"
        "1017000}");
}

TEST_CASE("an unowned VM's resource is named by its id, in no resource group", "[records]") {
  Owner owner;
  owner.name = "claimed";
  CHECK(resource_uri(vm_id(1), owner) ==
        "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/unowned/providers/Microsoft.Compute/"
        "virtualMachines/00000000-0000-0000-0000-000000000001");
  owner.known = true;
  owner.resource_group = "aZ09-._~";
  owner.name = "\xc3\xa4@[`{/:";
  CHECK(resource_uri(vm_id(1), owner) ==
        "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/aZ09-._~/providers/Microsoft.Compute/"
        "virtualMachines/%C3%A4%40%5B%60%7B%2F%3A");
  owner.name.clear();
  CHECK(resource_uri(vm_id(1), owner).find("/virtualMachines/00000000-0000-0000-0000-000000000001") !=
        std::string::npos);
}

TEST_CASE("more tags than a record may carry are cut", "[records]") {
  MeterFixture f;
  f.empty_from(0);
  for (int i = 0; i < 70; ++i) f.vm(1).owner.tags["t" + std::to_string(100 + i)] = "v";
  f.at(0);
  f.at(10);
  f.close();
  CHECK(f.entries().back().tags.size() == kTagsMax);
}

TEST_CASE("marks of one hour add up, whatever comes last", "[records]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1).began_s = 0;
  f.vm(1).levels.disk_mib.reset();
  f.vm(1).cpu_us.reset();
  f.at(0);
  f.synchronised(false);
  f.restart_agent();
  f.at(10);
  f.close();
  CHECK(f.marks() == "estimated,clock_unsynchronised,counter_missing,owner_unknown,partial");
}

TEST_CASE("a record's cores are those in force at its end", "[records]") {
  MeterFixture f;
  run_one(f);
  f.vm(1).levels.vcores = 6;
  f.event(5, 1, VmEventKind::kResized);
  f.at(10);
  f.close();
  CHECK(f.entries().back().vcores == 6);
  CHECK(f.entries().back().billable);
}

TEST_CASE("a departure is an event with its instant and how, and a VM that left is off", "[records]") {
  MeterFixture f;
  run_one(f);
  f.event(5, 1, VmEventKind::kDeparted, "deallocated");
  f.remove(1);
  f.at(10);
  CHECK(f.events("\"event\":\"departed\",\"how\":\"deallocated\",\"at\":\"2026-01-01T00:00:05.000Z\"") != "");
  const VmState& vm = f.meter().vms().at(vm_id(1));
  CHECK(vm.levels.power == Power::kOff);
  CHECK(vm.tracks.empty());
}

// --- What is told ----------------------------------------------------------------------------------------------------

TEST_CASE("an event that comes too late is written down once", "[records]") {
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

TEST_CASE("a start of a VM that was not here is an arrival, and an arrival is told once", "[records]") {
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

TEST_CASE("a resize that only a reading shows is told with the level that it shows", "[records]") {
  MeterFixture f;
  run_one(f);
  f.vm(1).levels.vcores = 4;
  f.at(10);
  const Entry& entry = f.entries().back();
  CHECK(entry.detail.find("\"event\":\"resized\",\"how\":\"found\",\"at\":\"2026-01-01T00:00:10.000Z\"") !=
        std::string::npos);
  CHECK(entry.vcores == 4);
}

TEST_CASE("a VM that is found carries its owner and its name from the start", "[records]") {
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

TEST_CASE("a name that an event left out, or that cannot be shown as it is, is no renaming", "[records]") {
  MeterFixture f;
  f.empty_from(0);
  f.at(0);
  f.vm(1).name = "web\n1";
  f.event(5, 1, VmEventKind::kArrived, "created");
  f.at(10);
  f.at(20);
  CHECK(f.events("\"event\":\"renamed\"") == "");
  f.vm(1).name = "db";
  f.at(30);
  f.at(40);
  CHECK(lines(f.events("\"event\":\"renamed\"")) == 1);
}

TEST_CASE("an hour that holds nothing but a gap carries the cores that its VM had", "[records]") {
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

TEST_CASE("an event carries its VM's tenant, and on a simulated node its own marks, too", "[records]") {
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

TEST_CASE("an hour that ended under another owner keeps it over a restart of the agent", "[records]") {
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

TEST_CASE("letters and digits of a resource's name stay as they are, from the first to the last", "[records]") {
  Owner owner;
  owner.known = true;
  owner.resource_group = "azAZ09";
  CHECK(resource_uri(vm_id(1), owner).find("/resourceGroups/azAZ09/") != std::string::npos);
}
