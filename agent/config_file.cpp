#include "agent/config_file.h"

// toml++ 3.3 takes some malformed texts for impossible: "[" at the end of a line, a time with a letter in it, a letter
// beyond ASCII outside of quotes. That is an abort in a debug build and undefined behaviour in a release. So in every
// build its assertions are on and throw, and what it calls unreachable gives back nothing: false, for such a letter.
namespace nodemeter {
struct DefectiveText {};
[[noreturn]] inline void toml_assertion_failed() { throw DefectiveText{}; }
}  // namespace nodemeter
#pragma push_macro("NDEBUG")
#undef NDEBUG
#define TOML_ASSERT(expression) ((expression) ? static_cast<void>(0) : ::nodemeter::toml_assertion_failed())
#define TOML_EXCEPTIONS 1
#include <toml++/impl/preprocessor.h>
#undef TOML_UNREACHABLE
#define TOML_UNREACHABLE \
  return {}
#include <toml++/toml.h>
#pragma pop_macro("NDEBUG")

#include <algorithm>
#include <initializer_list>
#include <optional>
#include <utility>

#include "platform/files.h"
#include "platform/text.h"

namespace nodemeter {

namespace {

using Words = std::initializer_list<std::string_view>;

constexpr std::size_t kTextValueMax = 4096;
constexpr std::size_t kNameValueMax = 255;
constexpr std::size_t kUrlsMax = 16;
constexpr std::size_t kShownValueMax = 80;

const Words kSectionNames = {"node", "source", "sampling", "metering", "state", "upload", "owners", "live", "log"};

struct SectionKeys {
  std::string_view section;
  Words keys;
};

// Namespace scope, so that the lists live as long as the program.
const Words kNodeKeys = {"id", "location"};
const Words kSourceKeys = {"kind", "uri", "scenario", "speed", "trace"};
const Words kSamplingKeys = {"interval", "vm_deadline"};
const Words kMeteringKeys = {"count_stopped", "close_grace"};
const Words kStateKeys = {"path", "retention", "size_max"};
const Words kUploadKeys = {
    "url",         "interval",        "compression",         "ca_file",    "cert_file", "key_file",
    "bearer_file", "clickhouse_user", "clickhouse_key_file", "rate_limit", "plaintext"};
const Words kOwnersKeys = {"file", "trust_metadata"};
const Words kLiveKeys = {"name", "group"};
const Words kLogKeys = {"level", "format"};

const SectionKeys kSections[] = {
    {"node", kNodeKeys},         {"source", kSourceKeys}, {"sampling", kSamplingKeys},
    {"metering", kMeteringKeys}, {"state", kStateKeys},   {"upload", kUploadKeys},
    {"owners", kOwnersKeys},     {"live", kLiveKeys},     {"log", kLogKeys},
};

bool contains(const Words& words, std::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

std::uint32_t line_of(const toml::source_region& region) { return static_cast<std::uint32_t>(region.begin.line); }

// A value as a person would point at it.
std::string shown(const toml::node& node) {
  if (const auto* v = node.as_string()) return "\"" + display_text(v->get(), kShownValueMax) + "\"";
  if (const auto* v = node.as_integer()) return std::to_string(v->get());
  if (const auto* v = node.as_boolean()) return v->get() ? "true" : "false";
  if (node.is_floating_point()) return "a number with a fraction";
  if (node.is_array()) return "a list";
  if (node.is_table()) return "a table";
  return "a date or time";
}

std::string sentence_of(const Words& words) {
  std::string text;
  for (const std::string_view word : words) text += (text.empty() ? "" : ", ") + std::string(word);
  return text;
}

// As it is written in the file: a whole number and the largest unit that fits.
std::string size_in_file(std::uint64_t bytes) {
  constexpr std::pair<std::uint64_t, const char*> kUnits[] = {
      {1ull << 40, "TiB"}, {1ull << 30, "GiB"}, {1ull << 20, "MiB"}, {1ull << 10, "KiB"}};
  for (const auto& [factor, unit] : kUnits) {
    if (bytes != 0 && bytes % factor == 0) return std::to_string(bytes / factor) + unit;
  }
  return std::to_string(bytes) + "B";
}

bool only_of(std::string_view text, std::string_view allowed) {
  return text.find_first_not_of(allowed) == std::string_view::npos;
}

constexpr std::string_view kNameCharacters = "abcdefghijklmnopqrstuvwxyz0123456789-";
constexpr std::string_view kAccountCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.$ \\";

// One table of the file, read key by key. Whatever does not fit becomes a fault and leaves the default in place.
class Section {
 public:
  Section(const toml::table& root, std::string_view name, std::vector<ConfigFault>& faults)
      : name_(name), faults_(faults) {
    const toml::node* node = root.get(name);
    if (node == nullptr) return;
    table_ = node->as_table();
    if (table_ == nullptr) {
      add(line_of(node->source()), std::string(name_),
          "is " + shown(*node) + "; it is a section: write [" + std::string(name_) + "] on a line of its own");
    }
  }

  [[nodiscard]] bool has(std::string_view key) const { return table_ != nullptr && table_->get(key) != nullptr; }

  void refuse(std::string_view key, const std::string& message) {
    const toml::node* node = table_ == nullptr ? nullptr : table_->get(key);
    add(node == nullptr ? 0 : line_of(node->source()), full(key), message);
  }

  // `problem` says what is wrong with a text, or nothing.
  template <class Check>
  void text(std::string_view key, std::string& target, Check problem) {
    const toml::node* node = find(key);
    if (node == nullptr) return;
    const auto* value = node->as_string();
    if (value == nullptr) return refuse(key, "is " + shown(*node) + "; a text in quotes is expected");
    if (value->get().size() > kTextValueMax || !is_plain_text(value->get())) {
      return refuse(key, "is " + shown(*node) + "; at most " + std::to_string(kTextValueMax) +
                             " bytes without control characters are allowed");
    }
    const std::string wrong = problem(value->get());
    if (!wrong.empty()) return refuse(key, "is " + shown(*node) + "; " + wrong);
    target = value->get();
  }
  void text(std::string_view key, std::string& target) {
    text(key, target, [](const std::string&) { return std::string(); });
  }

  void texts(std::string_view key, std::vector<std::string>& target) {
    const toml::node* node = find(key);
    if (node == nullptr) return;
    std::vector<std::string> values;
    if (const auto* one = node->as_string()) values.push_back(one->get());
    if (const auto* list = node->as_array()) {
      for (const toml::node& element : *list) {
        const auto* value = element.as_string();
        if (value == nullptr) return refuse(key, "holds " + shown(element) + "; only texts in quotes are allowed");
        values.push_back(value->get());
      }
    } else if (values.empty()) {
      return refuse(key, "is " + shown(*node) + "; a list of texts is expected, such as [\"https://…\"]");
    }
    if (values.size() > kUrlsMax) {
      return refuse(key, "holds " + std::to_string(values.size()) + " values; at most " + std::to_string(kUrlsMax) +
                             " are allowed");
    }
    target = std::move(values);
  }

  void flag(std::string_view key, bool& target) {
    const toml::node* node = find(key);
    if (node == nullptr) return;
    const auto* value = node->as_boolean();
    if (value == nullptr) return refuse(key, "is " + shown(*node) + "; true or false is expected");
    target = value->get();
  }

  void whole(std::string_view key, std::uint32_t& target, std::uint32_t low, std::uint32_t high) {
    const toml::node* node = find(key);
    if (node == nullptr) return;
    const auto* value = node->as_integer();
    if (value == nullptr || value->get() < low || value->get() > high) {
      return refuse(key, "is " + shown(*node) + "; a whole number from " + std::to_string(low) + " to " +
                             std::to_string(high) + " is expected");
    }
    target = static_cast<std::uint32_t>(value->get());
  }

  void duration(std::string_view key, Milliseconds& target, Milliseconds low, Milliseconds high) {
    const toml::node* node = find(key);
    if (node == nullptr) return;
    const auto* value = node->as_string();
    const auto parsed = value == nullptr ? std::nullopt : parse_duration(value->get());
    if (!parsed || *parsed < low || *parsed > high) {
      return refuse(key, "is " + shown(*node) + "; a duration with a unit (ms, s, m, h, d) from \"" +
                             duration_text(low) + "\" to \"" + duration_text(high) + "\" is expected");
    }
    target = *parsed;
  }

  void size(std::string_view key, std::uint64_t& target, std::uint64_t low, std::uint64_t high) {
    const toml::node* node = find(key);
    if (node == nullptr) return;
    const auto* value = node->as_string();
    const auto parsed = value == nullptr ? std::nullopt : parse_size(value->get());
    if (!parsed || *parsed < low || *parsed > high) {
      return refuse(key, "is " + shown(*node) + "; a size with a unit (B, KiB, MiB, GiB, TiB, kB, MB, GB, TB) from \"" +
                             size_in_file(low) + "\" to \"" + size_in_file(high) + "\" is expected");
    }
    target = *parsed;
  }

  // One of a few words. Gives its position in `words`.
  std::optional<std::size_t> word(std::string_view key, const Words& words) {
    const toml::node* node = find(key);
    if (node == nullptr) return std::nullopt;
    const auto* value = node->as_string();
    const auto found =
        value == nullptr ? words.end() : std::find(words.begin(), words.end(), std::string_view(value->get()));
    if (found != words.end()) return static_cast<std::size_t>(found - words.begin());
    std::string message = "is " + shown(*node) + "; allowed are " + sentence_of(words);
    if (value != nullptr) {
      if (const auto near = nearest_word(value->get(), words)) message += " (did you mean \"" + *near + "\"?)";
    }
    refuse(key, message);
    return std::nullopt;
  }

 private:
  [[nodiscard]] const toml::node* find(std::string_view key) const {
    return table_ == nullptr ? nullptr : table_->get(key);
  }
  [[nodiscard]] std::string full(std::string_view key) const { return name_ + "." + std::string(key); }
  void add(std::uint32_t line, std::string key, std::string message) {
    faults_.push_back({line, std::move(key), std::move(message)});
  }

  std::string name_;
  const toml::table* table_ = nullptr;
  std::vector<ConfigFault>& faults_;
};

// Where else a key that is unknown here would be right, or what it resembles.
std::string suggestion(const SectionKeys& here, std::string_view key) {
  for (const SectionKeys& other : kSections) {
    if (other.section != here.section && contains(other.keys, key)) {
      return "; it belongs into [" + std::string(other.section) + "]";
    }
  }
  if (const auto near = nearest_word(key, here.keys)) return "; did you mean \"" + *near + "\"?";
  return "; known in [" + std::string(here.section) + "]: " + sentence_of(here.keys);
}

// toml++ 3.3 is undefined where a character beyond ASCII stands outside texts and comments, which TOML forbids anyway.
// Gives the line of the first one; 0: none. In step with the parser up to its first error, which is where it stops.
std::uint32_t line_of_stray_character(std::string_view text) {
  std::uint32_t line = 1;
  std::string_view closing;  // Of the text or comment that is open; "" outside.
  if (text.substr(0, 3) == "\xef\xbb\xbf") text.remove_prefix(3);
  while (!text.empty()) {
    std::size_t taken = 1;
    if (text.front() == '\n') ++line;
    if (!closing.empty()) {
      const bool escapes = closing.front() == '"' && text.front() == '\\' && text.size() > 1 && text[1] != '\n';
      const bool closes = text.substr(0, closing.size()) == closing || (closing.size() == 1 && text.front() == '\n');
      if (escapes) taken = 2;
      if (closes) taken = closing.size();
      if (closes) closing = {};
    } else if (static_cast<unsigned char>(text.front()) >= 0x80) {
      return line;
    } else {
      for (const std::string_view opening : {"\"\"\"", "'''", "\"", "'"}) {
        if (!closing.empty() || text.substr(0, opening.size()) != opening) continue;
        closing = opening;
        taken = opening.size();
      }
      if (text.front() == '#') closing = "\n";
    }
    text.remove_prefix(taken);
  }
  return 0;
}

// Throws toml::parse_error, and DefectiveText where toml++ breaks one of its own promises.
toml::table parse_checked(std::string_view text) { return toml::parse(text); }

bool is_defective(std::string_view text) {
  try {
    (void)parse_checked(text);
  } catch (const DefectiveText&) {
    return true;
  } catch (const toml::parse_error&) {
  }
  return false;
}

// The line at whose end `text` turns defective: the parser reads forwards and stops there.
std::uint32_t line_of_defect(std::string_view text) {
  std::vector<std::size_t> ends;  // Of each line, behind its line feed.
  for (std::size_t at = text.find('\n'); at != std::string_view::npos; at = text.find('\n', at + 1)) {
    ends.push_back(at + 1);
  }
  const auto line = std::partition_point(ends.begin(), ends.end(),
                                         [&](std::size_t end) { return !is_defective(text.substr(0, end)); });
  return static_cast<std::uint32_t>(line - ends.begin()) + 1;
}

void find_unknown(const toml::table& root, std::vector<ConfigFault>& faults) {
  for (const auto& [name_key, node] : root) {
    const toml::key& name = name_key;
    const auto* const known = std::find_if(std::begin(kSections), std::end(kSections),
                                           [&](const SectionKeys& s) { return s.section == name.str(); });
    if (known == std::end(kSections)) {
      std::string message = node.is_table() ? "unknown section" : "unknown key outside of any section";
      bool placed = false;
      for (const SectionKeys& section : kSections) {
        if (!placed && !node.is_table() && contains(section.keys, name.str())) {
          message += "; it belongs into [" + std::string(section.section) + "]";
          placed = true;
        }
      }
      const auto near = nearest_word(name.str(), kSectionNames);
      if (!placed)
        message += near ? "; did you mean [" + *near + "]?" : "; known sections: " + sentence_of(kSectionNames);
      faults.push_back({line_of(name.source()), display_text(name.str(), kShownValueMax), message});
      continue;
    }
    const toml::table* table = node.as_table();
    if (table == nullptr) continue;  // Section says so.
    for (const auto& [key, value] : *table) {
      (void)value;
      if (contains(known->keys, key.str())) continue;
      faults.push_back({line_of(key.source()),
                        std::string(known->section) + "." + display_text(key.str(), kShownValueMax),
                        "unknown key" + suggestion(*known, key.str())});
    }
  }
}

std::string must_be_short(const std::string& value) {
  return value.empty() || value.size() > kNameValueMax ? "1 to " + std::to_string(kNameValueMax) + " bytes are allowed"
                                                       : "";
}

void read_node(Section section, Options& options) {
  section.text("id", options.node_id, [](const std::string& value) -> std::string {
    if (value.empty() || NodeId::parse(value)) return "";
    return "1 to 64 characters out of a-z, 0-9 and - are allowed";
  });
  section.text("location", options.location, must_be_short);
}

void read_source(Section section, Options& options) {
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

void read_metering(const toml::table& root, std::vector<ConfigFault>& faults, Options& options) {
  Section sampling(root, "sampling", faults);
  sampling.duration("interval", options.sample_interval, kSampleIntervalMin, kSampleIntervalMax);
  sampling.duration("vm_deadline", options.source.vm_deadline, Milliseconds{10}, Milliseconds{60'000});
  Section metering(root, "metering", faults);
  metering.flag("count_stopped", options.meter.count_stopped);
  metering.duration("close_grace", options.meter.close_grace, Milliseconds{0}, Milliseconds{1'800'000});
}

void read_state(Section section, Options& options) {
  std::string path = options.state_path.string();
  section.text("path", path, [](const std::string& value) -> std::string {
    return std::filesystem::path(value).is_absolute() ? "" : "an absolute path is expected";
  });
  options.state_path = path;
  section.duration("retention", options.retention, Milliseconds{86'400'000}, Milliseconds{36'500ll * 86'400'000});
  section.size("size_max", options.store_size_max, 16ull << 20, 16ull << 40);
}

// Names that begin with 127. belong to anybody: only addresses count.
bool is_loopback(std::string_view host) {
  return host == "localhost" || host == "[::1]" || (host.substr(0, 4) == "127." && only_of(host, "0123456789."));
}

// Says what is wrong with a URL, or nothing. The transport checks again when it is opened; here is the line number.
std::string url_problem(const std::string& url, bool plaintext) {
  const bool https = url.rfind("https://", 0) == 0;
  const bool http = url.rfind("http://", 0) == 0;
  if (!https && !http) return "a URL that begins with https:// is expected";
  if (!is_plain_text(url) || url.size() > kTextValueMax || url.find(' ') != std::string::npos) {
    return "a URL has no spaces or control characters and at most " + std::to_string(kTextValueMax) + " bytes";
  }
  const std::string rest = url.substr(https ? 8 : 7);
  const std::string authority = rest.substr(0, rest.find_first_of("/?#"));
  if (authority.find('@') != std::string::npos) {
    return "credentials do not belong into a URL: use bearer_file or clickhouse_user and clickhouse_key_file";
  }
  const std::size_t colon = authority.rfind(':');
  const std::string host = authority.substr(
      0, colon != std::string::npos && authority.find(']', colon) == std::string::npos ? colon : authority.size());
  if (host.empty()) return "the URL names no host";
  if (http && !plaintext && !is_loopback(host)) {
    return "plain http sends usage unprotected: use https, or set upload.plaintext = true";
  }
  return "";
}

void read_upload(Section section, Options& options) {
  CurlOptions& upload = options.upload;
  section.flag("plaintext", upload.plaintext);
  section.texts("url", upload.urls);
  for (const std::string& url : upload.urls) {
    const std::string problem = url_problem(url, upload.plaintext);
    // A URL may carry a secret by mistake: what is shown of it ends before its query.
    const std::string without_query = url.substr(0, url.find_first_of("?#"));
    const std::size_t at = without_query.rfind('@');
    const std::string safe = at == std::string::npos ? without_query : "…" + without_query.substr(at);
    if (!problem.empty()) section.refuse("url", "holds \"" + display_text(safe, kShownValueMax) + "\"; " + problem);
  }
  section.duration("interval", options.uploader.interval, Milliseconds{0}, Milliseconds{3'600'000});
  constexpr Compression kKinds[] = {Compression::kNone, Compression::kGzip, Compression::kZstd};
  if (const auto kind = section.word("compression", {"none", "gzip", "zstd"})) upload.compression = kKinds[*kind];
  section.text("ca_file", upload.ca_file);
  section.text("cert_file", upload.cert_file);
  section.text("key_file", upload.key_file);
  section.text("bearer_file", upload.bearer_file);
  section.text("clickhouse_user", upload.clickhouse_user);
  section.text("clickhouse_key_file", upload.clickhouse_key_file);
  section.size("rate_limit", upload.rate_limit_bytes_per_s, 0, 1ull << 40);
  if (upload.cert_file.empty() != upload.key_file.empty()) {
    section.refuse(upload.cert_file.empty() ? "key_file" : "cert_file",
                   "stands alone: a client certificate needs both upload.cert_file and upload.key_file");
  }
  if (upload.clickhouse_user.empty() && !upload.clickhouse_key_file.empty()) {
    section.refuse("clickhouse_key_file", "stands alone: set upload.clickhouse_user too");
  }
  if (!upload.bearer_file.empty() && !upload.clickhouse_user.empty()) {
    section.refuse("bearer_file", "stands beside upload.clickhouse_user: a request carries one kind of credential");
  }
}

void read_rest(const toml::table& root, std::vector<ConfigFault>& faults, Options& options) {
  Section owners(root, "owners", faults);
  owners.text("file", options.owners_file);
  owners.flag("trust_metadata", options.source.trust_metadata);
  Section live(root, "live", faults);
  live.text("name", options.live_name, [](const std::string& value) -> std::string {
    const bool fits = !value.empty() && value.size() <= 64 && only_of(value, kNameCharacters);
    return fits ? "" : "1 to 64 characters out of a-z, 0-9 and - are allowed";
  });
  live.text("group", options.live_group, [](const std::string& value) -> std::string {
    const bool fits = value.size() <= 64 && only_of(value, kAccountCharacters);
    return fits ? "" : "the name of a group is expected, at most 64 characters";
  });
  Section log(root, "log", faults);
  const Words levels = {"debug", "info", "warning", "error"};
  if (const auto level = log.word("level", levels)) options.log_level = std::string(levels.begin()[*level]);
  if (const auto format = log.word("format", {"logfmt", "json"})) options.log_json = *format == 1;
}

}  // namespace

std::string fault_text(const std::string& file, const ConfigFault& fault) {
  std::string text = display_text(file);
  if (fault.line != 0) text += ":" + std::to_string(fault.line);
  text += ": ";
  if (!fault.key.empty()) text += fault.key + ": ";
  return text + fault.message;
}

ConfigCheck check_options(std::string_view text) {
  ConfigCheck check;
  if (text.size() > kConfigBytesMax) {
    check.faults.push_back({0, "", "larger than " + size_text(kConfigBytesMax)});
    return check;
  }
  if (const std::uint32_t line = line_of_stray_character(text); line != 0) {
    check.faults.push_back({line, "", "not valid TOML: only quoted texts and comments hold characters beyond ASCII"});
    return check;
  }
  toml::table root;
  try {
    root = parse_checked(text);
  } catch (const toml::parse_error& error) {
    check.faults.push_back(
        {line_of(error.source()), "", "not valid TOML: " + display_text(std::string(error.description()))});
    return check;
  } catch (const DefectiveText&) {
    check.faults.push_back({line_of_defect(text), "", "not valid TOML: this line, or the value that ends in it"});
    return check;
  }
  find_unknown(root, check.faults);
  read_node(Section(root, "node", check.faults), check.options);
  read_source(Section(root, "source", check.faults), check.options);
  read_metering(root, check.faults, check.options);
  read_state(Section(root, "state", check.faults), check.options);
  read_upload(Section(root, "upload", check.faults), check.options);
  read_rest(root, check.faults, check.options);
  std::stable_sort(check.faults.begin(), check.faults.end(),
                   [](const ConfigFault& a, const ConfigFault& b) { return a.line < b.line; });
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
