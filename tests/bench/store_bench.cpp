// What the store costs, next to what the machine charges for the same work done barely.
//
//   store_bench [--tiny] [--vms N] [--alone]
//
// Sample: what the agent does with one (meter, state rows, journal, LMDB) on a node of 200 running VMs, hour after
// hour, one each 10 s of its clock. After each sample the floor is measured on the same file system; every so often
// other stores commit the same rows, with a floor after each of theirs. Encode and decode: against a copy of the same
// bytes. Verify: against the digest function alone.

#include <cstring>

#include "agent/meter.h"
#include "platform/digest.h"
#include "store/entry_codec.h"
#include "store/lmdb_kv.h"
#include "store/meters.h"
#include "store/reader.h"
#include "tests/bench/bench_tools.h"
#include "tests/bench/peers.h"
#include "tests/bench/steady_node.h"

namespace {

using namespace nodemeter;
namespace fs = std::filesystem;

constexpr Milliseconds kInterval{10'000};

// Keeps what was written.
class WatchedStore final : public KeyValue {
 public:
  explicit WatchedStore(KeyValue& store) : store_(store) {}

  Status commit(const std::vector<Write>& writes) override {
    const Status committed = store_.commit(writes);
    const StopWatch copy_watch;
    last = writes;
    copy_us = copy_watch.microseconds();
    return committed;
  }
  [[nodiscard]] Result<std::unique_ptr<Snapshot>> snapshot() const override { return store_.snapshot(); }
  [[nodiscard]] Usage usage() const override { return store_.usage(); }
  void maintain() override { store_.maintain(); }

  std::vector<Write> last;
  double copy_us = 0;  // Not the agent's: to be taken off.

 private:
  KeyValue& store_;
};

std::uint64_t bytes_of(const std::vector<Write>& writes) {
  std::uint64_t bytes = 0;
  for (const Write& write : writes) bytes += write.key.size() + (write.value ? write.value->size() : 0);
  return bytes;
}

// Samples of one sort.
struct Cost {
  Series meter;       // Sample to usage and to rows of state.
  Series commit;      // Rows and entries, digests, durable.
  Series row_bytes;   // What the sample changed.
  Series disk_bytes;  // What was written for it.
  Series floor;       // Two syncs, 4 KiB each.
  Series full_floor;  // Two syncs, the first after as many bytes as the sample changed.
};

// Another store, over all the same samples.
struct PeerCost {
  std::string name;
  std::unique_ptr<Peer> peer;
  Series commit;
  Series disk_bytes;
  Series floor;
};

void print(const std::string& what, const Series& series, const Series& floor) {
  std::printf("  %-44s median %7.0f us  p99 %7.0f us  %5.2f of the floor\n", what.c_str(), series.median(),
              series.p99(), series.median() / floor.median());
}

void print(const char* title, const Cost& cost) {
  std::printf("%s (%zu): %.0f bytes of rows changed, %.0f bytes written\n", title, cost.commit.size(),
              cost.row_bytes.mean(), cost.disk_bytes.mean());
  print("floor: 4 KiB, sync, 4 KiB, sync", cost.floor, cost.floor);
  print("the rows' bytes, sync, 4 KiB, sync", cost.full_floor, cost.floor);
  print("nodemeter: durable commit", cost.commit, cost.floor);
  print("nodemeter: meter, before it", cost.meter, cost.floor);
}

class Bench {
 public:
  Bench(const fs::path& directory, std::uint32_t vms, bool with_peers)
      : random_(1), node_(clock_, vms, 7), floor_(directory / "floor"), lmdb_(open(directory)), store_(*lmdb_) {
    JournalOptions options;
    options.node = *NodeId::parse("bench");
    options.key = SigningKey::generate();
    auto journal = Journal::open(store_, options, random_);
    require(journal.ok(), "journal");
    journal_ = std::move(*journal);
    for (const PeerMaker& maker : peers()) {
      if (!with_peers) break;
      peers_.push_back({maker.name, maker.open(directory), {}, {}, {}});
      require(peers_.back().peer != nullptr, maker.name.c_str());
    }
  }

  // From the minute before an hour's edge on.
  void run(int samples) {
    for (int round = 0; round < samples; ++round) {
      const std::int64_t into_hour = clock_.now().utc.time_since_epoch() % std::chrono::hours{1} / kInterval;
      Cost first;
      Cost& cost = round == 0 ? first : into_hour == 1 ? opens_ : into_hour == 3 ? closes_ : ordinary_;
      sample(cost);
      clock_.pass(kInterval);
      if (batch_.size() == kBatch) give_to_peers();
    }
    give_to_peers();
  }

  void print_all() const {
    print("a sample", ordinary_);
    print("a sample that begins an hour", opens_);
    print("a sample that closes an hour", closes_);
    for (const PeerCost& peer : peers_) {
      std::printf("%s, the rows of all these samples: %.0f bytes written each\n", peer.name.c_str(),
                  peer.disk_bytes.mean());
      print("floor: 4 KiB, sync, 4 KiB, sync", peer.floor, peer.floor);
      print("commit", peer.commit, peer.floor);
    }
    const double day = 24 * (358 * ordinary_.disk_bytes.mean() + opens_.disk_bytes.mean() + closes_.disk_bytes.mean());
    std::printf("written per day at one sample each 10 s: %.0f MB; private memory of all of this: %llu KiB\n",
                day / 1e6, static_cast<unsigned long long>(private_kib()));
  }

 private:
  static std::unique_ptr<KeyValue> open(const fs::path& directory) {
    auto kv = open_lmdb(journal_directory(directory), {});
    require(kv.ok(), "store");
    return std::move(*kv);
  }

  void sample(Cost& cost) {
    node_.advance();
    const std::uint64_t before = written_bytes();
    const StopWatch meter_watch;
    const std::int64_t closed_until = meter_.node().closed_until;
    JournalCommit commit;
    commit.entries = meter_.step(*node_.read_all());
    for (auto& [key, row] : meter_.take_changed_rows()) commit.state.push_back({key, std::move(row)});
    if (meter_.node().closed_until > closed_until) commit.closed_until = meter_.node().closed_until;
    meter_us_ = meter_watch.microseconds();
    cost.meter.add(meter_us_);
    const StopWatch commit_watch;
    require(journal_->commit(commit, clock_.now().utc).ok(), "commit");
    cost.commit.add(commit_watch.microseconds() - store_.copy_us);
    cost.disk_bytes.add(static_cast<double>(written_bytes() - before));
    const std::uint64_t bytes = bytes_of(store_.last);
    cost.row_bytes.add(static_cast<double>(bytes));
    // Neither is always the first after so much else.
    const bool bare_first = cost.floor.size() % 2 == 0;
    if (bare_first) cost.floor.add(floor(1));
    cost.full_floor.add(floor(bytes));
    if (!bare_first) cost.floor.add(floor(1));
    if (!peers_.empty()) batch_.push_back(std::move(store_.last));
  }

  double floor(std::uint64_t bytes) {
    compute();
    return floor_.measure(bytes);
  }
  // As long as the meter did before the commit: a disk that has just been busy answers sooner.
  void compute() const {
    const StopWatch watch;
    while (watch.microseconds() < meter_us_) {
    }
  }

  // Not after each sample: nobody is to find the machine's caches filled by another.
  void give_to_peers() {
    for (PeerCost& cost : peers_) {
      for (const std::vector<Write>& writes : batch_) {
        const std::uint64_t before = written_bytes();
        compute();
        const StopWatch watch;
        require(cost.peer->commit(writes), cost.name.c_str());
        cost.commit.add(watch.microseconds());
        cost.disk_bytes.add(static_cast<double>(written_bytes() - before));
        cost.floor.add(floor(1));
      }
    }
    batch_.clear();
  }

  static constexpr std::size_t kBatch = 30;

  Random random_;
  SteadyClock clock_{UtcTime(std::chrono::sys_days(std::chrono::year{2026} / 1 / 1) + std::chrono::minutes{59})};
  SteadyNode node_;
  TwoSyncFloor floor_;
  std::unique_ptr<KeyValue> lmdb_;
  WatchedStore store_;
  std::unique_ptr<Journal> journal_;
  Meter meter_{MeterOptions{}};
  double meter_us_ = 0;  // Of the last sample.
  std::vector<PeerCost> peers_;
  std::vector<std::vector<Write>> batch_;
  Cost ordinary_;
  Cost opens_;
  Cost closes_;
};

// --- Entries --------------------------------------------------------------------------------------------------------

void bench_codec(const fs::path& directory, int rounds) {
  const auto reader = Reader::open(directory);
  require(reader.ok(), "reader");
  Entry entry;
  std::string row;
  const Status visited = (*reader)->for_each(1, [&](const Entry& e, std::string_view stored) {
    entry = e;
    row = stored;
    return e.kind != EntryKind::kUsage;
  });
  require(visited.ok() && entry.kind == EntryKind::kUsage, "a usage entry");
  constexpr int kRows = 1'000;
  std::size_t sink = 0;
  const auto measure = [&](const char* what, const auto& work) {
    Series series;
    for (int round = 0; round < rounds; ++round) {
      const StopWatch watch;
      for (int i = 0; i < kRows; ++i) work();
      series.add(watch.microseconds() / kRows);
    }
    std::printf("  %-8s %7.3f us a row  %8.0f MB/s\n", what, series.median(),
                static_cast<double>(row.size()) / series.median());
  };
  std::printf("a VM's hour, %zu bytes\n", row.size());
  std::string copy(row.size(), '\0');
  measure("copy", [&] {
    std::memcpy(copy.data(), row.data(), row.size());
    sink += static_cast<unsigned char>(copy[sink % copy.size()]);
  });
  measure("encode", [&] { sink += encode_entry_body(entry).value().size(); });
  measure("decode", [&] { sink += decode_entry(row).value().body.size(); });
  measure("digest", [&] { sink += chain_digest(Digest{}, row).bytes[0]; });
  require(sink > 0, "all of this");
}

// The journal's verification, next to its digest function over the same rows, already in memory.
void bench_verify(const fs::path& directory, int rounds) {
  const auto reader = Reader::open(directory);
  require(reader.ok(), "reader");
  std::vector<std::string> rows;
  const Status visited = (*reader)->for_each(1, [&](const Entry&, std::string_view row) {
    rows.emplace_back(row);
    return true;
  });
  require(visited.ok() && !rows.empty(), "rows");
  std::uint64_t bytes = 0;
  for (const std::string& row : rows) bytes += row.size();
  Series verified;
  Series digested;
  for (int round = 0; round < rounds; ++round) {
    const StopWatch watch;
    const auto check = (*reader)->verify({});
    verified.add(watch.microseconds());
    require(check.ok() && check->faults.empty() && check->bytes == bytes, "verify");
    const StopWatch digest_watch;
    Digest head;
    for (const std::string& row : rows) head = chain_digest(head, std::string_view(row).substr(0, row.size() - 34));
    digested.add(digest_watch.microseconds());
    require(head == check->head, "digest");
  }
  const auto line = [&](const char* what, double us) {
    std::printf("  %-20s %9.0f entries/s  %6.0f MB/s\n", what, static_cast<double>(rows.size()) / us * 1e6,
                static_cast<double>(bytes) / us);
  };
  std::printf("verification of %zu entries\n", rows.size());
  line("digest function alone", digested.median());
  line("journal verify", verified.median());
}

}  // namespace

int main(int argc, char** argv) {
  bool tiny = false;
  bool alone = false;  // No other stores.
  std::uint32_t vms = 200;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--tiny") tiny = true;
    if (argument == "--alone") alone = true;
    if (argument == "--vms" && i + 1 < argc) vms = static_cast<std::uint32_t>(std::atoi(argv[++i]));
  }
  const fs::path directory = fs::temp_directory_path() / ("nodemeter-bench-" + Random::from_system().uuid().text());
  fs::create_directories(directory);
  {
    Bench bench(directory, vms, !alone);
    bench.run(tiny ? 30 : 2'900);
    bench.print_all();
  }
  bench_codec(directory, tiny ? 3 : 200);
  bench_verify(directory, tiny ? 1 : 20);
  fs::remove_all(directory);
  return 0;
}
