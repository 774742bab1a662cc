// Goal: what a sample says of a machine is proven by what the host shows, and a run counts from zero only where that
// is. Method: a host in memory whose rows and counters change between samples; one case each.

#include "tests/collectors/hyperv_site.h"

using namespace nodemeter;

TEST_CASE("a machine's processors are summed, its devices joined, and its levels told", "[hyperv]") {
  Site s;
  s.vm(1) = {"web (1): a", Power::kRunning, 100, 1000, 3, "C:\\ClusterStorage\\Volume1\\a-b.vhdx"};
  s.vm(1).ticks = 123'456'789;
  s.vm(1).disk = {1, 2, 3, 4};
  s.vm(1).nic = {5, 6, 7, 8};
  s.vm(1).has_nic = true;
  s.vm(1).notes = R"({"subscription": "11111111-2222-3333-4444-555555555555"})";
  const Sample sample = s.read();
  CHECK(sample.inventory == Inventory::kComplete);
  CHECK(sample.vms.front().owner.known);
  REQUIRE(sample.vms.size() == 1);
  const VmReading& vm = sample.vms.front();
  CHECK(vm.name == "web (1): a");
  CHECK(vm.levels == Levels{Power::kRunning, 3, 1024, 10});
  CHECK(vm.process_began == MonotonicTime{Milliseconds{1000}});
  REQUIRE(vm.devices.size() == 3);
  CHECK(vm.devices[0].counters[0] == Reading{std::uint64_t{3 * 123'456'789 / 10}});
  CHECK(vm.devices[1].operations_width_bits == 32);
  for (std::uint64_t i = 0; i < kCountersMax; ++i) {
    CHECK(vm.devices[1].counters[i] == Reading{i + 1});
    CHECK(vm.devices[2].counters[i] == Reading{i + 5});
  }
}

TEST_CASE("a missing counter costs itself only, and one that cannot be read that reading", "[hyperv]") {
  Site s;
  s.vm(1) = {"web", Power::kRunning, 100, 1000, 1, "C:\\a.vhdx"};
  s.vm(1).disk = {1, 2, 3, 4};
  s.host->instead[1] = {ColumnState::kNotOffered, 0, "", {}};
  s.host->instead[2] = {ColumnState::kFailed, 0, "", {}};
  s.host->instead[3] = {ColumnState::kRead, 0, "", {{"C:-a.vhdx", 9, false}}};
  const Sample sample = s.read();
  const DeviceReading& disk = device(sample, 1, DeviceKind::kDisk);
  CHECK(disk.counters[kReadBytes] == Reading{Absence::kNotOffered});
  CHECK(disk.counters[kWriteBytes] == Reading{Absence::kReadFailed});
  CHECK(disk.counters[kReadOperations] == Reading{Absence::kVmBusy});
  CHECK(disk.counters[kWriteOperations] == Reading{std::uint64_t{4}});
  // Processor time of a type that nobody knows is of a unit that nobody knows.
  s.host->timer_type = 0x10410400;
  CHECK(cpu(s.read(), 1) == Reading{Absence::kNotOffered});
}

TEST_CASE("operations fall back to the older counters, under another run", "[hyperv]") {
  Site s;
  s.vm(1) = {"web", Power::kRunning, 100, 1000, 1, "C:\\a.vhdx"};
  const std::uint64_t run = device(s.read(), 1, DeviceKind::kDisk).run;
  s.host->instead[3] = s.host->instead[4] = {ColumnState::kNotOffered, 0, "", {}};
  s.host->instead[5] = {ColumnState::kRead, 0, "", {{"C:-a.vhdx", (1ull << 32) + 9, true}}};
  const Sample sample = s.read();
  const DeviceReading& disk = device(sample, 1, DeviceKind::kDisk);
  CHECK(disk.counters[kReadOperations] == Reading{std::uint64_t{9}});  // 32 bits of it count.
  CHECK(disk.run != run);
}

TEST_CASE("a machine that starts while it is watched counts from its start by its on-time", "[hyperv]") {
  Site s;
  s.vm(1) = {"web"};
  s.vm(1).power = Power::kOff;
  CHECK(s.read().vms.front().devices.empty());
  s.vm(1).power = Power::kRunning;
  s.vm(1).began_ms = s.clock.ms + 1234;
  s.vm(1).state_changed = "2";
  s.clock.ms += 2000;
  s.notify(1, WmiNotice::Kind::kChanged);
  const Sample sample = s.read();
  REQUIRE(sample.events.size() == 1);
  CHECK(sample.events_unbroken);
  CHECK(sample.events.front().kind == VmEventKind::kStarted);
  CHECK(sample.events.front().at == MonotonicTime{Milliseconds{s.vm(1).began_ms}});
  CHECK(device(sample, 1, DeviceKind::kCpu).begun == MonotonicTime{Milliseconds{s.vm(1).began_ms}});
}

