// Goal: what is read is what was written, damage is located, and a reader never stands in the writer's way.
// Method: damage on the store in memory, one place at a time; real directories for everything that a file system does.

#include "store/reader.h"

#include "../sim/memory_kv.h"
#include "store/entry_codec.h"
#include "store/journal_format.h"
#include "store/lmdb_kv.h"
#include "ten_entries.h"

namespace nodemeter {

namespace fs = std::filesystem;
using journal_format::entry_key;

namespace {

struct ReaderFixture {
  ReaderFixture() {
    kv = std::make_unique<MemoryKv>(disk);
    journal = taken(Journal::open(*kv, journal_options(), random));
    for (int i = 1; i <= 5; ++i) append(*journal, 2, 1'000 * i);
    reader = Reader::on(*kv);
  }
  std::string stored(Sequence sequence) {
    return *taken(taken(kv->snapshot())->get(Table::kEntries, entry_key(1, sequence)));
  }
  std::string faults() {
    std::string text;
    for (const std::string& fault : taken(reader->verify({})).faults) text += fault + "\n";
    return text;
  }
  MemoryDisk disk;
  Random random{3};
  std::unique_ptr<MemoryKv> kv;
  std::unique_ptr<Journal> journal;
  std::unique_ptr<Reader> reader;
};

}  // namespace

TEST_CASE("reading starts anywhere and stops when told", "[reader]") {
  ReaderFixture f;
  CHECK(numbers(*f.reader, 0) == "1 2 3 4 5 6 7 8 9 10 ");
  CHECK(numbers(*f.reader, 9) == "9 10 ");
  CHECK(numbers(*f.reader, 11).empty());
  int visited = 0;
  require_ok(f.reader->for_each(1, [&](const Entry&, std::string_view row) {
    CHECK(row == f.stored(1));
    ++visited;
    return false;
  }));
  CHECK(visited == 1);
}

TEST_CASE("more entries than one snapshot yields are read without holes", "[reader]") {
  ReaderFixture f;
  append(*f.journal, 2'000, 9'000);
  Sequence expected = 0;
  require_ok(f.reader->for_each(1, [&](const Entry& e, std::string_view) { return e.sequence == ++expected; }));
  CHECK(expected == 2'010);
  std::uint64_t calls = 0;
  CHECK(taken(f.reader->verify([&](std::uint64_t) { ++calls; })).entries == 2'010);
  CHECK(calls >= 4);
}

TEST_CASE("what is written while somebody reads is neither waited for nor half seen", "[reader]") {
  ReaderFixture f;
  append(*f.journal, 1'000, 9'000);
  std::uint64_t visited = 0;
  require_ok(f.reader->for_each(1, [&](const Entry&, std::string_view) {
    if (visited++ % 100 == 0) append(*f.journal, 10, 9'000);
    return true;
  }));
  CHECK(visited == 1'010);
  // Pruned while it is read: what is gone is skipped, the rest comes.
  visited = 0;
  require_ok(f.reader->for_each(1, [&](const Entry&, std::string_view) {
    if (visited++ == 0) taken(f.journal->prune(at_ms(10'000), 800));
    return true;
  }));
  CHECK(visited > 700);
}

TEST_CASE("pruning during a verification is no hole", "[reader]") {
  ReaderFixture f;
  append(*f.journal, 2'000, 9'000);
  bool pruned = false;
  const ChainCheck check = taken(f.reader->verify([&](std::uint64_t) {
    if (!pruned) taken(f.journal->prune(at_ms(10'000), 1'500));
    pruned = true;
  }));
  INFO((check.faults.empty() ? std::string() : check.faults.front()));
  CHECK(check.faults.empty());
  CHECK(check.last == 2'010);
}

TEST_CASE("the first entry reported at or after a time is found at the edges too", "[reader]") {
  ReaderFixture f;
  const auto first = [&](std::int64_t ms) { return taken(f.reader->first_reported_at(at_ms(ms))); };
  CHECK(first(0) == 1);
  CHECK(first(1'000) == 1);
  CHECK(first(1'001) == 3);
  CHECK(first(5'000) == 9);
  CHECK(first(5'001) == 11);
  taken(f.journal->prune(at_ms(3'000), 100));
  CHECK(first(0) == 5);
  MemoryDisk empty;
  MemoryKv kv(empty);
  CHECK(Reader::on(kv)->first_reported_at(at_ms(0)).error().code == ErrorCode::kNotFound);
  taken(Journal::open(kv, journal_options(), f.random));
  CHECK(taken(Reader::on(kv)->first_reported_at(at_ms(0))) == 1);
}

TEST_CASE("every kind of damage to a stored entry is found and located", "[reader]") {
  ReaderFixture f;
  REQUIRE(f.faults().empty());
  SECTION("a missing entry") {
    f.disk.lose(Table::kEntries, entry_key(1, 4));
    CHECK(f.faults() == "entry 4: missing\n");
  }
  SECTION("several missing entries") {
    for (Sequence s = 4; s <= 6; ++s) f.disk.lose(Table::kEntries, entry_key(1, s));
    CHECK(f.faults() == "entry 4: missing, and all up to 6\n");
  }
  SECTION("a changed quantity") {
    std::string row = f.stored(4);
    row[row.size() - 60] = static_cast<char>(static_cast<std::uint8_t>(row[row.size() - 60]) ^ 1u);
    f.disk.damage(Table::kEntries, entry_key(1, 4), row);
    CHECK(f.faults().find("entry 4: ") == 0);
  }
  SECTION("a change with a digest that fits it") {
    Entry changed = taken(decode_entry(f.stored(4))).entry;
    const Digest before = taken(decode_entry(f.stored(3))).entry.digest;
    changed.covered_ms = 1;
    const std::string body = taken(encode_entry_body(changed));
    f.disk.damage(Table::kEntries, entry_key(1, 4), seal_entry(body, chain_digest(before, body)));
    CHECK(f.faults() == "entry 5: its digest does not match: it or the entry before it was changed\n");
  }
  SECTION("two entries in each other's place") {
    const std::string fourth = f.stored(4);
    f.disk.damage(Table::kEntries, entry_key(1, 4), f.stored(5));
    f.disk.damage(Table::kEntries, entry_key(1, 5), fourth);
    CHECK(f.faults().find("entry 4: stored under a number that is not its own\n") == 0);
  }
  SECTION("bytes behind an entry") {
    f.disk.damage(Table::kEntries, entry_key(1, 4), f.stored(4) + "x");
    CHECK(f.faults() == "entry 4: bytes after its end\n");
    const Status read = f.reader->for_each(1, [](const Entry&, std::string_view) { return true; });
    REQUIRE_FALSE(read.ok());
    CHECK(read.error().code == ErrorCode::kCorrupt);
  }
  SECTION("garbage") {
    f.disk.damage(Table::kEntries, entry_key(1, 4), "\xc1garbage");
    CHECK(f.faults().find("entry 4: entry column schema") == 0);
  }
}

TEST_CASE("damage everywhere is counted, not listed without end", "[reader]") {
  ReaderFixture f;
  append(*f.journal, 2'000, 9'000);
  for (Sequence s = 1; s < 2'000; ++s) f.disk.damage(Table::kEntries, entry_key(1, s), "garbage");
  const ChainCheck check = taken(f.reader->verify({}));
  CHECK(check.faults.size() == 501);
  CHECK(check.faults.back() == "and 1499 more");
}

TEST_CASE("a hot backup verifies by itself and is marked, and the original is not", "[reader]") {
  const TemporaryDirectory directory;
  make_store(directory.path() / "state");
  require_ok(backup_store(directory.path() / "state", directory.path() / "backup"));
  CHECK(taken(taken(Reader::open(directory.path() / "backup"))->verify({})).entries == 10);
  CHECK(backup_store(directory.path() / "state", directory.path() / "backup").error().code == ErrorCode::kInvalidInput);
  CHECK(backup_store(directory.path() / "none", directory.path() / "b2").error().code == ErrorCode::kNotFound);
  Random random(9);
  const auto epochs = [&](const fs::path& state) {
    const auto kv = taken(open_lmdb(journal_directory(state), {}));
    return taken(Journal::open(*kv, journal_options(), random))->state().epoch_ordinal;
  };
  CHECK(epochs(directory.path() / "backup") == 2);
  CHECK(epochs(directory.path() / "backup") == 2);
  CHECK(epochs(directory.path() / "state") == 1);
  const auto backup = taken(Reader::open(directory.path() / "backup"));
  CHECK(numbers(*backup, 0).empty());
  CHECK(numbers(*backup, 0, true) == "1 2 3 4 5 6 7 8 9 10 ");
}

TEST_CASE("there is nothing to read where no journal is", "[reader]") {
  const TemporaryDirectory directory;
  CHECK(Reader::open(directory.path()).error().code == ErrorCode::kNotFound);
  taken(open_lmdb(journal_directory(directory.path()), {}));
  CHECK(Reader::open(directory.path()).error().code == ErrorCode::kNotFound);
}

}  // namespace nodemeter
