#include "runs.h"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <new>

#include "platform/random.h"

namespace nodemeter::crash {

namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t kRecordingBytes = 96ull << 20;
constexpr int kTriesMax = 6;

// Drives one run: operations in order, with the reaction to errors that the contract of KeyValue asks for.
class Driver {
 public:
  Driver(const Workload& workload, const std::vector<Digest>& contents, Recording& recording, fs::path state)
      : workload_(workload), contents_(contents), recording_(recording), state_(std::move(state)) {}

  std::function<void(std::int64_t position)> on_done;  // May be empty.

  std::string run(std::vector<bool>* refused);

 private:
  std::string open();
  std::string step(const Operation& operation, bool& was_refused);
  std::string after_error(const Operation& operation);
  void done(std::int64_t position) {
    position_ = position;
    recording_.mark(position);
    if (on_done) on_done(position);
  }

  const Workload& workload_;
  const std::vector<Digest>& contents_;
  Recording& recording_;
  fs::path state_;
  OpenStore store_;
  std::int64_t position_ = -1;  // Index into contents_ of what is committed for certain.
};

std::string Driver::open() {
  store_ = OpenStore{};
  std::string words;
  for (int tries = 0; tries < kTriesMax; ++tries) {
    const std::uint64_t faults = recording_.faults();
    Result<OpenStore> opened = OpenStore::open(state_, workload_.options);
    if (opened) {
      store_ = std::move(opened).value();
      break;
    }
    words = opened.error().message;
    if (recording_.faults() == faults) return "it does not open by itself: " + words;
    if (opened.error().code == ErrorCode::kCorrupt) return "an I/O error is taken for damage: " + words;
  }
  if (!store_.journal) return "it does not open again: " + words;
  if (contents_.empty()) return {};  // The run that finds out what is refused.
  const Result<Digest> content = content_of(*store_.kv);
  if (!content) return content.error().message;
  const std::int64_t found = position_of(*content, contents_, std::max(position_, recording_.last_mark()));
  if (found < 0) return "opened, it holds neither the last commit nor the next one whole";
  done(found);
  return {};
}

// The handle had an error whose outcome is unknown: it has to refuse, and another opening has to know.
std::string Driver::after_error(const Operation& operation) {
  if (operation.kind == Operation::Kind::kCommit && apply(operation, *store_.journal).ok()) {
    return "a handle that had an I/O error took another commit";
  }
  if (store_.kv->snapshot().ok()) return "a handle that had an I/O error is read from";
  return open();
}

std::string Driver::step(const Operation& operation, bool& was_refused) {
  const std::int64_t target = position_ + 1;
  for (int tries = 0; tries < kTriesMax && position_ < target; ++tries) {
    const std::uint64_t faults = recording_.faults();
    const std::uint64_t sync_faults = recording_.io_sync_faults();
    const Status status = apply(operation, *store_.journal);
    if (status) {
      // A sync that finds no room is a growth that failed; the states after it are examined like all others.
      if (recording_.io_sync_faults() != sync_faults) return "an I/O error of a sync was passed over";
      done(target);
    } else if (status.error().code == ErrorCode::kFull) {
      was_refused = recording_.faults() == faults;
      if (was_refused && !contents_.empty()) break;
      if (was_refused) done(target);
    } else if (recording_.faults() == faults) {
      return "an operation failed by itself: " + status.error().message;
    } else if (std::string fault = after_error(operation); !fault.empty()) {
      return fault;
    }
  }
  // Whoever knows what is refused knows it from the contents: such an operation changes nothing.
  if (was_refused && position_ < target &&
      contents_[static_cast<std::size_t>(target)] == contents_[static_cast<std::size_t>(target - 1)]) {
    done(target);
  }
  return position_ < target ? "an operation does not come to an end" : "";
}

std::string Driver::run(std::vector<bool>* refused) {
  if (std::string fault = open(); !fault.empty()) return fault;
  if (position_ < 0) done(0);
  while (position_ < static_cast<std::int64_t>(workload_.operations.size())) {
    const Operation& operation = workload_.operations[static_cast<std::size_t>(position_)];
    if (operation.kind == Operation::Kind::kReopen) {
      const std::int64_t target = position_ + 1;
      if (std::string fault = open(); !fault.empty()) return fault;
      done(target);
      continue;
    }
    bool was_refused = false;
    if (std::string fault = step(operation, was_refused); !fault.empty()) {
      return "operation " + std::to_string(position_ + 1) + ": " + fault;
    }
    if (refused != nullptr) refused->push_back(was_refused);
  }
  return {};
}

}  // namespace

