#include "store/salvage.h"

#include <algorithm>
#include <map>
#include <system_error>
#include <tuple>

#include "platform/bytes.h"
#include "store/entry_codec.h"
#include "store/journal_format.h"
#include "store/lmdb_kv.h"
#include "store/lmdb_pages.h"
#include "store/page_snapshot.h"
#include "store/reader.h"
#include "store/row_sum.h"

namespace nodemeter {

namespace {

namespace fs = std::filesystem;
using namespace journal_format;
using lmdb_pages::ByteSource;

// LMDB's pages are of this size or a multiple: rows begin on even bytes, and nothing else about pages is relied on.
constexpr std::uint64_t kBlock = 4096;
constexpr std::uint64_t kChunk = 256 * kBlock;
constexpr std::uint64_t kCommitBytes = 4u << 20;

struct Found {
  std::uint32_t epoch = 0;  // Index into Sweep::epochs.
  std::uint32_t size = 0;
  Sequence sequence = 0;
  std::uint64_t offset = 0;
  Digest digest;
};

struct Sweep {
  std::vector<Epoch> epochs;
  std::vector<UtcTime> begun;  // By epoch: the earliest reported time.
  std::vector<NodeId> nodes;   // By epoch.
  std::vector<std::string> locations;
  std::vector<bool> simulated;
  std::vector<Found> found;
};

class Sweeper {
 public:
  Sweeper(const ByteSource& bytes, SalvageReport& report) : bytes_(bytes), report_(report) {}

  Status run(std::uint64_t size, const std::function<void(std::uint64_t)>& progress) {
    for (std::uint64_t at = 0; at < size; at += kChunk) {
      // A row may begin in this chunk and end in a later one.
      chunk_.resize(std::min(kChunk + kEntryBytesMax, size - at));
      if (!bytes_.read(at, chunk_)) read_by_blocks(at);
      look(at, std::min<std::uint64_t>(kChunk, chunk_.size()));
      if (progress) progress(std::min(at + kChunk, size));
    }
    report_.bytes = size;
    return Done{};
  }

  Sweep sweep;

 private:
  // A block that the disk cannot read is zeros: nothing is found there.
  void read_by_blocks(std::uint64_t at) {
    for (std::size_t i = 0; i < chunk_.size(); i += kBlock) {
      const std::span<char> block(chunk_.data() + i, std::min<std::size_t>(kBlock, chunk_.size() - i));
      if (bytes_.read(at + i, block)) continue;
      std::fill(block.begin(), block.end(), '\0');
      if (i < kChunk) report_.unreadable_bytes += block.size();
    }
  }

  void look(std::uint64_t base, std::uint64_t until) {
    for (std::size_t at = 0; at < until;) {
      const std::size_t size = chunk_[at] == static_cast<char>(kEntrySchema) ? row_at(base, at) : 0;
      at += std::max<std::size_t>(2, size + size % 2);
    }
  }

  // The size of the row that begins there; 0: none does.
  std::size_t row_at(std::uint64_t base, std::size_t at) {
    const std::string_view rest = std::string_view(chunk_).substr(at, kEntryBytesMax);
    if (rest.size() < 2 || (static_cast<std::uint8_t>(rest[1]) & 0xe0u) != 0xa0u) {
      if (rest.size() < 2 || static_cast<std::uint8_t>(rest[1]) != 0xd9u) return 0;
    }
    const Result<DecodedEntry> decoded = decode_entry(rest);
    if (!decoded || decoded->entry.sequence == 0) return 0;
    const Entry& entry = decoded->entry;
    Found found;
    found.epoch = epoch_of(entry);
    found.size = static_cast<std::uint32_t>(decoded->row.size());
    found.sequence = entry.sequence;
    found.offset = base + at;
    found.digest = entry.digest;
    sweep.found.push_back(found);
    return found.size;
  }

