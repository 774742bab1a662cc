#include "collectors/control_thread.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <thread>

namespace nodemeter {

namespace {

constexpr std::chrono::milliseconds kFirstPause{250};
constexpr std::chrono::milliseconds kLongestPause{8000};
constexpr std::chrono::seconds kFarewell{1};

}  // namespace

struct ControlThread::State {
  State(LibvirtConnector c, std::shared_ptr<VmTracker> t, Log& l)
      : connector(std::move(c)), tracker(std::move(t)), log(&l) {}

  const LibvirtConnector connector;
  const std::shared_ptr<VmTracker> tracker;

  std::mutex mutex;
  std::condition_variable changed;
  Log* log;  // Nothing once the object is gone.
  Task task;
  std::uint64_t asked = 0;
  std::uint64_t answered = 0;
  bool in_call = false;    // Inside libvirt, whatever for.
  bool abandoned = false;  // Somebody gave up waiting for what it is in.
  bool connected = false;
  bool stop = false;
  bool ended = false;
  Status outcome = Done{};  // Of the task `answered`.
  Error refusal{ErrorCode::kUnavailable, "not connected yet"};
  SteadyTime next_attempt{};
  std::chrono::milliseconds pause = kFirstPause;
};

ControlThread::ControlThread(LibvirtConnector connector, std::shared_ptr<VmTracker> tracker, Log& log)
    : state_(std::make_shared<State>(std::move(connector), std::move(tracker), log)) {
  std::thread([state = state_] { thread_main(state); }).detach();
}

ControlThread::~ControlThread() {
  std::unique_lock lock(state_->mutex);
  state_->stop = true;
  state_->changed.notify_all();
  state_->changed.wait_for(lock, kFarewell, [&] { return state_->ended; });
  state_->log = nullptr;
}

Status ControlThread::run(Task task, SteadyTime deadline) {
  State& state = *state_;
  std::unique_lock lock(state.mutex);
  if (state.in_call && state.abandoned) {
    return Error{ErrorCode::kUnavailable, "libvirt still has not answered an earlier call"};
  }
  state.task = std::move(task);
  const std::uint64_t number = ++state.asked;
  state.changed.notify_all();
  if (state.changed.wait_until(lock, deadline, [&] { return state.answered == number; })) return state.outcome;
  if (state.task) {
    state.task = nullptr;  // Never begun: it waits behind an attempt to connect.
    state.answered = number;
  }
  state.abandoned = state.in_call;
  return Error{ErrorCode::kUnavailable, "libvirt did not answer in time"};
}

// Called with the lock released; takes it for the results.
void ControlThread::connect(State& state, std::unique_ptr<LibvirtConnection>& connection) {
  connection.reset();
  Result<std::unique_ptr<LibvirtConnection>> opened = state.connector(state.tracker);
  const std::lock_guard lock(state.mutex);
  state.connected = opened.ok();
  if (opened) {
    connection = std::move(*opened);
    state.tracker->connected();
    state.pause = kFirstPause;
    if (state.log != nullptr) state.log->info("connected to libvirt");
    return;
  }
  // Once per change of mind, not once per attempt.
  if (state.log != nullptr && state.refusal.message != opened.error().message) {
    state.log->warning("cannot connect to libvirt", {{"error", opened.error().message}});
  }
  state.refusal = opened.error();
  state.next_attempt = std::chrono::steady_clock::now() + state.pause;
  state.pause = std::min(state.pause * 2, kLongestPause);
}

void ControlThread::thread_main(const std::shared_ptr<State>& shared) {
  State& state = *shared;
  std::unique_ptr<LibvirtConnection> connection;
  const auto outside = [&state](std::unique_lock<std::mutex>& lock, const auto& work) {
    state.in_call = true;
    lock.unlock();
    work();
    lock.lock();
    state.in_call = state.abandoned = false;
  };
  std::unique_lock lock(state.mutex);
  while (!state.stop) {
    if (connection && !connection->alive()) {
      if (state.log != nullptr) state.log->warning("lost the connection to libvirt");
      state.tracker->closed();
      state.connected = false;
      state.next_attempt = {};
      outside(lock, [&] { connection.reset(); });
      continue;
    }
    if (!connection && std::chrono::steady_clock::now() >= state.next_attempt) {
      outside(lock, [&] { connect(state, connection); });
      continue;
    }
    if (state.task) {
      const Task task = std::exchange(state.task, nullptr);
      const std::uint64_t number = state.asked;
      state.outcome = Done{};
      if (connection) {
        outside(lock, [&] { task(*connection); });
      } else {
        state.outcome = state.refusal;
      }
      state.answered = number;
      state.changed.notify_all();
      continue;
    }
    // Also looks after the connection while nobody asks: events must not stay away until the next sample.
    constexpr std::chrono::seconds kLook{1};
    const SteadyTime now = std::chrono::steady_clock::now();
    const SteadyTime until = connection ? now + kLook : std::min(now + kLook, state.next_attempt);
    state.changed.wait_until(lock, until, [&] { return state.stop || state.task; });
  }
  lock.unlock();
  connection.reset();
  lock.lock();
  state.ended = true;
  state.changed.notify_all();
}

}  // namespace nodemeter
