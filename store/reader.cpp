#include "store/reader.h"

#include <limits>

#include "platform/files.h"
#include "store/entry_codec.h"
#include "store/journal_format.h"
#include "store/page_snapshot.h"
#include "store/row_sum.h"

namespace nodemeter {

namespace {

using namespace journal_format;

// One snapshot yields at most this much. It is closed before anybody looks at the rows: whoever stops looking (a pager,
// a debugger, Ctrl-Z) holds no page of the store.
constexpr std::size_t kChunkRows = 512;
constexpr std::size_t kChunkBytes = 1u << 20;

struct Chunk {
  EpochRow epoch;  // As of the chunk's snapshot: pruning may go on between two.
  std::vector<std::pair<Sequence, std::string>> rows;
};

Error corrupt_entry(Sequence sequence, const std::string& what) {
  return Error{ErrorCode::kCorrupt, "entry " + std::to_string(sequence) + ": " + what};
}

// The rows [from, last] of an epoch, or as many of them as fit a chunk. None: there are no more.
Result<Chunk> chunk_of(const Snapshot& snapshot, std::uint32_t ordinal, Sequence from, Sequence last) {
  Chunk chunk;
  const Result<std::optional<std::string>> epoch = snapshot.get(Table::kMeta, epoch_key(ordinal));
  if (!epoch) return epoch.error();
  if (!epoch->has_value()) return Error{ErrorCode::kCorrupt, "the table of epochs lost a row"};
  Result<EpochRow> row = decode_epoch_row(**epoch);
  if (!row) return row.error();
  chunk.epoch = *row;
  std::size_t bytes = 0;
  const Status scanned =
      snapshot.scan(Table::kEntries, entry_key(ordinal, from), [&](std::string_view key, std::string_view value) {
        const std::optional<EntryPosition> at = parse_entry_key(key);
        if (!at || at->ordinal != ordinal || at->sequence > last) return false;
        bytes += value.size();
        chunk.rows.emplace_back(at->sequence, value);
        return chunk.rows.size() < kChunkRows && bytes < kChunkBytes;
      });
  if (!scanned) return scanned.error();
  return chunk;
}

// By halving: reported times never fall.
Result<Sequence> first_reported_in(const Snapshot& snapshot, UtcTime t) {
  const Result<std::optional<Stored>> stored = read_marks(snapshot);
  if (!stored) return stored.error();
  if (!stored->has_value()) return Error{ErrorCode::kNotFound, "the store holds no journal (yet)"};
  const JournalState& state = (*stored)->state;
  Sequence low = state.oldest_kept;  // Everything before `low` was reported earlier, everything from `high` on was not.
  Sequence high = state.last_sequence + 1;
  while (low < high) {
    const Sequence middle = low + (high - low) / 2;
    const Result<std::optional<std::string>> row =
        snapshot.get(Table::kEntries, entry_key(state.epoch_ordinal, middle));
    if (!row) return row.error();
    if (!row->has_value()) return corrupt_entry(middle, "missing");
    const Result<DecodedEntry> decoded = decode_entry(**row);
    if (!decoded) return corrupt_entry(middle, decoded.error().message);
    if (decoded->entry.reported_at < t) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

class KvReader final : public Reader {
 public:
  explicit KvReader(const KeyValue& kv) : kv_(kv) {}
  explicit KvReader(std::unique_ptr<KeyValue> owned) : owned_(std::move(owned)), kv_(*owned_) {}

  Result<JournalState> state() const override {
    Result<Stored> stored = marks();
    if (!stored) return stored.error();
    return std::move(stored->state);
  }

  Result<std::vector<std::pair<std::string, std::string>>> state_rows(std::string_view prefix) const override {
    return consistent(kv_, [&](const Snapshot& snapshot) { return read_state_rows(snapshot, prefix); });
  }

  Result<std::vector<ParkedEntry>> parked() const override {
    return consistent(kv_, [](const Snapshot& snapshot) { return read_parked(snapshot); });
  }

  Result<std::vector<EpochSpan>> epochs() const override {
    const Result<Stored> stored = marks();
    if (!stored) return stored.error();
    std::vector<EpochSpan> spans;
    for (const EpochRow& row : stored->epochs) spans.push_back({row.epoch, row.oldest_kept, row.before_oldest});
    return spans;
  }

  Status for_each(Sequence from, const std::function<bool(const Entry&, std::string_view)>& visit,
                  bool all_epochs) const override;
  Result<Sequence> first_reported_at(UtcTime t) const override;
  Result<ChainCheck> verify(const std::function<void(std::uint64_t)>& progress, const std::string& key) const override;
  KeyValue::Usage usage() const override { return kv_.usage(); }

  // The marks and state rows are those that were written.
  Status check_rows() const {
    return consistent(kv_, [](const Snapshot& snapshot) { return check_sum(snapshot); });
  }

 private:
  Result<Stored> marks() const {
    Result<std::optional<Stored>> stored =
        consistent(kv_, [](const Snapshot& snapshot) { return read_marks(snapshot); });
    if (!stored) return stored.error();
    if (!stored->has_value()) return Error{ErrorCode::kNotFound, "the store holds no journal (yet)"};
    return std::move(**stored);
  }
  Result<Chunk> read_chunk(std::uint32_t ordinal, Sequence from, Sequence last) const {
    if (from > last) return Chunk{};
    return consistent(kv_, [&](const Snapshot& snapshot) { return chunk_of(snapshot, ordinal, from, last); });
  }
  Status verify_epoch(std::uint32_t ordinal, Sequence last, const Digest& head, ChainChecker& checker,
                      const std::function<void(std::uint64_t)>& progress) const;

  std::unique_ptr<KeyValue> owned_;
  const KeyValue& kv_;
};

Status KvReader::for_each(Sequence from, const std::function<bool(const Entry&, std::string_view)>& visit,
                          bool all_epochs) const {
  const Result<Stored> stored = marks();
  if (!stored) return stored.error();
  const std::uint32_t newest = stored->state.epoch_ordinal;
  for (std::uint32_t ordinal = all_epochs ? 1 : newest; ordinal <= newest; ++ordinal) {
    Sequence next = ordinal == newest ? from : 0;
    const Sequence last = ordinal == newest ? stored->state.last_sequence : stored->epochs[ordinal - 1].last_sequence;
    for (;;) {
      const Result<Chunk> chunk = read_chunk(ordinal, next, last);
      if (!chunk) return chunk.error();
      if (chunk->rows.empty()) break;
      for (const auto& [sequence, row] : chunk->rows) {
        const Result<DecodedEntry> decoded = decode_entry(row);
        if (!decoded)
          return Error{decoded.error().code, "entry " + std::to_string(sequence) + ": " + decoded.error().message};
        if (decoded->row.size() != row.size()) return corrupt_entry(sequence, "bytes after its end");
        if (!visit(decoded->entry, row)) return Done{};
      }
      next = chunk->rows.back().first + 1;
    }
  }
  return Done{};
}

Result<Sequence> KvReader::first_reported_at(UtcTime t) const {
  return consistent(kv_, [t](const Snapshot& snapshot) { return first_reported_in(snapshot, t); });
}

Status KvReader::verify_epoch(std::uint32_t ordinal, Sequence last, const Digest& head, ChainChecker& checker,
                              const std::function<void(std::uint64_t)>& progress) const {
  for (;;) {
    const Result<Chunk> chunk = read_chunk(ordinal, checker.expected(), last);
    if (!chunk) return chunk.error();
    if (chunk->rows.empty()) break;
    // Pruned while we looked: that is no hole.
    if (chunk->epoch.oldest_kept > checker.expected()) {
      checker.skip_to(chunk->epoch.oldest_kept, chunk->epoch.before_oldest);
    }
    for (const auto& [sequence, row] : chunk->rows) checker.take(sequence, row);
    if (progress) progress(checker.so_far().entries);
  }
  checker.end(last, head);
  return Done{};
}

Result<ChainCheck> KvReader::verify(const std::function<void(std::uint64_t)>& progress, const std::string& key) const {
  const Result<Stored> stored = marks();
  if (!stored) return stored.error();
  ChainChecker checker(key);
  for (std::uint32_t ordinal = 1; ordinal <= stored->state.epoch_ordinal; ++ordinal) {
    const EpochRow& epoch = stored->epochs[ordinal - 1];
    const bool newest = ordinal == stored->state.epoch_ordinal;
    checker.begin(epoch.epoch, epoch.oldest_kept, epoch.before_oldest);
    const Status verified = verify_epoch(ordinal, newest ? stored->state.last_sequence : epoch.last_sequence,
                                         newest ? stored->state.head : epoch.head, checker, progress);
    if (!verified) return verified.error();
  }
  return checker.finish();
}

}  // namespace

std::filesystem::path journal_directory(const std::filesystem::path& state_directory) {
  return state_directory / "journal";
}

std::unique_ptr<Reader> Reader::on(const KeyValue& kv) { return std::make_unique<KvReader>(kv); }

Result<std::unique_ptr<Reader>> Reader::open(const std::filesystem::path& state_directory) {
  Result<std::unique_ptr<KeyValue>> kv = open_shared(journal_directory(state_directory));
  if (!kv) return kv.error();
  auto reader = std::make_unique<KvReader>(std::move(*kv));
  if (const Result<JournalState> state = reader->state(); !state) return state.error();
  if (Status whole = reader->check_rows(); !whole) return whole.error();
  return std::unique_ptr<Reader>(std::move(reader));
}

}  // namespace nodemeter
