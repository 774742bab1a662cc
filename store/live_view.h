// The newest numbers of the node in shared memory: one writer, any number of readers, no lock.
//
// Two slots take turns, each with a version that is odd while it is written. The writer always writes the older one, so
// the newer stays whole whatever happens to the writer; a reader copies the newer and looks at the version again. A
// reader that dies at any instruction costs nothing; a writer that dies leaves what it published last, which readers
// recognise as stale by its process. Nothing is written here before the commit that makes it true.

#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "platform/clock.h"
#include "platform/ids.h"
#include "platform/result.h"
#include "store/meters.h"

namespace nodemeter {

inline constexpr std::uint32_t kLiveFormat = 4;

// Text in the segment is cut to these many bytes (at a character boundary).
inline constexpr std::size_t kLiveTextMax = 96;

struct LiveVm {
  VmId vm;
  std::string name;
  Uuid subscription;
  Uuid tenant;
  bool owner_known = false;
  bool billable = true;
  bool windows_licence = false;
  std::uint8_t power = 0;  // collectors' Power.
  std::uint32_t vcores = 0;
  std::uint64_t memory_mib = 0;
  std::uint64_t disk_mib = 0;
  // Rates over the last interval that could be measured; nothing: not known now.
  std::optional<std::uint64_t> cpu_permille;  // Of one core.
  std::optional<std::uint64_t> disk_read_bytes_per_s, disk_write_bytes_per_s;
  std::optional<std::uint64_t> network_receive_bytes_per_s, network_transmit_bytes_per_s;
  std::uint64_t hour_vcore_ms = 0;  // This hour so far.
  std::uint64_t hour_gap_ms = 0;
  std::uint32_t status = 0;  // status_bit, of the open hour.
  // All that this store ever metered of the VM, the open hours included: by MeterIndex, in base units. A value never
  // falls while the VM is here. Under kBaseVmHours stand both vcore meters, because which of them an open hour belongs
  // to is decided at its end; kWindowsVmHours has no value. Nothing: never known.
  std::array<std::optional<std::uint64_t>, kMeterCount> registers;
};

struct LiveNode {
  std::string node;
  std::string version;
  std::string source;
  std::string state;   // "metering", "starting", "failed", "source down", "disk full".
  std::string reason;  // Why, when not metering; what to do.
  std::uint64_t process_id = 0;
  UtcTime started{};
  UtcTime sampled{};  // Last committed sample.
  MonotonicTime sampled_monotonic{};
  std::uint64_t sample_interval_ms = 0;
  std::uint64_t sample_duration_us = 0;  // Of the last one: read, meter, commit.
  bool clock_synchronised = true;
  std::int64_t clock_offset_moved_ms = 0;  // At the last sample.
  Uuid epoch;
  std::uint64_t last_sequence = 0;
  std::uint64_t acknowledged = 0;
  bool uploading = false;     // An aggregator is configured.
  std::string upload_state;   // "idle", "sending", "backing off", "held".
  std::string upload_reason;  // The last answer that was not an acknowledgement.
  UtcTime oldest_unacknowledged{};
  std::uint64_t parked = 0;
  std::uint64_t store_used_bytes = 0;
  std::uint64_t store_size_max_bytes = 0;
  std::uint64_t store_bytes_per_day = 0;   // Growth over the last days; 0: not known yet.
  std::uint64_t store_retained_bytes = 0;  // Where retention will hold it; 0: not known, or nothing is delivered.
  std::uint64_t gap_ms_today = 0;
  std::uint64_t gaps_today = 0;
  bool simulated = false;
  std::string owners_fault;  // Why the owners file's newest content is not in force; "": it is, or there is none.
  std::uint64_t owners_listed = 0;    // Entries of it that are in force.
  std::uint64_t owner_conflicts = 0;  // VMs for which it and the hypervisor name different subscriptions.
};

struct LiveSnapshot {
  LiveNode node;
  std::vector<LiveVm> vms;         // Ordered by id.
  std::uint32_t vms_left_out = 0;  // More VMs than the segment holds: so many are not in `vms`.
  bool writer_alive = true;        // Set on reading: the process that wrote it still runs.
};

class LiveWriter {
 public:
  virtual ~LiveWriter() = default;
  // Creates the segment `name`, replacing a stale one. `group` may read it ("" or unknown: only this account). The
  // segment goes with the writer. Memory: about 450 bytes per VM that is published, twice.
  // kLocked: the process that publishes under that name still runs. kUnavailable with errno, kPermissionDenied.
  // A larger node than `vms_max` shows the first ones and says how many are left out.
  static Result<std::unique_ptr<LiveWriter>> create(const std::string& name, const std::string& group,
                                                    std::uint32_t vms_max = 4096);
  // One thread at a time. Never waits.
  virtual void publish(const LiveSnapshot& snapshot) = 0;
};

// Reads one consistent snapshot; any thread, any process. A writer that died is no error: see writer_alive.
// kNotFound: no agent has published under that name. kPermissionDenied: not in the group; the message says which.
// kUnsupported: the agent is of another version. kUnavailable: the writer was faster than every attempt to copy.
// kCorrupt: somebody else wrote there.
Result<LiveSnapshot> read_live_view(const std::string& name);

}  // namespace nodemeter
