// The sum over a journal's marks and state rows (store/FORMAT.md): finds a changed bit in one of them, or a page that
// an older one took the place of. Against intent there are the manifests.
//
// Threads: a Sealer belongs to the one writer of its journal; check_sum runs on any thread.

#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "store/kv.h"

namespace nodemeter::journal_format {

// Of one row, or of many added up word by word modulo 2^64. Zero: no row.
using RowSum = std::array<std::uint64_t, 2>;

// Every commit to a journal goes through here. What was written through the same sealer is remembered, 16 bytes a row,
// and need not be read again: so a row that was damaged meanwhile does not spoil the sum over its successor.
class Sealer {
 public:
  // Adds the row of the new sum to `writes`, which are the whole commit. Reads from `kv` what is not remembered.
  // kUnavailable, kCorrupt.
  Status seal(const KeyValue& kv, std::vector<Write>& writes);
  // What was sealed last is durable.
  void committed();

 private:
  using Rows = std::map<std::string, RowSum, std::less<>>;
  struct Change {
    Table table = Table::kMeta;
    std::string key;
    RowSum sum{};
  };
  std::array<Rows, kTableCount> rows_;
  RowSum sum_{};
  bool known_ = false;  // `sum_` is that of the store.
  std::vector<Change> changes_;
  RowSum next_{};
};

// kCorrupt: the rows are not those that the sum was written with. A store of format 1 has no sum.
Status check_sum(const Snapshot& snapshot);

}  // namespace nodemeter::journal_format
