#include "store/lmdb_check.h"

#include <algorithm>
#include <array>

namespace nodemeter::lmdb_pages {

namespace {

// Tables with more leaves than this are looked at from both ends only by the quick check.
constexpr std::uint64_t kSmallLeaves = 4'096;

// Before a commit, a longer list of free pages is looked at where the commit takes from it.
constexpr std::uint64_t kFreeLeavesPerCommit = 64;

constexpr std::uint64_t kProgressPages = 4'096;

std::uint64_t number_at(std::string_view bytes, std::size_t index) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < 8; ++i) value |= std::uint64_t{static_cast<std::uint8_t>(bytes[8 * index + i])} << 8 * i;
  return value;
}

// One row of the list of free pages: a count and that many page numbers, falling. "": it holds.
std::string check_free_row(const Version& version, std::string_view key, std::string_view value,
                           const std::function<bool(std::uint64_t)>& take) {
  if (number_at(key, 0) > version.transaction) return "a row of a later transaction";
  if (value.size() < 8 || value.size() % 8 != 0) return "a row of " + std::to_string(value.size()) + " bytes";
  const std::uint64_t count = number_at(value, 0);
  if (count > value.size() / 8 - 1) return "a row that counts " + std::to_string(count) + " pages";
  std::uint64_t before = version.last_page + 1;
  for (std::uint64_t i = 1; i <= count; ++i) {
    const std::uint64_t page = number_at(value, i);
    if (page < kMetaPages || page >= before) return "it lists page " + std::to_string(page) + " as free";
    if (!take(page)) return "page " + std::to_string(page) + " is listed as free and in use, or listed twice";
    before = page;
  }
  return "";
}

class Checker {
 public:
  Checker(const ByteSource& bytes, WholeCheck& result) : bytes_(bytes), result_(result) {
    seen_.resize(result.version.last_page + 1);
  }

  VisitRow visit;
  std::function<void(std::uint64_t)> progress;

  // The whole tree. Rows go to `visit`, or into the list of free pages.
  void walk(const Tree& tree) {
    Counts counts;
    const std::size_t faults = result_.faults.size();
    if (tree.root != kNoPage) walk_page(tree, counts, tree.root, 1, {}, {});
    if (result_.faults.size() != faults) return;  // Then the counts cannot be right.
    const bool right = counts.branches == tree.branch_pages && counts.leaves == tree.leaf_pages &&
                       counts.overflow == tree.overflow_pages && counts.rows == tree.entries;
    if (!right) {
      fault(tree, tree.root == kNoPage ? 0 : tree.root,
            "the tree counts " + std::to_string(tree.entries) + " rows and has " + std::to_string(counts.rows) +
                ", or counts other pages than it has",
            {}, {});
    }
  }

  // Both ends only.
  Status walk_ends(const Tree& tree) {
    Cursor cursor(bytes_, result_.version, tree);
    for (const bool first : {true, false}) {
      const Result<bool> there = first ? cursor.seek({}) : cursor.last();
      if (!there) return there.error();
      if (!*there) return Done{};
      if (Status run = cursor.check_run(); !run) return run;
    }
    return Done{};
  }

  // Every page is a meta page, in a tree, or free.
  void account() {
    const Version& version = result_.version;
    const std::uint64_t pages = pages_in_trees(version, result_.tables) + freed_;
    if (pages == version.last_page + 1) return;
    fault(version.free, 0,
          "the trees and the list of free pages make " + std::to_string(pages) + " pages, the file has " +
              std::to_string(version.last_page + 1),
          {}, {});
  }

 private:
  struct Counts {
    std::uint64_t branches = 0;
    std::uint64_t leaves = 0;
    std::uint64_t overflow = 0;
    std::uint64_t rows = 0;
  };

  void fault(const Tree& tree, std::uint64_t page, std::string what, std::string_view from,
             const std::optional<std::string>& to) {
    if (result_.faults.size() >= kFaultsMax) {
      ++result_.more_faults;
      return;
    }
    result_.faults.push_back(
        {tree.name, page, page * result_.version.page_bytes, std::move(what), std::string(from), to});
  }

  // False: it was seen before.
  bool take(std::uint64_t page) {
    if (seen_[page]) return false;
    seen_[page] = true;
    return true;
  }

