// Goal: time that nobody watched, how hours close, and what a record carries.
// Method: hand-written samples, one case of agent/METERING.md each.

#include <catch2/catch.hpp>

#include "agent/meter_time.h"
#include "tests/agent/meter_fixture.h"

using namespace nodemeter;

namespace {

constexpr auto kVcores = MeterIndex::kBaseVmHours;
constexpr auto kVmHours = MeterIndex::kVmHours;
constexpr auto kCpu = MeterIndex::kCpuTime;
constexpr auto kMemory = MeterIndex::kMemoryHours;

void run_one(MeterFixture& f) {
  f.empty_from(0);
  f.vm(1).began_s = 0;
  f.at(0);
}

void watch(MeterFixture& f, std::int64_t from, std::int64_t to) {
  for (std::int64_t s = from; s <= to; s += 600) f.at(s);
}

MeterOptions only_powered_on() {
  MeterOptions options;
  options.count_stopped = false;
  return options;
}

}  // namespace

// --- Time that nobody watched ---------------------------------------------------------------------------------------

TEST_CASE("while only known VMs can be listed, a VM that is off is bridged when it is listed again", "[records]") {
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

TEST_CASE("an event right after an unwatched stretch settles it, and what follows is known", "[records]") {
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

TEST_CASE("a start right after an unwatched stretch proves that the VM was off before it", "[records]") {
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

TEST_CASE("the smaller of two levels is the smaller of each, and off unless both are on", "[records]") {
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

TEST_CASE("after the event that settles an unwatched stretch, levels hold until what changes them", "[records]") {
  MeterFixture f;
  run_one(f);
  f.restart_agent();
  f.event(60, 1, VmEventKind::kRebooted);
  f.vm(1).levels.vcores = 1;
  f.at(100);
  f.close();
  CHECK(f.total(kVcores) == 2 * 100'000);
}

TEST_CASE("use over an unwatched stretch is marked estimated in every hour that it falls into", "[records]") {
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

TEST_CASE("once a VM was listed again, its time is watched again", "[records]") {
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

TEST_CASE("a gap's hours carry the owner that its VM had, and keep their marks", "[records]") {
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

TEST_CASE("after a reboot a VM that was here counts its new run from zero, told or not", "[records]") {
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

TEST_CASE("an estimated stretch since a new run's start is marked in its own hour, too", "[records]") {
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

TEST_CASE("an event right after an unwatched stretch does not tell that the VM was on over it", "[records]") {
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

TEST_CASE("an event of a VM that was not listed after an unwatched stretch is bridged, too", "[records]") {
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
          "[records]") {
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

TEST_CASE("a run that begins in the instant of the sample does not prove that the VM was on before it", "[records]") {
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

TEST_CASE("with count_stopped off, unwatched time that is not proven on is a gap", "[records]") {
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

TEST_CASE("with count_stopped off, a VM that is off on both sides has neither time nor gap", "[records]") {
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

TEST_CASE("with count_stopped off, a VM that went off unwatched is a gap", "[records]") {
  MeterFixture f(only_powered_on());
  run_one(f);
  f.restart_agent();
  f.vm(1).levels.power = Power::kOff;
  f.at(100);
  f.close();
  CHECK(f.usage({kVmHours}) == "1 00:00 covered 0 gap 100000 [estimated,gap,owner_unknown,partial,usage_lost]\n");
}

TEST_CASE("host down: a VM that is off afterwards is a gap up to the sample", "[records]") {
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

TEST_CASE("host down: a VM that is gone afterwards ends at its last proof, in that instant's hour", "[records]") {
  MeterFixture f;
  run_one(f);
  watch(f, 600, 3000);
  f.reboot_host(7300);
  f.remove(1);
  f.at(7400);
  CHECK(f.usage({kVmHours}) == "1 00:00 covered 3000000 gap 0 [owner_unknown,usage_lost] vm-hours=3000000\n");
  CHECK(f.events("found missing").find("\"at\":\"2026-01-01T00:50:00.000Z\"") != std::string::npos);
}

TEST_CASE("host down: the gap is spread over its hours", "[records]") {
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

TEST_CASE("host down: if the clock lost more than the node was down, nothing is said of that time", "[records]") {
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

// --- Hours ----------------------------------------------------------------------------------------------------------

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

// --- What is remembered ---------------------------------------------------------------------------------------------

TEST_CASE("rows are written for what changed only, and taken once", "[records]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1);
  f.at(0);
  CHECK(f.meter().take_changed_rows().empty());  // The fixture took them.
  f.event(10, 1, VmEventKind::kDeparted, "deleted");
  f.remove(1);
  f.at(10);
  CHECK(f.rows().count(vm_row_key(vm_id(1))) == 1);
  f.at(3630);
  CHECK(f.rows().count(vm_row_key(vm_id(1))) == 0);
  CHECK(f.rows().count(gone_row_key(vm_id(1))) == 1);
  CHECK(f.rows().count(std::string(kNodeRowKey)) == 1);
}

TEST_CASE("a VM that was forgotten and comes back within one commit keeps its row and its registers", "[records]") {
  MeterFixture f;
  f.empty_from(0);
  f.vm(1);
  f.at(0);
  f.event(10, 1, VmEventKind::kDeparted, "deleted");
  f.remove(1);
  f.at(10);
  f.keep_rows_back(true);
  f.at(3630);
  f.event(3635, 1, VmEventKind::kArrived, "created");
  f.vm(1);
  f.vm(2);
  f.at(3640);
  f.remove(2);
  f.event(3641, 2, VmEventKind::kDeparted, "deleted");
  f.at(3645);
  f.keep_rows_back(false);
  f.at(3650);
  CHECK(f.rows().count(vm_row_key(vm_id(1))) == 1);
  f.restart_agent();
  f.at(3660);
  f.close();
  const auto last = std::find_if(f.entries().rbegin(), f.entries().rend(),
                                 [](const Entry& entry) { return entry.vm == vm_id(1) && !entry.meters.empty(); });
  CHECK(last->meters.front().reading == 2 * 35'000);
  CHECK(f.total(kVmHours, 1) == 10'000 + 25'000);
}

TEST_CASE("a VM that was never used leaves no row behind", "[records]") {
  MeterFixture f;
  f.empty_from(0);
  f.at(0);
  f.bare_event(5, 1, VmEventKind::kPaused);
  f.at(10);
  CHECK(f.rows().count(vm_row_key(vm_id(1))) == 0);
  CHECK(f.rows().count(gone_row_key(vm_id(1))) == 0);
}

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