TEST_CASE("a machine that has no process number yet has no run, and counts from its start once it has one",
          "[hyperv]") {
  Site s;
  s.vm(1) = {"web"};
  s.vm(1).power = Power::kOff;
  s.read();
  s.vm(1).power = Power::kRunning;
  s.vm(1).process = 0;
  s.vm(1).tells_on_time = false;
  CHECK(device(s.read(), 1, DeviceKind::kCpu).run == 0);
  s.vm(1).process = 100;
  s.vm(1).tells_on_time = true;
  s.vm(1).began_ms = s.clock.ms - 500;
  const Sample sample = s.read();
  CHECK(device(sample, 1, DeviceKind::kCpu).run != 0);
  CHECK(device(sample, 1, DeviceKind::kCpu).begun == MonotonicTime{Milliseconds{s.vm(1).began_ms}});
  // Another number is another process.
  s.vm(1).process = 101;
  CHECK_FALSE(device(s.read(), 1, DeviceKind::kCpu).begun);
}

TEST_CASE("a reset names no new run, whatever it does to counters and on-time", "[hyperv]") {
  Site s;
  s.vm(1) = {"web"};
  s.vm(1).ticks = 1'000'000;
  const std::uint64_t run = device(s.read(), 1, DeviceKind::kCpu).run;
  s.vm(1).began_ms = s.clock.ms + 5000;
  s.vm(1).ticks = 2'000'000;
  CHECK(device(s.read(), 1, DeviceKind::kCpu).run == run);
  s.vm(1).began_ms = s.clock.ms + 5000;
  s.vm(1).ticks = 10;
  CHECK(device(s.read(), 1, DeviceKind::kCpu).run == run);
}

TEST_CASE("a row that comes late is no reset, and one that only shows that time passes changes nothing", "[hyperv]") {
  Site s;
  s.vm(1) = {"web"};
  s.read();
  s.read();
  // As WMI tells of on-times, which grow all the time: of before the last list, after it.
  WmiNotice late;
  late.row = s.host->row(FakeHost::id(1));
  s.read();
  late.came = s.clock.now().monotonic;
  const int asked = s.host->settings_asked;
  s.tracker->notice(late, std::nullopt);
  CHECK(s.read().events.empty());
  CHECK(s.host->settings_asked == asked);
  s.clock.ms += 5000;
  s.vm(1).began_ms = s.clock.ms - 2000;
  s.notify(1, WmiNotice::Kind::kChanged);
  const Sample sample = s.read();
  REQUIRE(sample.events.size() == 1);
  CHECK(sample.events.front().kind == VmEventKind::kRebooted);
  CHECK(s.host->settings_asked == asked);
  // Any other change may be one of what it is given.
  s.vm(1).name = "db";
  s.notify(1, WmiNotice::Kind::kChanged);
  s.read();
  CHECK(s.host->settings_asked == asked + 1);
}

TEST_CASE("a process that was replaced unseen counts from zero only where its counters read less", "[hyperv]") {
  Site s;
  s.vm(1) = {"web", Power::kRunning, 100, 1000, 1, "C:\\a.vhdx"};
  s.vm(1).ticks = 1'000'000;
  s.vm(1).disk = {100, 100, 100, 100};
  const Sample before = s.read();
  s.vm(1).process = 101;
  s.vm(1).began_ms = s.clock.ms + 5000;
  s.vm(1).ticks = 10;
  s.vm(1).disk = {200, 100, 7, 7};
  const Sample sample = s.read();
  CHECK(device(sample, 1, DeviceKind::kCpu).run != device(before, 1, DeviceKind::kCpu).run);
  CHECK(device(sample, 1, DeviceKind::kCpu).begun == MonotonicTime{Milliseconds{s.vm(1).began_ms}});
  CHECK(device(sample, 1, DeviceKind::kDisk).run != device(before, 1, DeviceKind::kDisk).run);
  CHECK_FALSE(device(sample, 1, DeviceKind::kDisk).begun);
}

