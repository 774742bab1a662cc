// libvirt's named statistics of one domain ("block.0.rd.bytes" = 4096) as values. Pure and portable.
//
// The order of names is not relied on, unknown names are skipped, and a device without a name is left out.

#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "collectors/source.h"

namespace nodemeter {

struct BlockStats {
  std::string target;
  std::array<Reading, kCountersMax> counters;  // As in DeviceReading, kDisk.
  std::optional<std::uint64_t> capacity_bytes;
};

struct NetStats {
  std::string host_device;
  std::array<Reading, kCountersMax> counters;  // As in DeviceReading, kNic: the guest's view.
};

struct DomainStats {
  std::optional<std::uint64_t> state;        // virDomainState.
  std::optional<std::uint64_t> reason;       // Meaning depends on the state.
  std::optional<std::uint64_t> block_count;  // Nothing: the block group is missing, because the domain was busy.
  std::vector<BlockStats> blocks;
  std::vector<NetStats> nets;
};

class StatsCollector {
 public:
  // Call for each statistic, in any order. Negative numbers are not passed: no statistic here can be one.
  void number(std::string_view field, std::uint64_t value);
  void text(std::string_view field, std::string_view value);

  // What was collected; devices in order of their index.
  DomainStats take();

 private:
  struct Device {
    std::string name;
    std::array<Reading, kCountersMax> counters{Absence::kNotOffered, Absence::kNotOffered, Absence::kNotOffered,
                                               Absence::kNotOffered};
    std::optional<std::uint64_t> capacity;
  };
  static Device* find(std::map<std::uint64_t, Device>& devices, std::string_view& field);

  DomainStats stats_;
  std::map<std::uint64_t, Device> blocks_, nets_;
};

}  // namespace nodemeter
