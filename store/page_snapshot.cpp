#include "store/page_snapshot.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "platform/process.h"
#include "store/lmdb_check.h"

namespace nodemeter {

namespace {

using namespace lmdb_pages;

// The two meta pages cannot be read in one moment: what makes no sense may be a commit under way. Damage stays.
Result<Version> newest_version(const ByteSource& bytes) {
  constexpr int kAttemptsMax = 20;
  Result<Version> version = read_version(bytes);
  for (int attempt = 1; !version && attempt < kAttemptsMax; ++attempt) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    version = read_version(bytes);
  }
  return version;
}

class PageSnapshot final : public Snapshot {
 public:
  enum class Held { kAlways, kUntilOvertaken };

  PageSnapshot(std::shared_ptr<const ByteSource> bytes, std::shared_ptr<const void> pin, Version version, Held held)
      : bytes_(std::move(bytes)), pin_(std::move(pin)), version_(std::move(version)), held_(held) {}

  Status find_tables() {
    Result<std::vector<Tree>> tables = read_tables(*bytes_, version_);
    if (!tables) return tables.error();
    if (tables->empty()) return Error{ErrorCode::kNotFound, "the store has no tables"};
    for (std::size_t i = 0; i < kTableCount; ++i) {
      const auto tree = std::ranges::find(*tables, kTableNames[i], &Tree::name);
      if (tree == tables->end()) {
        return Error{ErrorCode::kCorrupt, std::string("there is no table ") + kTableNames[i]};
      }
      tables_[i] = *tree;
    }
    return Done{};
  }

  // A version's pages are given back by the commit after it, number n + 1. With no reader's slot in use LMDB takes what
  // commit m gave back from commit m + 2 on (it spares what the version before the newest needs): n + 3 at the
  // earliest, which runs while n + 2 is the newest.
  bool intact() const override {
    if (held_ == Held::kAlways) return true;
    const Result<Version> newest = newest_version(*bytes_);
    return newest && newest->transaction <= version_.transaction + 1;
  }

  Result<std::optional<std::string>> get(Table table, std::string_view key) const override {
    if (key.empty() || key.size() > kKeyBytesMax) return std::optional<std::string>{};
    std::optional<Cursor>& cursor = last_[static_cast<std::size_t>(table)];
    if (!cursor) cursor.emplace(*bytes_, version_, tree(table));
    Result<std::optional<std::string>> found = get(*cursor, key);
    if (!found) cursor.reset();
    return found;
  }

  Status scan(Table table, std::string_view from,
              const std::function<bool(std::string_view, std::string_view)>& visit) const override {
    Cursor cursor(*bytes_, version_, tree(table));
    Result<bool> there = cursor.seek(from);
    for (; there && *there; there = cursor.next()) {
      const Result<std::string_view> value = cursor.value();
      if (!value) return damaged(value.error());
      if (!visit(cursor.key(), *value)) return Done{};
    }
    return there ? Status(Done{}) : Status(damaged(there.error()));
  }

  Result<std::optional<std::pair<std::string, std::string>>> last_below(Table table,
                                                                        std::string_view below) const override {
    using Row = std::pair<std::string, std::string>;
    Cursor cursor(*bytes_, version_, tree(table));
    Result<bool> there = below.empty() ? Result<bool>(false) : cursor.seek(below);
    if (there) there = *there ? cursor.previous() : cursor.last();
    if (!there) return damaged(there.error());
    if (!*there) return std::optional<Row>{};
    const Result<std::string_view> value = cursor.value();
    if (!value) return damaged(value.error());
    return std::optional<Row>(Row(cursor.key(), *value));
  }

 private:
  static Result<std::optional<std::string>> get(Cursor& cursor, std::string_view key) {
    const Result<bool> there = cursor.seek(key);
    if (!there) return damaged(there.error());
    if (!*there || cursor.key() != key) return std::optional<std::string>{};
    const Result<std::string_view> value = cursor.value();
    if (!value) return damaged(value.error());
    return std::optional<std::string>(*value);
  }

  [[nodiscard]] const Tree& tree(Table table) const { return tables_[static_cast<std::size_t>(table)]; }
  static Error damaged(const Error& error) { return Error{error.code, "the store is damaged: " + error.message}; }

  std::shared_ptr<const ByteSource> bytes_;
  std::shared_ptr<const void> pin_;
  Version version_;
  Held held_;
  std::array<Tree, kTableCount> tables_;
  // Where get() was last, by table: keys that lie near each other share most of their way.
  mutable std::array<std::optional<Cursor>, kTableCount> last_;
};

class SharedKv final : public KeyValue {
 public:
  SharedKv(std::shared_ptr<const ByteSource> bytes, std::filesystem::path directory)
      : bytes_(std::move(bytes)), directory_(std::move(directory)) {}
  Status commit(const std::vector<Write>& /*writes*/) override {
    return Error{ErrorCode::kPermissionDenied, directory_.string() + " is open for reading only"};
  }
  Result<std::unique_ptr<Snapshot>> snapshot() const override {
    Result<Version> version = newest_version(*bytes_);
    if (!version) return version.error();
    auto snapshot =
        std::make_unique<PageSnapshot>(bytes_, nullptr, std::move(*version), PageSnapshot::Held::kUntilOvertaken);
    Status found = snapshot->find_tables();
    // A table of tables that makes no sense may be of a page that was taken meanwhile.
    for (int attempt = 1; !found && !snapshot->intact() && attempt < kOpenAttemptsMax; ++attempt) {
      version = newest_version(*bytes_);
      if (!version) return version.error();
      snapshot =
          std::make_unique<PageSnapshot>(bytes_, nullptr, std::move(*version), PageSnapshot::Held::kUntilOvertaken);
      found = snapshot->find_tables();
    }
    if (!found) return found.error();
    return std::unique_ptr<Snapshot>(std::move(snapshot));
  }
  Usage usage() const override { return usage_of(*bytes_, {}); }

