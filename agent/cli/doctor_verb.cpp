// `nodemeter doctor`: all checks, one line a finding.

#include "agent/cli/doctor.h"
#include "agent/cli/table.h"
#include "agent/cli/verbs.h"
#include "platform/json_writer.h"
#include "platform/text.h"

namespace nodemeter::cli {

namespace {

constexpr std::size_t kShownMax = 400;

const char* word(Health health) {
  switch (health) {
    case Health::kOk: return "ok";
    case Health::kWarn: return "warn";
    case Health::kFail: return "fail";
    case Health::kUnknown: return "unknown";
  }
  return "unknown";
}

const char* colour_of(Health health) {
  switch (health) {
    case Health::kOk: return "\x1b[32m";
    case Health::kFail: return "\x1b[31m";
    default: return "\x1b[33m";
  }
}

std::string padded(const std::string& text, std::size_t width) {
  return text + std::string(text.size() < width ? width - text.size() : 0, ' ') + "  ";
}

void print(const std::vector<Finding>& findings, const Console& console) {
  for (const Finding& finding : findings) {
    const std::string health = padded(word(finding.health), 7);
    console.out << (console.colour ? colour_of(finding.health) + health + "\x1b[0m" : health)
                << padded(finding.check, 13) << display_text(finding.text, kShownMax)
                << (finding.action.empty() ? "" : "; do: " + display_text(finding.action, kShownMax)) << "\n";
  }
}

void print_json(const std::vector<Finding>& findings, const Console& console) {
  JsonWriter json;
  json.begin_array();
  for (const Finding& finding : findings) {
    json.begin_object();
    json.text("check", finding.check);
    json.text("health", word(finding.health));
    json.text("finding", finding.text);
    json.text("action", finding.action);
    json.end_object();
  }
  json.end_array();
  console.out << json.take() << "\n";
}

int exit_code(const std::vector<Finding>& findings) {
  bool unknown = false;
  for (const Finding& finding : findings) {
    if (finding.health == Health::kFail) return kFailed;
    unknown = unknown || finding.health == Health::kUnknown;
  }
  return unknown ? kIncomplete : kDone;
}

}  // namespace

int doctor(const CommonOptions& common, const Console& console) {
  const Result<Options> options = configured(common);
  if (!options) {
    const std::vector<Finding> findings = {{Health::kFail, "configuration", options.error().message,
                                            "nodemeter config check FILE names every fault with its line"}};
    common.json ? print_json(findings, console) : print(findings, console);
    return options.error().code == ErrorCode::kInvalidInput ? kWrongUsage : kFailed;
  }
  Examination examination{*options, console, std::nullopt, {}};
  examination.ok("configuration", common.config.empty() ? "the default one is valid" : common.config + " is valid");
  for (const auto check : {check_live_view, check_source, check_clock, check_disk, check_store, check_owners,
                           check_permissions, check_certificates, check_aggregator}) {
    check(examination);
  }
  common.json ? print_json(examination.findings, console) : print(examination.findings, console);
  return exit_code(examination.findings);
}

}  // namespace nodemeter::cli
