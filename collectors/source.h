// Where raw readings come from.
//
// A Source answers one question: what does the hypervisor show of every virtual machine on this node right now, and
// what happened since the last answer? It does not compute usage or know what is billable; that is agent/meter.h.
//
// Implementations: LibvirtSource (KVM), ReplaySource (a recorded trace), SimulatedSource (a scenario,
// collectors/world.h). Threads: use a Source from one thread at a time. What it returns owns its memory and may be
// moved to any thread.

#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "platform/clock.h"
#include "platform/ids.h"
#include "platform/result.h"

namespace nodemeter {

// Why a counter has no value. Absent is not zero: zero is a reading, and it means "nothing used".
//
// Stored in traces: never renumber. 0 stays free, so a zeroed byte is never a valid reason.
enum class Absence : std::uint8_t {
  kNotOffered = 1,  // This hypervisor, version or device has no such counter.
  kVmBusy = 2,      // The VM did not answer by the deadline, for example because it hangs.
  kReadFailed = 3,  // The hypervisor returned an error for this VM only.
  kNotRunning = 4,  // The VM is off: its counters went with its process.
};

// A cumulative counter exactly as the hypervisor showed it, or the reason there is none.
using Reading = std::variant<std::uint64_t, Absence>;

// Stored in traces and state rows: never renumber.
enum class DeviceKind : std::uint8_t { kCpu = 1, kDisk = 2, kNic = 3 };

// Positions in DeviceReading::counters.
inline constexpr std::size_t kCpuTimeUs = 0;  // The vcpus' own time, summed, microseconds.
inline constexpr std::size_t kReadBytes = 0, kWriteBytes = 1, kReadOperations = 2, kWriteOperations = 3;
inline constexpr std::size_t kReceiveBytes = 0, kTransmitBytes = 1, kReceivePackets = 2, kTransmitPackets = 3;
inline constexpr std::size_t kCountersMax = 4;

struct DeviceReading {
  DeviceKind kind = DeviceKind::kCpu;
  std::string id;  // Stable within the VM: "vcpus", a disk's target name, a NIC's MAC address. Unique with `kind`.

  // Names one run of the counters. Two readings may be subtracted only if their runs are equal. 0: not known which.
  std::uint64_t run = 0;

  // The run is proven to have begun at or after this instant (same boot). Nothing: unknown.
  std::optional<MonotonicTime> begun;

  // Without a proven beginning: it may have counted already before this machine's process was known to be here. Then
  // its first reading is a baseline, even where it is certain that the VM ran nothing before.
  bool carried = false;

  MonotonicTime read_at{};  // When these counters were read; at or before Sample::taken_at.
  std::array<Reading, kCountersMax> counters{Absence::kNotOffered, Absence::kNotOffered, Absence::kNotOffered,
                                             Absence::kNotOffered};
  std::uint8_t operations_width_bits = 64;  // 32 on Hyper-V: a small fall there may be a wrap.
};

// Whose VM it is. All of it comes from outside: bounded and checked by whoever fills it.
struct Owner {
  bool known = false;
  Uuid subscription;
  Uuid tenant;
  std::string resource_group;
  std::string name;  // The resource's name; empty: the VM id serves.
  std::map<std::string, std::string> tags;
  bool windows_licence = false;
  bool billable = true;

  friend bool operator==(const Owner&, const Owner&) = default;
};

// Stored in traces and state rows: never renumber.
enum class Power : std::uint8_t { kRunning = 1, kPaused = 2, kOff = 3 };

// What is allocated, until the next event or reading shows otherwise.
struct Levels {
  Power power = Power::kOff;
  std::uint32_t vcores = 0;
  std::uint64_t memory_mib = 0;           // Assigned while powered on.
  std::optional<std::uint64_t> disk_mib;  // Virtual size of all hard disks, each rounded up. Nothing: never readable.

