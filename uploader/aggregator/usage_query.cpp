#include "uploader/aggregator/usage_query.h"

#include <algorithm>
#include <set>

#include "store/entry_codec.h"
#include "uploader/aggregator/row_keys.h"

namespace nodemeter {
namespace {

using std::chrono::hours;
using std::chrono::sys_seconds;

std::int64_t hour_index(UtcTime t) { return std::chrono::floor<hours>(t).time_since_epoch().count(); }

struct BucketRun {
  sys_seconds bucket{};
  UsageRun run;
};

Result<std::vector<BucketRun>> runs_of(const KeyValue& kv, const StoreUsageQuery& query) {
  const UsageQuery& usage = query.usage;
  auto runs = usage.by == TimeAxis::kUsage
                  ? runs_by_hour(kv, hour_index(usage.start), hour_index(usage.end), query.newest)
                  : runs_by_arrival(kv, usage.start, usage.end, query.newest);
  if (!runs) return runs.error();
  std::vector<BucketRun> result;
  result.reserve(runs->size());
  for (UsageRun& run : *runs) {
    const sys_seconds bucket = bucket_of(sys_seconds(hours(run.hour)), usage.granularity);
    if (query.after && bucket < query.after->bucket) continue;
    result.push_back({.bucket = bucket, .run = std::move(run)});
  }
  // By arrival within a bucket: what came last describes the VM.
  std::sort(result.begin(), result.end(), [](const BucketRun& a, const BucketRun& b) {
    return std::tie(a.bucket, a.run.arrived, a.run.chain, a.run.hour, a.run.first) <
           std::tie(b.bucket, b.run.arrived, b.run.chain, b.run.hour, b.run.first);
  });
  return result;
}

bool wanted(const StoreUsageQuery& query, const Entry& entry) {
  if (!usage_matches(query.usage, entry)) return false;
  return !query.visible || std::binary_search(query.visible->begin(), query.visible->end(), entry.subscription);
}

// Adds the rows of one run.
Status add_run(const KeyValue& kv, const UsageRun& run, const StoreUsageQuery& query, UsageRows& rows,
               std::uint64_t& position) {
  return for_each_of_run(kv, run, [&](std::string_view row) -> Status {
    const Result<DecodedEntry> decoded = decode_entry(row);
    if (!decoded) {
      return Error{ErrorCode::kCorrupt,
                   "a row of node " + run.chain.node.text() + " from " + std::to_string(run.first) +
                       " on does not decode: " + decoded.error().message + "; nodemeter-aggregator verify names it"};
    }
    const Entry& entry = decoded->entry;
    if (entry.kind != EntryKind::kUsage || hour_of(entry) != run.hour || !wanted(query, entry)) return Done{};
    add_usage(rows, query.usage, entry, ++position);
    return Done{};
  });
}

// Moves what belongs to the page behind its rows. True: the page is full.
bool take_rows(UsageRows& rows, const StoreUsageQuery& query, StoreUsagePage& page) {
  for (auto& [key, row] : rows) {
    if (query.after && key <= *query.after) continue;
    if (query.rows_max != 0 && page.rows.size() == query.rows_max) {
      page.more = true;
      return true;
    }
    page.rows.emplace_back(key, std::move(row));
  }
  rows.clear();
  return false;
}

}  // namespace

Result<StoreUsagePage> query_store(const KeyValue& kv, const StoreUsageQuery& query) {
  const auto runs = runs_of(kv, query);
  if (!runs) return runs.error();
  StoreUsagePage page;
  UsageRows rows;
  std::uint64_t position = 0;
  for (std::size_t i = 0; i < runs->size(); ++i) {
    const BucketRun& next = (*runs)[i];
    if (i > 0 && (*runs)[i - 1].bucket != next.bucket && take_rows(rows, query, page)) return page;
    if (Status added = add_run(kv, next.run, query, rows, position); !added) return added.error();
  }
  take_rows(rows, query, page);
  return page;
}

std::vector<MissingHours> missing_hours(const std::map<ChainKey, ChainHead>& heads,
                                        const std::vector<ExpectedNode>& expected, std::int64_t from, std::int64_t to) {
  std::vector<MissingHours> missing;
  std::map<NodeId, std::int64_t> nodes;
  for (const ExpectedNode& node : expected) nodes.emplace(node.id, node.since);
  if (expected.empty()) {
    for (const auto& [chain, head] : heads) nodes.emplace(chain.node, 0);
  }
  if (nodes.empty() && from < to) missing.push_back({.node = {}, .from = from, .to = to});
  for (const auto& [node, since] : nodes) {
    std::set<std::pair<std::int64_t, std::int64_t>> whole;
    for (auto it = heads.lower_bound({node, {}}); it != heads.end() && it->first.node == node; ++it) {
      if (it->second.hours_first < it->second.hours_closed) {
        whole.emplace(it->second.hours_first, it->second.hours_closed);
      }
    }
    std::int64_t open = std::max(from, since);
    for (const auto& [first, closed] : whole) {
      if (open >= to) break;
      if (first > open) missing.push_back({.node = node, .from = open, .to = std::min(first, to)});
      open = std::max(open, closed);
    }
    if (open < to) missing.push_back({.node = node, .from = open, .to = to});
  }
  return missing;
}

}  // namespace nodemeter
