// Keys and mark rows of the journal in a KeyValue: shared by the journal, which writes them, and the reader.
// The layout is documented in store/FORMAT.md.

#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "store/journal.h"

namespace nodemeter::journal_format {

inline constexpr std::string_view kFormatKey = "format";
inline constexpr std::string_view kNodeKey = "node";
inline constexpr std::string_view kLocationKey = "location";
inline constexpr std::string_view kSimulatedKey = "simulated";
inline constexpr std::string_view kBackupKey = "backup";
inline constexpr std::string_view kHeadKey = "head";
inline constexpr std::string_view kDeliveryKey = "delivery";
inline constexpr std::string_view kKeyKey = "key";
inline constexpr std::string_view kManifestKey = "manifest";
inline constexpr std::string_view kSumKey = "sum";
inline constexpr std::string_view kEpochPrefix = "epoch/";
inline constexpr std::string_view kParkedPrefix = "parked/";
inline constexpr std::string_view kAcknowledgedPrefix = "acknowledged/";
inline constexpr std::string_view kStatePrefix = "state/";

std::string entry_key(std::uint32_t ordinal, Sequence sequence);
struct EntryPosition {
  std::uint32_t ordinal = 0;
  Sequence sequence = 0;
};
// Nothing: not an entry key.
std::optional<EntryPosition> parse_entry_key(std::string_view key);

std::string epoch_key(std::uint32_t ordinal);
std::string parked_key(std::uint32_t ordinal, Sequence sequence);

// How far delivery had come on a day, counted from 1970: retention runs from there.
std::string acknowledged_key(std::uint32_t ordinal, std::uint32_t day);
std::uint32_t day_of(UtcTime t);
std::string encode_acknowledged(Sequence acknowledged);
struct AcknowledgedRow {
  std::uint32_t ordinal = 0;
  std::uint32_t day = 0;
  Sequence acknowledged = 0;
};
// By epoch and day. kCorrupt.
Result<std::vector<AcknowledgedRow>> read_acknowledged(const Snapshot& snapshot);

// One epoch of a store: what is kept of it, and, once a later one has begun, where it ended.
struct EpochRow {
  Epoch epoch;
  Sequence oldest_kept = 1;
  Digest before_oldest;        // Chain digest before `oldest_kept`; zero if that is the first.
  Sequence last_sequence = 0;  // Of an ended epoch; of the newest one the head mark knows.
  Digest head;
};
std::string encode(const EpochRow& row);
Result<EpochRow> decode_epoch_row(std::string_view bytes);

std::string encode_format(std::uint32_t format);
std::string encode_head(const JournalState& state);
std::string encode_delivery(const JournalState& state);
std::string encode_manifest_mark(const JournalState& state);

Write put(Table table, std::string_view key, std::string value);

struct Stored {
  JournalState state;
  std::vector<EpochRow> epochs;  // By ordinal, from 1; the last one is the newest.
  bool backup = false;
  std::uint32_t format = kStoreFormat;
};

// The marks of a journal, checked against each other and against the last entry. An empty optional: nothing was ever
// written here. kUnsupported: a newer format. kCorrupt: the marks make no sense.
Result<std::optional<Stored>> read_marks(const Snapshot& snapshot);

// Visits the stored rows [first, last] of an epoch. kCorrupt if one of them is missing.
Status visit_rows(const Snapshot& snapshot, std::uint32_t ordinal, Sequence first, Sequence last,
                  const std::function<bool(Sequence, std::string_view row)>& visit);

// A state row, or its removal. One without '/' in its key is of the node and changes with every sample: it lies among
// the marks, whose page every commit writes anyway. Rows of single VMs have a table of their own.
Write state_write(std::string key, std::optional<std::string> value);
// In key order. Stores of formats below 4 have all of them in the table `state`.
Result<std::vector<std::pair<std::string, std::string>>> read_state_rows(const Snapshot& snapshot,
                                                                         std::string_view prefix);
Result<std::vector<ParkedEntry>> read_parked(const Snapshot& snapshot);

}  // namespace nodemeter::journal_format
