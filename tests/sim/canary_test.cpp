// Goal: the judges can fail. Method: for each of them a mistake is planted, in a seam of the agent or in what it wrote,
// and that judge has to complain; without the mistake it must not. Shrinking and replaying are shown on such a failure.

#include <catch2/catch.hpp>

#include "tests/sim/plan_judges.h"
#include "tests/sim/shrink.h"

using namespace nodemeter;

namespace {

// A node on which everything goes well, for three hours.
Plan calm_plan() {
  Plan plan;
  plan.seed = 77;
  plan.start_ms = 1'767'226'000'000;
  plan.length_ms = 3 * 3'600'000;
  plan.interval_ms = 60'000;
  for (std::uint32_t i = 0; i < 3; ++i) {
    PlanVm vm;
    vm.vcores = 1 + i;
    vm.memory_mib = 1024;
    vm.cpu_percent = 20;
    vm.disks = vm.nics = 1;
    vm.rate = 5'000;
    plan.vms.push_back(vm);
  }
  plan.ops = {
      {600'000, Op::stop, 0, 0, 0}, {1'200'000, Op::start, 0, 0, 0}, {4'000'000, Op::agent_crash, 0, 90'000, 0}};
  return plan;
}

std::string judges_of(const std::vector<std::string>& complaints) {
  std::set<std::string> names;
  for (const std::string& complaint : complaints) names.insert(judge_name(complaint));
  std::string all;
  for (const std::string& name : names) all += name + " ";
  return all;
}

Entry& usage_of(Outcome& outcome) {
  for (Entry& entry : outcome.journal) {
    if (entry.kind == EntryKind::kUsage && entry.covered_ms > 0) return entry;
  }
  FAIL("no usage entry");
  return outcome.journal.front();
}

Entry& of_kind(Outcome& outcome, EntryKind kind) {
  for (Entry& entry : outcome.journal) {
    if (entry.kind == kind) return entry;
  }
  FAIL("no such entry");
  return outcome.journal.front();
}

MeterValue& value_of(Entry& entry, MeterIndex meter) {
  for (MeterValue& value : entry.meters) {
    if (find_meter(value.meter)->index == meter) return value;
  }
  FAIL("no such meter");
  return entry.meters.front();
}

}  // namespace

TEST_CASE("canary: every judge sees the mistake that is made for it", "[canary]") {
  const Plan plan = calm_plan();
  const Outcome right = play(plan);
  REQUIRE(judges_of(judge(plan, right)).empty());
  Outcome wrong = right;
  const auto sees = [&](const char* name) {
    const std::string judges = judges_of(judge(plan, wrong));
    INFO("complaining: " << judges);
    CHECK(judges.find(name) != std::string::npos);
  };

  SECTION("sequence: an entry is gone") {
    wrong.journal.erase(wrong.journal.begin() + 2);
    wrong.rows.erase(wrong.rows.begin() + 2);
    sees("sequence");
  }
  SECTION("sequence: a reported time falls") {
    wrong.journal.back().reported_at = wrong.journal.front().reported_at - Milliseconds{1};
    sees("sequence");
  }
  SECTION("sequence: one bit of a row is another") {
    wrong.rows[1][10] = static_cast<char>(wrong.rows[1][10] ^ 1);
    sees("sequence");
  }
  SECTION("registers: one is behind by one") {
    value_of(usage_of(wrong), MeterIndex::kMemoryHours).reading -= 1;
    sees("registers");
  }
  SECTION("presence: a millisecond too much") {
    usage_of(wrong).covered_ms += 1;
    sees("presence");
  }
  SECTION("presence: a millisecond in another hour") {
    Entry& first = usage_of(wrong);
    for (Entry& entry : wrong.journal) {
      if (entry.vm != first.vm || entry.kind != EntryKind::kUsage || &entry == &first) continue;
      first.covered_ms -= 1;
      entry.covered_ms += 1;
      break;
    }
    sees("presence");
  }
  SECTION("levels: a vcore millisecond too much") {
    value_of(usage_of(wrong), MeterIndex::kBaseVmHours).quantity += 1;
    sees("levels");
  }
  SECTION("counters: a byte too little") {
    value_of(usage_of(wrong), MeterIndex::kDiskReadBytes).quantity -= 1;
    sees("counters");
  }
  SECTION("ledger: what is missing is not marked") {
    for (Entry& entry : wrong.journal) {
      entry.status = 0;
      if (entry.kind == EntryKind::kGap) entry.usage_end = entry.usage_start;
    }
    sees("ledger");
  }
  SECTION("gaps: one begins a millisecond late") {
    std::string& detail = of_kind(wrong, EntryKind::kGap).detail;
    const std::size_t at = detail.find("Z\"");
    REQUIRE(at != std::string::npos);
    detail[at - 1] = detail[at - 1] == '9' ? '8' : '9';
    sees("gaps");
  }
  SECTION("manifests: a sum is another") {
    const auto has_sums = [](const Entry& entry) {
      return entry.kind == EntryKind::kManifest && entry.detail.find("\"sums\":{\"") != std::string::npos;
    };
    const auto found = std::find_if(wrong.journal.begin(), wrong.journal.end(), has_sums);
    REQUIRE(found != wrong.journal.end());
    const std::size_t at = found->detail.find("\":\"", found->detail.find("\"sums\":"));
    found->detail[at + 3] = found->detail[at + 3] == '9' ? '8' : '9';
    sees("manifests");
  }
  SECTION("manifests: one is signed by another key") {
    std::string& detail = of_kind(wrong, EntryKind::kManifest).detail;
    const std::size_t at = detail.find("\"signature\":\"") + 13;
    detail[at + 1] = detail[at + 1] == '9' ? '8' : '9';
    sees("manifests");
  }
  SECTION("manifests: a closed hour is changed without a mark") {
    Entry late = usage_of(wrong);
    late.sequence = wrong.journal.back().sequence + 1;
    wrong.journal.push_back(late);
    wrong.rows.push_back(wrong.rows.back());
    sees("manifests");
  }
  SECTION("delivery: the receiver holds another byte") {
    wrong.received.begin()->second.back() = static_cast<char>(wrong.received.begin()->second.back() ^ 1);
    sees("delivery");
  }
  SECTION("delivery: an entry is set aside that nobody refused") {
    wrong.parked.push_back({Epoch{}, 3, "no reason"});
    sees("delivery");
  }
  SECTION("determinism: a world in which one more thing happens has other bytes") {
    Plan other = plan;
    other.ops.push_back({9'000'000, Op::reboot, 0, 0, 0});
    CHECK(play(other).fingerprint != right.fingerprint);
    CHECK(play(plan).fingerprint == right.fingerprint);
  }
}

