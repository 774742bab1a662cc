// The simulated node as a Hyper-V host would show it: rows of WMI classes, notices, raw counters by instance name. The
// real sampler reads it.
//
// What a node shows in its own words is taken apart here into Hyper-V's, with its awkward sides: display names that
// repeat, counters that survive a reset or not, on-times that leave out pauses, 32-bit operations, values that cannot
// be used. Each world has its own manners, drawn from its seed.

#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "collectors/hyperv_reader.h"
#include "collectors/hyperv_sampler.h"
#include "collectors/hyperv_tracker.h"
#include "platform/random.h"
#include "tests/sim/node.h"

namespace nodemeter {

class HypervFace {
 public:
  // All must outlive the face.
  HypervFace(const Plan& plan, const SimNode& node, const Clock& clock);

  // From now on nothing is missing from its answers.
  void everything_answers() { manners_.disturbed = false; }

  // The agent begins anew: the sampler forgets what it has seen.
  void restart();

  // What the sampler makes of what the node shows.
  Result<Sample> read(const Result<Sample>& shown);

  // What the host answers at present.
  struct Host {
    bool service = false;   // WMI answers.
    bool counters = false;  // The counters do.
    WmiTables tables;
    std::vector<CounterColumn> columns;
    std::map<std::string, std::uint64_t> sizes;
  };

 private:
  static constexpr std::uint64_t kAnswersPerFault = 60;

  struct Checkpoint {  // Of a disk: what is written goes to another file from then on.
    std::uint64_t run = 0;
    std::array<std::uint64_t, kCountersMax> counted{};
  };
  struct Machine {
    std::string name;  // As shown last.
    std::uint64_t process = 0;
    std::uint64_t run = 0;        // Of its CPU, whose process that is.
    std::int64_t on_from_ms = 0;  // Running time at its last reset.
    std::string state_changed;
    std::optional<Power> shown_power;
    std::uint64_t shown_process = 0;
    std::string settings;  // As shown last.
    std::uint32_t checkpoints = 0;
    bool checkpoint_new = false;                   // The size of its file is not known yet.
    std::map<std::string, Checkpoint> checkpoint;  // The last one, by disk.
  };
  struct Manners {
    bool unique_names = false;
    bool on_time = true;
    bool resets_restart_on_time = false;
    bool tells_configuration_changes = false;
    bool older_operations = false;
    bool first_codes = false;  // Of EnabledState.
    bool checkpoints = false;
    bool checkpoints_count_anew = false;
    bool disturbed = false;  // Answers lack something now and then.
    bool numbers_processes = true;
  };

  void show(const Sample& sample);
  void show_machine(const VmReading& reading);
  void show_counters(const VmReading& reading);
  bool goes_wrong() { return manners_.disturbed && random_.chance(1, kAnswersPerFault); }
  void take_checkpoint(const VmReading& reading);
  [[nodiscard]] std::string disk_path(const VmId& vm, const std::string& device) const;
  [[nodiscard]] DeviceReading since_checkpoint(const VmId& vm, DeviceReading device) const;
  void notify(const VmEvent& event);
  void follow_run(const VmId& vm, Machine& machine);
  [[nodiscard]] HypervSettings settings_of(const VmEvent& event) const;
  void show_settings(const VmReading& reading, const std::string& notes);
  [[nodiscard]] std::string display_name(const VmId& vm, const std::string& name) const;
  [[nodiscard]] std::string instant() const;
  [[nodiscard]] WmiRow machine_row(const VmId& vm, const Machine& machine, const std::string& name, Power power) const;
  void add_value(std::size_t column, const std::string& instance, const Reading& reading);

  const SimNode& node_;
  const Clock& clock_;
  Manners manners_;
  Random random_;
  std::shared_ptr<Host> host_ = std::make_shared<Host>();
  std::map<VmId, Machine> machines_;
  std::set<std::pair<VmId, std::string>> sized_;  // Disks of which a size was told.
  std::uint64_t processes_ = 1000;
  NullLog log_;
  std::shared_ptr<HypervTracker> tracker_;
  std::unique_ptr<HypervSampler> sampler_;
};

// Asks what the host answers: directly, and on Windows through COM and PDH, by the very code that a Hyper-V host gets.
// There the reader opened last is the one that is answered. `clock` must outlive it.
std::unique_ptr<HypervReader> open_face_reader(std::shared_ptr<HypervFace::Host> host, const Clock& clock);

}  // namespace nodemeter
