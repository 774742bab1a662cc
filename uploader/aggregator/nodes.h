// Which nodes may write, and how each of them proves who it is: the file of [nodes] in the aggregator's configuration.
//
//   [ { "id": "node-1", "token_sha256": "<64 hex digits>" },
//     { "id": "node-2", "certificate_name": "node-2.example.org" },
//     { "id": "node-3", "token": "…", "certificate_name": "…" } ]
//
// An entry with a token and a certificate name asks for both. Tokens are kept as their SHA-256 only. Plain value,
// constant after loading: share between threads freely.

#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
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

enum class Access {
  kAllowed,
  kUnknown,    // 401: no credentials, or nobody's.
  kOtherNode,  // 403: somebody's, but not this node's.
};

class NodeRegistry {
 public:
  // kInvalidInput names the entry and the field. kNotFound, kPermissionDenied: the file.
  static Result<NodeRegistry> load(const std::filesystem::path& file);
  static Result<NodeRegistry> parse(std::string_view json);

  // Compares in constant time. Any thread.
  [[nodiscard]] Access check(std::string_view node, const Credentials& credentials) const;

  [[nodiscard]] std::size_t size() const { return nodes_.size(); }

 private:
  using TokenHash = std::array<std::uint8_t, 32>;
  struct Node {
    NodeId id;
    std::optional<TokenHash> token;
    std::string certificate_name;  // "": none is asked for.
  };
  static TokenHash hash_of(std::string_view token);
  static bool proves(const Node& node, const std::optional<TokenHash>& token, const Credentials& credentials);

  std::vector<Node> nodes_;
};

}  // namespace nodemeter
