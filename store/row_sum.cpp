#include "store/row_sum.h"

#include <memory>
#include <string_view>
#include <utility>

#include "platform/bytes.h"
#include "platform/checksum.h"
#include "store/journal_format.h"

namespace nodemeter::journal_format {

namespace {

RowSum sum_of_row(Table table, std::string_view key, std::string_view value) {
  ByteWriter head;
  head.u32(static_cast<std::uint32_t>(table));
  head.text(key);
  return checksum_of(head.take(), value);
}

// The order of rows does not matter, and a row can be taken out again.
void add(RowSum& sum, const RowSum& row) {
  for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += row[i];
}
void remove(RowSum& sum, const RowSum& row) {
  for (std::size_t i = 0; i < sum.size(); ++i) sum[i] -= row[i];
}

std::string encode(const RowSum& sum) {
  ByteWriter out;
  for (const std::uint64_t word : sum) out.u64(word);
  return out.take();
}

RowSum decode(std::string_view bytes) {
  ByteReader in(bytes);
  RowSum sum{};
  for (std::uint64_t& word : sum) word = in.u64();
  return sum;
}

Result<RowSum> sum_of_all(const Snapshot& snapshot) {
  RowSum sum{};
  for (const Table table : {Table::kMeta, Table::kState}) {
    const Status scanned = snapshot.scan(table, {}, [&](std::string_view key, std::string_view value) {
      if (table != Table::kMeta || key != kSumKey) add(sum, sum_of_row(table, key, value));
      return true;
    });
    if (!scanned) return scanned.error();
  }
  return sum;
}

// A store, read only if it has to be.
class Sums {
 public:
  explicit Sums(const KeyValue& kv) : kv_(kv) {}

  Result<RowSum> row(Table table, std::string_view key) {
    if (Status there = open(); !there) return there.error();
    const Result<std::optional<std::string>> value = snapshot_->get(table, key);
    if (!value) return value.error();
    return value->has_value() ? sum_of_row(table, key, **value) : RowSum{};
  }
  Result<RowSum> sum() {
    if (Status there = open(); !there) return there.error();
    const Result<std::optional<std::string>> value = snapshot_->get(Table::kMeta, kSumKey);
    if (!value) return value.error();
    return value->has_value() ? Result<RowSum>(decode(**value)) : sum_of_all(*snapshot_);
  }

 private:
  Status open() {
    if (snapshot_) return Done{};
    Result<std::unique_ptr<Snapshot>> snapshot = kv_.snapshot();
    if (!snapshot) return snapshot.error();
    snapshot_ = std::move(*snapshot);
    return Done{};
  }
  const KeyValue& kv_;
  std::unique_ptr<Snapshot> snapshot_;
};

}  // namespace

Status Sealer::seal(const KeyValue& kv, std::vector<Write>& writes) {
  Sums stored(kv);
  const Result<RowSum> before = known_ ? Result<RowSum>(sum_) : stored.sum();
  if (!before) return before.error();
  next_ = *before;
  changes_.clear();
  std::map<std::pair<Table, std::string_view>, std::size_t> changed;  // In this commit.
  for (const Write& write : writes) {
    if (write.table == Table::kEntries) continue;
    const auto [place, first] = changed.try_emplace({write.table, write.key}, changes_.size());
    if (first) {
      const Rows& rows = rows_[static_cast<std::size_t>(write.table)];
      const auto known = rows.find(write.key);
      const Result<RowSum> old = known != rows.end() ? known->second : stored.row(write.table, write.key);
      if (!old) return old.error();
      changes_.push_back({write.table, write.key, *old});
    }
    RowSum& row = changes_[place->second].sum;
    remove(next_, row);
    row = write.value ? sum_of_row(write.table, write.key, *write.value) : RowSum{};
    add(next_, row);
  }
  writes.push_back(Write{Table::kMeta, std::string(kSumKey), encode(next_)});
  return Done{};
}

void Sealer::committed() {
  for (Change& change : changes_) {
    Rows& rows = rows_[static_cast<std::size_t>(change.table)];
    if (change.sum == RowSum{}) {
      rows.erase(change.key);
    } else {
      rows.insert_or_assign(std::move(change.key), change.sum);
    }
  }
  changes_.clear();
  sum_ = next_;
  known_ = true;
}

Status check_sum(const Snapshot& snapshot) {
  const Result<std::optional<std::string>> format = snapshot.get(Table::kMeta, kFormatKey);
  if (!format) return format.error();
  if (!format->has_value() || **format == encode_format(1)) return Done{};
  const Result<std::optional<std::string>> written = snapshot.get(Table::kMeta, kSumKey);
  if (!written) return written.error();
  if (!written->has_value()) return Error{ErrorCode::kCorrupt, "the journal is damaged: the mark 'sum' is missing"};
  const Result<RowSum> found = sum_of_all(snapshot);
  if (!found) return found.error();
  if (encode(*found) == **written) return Done{};
  return Error{ErrorCode::kCorrupt, "the journal is damaged: a mark or a state row is not the one that was written"};
}

}  // namespace nodemeter::journal_format
