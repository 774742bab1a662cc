#include "store/lmdb_pages.h"

#include <algorithm>
#include <array>
#include <bit>
#include <utility>

#include "platform/data_file.h"

namespace nodemeter::lmdb_pages {

namespace {

constexpr std::size_t kPageHead = 16;
constexpr std::size_t kNodeHead = 8;
constexpr std::size_t kTreeBytes = 48;
constexpr std::size_t kMetaBytes = kPageHead + 136;
constexpr std::size_t kNumberBytes = 8;
constexpr std::size_t kKeyMax = 511;
constexpr std::uint64_t kPageBytesMin = 512;
constexpr std::uint64_t kPageBytesMax = 32'768;
constexpr std::uint64_t kMapBytesMax = 1ull << 46;
constexpr std::uint16_t kDepthMax = 32;

constexpr std::uint16_t kBranch = 1;
constexpr std::uint16_t kLeaf = 2;
constexpr std::uint16_t kOverflow = 4;
constexpr std::uint16_t kMeta = 8;

constexpr std::uint16_t kBigData = 1;
constexpr std::uint16_t kSubTree = 2;

constexpr std::string_view kTablesName = "tables";

constexpr std::uint32_t kMagic = 0xBEEFC0DE;
constexpr std::uint32_t kLayout = 1;
constexpr std::uint16_t kNumberedKeys = 8;
constexpr std::uint16_t kMadeAsFile = 0x4000;  // LMDB was given the file's name, not the directory's.

std::uint64_t little(std::string_view bytes, std::size_t at, std::size_t width) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < width; ++i) value |= std::uint64_t{static_cast<std::uint8_t>(bytes[at + i])} << (8 * i);
  return value;
}
std::uint16_t u16(std::string_view bytes, std::size_t at) { return static_cast<std::uint16_t>(little(bytes, at, 2)); }
std::uint32_t u32(std::string_view bytes, std::size_t at) { return static_cast<std::uint32_t>(little(bytes, at, 4)); }
std::uint64_t u64(std::string_view bytes, std::size_t at) { return little(bytes, at, 8); }

constexpr std::size_t even(std::size_t n) { return (n + 1) & ~std::size_t{1}; }

Error corrupt(std::string what) { return Error{ErrorCode::kCorrupt, std::move(what)}; }

class FileBytes final : public ByteSource {
 public:
  explicit FileBytes(DataFile file) : file_(std::move(file)) {}
  [[nodiscard]] Result<std::uint64_t> size() const override { return file_.size(); }
  [[nodiscard]] Status read(std::uint64_t offset, std::span<char> into) const override {
    const Result<std::size_t> n = file_.read_at(offset, into);
    if (!n) return corrupt(n.error().message);
    if (*n < into.size()) return corrupt("the file ends at byte " + std::to_string(offset + *n));
    return Done{};
  }

 private:
  DataFile file_;
};

class MemoryBytes final : public ByteSource {
 public:
  explicit MemoryBytes(std::string_view bytes) : bytes_(bytes) {}
  [[nodiscard]] Result<std::uint64_t> size() const override { return std::uint64_t{bytes_.size()}; }
  [[nodiscard]] Status read(std::uint64_t offset, std::span<char> into) const override {
    if (offset > bytes_.size() || into.size() > bytes_.size() - offset) {
      return corrupt("the file ends at byte " + std::to_string(bytes_.size()));
    }
    std::copy_n(bytes_.data() + offset, into.size(), into.data());
    return Done{};
  }

 private:
  std::string_view bytes_;
};

// What a tree says about itself, before any of its pages is read. "": it may be.
std::string check_tree(const Tree& tree, std::uint16_t flags, std::uint64_t last_page) {
  const bool known = tree.numbered ? (flags & ~kMadeAsFile) == kNumberedKeys : flags == 0;
  if (!known) return "flags " + std::to_string(flags);
  const std::uint64_t pages[] = {tree.branch_pages, tree.leaf_pages, tree.overflow_pages};
  for (const std::uint64_t n : pages) {
    if (n > last_page) return "it counts " + std::to_string(n) + " pages of one kind";
  }
  if (tree.root == kNoPage) {
    const bool empty = tree.depth == 0 && tree.entries == 0 && pages[0] + pages[1] + pages[2] == 0;
    return empty ? "" : "it has no root and is not empty";
  }
  if (tree.root < kMetaPages || tree.root > last_page) return "its root is page " + std::to_string(tree.root);
  if (tree.depth == 0 || tree.depth > kDepthMax) return "its depth is " + std::to_string(tree.depth);
  if (tree.leaf_pages == 0 || tree.entries == 0) return "it counts no leaf or no entry";
  return "";
}

