#include "agent/simulate.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <ostream>

#include "agent/agent.h"
#include "agent/simulation.h"
#include "platform/contract.h"
#include "platform/files.h"
#include "platform/text.h"
#include "store/entry_codec.h"
#include "store/lmdb_kv.h"
#include "store/reader.h"

namespace nodemeter {

namespace {

constexpr std::int64_t kHourMs = 3'600'000;

// After the end, how long delivery may take before the simulation gives up: outages and back-off included.
constexpr Milliseconds kDeliveryMax{30ll * 86'400'000};

// Everything of one run, wired together as the daemon wires the real parts.
class Run {
 public:
  Run(const Scenario& scenario, std::uint64_t seed, KeyValue& store)
      : world_(scenario),
        clock_(scenario.start, seed),
        source_(world_, clock_),
        aggregator_(clock_),
        disk_(store, clock_),
        random_(seed) {
    options_.node = NodeId::parse("simulated-" + std::to_string(seed)).value();
    options_.sample_interval = scenario.sample_interval;
    options_.meter.simulated = true;
    options_.key = SigningKey::from_seed(digest_of({"simulated node's key", options_.node.text()}).view()).value();
  }

  Status to_end() {
    if (Status opened = open_agent(); !opened) return opened;
    agent_->begin_empty();
    source_.keep_unbroken();
    const Scenario& scenario = world_.scenario();
    UtcTime wake = scenario.start;
    while (true) {
      const UtcTime event = next_event_ < scenario.events.size() ? scenario.events[next_event_].at : scenario.end;
      const UtcTime awake = agent_ ? wake : back_at_;
      const UtcTime t =
          std::min({std::max(event, clock_.true_time()), std::max(awake, clock_.true_time()), scenario.end});
      clock_.set(t);
      world_.advance_to(t);
      while (next_event_ < scenario.events.size() && scenario.events[next_event_].at <= t) {
        apply(scenario.events[next_event_++]);
      }
      if (t >= scenario.end) break;
      if (!agent_ && t >= back_at_) {
        if (Status opened = come_back(); !opened) return opened;
      }
      if (agent_) wake = step();
    }
    return finish();
  }

  [[nodiscard]] const World& world() const { return world_; }
  [[nodiscard]] const SimulatedAggregator& aggregator() const { return aggregator_; }
  [[nodiscard]] const Agent& agent() const { return *agent_; }
  [[nodiscard]] std::uint64_t samples() const { return source_.samples(); }

 private:
  Status open_agent() {
    const Seams seams{clock_, source_, disk_, &aggregator_, nullptr, random_, log_};
    Result<std::unique_ptr<Agent>> opened = Agent::open(options_, seams);
    if (!opened) return opened.error();
    agent_ = std::move(opened).value();
    return Done{};
  }

  // The next instant of true time at which the agent wants to be stepped.
  UtcTime step() {
    const UtcTime next = clock_.true_time_of(agent_->step());
    return std::max(next, clock_.true_time() + Milliseconds{1});
  }

  Status come_back() {
    if (host_down_) {
      clock_.reboot();
      world_.power_on();
      host_down_ = false;
    }
    source_.cut();
    return open_agent();
  }

  void go_down(Milliseconds down) {
    agent_.reset();
    back_at_ = std::max(back_at_, clock_.true_time() + down);
  }

  void apply(const ScenarioEvent& event) {
    const UtcTime until = std::min(clock_.true_time() + event.span, world_.scenario().end);
    switch (event.action) {
      case ScenarioAction::kAgentCrash: go_down(event.span); return;
      case ScenarioAction::kPowerLoss:
        host_down_ = true;
        world_.power_off();
        go_down(event.span);
        return;
      case ScenarioAction::kClockStep: clock_.step_wall(event.span); return;
      case ScenarioAction::kAggregatorDown: aggregator_.fail_until(clock_.true_time() + event.span); return;
      case ScenarioAction::kAggregatorLosesAck: aggregator_.lose_answers(event.count); return;
      case ScenarioAction::kDiskFull: disk_.full_until(until); return;
      case ScenarioAction::kSourceDown:
        source_.cut();
        source_.fail_until(until);
        return;
      default: return;  // The world's.
    }
  }

  // At the end everything has recovered but the aggregator; time runs on until it has everything.
  Status finish() {
    if (!agent_) {
      if (Status opened = come_back(); !opened) return opened;
    }
    agent_->finish();
    const UtcTime give_up = world_.scenario().end + kDeliveryMax;
    while (agent_->phase() != AgentPhase::kFailed && agent_->backlog() > 0 && clock_.true_time() < give_up) {
      clock_.set(step());
    }
    if (agent_->phase() == AgentPhase::kFailed) return Error{ErrorCode::kCorrupt, agent_->reason()};
    return Done{};
  }

