#include "collectors/hyperv_capture.h"

#include <algorithm>
#include <optional>

#include "collectors/hyperv_counters.h"
#include "collectors/hyperv_names.h"
#include "platform/json_tree.h"
#include "platform/json_writer.h"

namespace nodemeter {

namespace {

constexpr std::uint64_t kVersion = 1;
constexpr std::size_t kUuidChars = 36;

std::vector<WmiQuery> all_queries() {
  std::vector<WmiQuery> queries = hyperv_machine_queries();
  const std::vector<WmiQuery> settings = hyperv_setting_queries(std::nullopt);
  queries.insert(queries.end(), settings.begin(), settings.end());
  queries.push_back(hyperv_summary_query());
  return queries;
}

// ---- Without tenants' words

// Words that stand in names and paths of every host, and the forms that names have there.
constexpr std::string_view kOwnWords[] = {"hv",          "vp",
                                          "root",        "total",
                                          "c",           "d",
                                          "e",           "f",
                                          "programdata", "microsoft",
                                          "windows",     "hyper",
                                          "v",           "virtual",
                                          "hard",        "disks",
                                          "disk",        "machines",
                                          "machine",     "network",
                                          "adapter",     "legacy",
                                          "switch",      "default",
                                          "device",      "clusterstorage",
                                          "iso",         "vhd",
                                          "vhdx",        "avhd",
                                          "avhdx",       "vhds",
                                          "vmgs",        "vmrs",
                                          "vmcx",        "vfd",
                                          "users",       "public",
                                          "documents",   "ethernet",
                                          "card",        "volume"};

class Anonymiser {
 public:
  // Letters and digits that stand together are a word; what stands between words stays.
  std::string text(std::string_view text) {
    std::string out;
    while (!text.empty()) {
      if (Uuid::parse(text.substr(0, kUuidChars))) {
        out += text.substr(0, kUuidChars);
        text.remove_prefix(kUuidChars);
        continue;
      }
      std::size_t length = 0;
      while (length < text.size() && is_word(text[length])) ++length;
      out += length == 0 ? std::string(1, text.front()) : word(text.substr(0, length));
      text.remove_prefix(std::max<std::size_t>(1, length));
    }
    return out;
  }

 private:
  static bool is_word(char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || byte >= 0x80;
  }
  std::string word(std::string_view word) {
    const std::string key = lower_case(word);
    const auto is_own = [&](std::string_view own) {
      return key.starts_with(own) && key.find_first_not_of("0123456789", own.size()) == std::string::npos;
    };
    const bool digits = key.find_first_not_of("0123456789") == std::string::npos && key.size() <= 3;
    if (digits || std::any_of(std::begin(kOwnWords), std::end(kOwnWords), is_own)) return std::string(word);
    return words_.try_emplace(key, "w" + std::to_string(words_.size() + 1) + "x").first->second;
  }
  std::map<std::string, std::string> words_;
};

// Properties that hold names or paths.
bool is_named(std::string_view property) { return property == "ElementName" || property == "HostResource"; }

void anonymise(WmiTables& tables, Anonymiser& anonymiser) {
  for (auto& [class_name, rows] : tables) {
    for (WmiRow& row : rows) {
      const auto properties = row.all();
      for (const auto& [property, values] : properties) {
        // The host's own name; machines have GUIDs.
        const bool host = property == "Name" && !Uuid::parse(values.empty() ? "" : values.front());
        WmiRow::Values changed = values;
        if (property == "Notes") changed.clear();
        for (std::string& value : changed) {
          if (is_named(property) || host) value = anonymiser.text(value);
        }
        row.set(property, std::move(changed));
      }
    }
  }
}

// ---- JSON

void write_tables(JsonWriter& json, const WmiTables& tables) {
  json.key("tables");
  json.begin_object();
  for (const auto& [class_name, rows] : tables) {
    json.key(class_name);
    json.begin_array();
    for (const WmiRow& row : rows) {
      json.begin_object();
      for (const auto& [property, values] : row.all()) {
        json.key(property);
        json.begin_array();
        for (const std::string& value : values) json.text(value);
        json.end_array();
      }
      json.end_object();
    }
    json.end_array();
  }
  json.end_object();
}

void write_columns(JsonWriter& json, const std::vector<CounterColumn>& columns) {
  json.key("counters");
  json.begin_array();
  for (std::size_t i = 0; i < columns.size(); ++i) {
    const CounterColumn& column = columns[i];
    json.begin_object();
    json.text("set", hyperv_counter_paths()[i].set);
    json.text("counter", hyperv_counter_paths()[i].counter);
    json.number("state", static_cast<std::uint64_t>(column.state));
    json.number("type", std::uint64_t{column.type});
    json.text("fault", column.fault);
    json.key("values");
    json.begin_array();
    for (const CounterValue& value : column.values) {
      json.begin_array();
      json.text(value.instance);
      json.number(value.raw);
      json.flag(value.valid);
      json.end_array();
    }
    json.end_array();
    json.end_object();
  }
  json.end_array();
}

class CaptureParser {
 public:
  HypervCapture read(const JsonTree& root) {
    HypervCapture capture;
    const JsonTree& passes = member(root, "passes", JsonTree::Kind::kList);
    for (const JsonTree& pass : passes.items) capture.passes.push_back(read_pass(pass));
    for (const JsonTree& size : member(root, "sizes", JsonTree::Kind::kObject).items) {
      capture.sizes[size.name] = number(size);
    }
    return capture;
  }
  std::vector<ConfigFault> faults;

