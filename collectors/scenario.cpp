#include "collectors/scenario.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "platform/text.h"

namespace nodemeter {

namespace {

using Json = nlohmann::json;

// Thrown inside this file only; parse_scenario() turns it into an Error.
struct Refused {
  std::string message;
};

[[noreturn]] void refuse(const std::string& where, const std::string& why) { throw Refused{where + ": " + why}; }

// One object of the document: every key is asked for by name, and one that nobody asked for is refused.
class Fields {
 public:
  Fields(const Json& object, std::string where) : object_(object), where_(std::move(where)) {
    if (!object.is_object()) refuse(where_, "must be an object");
  }

  const Json* find(const char* key) {
    asked_.push_back(key);
    const auto found = object_.find(key);
    return found == object_.end() ? nullptr : &*found;
  }

  std::string text(const char* key, const std::string& otherwise) {
    const Json* value = find(key);
    if (!value) return otherwise;
    if (!value->is_string()) refuse(at(key), "must be a string");
    std::string text = value->get<std::string>();
    if (text.size() > 255 || !is_plain_text(text))
      refuse(at(key), "must be at most 255 bytes without control characters");
    return text;
  }

  std::uint64_t number(const char* key, std::uint64_t otherwise, std::uint64_t most) {
    const Json* value = find(key);
    if (!value) return otherwise;
    if (!value->is_number_unsigned() || value->get<std::uint64_t>() > most) {
      refuse(at(key), "must be a whole number from 0 to " + std::to_string(most));
    }
    return value->get<std::uint64_t>();
  }

  bool boolean(const char* key, bool otherwise) {
    const Json* value = find(key);
    if (!value) return otherwise;
    if (!value->is_boolean()) refuse(at(key), "must be true or false");
    return value->get<bool>();
  }

  UtcTime time(const char* key, std::optional<UtcTime> otherwise) {
    const Json* value = find(key);
    if (!value && otherwise) return *otherwise;
    if (!value || !value->is_string()) refuse(at(key), "must be a time like \"2026-01-01T00:00:00Z\"");
    const std::optional<UtcTime> time = parse_time(value->get<std::string>());
    if (!time) refuse(at(key), "must be a time like \"2026-01-01T00:00:00Z\", not " + value->dump());
    return *time;
  }

  VmId vm(const char* key) {
    const std::optional<VmId> id = VmId::parse(text(key, ""));
    if (!id || id->is_zero()) refuse(at(key), "must be the id of a VM, a UUID that is not all zero");
    return *id;
  }

  Uuid uuid(const char* key) {
    const std::string text = this->text(key, "");
    if (text.empty()) return Uuid{};
    // Names are welcome in a script: they stand for a UUID of their own.
    return Uuid::parse(text).value_or(uuid_from_name(Uuid{}, text));
  }

  Milliseconds seconds(const char* key, bool may_be_negative) {
    const Json* value = find(key);
    constexpr std::int64_t kMost = 400ll * 86'400;
    if (!value || !value->is_number_integer()) refuse(at(key), "must be a whole number of seconds");
    const std::int64_t s = value->get<std::int64_t>();
    if (s > kMost || s < (may_be_negative ? -kMost : 0)) refuse(at(key), "must be at most 400 days");
    return Milliseconds{s * 1000};
  }

  std::vector<Fields> list(const char* key, std::size_t most) {
    std::vector<Fields> items;
    const Json* value = find(key);
    if (!value) return items;
    if (!value->is_array() || value->size() > most) {
      refuse(at(key), "must be a list of at most " + std::to_string(most));
    }
    for (std::size_t i = 0; i < value->size(); ++i)
      items.emplace_back((*value)[i], at(key) + "[" + std::to_string(i) + "]");
    return items;
  }

  [[nodiscard]] std::string at(const char* key) const { return where_.empty() ? key : where_ + "." + key; }
  [[nodiscard]] const std::string& where() const { return where_; }

  void done() const {
    for (const auto& [key, value] : object_.items()) {
      if (std::find(asked_.begin(), asked_.end(), key) == asked_.end()) {
        refuse(where_.empty() ? "document" : where_, "unknown key \"" + display_text(key, 64) + "\"");
      }
    }
  }

