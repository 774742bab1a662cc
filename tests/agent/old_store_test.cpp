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

#include "agent/agent.h"
#include "agent/simulation.h"
#include "store/entry_codec.h"
#include "store/lmdb_kv.h"
#include "store/reader.h"
#include "tests/sim/memory_kv.h"

using namespace nodemeter;

namespace {

namespace fs = std::filesystem;

// VM 1 runs all the time; 2 is stopped, and off at the interruption; 3 leaves and comes back after it; 4 arrives while
// it is watched, so that all of its use is metered.
Scenario scripted_node() {
  const std::string document = R"({
    "start": "2026-01-01T00:00:00Z", "end": "2026-01-01T03:00:00Z", "sample_interval_s": 60,
    "vms": [
      {"id": "6f1c0000-0000-4000-8000-000000000001", "name": "web", "vcores": 4, "memory_mib": 8192,
       "subscription": "11111111-1111-4111-8111-111111111111", "tenant": "aaaaaaaa-1111-4111-8111-111111111111",
       "resource_group": "rg", "present_from": "2026-01-01T00:00:00Z", "cpu_percent": 25,
       "disks": [{"id": "vda", "capacity_mib": 65536, "read_bytes_per_s": 1000003, "write_bytes_per_s": 2000003,
                  "read_operations_per_s": 11, "write_operations_per_s": 23}],
       "nics": [{"id": "eth0", "receive_bytes_per_s": 500009, "transmit_bytes_per_s": 700001,
                 "receive_packets_per_s": 501, "transmit_packets_per_s": 703}]},
      {"id": "6f1c0000-0000-4000-8000-000000000002", "name": "db", "vcores": 2, "memory_mib": 4096,
       "windows_licence": true, "present_from": "2026-01-01T00:00:00Z", "cpu_percent": 50},
      {"id": "6f1c0000-0000-4000-8000-000000000003", "name": "batch", "vcores": 8, "memory_mib": 1024,
       "present_from": "2026-01-01T00:00:00Z", "cpu_percent": 90},
      {"id": "6f1c0000-0000-4000-8000-000000000004", "name": "late", "vcores": 1, "memory_mib": 512,
       "present_from": "2026-01-01T00:20:00Z", "cpu_percent": 75}],
    "events": [
      {"at": "2026-01-01T00:20:07Z", "do": "arrive", "vm": "6f1c0000-0000-4000-8000-000000000004", "how": "created"},
      {"at": "2026-01-01T00:50:01Z", "do": "leave", "vm": "6f1c0000-0000-4000-8000-000000000003", "how": "deleted"},
      {"at": "2026-01-01T01:10:30Z", "do": "stop", "vm": "6f1c0000-0000-4000-8000-000000000002"},
      {"at": "2026-01-01T01:40:00Z", "do": "arrive", "vm": "6f1c0000-0000-4000-8000-000000000003", "how": "created"}]
  })";
  const auto scenario = parse_scenario(document);
  if (!scenario) FAIL(scenario.error().message);
  return *scenario;
}

class ScriptedNode {
 public:
  ScriptedNode() : world_(scripted_node()), clock_(world_.scenario().start, 1), source_(world_, clock_) {}

  // Meters into `store` until so many minutes after the start, with an agent of its own.
  void meter_until(int minutes, KeyValue& store, bool finish) {
    Random random(1);
    AgentOptions options;
    options.node = *NodeId::parse("fixture");
    options.sample_interval = world_.scenario().sample_interval;
    const auto agent = Agent::open(options, {clock_, source_, store, nullptr, nullptr, random, log_});
    if (!agent) FAIL(agent.error().message);
    source_.cut();
    const UtcTime end = world_.scenario().start + std::chrono::minutes(minutes);
    for (; clock_.true_time() <= end; pass(std::chrono::minutes{1})) (*agent)->step();
    if (finish) (*agent)->finish();
    REQUIRE((*agent)->phase() == AgentPhase::kMetering);
  }

  // Nobody meters.
  void pass(Milliseconds time) {
    clock_.set(clock_.true_time() + time);
    world_.advance_to(clock_.true_time());
  }

  [[nodiscard]] const World& world() const { return world_; }

 private:
  World world_;
  SimulatedClock clock_;
  WorldSource source_;
  NullLog log_;
};

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

std::uint64_t cpu_us(const Reader& reader, const std::string& vm) {
  std::uint64_t sum = 0;
  const Status visited = reader.for_each(1, [&](const Entry& entry, std::string_view) {
    if (entry.vm.text() != vm) return true;
    for (const MeterValue& value : entry.meters) {
      if (find_meter(value.meter)->index == MeterIndex::kCpuTime) sum += value.quantity;
    }
    return true;
  });
  REQUIRE(visited.ok());
  return sum;
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
  CHECK(formats >= 1);
}

TEST_CASE("writes a store for the fixtures", "[.fixture]") {
  const char* target = std::getenv("NODEMETER_FIXTURE");
  REQUIRE(target != nullptr);
  const auto store = open_lmdb(journal_directory(target), {});
  REQUIRE(store.ok());
  ScriptedNode node;
  first_half(node, **store);
}
