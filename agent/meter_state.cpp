#include "agent/meter_state.h"

#include "platform/bytes.h"

namespace nodemeter {

namespace {

constexpr std::uint8_t kNodeLayout = 2;
constexpr std::uint8_t kNodeLayoutWithoutGap = 1;  // Still read.
constexpr std::uint8_t kVmLayout = 2;
constexpr std::uint8_t kVmLayoutWithoutFormer = 1;  // Still read.

std::int64_t ms(MonotonicTime t) { return t.time_since_epoch().count(); }
std::int64_t ms(UtcTime t) { return t.time_since_epoch().count(); }
MonotonicTime monotonic(std::int64_t v) { return MonotonicTime{Milliseconds{v}}; }
UtcTime utc(std::int64_t v) { return UtcTime{Milliseconds{v}}; }

void put_owner(ByteWriter& out, const Owner& owner) {
  out.boolean(owner.known);
  out.uuid(owner.subscription);
  out.uuid(owner.tenant);
  out.text(owner.resource_group);
  out.text(owner.name);
  out.boolean(owner.windows_licence);
  out.boolean(owner.billable);
  out.u32(static_cast<std::uint32_t>(owner.tags.size()));
  for (const auto& [key, value] : owner.tags) {
    out.text(key);
    out.text(value);
  }
}

Owner take_owner(ByteReader& in) {
  Owner owner;
  owner.known = in.boolean();
  owner.subscription = in.uuid();
  owner.tenant = in.uuid();
  owner.resource_group = in.text();
  owner.name = in.text();
  owner.windows_licence = in.boolean();
  owner.billable = in.boolean();
  const std::uint32_t tags = in.count(8);
  for (std::uint32_t i = 0; i < tags; ++i) {
    std::string key = in.text();
    owner.tags.emplace(std::move(key), in.text());
  }
  return owner;
}

void put_quantities(ByteWriter& out, const Quantities& quantities) {
  for (const std::uint64_t q : quantities) out.u64(q);
}

Quantities take_quantities(ByteReader& in) {
  Quantities quantities{};
  for (std::uint64_t& q : quantities) q = in.u64();
  return quantities;
}

void put_track(ByteWriter& out, const DeviceTrack& track) {
  out.u8(static_cast<std::uint8_t>(track.kind));
  out.text(track.id);
  out.u64(track.run);
  for (const std::optional<CounterBase>& base : track.base) {
    out.boolean(base.has_value());
    out.u64(base ? base->value : 0);
    out.i64(base ? ms(base->read_at) : 0);
  }
}

void put_tracks(ByteWriter& out, const std::vector<DeviceTrack>& tracks) {
  out.u32(static_cast<std::uint32_t>(tracks.size()));
  for (const DeviceTrack& track : tracks) put_track(out, track);
}

DeviceTrack take_track(ByteReader& in) {
  DeviceTrack track;
  track.kind = static_cast<DeviceKind>(in.u8());
  track.id = in.text();
  track.run = in.u64();
  for (std::optional<CounterBase>& base : track.base) {
    const bool there = in.boolean();
    CounterBase stored;
    stored.value = in.u64();
    stored.read_at = monotonic(in.i64());
    if (there) base = stored;
  }
  return track;
}

std::vector<DeviceTrack> take_tracks(ByteReader& in) {
  std::vector<DeviceTrack> tracks;
  const std::uint32_t count = in.count(8);
  for (std::uint32_t i = 0; i < count; ++i) tracks.push_back(take_track(in));
  return tracks;
}

void put_hour(ByteWriter& out, std::int64_t hour, const OpenHour& open, const VmState& state) {
  out.i64(hour);
  put_quantities(out, open.quantity);
  out.u64(open.covered_ms);
  out.i64(open.gap_ms);
  out.u32(open.status);
  out.u32(open.metered);
  out.u32(open.vcores);
  // Nearly always the VM's own: stored once.
  const bool other = open.owner != state.owner && *open.owner != *state.owner;
  out.boolean(other);
  if (other) put_owner(out, *open.owner);
}

}  // namespace

std::string encode_node_state(const NodeState& state) {
  ByteWriter out;
  out.u8(kNodeLayout);
  out.boolean(state.started);
  out.uuid(state.boot);
  out.i64(ms(state.last_sample));
  out.i64(ms(state.last_complete));
  out.i64(state.offset_ms);
  out.i64(ms(state.last_utc));
  out.boolean(state.synchronised);
  out.i64(state.closed_until);
  out.text(state.gap_cause);
  out.i64(ms(state.gap_from));
  out.u32(state.gap_status);
  return out.take();
}

std::optional<NodeState> decode_node_state(std::string_view bytes) {
  ByteReader in(bytes);
  const std::uint8_t layout = in.u8();
  if (layout != kNodeLayout && layout != kNodeLayoutWithoutGap) return std::nullopt;
  NodeState state;
  state.started = in.boolean();
  state.boot = BootId(in.uuid());
  state.last_sample = monotonic(in.i64());
  state.last_complete = monotonic(in.i64());
  state.offset_ms = in.i64();
  state.last_utc = utc(in.i64());
  state.synchronised = in.boolean();
  state.closed_until = in.i64();
  if (layout == kNodeLayout) {
    state.gap_cause = in.text();
    state.gap_from = utc(in.i64());
    state.gap_status = in.u32();
  }
  return in.at_end() ? std::optional(state) : std::nullopt;
}

std::string encode_vm_state(const VmState& state) {
  ByteWriter out;
  out.u8(kVmLayout);
  out.uuid(state.vm);
  out.text(state.name);
  out.boolean(state.present);
  out.boolean(state.left_behind);
  out.u8(static_cast<std::uint8_t>(state.levels.power));
  out.u32(state.levels.vcores);
  out.u64(state.levels.memory_mib);
  out.boolean(state.levels.disk_mib.has_value());
  out.u64(state.levels.disk_mib.value_or(0));
  put_owner(out, *state.owner);
  out.uuid(state.boot);
  out.i64(ms(state.seen));
  out.i64(ms(state.seen_utc));
  put_tracks(out, state.tracks);
  put_tracks(out, state.former);
  const std::optional<MonotonicTime> no_run_at = state.stored_no_run_at();
  out.boolean(no_run_at.has_value());
  out.i64(ms(no_run_at.value_or(MonotonicTime{})));
  put_quantities(out, state.registers);
  out.u32(static_cast<std::uint32_t>(state.hours.size()));
  for (const auto& [hour, open] : state.hours) put_hour(out, hour, open, state);
  return out.take();
}

std::optional<VmState> decode_vm_state(std::string_view bytes) {
  ByteReader in(bytes);
  const std::uint8_t layout = in.u8();
  if (layout != kVmLayout && layout != kVmLayoutWithoutFormer) return std::nullopt;
  VmState state;
  state.vm = VmId(in.uuid());
  state.name = in.text();
  state.present = in.boolean();
  state.left_behind = in.boolean();
  state.levels.power = static_cast<Power>(in.u8());
  state.levels.vcores = in.u32();
  state.levels.memory_mib = in.u64();
  const bool disks_known = in.boolean();
  const std::uint64_t disk_mib = in.u64();
  if (disks_known) state.levels.disk_mib = disk_mib;
  state.owner = std::make_shared<const Owner>(take_owner(in));
  state.boot = BootId(in.uuid());
  state.seen = monotonic(in.i64());
  state.seen_utc = utc(in.i64());
  state.tracks = take_tracks(in);
  if (layout == kVmLayout) {
    state.former = take_tracks(in);
    const bool no_run_known = in.boolean();
    const MonotonicTime no_run_at = monotonic(in.i64());
    if (no_run_known) state.no_run_at = no_run_at;
  }
  state.registers = take_quantities(in);
  const std::uint32_t hours = in.count(8);
  for (std::uint32_t i = 0; i < hours; ++i) {
    const std::int64_t hour = in.i64();
    OpenHour open;
    open.quantity = take_quantities(in);
    open.covered_ms = in.u64();
    open.gap_ms = in.i64();
    open.status = in.u32();
    open.metered = in.u32();
    open.vcores = in.u32();
    open.owner = in.boolean() ? std::make_shared<const Owner>(take_owner(in)) : state.owner;
    state.hours.emplace(hour, std::move(open));
  }
  return in.at_end() ? std::optional(std::move(state)) : std::nullopt;
}

}  // namespace nodemeter
