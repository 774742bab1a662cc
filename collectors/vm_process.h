// The QEMU process of one VM: its proof of identity, and the vcpus' own time.
//
// The vcpus' time is the sum over QEMU's vcpu threads. A thread that ends (a vcpu is unplugged) takes its counter
// along, so its last value is kept and the sum never falls within one life of this object. Not thread-safe.

#pragma once

#include <cstdint>
#include <map>
#include <optional>

#include "collectors/proc_files.h"
#include "collectors/source.h"

namespace nodemeter {

class VmProcess {
 public:
  // `ticks_per_s`: the unit of ProcessStat::start_ticks.
  VmProcess(const ProcessStat& stat, std::uint64_t ticks_per_s) : stat_(stat), ticks_per_s_(ticks_per_s) {}

  // Still the same process, not another one with its number.
  [[nodiscard]] bool alive(const ProcTree& proc) const;

  // The vcpus' time in microseconds. kNotRunning: the process is gone. kNotOffered: its vcpu threads cannot be told
  // from others, or have no counter.
  Reading vcpu_time_us(const ProcTree& proc);

  // How many vcpu threads there were at the last vcpu_time_us().
  [[nodiscard]] std::size_t vcpu_threads() const { return live_; }

  // Floor, so the process began at or after it.
  [[nodiscard]] MonotonicTime began() const;

  // Names one run of a device's counters: another boot, process, device or plugging gives another number.
  [[nodiscard]] std::uint64_t run(const BootId& boot, DeviceKind kind, std::string_view id,
                                  std::uint32_t plugged) const;

  [[nodiscard]] std::uint64_t pid() const { return stat_.pid; }

 private:
  struct Thread {
    bool vcpu = false;
    bool seen = false;
    std::uint64_t run_ns = 0;
  };
  ProcessStat stat_;
  std::uint64_t ticks_per_s_;
  std::map<std::uint64_t, Thread> threads_;
  std::uint64_t ended_ns_ = 0;  // Of threads whose number came to another one.
  std::size_t live_ = 0;
  bool any_vcpu_ = false;
};

}  // namespace nodemeter
