// Goal: no crash, power cut or refused call takes back what a commit made durable, leaves half of one, or needs hands.
// Method: the real journal on the real LMDB runs a script of operations while every call that changes the file system
// is recorded. (a) It is killed at each such call, before it and in the middle of each write of several pages. (b) From
// the recording all states are made that a power cut may leave (disk_states.h). (c) Each call fails with EIO, with
// ENOSPC, or writes half; the run goes on as the agent would; then (a) and (b) of that. Every state is opened and
// examined (judge.h) against the same operations in memory. Canaries break a promise of the disk and have to be
// noticed.

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <set>

#include "backup_runs.h"
#include "disk_states.h"
#include "runs.h"

namespace nodemeter::crash {

namespace {

namespace fs = std::filesystem;

// Prints what took how long, where somebody wants to know.
class Stopwatch {
 public:
  explicit Stopwatch(bool on) : on_(on) {}
  void lap(const std::string& what) {
    const auto now = std::chrono::steady_clock::now();
    const auto took = std::chrono::duration_cast<std::chrono::seconds>(now - last_).count();
    if (on_) std::printf("%-32s %4lld s\n", what.c_str(), static_cast<long long>(took));
    std::fflush(stdout);
    last_ = now;
  }

 private:
  bool on_;
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

// A light set of states: after a kill or a fault most of the run is as it was.
StateOptions light(std::uint64_t seed, std::uint64_t from_call) {
  StateOptions options;
  options.seed = seed;
  options.subsets_of_at_most = 3;
  options.drawn = 2;
  options.torn = false;
  options.from_call = from_call;
  options.to_call = from_call + 40;  // Opening again, and some commits.
  return options;
}

std::uint64_t calls_on(const Recording& recording) {
  std::uint64_t calls = 0;
  recording.for_each([&calls](const Call& call) {
    calls += call.kind == CallKind::kMark ? 0 : 1;
    return true;
  });
  return calls;
}

// Numbers of the calls that a fault of this kind can hit.
std::vector<std::uint64_t> targets(const Recording& recording, Fault fault) {
  std::vector<std::uint64_t> numbers;
  std::uint64_t number = 0;
  const auto hits = [fault](const Call& call) {
    if (fault != Fault::kShort && fault != Fault::kKillMiddle) return true;
    if (call.kind != CallKind::kWrite || call.data.size() < 2) return false;
    constexpr std::uint64_t kPage = 4096;
    return fault == Fault::kShort || call.offset / kPage != (call.offset + call.data.size() - 1) / kPage;
  };
  recording.for_each([&](const Call& call) {
    if (call.kind == CallKind::kMark) return true;
    ++number;
    if (hits(call)) numbers.push_back(number);
    return true;
  });
  return numbers;
}

// One of several processes that share the work on one subject.
class Worker {
 public:
  Worker(const Subject& subject, std::uint64_t shards, std::uint64_t shard)
      : subject_(subject), shards_(shards), shard_(shard), recording_(64ull << 20) {}

  void power() {
    StateOptions options;
    options.shards = shards_;
    options.shard = shard_;
    judge_states(
        subject_.recording, options, [](const DiskState& state) { return state.torn ? Class::kTorn : Class::kPower; },
        "");
  }

  // Power cuts after every `every`th kill.
  void kills(std::size_t every) {
    for (const Fault fault : {Fault::kKillBefore, Fault::kKillMiddle}) {
      over_targets(fault, [&](std::uint64_t at, std::size_t index) {
        kill_at(fault, at, false);
        if (index % every == 0) kill_at(fault, at, true);
      });
    }
  }

  void faults(std::size_t every) {
    // Half of a write within one page comes from no kernel: the store has to bear it, not a power cut on top of it.
    const std::vector<std::uint64_t> of_several_pages = targets(subject_.recording, Fault::kKillMiddle);
    for (const Fault fault : {Fault::kIo, Fault::kFull, Fault::kShort}) {
      over_targets(fault, [&](std::uint64_t at, std::size_t index) {
        const bool real = fault != Fault::kShort || std::ranges::binary_search(of_several_pages, at);
        fault_at({fault, at, 1}, real && index % every == 0);
        // A device that goes on failing to sync, while the agent opens again.
        if (fault == Fault::kIo) fault_at({fault, at, 3}, index % every == 1 % every);
      });
    }
  }