Result<Tree> tree_of(std::string_view bytes, std::uint64_t last_page, std::string name, bool numbered) {
  Tree tree;
  tree.name = std::move(name);
  tree.numbered = numbered;
  tree.depth = u16(bytes, 6);
  tree.branch_pages = u64(bytes, 8);
  tree.leaf_pages = u64(bytes, 16);
  tree.overflow_pages = u64(bytes, 24);
  tree.entries = u64(bytes, 32);
  tree.root = u64(bytes, 40);
  if (const std::string fault = check_tree(tree, u16(bytes, 4), last_page); !fault.empty()) {
    return corrupt("the tree of " + tree.name + ": " + fault);
  }
  return tree;
}

// The version in meta page `index`, of which these are the first kMetaBytes. The message of an error names the page.
Result<Version> meta_page(std::string_view page, std::uint64_t index) {
  const auto wrong = [index](const std::string& what) {
    return corrupt("meta page " + std::to_string(index) + ": " + what);
  };
  const std::string_view meta = page.substr(kPageHead);
  if (u64(page, 0) != index) return wrong("its own number is " + std::to_string(u64(page, 0)));
  if (u16(page, 10) != kMeta) return wrong("its kind is " + std::to_string(u16(page, 10)));
  if (u32(meta, 0) != kMagic) return wrong("this is not a file of LMDB");
  if (u32(meta, 4) != kLayout) return wrong("its layout is " + std::to_string(u32(meta, 4)));
  Version version;
  version.map_bytes = u64(meta, 16);
  version.page_bytes = u32(meta, 24);
  version.last_page = u64(meta, 120);
  version.transaction = u64(meta, 128);
  if (version.page_bytes < kPageBytesMin || version.page_bytes > kPageBytesMax ||
      !std::has_single_bit(version.page_bytes)) {
    return wrong("pages of " + std::to_string(version.page_bytes) + " bytes");
  }
  if (version.last_page < kMetaPages - 1 || version.last_page >= kMapBytesMax / version.page_bytes) {
    return wrong("its last page is " + std::to_string(version.last_page));
  }
  if (version.map_bytes > kMapBytesMax || version.map_bytes / version.page_bytes < version.last_page) {
    return wrong("a map of " + std::to_string(version.map_bytes) + " bytes");
  }
  Result<Tree> free = tree_of(meta.substr(24, kTreeBytes), version.last_page, "free pages", true);
  if (!free) return wrong(free.error().message);
  Result<Tree> tables = tree_of(meta.substr(72, kTreeBytes), version.last_page, std::string(kTablesName), false);
  if (!tables) return wrong(tables.error().message);
  version.free = std::move(*free);
  version.tables = std::move(*tables);
  return version;
}

// Both meta pages, by one read where pages are as long as usual.
Result<std::array<Version, 2>> meta_pages(const ByteSource& bytes, std::uint64_t file_bytes) {
  constexpr std::size_t kUsualPageBytes = 4'096;
  std::array<char, kUsualPageBytes + kMetaBytes> raw;  // NOLINT(cppcoreguidelines-pro-type-member-init): read into
  const std::size_t there = std::min<std::uint64_t>(file_bytes, raw.size());
  if (there < kMetaBytes) return corrupt("meta page 0: the file ends at byte " + std::to_string(file_bytes));
  if (Status read = bytes.read(0, {raw.data(), there}); !read) return corrupt("meta page 0: " + read.error().message);
  Result<Version> first = meta_page({raw.data(), kMetaBytes}, 0);
  if (!first) return first.error();
  std::size_t at = first->page_bytes;
  if (at + kMetaBytes > there) {
    if (Status read = bytes.read(at, {raw.data(), kMetaBytes}); !read) {
      return corrupt("meta page 1: " + read.error().message);
    }
    at = 0;
  }
  Result<Version> second = meta_page({raw.data() + at, kMetaBytes}, 1);
  if (!second) return second.error();
  return std::array<Version, 2>{std::move(*first), std::move(*second)};
}

