#include "workload.h"

#include <map>

#include "../sim/memory_kv.h"
#include "store/meters.h"
#include "store/reader.h"

namespace nodemeter::crash {

namespace {

constexpr std::int64_t kStartMs = 1'767'225'600'000;

// Makes operations; keeps the registers that their entries carry.
class Script {
 public:
  explicit Script(std::uint64_t seed) : random_(seed) {}

  void commit(std::uint64_t entries, std::size_t detail_bytes) {
    Operation& operation = add(Operation::Kind::kCommit);
    for (std::uint64_t i = 0; i < entries; ++i) {
      Entry entry = usage_of(random_.below(9));
      if (detail_bytes > 0) entry.detail = "{\"note\":\"" + std::string(detail_bytes, 'n') + "\"}";
      operation.commit.state.push_back({state_key(entry.vm), registers_text(entry.meters)});
      operation.commit.entries.push_back(std::move(entry));
    }
    if (entries == 0) operation.commit.state.push_back({"sample", std::to_string(operation.now_ms)});
  }
  // A commit that ends with a signed manifest.
  void close_hour() {
    commit(1, 0);
    operations_.back().commit.closed_until = now_ms_ / 3'600'000 + ++hours_;
  }
  Operation& add(Operation::Kind kind, std::uint64_t number = 0) {
    now_ms_ += 10'000;
    operations_.push_back(Operation{kind, {}, number, now_ms_});
    return operations_.back();
  }
  std::uint64_t below(std::uint64_t bound) { return random_.below(bound); }
  std::vector<Operation> take() { return std::move(operations_); }

 private:
  Entry usage_of(std::uint64_t vm) {
    Entry entry;
    entry.kind = EntryKind::kUsage;
    Uuid id;
    id.bytes[15] = static_cast<std::uint8_t>(vm + 1);
    entry.vm = VmId(id);
    entry.usage_start = std::chrono::floor<std::chrono::seconds>(UtcTime(Milliseconds(now_ms_)));
    entry.usage_end = entry.usage_start + std::chrono::seconds(10);
    entry.resource_uri =
        "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/vm-" + std::to_string(vm);
    entry.vcores = 4;
    entry.covered_ms = 10'000;
    std::vector<std::uint64_t>& registers = registers_[vm];
    registers.resize(kMeterCount);
    for (const MeterInfo& meter : meter_catalogue()) {
      const std::uint64_t used = random_.below(1'000'000);
      std::uint64_t& reading = registers[static_cast<std::size_t>(meter.index)];
      reading += used;
      entry.meters.push_back({meter.id, used, reading});
    }
    return entry;
  }

