// Usage entries added up to the aggregates that are shown and billed: the one place for it, on a node and at the
// aggregator.
//
// Records add up (a later record of a closed hour is a further one), so a row is the sum over every usage entry of one
// bucket, subscription, VM and meter. Sums are 128 bits wide and exact; they are rounded once, when a row is shown.
// Plain values and pure functions.

#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "platform/clock.h"
#include "platform/ids.h"
#include "platform/json_writer.h"
#include "platform/result.h"
#include "store/entry.h"

namespace nodemeter {

// In continuations: never renumber.
enum class Granularity : std::uint8_t { kHourly = 1, kDaily = 2 };

// Which of an entry's times the asked range is about: when it was used, or when the record was made.
enum class TimeAxis : std::uint8_t { kUsage = 1, kReported = 2 };

// What is asked for, the same at both ends.
struct UsageQuery {
  UtcTime start{};  // Inclusive.
  UtcTime end{};    // Exclusive. Both on the hour; daily: on midnight UTC.
  Granularity granularity = Granularity::kDaily;
  TimeAxis by = TimeAxis::kUsage;
  std::optional<Uuid> subscription;
  std::optional<VmId> vm;
  std::optional<Uuid> meter;
};

// Longest range of one answer; it bounds the list of hours.
inline constexpr Milliseconds kUsageRangeMax{4000ll * 86'400'000};

// kInvalidInput: says which of the two is off which edge, or that nothing lies between them.
Status check_range(const UsageQuery& query);

// Start of the hour or day that `t` lies in.
std::chrono::sys_seconds bucket_of(std::chrono::sys_seconds t, Granularity granularity);

// The order of rows. It does not depend on what else is stored, so pages stay stable.
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
  bool all_late = true;      // No entry in it but those that came after their hour had closed.
  UtcTime reported_at{};     // Of the newest entry, and the node that made it.
  NodeId node;
};

using UsageRows = std::map<UsageKey, UsageRow>;

// Whether subscription and VM of the entry are asked for. Time and meter are not looked at.
bool usage_matches(const UsageQuery& query, const Entry& entry);

// Adds one usage entry. `position` says which entry is newer, from 1 on: names, tags and levels are the newest one's.
void add_usage(UsageRows& rows, const UsageQuery& query, const Entry& entry, std::uint64_t position);

// How a quantity is shown: summed first, then rounded half-even to 10 decimals. A meter that this version does not know
// is shown in its base units: nothing is left out.
struct ShownQuantity {
  std::string meter;
  std::string quantity;  // A decimal number, which is JSON too.
  std::string unit;
  std::string base_unit;
};
ShownQuantity show_quantity(const Uuid& meter, unsigned __int128 quantity);

// "2015-03-03T00:00:00+00:00", as Azure writes instants.
std::string azure_time(UtcTime t);

UtcTime bucket_end(const UsageKey& key, Granularity granularity);

// What Azure calls instance data: a JSON document, carried inside a JSON string.
std::string instance_data(const UsageKey& key, const UsageRow& row);

// One row as Azure's UsageAggregate, with what Azure does not have beside it. `provider`: "Microsoft.Commerce" or
// "Microsoft.Commerce.Admin".
void write_aggregate(JsonWriter& json, const UsageKey& key, const UsageRow& row, Granularity granularity,
                     std::string_view provider);

// --- Continuations ---------------------------------------------------------------------------------------------------

// Where the next page begins, and what the first page saw. Opaque to users; it proves nothing to us but that it was not
// mistyped: whoever shows one is asked for the same rights again.
struct Continuation {
  Uuid store;                // Which store's pages they are.
  std::uint64_t pinned = 0;  // Newest record that the first page could see: a sequence number, or an arrival.
  UsageKey after;
  friend bool operator==(const Continuation&, const Continuation&) = default;
};

// Identifies a query's options. `caller` tells apart what else has to stay the same between pages.
std::string query_digest(const UsageQuery& query, std::string_view caller = {});

std::string encode_continuation(const Continuation& continuation, std::string_view query_digest);
// kInvalidInput: it is not one, or belongs to a query with another digest.
Result<Continuation> decode_continuation(const std::string& token, std::string_view query_digest);

}  // namespace nodemeter