  std::uint32_t epoch_of(const Entry& entry) {
    for (std::uint32_t i = 0; i < sweep.epochs.size(); ++i) {
      if (sweep.epochs[i] != entry.epoch) continue;
      sweep.begun[i] = std::min(sweep.begun[i], entry.reported_at);
      return i;
    }
    sweep.epochs.push_back(entry.epoch);
    sweep.begun.push_back(entry.reported_at);
    sweep.nodes.push_back(entry.node);
    sweep.locations.push_back(entry.location);
    sweep.simulated.push_back((entry.status & status_bit::kSimulated) != 0);
    return static_cast<std::uint32_t>(sweep.epochs.size() - 1);
  }

  const ByteSource& bytes_;
  SalvageReport& report_;
  std::string chunk_;
};

// What the damaged store says about itself, if that is whole.
struct Marks {
  std::vector<EpochRow> epochs;
  Sequence last = 0;  // Of the newest epoch.
  std::string location;
  bool simulated = false;
  std::string public_key;
};

std::optional<Marks> read_old_marks(const fs::path& journal) {
  const Result<std::unique_ptr<KeyValue>> kv = open_pages(journal);
  if (!kv) return std::nullopt;
  const Result<std::unique_ptr<Snapshot>> snapshot = (*kv)->snapshot();
  if (!snapshot || !check_sum(**snapshot)) return std::nullopt;
  Marks marks;
  bool readable = true;
  const Status scanned = (*snapshot)->scan(Table::kMeta, kEpochPrefix, [&](std::string_view key, std::string_view row) {
    if (!key.starts_with(kEpochPrefix)) return false;
    const Result<EpochRow> epoch = decode_epoch_row(row);
    readable = epoch.ok();
    if (readable) marks.epochs.push_back(*epoch);
    return readable;
  });
  const auto text = [&](std::string_view key) {
    Result<std::optional<std::string>> value = (*snapshot)->get(Table::kMeta, key);
    return value ? std::move(*value).value_or("") : std::string();
  };
  const std::string head = text(kHeadKey);
  ByteReader in(head);
  (void)in.u32();
  marks.last = in.u64();
  if (!scanned || !readable || marks.epochs.empty() || in.failed()) return std::nullopt;
  marks.location = text(kLocationKey);
  marks.simulated = !text(kSimulatedKey).empty();
  marks.public_key = text(kKeyKey);
  return marks;
}

// One epoch's rows against the chain, in order; what is chosen goes to the new store.
class EpochSalvage {
 public:
  EpochSalvage(const ByteSource& bytes, KeyValue& store, SalvageReport& report, std::uint32_t ordinal,
               const EpochRow& before)
      : bytes_(bytes), store_(store), report_(report), ordinal_(ordinal), row_(before) {
    result_.epoch = before.epoch;
    before_ = {before.before_oldest};
    expected_ = before.oldest_kept;
  }

  // All rows of one number, ascending from call to call.
  Status take(std::span<const Found> candidates) {
    const Sequence sequence = candidates.front().sequence;
    if (sequence < row_.oldest_kept) {
      report_.pruned += candidates.size();
      return Done{};
    }
    if (sequence > expected_) lose(expected_, sequence - 1);
    expected_ = sequence + 1;
    const Found* chosen = nullptr;
    bool verified = false;
    for (const Found& found : candidates) {
      std::string row(found.size, '\0');
      if (!bytes_.read(found.offset, row)) continue;
      const Result<DecodedEntry> decoded = decode_entry(row);
      if (!decoded) continue;
      const bool continues = std::ranges::any_of(
          before_, [&](const Digest& digest) { return chain_digest(digest, decoded->body) == found.digest; });
      if (chosen != nullptr) ++report_.repeats;
      if ((chosen != nullptr || certain_) && (!continues || verified)) continue;
      chosen = &found;
      verified = continues;
      chosen_row_ = std::move(row);
      reported_ = decoded->entry.reported_at;
    }
    if (chosen == nullptr) {
      ++result_.contradicting;
      lose(sequence, sequence);
      // Of a changed row the digest may still be the right one: then what follows proves itself by it.
      for (const Found& found : candidates) before_.push_back(found.digest);
      return Done{};
    }
    before_ = {chosen->digest};
    certain_ = true;
    return keep(sequence, verified);
  }

