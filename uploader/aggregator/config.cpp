#include "uploader/aggregator/config.h"

#include <algorithm>

#include "platform/config_text.h"
#include "platform/files.h"
#include "platform/text.h"
#include "uploader/upload_section.h"

namespace nodemeter {
namespace {

const ConfigWords kSectionNames = {"listen",       "state",    "nodes",   "tokens",
                                   "registration", "commerce", "forward", "trial"};

const ConfigWords kListenKeys = {"address", "cert_file", "key_file", "client_ca_file"};
const ConfigWords kStateKeys = {"path", "size_max"};
const ConfigWords kFileKeys = {"file"};
const ConfigWords kRegistrationKeys = {"file", "upstream", "bearer_file"};
const ConfigWords kCommerceKeys = {"target", "meter_map", "bearer_file"};
const ConfigWords kTrialKeys = {"allow_simulated"};

const ConfigSectionKeys kSections[] = {{"listen", kListenKeys},
                                       {"state", kStateKeys},
                                       {"nodes", kFileKeys},
                                       {"tokens", kFileKeys},
                                       {"registration", kRegistrationKeys},
                                       {"commerce", kCommerceKeys},
                                       {"forward", kUploadKeys},
                                       {"trial", kTrialKeys}};

}  // namespace

AggregatorConfig parse_aggregator_config(std::string_view text, const std::string& name, ConfigFaults& faults) {
  AggregatorConfig config;
  ConfigText file(text);
  file.find_unknown(kSections, kSectionNames);

  ConfigSection listen = file.section("listen");
  listen.text("address", config.address, [](const std::string& value) -> std::string {
    return parse_listen_address(value) ? "" : "host:port is expected, such as \"0.0.0.0:8443\" or \"[::]:8443\"";
  });
  listen.text("cert_file", config.cert_file);
  listen.text("key_file", config.key_file);
  listen.text("client_ca_file", config.client_ca_file);

  ConfigSection state = file.section("state");
  std::string path = config.state.string();
  state.text("path", path);
  config.state = path;
  state.size("size_max", config.size_max, 16ull << 20, 16ull << 40);

  file.section("nodes").text("file", config.nodes_file);
  file.section("tokens").text("file", config.tokens_file);
  ConfigSection registration = file.section("registration");
  registration.text("file", config.registration_file);
  registration.text("upstream", config.upstream);
  registration.text("bearer_file", config.upstream_bearer_file);
  ConfigSection commerce = file.section("commerce");
  commerce.text("target", config.commerce_target);
  commerce.text("meter_map", config.meter_map_file);
  commerce.text("bearer_file", config.commerce_bearer_file);
  read_upload_section(file.section("forward"), config.forward, config.forward_interval);
  file.section("trial").flag("allow_simulated", config.allow_simulated);
  for (const ConfigFault& fault : file.take_faults()) faults.messages.push_back(fault_text(name, fault));
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