// Does the second follow the first as commits do? They write the pages in turn: a number that changed by itself shows.
bool consecutive(const Version& even_one, const Version& odd_one) {
  const std::uint64_t a = even_one.transaction;
  const std::uint64_t b = odd_one.transaction;
  if (a == 0 && b == 0) return true;  // Nothing was ever committed.
  return a % 2 == 0 && b % 2 == 1 && (a + 1 == b || b + 1 == a);
}

}  // namespace

Result<std::shared_ptr<const ByteSource>> open_bytes(const std::filesystem::path& file) {
  Result<DataFile> opened = DataFile::open(file);
  if (!opened) return opened.error();
  return std::shared_ptr<const ByteSource>(std::make_shared<FileBytes>(std::move(opened).value()));
}

std::shared_ptr<const ByteSource> bytes_in_memory(std::string_view bytes) {
  return std::make_shared<MemoryBytes>(bytes);
}

Result<Version> read_version(const ByteSource& bytes, std::optional<std::uint64_t> transaction) {
  const Result<std::uint64_t> size = bytes.size();
  if (!size) return size.error();
  Result<std::array<Version, 2>> both = meta_pages(bytes, *size);
  if (!both) return both.error();
  auto& [first, second] = *both;
  if (first.page_bytes != second.page_bytes) return corrupt("the meta pages disagree about the size of pages");
  if (!consecutive(first, second)) {
    return corrupt("the meta pages are of transactions " + std::to_string(first.transaction) + " and " +
                   std::to_string(second.transaction) + ", which do not follow each other");
  }
  Version& newer = first.transaction < second.transaction ? second : first;
  if (newer.last_page >= *size / newer.page_bytes) {
    return corrupt("the file is cut short: it has " + std::to_string(*size) + " bytes and refers to " +
                   std::to_string((newer.last_page + 1) * newer.page_bytes));
  }
  if (!transaction || newer.transaction == *transaction) return std::move(newer);
  Version& older = &newer == &first ? second : first;
  if (older.transaction == *transaction) return std::move(older);
  return Error{ErrorCode::kNotFound, "transaction " + std::to_string(*transaction) + " was overtaken"};
}

int compare_keys(bool numbered, std::string_view a, std::string_view b) {
  if (!numbered) return a.compare(b);
  const std::uint64_t x = u64(a, 0);
  const std::uint64_t y = u64(b, 0);
  return x < y ? -1 : x > y ? 1 : 0;
}

std::string located(const Version& version, std::uint64_t page, std::string_view table, std::string_view what) {
  return "page " + std::to_string(page) + " (byte " + std::to_string(page * version.page_bytes) + "), table " +
         std::string(table) + ": " + std::string(what);
}

// ---- Pages ----

Status Page::load(const ByteSource& bytes, const Version& version, std::uint64_t number, bool numbered) {
  number_ = number;
  nodes_.clear();
  if (number < kMetaPages || number > version.last_page) return corrupt("there is no such page in the file");
  bytes_.resize(version.page_bytes);
  if (Status read = bytes.read(number * version.page_bytes, bytes_); !read) return read;
  if (const std::string fault = check(version.page_bytes, numbered); !fault.empty()) return corrupt(fault);
  return Done{};
}

std::string Page::check(std::uint64_t page_bytes, bool numbered) {
  if (u64(bytes_, 0) != number_) return "its own number is " + std::to_string(u64(bytes_, 0));
  const std::uint16_t kind = u16(bytes_, 10);
  if (kind != kLeaf && kind != kBranch) return "it is no page of a tree (kind " + std::to_string(kind) + ")";
  leaf_ = kind == kLeaf;
  const std::size_t lower = u16(bytes_, 12);
  const std::size_t upper = u16(bytes_, 14);
  if (lower <= kPageHead || lower % 2 != 0 || upper < lower || upper > page_bytes) {
    return "its room is from " + std::to_string(lower) + " to " + std::to_string(upper);
  }
  nodes_.resize((lower - kPageHead) / 2);
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    nodes_[i] = u16(bytes_, kPageHead + 2 * i);
    if (nodes_[i] < upper) return "node " + std::to_string(i) + " lies outside";
    if (std::string fault = check_node(nodes_[i], page_bytes); !fault.empty()) {
      return "node " + std::to_string(i) + ": " + fault;
    }
    const bool named = leaf_ || i > 0;
    if (named && (key(i).empty() || (numbered && key(i).size() != kNumberBytes))) {
      return "node " + std::to_string(i) + " has a key of " + std::to_string(key(i).size()) + " bytes";
    }
    if (i > (leaf_ ? 0u : 1u) && compare_keys(numbered, key(i - 1), key(i)) >= 0) {
      return "node " + std::to_string(i) + ": its key is out of order";
    }
  }
  return check_packed(upper, page_bytes);
}

