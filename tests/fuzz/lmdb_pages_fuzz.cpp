// Whatever bytes stand in a data file: checking and reading it end, in bounds, and a row that is read twice is the
// same.

#include <cstdint>
#include <cstdlib>

#include "store/lmdb_check.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace nodemeter;
  using namespace nodemeter::lmdb_pages;
  const std::string_view file(reinterpret_cast<const char*>(data), size);
  const auto bytes = bytes_in_memory(file);
  std::uint64_t rows = 0;
  const Result<WholeCheck> whole = check_whole(*bytes, [&](const Tree&, std::string_view key, std::string_view) {
    if (key.empty()) std::abort();
    ++rows;
  });
  const Status quick = check_quick(*bytes);
  if (!whole) return quick ? std::abort(), 1 : 0;
  if (whole->rows != rows) std::abort();
  // What the whole check finds nothing wrong with, the quick one does not either.
  if (whole->faults.empty() && !quick) std::abort();
  for (const Tree& tree : whole->tables) {
    Cursor cursor(*bytes, whole->version, tree);
    std::uint64_t seen = 0;
    Result<bool> there = cursor.last();
    for (; there && *there; there = cursor.previous()) {
      const Result<std::string_view> value = cursor.value();
      if (!value) break;
      if (++seen > size) std::abort();
    }
    if (whole->faults.empty() && (!there || seen != tree.entries)) std::abort();
  }
  return 0;
}