  World world_;
  SimulatedClock clock_;
  WorldSource source_;
  SimulatedAggregator aggregator_;
  FullDisk disk_;
  Random random_;
  NullLog log_;
  AgentOptions options_;
  std::unique_ptr<Agent> agent_;
  std::size_t next_event_ = 0;
  UtcTime back_at_{};
  bool host_down_ = false;
};

void add(UsageTotals& totals, const UsageKey& key, std::uint64_t quantity) {
  if (quantity > 0) totals[key] += quantity;
}

UsageTotals true_totals(const World& world) {
  UsageTotals totals;
  for (const auto& [key, use] : world.ledger()) {
    const auto& [hour, vm] = key;
    const auto script = std::find_if(world.scenario().vms.begin(), world.scenario().vms.end(),
                                     [&, id = vm](const ScenarioVm& v) { return v.id == id; });
    const auto put = [&, h = hour, id = vm](MeterIndex meter, std::uint64_t q) { add(totals, {h, id, meter}, q); };
    put(script->owner.windows_licence ? MeterIndex::kWindowsVmHours : MeterIndex::kBaseVmHours, use.vcore_ms);
    put(MeterIndex::kVmHours, use.vm_ms);
    put(MeterIndex::kCpuTime, use.cpu_us);
    put(MeterIndex::kMemoryHours, use.memory_mib_ms);
    put(MeterIndex::kDiskAllocatedHours, use.disk_mib_ms);
    put(MeterIndex::kDiskReadBytes, use.disk[kReadBytes]);
    put(MeterIndex::kDiskWriteBytes, use.disk[kWriteBytes]);
    put(MeterIndex::kDiskReadOperations, use.disk[kReadOperations]);
    put(MeterIndex::kDiskWriteOperations, use.disk[kWriteOperations]);
    put(MeterIndex::kNetworkReceiveBytes, use.nic[kReceiveBytes]);
    put(MeterIndex::kNetworkTransmitBytes, use.nic[kTransmitBytes]);
    put(MeterIndex::kNetworkReceivePackets, use.nic[kReceivePackets]);
    put(MeterIndex::kNetworkTransmitPackets, use.nic[kTransmitPackets]);
  }
  return totals;
}

void add_entry(UsageTotals& totals, const Entry& entry) {
  if (entry.kind != EntryKind::kUsage) return;
  const std::int64_t hour = entry.usage_start.time_since_epoch().count() / 3600;
  for (const MeterValue& value : entry.meters)
    add(totals, {hour, entry.vm, find_meter(value.meter)->index}, value.quantity);
}

// What the records themselves say about an hour: their marks, and the gaps that overlap it.
class Explanations {
 public:
  void take(const Entry& entry) {
    if (entry.kind == EntryKind::kUsage) {
      const std::int64_t hour = entry.usage_start.time_since_epoch().count() / 3600;
      marks_[{hour, entry.vm}] |= entry.status & ~status_bit::kSimulated;
    }
    if (entry.kind == EntryKind::kGap) {
      const auto detail = nlohmann::json::parse(entry.detail, nullptr, false);
      gaps_.push_back({entry.usage_start, entry.usage_end, detail.value("cause", "unknown")});
      host_was_down_ = host_was_down_ || gaps_.back().cause == "host down";
    }
    if (entry.kind == EntryKind::kEvent && entry.detail.find("clock-stepped") != std::string::npos) stepped_ = true;
  }

  [[nodiscard]] std::string of(std::int64_t hour, const VmId& vm) const {
    std::vector<std::string> reasons;
    if (const auto mark = marks_.find({hour, vm}); mark != marks_.end() && mark->second != 0) {
      reasons.push_back("status " + status_text(mark->second));
    }
    const std::chrono::sys_seconds start{std::chrono::hours{hour}};
    for (const Gap& gap : gaps_) {
      if (gap.from >= start + std::chrono::hours{1} || gap.to <= start) continue;
      const std::string text = "gap: " + gap.cause;
      if (std::find(reasons.begin(), reasons.end(), text) == reasons.end()) reasons.push_back(text);
    }
    if (reasons.empty() && stepped_) reasons.emplace_back("the wall clock was stepped: time has other names");
    if (reasons.empty() && host_was_down_) reasons.emplace_back("the clock may have been set while the host was down");
    std::string all;
    for (const std::string& reason : reasons) all += (all.empty() ? "" : "; ") + reason;
    return all;
  }

