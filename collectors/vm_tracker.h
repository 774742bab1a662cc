// Turns libvirt's life-cycle notices into allocation events, in order and without losing one silently.
//
// libvirt tells what happened to a process or a definition; metering asks from when until when a VM is allocated here.
// The difference is state: whether a VM is persistent, is on its way in or out by migration, or left only its
// definition behind. This class holds that state, the queue of events since the last sample, and whether the queue is
// complete.
//
// Threads: all methods from any thread. Notices come from libvirt's event thread, samples from the agent's.

#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <vector>

#include "collectors/libvirt_connection.h"
#include "collectors/notice_stream.h"
#include "collectors/sample_moves.h"
#include "collectors/source.h"

namespace nodemeter {

// The levels that a definition tells: no disk sizes, which only the storage knows.
Levels levels_of(const struct DomainDefinition& definition, Power power);

// Nothing: not allocated here at present (migrating in or out, or left behind).
std::optional<Power> allocated_power(const ListedDomain& domain);

// Its process waits, or has waited, for it to come from elsewhere: when that began says nothing about the VM.
bool arrives_by_migration(const ListedDomain& domain);

class VmTracker final : public LibvirtEventSink, public NoticeStream {
 public:
  struct Options {
    bool trust_metadata = true;
    std::function<void()> on_urgency;  // Called without a lock, from the event thread.
    std::size_t events_max = 4096;     // Beyond it events are dropped, and the next sample says so.
  };
  // `clock` must outlive the tracker.
  VmTracker(Options options, const Clock& clock) : options_(std::move(options)), clock_(clock) {}

  void lifecycle(const LifecycleNotice& notice) override;
  void rebooted(VmId vm) override;
  void changed(VmId vm) override;
  void device_added(VmId vm, const std::string& alias) override;
  void closed() override { NoticeStream::closed(); }

  struct Standing {
    VmId vm;
    bool persistent = false;
    std::optional<Power> power;  // As allocated_power().
  };
  // Whether the notices so far explain exactly what the hypervisor lists: no VM too many, none missing, same power.
  bool explains(const std::vector<Standing>& listed) const;
  // Takes over what the hypervisor listed at `mark`. VMs with later notices keep what those told.
  void accept(const std::vector<Standing>& listed, std::uint64_t mark);

  struct PluggedDevice {
    VmId vm;
    std::string alias;
  };
  struct Changes {
    std::set<VmId> definitions;  // To be read again.
    std::vector<PluggedDevice> plugged;
  };
  Changes take_changes();

  // Takes the queue.
  TakenNotices take(std::uint64_t mark);

 private:
  struct Vm {
    bool persistent = false;
    std::optional<Power> power;  // Nothing: not allocated here.
    bool migrating_in = false;   // Its process is here, waiting to take over.
    bool migrating_out = false;  // Suspended for the last time, unless the migration fails.
    std::uint64_t noticed = 0;   // Mark of its last notice.
  };

  void push(const LifecycleNotice& notice, VmEventKind kind, std::string how, std::optional<Power> power);
  void arrive(Vm& vm, const LifecycleNotice& notice, std::string how, Power power);
  void depart(Vm& vm, const LifecycleNotice& notice, std::string how);
  void apply(const LifecycleNotice& notice);
  void apply_started(Vm& vm, const LifecycleNotice& notice);
  void apply_suspended(Vm& vm, const LifecycleNotice& notice);
  void apply_resumed(Vm& vm, const LifecycleNotice& notice);
  void apply_stopped(Vm& vm, const LifecycleNotice& notice);
  void describe(const LifecycleNotice& notice, std::uint64_t first, std::uint64_t last);

  const Options options_;
  const Clock& clock_;
  std::map<VmId, Vm> vms_;
  struct Queued {
    std::uint64_t number = 0;
    VmEvent event;
  };
  std::vector<Queued> queue_;
  Changes changes_;
  std::uint64_t pushed_ = 0;
  MonotonicTime stamp_{};  // Of the notice being applied.
};

}  // namespace nodemeter
