// The composition root of `nodemeter agent`: the real clock, disk, network and hypervisor, handed to an Agent.
//
// Everything that belongs to the process (signals, the service manager) is behind Service, so that this runs in tests
// and on both platforms. The caller has initialised libcurl.

#pragma once

#include <iosfwd>
#include <memory>
#include <string_view>

#include "agent/options.h"
#include "platform/clock.h"
#include "platform/ids.h"
#include "platform/log.h"
#include "platform/result.h"

namespace nodemeter {

// The process around the daemon.
class Service {
 public:
  virtual ~Service() = default;
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  // Returns after `longest` of real time, after wake(), or when a stop is asked for; whichever comes first.
  virtual void wait(Milliseconds longest) = 0;
  // Ends a wait, or the next one if none is under way. Any thread.
  virtual void wake() = 0;
  // How often somebody has asked this process to stop.
  [[nodiscard]] virtual int stop_requests() const = 0;
  // How often somebody has asked it to read its files again.
  [[nodiscard]] virtual int reload_requests() const { return 0; }

  // How often the machine has gone through something that deserves a sample: it resumed, or its clock was set.
  [[nodiscard]] virtual int disturbances() const { return 0; }

  // Where messages go while the daemon runs.
  virtual std::unique_ptr<Log> open_log(LogLevel least, bool json) { return standard_error_log(least, json); }

  // Tells the service manager, if there is one: metering has begun; still alive; going down.
  virtual void ready() = 0;
  virtual void alive() = 0;
  virtual void stopping() = 0;
  // The process ends by itself, and why; it is said on standard error as well.
  virtual void failed(std::string_view) {}

 protected:
  Service() = default;
};

// With `final`, a stop closes the open hours and delivers what is left before the process ends.
inline constexpr Milliseconds kFinalDeliveryMax{60'000};

// Runs until a stop is asked for. Gives an exit code: 0 stopped as asked; 1 failed, with a sentence on `err`.
int run_daemon(const Options& options, bool final, Service& service, std::ostream& err);

// "node-" and 12 hex digits from the machine id: stable across reinstalls of the agent, and the machine id itself
// (a secret by systemd's rules) cannot be read from it. kNotFound: this machine has none; node.id has to be set.
Result<NodeId> node_id_of(const Options& options);
Result<NodeId> node_id_from_machine_id(std::string_view machine);

}  // namespace nodemeter
