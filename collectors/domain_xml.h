// The part of a libvirt domain definition that metering needs. Pure and portable; the text comes from outside.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "platform/ids.h"
#include "platform/result.h"

namespace nodemeter {

// A hard disk or passed-through LUN. Removable media (cdrom, floppy) are not listed.
struct DomainDisk {
  std::string target;  // "vda": the key within the domain.
  std::string alias;   // "virtio-disk0": how device events name it. Only while the domain runs.
  std::string source;  // File or block device on the host; empty for network disks and volumes.
  friend bool operator==(const DomainDisk&, const DomainDisk&) = default;
};

struct DomainNic {
  std::string mac;  // Lower case.
  std::string alias;
  std::string type;          // "bridge", "network", "direct", "ethernet", "user", …
  std::string target;        // Host device; empty while off, and for types without one.
  bool target_made = false;  // libvirt made the host device for this run of the VM, so its counters began with it.
  friend bool operator==(const DomainNic&, const DomainNic&) = default;

  // The host device's receive is the guest's transmit. Not so for macvtap, which is the guest's own end.
  [[nodiscard]] bool host_view_is_mirrored() const { return type != "direct"; }
};

struct DomainDefinition {
  VmId vm;
  std::string name;
  std::uint32_t vcpus = 0;        // Online now, or at the next start.
  std::uint64_t memory_mib = 0;   // Assigned now (the balloon's target), rounded up.
  std::vector<DomainDisk> disks;  // Ordered by target; no duplicates.
  std::vector<DomainNic> nics;    // Ordered by MAC; no duplicates.
  friend bool operator==(const DomainDefinition&, const DomainDefinition&) = default;
};

// kCorrupt: no XML, no domain, or a needed field is missing or out of range; the message names it.
// kLimitExceeded: the limits of xml_walk.h, or more than kDomainDevicesMax devices of a kind.
Result<DomainDefinition> parse_domain_xml(std::string_view xml);

inline constexpr std::size_t kDomainDevicesMax = 1024;
inline constexpr std::size_t kDomainNameMax = 256;  // Longer names are cut for display.
inline constexpr std::size_t kDeviceIdMax = 64;     // A device with a longer id makes the definition corrupt.

}  // namespace nodemeter