  Random random_;
  std::map<std::uint64_t, std::vector<std::uint64_t>> registers_;
  std::vector<Operation> operations_;
  std::int64_t now_ms_ = kStartMs;
  std::int64_t hours_ = 0;
};

}  // namespace

Workload life_of_a_node() {
  using Kind = Operation::Kind;
  Workload workload;
  workload.name = "life of a node";
  workload.options.size_max_bytes = 8u << 20;
  workload.options.growth_bytes = 128u << 10;
  workload.options.reserve_bytes = 32u << 10;
  Script script(11);
  for (int round = 0; round < 9; ++round) {
    script.commit(2 + script.below(5), 0);
    script.commit(0, 0);
    script.commit(1 + script.below(3), script.below(2'500));
    script.add(Kind::kFreeze, 3 + script.below(6));
    if (round % 3 == 1) script.commit(1, 20'000 + script.below(20'000));  // A value with pages of its own.
    script.add(Kind::kAcknowledge);
    if (round % 4 == 2) {
      script.add(Kind::kFreeze, 2);
      script.add(Kind::kRefreeze);
      script.add(Kind::kPark);
    }
    if (round % 2 == 1) script.close_hour();
    if (round % 3 == 2) script.add(Kind::kReopen);
    if (round == 4) script.add(Kind::kResend, 9);
    if (round == 6) script.add(Kind::kUnpark);
    if (round >= 3) script.add(Kind::kPrune, 4 + script.below(5));
  }
  script.commit(30, 0);
  workload.operations = script.take();
  return workload;
}

Workload full_store() {
  using Kind = Operation::Kind;
  Workload workload;
  workload.name = "full store";
  workload.refuses = true;
  workload.options.size_max_bytes = 512u << 10;
  workload.options.growth_bytes = 64u << 10;
  workload.options.reserve_bytes = 64u << 10;
  Script script(12);
  for (int i = 0; i < 12; ++i) script.commit(3, 8'000);
  for (int i = 0; i < 3; ++i) {
    script.commit(0, 0);
    script.add(Kind::kPrune, 6);
    script.commit(0, 0);
  }
  script.add(Kind::kReopen);
  for (int i = 0; i < 6; ++i) script.commit(2, 8'000);
  workload.operations = script.take();
  return workload;
}

JournalOptions journal_options_of_runs() {
  JournalOptions options;
  options.node = *NodeId::parse("node-1");
  options.location = "rack-7";
  options.key = SigningKey::from_seed(std::string(32, 'k')).value();
  return options;
}

Result<Digest> content_of(const KeyValue& kv) {
  const Result<std::unique_ptr<Snapshot>> snapshot = kv.snapshot();
  if (!snapshot) return snapshot.error();
  std::string all;
  for (const Table table : {Table::kMeta, Table::kState, Table::kEntries}) {
    all += '#';
    const Status scanned = (*snapshot)->scan(table, {}, [&all](std::string_view key, std::string_view value) {
      all.append(std::to_string(key.size())).append(":").append(key);
      all.append(std::to_string(value.size())).append(":").append(value);
      return true;
    });
    if (!scanned) return scanned.error();
  }
  return digest_of({all});
}

Status apply(const Operation& operation, Journal& journal) {
  using Kind = Operation::Kind;
  const JournalState& state = journal.state();
  switch (operation.kind) {
    case Kind::kCommit: {
      JournalCommit commit = operation.commit;
      return journal.commit(commit, UtcTime(Milliseconds(operation.now_ms)));
    }
    case Kind::kFreeze: {
      Journal::BatchLimits limits;
      limits.rows_max = static_cast<std::uint32_t>(operation.number);
      const auto frozen = journal.freeze_next(limits);
      return frozen ? Status(Done{}) : Status(frozen.error());
    }
    case Kind::kAcknowledge: return state.frozen ? journal.acknowledge_frozen() : Status(Done{});
    case Kind::kRefreeze: return state.frozen ? journal.refreeze(state.frozen->first) : Status(Done{});
    case Kind::kPark:
      return state.frozen && state.frozen->first == state.frozen->last ? journal.park_frozen("refused: a test")
                                                                       : Status(Done{});
    case Kind::kUnpark: return journal.unpark();
    case Kind::kResend: return journal.resend_from(operation.number);
    case Kind::kPrune: {
      const auto pruned = journal.prune(UtcTime::max(), state.last_sequence - 4, operation.number);
      return pruned ? Status(Done{}) : Status(pruned.error());
    }
    case Kind::kReopen: return Done{};
  }
  return Done{};
}

std::vector<Digest> expected_contents(const Workload& workload, const std::vector<bool>& refused) {
  MemoryDisk disk;
  MemoryKv kv(disk);
  Random random(1);
  const auto journal = Journal::open(kv, journal_options_of_runs(), random).value();
  std::vector<Digest> contents{content_of(kv).value()};
  for (std::size_t i = 0; i < workload.operations.size(); ++i) {
    const bool skip = i < refused.size() && refused[i];
    if (!skip) (void)apply(workload.operations[i], *journal).value();
    contents.push_back(content_of(kv).value());
  }
  return contents;
}

Result<OpenStore> OpenStore::open(const std::filesystem::path& state, const LmdbOptions& options) {
  OpenStore store;
  if (Status made = make_state_directory(state); !made) return made.error();
  Result<FileLock> lock = FileLock::acquire(state / "agent.lock");
  if (!lock) return lock.error();
  store.lock = std::make_unique<FileLock>(std::move(*lock));
  if (Status made = make_state_directory(journal_directory(state)); !made) return made.error();
  Result<std::unique_ptr<KeyValue>> kv = open_lmdb(journal_directory(state), options);
  if (!kv) return kv.error();
  store.kv = std::move(*kv);
  Random random(1);
  Result<std::unique_ptr<Journal>> journal = Journal::open(*store.kv, journal_options_of_runs(), random);
  if (!journal) return journal.error();
  store.journal = std::move(*journal);
  return store;
}

std::string state_key(const VmId& vm) { return "vm/" + vm.text(); }

std::string registers_text(const std::vector<MeterValue>& meters) {
  std::string text;
  for (const MeterValue& meter : meters) text += std::to_string(meter.reading) + " ";
  return text;
}

}  // namespace nodemeter::crash
