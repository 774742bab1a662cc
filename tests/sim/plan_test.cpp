// Goal: the agent is right in every order of events and faults that a node, a store and a network can produce.
// Method: a seeded world. Each seed draws a plan; the real agent lives through it in virtual time; judges that share
// no code with it hold its journal against the truth. A failure prints the plan, the seed, the command that replays
// it, and the smallest plan that still fails.
//
//   NODEMETER_SEED=<seed>      play that one, and say what was drawn
//   NODEMETER_SCENARIO=<file>  play the plan in that file
//   NODEMETER_SEEDS            how many seeds (default 300); half as many through Hyper-V's mapping
//   NODEMETER_SEED_BASE        hexadecimal; continuous integration takes the commit
//   NODEMETER_MINUTES          play seeds for that long instead
//   NODEMETER_TOTALS           a file that gets one line of totals per run, so that runs add up

#include <catch2/catch.hpp>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <sstream>

#include "tests/sim/plan_judges.h"
#include "tests/sim/regressions.h"
#include "tests/sim/shrink.h"

using namespace nodemeter;

namespace {

std::string text_from(const char* variable) {
  const char* text = std::getenv(variable);
  return text == nullptr ? "" : text;
}

std::uint64_t number_from(const char* variable, std::uint64_t otherwise, int base) {
  const std::string text = text_from(variable);
  return text.empty() ? otherwise : std::strtoull(text.c_str(), nullptr, base);
}

struct Totals {
  Mapping mapping = Mapping::kPlain;
  std::uint64_t first = 0;
  std::uint64_t seeds = 0;
  std::uint64_t complaints = 0;
  std::uint64_t samples = 0;
  std::uint64_t commits = 0;
  std::uint64_t requests = 0;
  std::uint64_t entries = 0;
  std::uint64_t restarts = 0;
  std::int64_t simulated_ms = 0;
  std::array<std::uint64_t, kOpCount> injected{};

