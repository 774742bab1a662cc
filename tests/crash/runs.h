// Runs of a workload in processes of their own, and what is counted over all of them.

#pragma once

#include <array>
#include <atomic>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "judge.h"
#include "recorder.h"
#include "workload.h"

namespace nodemeter::crash {

enum class Class : std::uint8_t { kKill, kPower, kTorn, kAfterKill, kAfterFault, kFaults, kBlock, kCanary };
inline constexpr std::size_t kClassCount = 8;

// In shared memory: workers count into it.
class Tally {
 public:
  static Tally& shared();  // One per program, made on first use.
  void count(Class what, std::uint64_t n = 1) { counts_[static_cast<std::size_t>(what)] += n; }
  [[nodiscard]] std::uint64_t of(Class what) const { return counts_[static_cast<std::size_t>(what)]; }
  // Counts a violation and prints the first twenty.
  void violation(const std::string& words);
  [[nodiscard]] std::uint64_t violations() const { return violations_; }

 private:
  std::array<std::atomic<std::uint64_t>, kClassCount> counts_{};
  std::atomic<std::uint64_t> violations_{0};
};

// One workload with what it should leave, and its undisturbed run.
struct Subject {
  explicit Subject(Workload made);

  Workload workload;
  std::vector<Digest> contents;
  Expectation expectation;
  Recording recording;  // Of the undisturbed run.
};

// Runs the workload from where the store in `root`/var/state stands to its end, retrying what is refused and opening
// again after an error, with `plan` in force. What it finds wrong, or empty; `refused` (may be null) learns what the
// store refused as full without any fault. For a child process.
std::string run(const Workload& workload, const std::vector<Digest>& contents, Recording& recording,
                const std::filesystem::path& root, FaultPlan plan, std::vector<bool>* refused);

// The same on a file system that is recorded elsewhere; `on_done` is told each position that is durable.
std::string run_unrecorded(const Workload& workload, const std::vector<Digest>& contents,
                           const std::filesystem::path& root, const std::function<void(std::int64_t)>& on_done);

// Scratch space that goes away; in memory where possible.
class Scratch {
 public:
  Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch();
  // A new name below it.
  std::filesystem::path next();

 private:
  std::filesystem::path path_;
  std::uint64_t number_ = 0;
};

// Calls `work` in one process per processor, each with its number; a worker that dies is a violation.
void in_workers(const std::function<void(std::uint64_t shards, std::uint64_t shard)>& work);

// Judges a run whose process is over, and removes its directory.
std::string judge_and_remove(const std::filesystem::path& root, const Subject& subject, std::int64_t acknowledged);

}  // namespace nodemeter::crash