TEST_CASE("canary: a mistake of a store, a source or a receiver is seen", "[canary]") {
  const Plan plan = calm_plan();
  const auto judges = [&](Flaw flaw) { return judges_of(judge(plan, play(plan, flaw))); };
  CHECK(judges(Flaw::kCommitForgotten).find("durability") != std::string::npos);
  CHECK_FALSE(judges(Flaw::kCommitTorn).empty());
  CHECK(judges(Flaw::kCounterRunsAhead).find("ledger") != std::string::npos);
  CHECK(judges(Flaw::kReceiverForgets).find("delivery") != std::string::npos);
  CHECK(judges(Flaw::kReceiverDeaf).find("liveness") != std::string::npos);
}

TEST_CASE("canary: through Hyper-V's mapping nothing is lost in a calm world, and a flaw is still seen", "[canary]") {
  Plan plan = calm_plan();
  for (PlanVm& vm : plan.vms) vm.persistent = false;
  const auto total = [](const Outcome& outcome, MeterIndex index) {
    std::uint64_t sum = 0;
    for (const Entry& entry : outcome.journal) {
      for (const MeterValue& value : entry.meters) {
        if (entry.kind == EntryKind::kUsage && find_meter(value.meter)->index == index) sum += value.quantity;
      }
    }
    return sum;
  };
  const Outcome plain = play(plan);
  const Outcome mapped = play(plan, Flaw::kNone, Mapping::kHyperv);
  CHECK(judges_of(judge(plan, mapped)).empty());
  for (const MeterInfo& info : meter_catalogue()) {
    INFO(info.name);
    CHECK(total(mapped, info.index) == total(plain, info.index));
  }
  CHECK(judges_of(judge(plan, play(plan, Flaw::kCounterRunsAhead, Mapping::kHyperv))).find("ledger") !=
        std::string::npos);
}

TEST_CASE("a plan is the same after printing and reading, and what fails is made small", "[canary]") {
  for (std::uint64_t seed = 1; seed < 40; ++seed) {
    const Plan plan = draw_plan(seed);
    const Result<Plan> again = parse_plan(plan_json(plan));
    REQUIRE(again.ok());
    CHECK(*again == plan);
  }
  CHECK_FALSE(parse_plan("{}").ok());
  CHECK_FALSE(parse_plan("no json").ok());

  // "Fails" if VM 2 is stopped while a crash comes later: everything else has to go.
  const Plan big = draw_plan(5);
  Plan plan = big;
  plan.ops.push_back({plan.length_ms / 2, Op::stop, 0, 0, 0});
  plan.ops.push_back({plan.length_ms / 2, Op::agent_crash, 0, 1000, 0});
  const Plan small = shrink_while(plan, [](const Plan& candidate) {
    const auto has = [&](Op op) {
      return std::any_of(candidate.ops.begin(), candidate.ops.end(), [&](const PlanOp& o) { return o.op == op; });
    };
    return has(Op::stop) && has(Op::agent_crash);
  });
  CHECK(small.ops.size() == 2);
  CHECK(small.vms.size() == 1);
}
