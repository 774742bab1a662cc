// Goal: every counter is joined to its own machine and device, or to none.
// Method: a host in memory whose names, files and processors change between samples; one case each.

#include "tests/collectors/hyperv_site.h"

using namespace nodemeter;

TEST_CASE("CPU of machines that share a display name is not read, and never shared out", "[hyperv]") {
  Site s;
  s.vm(1) = {"web"};
  s.vm(2) = {"web"};
  s.vm(3) = {"db"};
  s.vm(3).ticks = 1000;
  Sample sample = s.read();
  CHECK(cpu(sample, 1) == Reading{Absence::kReadFailed});
  CHECK(cpu(sample, 2) == Reading{Absence::kReadFailed});
  CHECK(cpu(sample, 3) == Reading{std::uint64_t{200}});
  // Off, its namesake has no processors; but those that were read before the list may still be its.
  s.vm(2).power = Power::kOff;
  s.vm(1).ticks = 500;
  CHECK(cpu(s.read(), 1) == Reading{Absence::kReadFailed});
  CHECK(cpu(s.read(), 1) == Reading{std::uint64_t{100}});
  // Nobody guesses which one "#1" is.
  s.host->instead[0] = {ColumnState::kRead, 0x20510500, "", {{"web:Hv VP 0", 10, true}, {"web:Hv VP 0#1", 10, true}}};
  CHECK(cpu(s.read(), 1) == Reading{Absence::kReadFailed});
}

TEST_CASE("an image file that two machines run with is nobody's", "[hyperv]") {
  Site s;
  s.vm(1) = {"a", Power::kRunning, 100, 1000, 1, "C:\\shared.vhdx"};
  s.vm(2) = {"b", Power::kRunning, 101, 1000, 1, "C:\\shared.vhdx"};
  CHECK(device(s.read(), 1, DeviceKind::kDisk).counters[0] == Reading{Absence::kReadFailed});
  s.vm(2).power = Power::kOff;
  CHECK(device(s.read(), 1, DeviceKind::kDisk).counters[0] == Reading{Absence::kReadFailed});
  CHECK(device(s.read(), 1, DeviceKind::kDisk).counters[0] == Reading{std::uint64_t{0}});
}

TEST_CASE("what an image file counted while two machines ran with it is billed to neither", "[hyperv]") {
  Site s;
  s.vm(1) = {"a", Power::kRunning, 100, 1000, 1, "C:\\shared.vhdx"};
  s.vm(1).disk = {100, 100, 100, 100};
  const Sample alone = s.read();
  s.vm(2) = {"b", Power::kOff, 101, s.clock.ms + 1, 1, "C:\\shared.vhdx"};
  s.notify(2, WmiNotice::Kind::kCreated);
  s.vm(2).power = Power::kRunning;
  s.vm(2).state_changed = "2";
  s.clock.ms += 1000;
  s.notify(2, WmiNotice::Kind::kChanged);
  const Sample both = s.read();
  CHECK(device(both, 2, DeviceKind::kCpu).begun);
  CHECK_FALSE(device(both, 2, DeviceKind::kDisk).begun);
  s.host->vms.erase(FakeHost::id(1));
  s.vm(2).disk = {900, 900, 900, 900};
  s.read();
  CHECK_FALSE(device(s.read(), 2, DeviceKind::kDisk).begun);
  CHECK(device(both, 1, DeviceKind::kDisk).run != device(alone, 1, DeviceKind::kDisk).run);
}

TEST_CASE("an image file that goes from one machine to another is not read while it may be either's", "[hyperv]") {
  Site s;
  s.vm(1) = {"a", Power::kRunning, 100, 1000, 1, "C:\\a.vhdx"};
  s.vm(1).disk = {100, 100, 100, 100};
  s.read();
  s.host->vms.erase(FakeHost::id(1));
  s.vm(2) = {"b", Power::kRunning, 101, 1000, 1, "C:\\a.vhdx"};
  s.vm(2).disk = {100, 100, 100, 100};  // Still the other's.
  CHECK(device(s.read(), 2, DeviceKind::kDisk).counters[0] == Reading{Absence::kReadFailed});
  const Sample later = s.read();
  CHECK(device(later, 2, DeviceKind::kDisk).counters[0] == Reading{std::uint64_t{100}});
  CHECK_FALSE(device(later, 2, DeviceKind::kDisk).begun);
}

TEST_CASE("processors are nobody's while one who had their name may be meant", "[hyperv]") {
  Site s;
  s.vm(1) = {"web"};
  s.vm(1).ticks = 1000;
  s.read();
  // The counters were read while the one was still here, the list is of the other.
  s.host->vms.erase(FakeHost::id(1));
  s.vm(2) = {"web"};
  s.vm(2).ticks = 1000;
  CHECK(cpu(s.read(), 2) == Reading{Absence::kReadFailed});
  CHECK(cpu(s.read(), 2) == Reading{std::uint64_t{200}});
  // Renamed, its instances may keep its old name, which another machine has taken; that one's are not shown.
  s.vm(2).name = "other";
  s.vm(2).counter_name = "web";
  s.read();
  s.vm(3) = {"web"};
  s.vm(3).counter_name = "not shown";
  s.read();
  CHECK(cpu(s.read(), 3) == Reading{Absence::kReadFailed});
  // Shown under its new name, it has given up the old one.
  s.vm(2).counter_name = s.vm(3).counter_name = "";
  s.read();
  CHECK(cpu(s.read(), 2) == Reading{std::uint64_t{200}});
  CHECK(cpu(s.read(), 3) == Reading{std::uint64_t{0}});
}

