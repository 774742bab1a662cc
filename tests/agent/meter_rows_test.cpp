// Goal: what the meter remembers is in its rows after every sample, and an ordinary sample changes little of them.
// Method: states with drawn numbers, and a metered node whose rows are looked at. (That the rows give back the state is
// checked after every sample of every test that uses MeterFixture.)

#include <catch2/catch.hpp>

#include "meter_fixture.h"
#include "platform/random.h"

using namespace nodemeter;

namespace {

VmState vm_with_devices(Random& random) {
  VmState vm;
  vm.vm = VmId(random.uuid());
  vm.name = "web";
  vm.present = true;
  vm.levels = {Power::kRunning, 4, 8192, 65536};
  for (const DeviceKind kind : {DeviceKind::kCpu, DeviceKind::kDisk, DeviceKind::kNic}) {
    DeviceTrack& track = vm.tracks.emplace_back();
    track.kind = kind;
    track.id = "device";
    track.base[0] = CounterBase{};
    if (kind != DeviceKind::kCpu) track.base[3] = CounterBase{};
  }
  for (const std::int64_t hour : {490'000, 490'001}) vm.hours[hour].owner = vm.owner;
  return vm;
}

// Any number, small ones and extremes included.
std::uint64_t draw(Random& random) { return random.next() >> random.below(64); }

void draw_numbers(Random& random, VmState& vm) {
  const auto instant = [&] { return Milliseconds(static_cast<std::int64_t>(draw(random))); };
  vm.seen = MonotonicTime{instant()};
  vm.seen_utc = UtcTime{instant()};
  for (DeviceTrack& track : vm.tracks) {
    for (std::optional<CounterBase>& base : track.base) {
      if (base) base = CounterBase{draw(random), MonotonicTime{instant()}};
    }
  }
  for (auto& [hour, open] : vm.hours) {
    open.covered_ms = draw(random);
    for (std::uint64_t& quantity : open.quantity) quantity = draw(random);
  }
}

using Rows = std::vector<std::pair<std::string, std::string>>;

Rows rows_of(const std::vector<VmState>& before, const std::vector<VmState>& now) {
  Rows rows;
  MovedRow moved;
  for (std::size_t i = 0; i < before.size(); ++i) {
    rows.emplace_back(vm_row_key(before[i].vm), encode_vm_state(before[i]));
    REQUIRE(moved.add(now[i], before[i]));
  }
  rows.emplace_back(kMovedRowKey, moved.take());
  return rows;
}

std::size_t total_bytes(const std::vector<std::pair<std::string, std::optional<std::string>>>& rows) {
  std::size_t bytes = 0;
  for (const auto& [key, row] : rows) bytes += key.size() + row.value_or("").size();
  return bytes;
}

}  // namespace

TEST_CASE("numbers that moved in any way come back", "[rows]") {
  Random random(11);
  for (int round = 0; round < 300; ++round) {
    std::vector<VmState> before;
    for (int n = 0; n < 3; ++n) before.push_back(vm_with_devices(random));
    std::ranges::sort(before, {}, &VmState::vm);
    for (VmState& vm : before) draw_numbers(random, vm);
    std::vector<VmState> now = before;
    for (VmState& vm : now) {
      if (!random.chance(1, 4)) draw_numbers(random, vm);
    }
    const auto stored = decode_rows(rows_of(before, now));
    REQUIRE(stored.ok());
    REQUIRE(stored->vms.size() == now.size());
    for (std::size_t i = 0; i < now.size(); ++i) {
      REQUIRE(encode_vm_state(stored->vms[i]) == encode_vm_state(now[i]));
    }
  }
}

