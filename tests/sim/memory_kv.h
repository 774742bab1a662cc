// KeyValue in memory, with crash semantics: a MemoryDisk is what survives, a MemoryKv is one opening of it.
//
// Faults are declared on the disk and hit the next commits. What a crash leaves behind is the disk: drop the MemoryKv
// and open another. It passes the same conformance suite as LmdbKv.

#pragma once

#include <array>
#include <map>
#include <memory>

#include "store/kv.h"

namespace nodemeter {

class MemoryDisk {
 public:
  enum class Fault {
    kNone,
    kFull,            // Nothing is written, the handle goes on.
    kUnknownLost,     // An I/O error or a crash; nothing was written. The handle refuses everything afterwards.
    kUnknownWritten,  // The same, but it was written.
  };

  // Hits the commit after `after` more successful ones, once.
  void fail(Fault fault, std::uint64_t after = 0) {
    fault_ = fault;
    fault_at_ = commits_ + after;
  }
  // Every commit that puts entries is kFull, until set to false.
  void set_full(bool full) { full_ = full; }

  [[nodiscard]] std::uint64_t commits() const { return commits_; }
  [[nodiscard]] std::uint64_t bytes() const {
    std::uint64_t bytes = 0;
    for (const auto& table : tables_) {
      for (const auto& [key, value] : *table) bytes += key.size() + value.size();
    }
    return bytes;
  }
  [[nodiscard]] KeyValue::Usage usage() const {
    KeyValue::Usage usage;
    usage.used_bytes = bytes();
    usage.size_max_bytes = 1ull << 30;
    const Rows& entries = *tables_[static_cast<std::size_t>(Table::kEntries)];
    for (const auto& [key, value] : entries) usage.entries_bytes += key.size() + value.size();
    usage.entries = entries.size();
    return usage;
  }
  // What a damaged disk does: changes a stored value behind everybody's back.
  void damage(Table table, const std::string& key, std::string value) { writable(table)[key] = std::move(value); }
  void lose(Table table, const std::string& key) { writable(table).erase(key); }

 private:
  friend class MemoryKv;
  friend class MemorySnapshot;
  using Rows = std::map<std::string, std::string, std::less<>>;

  // Snapshots share the rows until somebody writes.
  Rows& writable(Table table) {
    std::shared_ptr<Rows>& rows = tables_[static_cast<std::size_t>(table)];
    if (rows.use_count() > 1) rows = std::make_shared<Rows>(*rows);
    return *rows;
  }
  Fault take_fault() {
    if (fault_ == Fault::kNone || commits_ < fault_at_) return Fault::kNone;
    return std::exchange(fault_, Fault::kNone);
  }

  std::array<std::shared_ptr<Rows>, kTableCount> tables_{std::make_shared<Rows>(), std::make_shared<Rows>(),
                                                         std::make_shared<Rows>()};
  std::uint64_t commits_ = 0;
  Fault fault_ = Fault::kNone;
  std::uint64_t fault_at_ = 0;
  bool full_ = false;
};

class MemorySnapshot final : public Snapshot {
 public:
  explicit MemorySnapshot(const MemoryDisk& disk) {
    for (std::size_t i = 0; i < kTableCount; ++i) tables_[i] = disk.tables_[i];
  }
  Result<std::optional<std::string>> get(Table table, std::string_view key) const override {
    const auto found = rows(table).find(key);
    if (found == rows(table).end()) return std::optional<std::string>{};
    return std::optional<std::string>(found->second);
  }
  Status scan(Table table, std::string_view from,
              const std::function<bool(std::string_view, std::string_view)>& visit) const override {
    for (auto row = rows(table).lower_bound(from); row != rows(table).end(); ++row) {
      if (!visit(row->first, row->second)) break;
    }
    return Done{};
  }
  Result<std::optional<std::pair<std::string, std::string>>> last_below(Table table,
                                                                        std::string_view below) const override {
    using Row = std::pair<std::string, std::string>;
    auto row = below.empty() ? rows(table).end() : rows(table).lower_bound(below);
    if (row == rows(table).begin()) return std::optional<Row>{};
    --row;
    return std::optional<Row>(Row(row->first, row->second));
  }

 private:
  [[nodiscard]] const MemoryDisk::Rows& rows(Table table) const { return *tables_[static_cast<std::size_t>(table)]; }
  std::array<std::shared_ptr<const MemoryDisk::Rows>, kTableCount> tables_;
};

class MemoryKv final : public KeyValue {
 public:
  // `disk` must outlive the handle.
  explicit MemoryKv(MemoryDisk& disk) : disk_(disk) {}

  Status commit(const std::vector<Write>& writes) override {
    if (dead_) return refusal();
    bool puts_entries = false;
    for (const Write& write : writes) {
      if (write.key.empty() || write.key.size() > kKeyBytesMax) return Error{ErrorCode::kInvalidInput, "key length"};
      puts_entries = puts_entries || (write.table == Table::kEntries && write.value.has_value());
    }
    if (disk_.full_ && puts_entries) return Error{ErrorCode::kFull, "the store is full"};
    const MemoryDisk::Fault fault = disk_.take_fault();
    if (fault == MemoryDisk::Fault::kFull) return Error{ErrorCode::kFull, "the store is full"};
    dead_ = fault != MemoryDisk::Fault::kNone;
    if (fault != MemoryDisk::Fault::kUnknownLost) apply(writes);
    if (dead_) return refusal();
    return Done{};
  }

  Result<std::unique_ptr<Snapshot>> snapshot() const override {
    if (dead_) return refusal();
    return std::unique_ptr<Snapshot>(std::make_unique<MemorySnapshot>(disk_));
  }

  Usage usage() const override { return disk_.usage(); }

 private:
  static Error refusal() { return Error{ErrorCode::kUnavailable, "the store had an I/O error: reopen it"}; }
  void apply(const std::vector<Write>& writes) {
    for (const Write& write : writes) {
      MemoryDisk::Rows& rows = disk_.writable(write.table);
      if (write.value) {
        rows.insert_or_assign(write.key, *write.value);
      } else {
        rows.erase(write.key);
      }
    }
    ++disk_.commits_;
  }

  MemoryDisk& disk_;
  bool dead_ = false;
};

}  // namespace nodemeter
