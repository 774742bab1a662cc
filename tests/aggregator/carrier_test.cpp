// Goal: a site without a connection delivers by files and loses nothing; nothing but the receiver's own word for this
// journal's own entries releases them.
// Method: a real journal and carrier on a real directory, the real import at the far end, receipts carried back, and
// receipts that are wrong in one thing each.

#include "uploader/carrier.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "platform/files.h"
#include "tests/sim/memory_kv.h"
#include "tests/temporary_directory.h"
#include "tests/uploader/chain.h"
#include "uploader/aggregator/import_file.h"
#include "uploader/receipt.h"

namespace nodemeter {
namespace {

namespace fs = std::filesystem;
using std::chrono::seconds;
using testing::TemporaryDirectory;

const SigningKey& receiver() {
  static const SigningKey key = SigningKey::from_seed(std::string(32, 'r')).value();
  return key;
}

struct Site {
  explicit Site(CarrierOptions o = {}) : options(std::move(o)) {
    journal = open(kv, "node-1");
    auto opened = AggregatorStore::open(far);
    REQUIRE(opened.ok());
    aggregator = std::move(*opened);
    options.receipt_key = receiver().public_key();
    fs::create_directory(target());
    restart();
  }

  static std::unique_ptr<Journal> open(MemoryKv& kv, const std::string& node) {
    Random random(std::hash<std::string>{}(node));
    JournalOptions journal_options;
    journal_options.node = *NodeId::parse(node);
    journal_options.key = SigningKey::from_seed(std::string(32, 'k')).value();
    auto opened = Journal::open(kv, journal_options, random);
    REQUIRE(opened.ok());
    return std::move(*opened);
  }

  void restart() {
    carrier.reset();
    medium = open_directory_medium(target(), {});
    carrier = std::make_unique<Carrier>(*journal, *medium, log, options);
  }

  void append(std::size_t count) {
    JournalCommit commit;
    for (std::size_t i = 0; i < count; ++i) commit.entries.push_back(testing::entry_of(0, ""));
    commit.closed_until = ++hour;
    REQUIRE(journal->commit(commit, clock->now().utc).ok());
  }

