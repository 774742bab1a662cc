// The talk with the service manager of Windows: what its controls ask of this process, and what it is told. Apart from
// the process's one connection to it, so that a test can be the manager.
//
// Only *_windows.cpp include this. It needs no windows.h: a HANDLE is a void*, a DWORD an unsigned long.

#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "agent/daemon.h"
#include "platform/windows_api.h"

namespace nodemeter::cli {

// What the manager knows of the service, in the manager's own numbers.
struct ServiceReport {
  unsigned long state = 0;        // SERVICE_RUNNING, …
  unsigned long accepted = 0;     // SERVICE_ACCEPT_…: the controls that may come now.
  unsigned long check_point = 0;  // Grows while a change of state is under way; 0: none is.
  unsigned long hint_ms = 0;      // The next report comes within this time; 0: no change is under way.
  unsigned long exit_code = 0;    // Ours. 0: it ends as it was asked to; else the recovery actions run.
};

// Everything that callbacks of the system touch. Must outlive whoever may still call. Any thread.
class ServiceControls {
 public:
  using Tell = std::function<void(const ServiceReport&)>;

  ServiceControls();
  // False: the system refuses an event; nothing else may be called.
  [[nodiscard]] bool usable() const { return wake_.valid(); }

  // The manager has started this process, and is told so and all that follows by `tell`, which must not call back.
  void begin(Tell tell);
  // The manager's thread stays here until finish() and then reports that the service has stopped.
  void serve();
  // NO_ERROR, or ERROR_CALL_NOT_IMPLEMENTED for what a meter has no answer to. Never waits for the daemon.
  unsigned long answer(unsigned long control, unsigned long event);
  // Ctrl-C, a closed console.
  void ask_to_stop();

  // The daemon's side.
  void wait(Milliseconds longest);
  void wake();
  [[nodiscard]] int stop_requests() const { return stops_.load(); }
  [[nodiscard]] int reload_requests() const { return reloads_.load(); }
  [[nodiscard]] int disturbances() const { return disturbances_.load(); }
  void ready();
  void alive();
  void stopping();
  void failed();
  // The daemon has ended. Without having been asked to, or after failed(), the manager is to start it again.
  void finish();

 private:
  void report(unsigned long state, unsigned long hint_ms);  // With the mutex held.

  windows::Handle wake_;
  std::atomic<int> stops_{0};
  std::atomic<int> reloads_{0};
  std::atomic<int> disturbances_{0};

  std::mutex mutex_;  // Guards what follows.
  std::condition_variable changed_;
  bool finished_ = false;
  Tell tell_;
  ServiceReport last_;
};

// What the system calls for each control (HandlerEx); `controls` is the ServiceControls it was registered with.
unsigned long on_service_control(unsigned long control, unsigned long event, void* data, void* controls);

// The daemon's service under the manager; messages go to the system's application log. `dispatcher` (or none) is joined
// at its end, after finish(). `controls` must outlive it.
std::unique_ptr<Service> managed_service(ServiceControls& controls, std::thread dispatcher);
// The same in a console: nobody is told anything.
std::unique_ptr<Service> console_service(ServiceControls& controls, std::function<void()> on_end);

}  // namespace nodemeter::cli
