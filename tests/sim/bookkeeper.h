// What the rules make of what was shown: a second, independent reading of product.md section 3, for the judges.
//
// It is told every sample that the agent took and which of them became durable. From these alone it computes what each
// VM's hours have to hold: time and levels exactly, counters exactly where the rules decide and with bounds where they
// leave a choice. It shares no code with the meter and keeps no marks, no registers and no records; it only adds up.

#pragma once

#include <array>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "collectors/source.h"
#include "store/meters.h"

namespace nodemeter {

class Bookkeeper {
 public:
  explicit Bookkeeper(bool count_stopped) : count_stopped_(count_stopped) {}

  // The store has watched the node without VMs until now.
  void begins_empty(const ClockReading& now, std::int64_t true_ms);
  void read_failed() { failed_ = true; }
  void taken(const Sample& sample, std::int64_t true_ms);
  void committed();   // All that was taken so far is durable.
  void agent_died();  // What is not durable never was.

  struct Bounds {
    std::uint64_t low = 0;
    std::uint64_t high = 0;
  };
  struct Account {
    std::map<std::int64_t, std::int64_t> hours;  // covered + gap, by hours since 1970.
    std::int64_t covered_ms = 0;
    std::uint64_t vcore_ms = 0;
    std::uint64_t memory_mib_ms = 0;
    std::uint64_t disk_mib_ms = 0;
    std::array<Bounds, kMeterCount> counted{};
    std::int64_t unwatched_ms = 0;  // This much was not seen as it happened.
  };
  [[nodiscard]] const std::map<VmId, Account>& accounts() const { return accounts_; }

  struct Gap {
    std::int64_t from = 0;  // UTC, ms.
    std::int64_t to = 0;
  };
  [[nodiscard]] const std::vector<Gap>& gaps() const { return gaps_; }
  // True times of all durable samples.
  [[nodiscard]] const std::vector<std::int64_t>& looks() const { return looks_; }
  // True time that nobody watched, of the node.
  [[nodiscard]] std::int64_t unwatched_ms() const { return unwatched_ms_; }
  // True time of the first durable sample, if nothing was known before it.
  [[nodiscard]] std::int64_t began_at() const { return began_at_; }
  // How many of the samples that were taken so far, lost ones included, came before what is not durable.
  [[nodiscard]] std::uint64_t durable_samples() const { return durable_samples_; }

 private:
  struct Chain {  // One counter of one run.
    std::optional<std::uint64_t> base;
    std::int64_t read_at = 0;
  };
  struct Device {
    std::uint64_t run = 0;
    bool stayed = true;  // Its VM was not known to be away since the last reading: what this run used since counts.
    std::array<Chain, kCountersMax> chains;
    bool surely_from_zero = false;
    bool perhaps_from_zero = false;
  };
  struct Standing {
    bool known = false;
    bool present = false;
    Levels levels;
    BootId boot;
    std::int64_t seen = 0;  // Monotonic.
  };
  struct Vm : Standing {
    bool left_behind = false;
    bool doubtful = false;  // Left behind, and perhaps started again since, unseen.
    bool followed = false;  // Not read at the last sample, and yet known to be as its events left it.
    std::int64_t seen_utc = 0;
    std::int64_t seen_true = 0;
    std::map<std::pair<DeviceKind, std::string>, Device> devices;
  };
  struct Taken {
    Sample sample;
    std::int64_t true_ms = 0;
    bool failed_before = false;
  };

  void add_up(const Taken& taken);
  void note_gap();
  void add_up_vm(const VmId& id, const std::vector<const VmEvent*>& events, const VmReading* listed);
  void watched(Vm& vm, Account& account, const std::vector<const VmEvent*>& events, const VmReading* listed);
  void unwatched(Vm& vm, Account& account, const std::vector<const VmEvent*>& events, const VmReading* listed);
  std::int64_t follow_events(Vm& vm, Account& account, const std::vector<const VmEvent*>& events);
  static void assume_levels(Vm& vm, const VmReading* listed);
  void bridge_to_event(const Vm& vm, Account& account, const VmEvent& event, std::int64_t t);
  static bool goes_on(const Vm& vm, const VmReading& listed);
  void bridge(Vm& vm, Account& account, const VmReading& listed);
  static void went(Vm& vm);
  void found(Vm& vm, Account& account, const VmReading& listed);
  void cover(Account& account, std::int64_t from_utc, std::int64_t to_utc, const Levels& levels);
  void span(Account& account, std::int64_t from_utc, std::int64_t to_utc);
  void count(Vm& vm, Account& account, const VmReading& listed, const Standing& before);
  [[nodiscard]] bool counts(Power power) const { return count_stopped_ || power != Power::kOff; }

  const bool count_stopped_;
  std::vector<Taken> pending_;
  bool failed_ = false;

  bool started_ = false;
  bool pending_start_ = false;  // begins_empty() is not durable yet.
  bool ever_complete_ = false;
  BootId boot_;
  std::int64_t last_ = 0;  // Monotonic, of the last durable sample.
  std::int64_t last_complete_ = 0;
  std::int64_t broken_ = 0;  // The last sample before which an event may have been lost.
  std::int64_t last_utc_ = 0;
  std::int64_t last_true_ = 0;
  std::int64_t last_complete_true_ = 0;  // Of `last_complete_`; not later than it.
  std::uint64_t taken_samples_ = 0;
  std::uint64_t durable_samples_ = 0;
  bool stretch_goes_on_ = false;  // The last sample showed that nobody watches what follows it.
  std::int64_t offset_ = 0;
  std::map<VmId, Vm> vms_;
  std::map<VmId, Account> accounts_;
  std::vector<Gap> gaps_;
  std::vector<std::int64_t> looks_;
  std::int64_t began_at_ = 0;
  std::int64_t unwatched_ms_ = 0;

  // Of the sample that is being added up.
  const Sample* now_ = nullptr;
  std::int64_t mono_ = 0;
  std::int64_t label_ = 0;  // UTC minus monotonic time, for instants up to this sample.
  std::int64_t true_ms_ = 0;
  bool first_ = false;
  bool same_boot_ = false;
  bool watched_ = false;
};

}  // namespace nodemeter
