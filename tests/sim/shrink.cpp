#include "tests/sim/shrink.h"

#include <algorithm>

#include "tests/sim/plan_judges.h"

namespace nodemeter {

namespace {

// How many worlds a shrink may play: a failure is told within a minute.
constexpr int kPlaysMax = 1'500;

class Shrinker {
 public:
  Shrinker(Plan plan, const std::function<bool(const Plan&)>& fails) : plan_(std::move(plan)), fails_(fails) {}

  Plan run() {
    for (bool smaller = true; smaller && plays_ < kPlaysMax;) {
      smaller = fewer_operations();
      smaller = fewer_vms() || smaller;
      smaller = simpler() || smaller;
    }
    return plan_;
  }

 private:
  bool take_if_fails(Plan candidate) {
    if (candidate == plan_ || plays_ >= kPlaysMax) return false;
    ++plays_;
    if (!fails_(candidate)) return false;
    plan_ = std::move(candidate);
    return true;
  }

  // Halves first, then quarters, down to single operations.
  bool fewer_operations() {
    bool smaller = false;
    for (std::size_t size = std::max<std::size_t>(1, plan_.ops.size() / 2);; size /= 2) {
      for (std::size_t from = 0; from < plan_.ops.size();) {
        Plan candidate = plan_;
        const auto begin = candidate.ops.begin() + static_cast<std::ptrdiff_t>(from);
        const std::size_t n = std::min(size, candidate.ops.size() - from);
        candidate.ops.erase(begin, begin + static_cast<std::ptrdiff_t>(n));
        if (take_if_fails(std::move(candidate))) {
          smaller = true;
        } else {
          from += size;
        }
      }
      if (size <= 1) return smaller;
    }
  }

  bool fewer_vms() {
    bool smaller = false;
    for (std::size_t i = plan_.vms.size(); i-- > 0 && plan_.vms.size() > 1;) {
      Plan candidate = plan_;
      candidate.vms.erase(candidate.vms.begin() + static_cast<std::ptrdiff_t>(i));
      std::erase_if(candidate.ops, [&](const PlanOp& op) { return op.op <= Op::fall && op.vm == i; });
      for (PlanOp& op : candidate.ops) {
        if (op.vm > i) --op.vm;
        op.vm = std::min(op.vm, static_cast<std::uint32_t>(candidate.vms.size() - 1));
      }
      smaller = take_if_fails(std::move(candidate)) || smaller;
    }
    return smaller;
  }

  bool simpler() {
    bool smaller = false;
    const auto attempt = [&](const auto& change) {
      Plan candidate = plan_;
      change(candidate);
      smaller = take_if_fails(std::move(candidate)) || smaller;
    };
    attempt([](Plan& p) {
      p.length_ms /= 2;
      std::erase_if(p.ops, [&](const PlanOp& op) { return op.at_ms >= p.length_ms; });
    });
    attempt([](Plan& p) { p.length_ms = p.ops.empty() ? 60'000 : std::min(p.length_ms, p.ops.back().at_ms + 60'000); });
    attempt([](Plan& p) { p.interval_ms = 60'000; });
    attempt([](Plan& p) { p.rows_max = 10'000; });
    attempt([](Plan& p) { p.count_stopped = p.begins_empty = true; });
    attempt([](Plan& p) { p.close_grace_ms = 30'000; });
    for (std::size_t i = 0; i < plan_.vms.size(); ++i) {
      attempt([i](Plan& p) { p.vms[i].disks = p.vms[i].nics = 0; });
      attempt([i](Plan& p) { p.vms[i].first_ms = 0; });
      attempt([i](Plan& p) { p.vms[i].width_32 = false; });
    }
    for (std::size_t i = 0; i < plan_.ops.size(); ++i) {
      attempt([i](Plan& p) { p.ops[i].a /= 2; });
    }
    return smaller;
  }

  Plan plan_;
  const std::function<bool(const Plan&)>& fails_;
  int plays_ = 0;
};

}  // namespace

Plan shrink_while(const Plan& plan, const std::function<bool(const Plan&)>& fails) {
  return Shrinker(plan, fails).run();
}

Plan shrink(const Plan& plan, const std::string& name) {
  return shrink_while(plan, [&](const Plan& candidate) {
    const std::vector<std::string> complaints = judge(candidate, play(candidate));
    return std::any_of(complaints.begin(), complaints.end(),
                       [&](const std::string& complaint) { return judge_name(complaint) == name; });
  });
}

}  // namespace nodemeter
