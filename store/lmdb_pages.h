// LMDB 0.9's data file, read without trusting a byte of it.
//
// LMDB follows whatever its pages say: one flipped bit may end the process. Here every number is checked before it is
// used: page numbers against the file, each page against its own number, its kind and its level in the tree, offsets
// and sizes against the page, the order of keys, and keys against the separators above them. What does not hold is
// kCorrupt with page, byte and table; nothing here ends the process, loops or takes more memory than the file has
// bytes.
//
// The file's layout on a 64-bit little-endian machine, as far as it is used here:
//   page   u64 own number, u16 unused, u16 kind, then u16 lower and u16 upper (overflow: u32 pages of the run);
//          u16 offsets of the nodes from byte 16 to `lower`, the nodes packed from `upper` to the end
//   node   u32 low half of size or page, u16 flags (branch: the page's upper half), u16 key size, key, data
//   tree   u32 unused, u16 flags, u16 depth, u64 branch, leaf and overflow pages, u64 entries, u64 root page
//   meta   pages 0 and 1, written in turn: u32 magic, u32 version, u64 address, u64 map size, tree of free pages (its
//          unused word is the page size), tree of tables, u64 last page, u64 transaction
//
// Threads: whatever the ByteSource allows; no state is shared.

#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "platform/result.h"

namespace nodemeter::lmdb_pages {

// Where the bytes come from: a file, or memory in tests.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  ByteSource(const ByteSource&) = delete;
  ByteSource& operator=(const ByteSource&) = delete;
  // kUnavailable.
  [[nodiscard]] virtual Result<std::uint64_t> size() const = 0;
  // Fills `into`. kCorrupt: the file ends before, or the disk cannot read it.
  [[nodiscard]] virtual Status read(std::uint64_t offset, std::span<char> into) const = 0;

 protected:
  ByteSource() = default;
};

// kNotFound, kPermissionDenied, kUnavailable.
Result<std::shared_ptr<const ByteSource>> open_bytes(const std::filesystem::path& file);
// `bytes` must outlive the source.
std::shared_ptr<const ByteSource> bytes_in_memory(std::string_view bytes);

inline constexpr std::uint64_t kNoPage = UINT64_MAX;
inline constexpr std::uint64_t kMetaPages = 2;

struct Tree {
  std::string name;       // "entries"; LMDB's own: "free pages", "tables".
  bool numbered = false;  // Keys are 8-byte numbers.
  std::uint16_t depth = 0;
  std::uint64_t branch_pages = 0;
  std::uint64_t leaf_pages = 0;
  std::uint64_t overflow_pages = 0;
  std::uint64_t entries = 0;
  std::uint64_t root = kNoPage;  // kNoPage: empty.
};

// One of the two moments that the file keeps.
struct Version {
  std::uint64_t page_bytes = 0;
  std::uint64_t map_bytes = 0;
  std::uint64_t transaction = 0;
  std::uint64_t last_page = 0;
  Tree free;
  Tree tables;
};

// The newer version. kCorrupt: one of the meta pages does not hold, they do not follow each other, or the file is
// shorter than it says. `transaction`: that version instead, and kNotFound if it is neither (a writer went on).
Result<Version> read_version(const ByteSource& bytes, std::optional<std::uint64_t> transaction = {});

// A page of a tree whose structure holds: everything below is in bounds.
class Page {
 public:
  // Reads and checks page `number`. The message of an error says what is wrong, without naming the page.
  [[nodiscard]] Status load(const ByteSource& bytes, const Version& version, std::uint64_t number, bool numbered);

  [[nodiscard]] std::uint64_t number() const { return number_; }
  [[nodiscard]] bool leaf() const { return leaf_; }
  [[nodiscard]] std::size_t count() const { return nodes_.size(); }
  // In a branch the first key is empty: it stands for everything below the second.
  [[nodiscard]] std::string_view key(std::size_t i) const;
  [[nodiscard]] std::uint64_t child(std::size_t i) const;       // Of a branch.
  [[nodiscard]] std::string_view inlined(std::size_t i) const;  // Of a leaf: the value, or where its overflow run is.
  [[nodiscard]] bool overflows(std::size_t i) const;            // The value is in pages of its own.
  [[nodiscard]] bool holds_tree(std::size_t i) const;           // The value is a Tree.
  [[nodiscard]] std::uint64_t value_bytes(std::size_t i) const;
  [[nodiscard]] std::uint64_t overflow_page(std::size_t i) const;