std::string run(const Workload& workload, const std::vector<Digest>& contents, Recording& recording,
                const fs::path& root, FaultPlan plan, std::vector<bool>* refused) {
  fs::create_directories(root);
  recording.arm(root.string(), plan);
  Driver driver(workload, contents, recording, root / "var" / "state");
  std::string words = driver.run(refused);
  recording.disarm();
  return words;
}

std::string run_unrecorded(const Workload& workload, const std::vector<Digest>& contents, const fs::path& root,
                           const std::function<void(std::int64_t)>& on_done) {
  Recording none(0);
  Driver driver(workload, contents, none, root / "var" / "state");
  driver.on_done = on_done;
  return driver.run(nullptr);
}

namespace {

// What the real store refuses as full, found out by letting it.
std::vector<bool> refusals(const Workload& workload) {
  Scratch scratch;
  Recording recording(kRecordingBytes);
  const fs::path root = scratch.next();
  const std::string found = in_child([&] {
    std::vector<bool> refused;
    const std::string fault = run(workload, {}, recording, root, {}, &refused);
    if (!fault.empty()) return "!" + fault;
    std::string bits;
    for (const bool one : refused) bits += one ? '1' : '0';
    return bits;
  });
  if (found.starts_with("!") || found.find_first_not_of("01") != std::string::npos) {
    Tally::shared().violation(workload.name + ", undisturbed: " + found);
  }
  std::vector<bool> refused;
  std::size_t next = 0;
  for (const Operation& operation : workload.operations) {
    const bool reopening = operation.kind == Operation::Kind::kReopen;
    refused.push_back(!reopening && next < found.size() && found[next++] == '1');
  }
  return refused;
}

}  // namespace

Subject::Subject(Workload made)
    : workload(std::move(made)),
      contents(expected_contents(workload, refusals(workload))),
      expectation{workload, contents},
      recording(kRecordingBytes) {
  Scratch scratch;
  const fs::path root = scratch.next();
  std::string words = in_child([&] { return run(workload, contents, recording, root, {}, nullptr); });
  if (words.empty()) words = judge_and_remove(root, *this, static_cast<std::int64_t>(workload.operations.size()));
  if (recording.overflowed()) words = "the recording is too small";
  if (!words.empty()) Tally::shared().violation(workload.name + ", undisturbed: " + words);
}

Tally& Tally::shared() {
  static Tally* const tally = [] {
    void* memory = ::mmap(nullptr, sizeof(Tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) std::abort();
    return new (memory) Tally();
  }();
  return *tally;
}

void Tally::violation(const std::string& words) {
  constexpr std::uint64_t kPrintedMax = 20;
  if (++violations_ <= kPrintedMax) std::fprintf(stderr, "violation: %s\n", words.c_str());
}

Scratch::Scratch() {
  std::error_code error;
  const fs::path memory = "/dev/shm";
  const fs::path base =
      fs::is_directory(memory, error) && ::access(memory.c_str(), W_OK) == 0 ? memory : fs::temp_directory_path();
  path_ = base / ("nodemeter-crash-" + Random::from_system().uuid().text());
  fs::create_directories(path_);
}

Scratch::~Scratch() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

fs::path Scratch::next() { return path_ / std::to_string(++number_); }

void in_workers(const std::function<void(std::uint64_t, std::uint64_t)>& work) {
  const auto shards = static_cast<std::uint64_t>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN)));
  std::vector<pid_t> workers;
  (void)Tally::shared();
  for (std::uint64_t shard = 0; shard < shards; ++shard) {
    const pid_t child = ::fork();
    if (child == 0) {
      work(shards, shard);
      ::_exit(0);
    }
    workers.push_back(child);
  }
  for (const pid_t worker : workers) {
    int status = 0;
    if (::waitpid(worker, &status, 0) != worker || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
      Tally::shared().violation("a worker of the test ended early");
    }
  }
}

std::string judge_and_remove(const fs::path& root, const Subject& subject, std::int64_t acknowledged) {
  std::string words = in_child([&] { return judge(root / "var" / "state", subject.expectation, acknowledged); });
  std::error_code ignored;
  fs::remove_all(root, ignored);
  return words;
}

}  // namespace nodemeter::crash
