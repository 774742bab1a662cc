// Entries as the store sees them: a key that ascends, and a mark that moves with it.

#pragma once

#include "kv_conformance.h"
#include "store/lmdb_kv.h"

namespace nodemeter {

inline std::vector<Write> entry(int number, std::size_t size) {
  const std::string digits = std::to_string(100'000 + number);
  return {{Table::kEntries, digits, std::string(size, 'x')}, {Table::kMeta, "head", digits}};
}

}  // namespace nodemeter
