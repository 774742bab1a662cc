// Usage from the aggregator's store: one page of aggregates, and which hours are not whole yet.
//
// Reported time here is the time of the commit that stored the row. A page reads the runs of the asked range from the
// index, and rows only of the buckets that it shows. Any thread.

#pragma once

#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "platform/ids.h"
#include "platform/result.h"
#include "store/kv.h"
#include "store/usage_sum.h"
#include "uploader/aggregator/aggregator_store.h"
#include "uploader/aggregator/nodes.h"

namespace nodemeter {

struct StoreUsageQuery {
  UsageQuery usage;  // check_range() has passed.
  // In ascending order: rows of no other subscription are given. Nothing: of all.
  std::optional<std::vector<Uuid>> visible;
  UtcTime newest{};               // What arrived later does not exist for this query.
  std::optional<UsageKey> after;  // The page begins behind it.
  std::size_t rows_max = 0;       // 0: all.
};

struct StoreUsagePage {
  std::vector<std::pair<UsageKey, UsageRow>> rows;  // In order.
  bool more = false;                                // There are rows behind the last.
};

// Errors are the store's; kCorrupt also if a row does not decode: a sum without it would be a wrong bill.
Result<StoreUsagePage> query_store(const KeyValue& kv, const StoreUsageQuery& query);

// Hours (since 1970) [from, to) of a node whose manifests are not here.
struct MissingHours {
  NodeId node;
  std::int64_t from = 0;
  std::int64_t to = 0;
  friend bool operator==(const MissingHours&, const MissingHours&) = default;
};

// What is missing of [from, to), by node and time. Without expected nodes those count that have ever sent something; if
// there are none either, nothing is known to be whole, and the range is missing under an empty name.
std::vector<MissingHours> missing_hours(const std::map<ChainKey, ChainHead>& heads,
                                        const std::vector<ExpectedNode>& expected, std::int64_t from, std::int64_t to);

}  // namespace nodemeter