  void walk_page(const Tree& tree, Counts& counts, std::uint64_t number, std::size_t depth, const std::string& low,
                 const std::optional<std::string>& high) {
    Page page;
    if (Status loaded = load_tree_page(bytes_, result_.version, tree, number, depth, low, high, page); !loaded) {
      return fault(tree, number, loaded.error().message, low, high);
    }
    if (!take(number)) return fault(tree, number, "it is used twice", low, high);
    if (++result_.pages % kProgressPages == 0 && progress) progress(result_.pages);
    ++(page.leaf() ? counts.leaves : counts.branches);
    for (std::size_t i = 0; i < page.count(); ++i) {
      if (page.leaf()) {
        walk_row(tree, counts, page, i, high);
        continue;
      }
      const std::string from = i == 0 ? low : std::string(page.key(i));
      const std::optional<std::string> to = i + 1 < page.count() ? std::string(page.key(i + 1)) : high;
      walk_page(tree, counts, page.child(i), depth + 1, from, to);
    }
  }

  void walk_row(const Tree& tree, Counts& counts, const Page& page, std::size_t i,
                const std::optional<std::string>& high) {
    ++counts.rows;
    std::string_view value = page.inlined(i);
    if (page.overflows(i)) {
      const std::optional<std::string> to = i + 1 < page.count() ? std::string(page.key(i + 1)) : high;
      const Result<OverflowRun> run = overflow_run(bytes_, result_.version, page, i);
      if (!run) return fault(tree, page.number(), run.error().message, page.key(i), to);
      for (std::uint64_t k = 0; k < run->pages; ++k) {
        if (!take(run->first + k)) return fault(tree, run->first + k, "it is used twice", page.key(i), to);
      }
      counts.overflow += run->pages;
      result_.pages += run->pages;
      value_.resize(page.value_bytes(i));
      if (Status read = bytes_.read(run->first * result_.version.page_bytes + 16, value_); !read) {
        return fault(tree, run->first, read.error().message, page.key(i), to);
      }
      value = value_;
    }
    if (tree.numbered) {
      const auto take_free = [this](std::uint64_t free) {
        ++freed_;
        return take(free);
      };
      std::string what = check_free_row(result_.version, page.key(i), value, take_free);
      if (!what.empty()) fault(tree, page.number(), std::move(what), page.key(i), {});
    } else if (&tree != &result_.version.tables) {
      ++result_.rows;
      if (visit) visit(tree, page.key(i), value);
    }
  }

  const ByteSource& bytes_;
  WholeCheck& result_;
  std::vector<bool> seen_;
  std::uint64_t freed_ = 0;
  std::string value_;
};

Result<WholeCheck> begin(const ByteSource& bytes) {
  WholeCheck result;
  Result<Version> version = read_version(bytes);
  if (!version) return version.error();
  result.version = std::move(*version);
  const std::uint64_t transaction = result.version.transaction;
  const auto check = [&bytes](const Version& version) {
    Cursor free(bytes, version, version.free);
    return check_number(free, version);
  };
  if (Status number = check(result.version); !number) return number.error();
  // The version before is whole, too, until the next commit.
  const Result<Version> older = read_version(bytes, transaction == 0 ? 0 : transaction - 1);
  if (!older && older.error().code != ErrorCode::kNotFound) return older.error();
  if (older) {
    if (Status number = check(*older); !number) return number.error();
  }
  const Result<std::uint64_t> size = bytes.size();
  if (!size) return size.error();
  result.file_bytes = *size;
  Result<std::vector<Tree>> tables = read_tables(bytes, result.version);
  if (!tables) return tables.error();
  result.tables = std::move(*tables);
  return result;
}

Error first_fault(const WholeCheck& result) {
  const Fault& fault = result.faults.front();
  return Error{ErrorCode::kCorrupt, located(result.version, fault.page, fault.table, fault.what)};
}

}  // namespace

// LMDB copies every page that it changes, and splits at worst one page for
// every half page of new bytes. Entries are deleted in runs, several to a page, and the pages they leave are used
// again.
std::uint64_t pages_needed(const std::vector<Write>& writes, std::uint64_t pages_used, std::uint64_t page_bytes) {
  constexpr std::uint64_t kSlack = 24;  // Branches, roots, LMDB's list of free pages.
  std::uint64_t bytes = 0;
  std::uint64_t puts = 0;
  for (const Write& write : writes) {
    puts += write.value ? 1 : 0;
    bytes += 16 + write.key.size() + (write.value ? write.value->size() : 0);
  }
  const std::uint64_t touched = puts + puts / 16 + (writes.size() - puts) / 4;
  return 2 * (bytes / page_bytes + 1) + std::min(touched, pages_used) + kSlack;
}

