// Usage aggregates from a journal: which entries count, how they add up, in which pages, and how complete the answer
// is.
//
// Records add up (a later record of a closed hour is a further one), so a row is the sum over every usage entry of one
// bucket, subscription, VM and meter. Sums are 128 bits wide and exact. Threads: one at a time.

#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "platform/clock.h"
#include "platform/ids.h"
#include "platform/result.h"
#include "store/entry.h"
#include "store/reader.h"

namespace nodemeter::cli {

enum class Granularity : std::uint8_t { kHourly = 1, kDaily = 2 };

// Which of an entry's times the asked range is about: when it was used, or when the record was made.
enum class TimeAxis : std::uint8_t { kUsage = 1, kReported = 2 };

struct UsageQuery {
  UtcTime start{};  // Inclusive.
  UtcTime end{};    // Exclusive. Both on the hour; daily: on midnight UTC.
  Granularity granularity = Granularity::kDaily;
  TimeAxis by = TimeAxis::kUsage;
  std::optional<Uuid> subscription;
  std::optional<VmId> vm;
  std::optional<Uuid> meter;
};

// kInvalidInput: says which of the two is off which edge, or that nothing lies between them.
Status check_range(const UsageQuery& query);

// Longest range of one answer; it bounds the list of hours.
inline constexpr Milliseconds kUsageRangeMax{4000ll * 86'400'000};

// The order of rows. It does not depend on what else is in the journal, so pages stay stable.
struct UsageKey {
  std::chrono::sys_seconds bucket{};
  Uuid subscription;
  VmId vm;
  std::uint8_t meter_order = 0;  // Position in the catalogue; 255 for a meter that this version does not know.
  Uuid meter;
  friend auto operator<=>(const UsageKey&, const UsageKey&) = default;
};

struct UsageRow {
  unsigned __int128 quantity = 0;  // Base units.
  std::uint64_t newest = 0;        // Position of the entry that the descriptive fields come from.
  std::string name;                // Of the VM, from outside.
  std::string resource_uri;
  std::string location;
  Uuid tenant;
  std::uint32_t vcores = 0;
  bool billable = false;
  std::map<std::string, std::string> tags;
  std::uint32_t status = 0;  // All marks of all entries in it.
};

struct HourState {
  std::chrono::sys_seconds hour{};
  bool open = false;                // Not closed yet: more will come.
  bool not_metered = false;         // Before the journal's first record, or pruned from it.
  std::uint64_t unobserved_ms = 0;  // Time nobody watched this node or VM, by gap entries.
  std::int64_t gap_ms = 0;          // VM time within it that stays unproven: what is missing from the bill.
  [[nodiscard]] bool complete() const { return !open && !not_metered && unobserved_ms == 0 && gap_ms == 0; }
};

struct UsageAnswer {
  std::map<UsageKey, UsageRow> rows;  // Of this page.
  std::vector<HourState> hours;       // Of the whole range, page or not.
  std::optional<std::string> continuation;
  [[nodiscard]] bool complete() const;
  // "2 of 24 hours are open, 1 has gaps (…)"; "" if complete.
  [[nodiscard]] std::string shortfall() const;
};

struct UsagePage {
  std::size_t size = 0;      // 0: all rows.
  std::string continuation;  // "": from the beginning.
};

// One page. Every page of a query sees the journal as the first one saw it, however it has grown since.
//   kInvalidInput  the continuation is not one, or belongs to another query or journal
//   and what the reader gives.
Result<UsageAnswer> query_usage(const Reader& reader, const UsageQuery& query, const UsagePage& page);

}  // namespace nodemeter::cli
