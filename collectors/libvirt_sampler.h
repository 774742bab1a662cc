// The libvirt source without libvirt: lists domains, reads /proc, asks for disks, follows events, and always answers.
//
// One sample: the list of domains and NIC counters from the daemon (fast: no QEMU is asked); vcpu time from /proc; disk
// counters from QEMU through BlockWorkers; events from VmTracker. If the daemon is away, VMs whose processes are alive
// go on from /proc alone, and the sample says kKnownOnly.
//
// Threads: as Source. Helper threads live in ControlThread and BlockWorkers and speak in values.

#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "collectors/block_workers.h"
#include "collectors/control_thread.h"
#include "collectors/domain_xml.h"
#include "collectors/proc_files.h"
#include "collectors/source.h"
#include "collectors/vm_process.h"
#include "collectors/vm_tracker.h"
#include "platform/log.h"

namespace nodemeter {

struct SamplerOptions {
  SourceOptions source;
  std::string description;
  std::function<void()> on_urgency;
  std::filesystem::path proc_root = "/proc";
  std::uint64_t ticks_per_s = 100;
};

class LibvirtSampler final : public Source {
 public:
  // `clock` and `log` must outlive the sampler.
  LibvirtSampler(SamplerOptions options, const LibvirtConnector& connector, const Clock& clock, Log& log);

  Result<Sample> read_all() override;
  bool take_urgency() override { return tracker_->take_urgency(); }
  [[nodiscard]] std::string description() const override { return options_.description; }

 private:
  // What the daemon told, in one piece.
  struct Definition {
    DomainDefinition domain;
    Owner owner;
    bool persistent = false;
    std::optional<std::uint32_t> active_id;  // Of the run that it was read in.
    SteadyTime read_at{};
  };
  // Filled on the control thread, also by calls that nobody waits for any more: a node with thousands of VMs gets warm.
  struct Definitions {
    std::mutex mutex;
    std::map<VmId, std::shared_ptr<const Definition>> known;
    std::set<VmId> stale;
  };
  struct Listing {
    std::uint64_t mark = 0;  // Of the tracker, before the daemon was asked.
    std::vector<ListedDomain> domains;
  };

  struct Device {
    std::uint32_t plugged = 0;  // How often it was replaced within this process.
    bool present = false;
    std::optional<MonotonicTime> begun;
    bool carried = false;
    std::optional<std::uint64_t> capacity_bytes;
  };
  using DeviceKey = std::pair<DeviceKind, std::string>;
  struct Vm {
    std::shared_ptr<const Definition> definition;
    std::optional<Power> power;
    std::optional<std::uint32_t> active_id;
    std::optional<VmProcess> process;
    bool came_by_migration = false;  // Its process waited for it: it began before the VM was here.
    bool new_process = false;        // Found by this sample.
    std::uint32_t search_pause = 0;  // Samples until the next search for its process.
    std::uint32_t searches_failed = 0;
    std::size_t vcpu_threads = 0;
    std::map<DeviceKey, Device> devices;
    DeviceReading cpu;
    std::vector<NetStats> nets;
    MonotonicTime nets_at{};
    bool disks_read_off = false;  // Sizes were read while it is off, and are still good.
    SteadyTime disks_read_at{};
    bool disks_missed = false;
    bool listed = false;
  };

  Result<Listing> list(SteadyTime deadline);
  Result<Listing> settled_list(SteadyTime deadline);
  static void read_definitions(LibvirtConnection& connection, Definitions& definitions, bool trust_metadata,
                               const std::vector<ListedDomain>& domains);
  std::vector<VmTracker::Standing> standings(const Listing& listing);
  Status take_over(Listing& listing);
  void apply_changes();
  void find_processes(SteadyTime deadline);
  std::optional<ProcessStat> choose_process(const std::vector<ProcessStat>& candidates, std::uint64_t told_ns) const;
  void renew_devices(Vm& vm);
  void ask_for_disks();
  void take_disks(std::map<VmId, BlockWorkers::Answer>& answers);
  void reread_after_vcpu_change(SteadyTime deadline);
  void read_cpu(Vm& vm, const BootId& boot);

  VmReading reading_of(const VmId& id, Vm& vm, const BootId& boot, const BlockWorkers::Answer* answer);
  void add_nics(const Vm& vm, const BootId& boot, VmReading& reading);
  void add_disks(const Vm& vm, const BootId& boot, const BlockWorkers::Answer* answer, VmReading& reading);
  std::vector<NetStats> nets_from_proc(const Vm& vm) const;

  Result<Sample> complete_sample(Listing listing, SteadyTime deadline);
  Result<Sample> known_only_sample(const Error& reason);
  void finish(Sample& sample, std::uint64_t mark);

  const SamplerOptions options_;
  const Clock& clock_;
  Log& log_;
  const ProcTree proc_;
  const std::shared_ptr<VmTracker> tracker_;
  const std::shared_ptr<Definitions> definitions_ = std::make_shared<Definitions>();
  ControlThread control_;
  BlockWorkers workers_;
  std::map<VmId, Vm> vms_;
  std::optional<MonotonicTime> previous_;  // taken_at of the last sample that listed all VMs.
  bool ever_listed_ = false;
  bool away_ = false;
  std::size_t stuck_ = 0;
};

}  // namespace nodemeter
