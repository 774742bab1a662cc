// The aggregator's configuration file (TOML). Every fault is found at once, each with file and line; nothing is
// guessed.

#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "platform/result.h"
#include "uploader/curl_transport.h"

namespace nodemeter {

struct AggregatorConfig {
  // [listen]
  std::string address = "127.0.0.1:8443";  // host:port; port 0 takes a free one. IPv6 in brackets.
  std::string cert_file;                   // "" (with key_file): plain HTTP, for loopback addresses only.
  std::string key_file;
  std::string client_ca_file;  // Set: only senders with a certificate of this CA may write.
  // [state]
  std::filesystem::path state = "/var/lib/nodemeter-aggregator";
  std::uint64_t size_max = 256ull << 30;  // The most that the store may grow to.
  // [nodes]
  std::string nodes_file;
  // [registration]
  std::string registration_file;
  std::string upstream;              // "": customer subscriptions are kept in the file alone.
  std::string upstream_bearer_file;  // File of the upstream server's token.
  // [commerce]
  std::string commerce_target;  // A directory or a URL; "": nothing is delivered.
  std::string meter_map_file;   // "": both vcore meters, as Azure's price list has them.
  std::string commerce_bearer_file;
  // [forward]
  CurlOptions forward;                    // No URL: nothing is passed on.
  Milliseconds forward_interval{10'000};  // At most this long from a batch's arrival to its first send onwards.
  // [tokens]
  std::string tokens_file;  // "": nobody reads usage.
  // [trial]
  bool allow_simulated = false;  // Also takes rows that are marked as simulated.
};

struct ConfigFaults {
  std::vector<std::string> messages;  // "file:line: what is wrong"; empty: none.
};

// Reads `text` as the content of `name`. Keys that are absent keep their default. Pure.
AggregatorConfig parse_aggregator_config(std::string_view text, const std::string& name, ConfigFaults& faults);

// The same from a file. kNotFound, kPermissionDenied; kInvalidInput: the message holds every fault, one a line.
Result<AggregatorConfig> load_aggregator_config(const std::filesystem::path& file);

// What cannot be served as configured, whatever file or flags it came from: "" if it can.
std::string serving_fault(const AggregatorConfig& config);

// Splits "host:port". Nothing if it is neither a name nor an IP address with a port.
struct ListenAddress {
  std::string host;
  int port = 0;
  [[nodiscard]] bool is_loopback() const;
};
std::optional<ListenAddress> parse_listen_address(std::string_view text);

}  // namespace nodemeter