std::string Page::check_node(std::size_t at, std::size_t page_bytes) {
  if (at % 2 != 0 || at + kNodeHead > page_bytes) return "it lies outside";
  const std::uint16_t flags = u16(bytes_, at + 4);
  const std::size_t key_bytes = u16(bytes_, at + 6);
  if (key_bytes > kKeyMax) return "a key of " + std::to_string(key_bytes) + " bytes";
  std::size_t size = kNodeHead + key_bytes;
  if (leaf_) {
    if (flags > kSubTree) return "flags " + std::to_string(flags);
    size += flags == kBigData ? kNumberBytes : std::size_t{u32(bytes_, at)};
    if (flags == kSubTree && size != kNodeHead + key_bytes + kTreeBytes) return "a tree of another size";
  }
  if (at + size > page_bytes) return std::to_string(size) + " bytes do not fit";
  return "";
}

// Nodes lie without holes and without overlaps.
std::string Page::check_packed(std::size_t upper, std::size_t page_bytes) const {
  std::vector<std::uint16_t> order = nodes_;
  std::sort(order.begin(), order.end());
  std::size_t expected = upper;
  for (const std::size_t at : order) {
    if (at != expected) return "its nodes overlap or leave a hole at " + std::to_string(expected);
    std::size_t size = kNodeHead + u16(bytes_, at + 6);
    if (leaf_) size += u16(bytes_, at + 4) == kBigData ? kNumberBytes : std::size_t{u32(bytes_, at)};
    expected = at + even(size);
  }
  return expected == page_bytes ? "" : "its nodes end at " + std::to_string(expected);
}

std::string_view Page::key(std::size_t i) const {
  if (!leaf_ && i == 0) return {};
  const std::size_t at = nodes_[i];
  return std::string_view(bytes_).substr(at + kNodeHead, u16(bytes_, at + 6));
}

std::uint64_t Page::child(std::size_t i) const {
  const std::size_t at = nodes_[i];
  return std::uint64_t{u32(bytes_, at)} | std::uint64_t{u16(bytes_, at + 4)} << 32;
}

bool Page::overflows(std::size_t i) const { return u16(bytes_, nodes_[i] + 4u) == kBigData; }
bool Page::holds_tree(std::size_t i) const { return u16(bytes_, nodes_[i] + 4u) == kSubTree; }
std::uint64_t Page::value_bytes(std::size_t i) const { return u32(bytes_, nodes_[i]); }
std::uint64_t Page::overflow_page(std::size_t i) const { return u64(inlined(i), 0); }

std::string_view Page::inlined(std::size_t i) const {
  const std::size_t at = nodes_[i];
  const std::size_t size = overflows(i) ? kNumberBytes : std::size_t{u32(bytes_, at)};
  return std::string_view(bytes_).substr(at + kNodeHead + u16(bytes_, at + 6), size);
}

Status load_tree_page(const ByteSource& bytes, const Version& version, const Tree& tree, std::uint64_t number,
                      std::size_t depth, std::string_view low, const std::optional<std::string>& high, Page& page) {
  if (Status loaded = page.load(bytes, version, number, tree.numbered); !loaded) return loaded;
  if (page.leaf() != (depth == tree.depth)) return corrupt("a leaf or a branch at the wrong depth");
  if (!page.leaf() && page.count() < 2 && !tree.numbered) return corrupt("a branch with one child");
  const bool tables = tree.name == kTablesName;
  for (std::size_t i = 0; page.leaf() && i < page.count(); ++i) {
    if (page.holds_tree(i) != tables) return corrupt("a tree among values, or a value among trees");
  }
  const std::size_t named = page.leaf() ? 0 : 1;
  if (page.count() <= named) return Done{};
  const bool below = !low.empty() && compare_keys(tree.numbered, page.key(named), low) < 0;
  const bool above = high && compare_keys(tree.numbered, page.key(page.count() - 1), *high) >= 0;
  if (below || above) return corrupt("its keys belong elsewhere");
  return Done{};
}

