#include "collectors/hyperv_sampler.h"

#include <algorithm>

#include "collectors/hyperv_names.h"
#include "collectors/sample_moves.h"
#include "platform/bytes.h"
#include "platform/digest.h"

namespace nodemeter {

namespace {

constexpr int kListsMax = 3;
// By how much an on-time may seem to begin before the list that did not show the machine yet: both take time to read.
constexpr Milliseconds kOnTimeSlack{1000};

std::uint64_t mebibytes(std::uint64_t bytes) { return (bytes >> 20) + ((bytes & ((1u << 20) - 1)) != 0 ? 1 : 0); }

}  // namespace

HypervSampler::HypervSampler(Options options, std::unique_ptr<HypervReader> reader,
                             std::shared_ptr<HypervTracker> tracker, const Clock& clock, Log& log)
    : options_(options), reader_(std::move(reader)), tracker_(std::move(tracker)), clock_(clock), log_(log) {}

Result<Sample> HypervSampler::read_all() {
  boot_ = clock_.now().boot;
  Result<HypervReader::Counters> counters = reader_->counters();
  if (counted_) counters_before_ = std::move(counters_);
  counted_before_ = counted_before_ || counted_;
  counted_ = counters.ok();
  counters_ = counters ? HypervCounters(counters->columns) : HypervCounters();
  counters_asked_ = counters ? counters->asked : clock_.now().monotonic;
  counters_answered_ = counters ? counters->answered : counters_asked_;
  Result<Listing> listing = settled_list();
  if (!listing) {
    if (listing.error().code != ErrorCode::kUnavailable) return listing.error();
    return known_only_sample(listing.error());
  }
  if (Status taken = take_over(*listing); !taken) {
    if (taken.error().code != ErrorCode::kUnavailable) return taken.error();
    return known_only_sample(taken.error());
  }
  if (away_) log_.info("Hyper-V answers again");
  away_ = false;
  return complete_sample(*listing);
}

// ---- What WMI tells

Result<HypervSampler::Listing> HypervSampler::list() {
  Listing listing;
  listing.mark = tracker_->mark();
  Result<HypervReader::Rows> rows = reader_->rows(hyperv_machine_queries());
  if (!rows) return rows.error();
  listing.rows = std::move(*rows);
  if (!listing.rows.tables.contains(hyperv_class::kSystem)) {
    return Error{ErrorCode::kUnsupported, std::string("not a Hyper-V host: WMI has no ") + hyperv_class::kSystem};
  }
  // The host itself is in every list. WMI answers with nothing, and no error, whom it shows nothing, and while vmms
  // does not run, which is no end of any machine.
  if (listing.rows.tables[hyperv_class::kSystem].empty()) {
    return Error{ErrorCode::kUnavailable,
                 "WMI does not even show this host: vmms does not run, or this account is no member of Hyper-V "
                 "Administrators"};
  }
  listing.machines = parse_machines(listing.rows.tables);
  if (listing.machines.size() > options_.source.vms_max) {
    return Error{ErrorCode::kLimitExceeded, std::to_string(listing.machines.size()) + " virtual machines, limit " +
                                                std::to_string(options_.source.vms_max)};
  }
  const std::map<VmId, std::string> planned = parse_planned(listing.rows.tables);
  for (const HypervMachine& machine : listing.machines) {
    const bool moves = machine.migrating || planned.contains(machine.vm);
    const bool incoming = moves && machine.power != Power::kRunning && tracker_->arriving(machine.vm);
    const bool allocated = machine.allocated && !incoming;
    listing.standings.push_back({machine, allocated});
    if (machine.power != Power::kOff) listing.running.push_back(machine);
  }
  // What waits to take over may have processors already, under a name that somebody else has, too.
  for (const auto& [vm, name] : planned) {
    HypervMachine copy;
    copy.vm = vm;
    copy.name = name;
    const bool listed = std::any_of(listing.running.begin(), listing.running.end(),
                                    [&vm = vm](const HypervMachine& machine) { return machine.vm == vm; });
    if (!listed) listing.running.push_back(std::move(copy));
  }
  return listing;
}

// Lists until the notices so far explain the list, so that no machine shows up or vanishes before its event does.
Result<HypervSampler::Listing> HypervSampler::settled_list() {
  for (int round = 1;; ++round) {
    Result<Listing> listing = list();
    if (!listing) return listing;
    const auto settled = [&] { return !tracker_->unbroken() || tracker_->explains(listing->standings); };
    if (!settled() && round < kListsMax) {
      tracker_->wait_beyond(listing->mark, options_.notice_trail);
      if (!settled()) continue;
    }
    if (Status right = check_list(*listing); !right) return right.error();
    tracker_->accept(listing->standings, listing->mark);
    return listing;
  }
}

// Whether the list can be all of them: a machine that nobody told to be gone and that still counts is missing from it,
// for as long as the service reads what machines it has.
Status HypervSampler::check_list(const Listing& listing) {
  const auto listed = [&](const VmId& vm) {
    return std::any_of(listing.machines.begin(), listing.machines.end(), [&](const auto& m) { return m.vm == vm; });
  };
  const auto missing = [&](const auto& entry) {
    const Vm& vm = entry.second;
    return vm.allocated && shows_adapter(counters_, vm) && !listed(entry.first) && tracker_->has(entry.first);
  };
  auto doubtful = std::find_if(vms_.begin(), vms_.end(), missing);
  if (doubtful != vms_.end()) {
    // It may have gone between the counters and the list.
    const Result<HypervReader::Counters> again = reader_->counters();
    if (again && !shows_adapter(HypervCounters(again->columns), doubtful->second)) doubtful = vms_.end();
  }
  if (doubtful == vms_.end()) {
    doubted_since_.reset();
    return Done{};
  }
  const MonotonicTime now = clock_.now().monotonic;
  if (!doubted_since_) doubted_since_ = now;
  if (now - *doubted_since_ >= options_.list_doubt_max) return Done{};
  return Error{ErrorCode::kUnavailable,
               "WMI lists no virtual machine " + doubtful->first.text() + ", which still runs"};
}

// Reads what machines are given, if anything says that it may have changed.
Status HypervSampler::read_settings(const std::vector<HypervMachine>& machines) {
  const MonotonicTime now = clock_.now().monotonic;
  std::map<VmId, std::string> configured;
  bool wanted = tracker_->take_changed() || settings_missed_ || !settings_read_ ||
                now - *settings_read_ >= options_.settings_age_max;
  for (const HypervMachine& machine : machines) {
    const auto known = configured_.find(machine.vm);
    // Without that instant nothing would tell.
    wanted = wanted || machine.configuration_changed.empty() || known == configured_.end() ||
             known->second != machine.configuration_changed;
    configured[machine.vm] = machine.configuration_changed;
  }
  if (!wanted) return Done{};
  settings_missed_ = true;
  const Result<HypervReader::Rows> rows = reader_->rows(hyperv_setting_queries(std::nullopt));
  if (!rows) return rows.error();
  Result<std::map<VmId, HypervSettings>> settings = parse_settings(rows->tables);
  if (!settings) return settings.error();
  settings_missed_ = false;
  for (const HypervMachine& machine : machines) {
    const auto found = settings->find(machine.vm);
    const bool complete = found != settings->end() && found->second.whole();
    Vm& vm = vms_[machine.vm];
    if (!complete) {
      // Gone meanwhile, or not all of it written yet: what was known goes on until the next sample asks again.
      settings_missed_ = true;
      if (vm.settings.vcores == 0) vms_.erase(machine.vm);
      continue;
    }
    vm.settings = std::move(found->second);
    vm.owner = options_.source.trust_metadata ? owner_from_notes(vm.settings.notes) : Owner{};
  }
  configured_ = std::move(configured);
  settings_read_ = now;
  return Done{};
}

void HypervSampler::read_memory() {
  const auto dynamic = [](const auto& entry) { return entry.second.allocated && entry.second.settings.dynamic_memory; };
  if (std::none_of(vms_.begin(), vms_.end(), dynamic)) return;
  // What is not told now stays as it was.
  if (Result<HypervReader::Rows> rows = reader_->rows({hyperv_summary_query()}); rows) {
    for (const auto& [vm, mib] : parse_assigned_memory(rows->tables[hyperv_class::kSummary]))
      assigned_memory_[vm] = mib;
  }
}

void HypervSampler::read_sizes() {
  std::vector<std::string> paths;
  for (const auto& [id, vm] : vms_) {
    if (!vm.allocated) continue;
    for (const HypervDisk& disk : vm.settings.disks) paths.push_back(disk.path);
  }
  const std::map<std::string, std::uint64_t> sizes = reader_->disk_sizes(paths);
  for (auto& [id, vm] : vms_) {
    std::map<std::string, std::uint64_t> known;
    for (const HypervDisk& disk : vm.settings.disks) {
      const auto size = sizes.find(disk.path);
      const auto before = vm.disks_mib.find(disk.id);
      if (size != sizes.end()) {
        known[disk.id] = mebibytes(size->second);
      } else if (before != vm.disks_mib.end()) {
        known.insert(*before);  // A checkpoint's file, of which no size is read yet.
      }
    }
    vm.disks_mib = std::move(known);
  }
}

Status HypervSampler::take_over(const Listing& listing) {
  if (Status read = read_settings(listing.machines); !read) return read;
  absences_ = tracker_->take_absences();
  std::set<VmId> undescribed;
  for (auto& [id, vm] : vms_) vm.listed = false;
  for (const HypervTracker::Standing& standing : listing.standings) {
    const auto found = vms_.find(standing.machine.vm);
    if (found == vms_.end()) {
      if (!standing.allocated) continue;
      // Nobody can say what is allocated to it. It costs no other machine a reading.
      undescribed.insert(standing.machine.vm);
      continue;
    }
    Vm& vm = found->second;
    const bool fresh = vm.machine.vm.is_zero() || !vm.allocated;
    vm.listed = true;
    vm.allocated = standing.allocated;
    follow_process(vm, standing.machine, listing, fresh);
    if (vm.process_new) assigned_memory_.erase(standing.machine.vm);  // The process before had it.
    vm.machine = standing.machine;
  }
  doubt(undescribed);
  std::erase_if(vms_, [](const auto& entry) { return !entry.second.listed; });
  std::erase_if(assigned_memory_, [this](const auto& entry) { return !vms_.contains(entry.first); });
  listed_before_ = listing.rows.asked;
  return Done{};
}

// For a while the sample says that a machine may be missing. A machine that nobody can describe is not metered then,
// and that must not keep others in doubt for ever.
void HypervSampler::doubt(const std::set<VmId>& undescribed) {
  const MonotonicTime now = clock_.now().monotonic;
  std::erase_if(undescribed_, [&](const auto& entry) { return !undescribed.contains(entry.first); });
  incomplete_ = false;
  for (const VmId& vm : undescribed) {
    Undescribed& known = undescribed_.try_emplace(vm, Undescribed{now}).first->second;
    if (now - known.since < options_.list_doubt_max || known.lists < options_.doubted_lists_min) {
      ++known.lists;
      incomplete_ = true;
    } else if (!std::exchange(known.told, true)) {
      log_.warning("a virtual machine is not metered: Hyper-V tells no settings of it", {{"vm", vm.text()}});
    }
  }
}

// Tells the machine's present process from the one that was seen before.
void HypervSampler::follow_process(Vm& vm, const HypervMachine& now, const Listing& listing, bool fresh) const {
  const HypervMachine& before = vm.machine;
  const bool was_on = !fresh && before.power != Power::kOff;
  const bool on_fell = was_on && before.on && now.on && *now.on < *before.on;
  // A machine that is starting may not have a number yet.
  const bool told_now = was_on && !on_fell && before.process == 0 && now.process != 0;
  const bool other_process = was_on && before.process != now.process && !told_now;
  // Without a process number the on-time has to tell.
  const bool stopped = absences_.off.contains(now.vm);
  const bool was_off = !before.vm.is_zero() && before.power == Power::kOff && !absences_.left.contains(now.vm);
  const bool replaced = other_process || (on_fell && now.process == 0);
  vm.just_started = now.on && listing.rows.answered - *now.on > counters_asked_;
  if (now.power == Power::kOff || !vm.allocated) {
    vm.devices.clear();
    vm.former.clear();
    vm.began.reset();
    return;
  }
  if (was_on && !replaced && !told_now) return;
  vm.former = replaced ? std::exchange(vm.devices, {}) : std::map<DeviceKey, Device>{};
  vm.devices.clear();
  vm.processors.clear();
  vm.processors_name.clear();
  vm.process_new = true;
  if (!now.on) vm.just_started = true;  // Nothing proves the contrary.
  vm.began.reset();
  if (now.on) vm.began = std::max(MonotonicTime{}, listing.rows.asked - *now.on);
  if (told_now) return;  // It came as it came.
  vm.origin = !listed_before_        ? Origin::kFirstSight
              : replaced && !stopped ? Origin::kReplaced
              : stopped || was_off   ? Origin::kStartedHere
                                     : Origin::kCame;
  if (vm.origin == Origin::kStartedHere && vm.began && *vm.began + kOnTimeSlack < *listed_before_) {
    vm.origin = Origin::kCame;
  }
}

// ---- Counters

std::uint64_t HypervSampler::run_of(const Vm& vm, const DeviceKey& key, const Device& device) const {
  if (vm.machine.process == 0) return 0;  // Nobody knows whether it is the process from before.
  ByteWriter name;
  name.uuid(boot_);
  name.uuid(vm.machine.vm);
  name.u64(vm.machine.process);
  name.u8(static_cast<std::uint8_t>(key.first));
  name.text(key.second);
  name.text(device.instance);
  name.u8(device.variant);
  if (device.contested_ms != 0) name.u64(static_cast<std::uint64_t>(device.contested_ms));
  return std::max<std::uint64_t>(1, ByteReader(digest_of({name.take()}).view()).u64());
}

// Whether any counter that is too wide to wrap reads less than before.
bool HypervSampler::fell(const Device& before, const HypervCounters::Device& now) {
  for (std::size_t i = 0; i < kCountersMax; ++i) {
    const auto* value = std::get_if<std::uint64_t>(&now.counters[i]);
    const bool narrow = now.operations_width_bits == 32 && i >= kReadOperations;
    if (value != nullptr && !narrow && before.last[i] && *value < *before.last[i]) return true;
  }
  return false;
}

// Names the run of a device that is there for the first time in this process, and decides when it began.
void HypervSampler::bind(const Vm& vm, const DeviceKey& key, Device& device, const HypervCounters::Device& read) const {
  device.bound = true;
  device.carried = true;
  if (device.contested) return;
  const auto former = vm.former.find(key);
  if (vm.process_new && vm.origin == Origin::kReplaced) {
    // The machine never was seen without a process: only a fall proves that these counters are new ones.
    const bool same = former != vm.former.end() && former->second.instance == device.instance;
    const bool anew = same && fell(former->second, read);
    if (anew && vm.began && previous_) device.begun = std::max(*vm.began, *previous_);
  } else if (vm.process_new) {
    device.carried = vm.origin == Origin::kCame;
    if (!device.carried) device.begun = vm.began;
  } else if (!device.moved && counted_before_ && !device.shown_before) {
    // Plugged in since the sample before. Behind a disk that has another file now nobody knows what was counted.
    device.begun = previous_;
  }
  if (device.begun) device.carried = false;
}

// An image file that is another's, too, is read as nobody's; whatever it counts by then is not this machine's alone.
void HypervSampler::contest(DeviceKind kind, Device& device, bool ambiguous) const {
  if (kind != DeviceKind::kDisk) return;  // Instances of processors and adapters are each of one machine.
  if (ambiguous && !device.contested) {
    device.bound = false;
    device.moved = true;
    device.contested_ms = counters_answered_.time_since_epoch().count();
    device.begun.reset();
    device.last = {};
  }
  device.contested = ambiguous;
}

void HypervSampler::add_device(Vm& vm, DeviceKind kind, const std::string& id, const std::string& instance,
                               HypervCounters::Device read, bool shown_before, VmReading& reading) {
  const DeviceKey key{kind, id};
  const auto [entry, added] = vm.devices.try_emplace(key);
  Device& device = entry->second;
  if (!added && device.instance != instance) {
    device = Device{};
    device.moved = true;
  }
  device.instance = instance;
  device.shown_before = shown_before;
  if (counted_) device.variant = read.variant;
  device.seen = true;
  contest(kind, device, read.ambiguous);
  if (read.ambiguous) read.counters.fill(Absence::kReadFailed);
  // What was read is of the process before.
  if (vm.just_started) read.counters.fill(Absence::kVmBusy);
  if (!device.bound) bind(vm, key, device, read);
  for (std::size_t i = 0; i < kCountersMax; ++i) {
    if (const auto* value = std::get_if<std::uint64_t>(&read.counters[i])) device.last[i] = *value;
  }
  DeviceReading shown;
  shown.kind = kind;
  shown.id = id;
  shown.counters = read.counters;
  shown.operations_width_bits = read.operations_width_bits;
  shown.read_at = counters_answered_;
  shown.run = run_of(vm, key, device);
  shown.begun = device.begun;
  shown.carried = device.carried;
  reading.devices.push_back(std::move(shown));
}

// Nobody tells of another process now, and what that one has counted must not be taken for what this one has.
void HypervSampler::add_unread_devices(const Vm& vm, VmReading& reading) const {
  for (const auto& [key, device] : vm.devices) {
    DeviceReading shown;
    shown.kind = key.first;
    shown.id = key.second;
    shown.counters.fill(Absence::kReadFailed);
    shown.read_at = counters_answered_;
    shown.run = run_of(vm, key, device);
    shown.begun = device.begun;
    shown.carried = device.carried;
    reading.devices.push_back(std::move(shown));
  }
}

// The processors' time as a device with one counter. Counters are known to miss some processors, and a sum without
// them is no baseline for one with them. So it is the sum of as many as the machine was given, or nothing.
HypervCounters::Device HypervSampler::processors_of(Vm& vm) {
  const HypervCounters::Processors read = counters_.processors(vm.machine.vm);
  HypervCounters::Device device;
  device.counters = {read.time_us, Absence::kNotOffered, Absence::kNotOffered, Absence::kNotOffered};
  device.present = read.present;
  device.ambiguous = read.ambiguous;
  if (!std::holds_alternative<std::uint64_t>(read.time_us)) return device;
  const auto holds = [](const auto& all, const auto& some) {
    return std::includes(all.begin(), all.end(), some.begin(), some.end());
  };
  const bool comparable = holds(read.numbers, vm.processors) || holds(vm.processors, read.numbers);
  if (read.numbers.size() < vm.settings.vcores || !comparable) {
    device.counters[kCpuTimeUs] = Absence::kReadFailed;
    return device;
  }
  const bool more = read.numbers.size() > vm.settings.vcores;
  vm.processors_instance = more ? std::to_string(read.numbers.size()) : "";
  vm.processors_name = vm.machine.name;
  vm.processors = read.numbers;
  return device;
}

bool HypervSampler::shows_adapter(const HypervCounters& counters, const Vm& vm) {
  return std::any_of(vm.settings.nics.begin(), vm.settings.nics.end(),
                     [&](const HypervNic& nic) { return counters.nic(vm.machine.vm, nic.adapter).present; });
}

// ---- The sample

// Nothing as long as the size of one disk is not known.
std::optional<std::uint64_t> HypervSampler::disk_mib_of(const Vm& vm) const {
  std::uint64_t sum = 0;
  for (const HypervDisk& disk : vm.settings.disks) {
    const auto size = vm.disks_mib.find(disk.id);
    if (size == vm.disks_mib.end()) return std::nullopt;
    sum += size->second;
  }
  return sum;
}

VmReading HypervSampler::reading_of(Vm& vm) {
  VmReading reading;
  reading.vm = vm.machine.vm;
  reading.name = vm.machine.name;
  reading.owner = vm.owner;
  reading.levels = levels_of(vm.settings, vm.machine.power);
  const auto assigned = assigned_memory_.find(vm.machine.vm);
  if (vm.settings.dynamic_memory && assigned != assigned_memory_.end()) reading.levels.memory_mib = assigned->second;
  reading.levels.disk_mib = disk_mib_of(vm);
  if (vm.machine.power == Power::kOff) return reading;
  reading.process_began = vm.began;
  if (away_) {
    add_unread_devices(vm, reading);
    return reading;
  }
  for (auto& [key, device] : vm.devices) device.seen = false;
  const HypervCounters::Device processors = processors_of(vm);
  add_device(vm, DeviceKind::kCpu, "vcpus", vm.processors_instance, processors, true, reading);
  const auto was_there = [](const HypervCounters::Device& before) { return before.present || before.unread; };
  for (const HypervDisk& disk : vm.settings.disks) {
    HypervCounters::Device read = counters_.disk(disk.path);
    const std::string instance = storage_key_of_path(disk.path);
    read.ambiguous = read.ambiguous || is_contested(vm, instance);
    add_device(vm, DeviceKind::kDisk, disk.id, instance, read, was_there(counters_before_.disk(disk.path)), reading);
  }
  for (const HypervNic& nic : vm.settings.nics) {
    HypervCounters::Device read = counters_.nic(vm.machine.vm, nic.adapter);
    const auto same = [&](const HypervNic& other) { return other.adapter == nic.adapter; };
    read.ambiguous = read.ambiguous || std::count_if(vm.settings.nics.begin(), vm.settings.nics.end(), same) > 1;
    add_device(vm, DeviceKind::kNic, nic.id, nic.adapter, read,
               was_there(counters_before_.nic(vm.machine.vm, nic.adapter)), reading);
  }
  std::erase_if(vm.devices, [](const auto& entry) { return !entry.second.seen; });
  vm.process_new = false;
  vm.former.clear();
  return reading;
}

// Counters are older than the list, so whoever had a name or a file at the sample before may still be meant by them.
void HypervSampler::join(const std::vector<HypervMachine>& running) {
  std::vector<HypervMachine> claims = std::exchange(running_, running);
  for (const auto& [id, vm] : vms_) {
    if (vm.machine.power == Power::kOff || vm.processors_name.empty()) continue;
    claims.push_back(vm.machine);
    claims.back().name = vm.processors_name;  // Nobody knows when instances follow a machine that is renamed.
  }
  counters_.name_machines(running, claims);
  disk_users_before_ = std::exchange(disk_users_, {});
  for (const auto& [id, vm] : vms_) {
    if (vm.machine.power == Power::kOff) continue;
    for (const HypervDisk& disk : vm.settings.disks) disk_users_[storage_key_of_path(disk.path)].push_back(id);
  }
}

bool HypervSampler::is_contested(const Vm& vm, const std::string& instance) const {
  const auto now = disk_users_.find(instance);
  if (now != disk_users_.end() && now->second.size() > 1) return true;
  const auto before = disk_users_before_.find(instance);
  return before != disk_users_before_.end() && std::any_of(before->second.begin(), before->second.end(),
                                                           [&](const VmId& user) { return user != vm.machine.vm; });
}

Result<Sample> HypervSampler::complete_sample(const Listing& listing) {
  read_memory();
  read_sizes();
  join(listing.running);
  Sample sample;
  if (incomplete_) sample.inventory = Inventory::kKnownOnly;
  for (auto& [id, vm] : vms_) {
    if (vm.allocated) sample.vms.push_back(reading_of(vm));
  }
  finish(sample, listing.mark);
  previous_ = sample.taken_at;
  return sample;
}

// WMI is away. A machine of which an adapter still counts is proven to be here; of the others nobody knows, so they are
// not listed.
Result<Sample> HypervSampler::known_only_sample(const Error& reason) {
  if (!previous_ || !counted_) return reason;
  if (!away_) log_.warning("WMI is away, going on with what the counters show", {{"error", reason.message}});
  away_ = true;
  std::vector<HypervMachine> known;
  for (auto& [id, vm] : vms_) {
    vm.just_started = false;
    if (vm.machine.power != Power::kOff) known.push_back(vm.machine);
  }
  join(known);
  Sample sample;
  sample.inventory = Inventory::kKnownOnly;
  for (auto& [id, vm] : vms_) {
    if (vm.allocated && vm.machine.power != Power::kOff && shows_adapter(counters_, vm))
      sample.vms.push_back(reading_of(vm));
  }
  finish(sample, tracker_->mark());
  sample.events_unbroken = false;
  return sample;
}

void HypervSampler::finish(Sample& sample, std::uint64_t mark) {
  finish_sample(sample, tracker_->take(mark), !previous_);
  // Notices do not tell how large disks are; what was read of a machine holds since it came.
  for (VmEvent& event : sample.events) {
    const auto vm = vms_.find(event.vm);
    if (event.levels && !event.levels->disk_mib && vm != vms_.end()) event.levels->disk_mib = disk_mib_of(vm->second);
  }
}

}  // namespace nodemeter
