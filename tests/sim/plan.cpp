#include "tests/sim/plan.h"

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>

#include "platform/random.h"
#include "platform/text.h"

namespace nodemeter {

namespace {

constexpr std::string_view kOpNames[] = {
#define NODEMETER_PLAN_OP(name) #name,
    NODEMETER_PLAN_OPS(NODEMETER_PLAN_OP)
#undef NODEMETER_PLAN_OP
};
static_assert(std::size(kOpNames) == kOpCount);

constexpr std::int64_t kSecond = 1'000;
constexpr std::int64_t kMinute = 60'000;
constexpr std::int64_t kHour = 3'600'000;
constexpr std::int64_t kDay = 24 * kHour;

// How an operation's numbers are drawn, and how often there is one at most.
struct Drawing {
  Op op;
  std::uint32_t most;  // In one world at an ordinary rate.
  std::int64_t a_low = 0;
  std::int64_t a_high = 0;
};

// Groups are switched on and off together: worlds without any fault of a kind are worth as much as wild ones.
struct Group {
  std::uint32_t on;  // In how many of eight worlds.
  bool of_vm;
  std::vector<Drawing> drawings;
};

const std::vector<Group>& groups() {
  static const std::vector<Group> kGroups{
      {7, true, {{Op::start, 9}, {Op::stop, 5}, {Op::restart, 3, 0, 5 * kSecond}, {Op::reboot, 3}}},
      {5, true, {{Op::pause, 4}, {Op::resume, 5}}},
      {5, true, {{Op::arrive, 5}, {Op::leave, 4, 0, 1}, {Op::recreate, 3, 0, 3 * kSecond}}},
      {4, true, {{Op::migrate_in, 4}, {Op::migrate_out, 4}, {Op::migrate_fails, 2, 1, 20 * kSecond}}},
      {4, true, {{Op::resize, 4, 1, 32}, {Op::resize_quietly, 2, 1, 32}, {Op::balloon, 3, 0, 65'536}}},
      {3, true, {{Op::rename, 2, 0, 9}, {Op::owner, 3, 0, 7}}},
      {4, true, {{Op::plug_disk, 2, 0, kMinute}, {Op::plug_nic, 2, 0, kMinute}, {Op::unplug, 3, 0, 99}}},
      {4, true, {{Op::hang, 3, kSecond, kHour}, {Op::stall, 2, kSecond, 20 * kMinute}, {Op::fall, 2, 1, 99}}},
      {3, false, {{Op::stream_cut, 5}, {Op::service_away, 2, kSecond, 30 * kMinute}}},
      {3, false, {{Op::source_down, 3, kSecond, 40 * kMinute}}},
      {3, false, {{Op::late_sample, 3, kSecond, 5 * kMinute}, {Op::sample_twice, 3}}},
      {2, false, {{Op::clock_step, 4, 0, 7}}},
      {3, false, {{Op::clock_drift, 2, -400, 400}, {Op::clock_unsynchronised, 2, kSecond, kHour}}},
      {2, false, {{Op::suspend, 3, kSecond, 3 * kHour}}},
      {2, false, {{Op::power_loss, 2, kSecond, kHour}}},
      {4, false, {{Op::agent_crash, 4, 1, 30 * kMinute}, {Op::agent_upgrade, 2, 1, 3 * kSecond}}},
      {4,
       false,
       {{Op::commit_lost, 3, 0, 40}, {Op::commit_unknown_written, 3, 0, 40}, {Op::commit_unknown_lost, 3, 0, 40}}},
      {3, false, {{Op::store_full, 3, kSecond, 2 * kHour}}},
      {4,
       false,
       {{Op::refused, 3, kSecond, 2 * kHour},
        {Op::lost_before_storing, 3, kSecond, kHour},
        {Op::lost_after_storing, 3, kSecond, kHour},
        {Op::arrives_later, 3, kSecond, kHour},
        {Op::old_request_again, 4},
        {Op::slow, 3, kSecond, kHour}}},
      {4,
       false,
       {{Op::status, 4, kSecond, kHour},
        {Op::retry_after, 2, kSecond, 20 * kMinute},
        {Op::proxy_page, 2, kSecond, kHour},
        {Op::truncated, 2, kSecond, kHour},
        {Op::wrong_acknowledgement, 2, kSecond, kHour}}},
      {3,
       false,
       {{Op::refuses_row, 2, 0, 400},
        {Op::refuses_rows_for_a_while, 2, kSecond, kHour},
        {Op::refuses_all, 1, kSecond, kHour},
        {Op::too_large, 2, kSecond, kHour}}},
      {2, false, {{Op::receiver_backup, 2}, {Op::receiver_restored, 1}}},
      {3, false, {{Op::late_notices, 3, kSecond, 10 * kMinute}}},
  };
  return kGroups;
}

// The second number, where an operation has one.
std::int64_t second_number(Op op, Random& random) {
  constexpr std::int64_t kStatuses[] = {301, 400, 401, 403, 404, 408, 413, 422, 425, 429, 500, 502, 503, 504};
  switch (op) {
    case Op::status: {
      // 400, 413 and 422 without a cause in the rows: the receiver refuses everything, for a while.
      return kStatuses[random.below(std::size(kStatuses))];
    }
    case Op::agent_crash: return static_cast<std::int64_t>(random.below(2));
    case Op::commit_lost:
    case Op::commit_unknown_written:
    case Op::commit_unknown_lost: return random.between(1, random.chance(1, 3) ? 20 * kMinute : 5 * kSecond);
    case Op::clock_step: {
      constexpr std::int64_t kSteps[] = {kSecond, kMinute, kHour, kDay};
      const std::int64_t most = kSteps[random.below(std::size(kSteps))];
      return random.between(-most, most);
    }
    case Op::slow: return random.between(kSecond, 10 * kMinute);
    case Op::retry_after: return random.between(1, 3'000);
    case Op::too_large: return random.between(1, 50);
    case Op::refuses_rows_for_a_while: return random.between(2, 30);
    case Op::hang: return static_cast<std::int64_t>(random.below(4));
    case Op::power_loss: return random.between(-20 * kSecond, 20 * kSecond);
    case Op::arrives_later: return random.between(1, 2 * kHour);
    default: return 0;
  }
}

void draw_vms(Plan& plan, Random& random, std::uint64_t count) {
  const bool proven = !random.chance(1, 8);
  for (std::uint64_t i = 0; i < count; ++i) {
    PlanVm vm;
    vm.vcores = 1 + static_cast<std::uint32_t>(random.below(16));
    vm.memory_mib = random.below(65'536);
    vm.cpu_percent = static_cast<std::uint32_t>(random.below(101));
    vm.disks = static_cast<std::uint32_t>(random.below(3));
    vm.nics = static_cast<std::uint32_t>(random.below(3));
    vm.rate = random.chance(1, 4) ? random.below(100) : random.below(1u << 28);
    vm.width_32 = random.chance(1, 6);
    vm.starts_proven = proven;
    vm.owner_known = random.chance(3, 4);
    vm.windows = random.chance(1, 3);
    vm.persistent = random.chance(1, 2);
    vm.first_ms = random.chance(2, 3) ? 0 : random.between(-plan.length_ms / 2, plan.length_ms);
    plan.vms.push_back(vm);
  }
}

}  // namespace

std::string_view op_name(Op op) { return kOpNames[static_cast<std::size_t>(op)]; }

Plan draw_plan(std::uint64_t seed) {
  Random random(seed * 0x9e3779b97f4a7c15ull + 0x517cc1b7u);
  Plan plan;
  plan.seed = seed;
  plan.start_ms = 1'767'225'600'000 + random.between(0, 2 * kHour);
  // Many VMs for an hour, or a few for a day.
  const std::uint64_t shape = random.below(16);
  const std::uint64_t vms = shape == 0 ? 10 + random.below(51) : shape < 4 ? 1 + random.below(12) : 1 + random.below(4);
  plan.length_ms = shape == 0   ? random.between(10 * kMinute, 70 * kMinute)
                   : shape == 1 ? random.between(6 * kHour, kDay)
                                : random.between(10 * kMinute, 5 * kHour);
  constexpr std::int64_t kIntervals[] = {5, 10, 10, 30, 60, 60, 300};
  plan.interval_ms = kIntervals[random.below(std::size(kIntervals))] * kSecond;
  if (shape == 1) plan.interval_ms = std::max<std::int64_t>(plan.interval_ms, 30 * kSecond);
  constexpr std::int64_t kGraces[] = {0, 30, 30, 30, 300};
  plan.close_grace_ms = kGraces[random.below(std::size(kGraces))] * kSecond;
  plan.rows_max = random.chance(1, 2) ? 10'000 : static_cast<std::uint32_t>(random.between(1, 60));
  plan.begins_empty = random.chance(3, 4);
  plan.count_stopped = random.chance(7, 8);
  plan.urgent = random.chance(3, 4);
  draw_vms(plan, random, vms);

  constexpr std::uint64_t kRates[] = {1, 1, 1, 3, 8};  // Wild in some worlds.
  for (const Group& group : groups()) {
    const bool on = random.chance(group.on, 8);
    const std::uint64_t rate = kRates[random.below(std::size(kRates))];
    for (const Drawing& drawing : group.drawings) {
      const std::uint64_t most = drawing.most * (group.of_vm ? rate + vms / 8 : rate);
      for (std::uint64_t n = random.below(most + 1); n > 0; --n) {
        PlanOp op;
        op.op = drawing.op;
        // Clustered at hour edges now and then: that is where mistakes live.
        op.at_ms = random.between(0, plan.length_ms - 1);
        if (random.chance(1, 6)) {
          const std::int64_t edge = (plan.start_ms + op.at_ms) / kHour * kHour - plan.start_ms;
          op.at_ms = std::clamp<std::int64_t>(edge + random.between(-3, 40) * (random.chance(1, 2) ? 1 : kSecond), 0,
                                              plan.length_ms - 1);
        }
        if (group.of_vm) op.vm = static_cast<std::uint32_t>(random.below(vms));
        op.a = random.between(drawing.a_low, drawing.a_high);
        // Short ones are as likely as long ones.
        if (op.a > kMinute && random.chance(1, 2)) op.a = drawing.a_low + op.a % kMinute;
        op.b = second_number(drawing.op, random);
        if (on) plan.ops.push_back(op);
      }
    }
  }
  std::stable_sort(plan.ops.begin(), plan.ops.end(), [](const auto& a, const auto& b) { return a.at_ms < b.at_ms; });
  return plan;
}

// --- JSON -----------------------------------------------------------------------------------------------------------

namespace {

using Json = nlohmann::ordered_json;

// One place that names every member, for both directions.
template <class Visit>
void members(auto& vm, const Visit& visit) requires requires {
  vm.cpu_percent;
}
{
  visit("vcores", vm.vcores);
  visit("memory_mib", vm.memory_mib);
  visit("cpu_percent", vm.cpu_percent);
  visit("disks", vm.disks);
  visit("nics", vm.nics);
  visit("rate", vm.rate);
  visit("width_32", vm.width_32);
  visit("starts_proven", vm.starts_proven);
  visit("owner_known", vm.owner_known);
  visit("windows", vm.windows);
  visit("persistent", vm.persistent);
  visit("first_ms", vm.first_ms);
}

template <class Visit>
void members(auto& plan, const Visit& visit) requires requires {
  plan.interval_ms;
}
{
  visit("seed", plan.seed);
  visit("start_ms", plan.start_ms);
  visit("length_ms", plan.length_ms);
  visit("interval_ms", plan.interval_ms);
  visit("close_grace_ms", plan.close_grace_ms);
  visit("rows_max", plan.rows_max);
  visit("begins_empty", plan.begins_empty);
  visit("count_stopped", plan.count_stopped);
  visit("urgent", plan.urgent);
}

template <class T>
Json object_of(const T& value) {
  Json json = Json::object();
  members(value, [&](const char* key, const auto& member) { json[key] = member; });
  return json;
}

template <class T>
T value_of(const Json& json) {
  T value;
  members(value, [&](const char* key, auto& member) { json.at(key).get_to(member); });
  return value;
}

}  // namespace

std::string plan_json(const Plan& plan) {
  Json json = object_of(plan);
  // One line per VM and per operation: people read these.
  std::string text = json.dump();
  text.pop_back();
  text += ",\n \"vms\": [";
  for (std::size_t i = 0; i < plan.vms.size(); ++i) text += (i ? ",\n  " : "\n  ") + object_of(plan.vms[i]).dump();
  text += "],\n \"ops\": [";
  for (std::size_t i = 0; i < plan.ops.size(); ++i) {
    const PlanOp& op = plan.ops[i];
    text += (i ? ",\n  " : "\n  ") +
            Json{{"at_ms", op.at_ms}, {"op", op_name(op.op)}, {"vm", op.vm}, {"a", op.a}, {"b", op.b}}.dump();
  }
  return text + "]}\n";
}

Result<Plan> parse_plan(std::string_view text) {
  try {
    const Json json = Json::parse(text);
    Plan plan = value_of<Plan>(json);
    for (const Json& vm : json.at("vms")) plan.vms.push_back(value_of<PlanVm>(vm));
    for (const Json& item : json.at("ops")) {
      PlanOp op;
      item.at("at_ms").get_to(op.at_ms);
      item.at("vm").get_to(op.vm);
      item.at("a").get_to(op.a);
      item.at("b").get_to(op.b);
      const auto name = item.at("op").get<std::string>();
      const auto* const found = std::find(std::begin(kOpNames), std::end(kOpNames), name);
      if (found == std::end(kOpNames)) return Error{ErrorCode::kInvalidInput, "no operation is called " + name};
      op.op = static_cast<Op>(found - std::begin(kOpNames));
      if (op.vm >= plan.vms.size()) return Error{ErrorCode::kInvalidInput, "an operation names a VM that is not there"};
      plan.ops.push_back(op);
    }
    return plan;
  } catch (const Json::exception& wrong) {
    return Error{ErrorCode::kInvalidInput, wrong.what()};
  }
}

std::string plan_text(const Plan& plan) {
  std::map<Op, std::uint64_t> counts;
  for (const PlanOp& op : plan.ops) ++counts[op.op];
  std::string text =
      "seed " + std::to_string(plan.seed) + ": " + std::to_string(plan.vms.size()) + " VMs for " +
      duration_text(Milliseconds{plan.length_ms}) + " from " + iso_time(UtcTime{Milliseconds{plan.start_ms}}) +
      ", sampled every " + duration_text(Milliseconds{plan.interval_ms}) + ", closing after " +
      duration_text(Milliseconds{plan.close_grace_ms}) + ", batches of " + std::to_string(plan.rows_max) +
      (plan.begins_empty ? ", store begun before" : ", store new") +
      (plan.count_stopped ? "" : ", stopped VMs do not count") + (plan.urgent ? "" : ", no urgency") + "\n ";
  for (const auto& [op, n] : counts) text += " " + std::string(op_name(op)) + " " + std::to_string(n);
  return text + "\n";
}

}  // namespace nodemeter
