#include "agent/meter_rows.h"

#include <algorithm>

#include "platform/bytes.h"
#include "platform/contract.h"

namespace nodemeter {

namespace {

constexpr std::uint8_t kMovedLayout = 1;
constexpr std::size_t kMovedHead = 5;  // Layout and number of VMs.
constexpr std::size_t kNumberBytesMax = 10;

std::uint64_t bits(std::uint64_t v) { return v; }
std::uint64_t bits(MonotonicTime t) { return static_cast<std::uint64_t>(t.time_since_epoch().count()); }
std::uint64_t bits(UtcTime t) { return static_cast<std::uint64_t>(t.time_since_epoch().count()); }

void set_bits(std::uint64_t& v, std::uint64_t to) { v = to; }
template <class Time>
void set_bits(Time& t, std::uint64_t to) {
  t = Time{Milliseconds{static_cast<std::int64_t>(to)}};
}

std::uint64_t zigzag(std::uint64_t v) { return (v << 1) ^ (0 - (v >> 63)); }
std::uint64_t unzigzag(std::uint64_t v) { return (v >> 1) ^ (0 - (v & 1)); }

std::string_view id_start(const VmId& vm) { return {reinterpret_cast<const char*>(vm.bytes.data()), 4}; }

MeterIndex meter_of(DeviceKind kind, std::size_t counter) {
  constexpr auto index = [](MeterIndex first, std::size_t n) {
    return static_cast<MeterIndex>(static_cast<std::size_t>(first) + n);
  };
  switch (kind) {
    case DeviceKind::kDisk: return index(MeterIndex::kDiskReadBytes, counter);
    case DeviceKind::kNic: return index(MeterIndex::kNetworkReceiveBytes, counter);
    case DeviceKind::kCpu: break;
  }
  return MeterIndex::kCpuTime;
}

// Everything but the numbers below. `row` has its owners from `now`, or else it is an older one.
bool same_shape(const VmState& now, const VmState& row) {
  const auto same_base = [](const auto& a, const auto& b) { return a.has_value() == b.has_value(); };
  const auto same_track = [&](const DeviceTrack& a, const DeviceTrack& b) {
    return a.run == b.run && a.kind == b.kind && a.id == b.id &&
           std::equal(a.base.begin(), a.base.end(), b.base.begin(), same_base);
  };
  const auto same_hour = [](const auto& a, const auto& b) {
    const OpenHour& x = a.second;
    const OpenHour& y = b.second;
    return a.first == b.first && x.gap_ms == y.gap_ms && x.status == y.status && x.metered == y.metered &&
           x.vcores == y.vcores && x.owner == y.owner;
  };
  return now.present == row.present && now.left_behind == row.left_behind && now.levels == row.levels &&
         now.owner == row.owner && now.vm == row.vm && now.boot == row.boot && now.name == row.name &&
         std::equal(now.tracks.begin(), now.tracks.end(), row.tracks.begin(), row.tracks.end(), same_track) &&
         now.former == row.former && now.stored_no_run_at() == row.stored_no_run_at() &&
         now.registers == row.registers &&
         std::equal(now.hours.begin(), now.hours.end(), row.hours.begin(), row.hours.end(), same_hour);
}

// What the meter is expected to count in a time of `covered_ms` beside what devices count.
void expect_levels(const VmState& vm, std::uint64_t covered_ms, Quantities& expected) {
  at(expected, MeterIndex::kVmHours) = covered_ms;
  at(expected, MeterIndex::kBaseVmHours) = covered_ms * vm.levels.vcores;
  if (vm.levels.power != Power::kOff) at(expected, MeterIndex::kMemoryHours) = covered_ms * vm.levels.memory_mib;
  at(expected, MeterIndex::kDiskAllocatedHours) = covered_ms * vm.levels.disk_mib.value_or(0);
}

// Every number of a VM that moves with time, in the order of the row: number(now, row, expected move). `vm` has the
// shape of `row`; a reader sets its numbers on the way.
template <class Vm, class Number>
void each_number(Vm& vm, const VmState& row, std::uint64_t usual_move, Number&& number) {
  number(vm.seen, row.seen, usual_move);
  const std::uint64_t passed = bits(vm.seen) - bits(row.seen);
  number(vm.seen_utc, row.seen_utc, passed);
  Quantities expected{};
  auto device = vm.tracks.begin();
  for (const DeviceTrack& before : row.tracks) {
    for (std::size_t c = 0; c < kCountersMax; ++c) {
      if (!before.base[c]) continue;
      auto& base = *device->base[c];
      number(base.value, before.base[c]->value, 0);
      number(base.read_at, before.base[c]->read_at, passed);
      at(expected, meter_of(before.kind, c)) += base.value - before.base[c]->value;
    }
    ++device;
  }
  auto open = vm.hours.begin();
  for (const auto& [hour, before] : row.hours) {
    const bool current = hour == row.hours.rbegin()->first;
    number(open->second.covered_ms, before.covered_ms, current ? passed : 0);
    if (current) expect_levels(row, open->second.covered_ms - before.covered_ms, expected);
    for (std::size_t m = 0; m < kMeterCount; ++m) {
      number(open->second.quantity[m], before.quantity[m], current ? expected[m] : 0);
    }
    ++open;
  }
}

// At least as many as each_number() has.
std::size_t numbers_most(const VmState& vm) {
  return 2 + vm.tracks.size() * 2 * kCountersMax + vm.hours.size() * (1 + kMeterCount);
}

class NumberReader {
 public:
  explicit NumberReader(ByteReader& in) : in_(in) {}

