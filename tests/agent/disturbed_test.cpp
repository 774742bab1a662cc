// Goal: a machine that has slept, or whose clock was set, is sampled at once and not when the next sample is due.
// Method: a scripted node and its agent, step by step; and the whole daemon with samples an hour apart, whose process
// is told of a disturbance while it waits.

#include <set>

#include "daemon_site.h"
#include "store/live_view.h"
#include "tests/agent/scripted_node.h"
#include "tests/sim/memory_kv.h"

using namespace nodemeter;

namespace {

int clock_steps(const KeyValue& store) {
  int steps = 0;
  require_ok(Reader::on(store)->for_each(1, [&](const Entry& entry, std::string_view) {
    steps += entry.detail.find("clock-stepped") != std::string::npos ? 1 : 0;
    return true;
  }));
  return steps;
}

}  // namespace

TEST_CASE("a clock that was set is in the journal with the sample that its notice asks for", "[disturbed]") {
  ScriptedNode node;
  MemoryDisk disk;
  MemoryKv store{disk};
  node.meter_until(5, store, false);
  const auto agent = node.open(store);
  agent->step();
  const std::uint64_t before = node.samples();
  node.pass(Milliseconds{1'000});
  node.set_wall_clock(std::chrono::hours{2});
  agent->step();
  CHECK(node.samples() == before);  // Not due, and nobody has said anything.
  CHECK(clock_steps(store) == 0);
  agent->sample_soon();
  agent->step();
  CHECK(node.samples() == before + 1);
  CHECK(clock_steps(store) == 1);
  node.pass(Milliseconds{1'000});
  agent->step();
  CHECK(node.samples() == before + 1);  // Once.
}

TEST_CASE("a process that is told of a resume or of a set clock samples at once", "[disturbed]") {
  constexpr int kWaits = 60;
  DaemonSite site;
  site.options.speed = 1;
  site.options.sample_interval = std::chrono::hours{1};
  std::set<MonotonicTime> samples;
  int waits = 0;
  const int code = site.run(kWaits, ScriptedService::kAtEach, [&] {
    const auto view = read_live_view(site.options.live_name);
    if (view) samples.insert(view->node.sampled_monotonic);
    if (++waits % 20 == 0) ++site.running->disturbed;
  });
  INFO(site.said);
  REQUIRE(code == 0);
  // The first one, and one for each notice that was followed by a wait; at the edge of an hour one is due besides.
  CHECK(samples.size() >= 3);
  CHECK(samples.size() <= 4);
}