TEST_CASE("counters that were read before a machine's process began are not its", "[hyperv]") {
  Site s;
  s.vm(1) = {"web"};
  s.read();
  s.vm(1).process = 101;
  s.vm(1).began_ms = s.clock.ms + 10'050;
  s.host->lag_ms = 100;
  CHECK(cpu(s.read(), 1) == Reading{Absence::kVmBusy});
  s.vm(2) = {"no on-time"};
  s.vm(2).tells_on_time = false;
  s.vm(2).power = Power::kOff;
  s.read();
  s.vm(2).power = Power::kRunning;
  CHECK(cpu(s.read(), 2) == Reading{Absence::kVmBusy});
  CHECK(cpu(s.read(), 2) == Reading{std::uint64_t{0}});
  // Nor can they be proven to be without an on-time; what a process has that was replaced may be of before even so.
  CHECK_FALSE(device(s.read(), 2, DeviceKind::kCpu).carried);
  s.vm(1).process = 102;
  s.vm(1).tells_on_time = false;
  CHECK(cpu(s.read(), 1) == Reading{Absence::kVmBusy});
  CHECK(cpu(s.read(), 1) == Reading{std::uint64_t{0}});
  CHECK(device(s.read(), 1, DeviceKind::kCpu).carried);
}

TEST_CASE("without a process number nobody tells a run from another, whatever the on-time is", "[hyperv]") {
  Site s;
  s.vm(1) = {"web"};
  s.vm(1).process = 0;
  const Sample sample = s.read();
  CHECK(sample.vms.front().process_began);
  CHECK(device(sample, 1, DeviceKind::kCpu).run == 0);
  s.vm(1).process = 100;
  CHECK(device(s.read(), 1, DeviceKind::kCpu).run != 0);
}

TEST_CASE("until the size of a disk's new image file is read, the disk is as large as it was", "[hyperv]") {
  Site s;
  s.vm(1) = {"web"};
  s.vm(1).path = s.host->unsized = "C:\\web.vhdx";
  CHECK_FALSE(s.read().vms.front().levels.disk_mib);
  s.host->unsized.clear();
  CHECK(s.read().vms.front().levels.disk_mib.value_or(0) == 10);
  s.vm(1).path = s.host->unsized = "C:\\web_checkpoint.avhdx";
  CHECK(s.read().vms.front().levels.disk_mib.value_or(0) == 10);
}

TEST_CASE("a list that lacks a machine whose adapter still counts is not believed for a while", "[hyperv]") {
  Site s;
  s.vm(1) = {"web"};
  s.vm(1).has_nic = true;
  s.vm(2) = {"off"};
  s.vm(2).power = Power::kOff;
  s.read();
  s.vm(1).listed = s.vm(2).listed = false;  // The service was started anew and has not found its machines.
  for (int i = 0; i < 6; ++i) {
    const Sample sample = s.read();
    CHECK(sample.inventory == Inventory::kKnownOnly);
    CHECK(sample.events.empty());
    CHECK(find(sample, 1) != nullptr);
    CHECK(find(sample, 2) == nullptr);
  }
  s.vm(1).listed = s.vm(2).listed = true;
  CHECK(s.read().vms.size() == 2);
  // What was told to be gone is.
  s.notify(1, WmiNotice::Kind::kDeleted);
  s.vm(1).listed = false;
  CHECK(s.read().inventory == Inventory::kComplete);
}

