#include "uploader/aggregator/config.h"

#define TOML_EXCEPTIONS 0
// Its own assertions would end the process on some malformed keys that its parser goes on to refuse as it should.
#define TOML_ASSERT(expression) static_cast<void>(0)
#include <toml++/toml.h>

#include <initializer_list>
#include <utility>

#include "platform/files.h"
#include "platform/text.h"

namespace nodemeter {
namespace {

constexpr std::size_t kConfigBytesMax = 1u << 20;

class ConfigReader {
 public:
  ConfigReader(std::string name, ConfigFaults& faults) : name_(std::move(name)), faults_(faults) {}

  void fault(const toml::source_region& where, const std::string& what) {
    faults_.messages.push_back(name_ + ":" + std::to_string(where.begin.line) + ": " + what);
  }

  // Complains about every key of `table` that is not in `known`.
  void check_keys(const toml::table& table, const std::string& section,
                  const std::initializer_list<std::string_view>& known) {
    for (const auto& [key, node] : table) {
      const std::string_view word = key.str();
      if (std::find(known.begin(), known.end(), word) != known.end()) continue;
      const std::optional<std::string> near = nearest_word(word, known);
      fault(key.source(), "unknown " + std::string(section.empty() ? "section [" : "key ") + section +
                              (section.empty() ? "" : ".") + display_text(word, 64) + (section.empty() ? "]" : "") +
                              (near ? "; did you mean " + *near + "?" : ""));
    }
  }

  void read(const toml::table& section, std::string_view name, std::string_view key, std::string& value) {
    const toml::node* const node = section.get(key);
    if (node == nullptr) return;
    const auto* const text = node->as_string();
    if (text == nullptr || !is_plain_text(text->get())) {
      fault(node->source(), std::string(name) + "." + std::string(key) + " has to be text in quotes");
      return;
    }
    value = text->get();
  }

  void read(const toml::table& section, std::string_view name, std::string_view key, bool& value) {
    const toml::node* const node = section.get(key);
    if (node == nullptr) return;
    const auto* const boolean = node->as_boolean();
    if (boolean == nullptr) {
      fault(node->source(), std::string(name) + "." + std::string(key) + " has to be true or false");
      return;
    }
    value = boolean->get();
  }

  // The section `name` of `root`, or an empty one.
  const toml::table& section(const toml::table& root, std::string_view name) {
    const toml::node* const node = root.get(name);
    if (node == nullptr) return empty_;
    if (const toml::table* const table = node->as_table()) return *table;
    fault(node->source(), std::string(name) + " has to be a section: [" + std::string(name) + "]");
    return empty_;
  }

 private:
  std::string name_;
  ConfigFaults& faults_;
  toml::table empty_;
};

}  // namespace

AggregatorConfig parse_aggregator_config(std::string_view text, const std::string& name, ConfigFaults& faults) {
  AggregatorConfig config;
  ConfigReader reader(name, faults);
  const toml::parse_result parsed = toml::parse(text, name);
  if (!parsed) {
    reader.fault(parsed.error().source(), std::string(parsed.error().description()));
    return config;
  }
  const toml::table& root = parsed.table();
  reader.check_keys(root, "", {"listen", "state", "nodes", "trial"});

  const toml::table& listen = reader.section(root, "listen");
  reader.check_keys(listen, "listen", {"address", "cert_file", "key_file", "client_ca_file"});
  reader.read(listen, "listen", "address", config.address);
  reader.read(listen, "listen", "cert_file", config.cert_file);
  reader.read(listen, "listen", "key_file", config.key_file);
  reader.read(listen, "listen", "client_ca_file", config.client_ca_file);
  if (!parse_listen_address(config.address)) {
    const toml::node* const node = listen.get("address");
    reader.fault(node != nullptr ? node->source() : root.source(),
                 "listen.address has to be host:port, for example \"0.0.0.0:8443\" or \"[::]:8443\"");
  }

  const toml::table& state = reader.section(root, "state");
  reader.check_keys(state, "state", {"path"});
  std::string path = config.state.string();
  reader.read(state, "state", "path", path);
  config.state = path;

  const toml::table& nodes = reader.section(root, "nodes");
  reader.check_keys(nodes, "nodes", {"file"});
  reader.read(nodes, "nodes", "file", config.nodes_file);

  const toml::table& trial = reader.section(root, "trial");
  reader.check_keys(trial, "trial", {"allow_simulated"});
  reader.read(trial, "trial", "allow_simulated", config.allow_simulated);
  return config;
}

Result<AggregatorConfig> load_aggregator_config(const std::filesystem::path& file) {
  const Result<std::string> text = read_file(file, kConfigBytesMax);
  if (!text) return text.error();
  ConfigFaults faults;
  AggregatorConfig config = parse_aggregator_config(*text, file.string(), faults);
  if (faults.messages.empty()) return config;
  std::string all;
  for (const std::string& message : faults.messages) all += (all.empty() ? "" : "\n") + message;
  return Error{ErrorCode::kInvalidInput, all};
}

bool ListenAddress::is_loopback() const {
  if (host == "localhost" || host == "::1") return true;
  return host.starts_with("127.") && host.find_first_not_of("0123456789.") == std::string::npos;
}

std::optional<ListenAddress> parse_listen_address(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return std::nullopt;
  const std::optional<std::uint64_t> port = parse_u64(text.substr(colon + 1));
  if (!port || *port > 65'535) return std::nullopt;
  std::string_view host = text.substr(0, colon);
  if (host.front() == '[') {
    if (host.size() < 3 || host.back() != ']') return std::nullopt;
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return std::nullopt;  // Half of an IPv6 address looks like a port.
  }
  return ListenAddress{.host = std::string(host), .port = static_cast<int>(*port)};
}

std::string serving_fault(const AggregatorConfig& config) {
  const std::optional<ListenAddress> address = parse_listen_address(config.address);
  if (!address) return "listen.address " + display_text(config.address) + " is not host:port";
  if (config.cert_file.empty() != config.key_file.empty()) return "cert_file and key_file belong together";
  if (!config.client_ca_file.empty() && config.cert_file.empty()) {
    return "client_ca_file needs cert_file and key_file: certificates are shown over TLS only";
  }
  if (address->is_loopback()) return "";
  if (config.cert_file.empty()) {
    return "plain HTTP is for loopback addresses only; set cert_file and key_file to listen on " + address->host;
  }
  if (config.client_ca_file.empty() && config.nodes_file.empty()) {
    return "anybody could write as any node; set client_ca_file or a nodes file to listen on " + address->host;
  }
  return "";
}

}  // namespace nodemeter
