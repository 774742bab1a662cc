#include "agent/config_file.h"

#include <algorithm>
#include <initializer_list>
#include <optional>
#include <utility>

#include "platform/files.h"
#include "platform/text.h"
#include "uploader/upload_section.h"

namespace nodemeter {

namespace {

using Words = ConfigWords;

constexpr std::size_t kNameValueMax = 255;

const Words kSectionNames = {"node", "source", "sampling", "metering", "state", "upload", "owners", "live", "log"};

// Namespace scope, so that the lists live as long as the program.
const Words kNodeKeys = {"id", "location"};
const Words kSourceKeys = {"kind", "uri", "scenario", "speed", "trace"};
const Words kSamplingKeys = {"interval", "vm_deadline"};
const Words kMeteringKeys = {"count_stopped", "close_grace"};
const Words kStateKeys = {"path", "retention", "size_max"};
const Words kOwnersKeys = {"file", "trust_metadata"};
const Words kLiveKeys = {"name", "group"};
const Words kLogKeys = {"level", "format"};

const ConfigSectionKeys kSections[] = {
    {"node", kNodeKeys},         {"source", kSourceKeys}, {"sampling", kSamplingKeys},
    {"metering", kMeteringKeys}, {"state", kStateKeys},   {"upload", kUploadKeys},
    {"owners", kOwnersKeys},     {"live", kLiveKeys},     {"log", kLogKeys},
};

bool only_of(std::string_view text, std::string_view allowed) {
  return text.find_first_not_of(allowed) == std::string_view::npos;
}

constexpr std::string_view kNameCharacters = "abcdefghijklmnopqrstuvwxyz0123456789-";
constexpr std::string_view kAccountCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.$ \\";

std::string must_be_short(const std::string& value) {
  return value.empty() || value.size() > kNameValueMax ? "1 to " + std::to_string(kNameValueMax) + " bytes are allowed"
                                                       : "";
}

void read_node(ConfigSection section, Options& options) {
  section.text("id", options.node_id, [](const std::string& value) -> std::string {
    if (value.empty() || NodeId::parse(value)) return "";
    return "1 to 64 characters out of a-z, 0-9 and - are allowed";
  });
  section.text("location", options.location, must_be_short);
}

void read_source(ConfigSection section, Options& options) {
  constexpr SourceKind kKinds[] = {SourceKind::kAuto, SourceKind::kLibvirt, SourceKind::kHyperv, SourceKind::kSimulated,
                                   SourceKind::kReplay};
  if (const auto kind = section.word("kind", {"auto", "libvirt", "hyperv", "simulated", "replay"})) {
    options.source_kind = kKinds[*kind];
  }
  section.text("uri", options.source_uri, must_be_short);
  section.text("scenario", options.scenario);
  section.whole("speed", options.speed, 1, kSpeedMax);
  section.text("trace", options.trace);
  const bool trial = options.source_kind == SourceKind::kSimulated || options.source_kind == SourceKind::kReplay;
  if (options.source_kind == SourceKind::kSimulated && options.scenario.empty()) {
    section.refuse("kind", "is \"simulated\", but source.scenario names no scenario file");
  }
  if (options.source_kind == SourceKind::kReplay && options.trace.empty()) {
    section.refuse("kind", "is \"replay\", but source.trace names no trace file");
  }
  if (options.speed != 1 && !trial) {
    section.refuse("speed", "is " + std::to_string(options.speed) +
                                "; a real node's clock runs at speed 1 (others only for simulated and replay)");
  }
}

void read_metering(ConfigText& file, Options& options) {
  ConfigSection sampling = file.section("sampling");
  sampling.duration("interval", options.sample_interval, kSampleIntervalMin, kSampleIntervalMax);
  sampling.duration("vm_deadline", options.source.vm_deadline, Milliseconds{10}, Milliseconds{60'000});
  ConfigSection metering = file.section("metering");
  metering.flag("count_stopped", options.meter.count_stopped);
  metering.duration("close_grace", options.meter.close_grace, Milliseconds{0}, Milliseconds{1'800'000});
}

void read_state(ConfigSection section, Options& options) {
  std::string path = options.state_path.string();
  section.text("path", path, [](const std::string& value) -> std::string {
    return std::filesystem::path(value).is_absolute() ? "" : "an absolute path is expected";
  });
  options.state_path = path;
  section.duration("retention", options.retention, Milliseconds{86'400'000}, Milliseconds{36'500ll * 86'400'000});
  section.size("size_max", options.store_size_max, 16ull << 20, 16ull << 40);
}

void read_rest(ConfigText& file, Options& options) {
  ConfigSection owners = file.section("owners");
  owners.text("file", options.owners_file);
  owners.flag("trust_metadata", options.source.trust_metadata);
  ConfigSection live = file.section("live");
  live.text("name", options.live_name, [](const std::string& value) -> std::string {
    const bool fits = !value.empty() && value.size() <= 64 && only_of(value, kNameCharacters);
    return fits ? "" : "1 to 64 characters out of a-z, 0-9 and - are allowed";
  });
  live.text("group", options.live_group, [](const std::string& value) -> std::string {
    const bool fits = value.size() <= 64 && only_of(value, kAccountCharacters);
    return fits ? "" : "the name of a group is expected, at most 64 characters";
  });
  ConfigSection log = file.section("log");
  const Words levels = {"debug", "info", "warning", "error"};
  if (const auto level = log.word("level", levels)) options.log_level = std::string(levels.begin()[*level]);
  if (const auto format = log.word("format", {"logfmt", "json"})) options.log_json = *format == 1;
}

}  // namespace

ConfigCheck check_options(std::string_view text) {
  ConfigCheck check;
  ConfigText file(text);
  file.find_unknown(kSections, kSectionNames);
  read_node(file.section("node"), check.options);
  read_source(file.section("source"), check.options);
  read_metering(file, check.options);
  read_state(file.section("state"), check.options);
  read_upload_section(file.section("upload"), check.options.upload, check.options.uploader.interval,
                      &check.options.carry);
  read_rest(file, check.options);
  check.faults = file.take_faults();
  return check;
}

Result<ConfigCheck> check_options_file(const std::filesystem::path& path) {
  Result<std::string> text = read_file(path, kConfigBytesMax);
  if (!text) return text.error();
  return check_options(*text);
}

Result<Options> load_options(const std::filesystem::path& path, bool required) {
  Result<ConfigCheck> check = check_options_file(path);
  if (!check) {
    if (check.error().code == ErrorCode::kNotFound && !required) return Options{};
    return check.error();
  }
  if (check->faults.empty()) return std::move(check->options);
  std::string message;
  for (const ConfigFault& fault : check->faults) {
    message += (message.empty() ? "" : "\n") + fault_text(path.string(), fault);
  }
  return Error{ErrorCode::kInvalidInput, message};
}

}  // namespace nodemeter
