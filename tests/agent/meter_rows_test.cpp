// Goal: what the meter remembers is in its rows after every sample, and an ordinary sample changes little of them.
// Method: states with drawn numbers, and a metered node whose rows are looked at. (That the rows give back the state is
// checked after every sample of every test that uses MeterFixture.)

#include <catch2/catch.hpp>

#include "platform/digest.h"
#include "platform/random.h"
#include "tests/agent/meter_fixture.h"

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

TEST_CASE("a row of moves has the bytes that every version writes, and what moved as expected takes none", "[rows]") {
  Random random(15);
  VmState row = vm_with_devices(random);
  row.vm = VmId(*Uuid::parse("6f1c0001-0000-4000-8000-000000000001"));
  const bool disk_known = GENERATE(true, false);
  if (!disk_known) row.levels.disk_mib.reset();
  row.hours[490'001].covered_ms = 3000;
  VmState now = row;
  now.seen += Milliseconds(10'000);
  now.seen_utc += Milliseconds(10'000);
  for (DeviceTrack& track : now.tracks) {
    for (std::optional<CounterBase>& base : track.base) {
      if (base) base->read_at += Milliseconds(10'000);
    }
  }
  now.tracks[1].base[kReadBytes]->value += 500;
  OpenHour& open = now.hours[490'001];
  open.covered_ms += 10'000;
  at(open.quantity, kVmHours) += 10'000;
  at(open.quantity, kVcores) += 4 * 10'000;
  at(open.quantity, kMemory) += 8192 * 10'000;
  if (disk_known) at(open.quantity, kDiskSize) += 65536 * 10'000;
  at(open.quantity, MeterIndex::kDiskReadBytes) += 500;
  MovedRow moved;
  REQUIRE(moved.add(now, row));
  CHECK(to_hex(moved.take()) ==
        "01"
        "01000000"
        "6f1c0001"
        "11"
        "a09c01"
        "e807"
        "0000000000");
}

TEST_CASE("a row of moves has room for as many and as long numbers as there can be", "[rows]") {
  constexpr std::uint64_t kLongest = 1ull << 63;
  for (const int disks : {0, 10}) {
    VmState row;
    for (int i = 0; i < disks; ++i) {
      row.tracks.emplace_back().kind = DeviceKind::kDisk;
      row.tracks.back().base.fill(CounterBase{});
    }
    if (disks > 0) row.hours[490'000].owner = row.hours[490'001].owner = row.owner;
    // Either half of 2^64 away from what is expected.
    VmState now = row;
    now.seen = MonotonicTime{Milliseconds::min()};
    for (DeviceTrack& track : now.tracks) {
      for (std::optional<CounterBase>& base : track.base) base->value = kLongest;
    }
    for (auto& [hour, open] : now.hours) {
      open.covered_ms = hour == 490'000 ? kLongest : 0;
      open.quantity.fill(kLongest);
    }
    MovedRow moved;
    REQUIRE(moved.add(now, row));
    const std::string bytes = moved.take();
    const std::size_t numbers = disks == 0 ? 2 : 2 + 10 * 2 * kCountersMax + 2 * (1 + kMeterCount);
    CHECK(bytes.size() == 5 + 4 + 10 * numbers + (numbers + 7) / 8);
    const auto stored = decode_rows({{vm_row_key(row.vm), encode_vm_state(row)}, {std::string(kMovedRowKey), bytes}});
    REQUIRE(stored.ok());
    CHECK(encode_vm_state(stored->vms.at(0)) == encode_vm_state(now));
  }
}

TEST_CASE("rows may come in any order", "[rows]") {
  Random random(16);
  std::vector<VmState> vms{vm_with_devices(random), vm_with_devices(random), vm_with_devices(random)};
  std::ranges::sort(vms, {}, &VmState::vm);
  std::vector<VmState> now = vms;
  for (VmState& vm : now) draw_numbers(random, vm);
  Rows rows = rows_of(vms, now);
  std::ranges::reverse(rows);
  const auto stored = decode_rows(rows);
  REQUIRE(stored.ok());
  for (std::size_t i = 0; i < now.size(); ++i) CHECK(encode_vm_state(stored->vms[i]) == encode_vm_state(now[i]));
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
      {"run set aside", [](VmState& vm) { vm.former = vm.tracks; }},
      {"time without a process", [](VmState& vm) { vm.no_run_at.emplace(); }},
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

TEST_CASE("state rows give back exactly what was stored", "[rows]") {
  Random random(14);
  for (const bool known : {true, false}) {
    VmState vm = vm_with_devices(random);
    draw_numbers(random, vm);
    vm.former = vm.tracks;
    for (DeviceTrack& track : vm.former) track.run = draw(random);
    vm.left_behind = !known;
    if (known) vm.no_run_at = vm.seen;
    if (!known) vm.levels.disk_mib.reset();
    Owner owner = owned_by(8);
    owner.known = owner.windows_licence = known;
    owner.billable = !known;
    owner.tags["a"] = "b";
    vm.owner = std::make_shared<const Owner>(owner);
    for (std::uint64_t& sum : vm.registers) sum = draw(random);
    Owner before;
    before.tags[""] = "";
    vm.hours.rbegin()->second.owner = std::make_shared<const Owner>(before);
    const std::string row = encode_vm_state(vm);
    const auto decoded = decode_vm_state(row);
    REQUIRE(decoded);
    CHECK(encode_vm_state(*decoded) == row);
    CHECK(decoded->former == vm.former);
    CHECK(decoded->tracks == vm.tracks);
    CHECK(decoded->no_run_at == vm.no_run_at);
    CHECK(decoded->levels == vm.levels);
    CHECK(*decoded->owner == owner);
    CHECK(*decoded->hours.rbegin()->second.owner == before);
    CHECK(decoded->registers == vm.registers);
    for (std::size_t cut = 0; cut < row.size(); ++cut) CHECK_FALSE(decode_vm_state(row.substr(0, cut)));
    CHECK_FALSE(decode_vm_state(row + '\0'));
  }
}

TEST_CASE("rows of earlier layouts are read, rows of unknown ones are refused", "[rows]") {
  Random random(18);
  NodeState node;
  node.started = true;
  node.closed_until = 490'000;
  VmState vm = vm_with_devices(random);
  vm.hours.clear();
  std::string node_row = encode_node_state(node);
  std::string vm_row = encode_vm_state(vm);
  node_row.resize(node_row.size() - 16);                       // Without a gap that goes on.
  vm_row.erase(vm_row.size() - 13 - 8 * kMeterCount - 4, 13);  // Without runs set aside.
  for (const char layout : {'\0', '\1', '\2', '\3'}) {
    node_row[0] = vm_row[0] = layout;
    const auto read_node = decode_node_state(node_row);
    const auto read_vm = decode_vm_state(vm_row);
    REQUIRE(read_node.has_value() == (layout == 1));
    REQUIRE(read_vm.has_value() == (layout == 1));
    if (layout != 1) continue;
    CHECK(encode_node_state(*read_node) == encode_node_state(node));
    CHECK(encode_vm_state(*read_vm) == encode_vm_state(vm));
  }
}

TEST_CASE("an owner that holds for all of a VM's hours is stored once", "[rows]") {
  Random random(17);
  VmState vm = vm_with_devices(random);
  Owner owner = owned_by(8);
  owner.name = "once";
  vm.owner = std::make_shared<const Owner>(owner);
  for (auto& [hour, open] : vm.hours) open.owner = vm.owner;
  const std::string row = encode_vm_state(vm);
  CHECK(row.find("once") == row.rfind("once"));
  vm.hours.begin()->second.owner = std::make_shared<const Owner>(owner);
  CHECK(encode_vm_state(vm) == row);
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

TEST_CASE("rows are written for what changed only, and taken once", "[rows]") {
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

TEST_CASE("a VM that was forgotten and comes back within one commit keeps its row and its registers", "[rows]") {
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

TEST_CASE("a VM that was never used leaves no row behind", "[rows]") {
  MeterFixture f;
  f.empty_from(0);
  f.at(0);
  f.bare_event(5, 1, VmEventKind::kPaused);
  f.at(10);
  CHECK(f.rows().count(vm_row_key(vm_id(1))) == 0);
  CHECK(f.rows().count(gone_row_key(vm_id(1))) == 0);
}

TEST_CASE("closing everything leaves of a VM that left its registers only", "[rows]") {
  MeterFixture f;
  run_one(f);
  f.event(5, 1, VmEventKind::kDeparted, "deleted");
  f.remove(1);
  f.at(10);
  f.close();
  CHECK(f.meter().vms().empty());
  CHECK(f.rows().count(vm_row_key(vm_id(1))) == 0);
  CHECK(f.rows().count(gone_row_key(vm_id(1))) == 1);
}

TEST_CASE("a VM that nobody counted and that arrives within the same commit has its row", "[rows]") {
  MeterFixture f;
  f.empty_from(0);
  f.keep_rows_back(true);
  f.bare_event(5, 1, VmEventKind::kPaused);
  f.at(10);
  f.vm(1).began_s = 13;
  f.event(13, 1, VmEventKind::kArrived, "created");
  f.at(20);
  f.keep_rows_back(false);
  CHECK(f.rows().count(vm_row_key(vm_id(1))) == 1);
}

TEST_CASE("a row that was given out is not given out again, and holds no row before it", "[rows]") {
  MeterFixture f;
  run_one(f);
  f.vm(2).began_s = 0;
  f.event(10, 1, VmEventKind::kDeparted, "deleted");
  f.remove(1);
  f.at(10);
  f.at(3630);
  const std::string gone = f.rows().at(gone_row_key(vm_id(1)));
  CHECK(decode_vm_state(gone));
  CHECK(f.meter().take_changed_rows().empty());
  f.at(3640);
  for (const auto& [key, row] : f.last_rows()) CHECK(key.find(vm_id(1).text()) == std::string::npos);
  CHECK(f.rows().at(gone_row_key(vm_id(1))) == gone);
  f.vm(2).name = "renamed";
  f.at(3650);
  REQUIRE(f.meter().vms().at(vm_id(2)).row);
  CHECK_FALSE(f.meter().vms().at(vm_id(2)).row->row);
}
