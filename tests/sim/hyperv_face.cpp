#include "tests/sim/hyperv_face.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "collectors/hyperv_names.h"
#include "platform/random.h"

namespace nodemeter {

namespace {

constexpr std::uint64_t kSamplesPerCheckpoint = 40;
constexpr std::uint32_t kTimer100Ns = 0x20510500;
constexpr std::uint32_t kBulkCount = 0x10410500;
constexpr std::uint32_t kCount32 = 0x00010000;
constexpr const char* kController = "83F8638B-8DCA-4152-9EDA-2CA8B33039B4";

std::string upper(std::string text) {
  for (char& c : text) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  return text;
}

// "vd3" → 3.
std::uint64_t number_of(const std::string& device) {
  return std::strtoull(device.c_str() + device.find_first_of("0123456789"), nullptr, 10);
}

std::string adapter_guid(const VmId& vm, const std::string& device) { return uuid_from_name(vm, device).text(); }

std::string notes_of(const std::optional<Owner>& owner) {
  if (!owner || !owner->known) return "made by the operator";
  nlohmann::json json = {{"subscription", owner->subscription.text()},
                         {"name", owner->name},
                         {"windows_licence", owner->windows_licence},
                         {"billable", owner->billable}};
  return json.dump();
}

}  // namespace

HypervFace::HypervFace(const Plan& plan, const SimNode& node, const Clock& clock)
    : node_(node), clock_(clock), random_(plan.seed * 77 + 5) {
  manners_.unique_names = random_.chance(2, 3);
  manners_.on_time = plan.vms.empty() || plan.vms.front().starts_proven;
  manners_.resets_restart_on_time = random_.chance(1, 2);
  manners_.tells_configuration_changes = random_.chance(1, 2);
  manners_.older_operations = random_.chance(1, 4);
  manners_.first_codes = random_.chance(1, 4);
  manners_.checkpoints = random_.chance(1, 3);
  manners_.checkpoints_count_anew = random_.chance(1, 2);
  manners_.disturbed = random_.chance(1, 3);
  manners_.numbers_processes = !manners_.on_time || random_.chance(7, 8);
  restart();
}

void HypervFace::restart() {
  sized_.clear();
  tracker_ = std::make_shared<HypervTracker>(HypervTracker::Options{}, clock_);
  HypervSampler::Options options;
  options.notice_trail = Milliseconds{0};
  sampler_ = std::make_unique<HypervSampler>(options, open_face_reader(host_, clock_), tracker_, clock_, log_);
  tracker_->connected();
}

Result<Sample> HypervFace::read(const Result<Sample>& shown) {
  host_->service = shown.ok() && shown->inventory == Inventory::kComplete;
  host_->counters = shown.ok() && !(host_->service && goes_wrong());
  if (shown && shown->events_unbroken) {
    for (const VmEvent& event : shown->events) notify(event);
  } else {
    tracker_->closed();
    tracker_->connected();
    for (std::size_t i = 0; shown && i < shown->events.size(); ++i) notify(shown->events[i]);
  }
  if (shown) show(*shown);
  return sampler_->read_all();
}

std::string HypervFace::display_name(const VmId& vm, const std::string& name) const {
  if (!manners_.unique_names) return name;
  return name + " (" + vm.text().substr(0, 4) + "): web";
}

// As WMI writes it, but for the offset, which is always that of UTC here.
std::string HypervFace::instant() const {
  const std::string text = iso_time(clock_.now().utc);
  std::string digits;
  for (const char c : text) {
    if (c >= '0' && c <= '9') digits += c;
  }
  return digits.substr(0, 14) + "." + digits.substr(14) + "000-000";
}

WmiRow HypervFace::machine_row(const VmId& vm, const Machine& machine, const std::string& name, Power power) const {
  WmiRow row;
  row.set("Name", upper(vm.text()));
  row.set("ElementName", name);
  const char* state = power == Power::kRunning ? "2"
                      : power == Power::kOff   ? "3"
                      : manners_.first_codes   ? "32768"
                                               : "9";
  row.set("EnabledState", state);
  row.set("OperationalStatus", WmiRow::Values{"2"});
  if (power != Power::kOff && manners_.numbers_processes) row.set("ProcessID", std::to_string(machine.process));
  row.set("TimeOfLastStateChange", machine.state_changed);
  return row;
}

// ---- What happens

HypervSettings HypervFace::settings_of(const VmEvent& event) const {
  HypervSettings settings;
  settings.described = settings.memory_given = true;
  settings.vcores = event.levels->vcores;
  settings.memory_mib = event.levels->memory_mib;
  settings.disk_mib = event.levels->disk_mib;
  settings.notes = notes_of(event.owner);
  return settings;
}

// Each run has a process number of its own; one that a failed migration gave back goes on with its.
void HypervFace::follow_run(const VmId& vm, Machine& machine) {
  const std::uint64_t run = node_.run_of(vm);
  if (machine.run == run && machine.process != 0) return;
  machine.run = run;
  machine.process = ++processes_;
  machine.on_from_ms = 0;
}

void HypervFace::notify(const VmEvent& event) {
  Machine& machine = machines_[event.vm];
  const bool starts = event.kind == VmEventKind::kStarted || event.kind == VmEventKind::kArrived;
  if (starts) follow_run(event.vm, machine);
  if (event.kind == VmEventKind::kRebooted && manners_.resets_restart_on_time) {
    machine.on_from_ms = node_.ran_ms(event.vm);
  }
  machine.state_changed = instant();
  machine.shown_power = event.levels->power;
  machine.shown_process = machine.process;
  WmiNotice notice;
  notice.came = event.at;
  notice.kind = event.kind == VmEventKind::kArrived    ? WmiNotice::Kind::kCreated
                : event.kind == VmEventKind::kDeparted ? WmiNotice::Kind::kDeleted
                                                       : WmiNotice::Kind::kChanged;
  notice.row = machine_row(event.vm, machine, display_name(event.vm, event.name), event.levels->power);
  if (event.how == "migrated" && event.kind == VmEventKind::kDeparted) {
    notice.row.set("OperationalStatus", WmiRow::Values{"2", "32774"});
  }
  const bool created = notice.kind == WmiNotice::Kind::kCreated;
  if (created && event.how != "migrated" && event.levels->power != Power::kOff) {  // Machines are made off.
    WmiNotice made = notice;
    made.row = machine_row(event.vm, machine, display_name(event.vm, event.name), Power::kOff);
    tracker_->notice(made, settings_of(event));
    notice.kind = WmiNotice::Kind::kChanged;
  }
  tracker_->notice(notice, created ? std::optional(settings_of(event)) : std::nullopt);
}

// ---- What is there

void HypervFace::add_value(std::size_t column, const std::string& instance, const Reading& reading) {
  const auto* value = std::get_if<std::uint64_t>(&reading);
  host_->columns[column].values.push_back({instance, value == nullptr ? 0 : *value, value != nullptr});
}

void HypervFace::show(const Sample& sample) {
  host_->tables.clear();
  const std::vector<CounterPath>& paths = hyperv_counter_paths();
  host_->columns.assign(paths.size(), CounterColumn{});
  for (std::size_t i = 0; i < paths.size(); ++i) {
    CounterColumn& column = host_->columns[i];
    const bool older = paths[i].counter.ends_with("Operations/Sec");
    const bool count = older || paths[i].counter == "Read Count" || paths[i].counter == "Write Count";
    column.state = count && older != manners_.older_operations ? ColumnState::kNotOffered : ColumnState::kRead;
    column.type = i == 0 ? kTimer100Ns : count ? kCount32 : kBulkCount;
    if (column.state == ColumnState::kRead) column.values.push_back({"_Total", 77, true});
  }
  WmiRow host_row;
  host_row.set("Name", "NODE-01");
  host_row.set("EnabledState", "2");
  host_->tables[hyperv_class::kSystem].push_back(host_row);
  std::set<VmId> here;
  for (const VmReading& reading : sample.vms) here.insert(reading.vm);
  std::erase_if(sized_, [&](const auto& disk) { return !here.contains(disk.first); });
  for (const VmReading& reading : sample.vms) {
    if (manners_.checkpoints && random_.chance(1, kSamplesPerCheckpoint)) take_checkpoint(reading);
    show_machine(reading);
    if (reading.levels.power != Power::kOff) show_counters(reading);
  }
}

std::string HypervFace::disk_path(const VmId& vm, const std::string& device) const {
  const std::uint32_t checkpoints = machines_.at(vm).checkpoints;
  const std::string file = checkpoints == 0 ? "-disk.vhdx" : "-disk_" + std::to_string(checkpoints) + ".avhdx";
  return "C:\\ClusterStorage\\Volume1\\" + vm.text() + "\\Virtual Hard Disks\\" + device + file;
}

void HypervFace::take_checkpoint(const VmReading& reading) {
  Machine& machine = machines_[reading.vm];
  ++machine.checkpoints;
  machine.checkpoint_new = true;
  if (!manners_.checkpoints_count_anew) return;
  for (const DeviceReading& device : reading.devices) {
    Checkpoint& checkpoint = machine.checkpoint[device.id];
    if (std::exchange(checkpoint.run, device.run) != device.run) checkpoint.counted = {};
    for (std::size_t i = 0; i < kCountersMax; ++i) {
      if (const auto* value = std::get_if<std::uint64_t>(&device.counters[i])) checkpoint.counted[i] = *value;
    }
  }
}

DeviceReading HypervFace::since_checkpoint(const VmId& vm, DeviceReading device) const {
  const auto& checkpoints = machines_.at(vm).checkpoint;
  const auto last = checkpoints.find(device.id);
  if (last == checkpoints.end() || last->second.run != device.run) return device;
  for (std::size_t i = 0; i < kCountersMax; ++i) {
    auto* value = std::get_if<std::uint64_t>(&device.counters[i]);
    if (value == nullptr) continue;
    const std::uint64_t before = last->second.counted[i];
    const bool wraps = device.operations_width_bits == 32 && i >= kReadOperations;
    *value = wraps ? (*value - before) & 0xffffffffu : *value - std::min(*value, before);
  }
  return device;
}

void HypervFace::show_machine(const VmReading& reading) {
  Machine& machine = machines_[reading.vm];
  machine.name = display_name(reading.vm, reading.name);
  const bool on = reading.levels.power != Power::kOff;
  if (on) follow_run(reading.vm, machine);
  if (machine.shown_power != reading.levels.power || (on && machine.shown_process != machine.process)) {
    machine.state_changed = instant();
    machine.shown_power = reading.levels.power;
    machine.shown_process = machine.process;
  }
  WmiRow row = machine_row(reading.vm, machine, machine.name, reading.levels.power);
  const std::int64_t on_ms = node_.ran_ms(reading.vm) - machine.on_from_ms;
  if (on && manners_.on_time) row.set("OnTimeInMilliseconds", std::to_string(std::max<std::int64_t>(0, on_ms)));
  const std::string notes = notes_of(reading.owner);
  std::string all =
      machine.name + notes + std::to_string(reading.levels.vcores) + "/" + std::to_string(reading.levels.memory_mib);
  for (const auto& [kind, id] : node_.device_ids(reading.vm)) all += "/" + id;
  if (manners_.tells_configuration_changes) {
    row.set("TimeOfLastConfigurationChange", uuid_from_name(Uuid{}, all).text());
  }
  host_->tables[hyperv_class::kSystem].push_back(std::move(row));
  const bool same = machine.settings.empty() || machine.settings == all;
  if (same && goes_wrong()) return;
  machine.settings = all;
  show_settings(reading, notes);
}

void HypervFace::show_settings(const VmReading& reading, const std::string& notes) {
  const std::string prefix = "Microsoft:" + upper(reading.vm.text());
  const auto add = [&](const char* class_name, const std::string& device) -> WmiRow& {
    WmiRow& row = host_->tables[class_name].emplace_back();
    row.set("InstanceID", prefix + device);
    return row;
  };
  Machine& machine = machines_[reading.vm];
  add(hyperv_class::kSettings, "").set("Notes", WmiRow::Values{notes});
  add(hyperv_class::kProcessor, "\\b637f346-6a0e-4dec-af52-bd70cb80a21d\\0")
      .set("VirtualQuantity", std::to_string(reading.levels.vcores));
  WmiRow& memory = add(hyperv_class::kMemory, "\\4764334d-e001-4176-82ee-5594ec9b530e");
  memory.set("VirtualQuantity", std::to_string(reading.levels.memory_mib));
  memory.set("AllocationUnits", "byte * 2^20");
  WmiRow& iso = add(hyperv_class::kStorage, std::string("\\") + kController + "\\1\\0\\L");
  iso.set("ResourceSubType", "Microsoft:Hyper-V:Virtual CD/DVD Disk");
  iso.set("HostResource", "C:\\iso\\setup.iso");
  for (const auto& [kind, id] : node_.device_ids(reading.vm)) {
    if (kind == DeviceKind::kNic) add(hyperv_class::kSyntheticNic, "\\" + upper(adapter_guid(reading.vm, id)));
    if (kind != DeviceKind::kDisk) continue;
    const std::uint64_t n = number_of(id);
    WmiRow& disk = add(hyperv_class::kStorage, std::string("\\") + kController + "\\0\\" + std::to_string(n) + "\\L");
    disk.set("ResourceSubType", "Microsoft:Hyper-V:Virtual Hard Disk");
    disk.set("HostResource", disk_path(reading.vm, id));
    const bool known = sized_.contains({reading.vm, id});
    if (!known || !machine.checkpoint_new) host_->sizes[disk_path(reading.vm, id)] = (1000 * n) << 20;
    sized_.insert({reading.vm, id});
  }
  machine.checkpoint_new = false;
}

void HypervFace::show_counters(const VmReading& reading) {
  const std::string shown_name = machines_[reading.vm].name;
  std::string name = shown_name;
  std::replace(name.begin(), name.end(), '(', '[');
  std::replace(name.begin(), name.end(), ')', ']');
  const std::size_t operations = manners_.older_operations ? 5 : 3;
  for (const DeviceReading& device : reading.devices) {
    if (goes_wrong()) continue;
    if (device.kind == DeviceKind::kCpu) {
      const auto* us = std::get_if<std::uint64_t>(&device.counters[kCpuTimeUs]);
      const std::uint32_t vcores = std::max<std::uint32_t>(1, reading.levels.vcores);
      for (std::uint32_t n = 0; n < vcores; ++n) {
        const std::uint64_t share = us == nullptr ? 0 : *us * 10 / vcores + (n == 0 ? *us * 10 % vcores : 0);
        add_value(0, name + ":Hv VP " + std::to_string(n), us == nullptr ? device.counters[0] : Reading{share});
      }
    }
    if (device.kind == DeviceKind::kDisk) {
      const auto counters = since_checkpoint(reading.vm, device).counters;
      std::string instance = disk_path(reading.vm, device.id);
      std::replace(instance.begin(), instance.end(), '\\', '-');
      add_value(1, instance, counters[kReadBytes]);
      add_value(2, instance, counters[kWriteBytes]);
      for (const std::size_t i : {kReadOperations, kWriteOperations}) {
        Reading low = counters[i];
        if (auto* value = std::get_if<std::uint64_t>(&low)) *value &= 0xffffffffu;
        add_value(operations + i - kReadOperations, instance, low);
      }
    }
    if (device.kind == DeviceKind::kNic) {
      const std::string instance = shown_name + "_Network Adapter_" + upper(reading.vm.text()) + "--" +
                                   upper(adapter_guid(reading.vm, device.id));
      for (std::size_t i = 0; i < kCountersMax; ++i) add_value(7 + i, instance, device.counters[i]);
    }
  }
}

}  // namespace nodemeter
