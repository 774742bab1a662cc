// One thread with one connection, for calls that must not delay a sample for longer than it allows.
//
// libvirt calls cannot be cancelled. So they run here, and the caller waits until its deadline at most: an answer that
// comes later is dropped, and until it has come every call fails at once. The thread also connects, and reconnects with
// growing pauses (250 ms to 8 s) whenever the connection broke.
//
// Threads: call() from one thread at a time. Destruction waits for a running call up to one second, then leaves it to
// itself: everything the thread uses lives as long as it does.

#pragma once

#include <chrono>
#include <functional>
#include <memory>

#include "collectors/libvirt_connection.h"
#include "collectors/vm_tracker.h"
#include "platform/log.h"

namespace nodemeter {

using SteadyTime = std::chrono::steady_clock::time_point;

class ControlThread {
 public:
  // `tracker` receives the events of the connection. `log` must outlive the object.
  ControlThread(LibvirtConnector connector, std::shared_ptr<VmTracker> tracker, Log& log);
  ControlThread(const ControlThread&) = delete;
  ControlThread& operator=(const ControlThread&) = delete;
  ~ControlThread();

  // Runs `task` on the thread. kUnavailable: not done by the deadline, or no connection; then what the connector said.
  // `task` may run, and end, after the deadline: it must own what it uses.
  template <class T>
  Result<T> call(std::function<Result<T>(LibvirtConnection&)> task, SteadyTime deadline) {
    // Shared with a task that outlives the wait. Written before the task is reported as done, read afterwards.
    const auto slot = std::make_shared<Result<T>>(Error{ErrorCode::kUnavailable, "libvirt did not answer in time"});
    const Status done = run([task = std::move(task), slot](LibvirtConnection& c) { *slot = task(c); }, deadline);
    if (!done) return done.error();
    return std::move(*slot);
  }

 private:
  using Task = std::function<void(LibvirtConnection&)>;
  struct State;
  Status run(Task task, SteadyTime deadline);
  static void thread_main(const std::shared_ptr<State>& state);
  static void connect(State& state, std::unique_ptr<LibvirtConnection>& connection);
  const std::shared_ptr<State> state_;
};

}  // namespace nodemeter
