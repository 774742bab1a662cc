// Goal: what was taken away can be checked by anybody with the node's key, and nothing in it can be changed unseen.
// Method: a signed journal in memory, exported into a string; every byte of the file is then changed once, records are
// dropped, doubled and exchanged, and the file is cut at every length.

#include <catch2/catch.hpp>

#include "store/entry_codec.h"
#include "store/export_rows.h"
#include "store/reader.h"
#include "tests/sim/memory_kv.h"
#include "tests/store/store_fixtures.h"

using namespace nodemeter;

namespace {

SigningKey key_of(char c) { return SigningKey::from_seed(std::string(32, c)).value(); }

// Two subscriptions, three hours and an open one, signed.
struct Exported {
  Exported() : kv(disk) {
    options.key = key_of('a');
    journal = taken(Journal::open(kv, options, random));
    for (std::int64_t hour = 0; hour < 3; ++hour) add_hour(hour, true);
    add_hour(3, false);
  }
  void add_hour(std::int64_t hour, bool close) {
    JournalCommit commit;
    for (std::uint64_t vm = 0; vm < 5; ++vm) {
      commit.entries.push_back(usage_entry(vm, hour));
      if (vm % 2 == 1) commit.entries.back().subscription = other;
    }
    if (close) commit.closed_until = 490'001 + hour;
    require_ok(journal->commit(commit, at_ms((490'001 + hour) * 3'600'000)));
  }
  std::string file(const ExportFilter& filter) {
    std::string bytes;
    ExportWriter writer([&bytes](std::string_view more) {
      bytes += more;
      return Status(Done{});
    });
    report = taken(export_rows(*Reader::on(kv), filter, "test", writer, {}));
    require_ok(writer.finish());
    return bytes;
  }

  Uuid other = *Uuid::parse("99999999-2222-4333-8444-555555555555");
  MemoryDisk disk;
  MemoryKv kv;
  Random random{1};
  JournalOptions options = journal_options();
  std::unique_ptr<Journal> journal;
  ExportReport report;
};

ExportReader::Origin from(const std::string& bytes, std::size_t step = 65'536) {
  return [&bytes, step, at = std::size_t{0}](std::size_t size_max) mutable -> Result<std::string> {
    std::string part = bytes.substr(at, std::min(size_max, step));
    at += part.size();
    return part;
  };
}

Result<ExportCheck> checked(const std::string& bytes, const std::string& key = key_of('a').public_key()) {
  return check_export(from(bytes), key, {});
}

std::vector<ExportRecord> records_of(const std::string& bytes) {
  ExportReader reader(from(bytes));
  std::vector<ExportRecord> records;
  while (auto record = taken(reader.next())) records.push_back(*record);
  records.pop_back();  // The end.
  return records;
}

std::string file_of(const std::vector<ExportRecord>& records) {
  std::string bytes;
  ExportWriter writer([&bytes](std::string_view more) {
    bytes += more;
    return Status(Done{});
  });
  for (const ExportRecord& record : records) require_ok(writer.add(record));
  require_ok(writer.finish());
  return bytes;
}

bool holds(const std::string& bytes) {
  const Result<ExportCheck> check = checked(bytes);
  return check.ok() && check->chain.faults.empty();
}

}  // namespace

TEST_CASE("a whole journal goes out and verifies, whatever size its pieces arrive in", "[export]") {
  Exported f;
  const std::string bytes = f.file({});
  for (const std::size_t step : {std::size_t{1}, std::size_t{7}, std::size_t{65'536}}) {
    const ExportCheck check = taken(check_export(from(bytes, step), key_of('a').public_key(), {}));
    CHECK(check.chain.faults == std::vector<std::string>{});
    CHECK(check.chain.entries == 23);
    CHECK(check.chain.signed_manifests == 3);
    CHECK(check.chain.signed_until == 17);
    CHECK(check.chain.head == f.journal->state().head);
  }
  const ExportCheck forged = taken(checked(bytes, key_of('b').public_key()));
  CHECK(forged.chain.faults.front() == "entry 6: its manifest is signed with another key than the node's");
}

TEST_CASE("a run from the middle begins with the digest before it", "[export]") {
  Exported f;
  ExportFilter filter;
  filter.first = 8;
  filter.last = 15;
  const ExportCheck check = taken(checked(f.file(filter)));
  CHECK(check.chain.faults == std::vector<std::string>{});
  CHECK(check.chain.entries == 8);
  CHECK(check.chain.partial == 1);  // The manifest at 12 covers 6 to 11.
}

TEST_CASE("a run in time goes on to the manifest that signs it", "[export]") {
  Exported f;
  ExportFilter filter;
  filter.start = UtcTime(std::chrono::hours(490'001));
  filter.end = UtcTime(std::chrono::hours(490'002));
  const ExportCheck check = taken(checked(f.file(filter)));
  CHECK(check.chain.faults == std::vector<std::string>{});
  CHECK(check.chain.first == 7);
  CHECK(check.chain.last == 12);
  filter.start = UtcTime(std::chrono::hours(490'003));
  filter.end.reset();
  CHECK(taken(checked(f.file(filter))).chain.entries == 5);
}

TEST_CASE("an extract has one subscription's rows, each proven, and nothing of the others'", "[export]") {
  Exported f;
  ExportFilter filter;
  filter.subscription = f.other;
  const std::string bytes = f.file(filter);
  CHECK(f.report.rows == 6);
  CHECK(f.report.without_proof == 2);  // Of the hour that is not signed yet.
  const ExportCheck check = taken(checked(bytes));
  CHECK(check.chain.faults == std::vector<std::string>{});
  CHECK(check.extract_rows == 6);
  CHECK(check.proven_rows == 6);
  for (const ExportRecord& record : records_of(bytes)) {
    const auto* row = std::get_if<ExportRow>(&record);
    if (row != nullptr) CHECK(taken(decode_entry(row->row)).entry.subscription == f.other);
  }
  CHECK(taken(checked(bytes, key_of('b').public_key())).proven_rows == 0);
}

TEST_CASE("an extract goes over a change of key that the old key vouches for", "[export]") {
  Exported f;
  require_ok(f.journal->rotate_key(key_of('b'), at_ms(490'004ll * 3'600'000)));
  f.add_hour(4, true);
  ExportFilter filter;
  filter.subscription = f.other;
  ExportCheck check = taken(checked(f.file(filter)));
  CHECK(check.chain.faults == std::vector<std::string>{});
  CHECK(check.proven_rows == 10);
  CHECK(holds(f.file({})));
}

TEST_CASE("no byte of a file can change, and no tail be lost, without being seen", "[export]") {
  Exported f;
  ExportFilter extract;
  extract.subscription = f.other;
  for (const std::string& bytes : {f.file({}), f.file(extract)}) {
    REQUIRE(holds(bytes));
    std::uint64_t unseen = 0;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      for (const int bit : {0, 5}) {
        std::string changed = bytes;
        changed[i] = static_cast<char>(changed[i] ^ (1 << bit));
        // Compression has more than one form for the same content, which is no change.
        if (holds(changed) && file_of(records_of(changed)) != bytes) ++unseen;
      }
      if (checked(bytes.substr(0, i)).ok()) ++unseen;
    }
    CHECK(unseen == 0);
    CHECK_FALSE(checked(bytes + "x").ok());
  }
}

TEST_CASE("records that are dropped, doubled, exchanged or changed by somebody with the program are seen", "[export]") {
  Exported f;
  const bool extract = GENERATE(false, true);
  ExportFilter filter;
  if (extract) filter.subscription = f.other;
  const std::vector<ExportRecord> records = records_of(f.file(filter));
  const Sequence signed_until = 18;
  for (std::size_t i = 0; i < records.size(); ++i) {
    const auto* row = std::get_if<ExportRow>(&records[i]);
    // Rows after the last manifest are in the chain only: dropping the last one is dropping knowledge, not forging.
    const bool loose = row != nullptr && taken(decode_entry(row->row)).entry.sequence > signed_until;
    auto dropped = records;
    dropped.erase(dropped.begin() + static_cast<std::ptrdiff_t>(i));
    const bool last = i + 1 == records.size();
    if (!loose || !last) CHECK_FALSE(holds(file_of(dropped)));
    auto doubled = records;
    doubled.insert(doubled.begin() + static_cast<std::ptrdiff_t>(i), records[i]);
    const bool harmless = std::holds_alternative<ExportStatement>(records[i]);
    if (!harmless && !std::holds_alternative<ExportProof>(records[i]) &&
        !std::holds_alternative<ExportSection>(records[i]))
      CHECK_FALSE(holds(file_of(doubled)));
    if (!last && records[i].index() == records[i + 1].index() && row != nullptr) {
      auto exchanged = records;
      std::swap(exchanged[i], exchanged[i + 1]);
      CHECK_FALSE(holds(file_of(exchanged)));
    }
    if (row == nullptr || loose) continue;
    auto changed = records;
    Entry entry = taken(decode_entry(row->row)).entry;
    entry.covered_ms += 1;
    changed[i] = ExportRow{seal_entry(taken(encode_entry_body(entry)), entry.digest)};
    CHECK_FALSE(holds(file_of(changed)));
  }
}

TEST_CASE("a file of a newer format is refused by its name", "[export]") {
  Exported f;
  ExportReader reader([](std::size_t) -> Result<std::string> { return std::string(); });
  CHECK(reader.next().error().code == ErrorCode::kCorrupt);
  const Result<ExportCheck> nonsense = checked("not one of ours");
  CHECK(nonsense.error().message.starts_with("not a whole export file: "));
}

TEST_CASE("a sink that fails ends the export with its error", "[export]") {
  Exported f;
  ExportWriter writer([](std::string_view) { return Status(Error{ErrorCode::kFull, "no room"}); });
  const auto report = export_rows(*Reader::on(f.kv), {}, "test", writer, {});
  const Status finished = writer.finish();
  CHECK((!report.ok() || !finished.ok()));
}