  // `last`: where the epoch is known to have ended; 0: not known.
  Status finish(Sequence last) {
    if (last >= expected_) lose(expected_, last);
    return flush();
  }

  [[nodiscard]] const SalvagedEpoch& result() const { return result_; }
  [[nodiscard]] Digest head() const { return head_; }
  [[nodiscard]] UtcTime reported() const { return head_reported_; }

 private:
  static void add(std::vector<SequenceRange>& ranges, Sequence first, Sequence last) {
    if (!ranges.empty() && ranges.back().last + 1 == first) {
      ranges.back().last = last;
    } else {
      ranges.push_back({first, last});
    }
  }

  void lose(Sequence first, Sequence last) {
    add(result_.lost, first, last);
    before_.clear();
    certain_ = false;
  }

  Status keep(Sequence sequence, bool verified) {
    if (result_.recovered == 0) result_.first = sequence;
    result_.last = sequence;
    head_ = before_.front();
    head_reported_ = reported_;
    ++result_.recovered;
    if (verified) {
      ++result_.verified;
    } else {
      add(result_.unlinked, sequence, sequence);
    }
    bytes_waiting_ += chosen_row_.size();
    writes_.push_back(Write{Table::kEntries, entry_key(ordinal_, sequence), std::move(chosen_row_)});
    return bytes_waiting_ >= kCommitBytes ? flush() : Status(Done{});
  }

  Status flush() {
    if (writes_.empty()) return Done{};
    Status committed = store_.commit(writes_);
    writes_.clear();
    bytes_waiting_ = 0;
    return committed;
  }