std::uint64_t pages_in_trees(const Version& version, const std::vector<Tree>& tables) {
  std::uint64_t pages = kMetaPages;
  const auto add = [&pages](const Tree& tree) { pages += tree.branch_pages + tree.leaf_pages + tree.overflow_pages; };
  add(version.free);
  add(version.tables);
  for (const Tree& tree : tables) add(tree);
  return pages;
}

Result<WholeCheck> check_whole(const ByteSource& bytes, const VisitRow& visit,
                               const std::function<void(std::uint64_t)>& progress) {
  Result<WholeCheck> result = begin(bytes);
  if (!result) return result;
  Checker checker(bytes, *result);
  checker.visit = visit;
  checker.progress = progress;
  checker.walk(result->version.tables);
  for (const Tree& tree : result->tables) checker.walk(tree);
  checker.walk(result->version.free);
  if (result->faults.empty()) checker.account();
  return result;
}

Status check_quick(const ByteSource& bytes) {
  Result<WholeCheck> result = begin(bytes);
  if (!result) return result.error();
  Checker checker(bytes, *result);
  checker.walk(result->version.tables);
  for (const Tree& tree : result->tables) {
    if (tree.leaf_pages <= kSmallLeaves) {
      checker.walk(tree);
    } else if (Status ends = checker.walk_ends(tree); !ends) {
      return ends;
    }
  }
  checker.walk(result->version.free);
  if (result->faults.empty()) checker.account();
  if (!result->faults.empty()) return first_fault(*result);
  return Done{};
}

Status check_before_use(const ByteSource& bytes, bool writer) {
  const Result<std::uint64_t> size = bytes.size();
  if (!size || *size == 0) return Done{};
  Status holds = Done{};
  for (int attempt = 0; attempt < kMetaAttempts; ++attempt) {
    const Result<Version> before = read_version(bytes);
    holds = !before ? Status(before.error()) : writer ? check_quick(bytes) : Status(Done{});
    if (holds) return holds;
    const Result<Version> after = read_version(bytes);
    if (before && after && before->transaction == after->transaction) break;
  }
  return holds;
}

namespace {

// LMDB takes free pages from the oldest row on and puts newer ones at the end.
Status check_free_list(const ByteSource& bytes, const Version& version) {
  Cursor cursor(bytes, version, version.free);
  Result<bool> there = cursor.seek({});
  for (std::uint64_t rows = 0; there && *there; there = cursor.next(), ++rows) {
    const Result<std::string_view> row = cursor.value();
    if (!row) return row.error();
    const std::string what = check_free_row(version, cursor.key(), *row, [](std::uint64_t) { return true; });
    if (!what.empty()) return Error{ErrorCode::kCorrupt, located(version, cursor.page(), version.free.name, what)};
    if (rows == kFreeLeavesPerCommit) break;
  }
  if (!there) return there.error();
  return check_number(cursor, version);
}

// What was looked at already for this commit.
struct Looked {
  bool end = false;
  std::uint64_t beside = 0;  // The leaf whose neighbours were.
};

Status check_write(Cursor& cursor, const Write& write, Looked& looked) {
  const bool appends = write.table == Table::kEntries && write.value.has_value();
  if (appends && looked.end) return Done{};
  Result<bool> there = appends ? cursor.last() : cursor.seek(write.key);
  if (there && !*there) there = cursor.last();
  if (!there) return there.error();
  if (!*there) return Done{};
  looked.end = looked.end || appends;
  if (Status run = cursor.check_run(); !run) return run;
  if (write.value || looked.beside == cursor.page()) return Done{};
  looked.beside = cursor.page();
  return cursor.check_neighbours();
}

}  // namespace

Result<std::uint64_t> check_writes(const ByteSource& bytes, std::uint64_t transaction, const std::vector<Write>& writes,
                                   std::span<const char* const> table_names) {
  const Result<Version> version = read_version(bytes, transaction);
  if (!version) return version.error();
  const Result<std::vector<Tree>> tables = read_tables(bytes, *version);
  if (!tables) return tables.error();
  if (Status free = check_free_list(bytes, *version); !free) return free.error();
  for (std::size_t t = 0; t < table_names.size(); ++t) {
    const auto tree = std::ranges::find(*tables, table_names[t], &Tree::name);
    if (tree == tables->end()) {
      return Error{ErrorCode::kCorrupt, std::string("there is no table ") + table_names[t]};
    }
    Cursor cursor(bytes, *version, *tree);
    Looked looked;
    for (const Write& write : writes) {
      if (static_cast<std::size_t>(write.table) != t) continue;
      if (Status holds = check_write(cursor, write, looked); !holds) return holds.error();
    }
  }
  return pages_in_trees(*version, *tables);
}

}  // namespace nodemeter::lmdb_pages