  template <class T>
  void operator()(T& now, const T& row, std::uint64_t expected) {
    set_bits(now, bits(row) + expected + unzigzag(next()));
  }

 private:
  std::uint64_t next() {
    if (numbers_++ % 8 == 0) mask_ = in_.u8();
    const bool zero = (mask_ & 1) == 0;
    mask_ = static_cast<std::uint8_t>(mask_ >> 1);
    if (zero) return 0;
    std::uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const std::uint8_t byte = in_.u8();
      v |= std::uint64_t{byte & 0x7fu} << shift;
      if (byte < 0x80) break;
    }
    return v;
  }

  ByteReader& in_;
  unsigned numbers_ = 0;
  std::uint8_t mask_ = 0;
};

bool apply_moved(std::string_view bytes, std::vector<VmState>& vms) {
  ByteReader in(bytes);
  if (in.u8() != kMovedLayout || in.u32() != vms.size()) return false;
  NumberReader number(in);
  std::uint64_t usual_move = 0;
  for (VmState& vm : vms) {
    if (in.raw(4) != id_start(vm.vm)) return false;
    const VmState row = vm;
    each_number(vm, row, usual_move, number);
    usual_move = bits(vm.seen) - bits(row.seen);
  }
  return in.at_end();
}

}  // namespace

std::string vm_row_key(const VmId& vm) { return std::string(kVmRowPrefix) + vm.text(); }

std::string gone_row_key(const VmId& vm) { return "gone/" + vm.text(); }

MovedRow::MovedRow(std::size_t bytes_usual) : bytes_(std::max(bytes_usual, kMovedHead), '\0'), used_(kMovedHead) {
  bytes_[0] = static_cast<char>(kMovedLayout);
}

bool MovedRow::add(const VmState& now, const VmState& row) {
  if (!same_shape(now, row)) return false;
  const std::size_t most = used_ + 4 + numbers_most(row) * (kNumberBytesMax + 1);
  if (bytes_.size() < most) bytes_.resize(2 * most);
  char* mask = bytes_.data() + mask_at_;
  char* at = std::ranges::copy(id_start(now.vm), bytes_.data() + used_).out;
  each_number(now, row, usual_move_, [&](const auto& value, const auto& before, std::uint64_t expected) {
    const unsigned place = numbers_++ % 8;
    if (place == 0) *(mask = at++) = '\0';
    std::uint64_t number = zigzag(bits(value) - bits(before) - expected);
    if (number == 0) return;
    *mask = static_cast<char>(static_cast<unsigned char>(*mask) | 1u << place);
    for (; number >= 0x80; number >>= 7) *at++ = static_cast<char>(number | 0x80);
    *at++ = static_cast<char>(number);
  });
  mask_at_ = static_cast<std::size_t>(mask - bytes_.data());
  used_ = static_cast<std::size_t>(at - bytes_.data());
  NM_ASSERT(used_ <= most);
  usual_move_ = bits(now.seen) - bits(row.seen);
  ++vms_;
  return true;
}

std::string MovedRow::take() {
  ByteWriter count;
  count.u32(vms_);
  bytes_.replace(1, 4, count.take());
  bytes_.resize(used_);
  return std::move(bytes_);
}

Result<StoredMeter> decode_rows(const std::vector<std::pair<std::string, std::string>>& rows) {
  const auto corrupt = [](std::string_view key) {
    return Error{ErrorCode::kCorrupt, "state row '" + std::string(key) + "' does not decode"};
  };
  StoredMeter stored;
  const std::string* moved = nullptr;
  for (const auto& [key, row] : rows) {
    if (key == kNodeRowKey) {
      const std::optional<NodeState> node = decode_node_state(row);
      if (!node) return corrupt(key);
      stored.node = *node;
    } else if (key == kMovedRowKey) {
      moved = &row;
    } else if (key.starts_with(kVmRowPrefix)) {
      std::optional<VmState> vm = decode_vm_state(row);
      if (!vm) return corrupt(key);
      stored.vms.push_back(std::move(*vm));
    }
  }
  std::ranges::sort(stored.vms, {}, &VmState::vm);
  if (moved && !apply_moved(*moved, stored.vms)) return corrupt(kMovedRowKey);
  return stored;
}

}  // namespace nodemeter
