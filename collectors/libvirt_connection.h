// What the libvirt source asks of one connection, in plain values, so that everything around it (threads, deadlines,
// life cycle, quarantine) compiles and is tested without libvirt. The real one is in libvirt_source.cpp.
//
// Threads: a connection may be used from several threads at once. A call lasts as long as the daemon, and for
// block_stats() the VM itself, takes to answer: call it only where waiting for ever costs nobody anything.

#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "collectors/libvirt_stats.h"
#include "platform/ids.h"
#include "platform/result.h"

namespace nodemeter {

// virDomainState and reasons, by libvirt's numbers (they are its ABI; libvirt_source.cpp compares them at compile
// time).
namespace domain_state {
inline constexpr std::uint64_t kRunning = 1, kBlocked = 2, kPaused = 3, kShuttingDown = 4, kOff = 5, kCrashed = 6,
                               kSuspended = 7;
inline constexpr std::uint64_t kPausedMigration = 2, kPausedStarting = 11, kPausedPostcopy = 12;
inline constexpr std::uint64_t kRunningMigrated = 2;
inline constexpr std::uint64_t kOffMigrated = 4;
}  // namespace domain_state

// virDomainEventType and details, likewise.
namespace domain_event {
inline constexpr int kDefined = 0, kUndefined = 1, kStarted = 2, kSuspended = 3, kResumed = 4, kStopped = 5,
                     kShutdown = 6, kSleeping = 7, kCrashed = 8;
inline constexpr int kDefinedAdded = 0, kDefinedRenamed = 2;
inline constexpr int kStartedMigrated = 1;
inline constexpr int kSuspendedMigrated = 1, kSuspendedPostcopy = 7;
inline constexpr int kResumedMigrated = 1, kResumedPostcopy = 3;
inline constexpr int kStoppedShutdown = 0, kStoppedDestroyed = 1, kStoppedCrashed = 2, kStoppedMigrated = 3,
                     kStoppedSaved = 4, kStoppedFailed = 5;
}  // namespace domain_event

struct ListedDomain {
  VmId vm;
  std::string name;
  std::optional<std::uint32_t> active_id;  // Changes with each start. Nothing: off.
  std::uint64_t state = 0;
  std::uint64_t reason = 0;
  std::vector<NetStats> nets;  // Only of active domains.
};

struct LifecycleNotice {
  VmId vm;
  std::string name;
  int event = 0;
  int detail = 0;
  // Reads the definition now, while the VM may still be there. Not to be called under a lock, nor after the callback.
  std::function<Result<std::string>()> definition;
};

// Receives what libvirt tells by itself. Called from libvirt's event thread, one call at a time per connection; a call
// that lasts delays the events behind it.
class LibvirtEventSink {
 public:
  LibvirtEventSink() = default;
  LibvirtEventSink(const LibvirtEventSink&) = delete;
  LibvirtEventSink& operator=(const LibvirtEventSink&) = delete;
  virtual ~LibvirtEventSink() = default;
  virtual void lifecycle(const LifecycleNotice& notice) = 0;
  virtual void rebooted(VmId vm) = 0;
  // Something about the VM changed: read its definition again.
  virtual void changed(VmId vm) = 0;
  // A device with this alias ("virtio-disk1", "net0") was plugged in.
  virtual void device_added(VmId vm, const std::string& alias) = 0;
  // The connection broke: no further events will come.
  virtual void closed() = 0;
};

class LibvirtConnection {
 public:
  LibvirtConnection() = default;
  LibvirtConnection(const LibvirtConnection&) = delete;
  LibvirtConnection& operator=(const LibvirtConnection&) = delete;
  virtual ~LibvirtConnection() = default;

  // Every domain, on or off. Asks no QEMU, so no hanging VM delays it.
  virtual Result<std::vector<ListedDomain>> list() = 0;
  // The definition in force (XML). Asks no QEMU. kNotFound: there is no such domain any more.
  virtual Result<std::string> definition(VmId vm) = 0;
  // Whether the VM stays defined when it stops. Asks no QEMU.
  virtual Result<bool> persistent(VmId vm) = 0;
  // User and system time of a running VM's process in nanoseconds, as the daemon sees it. Asks no QEMU.
  virtual Result<std::uint64_t> process_time_ns(VmId vm) = 0;
  // Disk statistics of a running VM: waits for its QEMU, for ever if it hangs. `block_count` is empty if it was busy.
  virtual Result<DomainStats> block_stats(VmId vm) = 0;
  // Virtual size in bytes of one disk of a VM that is off. May wait for the storage.
  virtual Result<std::uint64_t> capacity(VmId vm, const std::string& target) = 0;
  // False once the connection broke. Never waits.
  virtual bool alive() = 0;
};

// Opens a read-only connection; with a sink, events flow into it from before the call returns until the connection is
// destroyed. The sink is kept alive by the connection.
//   kUnavailable       the service does not answer; try again later.
//   kPermissionDenied  this account may not connect.
using LibvirtConnector =
    std::function<Result<std::unique_ptr<LibvirtConnection>>(const std::shared_ptr<LibvirtEventSink>& sink)>;

}  // namespace nodemeter