 private:
  static constexpr int kOpenAttemptsMax = 100;
  std::shared_ptr<const ByteSource> bytes_;
  std::filesystem::path directory_;
};

class PagesKv final : public KeyValue {
 public:
  explicit PagesKv(std::shared_ptr<const ByteSource> bytes) : bytes_(std::move(bytes)) {}
  Status commit(const std::vector<Write>& /*writes*/) override {
    return Error{ErrorCode::kPermissionDenied, "a damaged store is open for reading only"};
  }
  Result<std::unique_ptr<Snapshot>> snapshot() const override { return page_snapshot(bytes_, {}, {}); }
  Usage usage() const override {
    const Result<Version> version = read_version(*bytes_);
    if (!version) return {};
    Usage usage;
    usage.used_bytes = (version->last_page + 1) * version->page_bytes;
    usage.size_max_bytes = version->map_bytes;
    return usage;
  }

 private:
  std::shared_ptr<const ByteSource> bytes_;
};

}  // namespace

// How to become that account is told by who knows the platform's words: the command line.
Error denied_to_account(const std::filesystem::path& path, const std::string& why) {
  return Error{ErrorCode::kPermissionDenied,
               "account " + account_name() + " may not open " + path.string() + (why.empty() ? "" : ": " + why) +
                   ". The store belongs to the service account: run this as that account"};
}

Result<std::unique_ptr<Snapshot>> page_snapshot(std::shared_ptr<const ByteSource> bytes,
                                                std::optional<std::uint64_t> transaction,
                                                std::shared_ptr<const void> pin) {
  Result<Version> version = read_version(*bytes, transaction);
  if (!version && version.error().code == ErrorCode::kNotFound) {
    return Error{ErrorCode::kUnavailable, version.error().message};
  }
  if (!version) return version.error();
  auto snapshot = std::make_unique<PageSnapshot>(std::move(bytes), std::move(pin), std::move(*version),
                                                 PageSnapshot::Held::kAlways);
  if (Status found = snapshot->find_tables(); !found) return found.error();
  return std::unique_ptr<Snapshot>(std::move(snapshot));
}

Result<std::unique_ptr<KeyValue>> open_shared(const std::filesystem::path& directory) {
  const std::filesystem::path file = directory / "data.mdb";
  Result<std::shared_ptr<const ByteSource>> bytes = open_bytes(file);
  if (!bytes && bytes.error().code == ErrorCode::kNotFound) {
    return Error{ErrorCode::kNotFound, "there is no store at " + directory.string()};
  }
  if (!bytes && bytes.error().code == ErrorCode::kPermissionDenied) {
    return denied_to_account(directory, "");
  }
  if (!bytes) return bytes.error();
  auto kv = std::make_unique<SharedKv>(std::move(*bytes), directory);
  if (const auto readable = kv->snapshot(); !readable) {
    if (readable.error().code == ErrorCode::kNotFound) {
      return Error{ErrorCode::kNotFound, "there is no journal in " + file.string() + " (yet)"};
    }
    return Error{readable.error().code,
                 file.string() + " is not a store of this program, or it is damaged: " + readable.error().message};
  }
  return std::unique_ptr<KeyValue>(std::move(kv));
}

KeyValue::Usage usage_of(const ByteSource& bytes, std::optional<std::uint64_t> transaction) {
  KeyValue::Usage usage;
  const Result<Version> version = transaction ? read_version(bytes, transaction) : newest_version(bytes);
  if (!version) return usage;
  usage.size_max_bytes = version->map_bytes;
  const Result<std::vector<Tree>> tables = read_tables(bytes, *version);
  if (!tables) return usage;
  usage.used_bytes = pages_in_trees(*version, *tables) * version->page_bytes;
  for (const Tree& tree : *tables) {
    if (tree.name != kTableNames[static_cast<std::size_t>(Table::kEntries)]) continue;
    usage.entries_bytes = (tree.branch_pages + tree.leaf_pages + tree.overflow_pages) * version->page_bytes;
    usage.entries = tree.entries;
  }
  return usage;
}

Result<std::unique_ptr<KeyValue>> open_pages(const std::filesystem::path& directory) {
  Result<std::shared_ptr<const ByteSource>> bytes = open_bytes(directory / "data.mdb");
  if (!bytes) return bytes.error();
  return std::unique_ptr<KeyValue>(std::make_unique<PagesKv>(std::move(*bytes)));
}

}  // namespace nodemeter
