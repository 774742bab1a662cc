#include "agent/cli/advice.h"
#include "agent/cli/service.h"
#include "agent/cli/table.h"
#include "agent/cli/verbs.h"
#include "agent/config_file.h"
#include "agent/machine.h"
#include "collectors/owners_file.h"
#include "platform/json_writer.h"
#include "platform/text.h"
#include "store/entry.h"
#include "store/live_view.h"
#include "store/meters.h"

namespace nodemeter::cli {

int say(const Console& console, const Error& error) {
  // A configuration's faults come one a line; each line is safe to show.
  std::string line;
  for (const char c : error.message + "\n") {
    if (c != '\n') {
      line.push_back(c);
      continue;
    }
    console.err << "nodemeter: " << display_text(line, 4096) << "\n";
    line.clear();
  }
  return error.code == ErrorCode::kInvalidInput ? kWrongUsage : kFailed;
}

Result<Options> configured(const CommonOptions& common) {
  const bool given = !common.config.empty();
  Result<Options> options = load_options(given ? std::filesystem::path(common.config) : default_config_path(), given);
  if (!options) return options.error();
  if (!common.state.empty()) options->state_path = common.state;
  return options;
}

Result<std::unique_ptr<Reader>> open_journal(const Options& options) {
  Result<std::unique_ptr<Reader>> reader = Reader::open(options.state_path);
  if (reader) return reader;
  Error error = reader.error();
  if (error.code == ErrorCode::kPermissionDenied) {
    error.message += "; " + advice().read_history;
  } else if (error.code == ErrorCode::kNotFound) {
    error.message += "; is --state (" + options.state_path.string() + ") the state directory of an agent that has run?";
  } else if (error.code == ErrorCode::kUnsupported) {
    error.message += "; read it with the nodemeter that wrote it or a newer one";
  } else if (error.code == ErrorCode::kInvalidInput) {
    error.code = ErrorCode::kUnavailable;  // The store is at fault, not the command line.
  }
  return error;
}

int meters(const CommonOptions& common, const Console& console) {
  if (!common.json) {
    Table table({{"NAME"}, {"METER ID"}, {"UNIT"}, {"BASE UNIT"}, {"MEANING"}});
    for (const MeterInfo& info : meter_catalogue()) {
      table.add({std::string(info.name), info.id.text(), std::string(info.unit), std::string(info.base_unit),
                 std::string(info.text)});
    }
    console.out << table.text(console.colour);
    return kDone;
  }
  JsonWriter json;
  json.begin_array();
  for (const MeterInfo& info : meter_catalogue()) {
    json.begin_object();
    json.text("meterId", info.id.text());
    json.text("name", info.name);
    json.text("unit", info.unit);
    json.text("baseUnit", info.base_unit);
    json.number("multiplier", info.multiplier);
    json.number("divisor", info.divisor);
    json.text("description", info.text);
    json.end_object();
  }
  json.end_array();
  console.out << json.take() << "\n";
  return kDone;
}

int config_check(const std::string& path, const Console& console) {
  const Result<ConfigCheck> check = check_options_file(path);
  if (!check) {
    (void)say(console, check.error());
    return check.error().code == ErrorCode::kLimitExceeded ? kWrongUsage : kFailed;
  }
  for (const ConfigFault& fault : check->faults) console.err << fault_text(path, fault) << "\n";
  if (!check->faults.empty()) return kWrongUsage;
  if (const std::string& owners_file = check->options.owners_file; !owners_file.empty()) {
    const Result<OwnersFile> owners = OwnersFile::read(owners_file, check->options.source.trust_metadata);
    if (!owners) return say(console, owners.error());
  }
  console.out << display_text(path) << ": valid\n";
  return kDone;
}

int version(const CommonOptions& common, const Console& console) {
  JsonWriter json;
  json.begin_object();
  json.text("version", NODEMETER_VERSION);
  json.number("storeFormat", std::uint64_t{kStoreFormat});
  json.number("entrySchema", std::uint64_t{kEntrySchema});
  json.number("liveFormat", std::uint64_t{kLiveFormat});
  json.text("compiler", __VERSION__);
  json.end_object();
  if (common.json) {
    console.out << json.take() << "\n";
  } else {
    console.out << "nodemeter " << NODEMETER_VERSION << "\nstore format " << kStoreFormat << ", entry schema "
                << std::uint32_t{kEntrySchema} << ", live view " << kLiveFormat << "\ncompiler " << __VERSION__ << "\n";
  }
  return kDone;
}

int agent(const CommonOptions& common, const AgentVerbOptions& options, const Console& console) {
  // First: a service manager waits for a sign of life, also from one that has to give up.
  const Result<std::unique_ptr<Service>> service = open_process_service();
  if (!service) return say(console, service.error());
  const Result<Options> configuration = configured(common);
  if (!configuration) {
    (*service)->failed(configuration.error().message);
    return say(console, configuration.error());
  }
  return run_daemon(*configuration, options.final, **service, console.err);
}

}  // namespace nodemeter::cli
