// Goal: what holds in every order of readings, events, faults and clock moves.
// Method: RapidCheck draws scripts, a node with its own truth plays them against the meter (tests/agent/random_node.h),
// and a failing script is shrunk. RC_PARAMS='max_success=10000' runs more; a failure prints how to replay it.

#include <rapidcheck.h>
#include <catch2/catch.hpp>

#include <algorithm>

#include "agent/meter_time.h"
#include "tests/agent/random_node.h"

using namespace nodemeter;

namespace {

constexpr MeterIndex kCounters[] = {MeterIndex::kCpuTime, MeterIndex::kDiskWriteBytes};
constexpr MeterIndex kLevels[] = {MeterIndex::kVmHours, MeterIndex::kBaseVmHours, MeterIndex::kMemoryHours,
                                  MeterIndex::kDiskAllocatedHours};

rc::Gen<std::vector<Move>> scripts() {
  const auto act = rc::gen::map(rc::gen::inRange(0, 26), [](int n) {
    return n < 18 ? static_cast<Act>(n) : n < 21 ? Act::kArrive : Act::kSample;
  });
  const auto pause =
      rc::gen::oneOf(rc::gen::inRange<std::int64_t>(0, 30'000), rc::gen::inRange<std::int64_t>(0, 4'000'000));
  return rc::gen::container<std::vector<Move>>(rc::gen::build<Move>(
      rc::gen::set(&Move::act, act), rc::gen::set(&Move::vm, rc::gen::inRange(1, 1 + RandomNode::kVms)),
      rc::gen::set(&Move::after_ms, pause), rc::gen::set(&Move::amount, rc::gen::inRange<std::int64_t>(0, 1000))));
}

std::uint64_t of(const Totals& totals, int vm, MeterIndex meter) {
  const auto found = totals.find({vm, meter});
  return found == totals.end() ? 0 : found->second;
}

// Usage as (vm, hour) to quantities by meter, without marks.
std::map<std::pair<VmId, std::chrono::sys_seconds>, std::map<Uuid, std::uint64_t>> by_hour(const RandomNode& node) {
  std::map<std::pair<VmId, std::chrono::sys_seconds>, std::map<Uuid, std::uint64_t>> hours;
  for (const Entry& entry : node.entries()) {
    if (entry.kind != EntryKind::kUsage) continue;
    for (const MeterValue& value : entry.meters) {
      if (value.quantity != 0) hours[{entry.vm, entry.usage_start}][value.meter] += value.quantity;
    }
  }
  return hours;
}

}  // namespace

TEST_CASE("property: a watched node is metered exactly, whatever its VMs and its clock do", "[property]") {
  CHECK(rc::check([] {
    const auto script = *scripts();
    RandomNode node({});
    node.play(script);
    const Totals metered = node.metered();
    for (int vm = 1; vm <= RandomNode::kVms; ++vm) {
      for (const MeterIndex meter : kLevels) RC_ASSERT(of(metered, vm, meter) == of(node.truth(), vm, meter));
      for (const MeterIndex meter : kCounters) RC_ASSERT(of(metered, vm, meter) == of(node.readable(), vm, meter));
    }
    for (const Entry& entry : node.entries()) RC_ASSERT(entry.gap_ms == 0 && entry.kind != EntryKind::kGap);
  }));
}

TEST_CASE("property: faults never invent, and covered plus gap is the presence to the millisecond", "[property]") {
  CHECK(rc::check([] {
    const auto script = *scripts();
    RandomNode::Options options;
    options.faults = true;
    options.clock = false;
    RandomNode node(options);
    node.play(script);
    const Totals metered = node.metered();
    for (int vm = 1; vm <= RandomNode::kVms; ++vm) {
      for (const MeterIndex meter : kLevels) RC_ASSERT(of(metered, vm, meter) <= of(node.truth(), vm, meter));
      for (const MeterIndex meter : kCounters) RC_ASSERT(of(metered, vm, meter) <= of(node.readable(), vm, meter));
      const std::uint64_t presence = of(node.truth(), vm, MeterIndex::kVmHours);
      RC_ASSERT(node.accounted_ms(vm) == static_cast<std::int64_t>(presence));
    }
  }));
}

TEST_CASE("property: registers never fall and are the sum of what was recorded, within faults and clock moves",
          "[property]") {
  CHECK(rc::check([] {
    const auto script = *scripts();
    RandomNode::Options options;
    options.faults = true;
    RandomNode node(options);
    node.play(script);
    std::map<std::pair<VmId, Uuid>, std::uint64_t> registers;
    std::map<VmId, std::uint64_t> covered, vm_ms;
    for (const Entry& entry : node.entries()) {
      if (entry.kind != EntryKind::kUsage) continue;
      covered[entry.vm] += entry.covered_ms;
      for (const MeterValue& value : entry.meters) {
        std::uint64_t& reading = registers[{entry.vm, value.meter}];
        RC_ASSERT(value.reading >= reading);
        RC_ASSERT(value.reading - reading == value.quantity);
        reading = value.reading;
        if (find_meter(value.meter)->index == MeterIndex::kVmHours) vm_ms[entry.vm] += value.quantity;
      }
      RC_ASSERT((entry.gap_ms != 0) == ((entry.status & status_bit::kGap) != 0));
    }
    for (const auto& [vm, sum] : covered) RC_ASSERT(vm_ms[vm] == sum);
  }));
}

TEST_CASE("property: what the clock does changes no total", "[property]") {
  CHECK(rc::check([] {
    const auto script = *scripts();
    RandomNode::Options still;
    still.clock = false;
    RandomNode moved({}), unmoved(still);
    moved.play(script);
    unmoved.play(script);
    RC_ASSERT(moved.metered() == unmoved.metered());
  }));
}

TEST_CASE("property: a restart at any sample changes nothing but the declared gap and its mark", "[property]") {
  CHECK(rc::check([] {
    const auto script = *scripts();
    RandomNode::Options options;
    options.restart_every = *rc::gen::inRange(1, 4);
    RandomNode restarted(options), undisturbed({});
    restarted.play(script);
    undisturbed.play(script);
    RC_ASSERT(restarted.metered() == undisturbed.metered());
    RC_ASSERT(by_hour(restarted) == by_hour(undisturbed));
    for (int vm = 1; vm <= RandomNode::kVms; ++vm)
      RC_ASSERT(restarted.accounted_ms(vm) == undisturbed.accounted_ms(vm));
  }));
}

TEST_CASE("property: the order in which devices are listed changes nothing", "[property]") {
  CHECK(rc::check([] {
    const auto script = *scripts();
    RandomNode::Options forwards;
    forwards.faults = true;
    RandomNode::Options backwards = forwards;
    backwards.reversed = true;
    RandomNode a(forwards), b(backwards);
    a.play(script);
    b.play(script);
    RC_ASSERT(a.entries() == b.entries());
  }));
}

TEST_CASE("property: how often a watched node is sampled changes no allocation, and loses no more use", "[property]") {
  CHECK(rc::check([] {
    const auto script = *scripts();
    RandomNode::Options often;
    often.split_ms = *rc::gen::inRange<std::int64_t>(60'000, 900'000);
    RandomNode a(often), b({});
    a.play(script);
    b.play(script);
    const Totals more = a.metered();
    const Totals less = b.metered();
    for (int vm = 1; vm <= RandomNode::kVms; ++vm) {
      for (const MeterIndex meter : kLevels) RC_ASSERT(of(more, vm, meter) == of(less, vm, meter));
      for (const MeterIndex meter : kCounters) RC_ASSERT(of(more, vm, meter) >= of(less, vm, meter));
    }
  }));
}

TEST_CASE("property: state rows give back what was stored, and nothing shorter decodes", "[property]") {
  CHECK(rc::check([] {
    const auto script = *scripts();
    RandomNode::Options options;
    options.faults = true;
    RandomNode node(options);
    node.play(script);
    for (const auto& [key, row] : node.rows()) {
      auto cut = node.rows();
      cut[key] = row.substr(0, *rc::gen::inRange<std::size_t>(0, row.size()));
      const bool read = key.rfind("gone/", 0) != 0;  // Those are read one at a time, when a VM comes back.
      RC_ASSERT(!read || !decode_rows({cut.begin(), cut.end()}).ok());
      if (key == kNodeRowKey) {
        RC_ASSERT(encode_node_state(*decode_node_state(row)) == row);
      } else if (key != kMovedRowKey) {
        RC_ASSERT(encode_vm_state(*decode_vm_state(row)) == row);
        RC_ASSERT(!decode_vm_state(cut[key]));
      }
    }
    const auto stored = decode_rows({node.rows().begin(), node.rows().end()});
    RC_ASSERT(stored->vms.size() == node.meter().vms().size());
    for (const VmState& vm : stored->vms)
      RC_ASSERT(encode_vm_state(vm) == encode_vm_state(node.meter().vms().at(vm.vm)));
  }));
}

TEST_CASE("property: a difference over many hours is split in proportion, floor first, and nothing of it is lost",
          "[property]") {
  CHECK(rc::check([] {
    const auto begin = *rc::gen::inRange<std::int64_t>(0, 2 * kHourMs);
    const auto span = *rc::gen::inRange<std::int64_t>(1, 6 * kHourMs);
    const auto delta = *rc::gen::oneOf(rc::gen::inRange<std::uint64_t>(0, 100),
                                       rc::gen::inRange<std::uint64_t>(0, std::uint64_t{1} << 62));
    Meter meter({});
    BootId boot;
    boot.bytes[0] = 1;
    const auto monotonic = [](std::int64_t ms) { return MonotonicTime{Milliseconds{ms}}; };
    meter.begin_empty(boot, monotonic(0), UtcTime{});
    std::vector<Entry> entries;
    for (const bool end : {false, true}) {
      Sample sample;
      sample.boot = boot;
      sample.taken_at = monotonic(end ? begin + span : begin);
      sample.wall = UtcTime{sample.taken_at.time_since_epoch()};
      sample.events_unbroken = true;
      DeviceReading cpu;
      cpu.run = 1;
      cpu.read_at = sample.taken_at;
      cpu.counters[kCpuTimeUs] = end ? delta : std::uint64_t{0};
      sample.vms.push_back({VmId(Uuid{{1}}), "", Levels{Power::kRunning, 1, 1, 1}, Owner{}, std::nullopt, {cpu}});
      for (Entry& entry : meter.step(sample)) entries.push_back(std::move(entry));
    }
    for (Entry& entry : meter.close_all()) entries.push_back(std::move(entry));
    std::uint64_t given = 0;
    for (const Entry& entry : entries) {
      if (entry.kind != EntryKind::kUsage) continue;
      for (const MeterValue& value : entry.meters) {
        if (find_meter(value.meter)->index == MeterIndex::kCpuTime) given += value.quantity;
      }
      const std::int64_t edge = Milliseconds(entry.usage_end.time_since_epoch()).count();
      if (edge >= begin + span) continue;
      // The largest whole number that is not above its share.
      const auto share =
          static_cast<unsigned __int128>(delta) * static_cast<std::uint64_t>(std::max<std::int64_t>(0, edge - begin));
      RC_ASSERT(static_cast<unsigned __int128>(given) * static_cast<std::uint64_t>(span) <= share);
      RC_ASSERT(share < static_cast<unsigned __int128>(given + 1) * static_cast<std::uint64_t>(span));
    }
    RC_ASSERT(given == delta);
  }));
}