 private:
  std::string check(std::uint64_t page_bytes, bool numbered);
  std::string check_node(std::size_t at, std::size_t page_bytes);
  std::string check_packed(std::size_t upper, std::size_t page_bytes) const;

  std::string bytes_;
  std::uint64_t number_ = 0;
  bool leaf_ = false;
  std::vector<std::uint16_t> nodes_;  // Offsets of the nodes.
};

// Loads a page of `tree` at `depth` (the root's is 1) whose keys have to be >= low and below `high`.
Status load_tree_page(const ByteSource& bytes, const Version& version, const Tree& tree, std::uint64_t number,
                      std::size_t depth, std::string_view low, const std::optional<std::string>& high, Page& page);

// The pages of a value that lies outside of its leaf. Checks the run's head.
struct OverflowRun {
  std::uint64_t first = 0;
  std::uint64_t pages = 0;
};
Result<OverflowRun> overflow_run(const ByteSource& bytes, const Version& version, const Page& leaf, std::size_t i);

// As LMDB orders keys.
int compare_keys(bool numbered, std::string_view a, std::string_view b);

// "page 7 (byte 28672), table entries: what"
std::string located(const Version& version, std::uint64_t page, std::string_view table, std::string_view what);

// Moves over one tree, checking each page that it comes to. After an error it must not be used any more.
class Cursor {
 public:
  // All must outlive the cursor.
  Cursor(const ByteSource& bytes, const Version& version, const Tree& tree)
      : bytes_(bytes), version_(version), tree_(tree) {}

  // To the first key >= `from` (of all, if empty), or to the last one; false: there is none. Reads no page again that
  // the way there shares with the last one.
  Result<bool> seek(std::string_view from);
  Result<bool> last();
  Result<bool> next();
  Result<bool> previous();

  // After a move that gave true, until the next one.
  [[nodiscard]] std::string_view key() const { return levels_.back().page.key(levels_.back().index); }
  Result<std::string_view> value();
  [[nodiscard]] std::uint64_t page() const { return levels_.back().page.number(); }
  // The head of the value's overflow run, if it has one: what a writer looks at when it replaces the value.
  [[nodiscard]] Status check_run() const;
  // The pages left and right of those that lead here: what a writer looks at when it deletes.
  [[nodiscard]] Status check_neighbours() const;

 private:
  struct Level {
    Page page;
    std::size_t index = 0;
    std::string low;                  // Keys of the page are >= low,
    std::optional<std::string> high;  // and below high.
  };
  enum class Side { kFirst, kLast };

  Status push(std::uint64_t number, std::string low, std::optional<std::string> high);
  Status push_child();
  Status load_level(std::uint64_t number, Level& level, std::size_t depth) const;
  Status descend(Side side);
  Result<bool> step(Side towards);
  [[nodiscard]] Error corrupt(std::uint64_t page, std::string_view what) const;

  const ByteSource& bytes_;
  const Version& version_;
  const Tree& tree_;
  std::vector<Level> levels_;
  std::string value_;
};

// Is it the version that its number says? A commit lists what it freed under its own number, so a meta page whose
// number changed by itself, into the one that fits its neighbour as well, shows. Requires that nobody commits
// meanwhile. `free` is over the version's tree of free pages; it is moved.
Status check_number(Cursor& free, const Version& version);

// The named tables, in the order of their names.
Result<std::vector<Tree>> read_tables(const ByteSource& bytes, const Version& version);
// A tree as the tables' leaf holds it. kCorrupt.
Result<Tree> decode_tree(std::string_view bytes, const Version& version, std::string name);

}  // namespace nodemeter::lmdb_pages
