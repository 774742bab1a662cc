// The Hyper-V source without Windows: lists machines, joins counters to them, follows notices, and always answers.
//
// One sample: counters first, then the list of machines, so that a machine whose process began after the counters were
// read is told from the one before it. What machines are given is read again when something says that it changed. If
// WMI is away, machines of which counters still show an adapter go on as known, and the sample says kKnownOnly: an
// adapter's instance has the machine's GUID, while names and paths may be another's by now. Their counters are not read
// until WMI tells of which process they are. A list without a machine
// whose adapter still counts is none: the service was just started and has not found its machines yet.
//
// Runs. A counter run is one device of one worker process; its name holds the boot, the machine, the process and the
// device, and nothing that a restart of the agent would forget. What a reset, a restore or a migration does to counters
// is not relied upon: within a process a fall is left to the meter, which bills nothing of it. A run counts from zero
// only where something shows that its counters began since: the machine was seen off, here, its device was not there
// before, or the counters of its new process read less than those of its last. Otherwise, as for machines that came or
// may have come by migration, the first reading is a baseline. So it is behind an image file that was another's, too.
//
// Threads: as Source.

#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "collectors/hyperv_counters.h"
#include "collectors/hyperv_inventory.h"
#include "collectors/hyperv_reader.h"
#include "collectors/hyperv_tracker.h"
#include "collectors/source.h"
#include "platform/log.h"