TEST_CASE("a machine whose settings cannot be read costs no other machine a reading", "[hyperv]") {
  Site s;
  s.vm(1) = {"web"};
  s.vm(2) = {"broken"};
  s.vm(2).described = false;
  s.read();
  Sample sample = s.read();
  CHECK(sample.inventory == Inventory::kKnownOnly);
  CHECK(sample.events_unbroken);
  CHECK(cpu(sample, 1) == Reading{std::uint64_t{0}});
  CHECK(find(sample, 2) == nullptr);
  // Nor does it keep the others in doubt for ever.
  while (sample.inventory == Inventory::kKnownOnly && s.clock.ms < 7'200'000) sample = s.read();
  CHECK(s.clock.ms - 3'600'000 >= 60'000);
  CHECK(s.clock.ms - 3'600'000 < 120'000);
  CHECK(sample.vms.size() == 1);
  s.vm(2).described = true;
  sample = s.read();
  CHECK(sample.inventory == Inventory::kComplete);
  CHECK_FALSE(device(sample, 2, DeviceKind::kCpu).begun);
  // Where lists are minutes apart, not on the second one.
  s.vm(3) = {"late"};
  s.vm(3).described = false;
  for (int lists = 1; lists <= 4; ++lists) {
    s.clock.ms += 300'000;
    CHECK((s.read().inventory == Inventory::kComplete) == (lists > 3));
  }
  s.host->vms.erase(FakeHost::id(3));
  // An answer without all disks is no answer.
  s.host->missing_class = hyperv_class::kStorage;
  s.vm(1).vcores = 3;
  sample = s.read();
  CHECK(sample.inventory == Inventory::kKnownOnly);
}

TEST_CASE("settings that are missing from one answer are asked for again at the next sample", "[hyperv]") {
  Site s;
  s.vm(1) = {"web"};
  s.read();
  s.vm(1).vcores = 4;
  s.vm(1).described = false;
  CHECK(s.read().vms.front().levels.vcores == 2);
  s.vm(1).described = true;
  CHECK(s.read().vms.front().levels.vcores == 4);
}

TEST_CASE("memory that was assigned to the process before is not the next one's", "[hyperv]") {
  Site s;
  s.vm(1) = {"web"};
  s.vm(1).assigned_mib = 9000;
  CHECK(s.read().vms.front().levels.memory_mib == 9000);
  s.vm(1).process = 101;
  s.host->missing_class = hyperv_class::kSummary;
  CHECK(s.read().vms.front().levels.memory_mib == 1024);
}

TEST_CASE("a machine that came by migration begins with a baseline", "[hyperv]") {
  Site s;
  s.vm(2) = {"db"};
  s.read();
  s.vm(1) = {"web"};
  s.vm(1).began_ms = 1000;  // It has been on for an hour, elsewhere.
  s.notify(1, WmiNotice::Kind::kCreated);
  const Sample sample = s.read();
  CHECK_FALSE(device(sample, 1, DeviceKind::kCpu).begun);
  CHECK(find(sample, 1)->process_began == MonotonicTime{Milliseconds{1000}});
  // Whether an on-time goes on with a migration is not documented: only who was seen off was started here.
  s.vm(3) = {"new on-time"};
  s.vm(3).began_ms = s.clock.ms + 1000;
  s.notify(3, WmiNotice::Kind::kCreated);
  CHECK_FALSE(device(s.read(), 3, DeviceKind::kCpu).begun);
  s.vm(4) = {"made here"};
  s.vm(4).power = Power::kOff;
  s.notify(4, WmiNotice::Kind::kCreated);
  s.vm(4).power = Power::kRunning;
  s.vm(4).began_ms = s.clock.ms + 1000;
  s.vm(4).state_changed = "2";
  s.clock.ms += 1000;
  s.notify(4, WmiNotice::Kind::kChanged);
  CHECK(device(s.read(), 4, DeviceKind::kCpu).begun == MonotonicTime{Milliseconds{s.vm(4).began_ms}});
  // Off here, then gone, then back: it may have been on elsewhere.
  s.vm(4).power = Power::kOff;
  s.vm(4).state_changed = "3";
  s.notify(4, WmiNotice::Kind::kChanged);
  s.notify(4, WmiNotice::Kind::kDeleted);
  s.vm(4).power = Power::kRunning;
  s.vm(4).process = 200;
  s.vm(4).began_ms = s.clock.ms + 1000;
  s.vm(4).state_changed = "4";
  s.notify(4, WmiNotice::Kind::kCreated);
  CHECK_FALSE(device(s.read(), 4, DeviceKind::kCpu).begun);
}

TEST_CASE("what is on its way in is not allocated, and what leaves is until it is gone", "[hyperv]") {
  Site s;
  s.vm(1) = {"leaves"};
  s.read();
  s.vm(1).migrating = true;
  s.vm(2) = {"comes"};
  s.vm(2).migrating = true;
  s.vm(2).power = Power::kPaused;
  s.notify(2, WmiNotice::Kind::kCreated);
  s.notify(1, WmiNotice::Kind::kChanged);
  Sample sample = s.read();
  CHECK(find(sample, 1) != nullptr);
  CHECK(find(sample, 2) == nullptr);
  s.notify(1, WmiNotice::Kind::kDeleted);
  s.host->vms.erase(FakeHost::id(1));
  s.vm(2).migrating = false;
  s.vm(2).power = Power::kRunning;
  s.vm(2).state_changed = "2";
  s.notify(2, WmiNotice::Kind::kChanged);
  sample = s.read();
  CHECK(find(sample, 1) == nullptr);
  CHECK(find(sample, 2) != nullptr);
  REQUIRE(sample.events.size() == 2);
  CHECK(sample.events[0].kind == VmEventKind::kDeparted);
  CHECK(sample.events[0].how == "migrated");
  CHECK(sample.events[1].kind == VmEventKind::kArrived);
  CHECK(sample.events[1].how == "migrated");
  CHECK(s.sampler->take_urgency());
}

TEST_CASE("a machine whose coming was not told is found by the list, not made up by a later notice", "[hyperv]") {
  Site s;
  s.vm(2) = {"db"};
  s.read();
  s.tracker->closed();
  s.tracker->connected();
  s.vm(1) = {"web"};
  s.vm(1).began_ms = s.clock.ms + 1000;
  s.vm(1).power = Power::kPaused;
  s.clock.ms += 5000;
  s.notify(1, WmiNotice::Kind::kChanged);
  CHECK(s.sampler->take_urgency());
  const Sample sample = s.read();
  CHECK_FALSE(sample.events_unbroken);
  CHECK(sample.events.empty());
  REQUIRE(find(sample, 1) != nullptr);
  CHECK(find(sample, 1)->process_began == MonotonicTime{Milliseconds{s.vm(1).began_ms}});
}

TEST_CASE("an instant of another zone's clock is not taken for an older one", "[hyperv]") {
  Site s;
  s.vm(1) = {"web"};
  s.vm(1).state_changed = "20251026025959.000000+120";
  s.read();
  s.vm(1).power = Power::kOff;
  s.vm(1).state_changed = "20251026020500.000000+060";  // Five minutes later, after the end of summer time.
  s.notify(1, WmiNotice::Kind::kChanged);
  const Sample sample = s.read();
  REQUIRE(sample.events.size() == 1);
  CHECK(sample.events.front().kind == VmEventKind::kStopped);
}

TEST_CASE("an instant of the list that lies ahead of the clock, in its own zone, makes no notice an old one",
          "[hyperv]") {
  const auto stop_is_seen = [](const char* listed, const char* told) {
    Site s;  // Its clock says 01:00 UTC.
    s.vm(1) = {"web"};
    s.vm(1).state_changed = listed;
    s.read();
    s.vm(1).power = Power::kOff;
    s.vm(1).state_changed = told;
    WmiNotice stop;
    stop.row = s.host->row(FakeHost::id(1));
    stop.came = s.clock.now().monotonic;
    s.vm(1).power = Power::kRunning;
    s.vm(1).state_changed = listed;
    s.tracker->notice(stop, std::nullopt);
    return !s.read().events.empty();
  };
  CHECK(stop_is_seen("20260101003000.000000-060", "20260101000001.000000-060"));  // Listed: 01:30, told: 01:00:01 UTC.
  CHECK(stop_is_seen("20260101023000.000000+060", "20260101020001.000000+060"));
  CHECK_FALSE(stop_is_seen("20260101013000.000000+060", "20260101012900.000000+060"));  // 00:30, and older: 00:29 UTC.
  CHECK_FALSE(stop_is_seen("20251231233000.000000-060", "20251231232900.000000-060"));
}

TEST_CASE("a notice that is older than the list says nothing", "[hyperv]") {
  Site s;
  s.vm(1) = {"web"};
  s.vm(1).power = Power::kOff;
  const WmiRow old = s.host->row(FakeHost::id(1));
  s.vm(1).power = Power::kRunning;
  s.vm(1).state_changed = "2";
  s.read();
  WmiNotice late;
  late.row = old;
  late.came = s.clock.now().monotonic;
  s.tracker->notice(late, std::nullopt);
  const Sample sample = s.read();
  CHECK(sample.events.empty());
  CHECK(sample.vms.front().levels.power == Power::kRunning);
}

TEST_CASE("while WMI is away machines that still count go on, and their counters wait for it", "[hyperv]") {
  Site s;
  s.vm(1) = {"web"};
  s.vm(1).ticks = 1000;
  s.vm(1).has_nic = true;
  s.vm(2) = {"db"};
  s.vm(2).has_nic = true;
  s.vm(3) = {"off"};
  s.vm(3).power = Power::kOff;
  s.vm(4) = {"no adapter", Power::kRunning, 104, 1000, 1, "C:\\a.vhdx"};  // Its name and its file may be another's.
  const std::uint64_t run = device(s.read(), 1, DeviceKind::kCpu).run;
  s.host->wmi_away = true;
  s.host->vms.erase(FakeHost::id(2));
  s.vm(1).ticks = 2000;
  Sample sample = s.read();
  CHECK(sample.inventory == Inventory::kKnownOnly);
  CHECK_FALSE(sample.events_unbroken);
  REQUIRE(sample.vms.size() == 1);
  CHECK(cpu(sample, 1) == Reading{Absence::kReadFailed});  // Perhaps of another process.
  CHECK(device(sample, 1, DeviceKind::kCpu).run == run);
  s.host->counters_away = true;
  s.clock.ms += 1000;
  CHECK(s.sampler->read_all().error().code == ErrorCode::kUnavailable);
  s.host->counters_away = s.host->wmi_away = false;
  sample = s.read();
  CHECK(sample.inventory == Inventory::kComplete);
  CHECK(cpu(sample, 1) == Reading{std::uint64_t{400}});  // Two processors of 2 000 times 100 ns.
  CHECK(device(sample, 1, DeviceKind::kCpu).run == run);
}

TEST_CASE("counters that are away cost the counters and nothing else", "[hyperv]") {
  Site s;
  s.vm(1) = {"web"};
  s.host->counters_away = true;
  const Sample sample = s.read();
  CHECK(sample.inventory == Inventory::kComplete);
  CHECK(sample.vms.front().levels.vcores == 2);
  CHECK(cpu(sample, 1) == Reading{Absence::kReadFailed});
}

TEST_CASE("the same runs have the same names after the agent began anew", "[hyperv]") {
  Site first;
  first.vm(1) = {"web", Power::kRunning, 100, 1000, 1, "C:\\a.vhdx"};
  Site second;
  second.vm(1) = first.vm(1);
  first.read();
  CHECK(device(first.read(), 1, DeviceKind::kDisk).run == device(second.read(), 1, DeviceKind::kDisk).run);
}

TEST_CASE("a Windows without Hyper-V's classes is told as such", "[hyperv]") {
  Site s;
  s.host->has_classes = false;
  const Result<Sample> sample = s.sampler->read_all();
  REQUIRE_FALSE(sample.ok());
  CHECK(sample.error().code == ErrorCode::kUnsupported);
  CHECK(sample.error().message.find("not a Hyper-V host") != std::string::npos);
}

TEST_CASE("a planned copy does not take a machine off the bill that runs here", "[hyperv]") {
  Site s;
  s.vm(1) = {"web"};
  s.host->planned.push_back(FakeHost::id(1));
  CHECK(find(s.read(), 1) != nullptr);
  // One that was known before it had a copy stays, whatever it does.
  s.vm(1).power = Power::kOff;
  CHECK(find(s.read(), 1) != nullptr);
  s.vm(2) = {"comes"};
  s.vm(2).power = Power::kPaused;
  s.host->planned.push_back(FakeHost::id(2));
  CHECK(find(s.read(), 2) == nullptr);
}

TEST_CASE("WMI that shows nothing, not even the host, is away, and no machine is gone", "[hyperv]") {
  Site s;
  s.vm(1) = {"web", Power::kRunning, 100, 1000, 1};
  s.vm(1).has_nic = true;
  s.vm(2) = {"off", Power::kOff};
  // The service was not there yet when the agent began: nobody knows that there is no machine.
  s.host->shows_anything = false;
  const Result<Sample> none = s.sampler->read_all();
  REQUIRE_FALSE(none.ok());
  CHECK(none.error().code == ErrorCode::kUnavailable);
  CHECK(none.error().message.find("Hyper-V Administrators") != std::string::npos);
  s.host->shows_anything = true;
  CHECK(s.read().vms.size() == 2);
  CHECK(s.read().vms.size() == 2);
  // However long it is away.
  s.host->shows_anything = false;
  for (int i = 0; i < 20; ++i) {
    const Sample sample = s.read();
    CHECK(sample.inventory == Inventory::kKnownOnly);
    CHECK(find(sample, 1) != nullptr);
  }
  s.host->shows_anything = true;
  const Sample back = s.read();
  CHECK(back.inventory == Inventory::kComplete);
  CHECK(back.events.empty());
  CHECK(back.vms.size() == 2);
  // A host without machines shows itself.
  s.host->vms.clear();
  CHECK(s.read().vms.empty());
}