  void take(const Outcome& outcome) {
    ++seeds;
    samples += outcome.samples;
    commits += outcome.commits;
    requests += outcome.requests;
    entries += outcome.journal.size();
    restarts += outcome.restarts;
    simulated_ms += outcome.ended_ms;
    for (std::size_t i = 0; i < kOpCount; ++i) injected[i] += outcome.injected[i];
  }
  [[nodiscard]] std::string line(std::int64_t took_ms) const {
    std::ostringstream out;
    out << "commit " << text_from("NODEMETER_COMMIT") << (mapping == Mapping::kHyperv ? " hyperv" : " plain")
        << " seeds " << first << " to " << first + seeds - 1 << ": " << seeds << " worlds, " << complaints
        << " with complaints, " << samples << " samples, " << entries << " entries, " << commits << " commits, "
        << requests << " requests, " << restarts << " agent starts, "
        << simulated_ms / std::max<std::int64_t>(1, took_ms) << " times real time; injected:";
    for (std::size_t i = 0; i < kOpCount; ++i) out << " " << op_name(static_cast<Op>(i)) << " " << injected[i];
    return out.str();
  }
};

// A world as the agent lives in it: on Hyper-V no definition stays behind after a migration.
Plan fit_for(Plan plan, Mapping mapping) {
  for (PlanVm& vm : plan.vms) vm.persistent = vm.persistent && mapping == Mapping::kPlain;
  return plan;
}

std::vector<std::string> complaints_of(const Plan& plan, Mapping mapping) {
  return judge(plan, play(plan, Flaw::kNone, mapping));
}

const char* tag_of(Mapping mapping) { return mapping == Mapping::kHyperv ? "'[hyperv-plan]'" : "'[plan]'"; }

// What a person needs: the complaints, the plan, how to see it again, and the smallest plan that shows it.
std::string told(const Plan& plan, const std::vector<std::string>& complaints, bool with_smallest, Mapping mapping) {
  std::string text = plan_text(plan);
  for (const std::string& complaint : complaints) text += "  " + complaint + "\n";
  text += "replay: NODEMETER_SEED=" + std::to_string(plan.seed) + " sim_tests " + tag_of(mapping) + "\n";
  if (!with_smallest) return text;
  const std::string judge = judge_name(complaints.front());
  const auto fails = [&](const Plan& candidate) {
    const std::vector<std::string> again = complaints_of(candidate, mapping);
    return std::any_of(again.begin(), again.end(), [&](const std::string& c) { return judge_name(c) == judge; });
  };
  const Plan small = mapping == Mapping::kPlain ? shrink(plan, judge) : shrink_while(plan, fails);
  text += std::string("smallest (save it, then: NODEMETER_SCENARIO=<file> sim_tests ") + tag_of(mapping) + "):\n" +
          plan_json(small);
  for (const std::string& complaint : complaints_of(small, mapping)) text += "  " + complaint + "\n";
  return text;
}

void play_and_tell(const Plan& plan, Mapping mapping) {
  std::cout << plan_text(plan);
  const std::vector<std::string> complaints = complaints_of(plan, mapping);
  if (!complaints.empty()) FAIL(told(plan, complaints, true, mapping));
}

void play_seeds(Mapping mapping, std::uint64_t count) {
  const std::uint64_t minutes = number_from("NODEMETER_MINUTES", 0, 10);
  const auto begin = std::chrono::steady_clock::now();
  Totals totals;
  totals.mapping = mapping;
  totals.first = number_from("NODEMETER_SEED_BASE", 1, 16);
  const auto more = [&] {
    if (minutes > 0) return std::chrono::steady_clock::now() - begin < std::chrono::minutes(minutes);
    return totals.seeds < count;
  };
  std::uint64_t again = 0;
  while (more() && totals.complaints < 5) {
    const Plan plan = fit_for(draw_plan(totals.first + totals.seeds), mapping);
    const Outcome outcome = play(plan, Flaw::kNone, mapping);
    const std::vector<std::string> complaints = judge(plan, outcome);
    totals.take(outcome);
    if (!complaints.empty()) {
      ++totals.complaints;
      FAIL_CHECK(told(plan, complaints, totals.complaints <= 2, mapping));
    }
    // Of every 16th world: the same bytes a second time.
    if (totals.seeds % 16 == 0) {
      ++again;
      CHECK(play(plan, Flaw::kNone, mapping).fingerprint == outcome.fingerprint);
    }
  }
  const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin);
  const std::string line = totals.line(took.count());
  std::cout << line << "\n" << again << " of them played twice, with the same bytes\n";
  const std::string file = text_from("NODEMETER_TOTALS");
  if (!file.empty()) std::ofstream(file, std::ios::app) << line << "\n";
}

void play_worlds(Mapping mapping, std::uint64_t count) {
  if (const std::string file = text_from("NODEMETER_SCENARIO"); !file.empty()) {
    std::ostringstream text;
    text << std::ifstream(file).rdbuf();
    const Result<Plan> plan = parse_plan(text.str());
    if (!plan) FAIL(file << ": " << plan.error().message);
    play_and_tell(*plan, mapping);
  } else if (const std::uint64_t only = number_from("NODEMETER_SEED", 0, 10); only != 0) {
    play_and_tell(fit_for(draw_plan(only), mapping), mapping);
  } else {
    play_seeds(mapping, count);
  }
}

}  // namespace

TEST_CASE("no plan makes a judge complain", "[plan]") {
  play_worlds(Mapping::kPlain, number_from("NODEMETER_SEEDS", 300, 10));
}

TEST_CASE("no plan makes a judge complain, through Hyper-V's mapping", "[hyperv-plan]") {
  play_worlds(Mapping::kHyperv, number_from("NODEMETER_SEEDS", 300, 10) / 2);
}

TEST_CASE("what seeds found once stays mended", "[plan]") {
  for (const Regression& regression : kRegressions) {
    INFO("seed " << regression.seed << ": " << regression.what);
    const Result<Plan> plan = parse_plan(regression.plan);
    REQUIRE(plan.ok());
    CHECK(complaints_of(*plan, regression.mapping) == std::vector<std::string>{});
  }
}
