#include "uploader/aggregator/row_keys.h"

#include <algorithm>
#include <map>
#include <utility>

#include "platform/bytes.h"

namespace nodemeter {
namespace {

constexpr std::size_t kArrivalBytes = 8;
constexpr std::size_t kTailBytes = 8 + 32;  // Sequence and digest at the end of a row's key.
constexpr char kByHour = 'u';
constexpr char kByArrival = 'a';

// A run that pauses for longer than this is two: a reader of the one does not walk over the other's rows.
constexpr Sequence kPauseMax = 64;

constexpr std::size_t kChunkRows = 2'000;

std::string run_key(char index, std::uint64_t major, std::uint64_t minor, const UsageRun& run) {
  std::string key(1, index);
  append_big_endian(key, major);
  append_big_endian(key, minor);
  return key + row_prefix(run.chain, run.first);
}

std::optional<UsageRun> parse_run(std::string_view key, std::string_view value) {
  if (key.size() < 1 + 16 + 8) return std::nullopt;
  const std::optional<ChainKey> chain = parse_chain(key.substr(17, key.size() - 17 - 8));
  if (!chain) return std::nullopt;
  UsageRun run;
  const bool by_hour = key.front() == kByHour;
  run.hour = static_cast<std::int64_t>(read_big_endian(key.substr(by_hour ? 1 : 9, 8)));
  run.arrived = UtcTime(Milliseconds(static_cast<std::int64_t>(read_big_endian(key.substr(by_hour ? 9 : 1, 8)))));
  run.chain = *chain;
  run.first = read_big_endian(key.substr(key.size() - 8));
  ByteReader reader(value);
  run.last = reader.u64();
  return reader.at_end() && run.first <= run.last ? std::optional(run) : std::nullopt;
}

// Runs whose key begins with `index` and a number in [from, to), in chunks: each chunk is one short snapshot.
Result<std::vector<UsageRun>> scan_runs(const KeyValue& kv, char index, std::uint64_t from, std::uint64_t to,
                                        UtcTime newest) {
  std::string next(1, index);
  append_big_endian(next, from);
  std::vector<UsageRun> runs;
  for (bool more = true; more;) {
    auto chunk = consistent(kv, [&](const Snapshot& snapshot) -> Result<std::pair<std::vector<UsageRun>, std::string>> {
      std::pair<std::vector<UsageRun>, std::string> got;
      std::size_t seen = 0;
      bool sound = true;
      const Status scanned = snapshot.scan(Table::kState, next, [&](std::string_view key, std::string_view value) {
        if (key.size() < 9 || key.front() != index || read_big_endian(key.substr(1, 8)) >= to) return false;
        const std::optional<UsageRun> run = parse_run(key, value);
        sound = run.has_value();
        if (!sound) return false;
        if (run->arrived <= newest) got.first.push_back(*run);
        if (++seen == kChunkRows) got.second = std::string(key) + '\0';
        return seen < kChunkRows;
      });
      if (!scanned) return scanned.error();
      if (!sound) return Error{ErrorCode::kCorrupt, "a key of the index makes no sense"};
      return got;
    });
    if (!chunk) return chunk.error();
    runs.insert(runs.end(), chunk->first.begin(), chunk->first.end());
    more = !chunk->second.empty();
    next = chunk->second;
  }
  return runs;
}

std::uint64_t natural(std::int64_t value) { return static_cast<std::uint64_t>(std::max<std::int64_t>(0, value)); }

}  // namespace

void append_big_endian(std::string& out, std::uint64_t v) {
  for (int shift = 56; shift >= 0; shift -= 8) out.push_back(static_cast<char>(static_cast<std::uint8_t>(v >> shift)));
}

std::uint64_t read_big_endian(std::string_view bytes) {
  std::uint64_t v = 0;
  for (const char c : bytes) v = v << 8 | static_cast<std::uint8_t>(c);
  return v;
}

std::string chain_prefix(const ChainKey& chain) {
  std::string key = chain.node.text();
  key.push_back('\0');
  key.append(reinterpret_cast<const char*>(chain.epoch.bytes.data()), chain.epoch.bytes.size());
  return key;
}

std::string row_prefix(const ChainKey& chain, Sequence sequence) {
  std::string key = chain_prefix(chain);
  append_big_endian(key, sequence);
  return key;
}

std::optional<ChainKey> parse_chain(std::string_view key) {
  const std::size_t end = key.find('\0');
  if (end == std::string_view::npos || key.size() != end + 1 + 16) return std::nullopt;
  const std::optional<NodeId> node = NodeId::parse(key.substr(0, end));
  if (!node) return std::nullopt;
  return ChainKey{.node = *node, .epoch = Epoch(ByteReader(key.substr(end + 1)).uuid())};
}

std::optional<RowView> parse_row(std::string_view key, std::string_view value) {
  if (key.size() < kTailBytes || value.size() < kArrivalBytes) return std::nullopt;
  const std::optional<ChainKey> chain = parse_chain(key.substr(0, key.size() - kTailBytes));
  if (!chain) return std::nullopt;
  const std::string_view tail = key.substr(key.size() - kTailBytes);
  return RowView{.chain = *chain,
                 .sequence = read_big_endian(tail.substr(0, 8)),
                 .digest = Digest::from(tail.substr(8)),
                 .arrived = UtcTime(Milliseconds(ByteReader(value).i64())),
                 .row = value.substr(kArrivalBytes)};
}

std::int64_t hour_of(const Entry& entry) {
  return std::chrono::floor<std::chrono::hours>(entry.usage_start).time_since_epoch().count();
}

void RunBuilder::add(Sequence sequence, std::int64_t hour) {
  const auto open = std::find_if(runs_.rbegin(), runs_.rend(), [&](const UsageRun& run) {
    return run.hour == hour && sequence - run.last <= kPauseMax;
  });
  if (open != runs_.rend()) {
    open->last = sequence;
    return;
  }
  runs_.push_back({.hour = hour, .arrived = arrived_, .chain = chain_, .first = sequence, .last = sequence});
}

void RunBuilder::append_writes(std::vector<Write>& writes) const {
  for (const UsageRun& run : runs_) {
    const std::uint64_t hour = natural(run.hour);
    const std::uint64_t arrived = natural(run.arrived.time_since_epoch().count());
    ByteWriter last;
    last.u64(run.last);
    const std::string value = last.take();
    writes.push_back({.table = Table::kState, .key = run_key(kByHour, hour, arrived, run), .value = value});
    writes.push_back({.table = Table::kState, .key = run_key(kByArrival, arrived, hour, run), .value = value});
  }
}

Result<std::vector<UsageRun>> runs_by_hour(const KeyValue& kv, std::int64_t from, std::int64_t to, UtcTime newest) {
  return scan_runs(kv, kByHour, natural(from), natural(to), newest);
}

Result<std::vector<UsageRun>> runs_by_arrival(const KeyValue& kv, UtcTime from, UtcTime to, UtcTime newest) {
  return scan_runs(kv, kByArrival, natural(from.time_since_epoch().count()), natural(to.time_since_epoch().count()),
                   newest);
}

Status for_each_of_run(const KeyValue& kv, const UsageRun& run,
                       const std::function<Status(std::string_view row)>& visit) {
  struct Candidate {
    UtcTime arrived{};
    std::string row;
  };
  const std::string prefix = chain_prefix(run.chain);
  for (Sequence from = run.first; from <= run.last;) {
    const Sequence to = std::min(run.last, from + kChunkRows - 1);
    auto chunk = consistent(kv, [&](const Snapshot& snapshot) -> Result<std::map<Sequence, Candidate>> {
      std::map<Sequence, Candidate> rows;
      bool sound = true;
      const auto take = [&](std::string_view key, std::string_view value) {
        if (!key.starts_with(prefix)) return false;
        const std::optional<RowView> row = parse_row(key, value);
        sound = row.has_value();
        if (!sound || row->sequence > to) return false;
        const auto [at, fresh] = rows.try_emplace(row->sequence);
        if (!fresh && at->second.arrived <= row->arrived) return true;
        at->second = Candidate{.arrived = row->arrived, .row = {}};
        if (row->arrived == run.arrived) at->second.row = row->row;
        return true;
      };
      const Status scanned = snapshot.scan(Table::kEntries, row_prefix(run.chain, from), take);
      if (!scanned) return scanned.error();
      if (!sound) return Error{ErrorCode::kCorrupt, "a stored key is not the key of a row"};
      return rows;
    });
    if (!chunk) return chunk.error();
    for (const auto& [sequence, candidate] : *chunk) {
      if (candidate.arrived != run.arrived) continue;
      if (Status visited = visit(candidate.row); !visited) return visited;
    }
    from = to + 1;
  }
  return Done{};
}

}  // namespace nodemeter
