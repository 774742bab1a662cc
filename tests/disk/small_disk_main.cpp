// Goal: the rules for a full disk hold on real file systems: metering goes on, hours wait in memory and are committed
// late, nothing is lost or doubled; an agent that dies meanwhile leaves a gap from its last commit and a whole store.
// Method: the real agent and LMDB on an ext4 and a tmpfs of 24 MiB that another file fills up, in virtual time. Needs
// root, a loop device and mkfs.ext4; exit 77 without them.

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <map>

#include "agent/agent.h"
#include "store/lmdb_kv.h"
#include "store/reader.h"
#include "tests/bench/bench_tools.h"
#include "tests/bench/steady_node.h"
#include "tests/disk/small_disk.h"

namespace {

using namespace nodemeter;
namespace fs = std::filesystem;
using testing::check;
using testing::SmallDisk;

constexpr std::uint32_t kVms = 100;
constexpr Milliseconds kInterval{600'000};
constexpr int kPerHour = 6;
constexpr UtcTime kStart{Milliseconds{1'767'225'600'000}};

// One agent's life, on a node whose counters only depend on the time.
class Node {
 public:
  Node() : source_(clock_, kVms, 1) {}

  void start(const fs::path& state) {
    stop();
    auto store = open_lmdb(journal_directory(state), {});
    require(store.ok(), "open");
    store_ = std::move(*store);
    AgentOptions options;
    options.node = *NodeId::parse("small-disk");
    options.sample_interval = kInterval;
    options.key = SigningKey::from_seed(std::string(32, 'k')).value();
    auto agent = Agent::open(options, {clock_, source_, *store_, nullptr, nullptr, random_, log_});
    require(agent.ok(), "agent");
    agent_ = std::move(*agent);
  }
  void stop() {
    agent_.reset();
    store_.reset();
  }
  void pass(int samples) {
    for (int i = 0; i < samples; ++i) {
      clock_.pass(kInterval);
      source_.advance();
      if (agent_) agent_->step();
    }
  }
  [[nodiscard]] Agent& agent() { return *agent_; }
  [[nodiscard]] const KeyValue& store() const { return *store_; }

 private:
  SteadyClock clock_{kStart};
  SteadyNode source_;
  NullLog log_;
  Random random_{1};
  std::unique_ptr<KeyValue> store_;
  std::unique_ptr<Agent> agent_;
};

struct Told {
  std::map<std::pair<std::string, std::int64_t>, std::uint64_t> hours;  // Covered ms by VM and hour.
  std::uint64_t late = 0;
  std::uint64_t doubled = 0;
  std::uint64_t gaps = 0;
  std::uint64_t broken = 0;
};

Told told(const Node& node) {
  Told told;
  const auto reader = Reader::on(node.store());
  const Status read = reader->for_each(1, [&](const Entry& entry, std::string_view) {
    if (entry.kind == EntryKind::kGap) ++told.gaps;
    if (entry.kind != EntryKind::kUsage) return true;
    if ((entry.status & status_bit::kLate) != 0) ++told.late;
    std::uint64_t& covered = told.hours[{entry.vm.text(), entry.usage_start.time_since_epoch().count()}];
    covered += entry.covered_ms;
    if (covered > 3'600'000) ++told.doubled;
    return true;
  });
  require(read.ok(), "read");
  const auto chain = reader->verify({});
  require(chain.ok(), "verify");
  told.broken = chain->faults.size();
  return told;
}

// Every hour of every VM from `first` to before `last`, whole.
bool whole(const Told& told, std::int64_t first, std::int64_t last) {
  std::map<std::int64_t, std::uint64_t> vms;
  for (const auto& [key, covered] : told.hours) vms[key.second] += covered == 3'600'000 ? 1 : 0;
  const std::int64_t begin = std::chrono::duration_cast<std::chrono::seconds>(kStart.time_since_epoch()).count();
  for (std::int64_t hour = first; hour < last; ++hour) {
    if (vms[begin + hour * 3600] != kVms) return false;
  }
  return true;
}

void recovers(const SmallDisk& disk) {
  Node node;
  node.start(disk.path() / "recovers");
  node.pass(4 * kPerHour);
  check(node.agent().phase() == AgentPhase::kMetering, "metering while there is room");
  disk.fill();
  int hours = 4;
  for (; hours < 300 && node.agent().phase() == AgentPhase::kMetering; ++hours) node.pass(kPerHour);
  check(node.agent().phase() == AgentPhase::kStoreFull, "disk full after " + std::to_string(hours) + " hours");
  const Sequence durable = node.agent().journal().state().last_sequence;
  node.pass(10 * kPerHour);
  hours += 10;
  check(node.agent().phase() == AgentPhase::kStoreFull && !node.agent().reason().empty(), "and says why");
  check(node.agent().journal().state().last_sequence == durable, "ten hours wait in memory");
  disk.free();
  node.pass(2 * kPerHour);
  hours += 2;
  check(node.agent().phase() == AgentPhase::kMetering, "metering again by itself");
  const Told all = told(node);
  check(whole(all, 1, hours - 1), "every hour of every VM is there, whole");
  check(all.doubled == 0, "none is there twice");
  check(all.late >= 9 * kVms, std::to_string(all.late) + " entries are marked late");
  check(all.gaps <= 1, "no gap (but before the start)");
  check(all.broken == 0, "the chain holds");
}

void killed(const SmallDisk& disk) {
  const fs::path state = disk.path() / "killed";
  constexpr int kHoursFull = 40;  // What is told about them afterwards has to fit.
  int ready[2];
  require(::pipe(ready) == 0, "pipe");
  const pid_t child = ::fork();
  if (child == 0) {
    Node node;
    node.start(state);
    node.pass(4 * kPerHour);
    disk.fill();
    node.pass(kHoursFull * kPerHour);
    const Sequence last = node.agent().journal().state().last_sequence;
    const std::uint64_t answer = node.agent().phase() == AgentPhase::kStoreFull ? last : 0;
    (void)!::write(ready[1], &answer, sizeof answer);
    ::pause();
  }
  std::uint64_t durable = 0;
  require(::read(ready[0], &durable, sizeof durable) == sizeof durable, "child");
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  check(durable != 0, "killed while the disk was full");
  disk.free();
  Node node;
  node.pass((4 + kHoursFull) * kPerHour + 3);
  node.start(state);
  check(node.agent().journal().state().last_sequence == durable, "everything committed is there, nothing else");
  node.pass(3 * kPerHour);
  check(node.agent().phase() == AgentPhase::kMetering, "metering again");
  const Told all = told(node);
  check(all.gaps >= 1 && all.broken == 0 && all.doubled == 0, "the time is told as a gap, the chain holds");
}

}  // namespace

int main() { return testing::run_on_small_disks({{"recovers", &recovers}, {"killed", &killed}}); }
