// Is an LMDB data file whole? Finds damage before LMDB meets it, says where it is and how much it affects.
//
// Pure functions over lmdb_pages::ByteSource. No writer may commit while a check of the newest version runs, unless a
// reader's transaction holds that version.

#pragma once

#include "store/kv.h"
#include "store/lmdb_pages.h"

namespace nodemeter::lmdb_pages {

struct Fault {
  std::string table;
  std::uint64_t page = 0;
  std::uint64_t offset = 0;  // Of the page in the file, in bytes.
  std::string what;
  // Rows from this key on (from the first, if empty) to before that one (to the last) cannot be reached.
  std::string from;
  std::optional<std::string> to;
};

struct WholeCheck {
  Version version;
  std::vector<Tree> tables;
  std::uint64_t file_bytes = 0;
  std::uint64_t pages = 0;  // That hold.
  std::uint64_t rows = 0;   // Of the named tables, that can be reached.
  std::vector<Fault> faults;
  std::uint64_t more_faults = 0;  // Beyond kFaultsMax.
};
inline constexpr std::size_t kFaultsMax = 500;

using VisitRow = std::function<void(const Tree& table, std::string_view key, std::string_view value)>;

// Reads everything that the newest version refers to: every page reached once and in its place, every count right, and
// every other page listed as free, once. `visit` (may be empty) gets the rows that can be reached, in order.
// kCorrupt: not even the roots can be found; the message says why. kUnavailable.
Result<WholeCheck> check_whole(const ByteSource& bytes, const VisitRow& visit = {},
                               const std::function<void(std::uint64_t pages)>& progress = {});

// What can be told in milliseconds, whatever the file's size: the meta pages, the list of free pages, the small tables
// whole, the first and last row of the large ones, and that all pages are accounted for. kCorrupt with the place.
Status check_quick(const ByteSource& bytes);

// Meta pages are read while a writer may replace them: a mixture of two does not last so many times.
inline constexpr int kMetaAttempts = 5;

// Before LMDB believes the file: the meta pages, and for a writer the quick check. A file without a byte is one that is
// being created. For a reader, a writer goes on meanwhile: what is read later is checked then. kCorrupt.
Status check_before_use(const ByteSource& bytes, bool writer);

// What LMDB will read to make these writes to the version of `transaction` (the newest one): gives the pages that its
// trees have. kCorrupt with the place.
Result<std::uint64_t> check_writes(const ByteSource& bytes, std::uint64_t transaction, const std::vector<Write>& writes,
                                   std::span<const char* const> table_names);

// About the most pages that a commit of these writes takes, while the trees have `pages_used`.
std::uint64_t pages_needed(const std::vector<Write>& writes, std::uint64_t pages_used, std::uint64_t page_bytes);

// Meta pages and the pages of all trees, LMDB's own included.
std::uint64_t pages_in_trees(const Version& version, const std::vector<Tree>& tables);

}  // namespace nodemeter::lmdb_pages
