#include "store/journal_format.h"

#include <algorithm>
#include <limits>

#include "platform/bytes.h"
#include "store/entry_codec.h"

namespace nodemeter::journal_format {

namespace {

// Big-endian, so that keys sort as numbers do.
template <class Integer>
void append_big_endian(std::string& out, Integer value) {
  for (int shift = static_cast<int>(sizeof(Integer)) * 8 - 8; shift >= 0; shift -= 8) {
    out.push_back(static_cast<char>(static_cast<std::uint8_t>(value >> shift)));
  }
}

std::uint64_t big_endian(std::string_view bytes) {
  std::uint64_t value = 0;
  for (const char c : bytes) value = value << 8 | static_cast<std::uint8_t>(c);
  return value;
}

Error corrupt(std::string what) { return Error{ErrorCode::kCorrupt, "the journal is damaged: " + std::move(what)}; }

Result<std::string> required(const Snapshot& snapshot, std::string_view key) {
  Result<std::optional<std::string>> row = snapshot.get(Table::kMeta, key);
  if (!row) return row.error();
  if (!row->has_value()) return corrupt("the mark '" + std::string(key) + "' is missing");
  return std::move(**row);
}

Status read_head(const Snapshot& snapshot, JournalState& state) {
  const Result<std::string> bytes = required(snapshot, kHeadKey);
  if (!bytes) return bytes.error();
  ByteReader in(*bytes);
  state.epoch_ordinal = in.u32();
  state.last_sequence = in.u64();
  const std::string_view head = in.raw(state.head.bytes.size());
  state.last_reported_at = UtcTime(Milliseconds(in.i64()));
  if (!in.at_end()) return corrupt("the mark 'head' is unreadable");
  state.head = Digest::from(head);
  return Done{};
}

Status read_delivery(const Snapshot& snapshot, JournalState& state) {
  const Result<std::string> bytes = required(snapshot, kDeliveryKey);
  if (!bytes) return bytes.error();
  ByteReader in(*bytes);
  state.acknowledged = in.u64();
  state.resend_from = in.u64();
  if (in.boolean()) {
    FrozenBatch frozen;
    frozen.epoch = state.epoch;
    frozen.first = in.u64();
    frozen.last = in.u64();
    const std::string_view head = in.raw(frozen.head.bytes.size());
    if (!in.failed()) frozen.head = Digest::from(head);
    frozen.token = in.text();
    const bool holds = frozen.first >= 1 && frozen.first <= frozen.last && frozen.last <= state.last_sequence &&
                       frozen.first > state.acknowledged && frozen.first >= state.oldest_kept;
    if (!in.failed() && !holds) return corrupt("the frozen batch lies outside what is kept and not acknowledged");
    state.frozen = std::move(frozen);
  }
  if (!in.at_end()) return corrupt("the mark 'delivery' is unreadable");
  if (state.acknowledged > state.last_sequence) return corrupt("more is acknowledged than was ever written");
  return Done{};
}

Status read_epochs(const Snapshot& snapshot, std::vector<EpochRow>& epochs) {
  std::string fault;
  Status scanned = snapshot.scan(Table::kMeta, kEpochPrefix, [&](std::string_view key, std::string_view value) {
    if (!key.starts_with(kEpochPrefix)) return false;
    const Result<EpochRow> row = decode_epoch_row(value);
    if (!row || key != epoch_key(static_cast<std::uint32_t>(epochs.size() + 1))) {
      fault = "the table of epochs is unreadable";
      return false;
    }
    epochs.push_back(*row);
    return true;
  });
  if (!scanned) return scanned;
  if (fault.empty() && epochs.empty()) fault = "the table of epochs is empty";
  if (!fault.empty()) return corrupt(fault);
  return Done{};
}

// The paired check: the entry that the head mark names is there, is the last one, and carries the same digest.
Status check_last_entry(const Snapshot& snapshot, const JournalState& state) {
  const auto last = snapshot.last_below(Table::kEntries, {});
  if (!last) return last.error();
  const bool expected = state.last_sequence >= state.oldest_kept;  // Else everything of this epoch was pruned.
  std::optional<EntryPosition> at;
  if (last->has_value()) at = parse_entry_key((*last)->first);
  const bool of_this_epoch = at && at->ordinal == state.epoch_ordinal;
  if (last->has_value() && (!at || at->ordinal > state.epoch_ordinal))
    return corrupt("there is an entry past the head");
  if (!expected) return of_this_epoch ? Status(corrupt("there is an entry past the head")) : Status(Done{});
  if (!of_this_epoch || at->sequence != state.last_sequence) {
    return corrupt("the head is entry " + std::to_string(state.last_sequence) + ", the last one stored is " +
                   (of_this_epoch ? std::to_string(at->sequence) : "none"));
  }
  const Result<DecodedEntry> entry = decode_entry((*last)->second);
  if (!entry) return corrupt("its last entry: " + entry.error().message);
  if (entry->entry.sequence != state.last_sequence || entry->entry.epoch != state.epoch ||
      entry->entry.digest != state.head) {
    return corrupt("entry " + std::to_string(state.last_sequence) + " is not the one that the head was written with");
  }
  return Done{};
}

Result<std::uint32_t> read_format(std::string_view bytes) {
  ByteReader in(bytes);
  const std::uint32_t format = in.u32();
  if (!in.at_end() || format == 0) return corrupt("the mark 'format' is unreadable");
  if (format > kStoreFormat) {
    return Error{ErrorCode::kUnsupported, "the store has format " + std::to_string(format) +
                                              ", this program knows up to " + std::to_string(kStoreFormat) +
                                              ": use the newer nodemeter that wrote it, or another state directory"};
  }
  return format;
}

Status read_manifest_marks(const Snapshot& snapshot, JournalState& state) {
  Result<std::optional<std::string>> key = snapshot.get(Table::kMeta, kKeyKey);
  if (!key) return key.error();
  state.public_key = std::move(*key).value_or("");
  const Result<std::string> bytes = required(snapshot, kManifestKey);
  if (!bytes) return bytes.error();
  ByteReader in(*bytes);
  state.manifested = in.u64();
  state.closed_until = in.i64();
  if (!in.at_end()) return corrupt("the mark 'manifest' is unreadable");
  if (state.manifested > state.last_sequence) return corrupt("a manifest covers more than was ever written");
  return Done{};
}

Status require_empty(const Snapshot& snapshot) {
  for (const Table table : {Table::kMeta, Table::kState, Table::kEntries}) {
    const auto last = snapshot.last_below(table, {});
    if (!last) return last.error();
    if (last->has_value()) return corrupt("there are rows but no mark 'format'");
  }
  return Done{};
}

}  // namespace

std::string entry_key(std::uint32_t ordinal, Sequence sequence) {
  std::string key;
  append_big_endian(key, ordinal);
  append_big_endian(key, sequence);
  return key;
}

std::optional<EntryPosition> parse_entry_key(std::string_view key) {
  if (key.size() != 12) return std::nullopt;
  return EntryPosition{static_cast<std::uint32_t>(big_endian(key.substr(0, 4))), big_endian(key.substr(4))};
}

std::string epoch_key(std::uint32_t ordinal) {
  std::string key(kEpochPrefix);
  append_big_endian(key, ordinal);
  return key;
}

std::string parked_key(std::uint32_t ordinal, Sequence sequence) {
  return std::string(kParkedPrefix) + entry_key(ordinal, sequence);
}

std::string acknowledged_key(std::uint32_t ordinal, std::uint32_t day) {
  std::string key(kAcknowledgedPrefix);
  append_big_endian(key, ordinal);
  append_big_endian(key, day);
  return key;
}

std::uint32_t day_of(UtcTime t) {
  const auto days = std::chrono::floor<std::chrono::days>(t).time_since_epoch().count();
  return static_cast<std::uint32_t>(std::clamp<std::int64_t>(days, 0, UINT32_MAX));
}

std::string encode_acknowledged(Sequence acknowledged) {
  ByteWriter out;
  out.u64(acknowledged);
  return out.take();
}

Result<std::vector<AcknowledgedRow>> read_acknowledged(const Snapshot& snapshot) {
  std::vector<AcknowledgedRow> rows;
  bool readable = true;
  const Status scanned =
      snapshot.scan(Table::kMeta, kAcknowledgedPrefix, [&](std::string_view key, std::string_view value) {
        if (!key.starts_with(kAcknowledgedPrefix)) return false;
        key.remove_prefix(kAcknowledgedPrefix.size());
        ByteReader in(value);
        const Sequence acknowledged = in.u64();
        readable = key.size() == 8 && in.at_end();
        if (!readable) return false;
        rows.push_back({static_cast<std::uint32_t>(big_endian(key.substr(0, 4))),
                        static_cast<std::uint32_t>(big_endian(key.substr(4))), acknowledged});
        return true;
      });
  if (!scanned) return scanned.error();
  if (!readable) return corrupt("a mark of acknowledgement is unreadable");
  return rows;
}

std::string encode(const EpochRow& row) {
  ByteWriter out;
  out.uuid(row.epoch);
  out.u64(row.oldest_kept);
  out.raw(row.before_oldest.view());
  out.u64(row.last_sequence);
  out.raw(row.head.view());
  return out.take();
}

Result<EpochRow> decode_epoch_row(std::string_view bytes) {
  ByteReader in(bytes);
  EpochRow row;
  row.epoch = Epoch(in.uuid());
  row.oldest_kept = in.u64();
  const std::string_view before = in.raw(row.before_oldest.bytes.size());
  row.last_sequence = in.u64();
  const std::string_view head = in.raw(row.head.bytes.size());
  if (!in.at_end() || row.oldest_kept == 0) return corrupt("an epoch is unreadable");
  row.before_oldest = Digest::from(before);
  row.head = Digest::from(head);
  return row;
}

std::string encode_format(std::uint32_t format) {
  ByteWriter out;
  out.u32(format);
  return out.take();
}

std::string encode_head(const JournalState& state) {
  ByteWriter out;
  out.u32(state.epoch_ordinal);
  out.u64(state.last_sequence);
  out.raw(state.head.view());
  out.i64(state.last_reported_at.time_since_epoch().count());
  return out.take();
}

std::string encode_delivery(const JournalState& state) {
  ByteWriter out;
  out.u64(state.acknowledged);
  out.u64(state.resend_from);
  out.boolean(state.frozen.has_value());
  if (state.frozen) {
    out.u64(state.frozen->first);
    out.u64(state.frozen->last);
    out.raw(state.frozen->head.view());
    out.text(state.frozen->token);
  }
  return out.take();
}

std::string encode_manifest_mark(const JournalState& state) {
  ByteWriter out;
  out.u64(state.manifested);
  out.i64(state.closed_until);
  return out.take();
}

// --- Marks ---------------------------------------------------------------------------------------------------------

Result<std::optional<Stored>> read_marks(const Snapshot& snapshot) {
  const Result<std::optional<std::string>> format = snapshot.get(Table::kMeta, kFormatKey);
  if (!format) return format.error();
  if (!format->has_value()) {
    if (Status empty = require_empty(snapshot); !empty) return empty.error();
    return std::optional<Stored>{};
  }
  const Result<std::uint32_t> known = read_format(**format);
  if (!known) return known.error();

  Stored stored;
  stored.format = *known;
  JournalState& state = stored.state;
  const Result<std::string> node = required(snapshot, kNodeKey);
  if (!node) return node.error();
  const std::optional<NodeId> parsed = NodeId::parse(*node);
  if (!parsed) return corrupt("the node's name is unreadable");
  state.node = *parsed;
  Result<std::string> location = required(snapshot, kLocationKey);
  if (!location) return location.error();
  state.location = std::move(*location);
  const Result<std::optional<std::string>> simulated = snapshot.get(Table::kMeta, kSimulatedKey);
  if (!simulated) return simulated.error();
  state.simulated = simulated->has_value();
  const Result<std::optional<std::string>> backup = snapshot.get(Table::kMeta, kBackupKey);
  if (!backup) return backup.error();
  stored.backup = backup->has_value();

  if (Status s = read_epochs(snapshot, stored.epochs); !s) return s.error();
  if (Status s = read_head(snapshot, state); !s) return s.error();
  if (state.epoch_ordinal != stored.epochs.size()) return corrupt("the head is not of the newest epoch");
  state.epoch = stored.epochs.back().epoch;
  state.oldest_kept = stored.epochs.back().oldest_kept;
  if (state.oldest_kept > state.last_sequence + 1) return corrupt("more was pruned than was ever written");
  if (stored.epochs.size() > 1) {
    const EpochRow& previous = stored.epochs[stored.epochs.size() - 2];
    state.previous_epoch = previous.epoch;
    state.previous_last_sequence = previous.last_sequence;
  }
  if (Status s = read_delivery(snapshot, state); !s) return s.error();
  if (stored.format > 1) {
    if (Status s = read_manifest_marks(snapshot, state); !s) return s.error();
  }
  if (Status s = check_last_entry(snapshot, state); !s) return s.error();
  const Result<std::vector<ParkedEntry>> parked = read_parked(snapshot);
  if (!parked) return parked.error();
  state.parked = parked->size();
  return std::optional<Stored>(std::move(stored));
}

Write put(Table table, std::string_view key, std::string value) {
  return Write{table, std::string(key), std::move(value)};
}

Status visit_rows(const Snapshot& snapshot, std::uint32_t ordinal, Sequence first, Sequence last,
                  const std::function<bool(Sequence, std::string_view row)>& visit) {
  Sequence expected = first;
  bool stopped = false;
  Status scanned =
      snapshot.scan(Table::kEntries, entry_key(ordinal, first), [&](std::string_view key, std::string_view row) {
        if (expected > last || key != entry_key(ordinal, expected)) return false;
        stopped = !visit(expected, row);
        ++expected;
        return !stopped && expected <= last;
      });
  if (!scanned) return scanned;
  if (!stopped && expected <= last) {
    return Error{ErrorCode::kCorrupt, "the journal is damaged: entry " + std::to_string(expected) + " is missing"};
  }
  return Done{};
}

Write state_write(std::string key, std::optional<std::string> value) {
  if (key.find('/') != std::string::npos) return Write{Table::kState, std::move(key), std::move(value)};
  return Write{Table::kMeta, std::string(kStatePrefix) + key, std::move(value)};
}

Result<std::vector<std::pair<std::string, std::string>>> read_state_rows(const Snapshot& snapshot,
                                                                         std::string_view prefix) {
  std::vector<std::pair<std::string, std::string>> rows;
  const auto take_from = [&](Table table, const std::string& from, std::size_t cut) {
    return snapshot.scan(table, from, [&](std::string_view key, std::string_view value) {
      if (!key.starts_with(from)) return false;
      rows.emplace_back(key.substr(cut), value);
      return true;
    });
  };
  const std::string among_marks = std::string(kStatePrefix) + std::string(prefix);
  if (Status taken = take_from(Table::kMeta, among_marks, kStatePrefix.size()); !taken) return taken.error();
  if (Status taken = take_from(Table::kState, std::string(prefix), 0); !taken) return taken.error();
  std::ranges::sort(rows);
  const auto twice = std::ranges::adjacent_find(rows, {}, [](const auto& row) { return row.first; });
  if (twice != rows.end()) return corrupt("the state row '" + twice->first + "' is there twice");
  return rows;
}

Result<std::vector<ParkedEntry>> read_parked(const Snapshot& snapshot) {
  std::vector<EpochRow> epochs;
  if (Status s = read_epochs(snapshot, epochs); !s) return s.error();
  std::vector<ParkedEntry> parked;
  bool readable = true;
  const Status scanned = snapshot.scan(Table::kMeta, kParkedPrefix, [&](std::string_view key, std::string_view value) {
    if (!key.starts_with(kParkedPrefix)) return false;
    const std::optional<EntryPosition> at = parse_entry_key(key.substr(kParkedPrefix.size()));
    readable = at && at->ordinal >= 1 && at->ordinal <= epochs.size();
    if (readable) parked.push_back({epochs[at->ordinal - 1].epoch, at->sequence, std::string(value)});
    return readable;
  });
  if (!scanned) return scanned.error();
  if (!readable) return corrupt("a parked row's key is unreadable");
  return parked;
}

}  // namespace nodemeter::journal_format
