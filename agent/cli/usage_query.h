// Usage aggregates from a journal: which entries count, how they add up, in which pages, and how complete the answer
// is.
//
// How entries add up is store/usage_sum.h. Threads: one at a time.

#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "platform/clock.h"
#include "platform/result.h"
#include "store/entry.h"
#include "store/reader.h"
#include "store/usage_sum.h"

namespace nodemeter::cli {

struct HourState {
  std::chrono::sys_seconds hour{};
  bool open = false;                // Not closed yet: more will come.
  bool not_metered = false;         // Before the journal's first record, or pruned from it.
  std::uint64_t unobserved_ms = 0;  // Time nobody watched this node or VM, by gap entries.
  std::int64_t gap_ms = 0;          // VM time within it that stays unproven: what is missing from the bill.
  [[nodiscard]] bool complete() const { return !open && !not_metered && unobserved_ms == 0 && gap_ms == 0; }
};

struct UsageAnswer {
  UsageRows rows;                // Of this page.
  std::vector<HourState> hours;  // Of the whole range, page or not.
  std::optional<std::string> continuation;
  [[nodiscard]] bool complete() const;
  // What is missing can still come, or is elsewhere: hours are open, or not in this journal.
  [[nodiscard]] bool may_grow() const;
  // "2 of 24 hours are open, 1 has gaps (…)"; "" if complete.
  [[nodiscard]] std::string shortfall() const;
};

// Every usage entry that the query is about, and every gap entry that may concern it; `position` counts up from the
// oldest.
using UsageVisit = std::function<void(const Entry& entry, std::uint64_t position)>;

// Visits them as of entry `pinned` of the newest epoch, and gives the state of each hour of the range, which
// check_range() has passed. Errors as query_usage.
Result<std::vector<HourState>> visit_usage(const Reader& reader, const JournalState& state, const UsageQuery& query,
                                           Sequence pinned, const UsageVisit& visit);

// When a gap entry began and ended: exact bounds stand in its detail, the columns hold whole seconds around them.
struct GapSpan {
  UtcTime from;
  UtcTime to;
};
GapSpan gap_span(const Entry& entry);

struct UsagePage {
  std::size_t size = 0;      // 0: all rows.
  std::string continuation;  // "": from the beginning.
};

// One page. Every page of a query sees the journal as the first one saw it, however it has grown since.
//   kInvalidInput  the continuation is not one, or belongs to another query or journal
//   and what the reader gives.
Result<UsageAnswer> query_usage(const Reader& reader, const UsageQuery& query, const UsagePage& page);

}  // namespace nodemeter::cli