 private:
  const Json& object_;
  std::string where_;
  std::vector<std::string> asked_;
};

constexpr std::uint64_t kRateMax = 1'000'000'000'000;

ScenarioVm parse_vm(Fields& fields, UtcTime start) {
  ScenarioVm vm;
  vm.id = fields.vm("id");
  vm.name = fields.text("name", vm.id.text());
  vm.vcores = static_cast<std::uint32_t>(fields.number("vcores", 1, 4096));
  vm.memory_mib = fields.number("memory_mib", 0, 1ull << 30);
  vm.owner.windows_licence = fields.boolean("windows_licence", false);
  vm.owner.billable = fields.boolean("billable", true);
  vm.owner.subscription = fields.uuid("subscription");
  vm.owner.tenant = fields.uuid("tenant");
  vm.owner.resource_group = fields.text("resource_group", "");
  vm.owner.name = vm.name;
  vm.owner.known = !vm.owner.subscription.is_zero() || !vm.owner.tenant.is_zero();
  vm.present_from = std::max(start, fields.time("present_from", start));
  vm.cpu_percent = static_cast<std::uint32_t>(fields.number("cpu_percent", 0, 100));
  for (Fields& disk : fields.list("disks", 256)) {
    vm.disks.push_back(
        {disk.text("id", ""),
         disk.number("capacity_mib", 0, 1ull << 40),
         {disk.number("read_bytes_per_s", 0, kRateMax), disk.number("write_bytes_per_s", 0, kRateMax),
          disk.number("read_operations_per_s", 0, kRateMax), disk.number("write_operations_per_s", 0, kRateMax)}});
    disk.done();
  }
  for (Fields& nic : fields.list("nics", 256)) {
    vm.nics.push_back(
        {nic.text("id", ""),
         {nic.number("receive_bytes_per_s", 0, kRateMax), nic.number("transmit_bytes_per_s", 0, kRateMax),
          nic.number("receive_packets_per_s", 0, kRateMax), nic.number("transmit_packets_per_s", 0, kRateMax)}});
    nic.done();
  }
  const auto sort_by_id = [&](auto& devices) {
    std::sort(devices.begin(), devices.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
    const auto same = [](const auto& a, const auto& b) { return a.id == b.id; };
    if (std::adjacent_find(devices.begin(), devices.end(), same) != devices.end()) {
      refuse(fields.where(), "two devices have one id");
    }
  };
  sort_by_id(vm.disks);
  sort_by_id(vm.nics);
  fields.done();
  return vm;
}

const std::map<std::string, ScenarioAction, std::less<>>& actions() {
  static const std::map<std::string, ScenarioAction, std::less<>> kActions{
      {"arrive", ScenarioAction::kArrive},
      {"leave", ScenarioAction::kLeave},
      {"start", ScenarioAction::kStart},
      {"stop", ScenarioAction::kStop},
      {"reboot", ScenarioAction::kReboot},
      {"resize", ScenarioAction::kResize},
      {"pause", ScenarioAction::kPause},
      {"resume", ScenarioAction::kResume},
      {"stuck", ScenarioAction::kStuck},
      {"agent_crash", ScenarioAction::kAgentCrash},
      {"power_loss", ScenarioAction::kPowerLoss},
      {"clock_step", ScenarioAction::kClockStep},
      {"aggregator_down", ScenarioAction::kAggregatorDown},
      {"aggregator_loses_ack", ScenarioAction::kAggregatorLosesAck},
      {"disk_full", ScenarioAction::kDiskFull},
      {"source_down", ScenarioAction::kSourceDown},
  };
  return kActions;
}

void require_how(const Fields& fields, const std::string& how, std::initializer_list<std::string_view> allowed) {
  if (std::find(allowed.begin(), allowed.end(), how) != allowed.end()) return;
  std::string words;
  for (const std::string_view word : allowed) words += (words.empty() ? "" : ", ") + std::string(word);
  refuse(fields.at("how"), "must be one of " + words);
}

ScenarioEvent parse_event(Fields& fields) {
  ScenarioEvent event;
  event.at = fields.time("at", std::nullopt);
  const std::string word = fields.text("do", "");
  const auto action = actions().find(word);
  if (action == actions().end()) {
    std::string words;
    for (const auto& [name, unused] : actions()) words += (words.empty() ? "" : ", ") + name;
    refuse(fields.at("do"), "\"" + word + "\" is not one of " + words);
  }
  event.action = action->second;
  switch (event.action) {
    case ScenarioAction::kArrive:
      event.how = fields.text("how", "created");
      require_how(fields, event.how, {"created", "migrated"});
      break;
    case ScenarioAction::kLeave:
      event.how = fields.text("how", "deleted");
      require_how(fields, event.how, {"deleted", "deallocated", "migrated"});
      break;
    case ScenarioAction::kResize:
      event.vcores = static_cast<std::uint32_t>(fields.number("vcores", 0, 4096));
      if (event.vcores == 0) refuse(fields.at("vcores"), "must be a whole number from 1 to 4096");
      break;
    case ScenarioAction::kAgentCrash:
    case ScenarioAction::kPowerLoss: event.span = fields.seconds("down_s", false); break;
    case ScenarioAction::kClockStep: event.span = fields.seconds("by_s", true); break;
    case ScenarioAction::kStuck:
    case ScenarioAction::kAggregatorDown:
    case ScenarioAction::kDiskFull:
    case ScenarioAction::kSourceDown: event.span = fields.seconds("for_s", false); break;
    case ScenarioAction::kAggregatorLosesAck:
      event.count = static_cast<std::uint32_t>(fields.number("count", 1, 1'000'000));
      break;
    default: break;
  }
  const bool of_vm = event.action <= ScenarioAction::kStuck;
  if (of_vm) event.vm = fields.vm("vm");
  fields.done();
  return event;
}

Scenario parse(const Json& document) {
  Fields fields(document, "");
  Scenario scenario;
  scenario.start = fields.time("start", std::nullopt);
  scenario.end = fields.time("end", std::nullopt);
  if (scenario.end <= scenario.start) refuse("end", "must be after start");
  if (scenario.end - scenario.start > kScenarioSpanMax) refuse("end", "must be at most 400 days after start");
  const std::uint64_t interval = fields.number("sample_interval_s", 10, 3600);
  if (interval == 0) refuse("sample_interval_s", "must be a whole number from 1 to 3600");
  scenario.sample_interval = std::chrono::seconds(interval);
  for (Fields& vm : fields.list("vms", kScenarioVmsMax)) scenario.vms.push_back(parse_vm(vm, scenario.start));
  std::sort(scenario.vms.begin(), scenario.vms.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  for (Fields& event : fields.list("events", 1'000'000)) {
    ScenarioEvent parsed = parse_event(event);
    const auto vm =
        std::find_if(scenario.vms.begin(), scenario.vms.end(), [&](const ScenarioVm& v) { return v.id == parsed.vm; });
    if (!parsed.vm.is_zero() && vm == scenario.vms.end()) refuse(event.at("vm"), "is not the id of a VM in this file");
    if (parsed.at < scenario.start || parsed.at > scenario.end)
      refuse(event.at("at"), "must lie between start and end");
    if (parsed.action == ScenarioAction::kArrive && vm != scenario.vms.end()) vm->arrives_by_event = true;
    scenario.events.push_back(std::move(parsed));
  }
  fields.done();
  const auto same_id = [](const ScenarioVm& a, const ScenarioVm& b) { return a.id == b.id; };
  if (std::adjacent_find(scenario.vms.begin(), scenario.vms.end(), same_id) != scenario.vms.end()) {
    refuse("vms", "two VMs have one id");
  }
  std::stable_sort(scenario.events.begin(), scenario.events.end(),
                   [](const ScenarioEvent& a, const ScenarioEvent& b) { return a.at < b.at; });
  return scenario;
}

}  // namespace

Result<Scenario> parse_scenario(std::string_view json) {
  if (json.size() > kScenarioBytesMax) {
    return Error{ErrorCode::kLimitExceeded, "a scenario is at most " + size_text(kScenarioBytesMax)};
  }
  // Depth is bounded before the tree is built: nothing in the format is nested deeper than this.
  constexpr int kDepthMax = 16;
  const auto bounded = [](int depth, Json::parse_event_t, Json&) {
    if (depth > kDepthMax) throw Refused{"document: nested too deeply"};
    return true;
  };
  try {
    const Json document = Json::parse(json, bounded);
    return parse(document);
  } catch (const Refused& refused) {
    return Error{ErrorCode::kInvalidInput, refused.message};
  } catch (const Json::exception& malformed) {
    return Error{ErrorCode::kInvalidInput, std::string("not JSON: ") + display_text(malformed.what(), 512)};
  }
}

}  // namespace nodemeter