TEST_CASE("a row of moves that does not fit the VMs is refused", "[rows]") {
  Random random(12);
  std::vector<VmState> vms{vm_with_devices(random), vm_with_devices(random)};
  std::ranges::sort(vms, {}, &VmState::vm);
  std::vector<VmState> now = vms;
  for (VmState& vm : now) draw_numbers(random, vm);
  const Rows rows = rows_of(vms, now);
  REQUIRE(decode_rows(rows).ok());
  const std::string& moved = rows.back().second;
  for (std::size_t cut = 0; cut < moved.size(); ++cut) {
    Rows damaged = rows;
    damaged.back().second = moved.substr(0, cut);
    CHECK_FALSE(decode_rows(damaged).ok());
  }
  Rows more = rows;
  more.back().second += '\0';
  CHECK_FALSE(decode_rows(more).ok());
  Rows fewer_vms(rows.begin() + 1, rows.end());
  CHECK_FALSE(decode_rows(fewer_vms).ok());
  Rows another_vm = rows;
  another_vm.front().second = encode_vm_state(vm_with_devices(random));
  CHECK_FALSE(decode_rows(another_vm).ok());
}

TEST_CASE("whatever is not a number that time moves is in the VM's own row", "[rows]") {
  Random random(13);
  const VmState row = vm_with_devices(random);
  const std::vector<std::pair<const char*, std::function<void(VmState&)>>> changes{
      {"name", [](VmState& vm) { vm.name = "x"; }},
      {"presence", [](VmState& vm) { vm.present = false; }},
      {"definition left behind", [](VmState& vm) { vm.left_behind = true; }},
      {"power", [](VmState& vm) { vm.levels.power = Power::kPaused; }},
      {"cores", [](VmState& vm) { ++vm.levels.vcores; }},
      {"memory", [](VmState& vm) { ++vm.levels.memory_mib; }},
      {"disks", [](VmState& vm) { vm.levels.disk_mib.reset(); }},
      {"owner", [](VmState& vm) { vm.owner = std::make_shared<const Owner>(); }},
      {"boot", [](VmState& vm) { vm.boot.bytes[0] = 9; }},
      {"device gone", [](VmState& vm) { vm.tracks.pop_back(); }},
      {"device kind", [](VmState& vm) { vm.tracks[1].kind = DeviceKind::kNic; }},
      {"device id", [](VmState& vm) { vm.tracks[1].id = "y"; }},
      {"run", [](VmState& vm) { vm.tracks[1].run = 7; }},
      {"baseline", [](VmState& vm) { vm.tracks[1].base[2] = CounterBase{}; }},
      {"register", [](VmState& vm) { vm.registers[3] = 1; }},
      {"hour", [](VmState& vm) { vm.hours.erase(490'000); }},
      {"another hour", [](VmState& vm) { vm.hours[490'002].owner = vm.owner; }},
      {"gap", [](VmState& vm) { vm.hours[490'000].gap_ms = -1; }},
      {"mark", [](VmState& vm) { vm.hours[490'000].status = 1; }},
      {"meters", [](VmState& vm) { vm.hours[490'000].metered = 1; }},
      {"cores of an hour", [](VmState& vm) { vm.hours[490'000].vcores = 1; }},
      {"owner of an hour", [](VmState& vm) { vm.hours[490'000].owner = std::make_shared<const Owner>(); }},
  };
  for (const auto& [what, change] : changes) {
    INFO(what);
    VmState now = row;
    change(now);
    MovedRow moved;
    CHECK_FALSE(moved.add(now, row));
    CHECK(moved.add(row, row));
  }
}

TEST_CASE("an ordinary sample writes one small row for all VMs", "[rows]") {
  MeterFixture f;
  f.empty_from(0);
  for (int n = 1; n <= 20; ++n) {
    f.vm(n).began_s = 0;
    f.vm(n).disk_write_bytes = 0;
  }
  f.at(0);
  for (int s = 10; s < 600; s += 10) {
    for (int n = 1; n <= 20; ++n) {
      *f.vm(n).cpu_us += 9'000'000;
      *f.vm(n).disk_write_bytes += 123'456'789;
    }
    f.at(s);
  }
  const auto rows = f.last_rows();
  REQUIRE(rows.size() == 2);
  CHECK(rows[0].first == kMovedRowKey);
  CHECK(rows[1].first == kNodeRowKey);
  CHECK(total_bytes(rows) < 20 * 40 + 150);

  // Only what changed is written beside it.
  f.vm(7).name = "renamed";
  f.at(600);
  REQUIRE(f.last_rows().size() == 3);
  CHECK(f.last_rows()[0].first == vm_row_key(vm_id(7)));
}
