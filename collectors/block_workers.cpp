#include "collectors/block_workers.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

namespace nodemeter {

namespace {

constexpr std::chrono::seconds kFarewell{1};
constexpr std::size_t kJobsPerWorker = 8;  // A second worker pays off from here on.

}  // namespace

struct BlockWorkers::State {
  State(LibvirtConnector c, Milliseconds d, const Clock& k) : connector(std::move(c)), vm_deadline(d), clock(&k) {}

  const LibvirtConnector connector;
  const Milliseconds vm_deadline;

  struct Running {
    std::uint64_t round = 0;
    SteadyTime began{};
    bool overdue = false;
  };

  mutable std::mutex mutex;
  std::condition_variable work;
  std::condition_variable done;
  const Clock* clock;  // Nothing once the object is gone.
  std::deque<Job> queue;
  std::map<VmId, Running> running;
  std::map<VmId, Answer> answers;
  std::uint64_t round = 0;
  std::size_t threads = 0;
  std::size_t overdue = 0;
  bool stop = false;

  [[nodiscard]] std::size_t fit() const { return threads - overdue; }
  [[nodiscard]] bool waiting_for_answers() const {
    return std::any_of(running.begin(), running.end(),
                       [this](const auto& entry) { return entry.second.round == round && !entry.second.overdue; });
  }
};

BlockWorkers::BlockWorkers(LibvirtConnector connector, Milliseconds vm_deadline, const Clock& clock)
    : state_(std::make_shared<State>(std::move(connector), vm_deadline, clock)) {}

BlockWorkers::~BlockWorkers() {
  std::unique_lock lock(state_->mutex);
  state_->stop = true;
  state_->queue.clear();
  state_->work.notify_all();
  state_->done.wait_for(lock, kFarewell, [&] { return state_->threads == 0; });
  state_->clock = nullptr;
}

std::size_t BlockWorkers::stuck() const {
  const std::lock_guard lock(state_->mutex);
  return state_->overdue;
}

void BlockWorkers::begin(std::vector<Job> jobs) {
  const std::lock_guard lock(state_->mutex);
  State& state = *state_;
  ++state.round;
  state.answers.clear();
  state.queue.clear();
  for (Job& job : jobs) {
    if (!state.running.contains(job.vm)) state.queue.push_back(std::move(job));
  }
  if (state.queue.empty()) return;
  const std::size_t wanted = std::min(kWorkersAtOnce, 1 + state.queue.size() / kJobsPerWorker);
  while (state.fit() < wanted && state.threads < kWorkersMax) spawn(state_);
  state.work.notify_all();
}

std::map<VmId, BlockWorkers::Answer> BlockWorkers::collect() {
  std::unique_lock lock(state_->mutex);
  State& state = *state_;
  const SteadyTime last = std::chrono::steady_clock::now() + 2 * state.vm_deadline;
  while (!state.queue.empty() || state.waiting_for_answers()) {
    const SteadyTime now = std::chrono::steady_clock::now();
    if (now >= last) break;
    SteadyTime next = last;
    for (auto& [vm, running] : state.running) {
      if (running.overdue) continue;
      if (now - running.began >= state.vm_deadline) {
        running.overdue = true;
        ++state.overdue;
      } else {
        next = std::min(next, running.began + state.vm_deadline);
      }
    }
    if (state.fit() == 0 && !state.queue.empty()) {
      if (state.threads == kWorkersMax) break;
      spawn(state_);
    }
    if (state.queue.empty() && !state.waiting_for_answers()) break;
    state.done.wait_until(lock, next);
  }
  state.queue.clear();
  return std::exchange(state.answers, {});
}

// Called with the lock held.
void BlockWorkers::spawn(const std::shared_ptr<State>& state) {
  ++state->threads;
  std::thread([state] { thread_main(state); }).detach();
}

BlockWorkers::Answer BlockWorkers::ask(LibvirtConnection& connection, const Job& job) {
  Answer answer;
  if (job.active) {
    Result<DomainStats> stats = connection.block_stats(job.vm);
    if (!stats) {
      answer.error = stats.error();
    } else {
      answer.busy = !stats->block_count;
      answer.disks = std::move(stats->blocks);
    }
    return answer;
  }
  for (const std::string& target : job.targets) {
    const Result<std::uint64_t> capacity = connection.capacity(job.vm, target);
    if (capacity) answer.disks.push_back(BlockStats{target, {}, *capacity});
  }
  return answer;
}

std::unique_ptr<LibvirtConnection> BlockWorkers::open(State& state) {
  Result<std::unique_ptr<LibvirtConnection>> opened = state.connector(nullptr);
  return opened ? std::move(*opened) : nullptr;
}

void BlockWorkers::thread_main(const std::shared_ptr<State>& shared) {
  State& state = *shared;
  std::unique_ptr<LibvirtConnection> connection;
  std::unique_lock lock(state.mutex);
  while (!state.stop) {
    if (state.queue.empty()) {
      // Replacements for stuck workers go once those are back.
      if (state.fit() > kWorkersAtOnce) break;
      state.work.wait(lock);
      continue;
    }
    const Job job = std::move(state.queue.front());
    state.queue.pop_front();
    const std::uint64_t round = state.round;
    state.running[job.vm] = State::Running{round, std::chrono::steady_clock::now(), false};
    lock.unlock();
    if (connection && !connection->alive()) connection.reset();
    if (!connection) connection = open(state);
    Answer answer;
    if (connection) {
      answer = ask(*connection, job);
    } else {
      answer.error = Error{ErrorCode::kUnavailable, "no connection"};
    }
    lock.lock();
    const auto running = state.running.find(job.vm);
    const bool overdue = running->second.overdue;
    if (overdue) --state.overdue;
    state.running.erase(running);
    // The answer to an earlier sample's question: the next sample asks afresh.
    if (!overdue && round == state.round && state.clock != nullptr) {
      answer.read_at = state.clock->now().monotonic;
      state.answers[job.vm] = std::move(answer);
    }
    state.done.notify_all();
  }
  lock.unlock();
  connection.reset();
  lock.lock();
  --state.threads;
  state.done.notify_all();
}

}  // namespace nodemeter
