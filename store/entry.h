// One entry of the journal: the unit that is stored, sent, digested and billed from.
//
// A usage entry is one VM-hour with all its meters; gap, event and manifest entries share the same columns. The stored
// bytes are the sent bytes: store/entry_codec.h, layout in store/FORMAT.md. Plain values.

#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "platform/clock.h"
#include "platform/digest.h"
#include "platform/ids.h"

namespace nodemeter {

inline constexpr std::uint8_t kEntrySchema = 1;

// On disk and on the wire: never renumber, 0 stays free.
enum class EntryKind : std::uint8_t { kUsage = 1, kGap = 2, kEvent = 3, kManifest = 4 };

// "usage", "gap", "event", "manifest"; "unknown" of a newer version.
const char* entry_kind_name(EntryKind kind);

// What a reader of a number should know about how it came to be. A set of bits, on disk and on the wire: never
// renumber.
namespace status_bit {
inline constexpr std::uint32_t kEstimated = 1u << 0;            // Part of it spans time that nobody observed.
inline constexpr std::uint32_t kGap = 1u << 1;                  // gap_ms is not zero.
inline constexpr std::uint32_t kClockStepped = 1u << 2;         // The wall clock was set during this hour.
inline constexpr std::uint32_t kClockUnsynchronised = 1u << 3;  // The wall clock was not known to be right.
inline constexpr std::uint32_t kRunChanged = 1u << 4;           // A counter run ended and another began.
inline constexpr std::uint32_t kBaseline = 1u << 5;     // A counter was first seen mid-run: earlier use is not billed.
inline constexpr std::uint32_t kCounterFell = 1u << 6;  // A counter fell within its run: new baseline.
inline constexpr std::uint32_t kCounterMissing = 1u << 7;  // A counter could not be read at some sample.
inline constexpr std::uint32_t kOwnerUnknown = 1u << 8;    // No owner: it falls to the default subscription.
inline constexpr std::uint32_t kLate = 1u << 9;            // Knowledge that came after the hour had closed.
inline constexpr std::uint32_t kPartial = 1u << 10;    // Closed before the hour's end, because the agent was asked to.
inline constexpr std::uint32_t kUsageLost = 1u << 11;  // A run ended unseen: its last part is not known.
inline constexpr std::uint32_t kSimulated = 1u << 12;  // Not a real node.
inline constexpr std::uint32_t kAcrossBoots = 1u << 13;        // A duration was taken from UTC across a reboot.
inline constexpr std::uint32_t kWrapped = 1u << 14;            // A 32-bit counter wrapped.
inline constexpr std::uint32_t kLoweringEventLate = 1u << 15;  // An event came too late to lower what was counted.
}  // namespace status_bit

// "estimated,gap"; "" for none.
std::string status_text(std::uint32_t status);

struct MeterValue {
  Uuid meter;
  std::uint64_t quantity = 0;  // Base units used within this entry.
  std::uint64_t reading = 0;   // The cumulative register after this entry.
  friend bool operator==(const MeterValue&, const MeterValue&) = default;
};

struct Entry {
  std::uint8_t schema = kEntrySchema;
  NodeId node;
  Epoch epoch;
  Sequence sequence = 0;
  EntryKind kind = EntryKind::kUsage;
  VmId vm;  // Zero: the node itself.
  std::chrono::sys_seconds usage_start{};
  std::chrono::sys_seconds usage_end{};
  UtcTime reported_at{};
  Uuid subscription;
  Uuid tenant;
  std::string resource_uri;
  std::string location;
  std::uint32_t vcores = 0;  // In force at the end of the entry's span.
  bool billable = false;
  std::uint64_t covered_ms = 0;
  std::int64_t gap_ms = 0;  // Negative: fills a gap that an earlier entry declared.
  std::uint32_t status = 0;
  std::vector<MeterValue> meters;
  std::map<std::string, std::string> tags;
  std::string detail;  // JSON text; "" for none.
  Digest digest;       // BLAKE2b-256 over the previous entry's digest and this entry's bytes before it.
  friend bool operator==(const Entry&, const Entry&) = default;
};

// Limits of one entry, checked on encoding and decoding. A larger one is refused, never cut: the meter keeps within
// them.
inline constexpr std::size_t kTagsMax = 64;
inline constexpr std::size_t kTextMax = 4096;      // resource_uri, location, tag names and values.
inline constexpr std::size_t kDetailMax = 262144;  // A manifest of a node with thousands of VMs stays below.
inline constexpr std::size_t kMetersMax = 64;
inline constexpr std::size_t kEntryBytesMax = 1u << 20;

}  // namespace nodemeter