  const ByteSource& bytes_;
  KeyValue& store_;
  SalvageReport& report_;
  std::uint32_t ordinal_;
  EpochRow row_;
  SalvagedEpoch result_;
  std::vector<Digest> before_;  // What the digest of the entry before may be.
  bool certain_ = true;         // It is: a row that does not continue it was changed.
  Sequence expected_ = 1;
  std::string chosen_row_;
  UtcTime reported_{};
  Digest head_;
  UtcTime head_reported_{};
  std::vector<Write> writes_;
  std::uint64_t bytes_waiting_ = 0;
};

// The epochs in the order of the new store: as the marks have them, else by time.
std::vector<EpochRow> epochs_of(const Sweep& sweep, const std::optional<Marks>& marks) {
  if (marks) return marks->epochs;
  std::vector<std::size_t> order(sweep.epochs.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::ranges::sort(order, {}, [&](std::size_t i) { return sweep.begun[i]; });
  std::vector<EpochRow> rows;
  for (const std::size_t i : order) {
    EpochRow row;
    row.epoch = sweep.epochs[i];
    rows.push_back(row);
  }
  return rows;
}

Status write_marks(KeyValue& store, const JournalState& state, const std::vector<EpochRow>& epochs) {
  std::vector<Write> writes;
  const auto put = [&](std::string_view key, std::string value) {
    writes.push_back(Write{Table::kMeta, std::string(key), std::move(value)});
  };
  put(kFormatKey, encode_format(kStoreFormat));
  put(kNodeKey, state.node.text());
  put(kLocationKey, state.location);
  put(kBackupKey, "1");
  if (state.simulated) put(kSimulatedKey, "1");
  if (!state.public_key.empty()) put(kKeyKey, state.public_key);
  for (std::size_t i = 0; i < epochs.size(); ++i) put(epoch_key(static_cast<std::uint32_t>(i + 1)), encode(epochs[i]));
  put(kHeadKey, encode_head(state));
  put(kDeliveryKey, encode_delivery(state));
  put(kManifestKey, encode_manifest_mark(state));
  if (Status sealed = Sealer().seal(store, writes); !sealed) return sealed;
  return store.commit(writes);
}

// The rows of the epoch with that index, number by number.
Status take_all(EpochSalvage& salvage, std::span<const Found> found) {
  for (std::size_t i = 0; i < found.size();) {
    std::size_t end = i + 1;
    while (end < found.size() && found[end].sequence == found[i].sequence) ++end;
    if (Status taken = salvage.take(found.subspan(i, end - i)); !taken) return taken;
    i = end;
  }
  return Done{};
}

Status write_store(const ByteSource& bytes, const Sweep& sweep, const std::optional<Marks>& marks, KeyValue& store,
                   SalvageReport& report) {
  std::vector<EpochRow> epochs = epochs_of(sweep, marks);
  JournalState state;
  for (std::size_t i = 0; i < epochs.size(); ++i) {
    EpochRow& row = epochs[i];
    const bool newest = i + 1 == epochs.size();
    const auto known = std::ranges::find(sweep.epochs, row.epoch);
    const auto index = static_cast<std::uint32_t>(known - sweep.epochs.begin());
    EpochSalvage salvage(bytes, store, report, static_cast<std::uint32_t>(i + 1), row);
    const auto begin = std::ranges::lower_bound(sweep.found, index, {}, &Found::epoch);
    const auto end = std::ranges::upper_bound(sweep.found, index, {}, &Found::epoch);
    if (Status taken = take_all(salvage, {begin, end}); !taken) return taken;
    if (Status done = salvage.finish(!marks ? 0 : newest ? marks->last : row.last_sequence); !done) return done;
    const SalvagedEpoch& result = salvage.result();
    report.epochs.push_back(result);
    // An epoch of which nothing is left ends where it begins.
    row.last_sequence = result.recovered == 0 ? row.oldest_kept - 1 : result.last;
    row.head = result.recovered == 0 ? row.before_oldest : salvage.head();
    if (known != sweep.epochs.end()) {
      state.node = sweep.nodes[index];
      state.location = sweep.locations[index];
      state.simulated = state.simulated || sweep.simulated[index];
    }
    state.last_reported_at = std::max(state.last_reported_at, salvage.reported());
  }
  state.epoch_ordinal = static_cast<std::uint32_t>(epochs.size());
  state.epoch = epochs.back().epoch;
  state.last_sequence = epochs.back().last_sequence;
  state.head = epochs.back().head;
  if (marks) {
    state.location = marks->location;
    state.simulated = marks->simulated;
    state.public_key = marks->public_key;
  }
  report.node = state.node;
  epochs.back().last_sequence = 0;
  epochs.back().head = Digest{};
  return write_marks(store, state, epochs);
}

}  // namespace

Result<SalvageReport> salvage_store(const fs::path& journal, const fs::path& target,
                                    const std::function<void(std::uint64_t)>& progress) {
  std::error_code ignored;
  if (fs::exists(target, ignored)) {
    return Error{ErrorCode::kInvalidInput, target.string() + " exists already: name a new directory"};
  }
  const auto bytes = lmdb_pages::open_bytes(journal / "data.mdb");
  if (!bytes) return bytes.error();
  const Result<std::uint64_t> size = (*bytes)->size();
  if (!size) return size.error();
  SalvageReport report;
  Sweeper sweeper(**bytes, report);
  if (Status swept = sweeper.run(*size, progress); !swept) return swept.error();
  Sweep& sweep = sweeper.sweep;
  if (sweep.found.empty()) {
    return Error{ErrorCode::kNotFound, "no entry was found in " + (journal / "data.mdb").string()};
  }
  report.rows = sweep.found.size();
  std::ranges::sort(sweep.found, {}, [](const Found& f) { return std::tuple(f.epoch, f.sequence, f.offset); });
  const std::optional<Marks> marks = read_old_marks(journal);
  report.marks = marks.has_value();
  LmdbOptions options;
  options.size_max_bytes = std::max<std::uint64_t>(*size * 2, 64u << 20);
  const Result<std::unique_ptr<KeyValue>> store = open_lmdb(journal_directory(target), options);
  if (!store) return store.error();
  if (Status written = write_store(**bytes, sweep, marks, **store, report); !written) return written.error();
  return report;
}

}  // namespace nodemeter