namespace nodemeter {

class HypervSampler final : public Source {
 public:
  struct Options {
    SourceOptions source;
    // How long a notice may trail a list that it would explain.
    Milliseconds notice_trail{100};
    // Settings are read again after this long even if nothing says that they changed.
    Milliseconds settings_age_max{60'000};
    // How long a list that lacks a machine whose adapter still counts is not believed, and a machine without settings
    // keeps a list from being complete; that one at least for this many lists, since they may be minutes apart.
    Milliseconds list_doubt_max{60'000};
    int doubted_lists_min = 3;
  };
  // `tracker` receives the notices. `clock` and `log` must outlive the sampler.
  HypervSampler(Options options, std::unique_ptr<HypervReader> reader, std::shared_ptr<HypervTracker> tracker,
                const Clock& clock, Log& log);

  Result<Sample> read_all() override;
  bool take_urgency() override { return tracker_->take_urgency(); }
  [[nodiscard]] std::string description() const override { return "Hyper-V"; }

 private:
  using DeviceKey = std::pair<DeviceKind, std::string>;
  struct Device {
    std::string instance;  // Its key among the counters; a change of it is a new run.
    std::uint8_t variant = 0;
    // Its instance was, or may have been, another machine's, too: what it counted until then is not told apart.
    bool contested = false;
    std::int64_t contested_ms = 0;  // When that began; part of the run's name, so that it is never the one before.
    bool bound = false;             // Its run is named and its beginning decided.
    bool moved = false;             // Its instance was another one before.
    bool shown_before = false;      // Its instance was among the counters of the sample before.
    bool seen = false;
    std::optional<MonotonicTime> begun;
    bool carried = true;
    std::array<std::optional<std::uint64_t>, kCountersMax> last;  // As read.
  };
  // How a machine's present process relates to what was seen before it.
  enum class Origin : std::uint8_t {
    kFirstSight,   // There was no sample before.
    kStartedHere,  // The machine was off or not here in the sample before.
    kReplaced,     // Another process of the machine ran in the sample before.
    kCame,         // On when first seen here, or for longer than it has been here: perhaps by migration.
  };
  struct Vm {
    HypervMachine machine;
    HypervSettings settings;
    Owner owner;
    bool allocated = false;
    bool listed = false;
    Origin origin = Origin::kFirstSight;
    std::optional<MonotonicTime> began;  // Its process; later than in truth by the time it was paused before.
    bool process_new = false;            // Not in a sample yet.
    std::string processors_name;         // Under which its processors were read.
    std::set<std::uint32_t> processors;  // Those that were read.
    std::string processors_instance;     // Of their sum: more of them than it was given are another run.
    std::map<std::string, std::uint64_t> disks_mib;  // Sizes as last read, by disk.
    bool just_started = false;                       // After the counters were read: they are of what was before.
    std::map<DeviceKey, Device> devices;
    std::map<DeviceKey, Device> former;  // Of the process before, if it was replaced unseen.
  };
  struct Undescribed {
    MonotonicTime since{};
    int lists = 0;
    bool told = false;  // In the log.
  };
  struct Listing {
    std::uint64_t mark = 0;
    HypervReader::Rows rows;
    std::vector<HypervMachine> machines;
    std::vector<HypervMachine> running;  // All that may have processors, whosever they are.
    std::vector<HypervTracker::Standing> standings;
  };

  Result<Listing> list();
  Result<Listing> settled_list();
  Status check_list(const Listing& listing);
  Status read_settings(const std::vector<HypervMachine>& machines);
  Status take_over(const Listing& listing);
  void doubt(const std::set<VmId>& undescribed);
  void follow_process(Vm& vm, const HypervMachine& now, const Listing& listing, bool fresh) const;
  void read_sizes();
  void read_memory();

  static bool fell(const Device& before, const HypervCounters::Device& now);
  void bind(const Vm& vm, const DeviceKey& key, Device& device, const HypervCounters::Device& read) const;
  void contest(DeviceKind kind, Device& device, bool ambiguous) const;
  void add_device(Vm& vm, DeviceKind kind, const std::string& id, const std::string& instance,
                  HypervCounters::Device read, bool shown_before, VmReading& reading);
  void add_unread_devices(const Vm& vm, VmReading& reading) const;
  HypervCounters::Device processors_of(Vm& vm);
  void join(const std::vector<HypervMachine>& running);
  [[nodiscard]] std::optional<std::uint64_t> disk_mib_of(const Vm& vm) const;
  VmReading reading_of(Vm& vm);
  [[nodiscard]] std::uint64_t run_of(const Vm& vm, const DeviceKey& key, const Device& device) const;
  [[nodiscard]] bool is_contested(const Vm& vm, const std::string& instance) const;
  static bool shows_adapter(const HypervCounters& counters, const Vm& vm);

  Result<Sample> complete_sample(const Listing& listing);
  Result<Sample> known_only_sample(const Error& reason);
  void finish(Sample& sample, std::uint64_t mark);

  const Options options_;
  const std::unique_ptr<HypervReader> reader_;
  const std::shared_ptr<HypervTracker> tracker_;
  const Clock& clock_;
  Log& log_;
  BootId boot_;

  std::map<VmId, Vm> vms_;
  std::map<VmId, std::uint64_t> assigned_memory_;
  // Running machines by image file, a machine for each place where it has it: now, and at the sample before.
  std::map<std::string, std::vector<VmId>> disk_users_, disk_users_before_;
  std::vector<HypervMachine> running_;      // At the sample before.
  std::map<VmId, std::string> configured_;  // When each machine's configuration last changed.
  HypervTracker::Absences absences_;        // Since the sample before.
  std::optional<MonotonicTime> settings_read_;
  bool settings_missed_ = false;

  HypervCounters counters_;
  HypervCounters counters_before_;  // Of the sample before.
  bool counted_ = false;            // `counters_` were read for this sample,
  bool counted_before_ = false;     // and for some sample before.
  MonotonicTime counters_asked_{};
  MonotonicTime counters_answered_{};
  std::optional<MonotonicTime> previous_;       // taken_at of the last sample for which all were listed.
  std::optional<MonotonicTime> listed_before_;  // When its list was asked for.
  std::optional<MonotonicTime> doubted_since_;  // The list of machines.
  std::map<VmId, Undescribed> undescribed_;     // Machines whose settings could never be read.
  bool incomplete_ = false;                     // One of them is not given up yet.
  bool away_ = false;
};

}  // namespace nodemeter
