#include "backup_runs.h"

#include <set>

#include "disk_states.h"
#include "runs.h"
#include "store/reader.h"

namespace nodemeter::crash {

namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kRecordingBytes = 256u << 20;
constexpr std::int64_t kTaken = 1;  // The mark that backup_store() returned success.

// A store to take backups of, made once; and where its epoch stands.
class Source {
 public:
  Source() : workload_(life_of_a_node()) {
    root_ = scratch_.next();
    fs::create_directories(root_);
    workload_.operations.resize(24);
    const std::string words = in_child([&] {
      const std::string fault = run_unrecorded(workload_, {}, root_, {});
      return fault.empty() ? "=" + std::to_string(Reader::open(state()).value()->state().value().last_sequence) : fault;
    });
    if (!words.starts_with("=")) Tally::shared().violation("no store to back up: " + words);
    last_sequence_ = std::strtoull(words.c_str() + 1, nullptr, 10);
  }
  [[nodiscard]] fs::path state() const { return root_ / "var" / "state"; }
  [[nodiscard]] Sequence last_sequence() const { return last_sequence_; }

 private:
  Workload workload_;
  Scratch scratch_;
  fs::path root_;
  Sequence last_sequence_ = 0;
};

// What must be true of `target`: no backup, or a whole one that an agent takes for one.
std::string judge_backup(const fs::path& target, const Source& source, std::int64_t acknowledged) {
  if (!fs::exists(journal_directory(target) / "data.mdb")) {
    return acknowledged == kTaken ? "a backup that was reported as taken is not there" : "";
  }
  const Result<std::unique_ptr<KeyValue>> kv = open_lmdb(journal_directory(target), LmdbOptions{});
  if (!kv) return "the backup does not open: " + kv.error().message;
  Random random(2);
  const auto journal = Journal::open(**kv, journal_options_of_runs(), random);
  if (!journal) return "the backup's journal does not open: " + journal.error().message;
  const JournalState& state = (*journal)->state();
  if (state.previous_epoch.is_zero()) return "an unmarked backup: an agent would fork its node's chain";
  if (state.previous_last_sequence != source.last_sequence()) return "the backup is not of the store's end";
  const Result<ChainCheck> check = Reader::on(**kv)->verify({});
  if (!check) return check.error().message;
  return check->faults.empty() ? "" : check->faults.front();
}

std::string take(const Source& source, Recording& recording, const fs::path& root, FaultPlan plan) {
  fs::create_directories(root);
  recording.arm(root.string(), plan);
  const Status taken = backup_store(source.state(), root / "backup");
  if (taken) recording.mark(kTaken);
  recording.disarm();
  return taken ? "" : taken.error().message;
}

// Judges what is there; where nothing is, another attempt has to succeed.
std::string judge_and_retry(const Source& source, const fs::path& root, std::int64_t acknowledged) {
  std::string words = in_child([&] {
    const fs::path target = root / "backup";
    if (std::string fault = judge_backup(target, source, acknowledged); !fault.empty()) return fault;
    if (fs::exists(journal_directory(target) / "data.mdb")) return std::string();
    const Status again = backup_store(source.state(), target);
    return again ? judge_backup(target, source, kTaken) : "it cannot be taken again: " + again.error().message;
  });
  fs::remove_all(root);
  return words;
}

void report(const std::string& where, const std::string& words) {
  if (!words.empty()) Tally::shared().violation("backup, " + where + ": " + words);
}

void power_cuts(const Source& source, const Recording& undisturbed, std::uint64_t shards, std::uint64_t shard) {
  Scratch scratch;
  std::set<std::uint64_t> seen;
  StateOptions options;
  options.shards = shards;
  options.shard = shard;
  for_each_state(undisturbed, options, [&](const DiskState& state) {
    if (!seen.insert(fingerprint(state)).second) return true;
    const fs::path root = scratch.next();
    materialise(state, root);
    Tally::shared().count(state.torn ? Class::kTorn : Class::kPower);
    report(state.origin, judge_and_retry(source, root, state.acknowledged));
    return true;
  });
}

// Numbers of the calls to disturb: all, but of those that only grow a file by zeros some.
std::vector<std::uint64_t> targets(const Recording& undisturbed) {
  std::vector<std::uint64_t> numbers;
  std::uint64_t number = 0;
  undisturbed.for_each([&](const Call& call) {
    if (call.kind == CallKind::kMark) return true;
    ++number;
    const bool zeros = call.kind == CallKind::kWrite && call.data.find_first_not_of('\0') == std::string_view::npos;
    if (!zeros || number % 16 == 0) numbers.push_back(number);
    return true;
  });
  return numbers;
}

void kills_and_faults(const Source& source, const std::vector<std::uint64_t>& calls, std::uint64_t shards,
                      std::uint64_t shard) {
  Recording recording(kRecordingBytes);
  Scratch scratch;
  for (std::size_t i = shard; i < calls.size(); i += shards) {
    const std::uint64_t at = calls[i];
    for (const Fault fault : {Fault::kKillBefore, Fault::kKillMiddle, Fault::kIo, Fault::kFull, Fault::kShort}) {
      recording.clear();
      const fs::path root = scratch.next();
      (void)in_child([&] { return take(source, recording, root, {fault, at, 1}); });
      const bool kills = fault == Fault::kKillBefore || fault == Fault::kKillMiddle;
      Tally::shared().count(kills ? Class::kKill : Class::kFaults, recording.faults());
      report(std::string(name_of(fault)) + " at call " + std::to_string(at),
             judge_and_retry(source, root, recording.last_mark()));
    }
  }
}

}  // namespace

void backups() {
  const Source source;
  Scratch scratch;
  Recording undisturbed(kRecordingBytes);
  report("undisturbed", in_child([&] { return take(source, undisturbed, scratch.next(), {}); }));
  if (undisturbed.overflowed()) report("undisturbed", "the recording is too small");
  const std::vector<std::uint64_t> calls = targets(undisturbed);
  in_workers([&](std::uint64_t shards, std::uint64_t shard) {
    power_cuts(source, undisturbed, shards, shard);
    kills_and_faults(source, calls, shards, shard);
  });
}

}  // namespace nodemeter::crash