TEST_CASE("a sum of processors of which some were missing is no baseline for all of them", "[hyperv]") {
  Site s;
  s.vm(1) = {"web", Power::kRunning, 100, 1000, 4, ""};
  s.vm(1).ticks = 1'000'000;
  s.host->instead[0] = {ColumnState::kRead, 0x20510500, "", {{"web:Hv VP 0", 1'000'000, true}}};
  CHECK(cpu(s.read(), 1) == Reading{Absence::kReadFailed});
  s.host->instead.clear();
  const Sample whole = s.read();
  CHECK(cpu(whole, 1) == Reading{std::uint64_t{400'000}});
  // More than it was given: another sum.
  s.host->instead[0] = {ColumnState::kRead, 0x20510500, "", {}};
  for (int n = 0; n < 5; ++n) {
    s.host->instead[0].values.push_back({"web:Hv VP " + std::to_string(n), 1'000'000, true});
  }
  const Sample more = s.read();
  CHECK(device(more, 1, DeviceKind::kCpu).run != device(whole, 1, DeviceKind::kCpu).run);
  CHECK_FALSE(device(more, 1, DeviceKind::kCpu).begun);
}

TEST_CASE("a disk of a new process that has another file, too, is not measured by the file before", "[hyperv]") {
  Site s;
  s.vm(1) = {"web", Power::kRunning, 100, 1000, 1, "C:\\a.vhdx"};
  s.vm(1).disk = {100, 100, 100, 100};
  s.read();
  s.vm(1).process = 101;
  s.vm(1).began_ms = s.clock.ms + 5000;
  s.vm(1).path = "C:\\a_1B2A.avhdx";
  s.vm(1).disk = {50, 50, 50, 50};
  CHECK_FALSE(device(s.read(), 1, DeviceKind::kDisk).begun);
}

TEST_CASE("after renames that swap two names no processor is taken for the other's", "[hyperv]") {
  Site s;
  s.vm(1) = {"a"};
  s.vm(1).ticks = 1000;
  s.vm(2) = {"b"};
  s.vm(2).ticks = 9000;
  s.read();
  // The rows have the new names; the instances still have the old ones, or do not: nobody can tell.
  std::swap(s.vm(1).name, s.vm(2).name);
  std::swap(s.vm(1).ticks, s.vm(2).ticks);
  Sample sample = s.read();
  CHECK(cpu(sample, 1) == Reading{Absence::kReadFailed});
  CHECK(cpu(sample, 2) == Reading{Absence::kReadFailed});
  // A name that nobody had is its own.
  std::swap(s.vm(1).ticks, s.vm(2).ticks);
  s.vm(1).name = "c";
  CHECK(cpu(s.read(), 1) == Reading{std::uint64_t{200}});
}

TEST_CASE("processors that are missing from a pass do not make the sum fall", "[hyperv]") {
  Site s;
  s.vm(1) = {"web", Power::kRunning, 100, 1000, 4, ""};
  s.vm(1).ticks = 1000;
  CHECK(cpu(s.read(), 1) == Reading{std::uint64_t{400}});
  s.host->instead[0] = {ColumnState::kRead, 0x20510500, "", {{"web:Hv VP 0", 2000, true}, {"web:Hv VP 1", 2000, true}}};
  const Sample sample = s.read();
  CHECK(cpu(sample, 1) == Reading{Absence::kReadFailed});
  CHECK(sample.vms.front().levels.vcores == 4);  // Counted from the settings.
  s.host->instead.clear();
  CHECK(cpu(s.read(), 1) == Reading{std::uint64_t{400}});
}

TEST_CASE("a disk whose file changes goes on under another run, without a start", "[hyperv]") {
  Site s;
  s.vm(1) = {"web", Power::kRunning, 100, 1000, 1, "C:\\a.vhdx"};
  s.vm(1).disk = {50, 50, 50, 50};
  const Sample before = s.read();
  s.vm(1).path = "C:\\a_1B2A.avhdx";
  const Sample after = s.read();
  CHECK(device(after, 1, DeviceKind::kDisk).id == device(before, 1, DeviceKind::kDisk).id);
  CHECK(device(after, 1, DeviceKind::kDisk).run != device(before, 1, DeviceKind::kDisk).run);
  CHECK_FALSE(device(after, 1, DeviceKind::kDisk).begun);
}

TEST_CASE("an adapter that is plugged in counts from zero since the sample before", "[hyperv]") {
  Site s;
  s.vm(1) = {"web"};
  const Sample before = s.read();
  s.vm(1).has_nic = true;
  s.vm(1).vcores = 3;  // Makes the configuration another one.
  const Sample after = s.read();
  CHECK(device(after, 1, DeviceKind::kNic).begun == before.taken_at);
  // If the pass before could not read adapters, it may have been there.
  s.vm(2) = {"db"};
  s.host->instead[7] = {ColumnState::kFailed, 0, "", {}};
  s.read();
  s.host->instead.clear();
  s.vm(2).has_nic = true;
  s.vm(2).vcores = 3;
  CHECK_FALSE(device(s.read(), 2, DeviceKind::kNic).begun);
}