Result<OverflowRun> overflow_run(const ByteSource& bytes, const Version& version, const Page& leaf, std::size_t i) {
  OverflowRun run;
  run.first = leaf.overflow_page(i);
  const std::string name = "its overflow run at page " + std::to_string(run.first);
  if (run.first < kMetaPages || run.first > version.last_page) return corrupt(name + ": there is no such page");
  std::array<char, kPageHead> head{};
  if (Status read = bytes.read(run.first * version.page_bytes, head); !read) {
    return corrupt(name + ": " + read.error().message);
  }
  const std::string_view page(head.data(), head.size());
  run.pages = u32(page, 12);
  const std::uint64_t needed = (kPageHead + leaf.value_bytes(i) + version.page_bytes - 1) / version.page_bytes;
  if (u64(page, 0) != run.first) return corrupt(name + ": its own number is " + std::to_string(u64(page, 0)));
  if (u16(page, 10) != kOverflow) return corrupt(name + ": its kind is " + std::to_string(u16(page, 10)));
  if (run.pages < needed || run.pages > version.last_page + 1 - run.first) {
    return corrupt(name + ": it has " + std::to_string(run.pages) + " pages for a value of " +
                   std::to_string(leaf.value_bytes(i)) + " bytes");
  }
  return run;
}

Result<Tree> decode_tree(std::string_view bytes, const Version& version, std::string name) {
  if (bytes.size() != kTreeBytes) return corrupt("the tree of " + name + " has another size");
  return tree_of(bytes, version.last_page, std::move(name), false);
}

// ---- Cursor ----

Error Cursor::corrupt(std::uint64_t page, std::string_view what) const {
  return Error{ErrorCode::kCorrupt, located(version_, page, tree_.name, what)};
}

Status Cursor::load_level(std::uint64_t number, Level& level, std::size_t depth) const {
  Status loaded = load_tree_page(bytes_, version_, tree_, number, depth, level.low, level.high, level.page);
  if (!loaded) return corrupt(number, loaded.error().message);
  return Done{};
}

Status Cursor::push(std::uint64_t number, std::string low, std::optional<std::string> high) {
  Level level;
  level.low = std::move(low);
  level.high = std::move(high);
  if (Status loaded = load_level(number, level, levels_.size() + 1); !loaded) return loaded;
  levels_.push_back(std::move(level));
  return Done{};
}

Status Cursor::push_child() {
  const Level& parent = levels_.back();
  const std::size_t i = parent.index;
  std::string low = i == 0 ? parent.low : std::string(parent.page.key(i));
  std::optional<std::string> high = parent.high;
  if (i + 1 < parent.page.count()) high = std::string(parent.page.key(i + 1));
  return push(parent.page.child(i), std::move(low), std::move(high));
}

Status Cursor::descend(Side side) {
  while (!levels_.back().page.leaf()) {
    if (Status pushed = push_child(); !pushed) return pushed;
    levels_.back().index = side == Side::kFirst ? 0 : levels_.back().page.count() - 1;
  }
  return Done{};
}