 private:
  struct Gap {
    std::chrono::sys_seconds from;
    std::chrono::sys_seconds to;
    std::string cause;
  };
  std::map<std::pair<std::int64_t, VmId>, std::uint32_t> marks_;
  std::vector<Gap> gaps_;
  bool stepped_ = false;
  bool host_was_down_ = false;
};

std::vector<UsageDifference> compare(const UsageTotals& truth, const UsageTotals& metered,
                                     const Explanations& explain) {
  std::vector<UsageDifference> differences;
  const auto value = [](const UsageTotals& totals, const UsageKey& key) {
    const auto found = totals.find(key);
    return found == totals.end() ? 0 : found->second;
  };
  UsageTotals keys = truth;
  keys.insert(metered.begin(), metered.end());
  for (const auto& row : keys) {
    const UsageKey& key = row.first;
    if (value(truth, key) == value(metered, key)) continue;
    const std::int64_t hour = std::get<0>(key);
    UsageDifference difference{key, value(truth, key), value(metered, key), explain.of(hour, std::get<1>(key))};
    // One difference of two readings, over an edge: the hours' shares differ from the truth, their sum does not.
    const auto both = [&](const UsageTotals& totals, std::int64_t other) {
      return value(totals, key) + value(totals, {other, std::get<1>(key), std::get<2>(key)});
    };
    const bool split =
        both(truth, hour - 1) == both(metered, hour - 1) || both(truth, hour + 1) == both(metered, hour + 1);
    if (difference.reason.empty() && split) difference.reason = "a difference over the hour's edge, split by time";
    differences.push_back(std::move(difference));
  }
  return differences;
}

}  // namespace

Result<SimulationResult> simulate(const Scenario& scenario, std::uint64_t seed, KeyValue& store) {
  Run run(scenario, seed, store);
  if (Status done = run.to_end(); !done) return done.error();
  SimulationResult result;
  result.true_use = true_totals(run.world());
  Explanations explain;
  std::map<std::pair<Uuid, Sequence>, std::string> kept;
  const auto snapshot = store.snapshot();
  if (!snapshot) return snapshot.error();
  std::string fault;
  const Status scanned = (*snapshot)->scan(Table::kEntries, "", [&](std::string_view, std::string_view row) {
    const Result<DecodedEntry> decoded = decode_entry(row);
    if (!decoded) {
      fault = decoded.error().message;
      return false;
    }
    explain.take(decoded->entry);
    add_entry(result.metered, decoded->entry);
    result.journal.push_back(decoded->entry);
    kept.emplace(std::pair<Uuid, Sequence>(decoded->entry.epoch, decoded->entry.sequence), row);
    return true;
  });
  if (!scanned) return scanned.error();
  if (!fault.empty()) return Error{ErrorCode::kCorrupt, fault};
  for (const auto& [key, row] : run.aggregator().rows()) add_entry(result.received, decode_entry(row)->entry);
  result.differences = compare(result.true_use, result.metered, explain);
  result.acknowledged = run.agent().journal().state().acknowledged;
  result.samples = run.samples();
  result.delivered = run.agent().backlog() == 0 && kept == run.aggregator().rows() && run.aggregator().forks() == 0;
  return result;
}

// --- The verb -------------------------------------------------------------------------------------------------------

namespace {

std::string hour_text(std::int64_t hour) { return iso_time(UtcTime{Milliseconds{hour * kHourMs}}, true); }

nlohmann::ordered_json key_json(const UsageKey& key) {
  return {{"hour", hour_text(std::get<0>(key))},
          {"vm", std::get<1>(key).text()},
          {"meter", std::string(meter_catalogue()[static_cast<std::size_t>(std::get<2>(key))].name)}};
}

nlohmann::ordered_json totals_json(const UsageTotals& totals) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const auto& [key, quantity] : totals) {
    nlohmann::ordered_json row = key_json(key);
    row["quantity"] = quantity;
    list.push_back(std::move(row));
  }
  return list;
}

void print_json(const SimulationResult& result, std::ostream& out) {
  nlohmann::ordered_json differences = nlohmann::ordered_json::array();
  for (const UsageDifference& difference : result.differences) {
    nlohmann::ordered_json row = key_json(difference.key);
    row["true"] = difference.true_quantity;
    row["metered"] = difference.metered;
    row["reason"] = difference.reason;
    differences.push_back(std::move(row));
  }
  const nlohmann::ordered_json document = {{"true", totals_json(result.true_use)},
                                           {"metered", totals_json(result.metered)},
                                           {"received", totals_json(result.received)},
                                           {"differences", std::move(differences)}};
  out << document.dump(2) << "\n";
}

