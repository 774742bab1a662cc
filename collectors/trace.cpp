#include "collectors/trace.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "platform/text.h"

namespace nodemeter {

namespace {

using Json = nlohmann::json;

constexpr int kVersion = 1;
constexpr std::size_t kListMax = 65536;
constexpr std::size_t kTextMax = 4096;

std::int64_t ms(MonotonicTime t) { return t.time_since_epoch().count(); }

Json json_of(const Levels& levels) {
  Json out{{"power", static_cast<int>(levels.power)}, {"vcores", levels.vcores}, {"memory_mib", levels.memory_mib}};
  if (levels.disk_mib) out["disk_mib"] = *levels.disk_mib;
  return out;
}

Json json_of(const Owner& owner) {
  Json out{{"subscription", owner.subscription.text()}, {"tenant", owner.tenant.text()}};
  if (!owner.resource_group.empty()) out["resource_group"] = owner.resource_group;
  if (!owner.name.empty()) out["name"] = owner.name;
  if (!owner.tags.empty()) out["tags"] = owner.tags;
  if (owner.windows_licence) out["windows_licence"] = true;
  if (!owner.billable) out["billable"] = false;
  return out;
}

Json json_of(const Reading& reading) {
  if (const auto* value = std::get_if<std::uint64_t>(&reading)) return *value;
  return Json{{"absent", static_cast<int>(std::get<Absence>(reading))}};
}

Json json_of(const DeviceReading& device) {
  Json out{{"kind", static_cast<int>(device.kind)}, {"id", device.id}, {"run", device.run}, {"at", ms(device.read_at)}};
  if (device.begun) out["begun"] = ms(*device.begun);
  if (device.carried) out["carried"] = true;
  if (device.operations_width_bits != 64) out["operations_bits"] = device.operations_width_bits;
  const std::size_t used = device.kind == DeviceKind::kCpu ? 1 : kCountersMax;
  for (std::size_t i = 0; i < used; ++i) out["counters"].push_back(json_of(device.counters[i]));
  return out;
}

Json json_of(const VmReading& vm) {
  Json out{{"vm", vm.vm.text()}, {"name", vm.name}, {"levels", json_of(vm.levels)}};
  if (vm.owner.known) out["owner"] = json_of(vm.owner);
  if (vm.process_began) out["began"] = ms(*vm.process_began);
  for (const DeviceReading& device : vm.devices) out["devices"].push_back(json_of(device));
  return out;
}

Json json_of(const VmEvent& event) {
  Json out{{"vm", event.vm.text()}, {"kind", static_cast<int>(event.kind)}, {"at", ms(event.at)}};
  if (!event.how.empty()) out["how"] = event.how;
  if (!event.name.empty()) out["name"] = event.name;
  if (event.levels) out["levels"] = json_of(*event.levels);
  if (event.owner) out["owner"] = json_of(*event.owner);
  return out;
}

// Thrown and caught in this file only: a decoder of nested fields reads better without a check per line.
struct Bad {
  std::string field;
};

const Json& need(const Json& object, const char* field) {
  const auto found = object.find(field);
  if (found == object.end()) throw Bad{field};
  return *found;
}

std::uint64_t whole(const Json& value, const char* field, std::uint64_t max) {
  if (!value.is_number_unsigned() || value.get<std::uint64_t>() > max) throw Bad{field};
  return value.get<std::uint64_t>();
}

std::uint64_t whole(const Json& object, const char* field) {
  return whole(need(object, field), field, std::numeric_limits<std::uint64_t>::max());
}

// Milliseconds, within what any clock arithmetic can hold.
std::int64_t instant(const Json& object, const char* field) {
  constexpr std::int64_t kFarthest = 1ll << 50;
  const Json& value = need(object, field);
  if (!value.is_number_integer()) throw Bad{field};
  if (value.is_number_unsigned()) return static_cast<std::int64_t>(whole(value, field, kFarthest));
  if (value.get<std::int64_t>() < -kFarthest) throw Bad{field};
  return value.get<std::int64_t>();
}

MonotonicTime monotonic(const Json& object, const char* field) {
  return MonotonicTime{Milliseconds{instant(object, field)}};
}

std::string text(const Json& object, const char* field) {
  const auto found = object.find(field);
  if (found == object.end()) return {};
  if (!found->is_string() || found->get_ref<const std::string&>().size() > kTextMax) throw Bad{field};
  if (!is_plain_text(found->get_ref<const std::string&>())) throw Bad{field};
  return found->get<std::string>();
}

bool yes(const Json& object, const char* field, bool otherwise) {
  const auto found = object.find(field);
  if (found == object.end()) return otherwise;
  if (!found->is_boolean()) throw Bad{field};
  return found->get<bool>();
}

Uuid uuid(const Json& object, const char* field) {
  const std::optional<Uuid> parsed = Uuid::parse(text(object, field));
  if (!parsed) throw Bad{field};
  return *parsed;
}

template <class Enum>
Enum number_of(const Json& object, const char* field, Enum last) {
  const std::uint64_t value = whole(need(object, field), field, static_cast<std::uint64_t>(last));
  if (value == 0) throw Bad{field};
  return static_cast<Enum>(value);
}

template <class T, class Decode>
std::vector<T> list(const Json& object, const char* field, Decode decode) {
  std::vector<T> out;
  const auto found = object.find(field);
  if (found == object.end()) return out;
  if (!found->is_array() || found->size() > kListMax) throw Bad{field};
  out.reserve(found->size());
  for (const Json& element : *found) {
    if (!element.is_object()) throw Bad{field};
    out.push_back(decode(element));
  }
  return out;
}

Levels levels_from(const Json& in) {
  if (!in.is_object()) throw Bad{"levels"};
  Levels levels;
  levels.power = number_of(in, "power", Power::kOff);
  levels.vcores =
      static_cast<std::uint32_t>(whole(need(in, "vcores"), "vcores", std::numeric_limits<std::uint32_t>::max()));
  levels.memory_mib = whole(in, "memory_mib");
  if (in.contains("disk_mib")) levels.disk_mib = whole(in, "disk_mib");
  return levels;
}

Owner owner_from(const Json& in) {
  if (!in.is_object()) throw Bad{"owner"};
  constexpr std::size_t kTagsMax = 64;
  Owner owner;
  owner.known = true;
  owner.subscription = uuid(in, "subscription");
  owner.tenant = uuid(in, "tenant");
  owner.resource_group = text(in, "resource_group");
  owner.name = text(in, "name");
  owner.windows_licence = yes(in, "windows_licence", false);
  owner.billable = yes(in, "billable", true);
  if (const auto tags = in.find("tags"); tags != in.end()) {
    if (!tags->is_object() || tags->size() > kTagsMax) throw Bad{"tags"};
    for (const auto& [name, value] : tags->items()) {
      if (name.size() > kTextMax || !is_plain_text(name)) throw Bad{"tags"};
      owner.tags[name] = text(*tags, name.c_str());
    }
  }
  return owner;
}

Reading reading_from(const Json& in) {
  if (in.is_object()) return number_of(in, "absent", Absence::kNotRunning);
  return whole(in, "counters", std::numeric_limits<std::uint64_t>::max());
}

DeviceReading device_from(const Json& in) {
  DeviceReading device;
  device.kind = number_of(in, "kind", DeviceKind::kNic);
  device.id = text(in, "id");
  device.run = whole(in, "run");
  device.read_at = monotonic(in, "at");
  if (in.contains("begun")) device.begun = monotonic(in, "begun");
  device.carried = yes(in, "carried", false);
  if (in.contains("operations_bits")) {
    const std::uint64_t bits = whole(in, "operations_bits");
    if (bits != 32 && bits != 64) throw Bad{"operations_bits"};
    device.operations_width_bits = static_cast<std::uint8_t>(bits);
  }
  const Json& counters = need(in, "counters");
  if (!counters.is_array() || counters.size() > kCountersMax) throw Bad{"counters"};
  for (std::size_t i = 0; i < counters.size(); ++i) device.counters[i] = reading_from(counters[i]);
  return device;
}

VmReading vm_from(const Json& in) {
  VmReading vm;
  vm.vm = VmId(uuid(in, "vm"));
  vm.name = text(in, "name");
  vm.levels = levels_from(need(in, "levels"));
  if (in.contains("owner")) vm.owner = owner_from(in["owner"]);
  if (in.contains("began")) vm.process_began = monotonic(in, "began");
  vm.devices = list<DeviceReading>(in, "devices", device_from);
  for (std::size_t i = 1; i < vm.devices.size(); ++i) {
    const DeviceReading& a = vm.devices[i - 1];
    const DeviceReading& b = vm.devices[i];
    if (std::tie(a.kind, a.id) >= std::tie(b.kind, b.id)) throw Bad{"devices (order)"};
  }
  return vm;
}

VmEvent event_from(const Json& in) {
  VmEvent event;
  event.vm = VmId(uuid(in, "vm"));
  event.kind = number_of(in, "kind", VmEventKind::kRebooted);
  event.at = monotonic(in, "at");
  event.how = text(in, "how");
  event.name = text(in, "name");
  if (in.contains("levels")) event.levels = levels_from(in["levels"]);
  if (in.contains("owner")) event.owner = owner_from(in["owner"]);
  return event;
}

Sample sample_from(const Json& in) {
  Sample sample;
  sample.boot = BootId(uuid(in, "boot"));
  sample.taken_at = monotonic(in, "at");
  sample.wall = UtcTime{Milliseconds{instant(in, "utc")}};
  sample.clock_synchronised = yes(in, "synchronised", true);
  sample.inventory = number_of(in, "inventory", Inventory::kKnownOnly);
  sample.events_unbroken = yes(in, "unbroken", false);
  sample.events = list<VmEvent>(in, "events", event_from);
  sample.vms = list<VmReading>(in, "vms", vm_from);
  for (std::size_t i = 0; i < sample.events.size(); ++i) {
    const MonotonicTime at = sample.events[i].at;
    if (at > sample.taken_at || (i > 0 && at < sample.events[i - 1].at)) throw Bad{"events (order)"};
  }
  for (std::size_t i = 0; i < sample.vms.size(); ++i) {
    if (i > 0 && sample.vms[i - 1].vm >= sample.vms[i].vm) throw Bad{"vms (order)"};
    for (const DeviceReading& device : sample.vms[i].devices) {
      if (device.read_at > sample.taken_at) throw Bad{"at (of a device)"};
    }
  }
  return sample;
}

}  // namespace

std::string trace_line(const Sample& sample) {
  Json out{{"v", kVersion},
           {"boot", sample.boot.text()},
           {"at", ms(sample.taken_at)},
           {"utc", sample.wall.time_since_epoch().count()},
           {"synchronised", sample.clock_synchronised},
           {"inventory", static_cast<int>(sample.inventory)},
           {"unbroken", sample.events_unbroken}};
  for (const VmEvent& event : sample.events) out["events"].push_back(json_of(event));
  for (const VmReading& vm : sample.vms) out["vms"].push_back(json_of(vm));
  return out.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Result<Sample> parse_trace_line(std::string_view line) {
  if (line.size() > kTraceLineMax) return Error{ErrorCode::kLimitExceeded, "trace line too long"};
  const Json in = Json::parse(line, nullptr, false);
  if (!in.is_object()) return Error{ErrorCode::kCorrupt, "trace line is no JSON object"};
  const auto version = in.find("v");
  if (version == in.end() || !version->is_number_unsigned()) return Error{ErrorCode::kCorrupt, "trace line without v"};
  if (*version != kVersion) return Error{ErrorCode::kUnsupported, "trace of version " + version->dump()};
  try {
    return sample_from(in);
  } catch (const Bad& bad) {
    return Error{ErrorCode::kCorrupt, "trace line: bad " + bad.field};
  }
}

}  // namespace nodemeter