Result<bool> Cursor::seek(std::string_view from) {
  if (tree_.root == kNoPage) return false;
  const auto before = [&](std::string_view a, std::string_view b) {
    return !b.empty() && (a.empty() || compare_keys(tree_.numbered, a, b) < 0);
  };
  const auto belongs = [&](const Level& level) {
    return !before(from, level.low) && !(level.high && !before(from, *level.high));
  };
  while (!levels_.empty() && !belongs(levels_.back())) levels_.pop_back();
  if (levels_.empty()) {
    if (Status pushed = push(tree_.root, {}, {}); !pushed) return pushed.error();
  }
  while (!levels_.back().page.leaf()) {
    Level& branch = levels_.back();
    branch.index = 0;
    std::size_t high = branch.page.count();
    while (high - branch.index > 1) {
      const std::size_t middle = branch.index + (high - branch.index) / 2;
      (before(from, branch.page.key(middle)) ? high : branch.index) = middle;
    }
    if (Status pushed = push_child(); !pushed) return pushed.error();
  }
  Level& leaf = levels_.back();
  std::size_t low = 0;
  std::size_t high = leaf.page.count();
  while (low < high) {
    const std::size_t middle = low + (high - low) / 2;
    if (before(leaf.page.key(middle), from)) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  if (low < leaf.page.count()) {
    leaf.index = low;
    return true;
  }
  leaf.index = leaf.page.count() - 1;
  return step(Side::kLast);
}

Result<bool> Cursor::last() {
  if (tree_.root == kNoPage) return false;
  while (!levels_.empty() && levels_.back().high) levels_.pop_back();  // What has no bound is on the way to the end.
  if (levels_.empty()) {
    if (Status pushed = push(tree_.root, {}, {}); !pushed) return pushed.error();
  }
  levels_.back().index = levels_.back().page.count() - 1;
  if (Status down = descend(Side::kLast); !down) return down.error();
  return true;
}

Result<bool> Cursor::next() { return step(Side::kLast); }
Result<bool> Cursor::previous() { return step(Side::kFirst); }

// One entry towards that side of the tree. False: there is none, and the cursor stays.
Result<bool> Cursor::step(Side towards) {
  for (std::size_t i = levels_.size(); i-- > 0;) {
    const std::size_t at = levels_[i].index;
    if (towards == Side::kLast ? at + 1 >= levels_[i].page.count() : at == 0) continue;
    levels_.erase(levels_.begin() + static_cast<std::ptrdiff_t>(i) + 1, levels_.end());
    levels_[i].index = towards == Side::kLast ? at + 1 : at - 1;
    if (Status down = descend(towards == Side::kLast ? Side::kFirst : Side::kLast); !down) return down.error();
    return true;
  }
  return false;
}

Result<std::string_view> Cursor::value() {
  const Level& leaf = levels_.back();
  if (!leaf.page.overflows(leaf.index)) return leaf.page.inlined(leaf.index);
  const Result<OverflowRun> run = overflow_run(bytes_, version_, leaf.page, leaf.index);
  if (!run) return corrupt(leaf.page.number(), run.error().message);
  value_.resize(leaf.page.value_bytes(leaf.index));
  if (Status read = bytes_.read(run->first * version_.page_bytes + kPageHead, value_); !read) {
    return corrupt(run->first, read.error().message);
  }
  return std::string_view(value_);
}

Status Cursor::check_run() const {
  const Level& leaf = levels_.back();
  if (!leaf.page.overflows(leaf.index)) return Done{};
  const Result<OverflowRun> run = overflow_run(bytes_, version_, leaf.page, leaf.index);
  if (!run) return corrupt(leaf.page.number(), run.error().message);
  return Done{};
}

Status Cursor::check_neighbours() const {
  for (std::size_t i = 0; i + 1 < levels_.size(); ++i) {
    const Level& parent = levels_[i];
    for (const bool left : {true, false}) {
      if (left ? parent.index == 0 : parent.index + 1 >= parent.page.count()) continue;
      Level sibling;
      const std::size_t at = left ? parent.index - 1 : parent.index + 1;
      if (Status loaded = load_level(parent.page.child(at), sibling, i + 2); !loaded) return loaded;
    }
  }
  return Done{};
}

Status check_number(Cursor& free, const Version& version) {
  if (version.transaction < 2) return Done{};  // The first one has nothing to free.
  const Result<bool> there = free.last();
  if (!there) return there.error();
  const std::uint64_t newest = *there ? u64(free.key(), 0) : 0;
  if (newest == version.transaction) return Done{};
  return corrupt("meta page " + std::to_string(version.transaction % 2) + " is of transaction " +
                 std::to_string(version.transaction) + ", its pages are of " + std::to_string(newest));
}

Result<std::vector<Tree>> read_tables(const ByteSource& bytes, const Version& version) {
  std::vector<Tree> tables;
  Cursor cursor(bytes, version, version.tables);
  Result<bool> there = cursor.seek({});
  for (; there && *there; there = cursor.next()) {
    const Result<std::string_view> row = cursor.value();
    if (!row) return row.error();
    Result<Tree> tree = decode_tree(*row, version, std::string(cursor.key()));
    if (!tree) {
      return Error{ErrorCode::kCorrupt, located(version, cursor.page(), version.tables.name, tree.error().message)};
    }
    tables.push_back(std::move(*tree));
  }
  if (!there) return there.error();
  return tables;
}

}  // namespace nodemeter::lmdb_pages
