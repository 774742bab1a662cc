// Which nodes may write, and how each of them proves who it is: the file of [nodes] in the aggregator's configuration.
//
//   [ { "id": "node-1", "token_sha256": "<64 hex digits>" },
//     { "id": "node-2", "certificate_name": "node-2.example.org", "key": "<64 hex digits>" },
//     { "id": "node-3", "token": "…", "certificate_name": "…" },
//     { "id": "site-b", "token": "…", "relay": ["node-7", "node-8"] } ]
//
// An entry with a token and a certificate name asks for both. Tokens are kept as their SHA-256 only. `key`: the node's
// public signing key, believed whatever the node showed before. `relay`: an aggregator that passes on the rows of these
// nodes, or of any ("*"). A node that comes through a relay only may have a key and no credentials. `since`
// ("2026-01-01T00:00:00Z"): from when on the node has to report; hours before are complete without it. Plain value,
// constant after loading: share between threads freely.

#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "platform/ids.h"
#include "platform/result.h"

namespace nodemeter {

// What came with a request.
struct Credentials {
  std::string bearer;                          // "" if none.
  std::vector<std::string> certificate_names;  // Common name and DNS names of a verified client certificate.
};

// A node that has to report, from `since` on (hours since 1970).
struct ExpectedNode {
  NodeId id;
  std::int64_t since = 0;
};

enum class Access {
  kAllowed,
  kUnknown,    // 401: no credentials, or nobody's.
  kOtherNode,  // 403: somebody's, but not this node's.
};

class NodeRegistry {
 public:
  // kInvalidInput: every fault of the file, one a line, each with its line, entry and field; no secret is repeated.
  // kNotFound, kPermissionDenied: the file.
  static Result<NodeRegistry> load(const std::filesystem::path& file);
  static Result<NodeRegistry> parse(std::string_view json, const std::string& name = "nodes file");

  // Compares in constant time. Any thread.
  [[nodiscard]] Access check(std::string_view node, const Credentials& credentials) const;

  // The public key that is written down for the node, 32 bytes; "": none.
  [[nodiscard]] std::string configured_key(std::string_view node) const;

  // The nodes that write themselves, in the order of the file; relays are not among them.
  [[nodiscard]] std::vector<NodeId> nodes() const;

  // The nodes that have to report, and from when on; relays are not among them.
  [[nodiscard]] std::vector<ExpectedNode> expected() const;

  [[nodiscard]] std::size_t size() const { return nodes_.size(); }

 private:
  using TokenHash = std::array<std::uint8_t, 32>;
  struct Node {
    NodeId id;
    std::optional<TokenHash> token;
    std::string certificate_name;  // "": none is asked for.
    std::string key;               // "": none is written down.
    std::int64_t since = 0;        // Hours since 1970.
    bool relays = false;
    bool relays_any = false;
    std::set<std::string, std::less<>> relayed;
    [[nodiscard]] bool has_credentials() const { return token.has_value() || !certificate_name.empty(); }
    [[nodiscard]] bool speaks_for(std::string_view node) const;
  };
  friend class NodesReader;
  static TokenHash hash_of(std::string_view token);
  static bool proves(const Node& node, const std::optional<TokenHash>& token, const Credentials& credentials);

  std::vector<Node> nodes_;
};

}  // namespace nodemeter