 private:
  const JsonTree& member(const JsonTree& object, std::string_view name, JsonTree::Kind kind) {
    static const JsonTree kNothing;
    const JsonTree* const found = object.find(name);
    if (found != nullptr && found->kind == kind) return *found;
    faults.push_back({object.line, std::string(name), "is missing or of another kind"});
    return kNothing;
  }
  std::uint64_t number(const JsonTree& value) {
    const std::optional<std::uint64_t> n = parse_u64(value.text);  // Large ones are written as text.
    if (!n) faults.push_back({value.line, value.name, "a whole number is expected"});
    return n.value_or(0);
  }
  std::uint64_t number_in(const JsonTree& object, std::string_view name) {
    const JsonTree* const found = object.find(name);
    if (found != nullptr) return number(*found);
    faults.push_back({object.line, std::string(name), "is missing"});
    return 0;
  }

  HypervCapture::Pass read_pass(const JsonTree& json) {
    HypervCapture::Pass pass;
    pass.taken_at = MonotonicTime{Milliseconds{static_cast<std::int64_t>(number_in(json, "taken_at_ms"))}};
    for (const JsonTree& fault : member(json, "faults", JsonTree::Kind::kList).items) pass.faults.push_back(fault.text);
    for (const JsonTree& table : member(json, "tables", JsonTree::Kind::kObject).items) {
      WmiRows& rows = pass.tables[table.name];
      for (const JsonTree& item : table.items) {
        WmiRow& row = rows.emplace_back();
        for (const JsonTree& property : item.items) {
          WmiRow::Values values;
          for (const JsonTree& value : property.items) values.push_back(value.text);
          row.set(property.name, std::move(values));
        }
      }
    }
    const JsonTree& counters = member(json, "counters", JsonTree::Kind::kList);
    if (!counters.items.empty()) pass.columns.resize(hyperv_counter_paths().size());
    for (const JsonTree& item : counters.items) read_column(item, pass.columns);
    return pass;
  }