  // Visits that are due within `span`; the helper thread answers in its own time.
  void run(Milliseconds span, bool flush = false) {
    const MonotonicTime end = now + span;
    while (now < end) {
      const auto next = carrier->step(now, flush);
      REQUIRE(next.ok());
      // A visit is under way: real time, not ours.
      if (*next == now + Milliseconds(1'000)) {
        std::this_thread::sleep_for(Milliseconds(1));
      } else {
        now = std::max(*next, now + Milliseconds(1));
      }
    }
    for (int i = 0; i < 20; ++i) {  // What is under way at the end.
      std::this_thread::sleep_for(Milliseconds(2));
      const auto next = carrier->step(end, false);
      REQUIRE(next.ok());
      if (*next != end + Milliseconds(1'000)) break;
    }
    now = end;
  }

  [[nodiscard]] fs::path target() const { return directory.path() / "medium"; }
  [[nodiscard]] std::vector<fs::path> files() const {
    std::vector<fs::path> found;
    for (const auto& file : fs::directory_iterator(target())) {
      if (file.path().extension() == ".nmx") found.push_back(file.path());
    }
    std::ranges::sort(found);
    return found;
  }

  // At the far end: imports every file of the medium and puts the report into `ack`.
  std::vector<ImportReport> import_all() {
    std::vector<ImportReport> reports;
    fs::create_directories(target() / "ack");
    for (const fs::path& file : files()) {
      Result<ImportReport> report = import_file(file, *aggregator, {}, nullptr, *clock);
      REQUIRE(report.ok());
      INFO(report->error);
      REQUIRE(report->error.empty());
      report->sign(receiver());
      REQUIRE(replace_file(target() / "ack" / (file.stem().string() + ".json"), report->json()).ok());
      reports.push_back(std::move(*report));
    }
    return reports;
  }

  [[nodiscard]] Sequence acknowledged() const { return journal->state().acknowledged; }
  [[nodiscard]] Sequence last() const { return journal->state().last_sequence; }

  TemporaryDirectory directory;
  CarrierOptions options;
  MemoryDisk disk, far_disk;
  MemoryKv kv{disk}, far{far_disk};
  NullLog log;
  std::unique_ptr<Clock> clock = system_clock();
  std::unique_ptr<Journal> journal;
  std::unique_ptr<AggregatorStore> aggregator;
  std::unique_ptr<Medium> medium;
  std::unique_ptr<Carrier> carrier;
  MonotonicTime now{seconds(1'000)};
  std::int64_t hour = 490'000;
};

Receipt receipt_for(const Journal& journal, Sequence first, Sequence last) {
  const auto run = journal.read_run(last, {.rows_max = 1, .bytes_max = 1});
  REQUIRE(run.ok());
  REQUIRE(run->has_value());
  const auto row = decode_entry((*run)->rows.at(0));
  REQUIRE(row.ok());
  Receipt receipt{.node = journal.state().node,
                  .epoch = journal.state().epoch,
                  .first = first,
                  .last = last,
                  .head = row->entry.digest,
                  .signature = {}};
  receipt.signature = receiver().sign(receipt.statement());
  return receipt;
}

}  // namespace

TEST_CASE("what is not acknowledged is carried in files, and the receipt that comes back releases it", "[carrier]") {
  Site site({.receipt_key = {}, .interval = seconds(60), .limits = {.rows_max = 10, .bytes_max = 1u << 20}});
  site.append(24);
  site.run(seconds(200));
  REQUIRE(site.files().size() == 3);  // 25 entries: the manifest, too.
  CHECK(site.carrier->unwritten() == 0);
  CHECK(site.acknowledged() == 0);

  std::uint64_t stored = 0;
  for (const ImportReport& report : site.import_all()) stored += report.runs.at(0).stored;
  CHECK(stored == site.last());
  for (const ImportReport& report : site.import_all()) CHECK(report.runs.at(0).stored == 0);  // However often.
  site.run(seconds(130));
  CHECK(site.acknowledged() == site.last());
  CHECK(site.carrier->state().reason.empty());
  CHECK(site.files().empty());

  site.append(3);
  site.run(seconds(200));
  REQUIRE(site.files().size() == 1);
  CHECK(site.files()[0].filename().string() ==
        carried_name(*NodeId::parse("node-1"), site.journal->state().epoch, 26, 29));
  CHECK(site.import_all().at(0).runs.at(0).stored == 4);
}

TEST_CASE("a receipt that is forged, foreign, of the future or for other entries releases nothing", "[carrier]") {
  Site site;
  site.append(9);
  const Receipt good = receipt_for(*site.journal, 1, 8);
  const std::string key = receiver().public_key();
  const auto refused = [&](Receipt receipt, bool sign_again = true, const std::string& with = receiver().public_key()) {
    if (sign_again) receipt.signature = receiver().sign(receipt.statement());
    const Result<bool> taken = take_receipt(*site.journal, receipt, with);
    return !taken && taken.error().code == ErrorCode::kInvalidInput && site.acknowledged() == 0;
  };
  Receipt other = good;
  other.signature = SigningKey::from_seed(std::string(32, 'x'))->sign(good.statement());
  CHECK(refused(other, false));  // Forged.
  other = good;
  other.last = 9;
  CHECK(refused(other, false));  // A range that was not signed.
  CHECK(refused(good, false, ""));
  CHECK(refused(good, false, SigningKey::from_seed(std::string(32, 'x'))->public_key()));
  other = good;
  other.signature.clear();
  CHECK(refused(other, false));
  for (std::size_t bit = 0; bit < 512; bit += 37) {
    other = good;
    other.signature[bit / 8] = static_cast<char>(other.signature[bit / 8] ^ (1 << bit % 8));
    CHECK(refused(other, false));
  }
  other = good;
  other.node = *NodeId::parse("node-2");
  CHECK(refused(other));
  other = good;
  other.epoch = Epoch(testing::uuid_of(9));
  CHECK(refused(other));
  other = good;
  other.last = site.last() + 1;
  CHECK(refused(other));
  other = good;
  other.last = 9;  // The head of 8 under the number 9: another journal's entries.
  CHECK(refused(other));
  other = good;
  other.head = digest_of({"another"});
  CHECK(refused(other));
  other = good;
  other.first = 2;  // Entry 1 never arrived.
  CHECK(refused(other));
  other = good;
  other.first = 0;
  CHECK(refused(other));
  other = good;
  other.first = 9;
  CHECK(refused(other));

  CHECK(take_receipt(*site.journal, good, key).value());
  CHECK(site.acknowledged() == 8);
  CHECK_FALSE(take_receipt(*site.journal, good, key).value());  // Nothing new.
  CHECK_FALSE(take_receipt(*site.journal, receipt_for(*site.journal, 1, 3), key).value());
  CHECK(site.acknowledged() == 8);
  CHECK(take_receipt(*site.journal, receipt_for(*site.journal, 9, site.last()), key).value());
  CHECK(site.acknowledged() == site.last());
}

TEST_CASE("a batch that is on its way is not released by half, and is by the whole of it", "[carrier]") {
  Site site;
  site.append(9);
  REQUIRE(site.journal->freeze_next({.rows_max = 6, .bytes_max = 1u << 20}).ok());
  const Result<bool> half = take_receipt(*site.journal, receipt_for(*site.journal, 1, 5), receiver().public_key());
  REQUIRE_FALSE(half.ok());
  CHECK(site.journal->state().frozen.has_value());
  REQUIRE(take_receipt(*site.journal, receipt_for(*site.journal, 1, 6), receiver().public_key()).ok());
  CHECK_FALSE(site.journal->state().frozen.has_value());
  CHECK(site.acknowledged() == 6);
}

TEST_CASE("reports that are none, and one for other nodes, change nothing and stop nothing", "[carrier]") {
  Site site;
  site.append(5);
  site.run(seconds(130));
  site.import_all();
  const fs::path ack = site.target() / "ack";
  const std::string good = *read_file(fs::directory_iterator(ack)->path(), 1u << 20);
  for (const char* const text : {"", "{", "[]", "null", R"({"runs":1})", R"({"runs":[1]})", R"({"runs":[{}]})"}) {
    REQUIRE(replace_file(ack / "a-bad.json", text).ok());
    CHECK_FALSE(parse_receipts(text).ok());
  }
  auto foreign = nlohmann::json::parse(good);
  foreign["runs"][0]["node"] = "node-2";
  REQUIRE(replace_file(ack / "b-foreign.json", foreign.dump()).ok());
  auto negative = nlohmann::json::parse(good);
  negative["runs"][0]["first"] = -1;
  CHECK_FALSE(parse_receipts(negative.dump()).ok());
  site.run(seconds(130));
  CHECK(site.acknowledged() == site.last());
  CHECK(site.carrier->state().reason.find("a-bad.json") != std::string::npos);
}

TEST_CASE("a place without its medium is held, not made; a medium that was lost is written again", "[carrier]") {
  Site site;
  site.append(7);
  site.run(seconds(130));
  REQUIRE(site.files().size() == 1);
  const fs::path away = site.directory.path() / "away";
  fs::rename(site.target(), away);
  site.append(7);
  site.run(seconds(130));
  CHECK(site.carrier->state().phase == "held");
  CHECK(site.carrier->state().reason.find("is not there") != std::string::npos);
  CHECK_FALSE(fs::exists(site.target()));
  CHECK(site.carrier->unwritten() == site.last());

  fs::create_directory(site.target());  // Another medium: the first one is on its way, or gone.
  site.run(seconds(130));
  CHECK(site.carrier->state().phase == "idle");
  std::uint64_t stored = 0;
  for (const ImportReport& report : site.import_all()) stored += report.runs.at(0).stored;
  CHECK(stored == site.last());
  for (const auto& file : fs::directory_iterator(away)) fs::copy(file, site.target(), fs::copy_options::recursive);
  for (const ImportReport& report : site.import_all()) CHECK(report.runs.at(0).stored == 0);
  site.run(seconds(190));
  CHECK(site.acknowledged() == site.last());
  CHECK(site.files().empty());
}

TEST_CASE("a file that cannot be written is tried again, and a restart writes nothing twice", "[carrier]") {
  Site site;
  site.append(7);
  const fs::path in_the_way =
      site.target() / (carried_name(*NodeId::parse("node-1"), site.journal->state().epoch, 1, 8) + ".new");
  fs::create_directories(in_the_way / "full");
  site.run(seconds(130));
  CHECK(site.carrier->state().phase == "held");
  CHECK(site.files().empty());
  fs::remove_all(in_the_way);
  site.run(seconds(190));
  REQUIRE(site.files().size() == 1);
  const auto written = fs::last_write_time(site.files()[0]);
  site.restart();
  site.run(seconds(190), true);
  REQUIRE(site.files().size() == 1);
  CHECK(fs::last_write_time(site.files()[0]) == written);
  CHECK(site.carrier->unwritten() == 0);
}

TEST_CASE("the receiver's key for receipts is made once and kept to itself", "[carrier]") {
  TemporaryDirectory directory;
  const auto first = receipt_key(directory.path());
  REQUIRE(first.ok());
  CHECK(receipt_key(directory.path())->public_key() == first->public_key());
  CHECK((fs::status(directory.path() / "receipt.key").permissions() & fs::perms::all) ==
        (fs::perms::owner_read | fs::perms::owner_write));
  REQUIRE(replace_file(directory.path() / "receipt.key", "nonsense").ok());
  CHECK_FALSE(receipt_key(directory.path()).ok());
}

}  // namespace nodemeter