void print_text(const SimulationResult& result, std::ostream& out) {
  std::map<std::pair<VmId, MeterIndex>, std::array<unsigned __int128, 3>> sums;
  const auto sum = [&](const UsageTotals& totals, std::size_t column) {
    for (const auto& [key, quantity] : totals) sums[{std::get<1>(key), std::get<2>(key)}][column] += quantity;
  };
  sum(result.true_use, 0);
  sum(result.metered, 1);
  sum(result.received, 2);
  const auto padded = [](const std::string& text, std::size_t width) {
    return text.size() < width ? text + std::string(width - text.size(), ' ') : text + " ";
  };
  out << padded("VM", 38) << padded("METER", 26) << padded("TRUE", 18) << padded("METERED", 18) << "RECEIVED\n";
  for (const auto& [key, columns] : sums) {
    const MeterInfo& info = meter_catalogue()[static_cast<std::size_t>(key.second)];
    out << padded(key.first.text(), 38) << padded(std::string(info.name), 26)
        << padded(decimal_text(columns[0], info.multiplier, info.divisor), 18)
        << padded(decimal_text(columns[1], info.multiplier, info.divisor), 18)
        << decimal_text(columns[2], info.multiplier, info.divisor) << "\n";
  }
  out << "\n"
      << result.samples << " samples, " << result.journal.size() << " entries, " << result.acknowledged
      << " acknowledged; both ends hold " << (result.delivered ? "the same rows" : "DIFFERENT rows") << "\n";
  out << result.differences.size() << " differences between true and metered"
      << (result.differences.empty() ? "\n" : ":\n");
  for (const UsageDifference& difference : result.differences) {
    const MeterInfo& info = meter_catalogue()[static_cast<std::size_t>(std::get<2>(difference.key))];
    out << "  " << hour_text(std::get<0>(difference.key)) << "  " << std::get<1>(difference.key).text() << "  "
        << info.name << "  true " << difference.true_quantity << ", metered " << difference.metered << " "
        << info.base_unit << "  (" << (difference.reason.empty() ? "nothing explains it" : difference.reason) << ")\n";
  }
}

}  // namespace

namespace {

// Leaves no snapshot behind: while one lives, the store cannot use a page again.
Status require_no_entries(const KeyValue& store, const std::filesystem::path& state) {
  const Result<std::unique_ptr<Snapshot>> snapshot = store.snapshot();
  if (!snapshot) return snapshot.error();
  const auto last = (*snapshot)->last_below(Table::kEntries, "");
  if (!last) return last.error();
  if (!last->has_value()) return Done{};
  return Error{ErrorCode::kInvalidInput,
               state.string() + " already holds a journal: a simulation needs a new directory"};
}

}  // namespace

int run_simulate(const SimulateOptions& options, std::ostream& out, std::ostream& err) {
  const auto fail = [&](const Error& error) {
    err << "nodemeter simulate: " << error.message << "\n";
    return error.code == ErrorCode::kInvalidInput || error.code == ErrorCode::kNotFound ? 2 : 1;
  };
  const Result<std::string> text = read_file(options.scenario, kScenarioBytesMax);
  if (!text) return fail(text.error());
  Result<Scenario> scenario = parse_scenario(*text);
  if (!scenario) return fail({scenario.error().code, options.scenario.string() + ": " + scenario.error().message});
  if (Status made = make_state_directory(options.state); !made) return fail(made.error());
  Result<FileLock> lock = FileLock::acquire(options.state / "agent.lock");
  if (!lock) return fail(lock.error());
  const Result<std::unique_ptr<KeyValue>> store = open_lmdb(journal_directory(options.state), LmdbOptions{});
  if (!store) return fail(store.error());
  if (Status empty = require_no_entries(**store, options.state); !empty) return fail(empty.error());
  const Result<SimulationResult> result = simulate(*scenario, options.seed, **store);
  if (!result) return fail(result.error());
  options.json ? print_json(*result, out) : print_text(*result, out);
  const bool unexplained = std::any_of(result->differences.begin(), result->differences.end(),
                                       [](const UsageDifference& d) { return d.reason.empty(); });
  if (!result->delivered) err << "nodemeter simulate: the two ends do not hold the same rows\n";
  if (unexplained) err << "nodemeter simulate: a difference that no gap and no status explains\n";
  return unexplained || !result->delivered ? 3 : 0;
}

}  // namespace nodemeter
