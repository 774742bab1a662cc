// A node of the simulated hypervisor that agents meter one after the other, into whatever store.

#pragma once

#include <catch2/catch.hpp>

#include "agent/agent.h"
#include "agent/simulation.h"
#include "store/reader.h"

namespace nodemeter {

// VM 1 runs all the time; 2 is stopped, and off at the interruption; 3 leaves and comes back after it; 4 arrives while
// it is watched, so that all of its use is metered.
inline Scenario scripted_node() {
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
    const std::unique_ptr<Agent> agent = open(store);
    source_.cut();
    const UtcTime end = world_.scenario().start + std::chrono::minutes(minutes);
    for (; clock_.true_time() <= end; pass(std::chrono::minutes{1})) agent->step();
    if (finish) agent->finish();
    REQUIRE(agent->phase() == AgentPhase::kMetering);
  }

  std::unique_ptr<Agent> open(KeyValue& store) {
    AgentOptions options;
    options.node = *NodeId::parse("fixture");
    options.sample_interval = world_.scenario().sample_interval;
    auto agent = Agent::open(options, {clock_, source_, store, nullptr, nullptr, random_, log_});
    if (!agent) FAIL(agent.error().message);
    return std::move(*agent);
  }

  // Nobody meters.
  void pass(Milliseconds time) {
    clock_.set(clock_.true_time() + time);
    world_.advance_to(clock_.true_time());
  }

  void set_wall_clock(Milliseconds by) { clock_.step_wall(by); }

  [[nodiscard]] const World& world() const { return world_; }
  [[nodiscard]] std::uint64_t samples() const { return source_.samples(); }

 private:
  World world_;
  SimulatedClock clock_;
  WorldSource source_;
  NullLog log_;
  Random random_{1};
};

// What a store has billed.
inline std::uint64_t cpu_us(const Reader& reader, const std::string& vm) {
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

}  // namespace nodemeter
