#include "uploader/aggregator/commerce_verb.h"

#include <nlohmann/json.hpp>
#include <ostream>
#include <utility>

#include "platform/files.h"
#include "store/lmdb_kv.h"
#include "uploader/aggregator/commerce.h"
#include "uploader/aggregator/exit_codes.h"
#include "uploader/aggregator/registration_verbs.h"

namespace nodemeter {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMeterMapMax = 1u << 20;
constexpr std::uint64_t kRowsSizeMax = 256ull << 30;
constexpr std::uint64_t kStateSizeMax = 4ull << 30;

Result<MeterMap> load_meter_map(const std::string& file) {
  if (file.empty()) return default_meter_map();
  const Result<std::string> text = read_file(file, kMeterMapMax);
  if (!text) return text.error();
  Result<MeterMap> map = parse_meter_map(*text);
  if (!map) return Error{map.error().code, file + ": " + map.error().message};
  return map;
}

Result<std::vector<ExpectedNode>> load_nodes(const std::string& file) {
  if (file.empty()) return std::vector<ExpectedNode>();
  const Result<NodeRegistry> nodes = NodeRegistry::load(file);
  if (!nodes) return nodes.error();
  return nodes->expected();
}

CommerceDelivery delivery_of(const CommerceCommand& command, const CommerceWorld& world) {
  const bool url = command.target.starts_with("https://") || command.target.starts_with("http://");
  if (!url) return deliver_to_directory(command.target);
  return deliver_to_url(
      {.url = command.target, .bearer_file = command.bearer_file, .ca_file = command.ca_file, .sleep = world.sleep});
}

int say(CommerceWorld& world, int code, const std::string& message) {
  world.err << "nodemeter-aggregator: " << message << "\n";
  return code;
}

int tell(const CommerceCommand& command, CommerceWorld& world, const CommerceReport& report) {
  if (command.json) {
    const nlohmann::ordered_json json = {
        {"delivered", report.delivered}, {"records", report.records}, {"waiting", report.waiting}};
    world.out << json.dump() << "\n";
  } else {
    for (const std::string& name : report.delivered) world.out << name << "\n";
  }
  if (report.waiting.empty()) return kDone;
  return say(world, kIncomplete, report.waiting);
}

}  // namespace

int commerce(const CommerceCommand& command, CommerceWorld& world) {
  if (command.target.empty()) return say(world, kWrongUse, "no commerce target is configured: a directory or a URL");
  const auto registration = load_registration(command.registration_file);
  if (!registration) return say(world, kWrongUse, registration.error().message);
  if (!*registration) return say(world, kWrongUse, "there is no registration at " + command.registration_file);
  if (!command.force && !commerce_is_on((*registration)->billing_model)) {
    return say(world, kDone,
               "usage is not reported with the billing model " +
                   std::string(model_word((*registration)->billing_model)) + "; --force reports it nevertheless");
  }
  Result<MeterMap> meters = load_meter_map(command.meter_map);
  if (!meters) return say(world, kWrongUse, meters.error().message);
  Result<std::vector<ExpectedNode>> nodes = load_nodes(command.nodes_file);
  if (!nodes) return say(world, kWrongUse, nodes.error().message);

  const fs::path directory = command.state / "commerce";
  if (const Status made = make_state_directory(directory); !made) return say(world, kFailed, made.error().message);
  const Result<FileLock> lock = FileLock::acquire(command.state / "commerce.lock");
  if (!lock) return say(world, kFailed, lock.error().message);
  const auto rows = open_lmdb(command.state / "rows", LmdbOptions{.size_max_bytes = kRowsSizeMax, .read_only = true});
  if (!rows) return say(world, kFailed, rows.error().message);
  const auto state = open_lmdb(directory, LmdbOptions{.size_max_bytes = kStateSizeMax});
  if (!state) return say(world, kFailed, state.error().message);
  Commerce bridge(**rows, **state, **registration, std::move(*meters), std::move(*nodes));
  const Result<CommerceReport> report = bridge.run(delivery_of(command, world), world.now);
  if (!report) return say(world, kFailed, report.error().message + "; the next start delivers it again");
  return tell(command, world, *report);
}

}  // namespace nodemeter
