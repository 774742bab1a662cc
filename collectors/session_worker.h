// One thread with one session of something that may hang: calls wait for it until their deadline at most.
//
// Calls cannot be cancelled. An answer that comes after its deadline is dropped, and until it has come every call fails
// at once. A thread that has not come back for kWedgedAfter is left to itself and another takes its place with a
// session of its own, a few times: whatever it holds up in there, there is an end to it.
//
// Threads: call() from one thread at a time. Sessions are opened, used and closed on their thread. Destruction waits
// for a running call up to one second, then leaves it to itself: everything the thread uses lives as long as it does.

#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "platform/result.h"

namespace nodemeter {

template <class Session>
class SessionWorker {
 public:
  using Time = std::chrono::steady_clock::time_point;
  using Opener = std::function<Result<std::unique_ptr<Session>>()>;

  struct Limits {
    std::chrono::milliseconds wedged_after{30'000};
    std::size_t left_behind_max = 4;              // Threads that never came back. Beyond, calls fail until one does.
    std::chrono::milliseconds reopen_pause{250};  // After a session that could not be opened; doubles,
    std::chrono::milliseconds reopen_pause_max{8'000};
  };

  // `name`: of whom is being asked, for messages.
  SessionWorker(Opener opener, std::string name, Limits limits = Limits{})
      : opener_(std::move(opener)), name_(std::move(name)), limits_(limits) {}
  SessionWorker(const SessionWorker&) = delete;
  SessionWorker& operator=(const SessionWorker&) = delete;
  ~SessionWorker() {
    if (!state_) return;
    std::unique_lock lock(state_->mutex);
    state_->stop = true;
    state_->changed.notify_all();
    state_->changed.wait_for(lock, std::chrono::seconds{1}, [this] { return state_->ended; });
  }

  // Runs `task` on the thread. kUnavailable: not done by the deadline; else what opening or `task` gave. After an error
  // of kUnavailable the session is closed, and the next call opens another. `task` may run, and end, after the
  // deadline: it must own what it uses.
  template <class T>
  Result<T> call(std::function<Result<T>(Session&)> task, Time deadline) {
    const auto slot = std::make_shared<Result<T>>(Error{ErrorCode::kUnavailable, name_ + " did not answer in time"});
    const auto run = [task = std::move(task), slot](Session& session) {
      *slot = task(session);
      return slot->ok() || slot->error().code != ErrorCode::kUnavailable;
    };
    if (Status done = wait(run, deadline); !done) return done.error();
    return std::move(*slot);
  }

  // Threads that were left behind and have not come back.
  [[nodiscard]] std::size_t left_behind() const {
    return static_cast<std::size_t>(std::count_if(left_.begin(), left_.end(), [](const auto& state) {
      const std::lock_guard lock(state->mutex);
      return !state->ended;
    }));
  }

 private:
  using Task = std::function<bool(Session&)>;  // False: the session is of no use any more.
  struct State {
    explicit State(Opener o) : opener(std::move(o)) {}
    const Opener opener;
    std::mutex mutex;
    std::condition_variable changed;
    Task task;
    Time began{};
    bool busy = false;
    bool abandoned = false;  // Nobody waits for what it is in.
    bool stop = false;
    bool ended = false;
    Status opened = Done{};  // Of the last task: whether there was a session to run it with.
    std::uint64_t answered = 0;
  };

  Status wait(Task task, Time deadline) {
    if (Status ready = ready_thread(); !ready) return ready;
    State& state = *state_;
    std::unique_lock lock(state.mutex);
    state.task = std::move(task);
    state.began = std::chrono::steady_clock::now();
    const std::uint64_t before = state.answered;
    state.changed.notify_all();
    if (!state.changed.wait_until(lock, deadline, [&] { return state.answered > before; })) {
      state.abandoned = true;
      return Error{ErrorCode::kUnavailable, name_ + " did not answer in time"};
    }
    if (!state.opened) {
      pause_ = std::min(std::max(limits_.reopen_pause, pause_ * 2), limits_.reopen_pause_max);
      not_before_ = std::chrono::steady_clock::now() + pause_;
      refusal_ = state.opened.error();
      return refusal_;
    }
    pause_ = {};
    return Done{};
  }

  Status ready_thread() {
    const Time now = std::chrono::steady_clock::now();
    if (now < not_before_) return refusal_;
    if (state_) {
      const std::lock_guard lock(state_->mutex);
      if (!state_->abandoned) return Done{};
      if (now - state_->began < limits_.wedged_after || left_behind() >= limits_.left_behind_max) {
        return Error{ErrorCode::kUnavailable, name_ + " still has not answered an earlier call"};
      }
      state_->stop = true;
    }
    if (state_) left_.push_back(std::exchange(state_, nullptr));
    state_ = std::make_shared<State>(opener_);
    std::thread([state = state_] { thread_main(*state); }).detach();
    return Done{};
  }

  static void thread_main(State& state) {
    std::unique_ptr<Session> session;
    std::unique_lock lock(state.mutex);
    while (!state.stop) {
      if (!state.task) {
        state.changed.wait(lock, [&] { return state.stop || state.task; });
        continue;
      }
      const Task task = std::exchange(state.task, nullptr);
      lock.unlock();
      Status opened = Done{};
      if (!session) {
        Result<std::unique_ptr<Session>> fresh = state.opener();
        if (fresh) session = std::move(*fresh);
        if (!fresh) opened = fresh.error();
      }
      if (session && !task(*session)) session.reset();
      lock.lock();
      state.opened = std::move(opened);
      state.abandoned = false;
      ++state.answered;
      state.changed.notify_all();
    }
    lock.unlock();
    session.reset();
    lock.lock();
    state.ended = true;
    state.changed.notify_all();
  }

  const Opener opener_;
  const std::string name_;
  const Limits limits_;
  std::shared_ptr<State> state_;
  std::vector<std::shared_ptr<State>> left_;
  Time not_before_{};
  std::chrono::milliseconds pause_{};
  Error refusal_;
};

}  // namespace nodemeter
