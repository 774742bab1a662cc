// Goal: a file that was carried here by hand is a delivery like any other: whole or not at all, each entry once.
// Method: a signed journal in memory, exported, imported into a store in memory and, through the program, into a
// stopped and into a running aggregator.

#include "uploader/aggregator/import_file.h"

#include <catch2/catch.hpp>
#include <fstream>

#include "store/export_rows.h"
#include "store/journal.h"
#include "tests/aggregator/program.h"
#include "tests/sim/memory_kv.h"
#include "tests/uploader/chain.h"

namespace nodemeter {
namespace {

using testing::Program;
using testing::TemporaryDirectory;

struct Carried {
  Carried() : kv(disk) {
    JournalOptions options;
    options.node = *NodeId::parse("node-1");
    options.key = SigningKey::from_seed(std::string(32, 'k')).value();
    auto opened = Journal::open(kv, options, random);
    REQUIRE(opened.ok());
    journal = std::move(*opened);
    for (int hour = 1; hour <= 3; ++hour) append(20, 490'000 + hour);
    auto store = AggregatorStore::open(far);
    REQUIRE(store.ok());
    aggregator = std::move(*store);
  }
  void append(int entries, std::int64_t closed_until) {
    JournalCommit commit;
    for (int i = 0; i < entries; ++i) commit.entries.push_back(testing::entry_of(0, ""));
    commit.closed_until = closed_until;
    REQUIRE(journal->commit(commit, clock->now().utc).ok());
  }
  std::string exported(const ExportFilter& filter = {}) {
    std::string bytes;
    ExportWriter writer([&bytes](std::string_view more) {
      bytes += more;
      return Status(Done{});
    });
    REQUIRE(export_rows(*Reader::on(kv), filter, "test", writer, {}).ok());
    REQUIRE(writer.finish().ok());
    return bytes;
  }
  ImportReport import(const std::string& bytes, const IngestLimits& limits = {}, const NodeRegistry* nodes = nullptr) {
    const auto open = [&bytes]() -> Result<ExportReader::Origin> {
      return ExportReader::Origin([&bytes, at = std::size_t{0}](std::size_t size_max) mutable -> Result<std::string> {
        std::string part = bytes.substr(at, size_max);
        at += part.size();
        return part;
      });
    };
    const Result<ImportReport> report = import_file(open, *aggregator, limits, nodes, *clock);
    REQUIRE(report.ok());
    return *report;
  }

  MemoryDisk disk, far_disk;
  MemoryKv kv, far{far_disk};
  Random random{3};
  std::unique_ptr<Clock> clock = system_clock();
  std::unique_ptr<Journal> journal;
  std::unique_ptr<AggregatorStore> aggregator;
};

}  // namespace

TEST_CASE("a file is stored whole, in batches of the receiver's size, and once", "[import]") {
  Carried f;
  const std::string bytes = f.exported();
  IngestLimits small;
  small.rows_max = 7;
  ImportReport report = f.import(bytes, small);
  CHECK(report.error.empty());
  REQUIRE(report.runs.size() == 1);
  CHECK(report.runs[0].first == 1);
  CHECK(report.runs[0].last == 63);
  CHECK(report.runs[0].stored == 63);
  CHECK(report.key == to_hex(SigningKey::from_seed(std::string(32, 'k')).value().public_key()));
  report = f.import(bytes);
  CHECK(report.runs[0].stored == 0);
  CHECK(report.runs[0].repeats == 63);
  const Result<StoreCheck> check = verify_store(f.far);
  REQUIRE(check.ok());
  CHECK(check->faults == std::vector<std::string>{});
  CHECK(check->rows == 63);
  CHECK(check->signed_manifests == 3);
}

TEST_CASE("overlapping runs leave no hole and double nothing", "[import]") {
  Carried f;
  ExportFilter early, late;
  early.last = 40;
  late.first = 30;
  CHECK(f.import(f.exported(late)).runs[0].stored == 34);
  CHECK(f.import(f.exported(early)).runs[0].stored == 29);
  const Result<StoreCheck> check = verify_store(f.far);
  CHECK(check->holes.empty());
  CHECK(check->faults == std::vector<std::string>{});
  CHECK(check->rows == 63);
}

TEST_CASE("of a file that does not hold nothing is stored", "[import]") {
  Carried f;
  std::string bytes = f.exported();
  SECTION("cut short") { bytes.resize(bytes.size() / 2); }
  SECTION("changed") { bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1); }
  SECTION("an extract") {
    ExportFilter filter;
    filter.vm = testing::entry_of(0, "").vm;
    bytes = f.exported(filter);
  }
  CHECK_FALSE(f.import(bytes).error.empty());
  CHECK(verify_store(f.far)->rows == 0);
}

TEST_CASE("what somebody signed with another key than the node's is not imported", "[import]") {
  Carried f;
  f.import(f.exported());
  Carried other;
  other.disk = MemoryDisk{};
  MemoryKv kv(other.disk);
  JournalOptions options;
  options.node = *NodeId::parse("node-1");
  options.key = SigningKey::from_seed(std::string(32, 'x')).value();
  auto journal = Journal::open(kv, options, f.random);
  REQUIRE(journal.ok());
  JournalCommit commit;
  commit.entries.push_back(testing::entry_of(0, ""));
  commit.closed_until = 490'001;
  REQUIRE((*journal)->commit(commit, f.clock->now().utc).ok());
  std::string bytes;
  ExportWriter writer([&bytes](std::string_view more) {
    bytes += more;
    return Status(Done{});
  });
  REQUIRE(export_rows(*Reader::on(kv), {}, "test", writer, {}).ok());
  REQUIRE(writer.finish().ok());
  const std::uint64_t rows = verify_store(f.far)->rows;
  CHECK(f.import(bytes).error.find("is signed with key") != std::string::npos);
  CHECK(verify_store(f.far)->rows == rows);
}

TEST_CASE("what is not signed with the key in the nodes file is not imported", "[import]") {
  const std::string own = to_hex(SigningKey::from_seed(std::string(32, 'k')).value().public_key());
  const std::string other = to_hex(SigningKey::from_seed(std::string(32, 'x')).value().public_key());
  const auto nodes = [](const std::string& key) {
    return NodeRegistry::parse(R"([{"id": "node-1", "token": "a-token-of-node-1", "key": ")" + key + R"("}])").value();
  };
  Carried f;
  const NodeRegistry wrong = nodes(other);
  const ImportReport refused = f.import(f.exported(), {}, &wrong);
  CHECK(refused.error == "entry 21 of node node-1 is signed with key " + own.substr(0, 16) +
                             "…, and the key that was written down for it in the nodes file is " + other.substr(0, 16) +
                             "…: if the node lost its key, write the new one into the nodes file as its \"key\"");
  CHECK(refused.runs.empty());
  CHECK(verify_store(f.far)->rows == 0);
  const NodeRegistry right = nodes(own);
  CHECK(f.import(f.exported(), {}, &right).error.empty());
  CHECK(verify_store(f.far)->rows == 63);
}

TEST_CASE("an import tells of a new store of the node, and of two that go on side by side", "[import]") {
  Carried first;
  CHECK_FALSE(first.import(first.exported()).runs.front().new_store);
  Carried second;
  second.random = Random(77);
  second.disk = MemoryDisk{};
  JournalOptions options;
  options.node = *NodeId::parse("node-1");
  options.key = SigningKey::from_seed(std::string(32, 'k')).value();
  auto journal = Journal::open(second.kv, options, second.random);
  REQUIRE(journal.ok());
  second.journal = std::move(*journal);
  second.append(3, 490'010);
  const ImportReport begun = first.import(second.exported());
  REQUIRE(begun.error.empty());
  CHECK(begun.runs.front().new_store);
  CHECK_FALSE(begun.runs.front().twin);
  first.append(3, 490'011);
  const ImportReport twin = first.import(first.exported());
  REQUIRE(twin.error.empty());
  CHECK(twin.runs.front().twin);
}

TEST_CASE("the verb imports with the aggregator stopped and running", "[import][process]") {
  Carried f;
  TemporaryDirectory directory;
  const std::string file = directory.file("node.nmx");
  std::ofstream(file, std::ios::binary) << f.exported();
  std::string out;
  CHECK(testing::run(directory, {"import", file, "--state", directory.file("state")}, &out) == 0);
  CHECK(out.find("\"acknowledged\":63,\"stored\":63,\"repeats\":0,\"forks\":0") != std::string::npos);

  f.append(5, 490'010);
  std::ofstream(file, std::ios::binary) << f.exported();
  TemporaryDirectory served;
  Program program(served,
                  {"--listen", "127.0.0.1:0", "--state", directory.file("state"), "--port-file", served.file("port")});
  testing::await_port(served.file("port"));
  CHECK(testing::run(directory, {"import", file, "--state", directory.file("state")}, &out) == 0);
  CHECK(out.find("\"acknowledged\":69,\"stored\":6,\"repeats\":63,\"forks\":0") != std::string::npos);
  std::ofstream(file, std::ios::binary) << "nonsense";
  CHECK(testing::run(directory, {"import", file, "--state", directory.file("state")}, &out) == 1);
  CHECK(out.find("not a whole export file") != std::string::npos);
  CHECK(program.end(SIGTERM) == 0);
  CHECK(std::filesystem::is_empty(directory.file("state") + "/import"));
}

TEST_CASE("the verb goes by the nodes file, with the aggregator stopped and running", "[import][process]") {
  Carried f;
  TemporaryDirectory directory;
  const std::string file = directory.file("node.nmx");
  std::ofstream(file, std::ios::binary) << f.exported();
  const std::string key = to_hex(SigningKey::from_seed(std::string(32, 'x')).value().public_key());
  std::ofstream(directory.file("nodes.json"))
      << R"([{"id": "node-1", "token": "a-token-of-node-1", "key": ")" + key + "\"}]";
  std::ofstream(directory.file("site.toml")) << "[state]\npath = \"" + directory.file("state") +
                                                    "\"\n[nodes]\nfile = \"" + directory.file("nodes.json") + "\"\n";
  const std::string refusal = "written down for it in the nodes file is " + key.substr(0, 16);
  std::string out;
  const auto refused = [&](const std::vector<std::string>& arguments) {
    CHECK(testing::run(directory, arguments, &out) == 1);
    CHECK(out.find(refusal) != std::string::npos);
  };
  refused({"import", file, "--config", directory.file("site.toml")});
  refused({"import", file, "--state", directory.file("state"), "--nodes", directory.file("nodes.json")});
  {
    TemporaryDirectory served;
    Program program(served, {"--config", directory.file("site.toml"), "--listen", "127.0.0.1:0", "--port-file",
                             served.file("port")});
    testing::await_port(served.file("port"));
    refused({"import", file, "--state", directory.file("state")});
    CHECK(program.end(SIGTERM) == 0);
  }
  CHECK(testing::run(directory, {"import", file}) == 2);
  CHECK(testing::run(directory, {"import", file, "--state", directory.file("state")}) == 0);
}

}  // namespace nodemeter