  // Columns are found by name, so a capture may be older than the program.
  void read_column(const JsonTree& json, std::vector<CounterColumn>& columns) {
    const CounterPath path{member(json, "set", JsonTree::Kind::kText).text,
                           member(json, "counter", JsonTree::Kind::kText).text};
    const std::vector<CounterPath>& paths = hyperv_counter_paths();
    const auto known = std::find(paths.begin(), paths.end(), path);
    if (known == paths.end()) return;
    CounterColumn& column = columns[static_cast<std::size_t>(known - paths.begin())];
    const std::uint64_t state = number_in(json, "state");
    if (state < 1 || state > 3) faults.push_back({json.line, "state", "1, 2 or 3 is expected"});
    column.state = static_cast<ColumnState>(state);
    column.type = static_cast<std::uint32_t>(number_in(json, "type"));
    column.fault = member(json, "fault", JsonTree::Kind::kText).text;
    for (const JsonTree& value : member(json, "values", JsonTree::Kind::kList).items) {
      if (value.items.size() != 3) {
        faults.push_back({value.line, "values", "an instance, a number and a flag are expected"});
        continue;
      }
      column.values.push_back({value.items[0].text, number(value.items[1]), value.items[2].text == "true"});
    }
  }
};

}  // namespace

HypervCapture::Pass capture_pass(HypervReader& reader, const Clock& clock) {
  HypervCapture::Pass pass;
  pass.taken_at = clock.now().monotonic;
  if (Result<HypervReader::Counters> counters = reader.counters(); counters) {
    pass.columns = std::move(counters->columns);
  } else {
    pass.faults.push_back(counters.error().message);
  }
  if (Result<HypervReader::Rows> rows = reader.rows(all_queries()); rows) {
    pass.tables = std::move(rows->tables);
  } else {
    pass.faults.push_back(rows.error().message);
  }
  return pass;
}

HypervCapture without_tenant_data(const HypervCapture& capture) {
  HypervCapture plain = capture;
  Anonymiser anonymiser;
  for (HypervCapture::Pass& pass : plain.passes) {
    anonymise(pass.tables, anonymiser);
    for (CounterColumn& column : pass.columns) {
      for (CounterValue& value : column.values) value.instance = anonymiser.text(value.instance);
    }
  }
  plain.sizes.clear();
  for (const auto& [path, bytes] : capture.sizes) plain.sizes[anonymiser.text(path)] = bytes;
  return plain;
}

std::string capture_text(const HypervCapture& capture) {
  JsonWriter json;
  json.begin_object();
  json.number("hyperv_capture", kVersion);
  json.key("passes");
  json.begin_array();
  for (const HypervCapture::Pass& pass : capture.passes) {
    json.begin_object();
    json.number("taken_at_ms", static_cast<std::uint64_t>(pass.taken_at.time_since_epoch().count()));
    json.key("faults");
    json.begin_array();
    for (const std::string& fault : pass.faults) json.text(fault);
    json.end_array();
    write_tables(json, pass.tables);
    write_columns(json, pass.columns);
    json.end_object();
  }
  json.end_array();
  json.key("sizes");
  json.begin_object();
  for (const auto& [path, bytes] : capture.sizes) json.number(path, bytes);
  json.end_object();
  json.end_object();
  return json.take() + "\n";
}

Result<HypervCapture> parse_capture(std::string_view text) {
  std::vector<ConfigFault> faults;
  const std::optional<JsonTree> root = parse_json_tree(text, faults);
  if (!root) return faults_error("capture", std::move(faults));
  const JsonTree* const version = root->find("hyperv_capture");
  if (version == nullptr) return Error{ErrorCode::kInvalidInput, "not a capture of a Hyper-V host"};
  if (version->text != std::to_string(kVersion)) {
    return Error{ErrorCode::kUnsupported, "a capture of version " + version->text + "; this program reads version 1"};
  }
  CaptureParser parser;
  HypervCapture capture = parser.read(*root);
  if (!parser.faults.empty()) return faults_error("capture", std::move(parser.faults));
  return capture;
}

const HypervCapture::Pass* CaptureReader::pass() const {
  return pass_ < capture_.passes.size() ? &capture_.passes[pass_] : nullptr;
}

Result<HypervReader::Rows> CaptureReader::rows(const std::vector<WmiQuery>& queries) {
  if (pass() == nullptr || pass()->tables.empty()) return Error{ErrorCode::kUnavailable, "nothing was captured"};
  Rows rows;
  rows.asked = rows.answered = clock_.now().monotonic;
  for (const WmiQuery& query : queries) {
    const auto found = pass()->tables.find(query.class_name);
    if (found != pass()->tables.end()) rows.tables[query.class_name] = found->second;
  }
  return rows;
}

Result<HypervReader::Counters> CaptureReader::counters() {
  if (pass() == nullptr || pass()->columns.empty()) return Error{ErrorCode::kUnavailable, "nothing was captured"};
  Counters counters;
  counters.asked = counters.answered = clock_.now().monotonic;
  counters.columns = pass()->columns;
  return counters;
}

std::map<std::string, std::uint64_t> CaptureReader::disk_sizes(const std::vector<std::string>& paths) {
  std::map<std::string, std::uint64_t> sizes;
  for (const std::string& path : paths) {
    if (const auto found = capture_.sizes.find(path); found != capture_.sizes.end()) sizes.insert(*found);
  }
  return sizes;
}

}  // namespace nodemeter
