// Which counters are read of Hyper-V, and whose each value is. Pure.
//
// Units of the raw values: processor time in 100 ns (type codes 0x20510500 and 0x20570500, checked); bytes and packets
// as they are; disk operations in 32 bits, unless the type code says 64. Receive and transmit are the adapter's, which
// is the guest's side.

#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "collectors/counter_query.h"
#include "collectors/hyperv_inventory.h"

namespace nodemeter {

// In the order that the functions below expect.
const std::vector<CounterPath>& hyperv_counter_paths();

// A pass over all counters, taken apart by instance.
class HypervCounters {
 public:
  HypervCounters() = default;
  explicit HypervCounters(const std::vector<CounterColumn>& columns);

  struct Device {
    bool present = false;    // There is exactly one such instance.
    bool ambiguous = false;  // There are several, or it may be another machine's.
    bool unread = false;     // Not present in a pass that could not read all of its counters: perhaps it is there.
    std::array<Reading, kCountersMax> counters{Absence::kReadFailed, Absence::kReadFailed, Absence::kReadFailed,
                                               Absence::kReadFailed};
    std::uint8_t operations_width_bits = 64;
    std::uint8_t variant = 0;  // Which of several counters stands for operations: names another run.
  };

  // Whose processors are whose goes by display names only. `running`: every machine that may have processors now.
  // `claims`: names that machines had a while ago, under which their processors may still be shown, or were when this
  // pass was made.
  void name_machines(const std::vector<HypervMachine>& running, const std::vector<HypervMachine>& claims);

  struct Processors {
    bool present = false;
    bool ambiguous = false;
    Reading time_us = Absence::kReadFailed;
    std::set<std::uint32_t> numbers;
  };
  [[nodiscard]] Processors processors(const VmId& vm) const;
  [[nodiscard]] Device disk(const std::string& path) const;
  [[nodiscard]] Device nic(const VmId& vm, const std::string& adapter) const;

 private:
  struct Group {
    unsigned __int128 ticks = 0;
    std::set<std::uint32_t> numbers;
    bool repeated = false;
    bool invalid = false;
  };
  using Instances = std::map<std::string, Device, std::less<>>;

  // Calls `use` with each name of processors that the machine's may have.
  template <class Use>
  void for_names(const HypervMachine& machine, const Use& use) const;
  void read_processors(const CounterColumn& column);
  template <class KeyOf>
  static void read_devices(const CounterColumn& column, std::size_t counter, const KeyOf& key_of, Instances& into);

  Absence processors_absent_ = Absence::kReadFailed;      // Why those that are not there are not.
  std::map<std::string, Group, std::less<>> processors_;  // By name as instances have it.
  std::map<VmId, std::string> named_;                     // Machines whose processors have this name for sure.
  std::set<VmId> ambiguous_;
  Instances disks_;
  Instances nics_;  // By "<VM> <adapter>".
  Device no_disk_, no_nic_;
};

// A display name as processor instances have it, as far as that is known: brackets for parentheses. Characters of which
// nobody knows what becomes of them fit several.
bool name_fits_instance(std::string_view vm_name, std::string_view instance_name);

}  // namespace nodemeter
