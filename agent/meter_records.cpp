// What the meter writes down: usage, gap and event entries, and its state rows.

#include <algorithm>

#include "agent/meter.h"
#include "agent/meter_time.h"
#include "platform/contract.h"
#include "platform/text.h"

namespace nodemeter {

// --- Records --------------------------------------------------------------------------------------------------------

OpenHour& Meter::open_hour(VmState& vm, std::int64_t hour) {
  const auto [entry, fresh] = vm.hours.try_emplace(hour);
  if (fresh) {
    entry->second.owner = vm.owner;
    entry->second.vcores = vm.levels.vcores;
  }
  return entry->second;
}

void Meter::close_due() {
  const std::int64_t below = hour_of(ms(node_.last_utc) - options_.close_grace.count());
  if (hour_of(ms(node_.gap_from)) < below) tell_gap(node_.last_utc);  // A closed hour knows its gaps.
  for (auto& [id, vm] : vms_) close_hours(vm, below, false);
  node_.closed_until = std::max(node_.closed_until, below);
}

void Meter::close_hours(VmState& vm, std::int64_t below, bool partial) {
  while (!vm.hours.empty() && vm.hours.begin()->first < below) {
    const auto [hour, open] = *vm.hours.begin();
    vm.hours.erase(vm.hours.begin());
    Entry entry = usage_entry(vm, hour, open, partial);
    for (const MeterValue& value : entry.meters) {
      at(vm.registers, find_meter(value.meter)->index) = value.reading;
    }
    entries_.push_back(std::move(entry));
  }
}

Entry Meter::usage_entry(VmState& vm, std::int64_t hour, const OpenHour& open, bool partial) const {
  const Owner& owner = *open.owner;
  Entry entry;
  entry.kind = EntryKind::kUsage;
  entry.vm = vm.vm;
  entry.usage_start = std::chrono::sys_seconds{std::chrono::hours{hour}};
  entry.usage_end = entry.usage_start + std::chrono::hours{1};
  entry.subscription = owner.subscription;
  entry.tenant = owner.tenant;
  entry.resource_uri = resource_uri(vm.vm, owner);
  entry.vcores = open.vcores;
  entry.billable = owner.billable;
  entry.covered_ms = open.covered_ms;
  entry.gap_ms = open.gap_ms;
  entry.status = open.status;
  if (open.gap_ms != 0) entry.status |= status_bit::kGap;
  if (!owner.known) entry.status |= status_bit::kOwnerUnknown;
  if (hour < node_.closed_until) entry.status |= status_bit::kLate;
  if (partial) entry.status |= status_bit::kPartial;
  if (options_.simulated) entry.status |= status_bit::kSimulated;
  for (const auto& [key, value] : owner.tags) {
    if (entry.tags.size() < kTagsMax) entry.tags.emplace(display_text(key, kNameMax), display_text(value, kNameMax));
  }
  entry.detail = "{\"name\":" + json_quote(vm.name) + "}";
  for (const MeterInfo& info : meter_catalogue()) {
    if ((open.metered & (1u << static_cast<unsigned>(info.index))) == 0) continue;
    MeterIndex index = info.index;
    if (index == MeterIndex::kBaseVmHours && owner.windows_licence) index = MeterIndex::kWindowsVmHours;
    const std::uint64_t quantity = at(open.quantity, info.index);
    const std::uint64_t before = at(vm.registers, index);
    NM_ASSERT(before <= UINT64_MAX - quantity);
    entry.meters.push_back({meter_catalogue()[static_cast<std::size_t>(index)].id, quantity, before + quantity});
  }
  return entry;
}

UtcTime Meter::tell_gap(UtcTime to) {
  if (node_.gap_cause.empty()) return to;
  const UtcTime from = node_.gap_from;
  const UtcTime end = std::max(from, to);
  Entry entry;
  entry.kind = EntryKind::kGap;
  entry.usage_start = std::chrono::floor<std::chrono::seconds>(from);
  entry.usage_end = std::chrono::ceil<std::chrono::seconds>(end);
  entry.status = node_.gap_status;
  if (options_.simulated) entry.status |= status_bit::kSimulated;
  entry.detail = "{\"cause\":" + json_quote(node_.gap_cause) + ",\"from\":" + json_quote(iso_time(from)) +
                 ",\"to\":" + json_quote(iso_time(end)) + ",\"ms\":" + std::to_string((end - from).count()) + "}";
  entries_.push_back(std::move(entry));
  node_.gap_cause.clear();
  return end;
}

void Meter::record_event(const VmState* vm, std::string_view what, const std::string& how, UtcTime at,
                         std::uint32_t status, const std::string& extra) {
  Entry entry;
  entry.kind = EntryKind::kEvent;
  entry.usage_start = entry.usage_end = std::chrono::floor<std::chrono::seconds>(at);
  entry.status = status;
  if (options_.simulated) entry.status |= status_bit::kSimulated;
  entry.detail = "{\"event\":" + json_quote(what) + ",\"how\":" + json_quote(display_text(how, kNameMax)) +
                 ",\"at\":" + json_quote(iso_time(at));
  if (vm) {
    entry.vm = vm->vm;
    entry.subscription = vm->owner->subscription;
    entry.tenant = vm->owner->tenant;
    entry.vcores = vm->levels.vcores;
    entry.detail += ",\"name\":" + json_quote(vm->name);
  }
  entry.detail += ",\"monotonic_ms\":" + std::to_string(ms(at) - node_.offset_ms) + extra + "}";
  entries_.push_back(std::move(entry));
}

// --- Rows -----------------------------------------------------------------------------------------------------------

void Meter::forget_departed() {
  for (auto entry = vms_.begin(); entry != vms_.end();) {
    VmState& vm = entry->second;
    if (vm.present || vm.left_behind || !vm.hours.empty()) {
      ++entry;
      continue;
    }
    const bool used = std::any_of(vm.registers.begin(), vm.registers.end(), [](std::uint64_t r) { return r > 0; });
    if (used) gone_rows_[vm.vm] = encode_vm_state(vm);
    forgotten_.insert(vm.vm);
    entry = vms_.erase(entry);
  }
}

std::vector<std::pair<std::string, std::optional<std::string>>> Meter::take_changed_rows() {
  std::vector<std::pair<std::string, std::optional<std::string>>> rows;
  MovedRow moved(moved_row_.size() + moved_row_.size() / 8);
  for (auto& [id, vm] : vms_) {
    if (vm.row && moved.add(vm, *vm.row)) continue;
    vm.row = nullptr;
    rows.emplace_back(vm_row_key(id), encode_vm_state(vm));
    vm.row = std::make_shared<const VmState>(vm);
    moved.add(vm, *vm.row);
  }
  for (const VmId& id : forgotten_) rows.emplace_back(vm_row_key(id), std::nullopt);
  for (auto& [id, row] : gone_rows_) rows.emplace_back(gone_row_key(id), std::move(row));
  if (std::string bytes = moved.take(); bytes != moved_row_) {
    moved_row_ = bytes;
    rows.emplace_back(std::string(kMovedRowKey), std::move(bytes));
  }
  if (node_changed_) rows.emplace_back(std::string(kNodeRowKey), encode_node_state(node_));
  forgotten_.clear();
  gone_rows_.clear();
  node_changed_ = false;
  return rows;
}

std::string resource_uri(const VmId& vm, const Owner& owner) {
  const auto encoded = [](std::string_view text) {
    static constexpr char kHex[] = "0123456789ABCDEF";
    std::string out;
    for (const char c : text.substr(0, kNameMax)) {
      const auto b = static_cast<std::uint8_t>(c);
      const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                         c == '.' || c == '_' || c == '~';
      if (plain) {
        out.push_back(c);
      } else {
        out += {'%', kHex[b >> 4], kHex[b & 15]};
      }
    }
    return out;
  };
  const std::string group = owner.resource_group.empty() ? "unowned" : owner.resource_group;
  const std::string name = owner.known && !owner.name.empty() ? owner.name : vm.text();
  return "/subscriptions/" + owner.subscription.text() + "/resourceGroups/" + encoded(group) +
         "/providers/Microsoft.Compute/virtualMachines/" + encoded(name);
}

}  // namespace nodemeter