  // Judges each state that it did not meet before; the number of violations.
  std::uint64_t judge_states(const Recording& recording, const StateOptions& options,
                             const std::function<Class(const DiskState&)>& class_of, const std::string& context);

 private:
  [[nodiscard]] std::string place(const std::string& where) const { return subject_.workload.name + ", " + where; }
  std::string run_with(const fs::path& root, FaultPlan plan) {
    return in_child([&] { return run(subject_.workload, subject_.contents, recording_, root, plan, nullptr); });
  }
  void over_targets(Fault fault, const std::function<void(std::uint64_t at, std::size_t index)>& work) {
    const std::vector<std::uint64_t> numbers = targets(subject_.recording, fault);
    for (std::size_t i = shard_; i < numbers.size(); i += shards_) work(numbers[i], i / shards_);
  }
  void kill_at(Fault fault, std::uint64_t at, bool on);
  void fault_at(FaultPlan plan, bool states);

  const Subject& subject_;
  std::uint64_t shards_;
  std::uint64_t shard_;
  Recording recording_;
  Scratch scratch_;
  std::set<std::uint64_t> seen_;
};

std::uint64_t Worker::judge_states(const Recording& recording, const StateOptions& options,
                                   const std::function<Class(const DiskState&)>& class_of, const std::string& context) {
  std::uint64_t violations = 0;
  for_each_state(recording, options, [&](const DiskState& state) {
    if (!seen_.insert(fingerprint(state)).second) return true;
    const fs::path root = scratch_.next();
    materialise(state, root);
    const Class what = class_of(state);
    Tally::shared().count(what);
    const std::string words = judge_and_remove(root, subject_, state.acknowledged);
    if (words.empty()) return true;
    ++violations;
    if (what == Class::kCanary) return false;  // One is enough there.
    Tally::shared().violation(
        place(context + state.origin + " (acknowledged " + std::to_string(state.acknowledged) + "): " + words));
    return true;
  });
  return violations;
}

// One run that ends by SIGKILL at call `at`, judged as it stands; or, if `on`, run on to its end, with power cuts of
// the whole.
void Worker::kill_at(Fault fault, std::uint64_t at, bool on) {
  recording_.clear();
  const fs::path root = scratch_.next();
  const std::string where = std::string(name_of(fault)) + " at call " + std::to_string(at);
  const std::string words = run_with(root, {fault, at, 1});
  if (words.find("died of signal 9") == std::string::npos) {
    Tally::shared().violation(place(where + ": " + (words.empty() ? "it was not killed" : words)));
    return;
  }
  const std::uint64_t calls = calls_on(recording_);
  if (on) {
    const std::string later = run_with(root, {});
    if (!later.empty()) Tally::shared().violation(place(where + ", run on: " + later));
    judge_states(
        recording_, light(at, calls), [](const DiskState&) { return Class::kAfterKill; }, where + ", then ");
    fs::remove_all(root);
    return;
  }
  Tally::shared().count(Class::kKill);
  const std::string found = judge_and_remove(root, subject_, recording_.last_mark());
  if (!found.empty()) Tally::shared().violation(place(where + ": " + found));
}

void Worker::fault_at(FaultPlan plan, bool states) {
  recording_.clear();
  const fs::path root = scratch_.next();
  const std::string where = std::string(name_of(plan.fault)) + " at call " + std::to_string(plan.at) +
                            (plan.count > 1 ? " and from the next " + std::to_string(plan.count - 1) + " syncs" : "");
  std::string words = run_with(root, plan);
  if (words.empty() && recording_.faults() == 0) words = "the fault hit nothing";
  Tally::shared().count(Class::kFaults, recording_.faults());
  const std::string after = judge_and_remove(root, subject_, recording_.last_mark());
  if (words.empty()) words = after;
  if (!words.empty()) {
    Tally::shared().violation(place(where + ": " + words));
  } else if (states) {
    judge_states(
        recording_, light(plan.at, plan.at > 2 ? plan.at - 2 : 0), [](const DiskState&) { return Class::kAfterFault; },
        where + ", then ");
  }
}

// Each of these has to be noticed; the number of those that were not.
int canaries(const Subject& subject) {
  struct Canary {
    const char* words;
    Lies lies;
  };
  const std::vector<Canary> all{
      {"fdatasync() that does nothing (MDB_NOSYNC)", {.data_sync_does_nothing = true}},
      {"O_DSYNC that does nothing (MDB_NOMETASYNC)", {.synchronous_write_does_nothing = true}},
      {"names that are not kept", {.names_are_not_kept = true}},
      {"a size that fsync() does not keep", {.size_is_not_kept = true}},
      {"a meta page torn within its sector", {.sector_is_torn = true}},
  };
  int unnoticed = 0;
  for (const Canary& canary : all) {
    StateOptions options;
    options.lies = canary.lies;
    Worker worker(subject, 1, 0);
    const std::uint64_t noticed = worker.judge_states(
        subject.recording, options, [](const DiskState&) { return Class::kCanary; }, "");
    std::printf("canary: %s: %s\n", canary.words, noticed > 0 ? "noticed" : "NOT NOTICED");
    unnoticed += noticed > 0 ? 0 : 1;
  }
  // A judge who is told of one commit more than there was.
  Scratch scratch;
  Recording recording(64ull << 20);
  const fs::path root = scratch.next();
  const std::uint64_t middle = subject.recording.calls() / 2;
  (void)in_child([&] {
    return run(subject.workload, subject.contents, recording, root, {Fault::kKillBefore, middle, 1}, nullptr);
  });
  const bool noticed = !judge_and_remove(root, subject, recording.last_mark() + 2).empty();
  std::printf("canary: a commit that is missing: %s\n", noticed ? "noticed" : "NOT NOTICED");
  return unnoticed + (noticed ? 0 : 1);
}

int main_of(std::size_t every) {
  Stopwatch watch(true);
  const Subject life(life_of_a_node());
  const Subject full(full_store());
  for (const Subject* subject : {&life, &full}) {
    std::printf("%s: %zu operations, %llu calls\n", subject->workload.name.c_str(), subject->workload.operations.size(),
                static_cast<unsigned long long>(subject->recording.calls()));
  }
  const int unnoticed = canaries(life);
  watch.lap("canaries");
  in_workers([&](std::uint64_t shards, std::uint64_t shard) {
    Stopwatch own(shard == 0);
    for (const Subject* subject : {&life, &full}) {
      Worker worker(*subject, shards, shard);
      worker.power();
      own.lap(subject->workload.name + ": power cuts");
      worker.kills(every);
      own.lap(subject->workload.name + ": kills");
      // Whether a store is full depends on what a fault left behind, so only the other one can be compared.
      if (!subject->workload.refuses) worker.faults(every);
      own.lap(subject->workload.name + ": faults");
    }
  });

  watch.lap("both");
  backups();
  watch.lap("backups");

  const Tally& tally = Tally::shared();
  const auto of = [&tally](Class what) { return static_cast<unsigned long long>(tally.of(what)); };
  std::printf(
      "crash states: %llu kill, %llu power, %llu torn, %llu power after kill, %llu power after fault, "
      "%llu faults injected; violations: %llu\n",
      of(Class::kKill), of(Class::kPower), of(Class::kTorn), of(Class::kAfterKill), of(Class::kAfterFault),
      of(Class::kFaults), static_cast<unsigned long long>(tally.violations()));
  return tally.violations() == 0 && unnoticed == 0 ? 0 : 1;
}

}  // namespace

}  // namespace nodemeter::crash

// crash_main [N]: power cuts after every Nth kill and fault (default 8).
int main(int argc, char** argv) {
  const long every = argc > 1 ? std::strtol(argv[1], nullptr, 10) : 8;
  if (every < 1) return 2;
  return nodemeter::crash::main_of(static_cast<std::size_t>(every));
}
