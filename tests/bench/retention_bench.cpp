// How large a journal becomes, how long it takes to open, and what retention costs beside sampling.
//
//   retention_bench [--tiny] [--days N] [--vms N] [--directory D]
//   retention_bench --gib N [--directory D]
//
// The real agent meters a steady node, one sample an hour in virtual time, until the retention is full; then it goes on
// for ten days under retention, and at the end retention is cut by ten days, which makes a backlog. `--directory` keeps
// the state directory there. With `--gib` a VM's hour is repeated through the journal alone, many to a commit, each
// with its manifest, until the file is that large; then it is opened.

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "agent/agent.h"
#include "store/lmdb_kv.h"
#include "store/reader.h"
#include "tests/bench/bench_tools.h"
#include "tests/bench/steady_node.h"

namespace {

using namespace nodemeter;
namespace fs = std::filesystem;

constexpr Milliseconds kHour{3'600'000};
constexpr Milliseconds kDay{86'400'000};
constexpr int kDaysUnderRetention = 10;
constexpr int kEntriesPerCommit = 10'000;

struct Arguments {
  std::uint32_t days = 400;
  std::uint32_t vms = 200;
  std::uint64_t gib = 0;
  bool tiny = false;
  fs::path directory;
};

double mib(std::uint64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

class Bench {
 public:
  explicit Bench(const Arguments& arguments)
      : arguments_(arguments),
        node_(clock_, arguments.vms, 1),
        key_(SigningKey::from_seed(std::string(32, 'k')).value()),
        file_(journal_directory(arguments.directory) / "data.mdb") {}

  void run_large() {
    open(100 * 365 * kDay);
    for (int hour = 0; hour < 3; ++hour) sample();
    const std::vector<Entry> hours = usage_entries();
    agent_.reset();
    {
      JournalOptions options;
      options.node = *NodeId::parse("bench");
      options.key = key_;
      auto journal = Journal::open(*store_, options, random_);
      require(journal.ok(), "journal");
      std::int64_t closed_until = (*journal)->state().closed_until;
      while (store_->usage().used_bytes >> 30 < arguments_.gib) {
        clock_.pass(kHour);
        JournalCommit commit;
        for (int i = 0; i < kEntriesPerCommit; ++i) {
          commit.entries.push_back(hours[static_cast<std::size_t>(i) % hours.size()]);
        }
        commit.closed_until = ++closed_until;
        require((*journal)->commit(commit, clock_.now().utc).ok(), "commit");
      }
    }
    open_agent(100 * 365 * kDay);
    print_size("large");
    agent_.reset();
    store_.reset();
    print_opening();
  }

  void run() {
    open(100 * 365 * kDay);
    Series sampling;
    for (std::uint32_t hour = 0; hour < arguments_.days * 24; ++hour) sampling.add(sample());
    print_size("full retention");
    print_steps("sample at the hour", sampling);
    agent_.reset();
    store_.reset();
    print_opening();

    open(arguments_.days * kDay);
    const std::uint64_t before = fs::file_size(file_);
    Series sampling_and_pruning;
    for (int hour = 0; hour < kDaysUnderRetention * 24; ++hour) sampling_and_pruning.add(sample());
    print_size("ten days later");
    std::printf("the file grew by %.1f MiB in ten days under retention\n", mib(fs::file_size(file_) - before));
    print_steps("sample, then prune an hour", sampling_and_pruning);

    agent_.reset();
    store_.reset();
    open((arguments_.days - std::min(arguments_.days / 2, 10u)) * kDay);
    sample();
    Series backlog;
    while (prune(backlog)) {
    }
    print_steps("prune a lot of a backlog", backlog);
    print_size("after the backlog");
    const auto check = Reader::on(*store_)->verify({});
    require(check.ok() && check->faults.empty(), "verify");
  }

 private:
  void open(Milliseconds retention) {
    LmdbOptions options;
    options.size_max_bytes = std::uint64_t{64} << 30;
    auto store = open_lmdb(journal_directory(arguments_.directory), options);
    require(store.ok(), "open");
    store_ = std::move(*store);
    open_agent(retention);
  }

  void open_agent(Milliseconds retention) {
    AgentOptions options;
    options.node = *NodeId::parse("bench");
    options.sample_interval = kHour;
    options.key = key_;
    options.retention = retention;
    auto agent = Agent::open(options, {clock_, node_, *store_, nullptr, nullptr, random_, log_});
    require(agent.ok(), "agent");
    agent_ = std::move(*agent);
  }

  [[nodiscard]] std::vector<Entry> usage_entries() const {
    std::vector<Entry> entries;
    const Status visited = Reader::on(*store_)->for_each(1, [&](const Entry& entry, std::string_view /*row*/) {
      if (entry.kind == EntryKind::kUsage) entries.push_back(entry);
      return true;
    });
    require(visited.ok() && !entries.empty(), "usage entries");
    return entries;
  }

  double step() {
    node_.advance();
    const StopWatch watch;
    agent_->step();
    const double us = watch.microseconds();
    require(agent_->phase() == AgentPhase::kMetering, "metering");
    return us;
  }

  // An hour later. What retention has to do comes in the same step, after the sample.
  double sample() {
    clock_.pass(kHour - passed_);
    passed_ = Milliseconds{0};
    return step();
  }

  // A second later. False: nothing was left to prune.
  bool prune(Series& series) {
    clock_.pass(std::chrono::seconds{1});
    passed_ += std::chrono::seconds{1};
    const Sequence before = agent_->journal().state().oldest_kept;
    const double us = step();
    if (agent_->journal().state().oldest_kept == before) return false;
    series.add(us);
    return true;
  }

  void print_size(const char* when) const {
    const JournalState& state = agent_->journal().state();
    const std::uint64_t entries = state.last_sequence + 1 - state.oldest_kept;
    const KeyValue::Usage usage = store_->usage();
    std::printf("%-18s %8llu entries, %8.1f MiB in use, file %8.1f MiB, %llu bytes an entry\n", when,
                static_cast<unsigned long long>(entries), mib(usage.used_bytes), mib(fs::file_size(file_)),
                static_cast<unsigned long long>(usage.entries_bytes / std::max<std::uint64_t>(1, usage.entries)));
    std::fflush(stdout);
  }

  static void print_steps(const char* what, const Series& series) {
    std::printf("%-26s median %8.0f us  p99 %8.0f us  (%zu)\n", what, series.median(), series.p99(), series.size());
  }

  // What `journal info` does, and what the agent does when it starts.
  void print_opening() {
    for (const char* how : {"from the disk", "again"}) {
      if (*how == 'f') forget_cache();
      StopWatch reading;
      {
        const auto reader = Reader::open(arguments_.directory);
        require(reader.ok() && (*reader)->state().ok(), "reader");
        (void)(*reader)->usage();
      }
      const double info = reading.microseconds();
      if (*how == 'f') forget_cache();
      StopWatch starting;
      open(100 * 365 * kDay);
      const double agent = starting.microseconds();
      agent_.reset();
      store_.reset();
      std::printf("opened %-13s journal info %8.0f us, agent %8.0f us\n", how, info, agent);
    }
  }

  void forget_cache() const {
    const int file = ::open(file_.c_str(), O_RDONLY | O_CLOEXEC);
    require(file >= 0 && ::fsync(file) == 0 && ::posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED) == 0, "forget cache");
    ::close(file);
  }

  const Arguments& arguments_;
  SteadyClock clock_{UtcTime(std::chrono::sys_days(std::chrono::year{2026} / 1 / 1))};
  SteadyNode node_;
  SigningKey key_;
  fs::path file_;
  NullLog log_;
  Random random_{1};
  Milliseconds passed_{0};
  std::unique_ptr<KeyValue> store_;
  std::unique_ptr<Agent> agent_;
};

Arguments arguments_of(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : "";
    if (word == "--tiny") {
      arguments.tiny = true;
      arguments.days = 4;
      arguments.vms = 20;
      continue;
    }
    ++i;
    if (word == "--days") arguments.days = static_cast<std::uint32_t>(std::strtoul(value, nullptr, 10));
    if (word == "--vms") arguments.vms = static_cast<std::uint32_t>(std::strtoul(value, nullptr, 10));
    if (word == "--gib") arguments.gib = std::strtoull(value, nullptr, 10);
    if (word == "--directory") arguments.directory = value;
  }
  require(arguments.days > 1 && arguments.vms > 0, "arguments");
  return arguments;
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments = arguments_of(argc, argv);
  const bool keep = !arguments.directory.empty();
  if (!keep) {
    arguments.directory = fs::temp_directory_path() / ("nodemeter-bench-" + Random::from_system().uuid().text());
  }
  fs::create_directories(arguments.directory);
  if (arguments.gib == 0) {
    std::printf("%u VMs, %u days\n", arguments.vms, arguments.days);
    Bench(arguments).run();
  } else {
    Bench(arguments).run_large();
  }
  if (!keep) fs::remove_all(arguments.directory);
  return 0;
}
