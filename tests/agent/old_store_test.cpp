// Goal: a store that an earlier version wrote goes on under this one as if nothing had changed: no open hour, register
// or departed VM is forgotten.
// Method: a scripted node with an interruption in the middle of an hour. Once both halves are metered by this version;
// once the first half is taken from tests/fixtures/store-format-<n>, which the version of that format wrote. Both must
// tell the same.
//
// A new format gets its fixture from the last version that writes the old one:
//   NODEMETER_FIXTURE=<new directory> agent_tests "writes a store for the fixtures"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "store/entry_codec.h"
#include "store/journal.h"
#include "store/lmdb_kv.h"
#include "tests/agent/scripted_node.h"
#include "tests/sim/memory_kv.h"

using namespace nodemeter;

namespace {

namespace fs = std::filesystem;

constexpr int kInterruptedAt = 85;

void first_half(ScriptedNode& node, KeyValue& store) { node.meter_until(kInterruptedAt, store, false); }

void second_half(ScriptedNode& node, KeyValue& store) {
  node.pass(std::chrono::seconds{90});
  node.meter_until(170, store, true);
}

// What is told, without what names the store.
std::string told(const Reader& reader) {
  std::ostringstream out;
  const Status visited = reader.for_each(1, [&](const Entry& entry, std::string_view) {
    if (entry.kind == EntryKind::kManifest) return true;
    out << static_cast<int>(entry.kind) << " " << entry.vm.text() << " " << entry.usage_start.time_since_epoch().count()
        << " " << entry.covered_ms << " " << entry.gap_ms << " " << entry.status << " " << entry.detail;
    for (const MeterValue& value : entry.meters) out << " " << value.quantity << "/" << value.reading;
    out << "\n";
    return true;
  });
  REQUIRE(visited.ok());
  return out.str();
}

fs::path new_directory() {
  return fs::temp_directory_path() / ("nodemeter-test-" + Random::from_system().uuid().text());
}

}  // namespace

TEST_CASE("a store of every earlier format goes on without losing the open hour", "[old-store]") {
  MemoryDisk disk;
  MemoryKv fresh(disk);
  ScriptedNode node;
  first_half(node, fresh);
  second_half(node, fresh);
  const std::string expected = told(*Reader::on(fresh));

  int formats = 0;
  for (int format = 1; fs::exists(fs::path(FIXTURES) / ("store-format-" + std::to_string(format))); ++format) {
    INFO("format " << format);
    ++formats;
    const fs::path state = new_directory();
    fs::create_directories(journal_directory(state));
    fs::copy_file(fs::path(FIXTURES) / ("store-format-" + std::to_string(format)) / "data.mdb",
                  journal_directory(state) / "data.mdb");
    {
      const auto store = open_lmdb(journal_directory(state), {});
      REQUIRE(store.ok());
      const auto before = Reader::on(**store)->verify({});
      REQUIRE(before.ok());
      CHECK(before->faults.empty());
      CHECK(before->last >= 8);

      ScriptedNode continued;
      MemoryDisk unused_disk;
      MemoryKv unused(unused_disk);
      first_half(continued, unused);  // The node lives through it; the fixture knows it already.
      second_half(continued, **store);
      const auto reader = Reader::on(**store);
      CHECK(told(*reader) == expected);
      const auto after = reader->verify({});
      REQUIRE(after.ok());
      CHECK(after->faults.empty());
      CHECK(after->last > before->last);

      const std::string late = "6f1c0000-0000-4000-8000-000000000004";
      std::uint64_t truly = 0;
      for (const auto& [key, use] : continued.world().ledger()) truly += key.second.text() == late ? use.cpu_us : 0;
      CHECK(truly > 0);
      CHECK(cpu_us(*reader, late) == truly);
    }
    fs::remove_all(state);
  }
  CHECK(formats == kStoreFormat - 1);
}

TEST_CASE("writes a store for the fixtures", "[.fixture]") {
  const char* target = std::getenv("NODEMETER_FIXTURE");
  REQUIRE(target != nullptr);
  const auto store = open_lmdb(journal_directory(target), {});
  REQUIRE(store.ok());
  ScriptedNode node;
  first_half(node, **store);
}
