#include "collectors/libvirt_sampler.h"

#include <algorithm>

#include "collectors/owner_metadata.h"
#include "collectors/sample_moves.h"
#include "platform/text.h"

namespace nodemeter {

namespace {

using std::chrono::steady_clock;

// No event tells a change of vcpus, so definitions are read again now and then, not all at the same sample.
constexpr std::chrono::seconds kDefinitionAgeMax{60};
constexpr std::uint64_t kDefinitionSpreadS = 30;
// Disks of a VM that is off change their size only by hand.
constexpr std::chrono::minutes kOffSizeAgeMax{5};
// An event and the list travel different ways: how long the one may trail the other.
constexpr Milliseconds kEventTrail{100};
constexpr int kListsMax = 3;
// The first list reads every definition.
constexpr int kFirstListPatience = 10;
constexpr std::uint32_t kSearchPauseMax = 64;

std::array<Reading, kCountersMax> absent(Absence why) {
  std::array<Reading, kCountersMax> counters;
  counters.fill(why);
  return counters;
}

std::uint64_t mebibytes(std::uint64_t bytes) { return (bytes >> 20) + ((bytes & ((1u << 20) - 1)) != 0 ? 1 : 0); }

std::chrono::seconds age_max(const VmId& vm) {
  return kDefinitionAgeMax + std::chrono::seconds{std::hash<VmId>{}(vm) % kDefinitionSpreadS};
}

}  // namespace

LibvirtSampler::LibvirtSampler(SamplerOptions options, const LibvirtConnector& connector, const Clock& clock, Log& log)
    : options_(std::move(options)),
      clock_(clock),
      log_(log),
      proc_(options_.proc_root),
      tracker_(std::make_shared<VmTracker>(
          VmTracker::Options{options_.source.trust_metadata, options_.on_urgency, VmTracker::Options{}.events_max},
          clock)),
      control_(connector, tracker_, log),
      workers_(connector, options_.source.vm_deadline, clock) {}

Result<Sample> LibvirtSampler::read_all() {
  const SteadyTime deadline = steady_clock::now() + options_.source.vm_deadline;
  Result<Listing> listing = settled_list(deadline);
  if (!listing) {
    const Error& error = listing.error();
    if (error.code == ErrorCode::kLimitExceeded || error.code == ErrorCode::kCorrupt) return error;
    return known_only_sample(error);
  }
  if (away_) log_.info("libvirt answers again");
  away_ = false;
  return complete_sample(std::move(*listing), deadline);
}

// ---- What the daemon tells

void LibvirtSampler::read_definitions(LibvirtConnection& connection, Definitions& definitions, bool trust_metadata,
                                      const std::vector<ListedDomain>& domains) {
  for (const ListedDomain& domain : domains) {
    {
      const std::lock_guard lock(definitions.mutex);
      const auto known = definitions.known.find(domain.vm);
      const bool fresh = known != definitions.known.end() && known->second->active_id == domain.active_id &&
                         steady_clock::now() - known->second->read_at < age_max(domain.vm) &&
                         !definitions.stale.contains(domain.vm);
      if (fresh) continue;
      // Before reading: a change from here on makes it stale again.
      definitions.stale.erase(domain.vm);
    }
    const Result<std::string> xml = connection.definition(domain.vm);
    if (!xml) continue;  // Gone meanwhile, or the connection is: the caller sees which.
    Result<DomainDefinition> parsed = parse_domain_xml(*xml);
    if (!parsed || parsed->vm != domain.vm) continue;
    auto definition = std::make_shared<Definition>();
    definition->domain = std::move(*parsed);
    if (trust_metadata) definition->owner = parse_owner_metadata(*xml);
    const Result<bool> persistent = connection.persistent(domain.vm);
    definition->persistent = persistent.ok() && *persistent;
    definition->active_id = domain.active_id;
    definition->read_at = steady_clock::now();
    const std::lock_guard lock(definitions.mutex);
    definitions.known[domain.vm] = std::move(definition);
  }
}

Result<LibvirtSampler::Listing> LibvirtSampler::list(SteadyTime deadline) {
  const auto task = [definitions = definitions_, tracker = tracker_,
                     trust = options_.source.trust_metadata](LibvirtConnection& connection) -> Result<Listing> {
    Listing listing;
    listing.mark = tracker->mark();
    Result<std::vector<ListedDomain>> domains = connection.list();
    if (!domains) return domains.error();
    listing.domains = std::move(*domains);
    read_definitions(connection, *definitions, trust, listing.domains);
    return listing;
  };
  return control_.call<Listing>(task, deadline);
}

std::vector<VmTracker::Standing> LibvirtSampler::standings(const Listing& listing) {
  std::vector<VmTracker::Standing> standings;
  standings.reserve(listing.domains.size());
  const std::lock_guard lock(definitions_->mutex);
  for (const ListedDomain& domain : listing.domains) {
    const auto known = definitions_->known.find(domain.vm);
    const bool persistent = known != definitions_->known.end() && known->second->persistent;
    standings.push_back({domain.vm, persistent, allocated_power(domain)});
  }
  return standings;
}

// Lists until the events so far explain the list, so that no VM shows up or vanishes in a sample before its event does.
Result<LibvirtSampler::Listing> LibvirtSampler::settled_list(SteadyTime deadline) {
  const SteadyTime first_deadline = deadline + (kFirstListPatience - 1) * options_.source.vm_deadline;
  for (int round = 1;; ++round) {
    // The changes told so far: their definitions are read by the list.
    apply_changes();
    Result<Listing> listing = list(ever_listed_ ? deadline : first_deadline);
    if (!listing) return listing;
    const std::vector<VmTracker::Standing> standing = standings(*listing);
    const auto settled = [&] { return !tracker_->unbroken() || tracker_->explains(standing); };
    bool good = settled();
    if (!good && round < kListsMax) {
      const auto left = std::chrono::duration_cast<Milliseconds>(deadline - steady_clock::now());
      tracker_->wait_beyond(listing->mark, std::clamp(left, Milliseconds{0}, kEventTrail));
      good = settled();
      if (!good) continue;
    }
    tracker_->accept(standing, listing->mark);
    return listing;
  }
}

void LibvirtSampler::apply_changes() {
  VmTracker::Changes changes = tracker_->take_changes();
  for (const VmTracker::PluggedDevice& plugged : changes.plugged) {
    const auto vm = vms_.find(plugged.vm);
    if (vm == vms_.end() || !vm->second.definition) continue;
    const auto forget = [&, &devices = vm->second.devices](DeviceKind kind, const std::string& id) {
      // Seen before under the same name: its counters start afresh, which the absence between may not have shown.
      const auto device = devices.find({kind, id});
      if (device != devices.end()) device->second.present = false;
    };
    for (const DomainDisk& disk : vm->second.definition->domain.disks) {
      if (disk.alias == plugged.alias) forget(DeviceKind::kDisk, disk.target);
    }
    for (const DomainNic& nic : vm->second.definition->domain.nics) {
      if (nic.alias == plugged.alias) forget(DeviceKind::kNic, nic.mac);
    }
  }
  for (const VmId& id : changes.definitions) {
    const auto vm = vms_.find(id);
    if (vm != vms_.end()) vm->second.disks_read_off = false;
  }
  const std::lock_guard lock(definitions_->mutex);
  definitions_->stale.merge(changes.definitions);
}

// Updates what is known of each VM from the list.
Status LibvirtSampler::take_over(Listing& listing) {
  if (listing.domains.size() > options_.source.vms_max) {
    return Error{ErrorCode::kLimitExceeded, std::to_string(listing.domains.size()) + " virtual machines, limit " +
                                                std::to_string(options_.source.vms_max)};
  }
  const MonotonicTime now = clock_.now().monotonic;
  for (auto& [id, vm] : vms_) vm.listed = false;
  const std::lock_guard lock(definitions_->mutex);
  for (ListedDomain& domain : listing.domains) {
    const auto definition = definitions_->known.find(domain.vm);
    if (definition == definitions_->known.end()) {
      // Without its definition nobody can say what is allocated, and leaving the VM out would make it free.
      return Error{ErrorCode::kUnavailable, "no definition of domain " + domain.vm.text()};
    }
    Vm& vm = vms_[domain.vm];
    vm.listed = true;
    vm.definition = definition->second;
    vm.power = allocated_power(domain);
    if (vm.active_id != domain.active_id) {
      vm.active_id = domain.active_id;
      vm.came_by_migration = false;
      vm.process.reset();
      vm.search_pause = vm.searches_failed = 0;
      vm.disks_read_off = false;
    }
    vm.came_by_migration = vm.came_by_migration || arrives_by_migration(domain);
    vm.nets = std::move(domain.nets);
    vm.nets_at = now;
  }
  std::erase_if(vms_, [](const auto& entry) { return !entry.second.listed; });
  std::erase_if(definitions_->known, [this](const auto& entry) { return !vms_.contains(entry.first); });
  std::erase_if(definitions_->stale, [this](const VmId& id) { return !vms_.contains(id); });
  return Done{};
}

// ---- Processes and devices

// The command line alone proves nothing: another libvirt on this machine may run a VM with the same UUID, and any user
// can start a program that looks so. The process whose CPU time is what the daemon says of its VM is the one.
// `candidates` were read before the daemon was asked.
std::optional<ProcessStat> LibvirtSampler::choose_process(const std::vector<ProcessStat>& candidates,
                                                          std::uint64_t told_ns) const {
  constexpr std::uint64_t kNanosecondsPerSecond = 1'000'000'000;
  const std::uint64_t ticks = told_ns / (kNanosecondsPerSecond / options_.ticks_per_s);
  std::optional<ProcessStat> chosen;
  for (const ProcessStat& first : candidates) {
    const std::optional<ProcessStat> last = proc_.stat(first.pid);
    const bool same = last && last->start_ticks == first.start_ticks;
    if (!same || ticks < first.cpu_ticks || ticks > last->cpu_ticks) continue;
    if (chosen) return std::nullopt;  // By chance the same: another time they will differ.
    chosen = first;
  }
  return chosen;
}

void LibvirtSampler::find_processes(SteadyTime deadline) {
  bool wanted = false;
  for (auto& [id, vm] : vms_) {
    vm.new_process = false;
    if (!vm.active_id) continue;
    if (vm.process && !vm.process->alive(proc_)) vm.process.reset();
    if (vm.process) continue;
    if (vm.search_pause > 0) {
      --vm.search_pause;
    } else {
      wanted = true;
    }
  }
  if (!wanted) return;
  std::map<VmId, std::vector<ProcessStat>> found;
  for (const ProcTree::QemuProcess& process : proc_.find_qemu_processes()) found[process.vm].push_back(process.stat);
  std::vector<VmId> asked;
  for (const auto& [id, vm] : vms_) {
    if (vm.active_id && !vm.process && vm.search_pause == 0 && found.contains(id)) asked.push_back(id);
  }
  using Times = std::map<VmId, std::uint64_t>;
  const auto ask = [asked](LibvirtConnection& connection) -> Result<Times> {
    Times times;
    for (const VmId& id : asked) {
      if (const Result<std::uint64_t> ns = connection.process_time_ns(id); ns) times[id] = *ns;
    }
    return times;
  };
  Times times;
  if (Result<Times> told = control_.call<Times>(ask, deadline); told) times = std::move(*told);
  for (auto& [id, vm] : vms_) {
    if (!vm.active_id || vm.process || vm.search_pause > 0) continue;
    const auto told = times.find(id);
    const std::optional<ProcessStat> process =
        told != times.end() ? choose_process(found[id], told->second) : std::nullopt;
    if (process) {
      vm.process.emplace(*process, options_.ticks_per_s);
      vm.new_process = true;
      vm.devices.clear();
      vm.searches_failed = 0;
      continue;
    }
    // Soon again at first: a process may be starting, and look-alikes part ways.
    vm.searches_failed = std::min(vm.searches_failed + 1, kSearchPauseMax);
    vm.search_pause = (1u << std::min(vm.searches_failed / 4, 6u)) - 1;
    log_.warning("cannot tell the process of a running VM, its CPU time is not read",
                 {{"vm", id.text()}, {"candidates", std::to_string(found[id].size())}});
  }
}

// Compares the devices of the definition with those seen before.
void LibvirtSampler::renew_devices(Vm& vm) {
  if (!vm.process) return;
  std::set<DeviceKey> defined;
  for (const DomainDisk& disk : vm.definition->domain.disks) defined.insert({DeviceKind::kDisk, disk.target});
  std::set<std::string> kept_host_devices;
  for (const DomainNic& nic : vm.definition->domain.nics) {
    defined.insert({DeviceKind::kNic, nic.mac});
    if (!nic.target_made) kept_host_devices.insert(nic.mac);
  }
  for (auto& [key, device] : vm.devices) device.present = device.present && defined.contains(key);
  for (const DeviceKey& key : defined) {
    const auto [entry, added] = vm.devices.try_emplace(key);
    Device& device = entry->second;
    if (device.present) continue;
    if (!added) ++device.plugged;
    device.present = true;
    device.capacity_bytes.reset();
    device.begun = vm.process->began();
    // Plugged into a process that an earlier sample has seen without it.
    if (!vm.new_process && previous_ && tracker_->unbroken()) device.begun = std::max(*device.begun, *previous_);
    // A host device that somebody else made may have counted before.
    device.carried = key.first == DeviceKind::kNic && kept_host_devices.contains(key.second);
    if (device.carried) device.begun.reset();
  }
}

void LibvirtSampler::ask_for_disks() {
  std::vector<BlockWorkers::Job> missed;
  std::vector<BlockWorkers::Job> jobs;
  const SteadyTime now = steady_clock::now();
  for (auto& [id, vm] : vms_) {
    if (!vm.power || vm.definition->domain.disks.empty()) continue;
    const bool off = *vm.power == Power::kOff;
    if (off && vm.disks_read_off && now - vm.disks_read_at < kOffSizeAgeMax) continue;
    BlockWorkers::Job job{id, !off, {}};
    if (off) {
      for (const DomainDisk& disk : vm.definition->domain.disks) job.targets.push_back(disk.target);
    }
    (vm.disks_missed ? missed : jobs).push_back(std::move(job));
  }
  // Who was not reached last time comes first, so that no VM is left out for ever on a node that is too busy for all;
  // VMs that answered come before those that did not answer even when asked.
  jobs.insert(jobs.end(), std::make_move_iterator(missed.begin()), std::make_move_iterator(missed.end()));
  workers_.begin(std::move(jobs));
}

void LibvirtSampler::take_disks(std::map<VmId, BlockWorkers::Answer>& answers) {
  const SteadyTime now = steady_clock::now();
  for (auto& [id, vm] : vms_) {
    const auto answer = answers.find(id);
    vm.disks_missed = answer == answers.end();
    if (answer == answers.end()) continue;
    for (const BlockStats& disk : answer->second.disks) {
      const auto device = vm.devices.find({DeviceKind::kDisk, disk.target});
      if (device != vm.devices.end() && disk.capacity_bytes) device->second.capacity_bytes = disk.capacity_bytes;
      if (device == vm.devices.end() && !vm.process) {
        vm.devices[{DeviceKind::kDisk, disk.target}].capacity_bytes = disk.capacity_bytes;
      }
    }
    if (vm.power == Power::kOff) {
      vm.disks_read_off = true;
      vm.disks_read_at = now;
    }
  }
  const std::size_t stuck = workers_.stuck();
  if (stuck != stuck_) {
    log_.warning("virtual machines that do not answer for their disks", {{"count", std::to_string(stuck)}});
    stuck_ = stuck;
  }
}

// A vcpu that was plugged shows by its thread: the level changes with this sample, not with the next look.
void LibvirtSampler::reread_after_vcpu_change(SteadyTime deadline) {
  bool wanted = false;
  {
    const std::lock_guard lock(definitions_->mutex);
    for (auto& [id, vm] : vms_) {
      if (!vm.process) continue;
      const bool changed = !vm.new_process && vm.process->vcpu_threads() != vm.vcpu_threads;
      vm.vcpu_threads = vm.process->vcpu_threads();
      if (!changed) continue;
      definitions_->stale.insert(id);
      wanted = true;
    }
  }
  if (!wanted || !list(deadline)) return;
  const std::lock_guard lock(definitions_->mutex);
  for (auto& [id, vm] : vms_) {
    const auto known = definitions_->known.find(id);
    if (known != definitions_->known.end() && known->second->active_id == vm.active_id) vm.definition = known->second;
  }
}

// ---- The sample

std::vector<NetStats> LibvirtSampler::nets_from_proc(const Vm& vm) const {
  std::vector<NetStats> nets;
  if (!vm.process || vm.definition->domain.nics.empty()) return nets;
  const std::vector<NetDevice> devices = proc_.net_devices(vm.process->pid());
  for (const DomainNic& nic : vm.definition->domain.nics) {
    for (const NetDevice& device : devices) {
      if (device.name != nic.target) continue;
      NetStats net{nic.target, {}};
      const bool mirrored = nic.host_view_is_mirrored();
      net.counters[kReceiveBytes] = mirrored ? device.transmit_bytes : device.receive_bytes;
      net.counters[kTransmitBytes] = mirrored ? device.receive_bytes : device.transmit_bytes;
      net.counters[kReceivePackets] = mirrored ? device.transmit_packets : device.receive_packets;
      net.counters[kTransmitPackets] = mirrored ? device.receive_packets : device.transmit_packets;
      nets.push_back(std::move(net));
    }
  }
  return nets;
}

void LibvirtSampler::add_nics(const Vm& vm, const BootId& boot, VmReading& reading) {
  for (const DomainNic& nic : vm.definition->domain.nics) {
    DeviceReading device;
    device.kind = DeviceKind::kNic;
    device.id = nic.mac;
    device.read_at = vm.nets_at;
    device.counters = absent(Absence::kNotOffered);
    const auto known = vm.devices.find({DeviceKind::kNic, nic.mac});
    if (vm.process && known != vm.devices.end()) {
      device.run = vm.process->run(boot, device.kind, nic.mac, known->second.plugged);
      device.begun = known->second.begun;
      device.carried = known->second.carried;
      // A device that ought to count and does not is one that is not set up yet.
      if (!nic.target.empty()) device.counters = absent(Absence::kReadFailed);
      for (const NetStats& net : vm.nets) {
        if (!nic.target.empty() && net.host_device == nic.target) device.counters = net.counters;
      }
    }
    reading.devices.push_back(std::move(device));
  }
}

void LibvirtSampler::add_disks(const Vm& vm, const BootId& boot, const BlockWorkers::Answer* answer,
                               VmReading& reading) {
  for (const DomainDisk& disk : vm.definition->domain.disks) {
    DeviceReading device;
    device.kind = DeviceKind::kDisk;
    device.id = disk.target;
    const auto known = vm.devices.find({DeviceKind::kDisk, disk.target});
    if (vm.process && known != vm.devices.end()) {
      device.run = vm.process->run(boot, device.kind, disk.target, known->second.plugged);
      device.begun = known->second.begun;
      device.carried = known->second.carried;
    }
    device.counters = absent(away_ && !tracker_->unbroken() ? Absence::kReadFailed : Absence::kVmBusy);
    device.read_at = answer != nullptr ? answer->read_at : clock_.now().monotonic;
    if (answer != nullptr && !answer->busy) {
      // A disk of a QEMU process always counts. Where a counter is not there, the process is still setting up.
      device.counters = absent(Absence::kReadFailed);
      for (const BlockStats& stats : answer->disks) {
        // Without the process nobody can say which run the counters are of.
        if (stats.target != disk.target || !vm.process) continue;
        for (std::size_t i = 0; i < kCountersMax; ++i) {
          if (std::holds_alternative<std::uint64_t>(stats.counters[i])) device.counters[i] = stats.counters[i];
        }
      }
    }
    reading.devices.push_back(std::move(device));
  }
}

VmReading LibvirtSampler::reading_of(const VmId& id, Vm& vm, const BootId& boot, const BlockWorkers::Answer* answer) {
  const DomainDefinition& domain = vm.definition->domain;
  VmReading reading;
  reading.vm = id;
  reading.name = domain.name;
  reading.levels = levels_of(domain, *vm.power);
  reading.owner = vm.definition->owner;
  std::uint64_t disk_mib = 0;
  bool all_known = true;
  for (const DomainDisk& disk : domain.disks) {
    const auto device = vm.devices.find({DeviceKind::kDisk, disk.target});
    all_known = all_known && device != vm.devices.end() && device->second.capacity_bytes;
    if (all_known) disk_mib += mebibytes(*device->second.capacity_bytes);
  }
  if (all_known) reading.levels.disk_mib = disk_mib;
  if (*vm.power == Power::kOff) return reading;
  if (vm.process && !vm.came_by_migration) reading.process_began = vm.process->began();
  reading.devices.push_back(vm.cpu);
  add_disks(vm, boot, answer, reading);
  add_nics(vm, boot, reading);
  return reading;
}

Result<Sample> LibvirtSampler::complete_sample(Listing listing, SteadyTime deadline) {
  if (Status taken = take_over(listing); !taken) return taken.error();
  find_processes(ever_listed_ ? deadline : deadline + kFirstListPatience * options_.source.vm_deadline);
  ever_listed_ = true;
  for (auto& [id, vm] : vms_) renew_devices(vm);
  ask_for_disks();
  Sample sample;
  const BootId boot = clock_.now().boot;
  // While the disks are being asked: a hanging VM does not make the others' readings late.
  for (auto& [id, vm] : vms_) read_cpu(vm, boot);
  reread_after_vcpu_change(deadline);
  std::map<VmId, BlockWorkers::Answer> answers = workers_.collect();
  take_disks(answers);
  for (auto& [id, vm] : vms_) {
    if (!vm.power) continue;
    const auto answer = answers.find(id);
    sample.vms.push_back(reading_of(id, vm, boot, answer == answers.end() ? nullptr : &answer->second));
  }
  finish(sample, listing.mark);
  return sample;
}

void LibvirtSampler::read_cpu(Vm& vm, const BootId& boot) {
  vm.cpu = DeviceReading{};
  vm.cpu.kind = DeviceKind::kCpu;
  vm.cpu.id = "vcpus";
  vm.cpu.counters[kCpuTimeUs] = vm.process ? vm.process->vcpu_time_us(proc_) : Reading{Absence::kReadFailed};
  vm.cpu.read_at = clock_.now().monotonic;
  if (!vm.process) return;
  vm.cpu.run = vm.process->run(boot, vm.cpu.kind, vm.cpu.id, 0);
  vm.cpu.begun = vm.process->began();
}

// The daemon is away. A VM whose process is alive is proven to be here; of the others nobody knows, so they are not
// listed.
Result<Sample> LibvirtSampler::known_only_sample(const Error& reason) {
  if (!ever_listed_) return reason;
  if (!away_) log_.warning("libvirt is away, going on with what /proc shows", {{"error", reason.message}});
  away_ = true;
  Sample sample;
  sample.inventory = Inventory::kKnownOnly;
  const BootId boot = clock_.now().boot;
  // libvirt lists nothing while it kills a process that will not end, but it still answers for the other VMs' disks.
  const bool slow = tracker_->unbroken();
  if (slow) ask_for_disks();
  std::vector<VmId> known;
  for (auto& [id, vm] : vms_) {
    vm.new_process = false;
    // A migration may have begun or ended meanwhile, so only what was allocated before goes on.
    if (!vm.power || *vm.power == Power::kOff || !vm.process || !vm.process->alive(proc_)) continue;
    read_cpu(vm, boot);
    vm.nets = nets_from_proc(vm);
    vm.nets_at = clock_.now().monotonic;
    known.push_back(id);
  }
  std::map<VmId, BlockWorkers::Answer> answers;
  if (slow) {
    answers = workers_.collect();
    take_disks(answers);
  }
  for (const VmId& id : known) {
    const auto answer = answers.find(id);
    sample.vms.push_back(reading_of(id, vms_.at(id), boot, answer == answers.end() ? nullptr : &answer->second));
  }
  finish(sample, tracker_->mark());
  sample.events_unbroken = false;
  return sample;
}

void LibvirtSampler::finish(Sample& sample, std::uint64_t mark) {
  finish_sample(sample, tracker_->take(mark), !previous_);
  if (sample.inventory == Inventory::kComplete) previous_ = sample.taken_at;
}

}  // namespace nodemeter
