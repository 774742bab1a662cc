// Disk counters come from QEMU itself, so asking for them waits for a VM that hangs, for ever. This is where that
// waiting happens: each VM has at most one call outstanding, on a thread that nobody else needs.
//
// A VM whose call is overdue is quarantined: not asked again until that call has returned. Its worker counts as stuck
// and a fresh one takes over, up to kWorkersMax threads in all. At that limit (eight VMs hang at once) disks of the VMs
// that were not reached count as busy too, until a call returns. The limit is there because each stuck call also holds
// one of the daemon's workers, of which it has 20 unless told otherwise: metering must not lock the operator out.
//
// Threads: begin() and collect() from one thread. Destruction waits for calls up to one second, then leaves the stuck
// ones to themselves.

#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "collectors/control_thread.h"
#include "collectors/libvirt_connection.h"
#include "collectors/source.h"

namespace nodemeter {

class BlockWorkers {
 public:
  static constexpr std::size_t kWorkersAtOnce = 4;  // Running and not stuck.
  static constexpr std::size_t kWorkersMax = 8;

  struct Job {
    VmId vm;
    bool active = false;               // Off: only sizes can be had.
    std::vector<std::string> targets;  // Whose sizes to read if off.
  };

  struct Answer {
    MonotonicTime read_at{};
    std::optional<Error> error;  // This VM only.
    bool busy = false;           // The VM was at work on something else.
    std::vector<BlockStats> disks;
  };

  // `clock` must outlive the object; workers that outlive it do not use it.
  BlockWorkers(LibvirtConnector connector, Milliseconds vm_deadline, const Clock& clock);
  BlockWorkers(const BlockWorkers&) = delete;
  BlockWorkers& operator=(const BlockWorkers&) = delete;
  ~BlockWorkers();

  // Starts asking, in the given order. VMs in quarantine are passed over.
  void begin(std::vector<Job> jobs);

  // Waits until each VM has answered or is overdue, at most two vm_deadlines. A VM that is not in the map did not
  // answer.
  std::map<VmId, Answer> collect();

  // How many VMs are in quarantine.
  std::size_t stuck() const;

 private:
  struct State;
  static void thread_main(const std::shared_ptr<State>& state);
  static Answer ask(LibvirtConnection& connection, const Job& job);
  static void spawn(const std::shared_ptr<State>& state);
  static std::unique_ptr<LibvirtConnection> open(State& state);
  const std::shared_ptr<State> state_;
};

}  // namespace nodemeter