  friend bool operator==(const Levels&, const Levels&) = default;
};

struct VmReading {
  VmId vm;           // Identity. Display names repeat and change, so they never serve as keys.
  std::string name;  // For people.
  Levels levels;
  Owner owner;
  // The instant at which this VM's process is proven to have begun (same boot), if it runs.
  std::optional<MonotonicTime> process_began;
  std::vector<DeviceReading> devices;  // Ordered by (kind, id); no duplicates. Empty while the VM is off.
};

// Stored in traces: never renumber.
enum class VmEventKind : std::uint8_t {
  kArrived = 1,   // Allocated here from this instant.
  kDeparted = 2,  // Not allocated here from this instant.
  kStarted = 3,
  kStopped = 4,
  kPaused = 5,
  kResumed = 6,
  kResized = 7,
  kRebooted = 8,  // Counters go on.
};

struct VmEvent {
  VmId vm;
  VmEventKind kind = VmEventKind::kArrived;
  MonotonicTime at{};
  std::string how;  // "created", "migrated", "deleted", "deallocated", "shutdown", "crashed", …
  // In force from `at` on, where the event tells: as they were then, not as when what it tells of happened.
  std::optional<Levels> levels;
  std::optional<Owner> owner;
  std::string name;
};

// How much of the node a Sample speaks for.
enum class Inventory : std::uint8_t {
  kComplete = 1,   // A VM that is not listed is not on the node.
  kKnownOnly = 2,  // The hypervisor service is away: a VM that is not listed may still be there.
};

struct Sample {
  BootId boot;               // Which boot of the node the monotonic instants belong to.
  MonotonicTime taken_at{};  // For durations.
  UtcTime wall{};            // For people and invoices, read together with `taken_at`.
  bool clock_synchronised = true;
  Inventory inventory = Inventory::kComplete;
  // Every event since the previous Sample of this Source is in `events`. False on the first one.
  bool events_unbroken = false;
  std::vector<VmEvent> events;  // In order of `at`, not before the previous sample, not after `taken_at`.
  std::vector<VmReading> vms;   // Ordered by `vm`; no duplicates; VMs that are off are listed too.
};

struct SourceOptions {
  // Longest wait for one VM before its disk counters are recorded as kVmBusy. Raising it costs a busy node punctuality.
  Milliseconds vm_deadline{500};

  // Most VMs accepted in one Sample. A node beyond it fails with kLimitExceeded; it is never trimmed, because a VM left
  // out silently is a VM that runs for free.
  std::uint32_t vms_max = 4096;

  // False: owners come from the owners file only, because tenants can write the metadata.
  bool trust_metadata = true;
};

// How the owners file stands, for operators. Without one: as if it were empty.
struct OwnersState {
  std::string fault;            // Why its newest content is not in force; "": it is.
  std::uint64_t entries = 0;    // In force.
  std::uint64_t conflicts = 0;  // VMs of the last sample for which the hypervisor names another subscription.
};

class Source {
 public:
  virtual ~Source() = default;
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;

  // Reads every VM on the node once. Bounded by SourceOptions::vm_deadline, not by the number of hanging VMs.
  //
  // One stuck VM costs nobody else a reading. A node without VMs is a success with an empty list.
  //
  // Errors mean that there is no Sample at all. The caller records a gap for the whole node.
  //   kUnavailable       the hypervisor service is down and nothing is known from elsewhere; the next call reconnects.
  //   kPermissionDenied  this account may not read counters; an operator has to act.
  //   kCorrupt           the answer made no sense; the message names the field and its value.
  //   kLimitExceeded     more than SourceOptions::vms_max virtual machines.
  virtual Result<Sample> read_all() = 0;

  // True once if something happened that deserves a read before the next interval (an arrival). Any thread.
  virtual bool take_urgency() { return false; }

  // Reads again what it reads from files beside the hypervisor, with the next sample, and makes that urgent.
  virtual void reload() {}
  [[nodiscard]] virtual OwnersState owners_state() const { return {}; }

  // For operators: "libvirt qemu:///system", "simulated". Any thread.
  [[nodiscard]] virtual std::string description() const = 0;

 protected:
  Source() = default;
};

}  // namespace nodemeter
