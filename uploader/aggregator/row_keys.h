// Keys of the aggregator's rows and heads, and the index that leads from a time to the rows of it.
//
//   kEntries  <node> 00 <epoch:16> <sequence:8> <digest:32>  ->  arrival:i64 and the row as sent
//   kState    "u" <hour:8> <arrival:8> <node> 00 <epoch:16> <first:8>  ->  last:u64
//   kState    "a" <arrival:8> <hour:8> <node> 00 <epoch:16> <first:8>  ->  last:u64
//
// A run is a stretch of usage rows of one hour that arrived in one commit; nearly always it is one node's hour. Runs
// are written with their rows. All integers in keys are big-endian, in values little-endian; hours (since 1970) and
// arrivals are never negative. Pure but for the two scans.

#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "platform/clock.h"
#include "platform/digest.h"
#include "platform/ids.h"
#include "platform/result.h"
#include "store/entry.h"
#include "store/kv.h"

namespace nodemeter {

struct ChainKey {
  NodeId node;
  Epoch epoch;
  friend auto operator<=>(const ChainKey&, const ChainKey&) = default;
};

void append_big_endian(std::string& out, std::uint64_t v);
std::uint64_t read_big_endian(std::string_view bytes);

// "<node> 00 <epoch>", and the same followed by a sequence number.
std::string chain_prefix(const ChainKey& chain);
std::string row_prefix(const ChainKey& chain, Sequence sequence);
std::optional<ChainKey> parse_chain(std::string_view key);

// A key and value of kEntries. The row is a view of the value.
struct RowView {
  ChainKey chain;
  Sequence sequence = 0;
  Digest digest;
  UtcTime arrived{};
  std::string_view row;
};
std::optional<RowView> parse_row(std::string_view key, std::string_view value);

struct UsageRun {
  std::int64_t hour = 0;  // Since 1970.
  UtcTime arrived{};
  ChainKey chain;
  Sequence first = 0;
  Sequence last = 0;  // Rows between that are of another hour or arrival do not belong to it.
  friend auto operator<=>(const UsageRun&, const UsageRun&) = default;
};

// The hour since 1970 in which the entry's use begins.
std::int64_t hour_of(const Entry& entry);

// Gathers the runs of one commit, row by row in the order of their sequence numbers.
class RunBuilder {
 public:
  RunBuilder(ChainKey chain, UtcTime arrived) : chain_(std::move(chain)), arrived_(arrived) {}
  void add(Sequence sequence, std::int64_t hour);
  void append_writes(std::vector<Write>& writes) const;

 private:
  ChainKey chain_;
  UtcTime arrived_;
  std::vector<UsageRun> runs_;
};

// Runs of the hours [from, to), and of arrivals in [from, to), that arrived at `newest` at the latest, in no promised
// order. kCorrupt: a key makes no sense.
Result<std::vector<UsageRun>> runs_by_hour(const KeyValue& kv, std::int64_t from, std::int64_t to, UtcTime newest);
Result<std::vector<UsageRun>> runs_by_arrival(const KeyValue& kv, UtcTime from, UtcTime to, UtcTime newest);

// Visits the rows of a run that count, in the order of their sequence numbers: of several rows with one sequence number
// (a fork) the one that arrived first does, so that nothing already reported changes later. The row is valid during the
// call.
Status for_each_of_run(const KeyValue& kv, const UsageRun& run,
                       const std::function<Status(std::string_view row)>& visit);

}  // namespace nodemeter
