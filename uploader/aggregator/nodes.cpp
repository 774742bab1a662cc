#include "uploader/aggregator/nodes.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "platform/digest.h"
#include "platform/files.h"
#include "platform/text.h"

namespace nodemeter {
namespace {

constexpr std::size_t kNodesFileMax = 16u << 20;

Error wrong(std::size_t index, const std::string& what) {
  return Error{ErrorCode::kInvalidInput, "nodes file, entry " + std::to_string(index + 1) + ": " + what};
}

}  // namespace

NodeRegistry::TokenHash NodeRegistry::hash_of(std::string_view token) {
  TokenHash hash{};
  unsigned int size = 0;
  NM_ASSERT(EVP_Digest(token.data(), token.size(), hash.data(), &size, EVP_sha256(), nullptr) == 1);
  NM_ASSERT(size == hash.size());
  return hash;
}

Result<NodeRegistry> NodeRegistry::load(const std::filesystem::path& file) {
  const Result<std::string> text = read_file(file, kNodesFileMax);
  if (!text) return text.error();
  Result<NodeRegistry> registry = parse(*text);
  if (!registry) return Error{registry.error().code, file.string() + ": " + registry.error().message};
  return registry;
}

Result<NodeRegistry> NodeRegistry::parse(std::string_view json) {
  const auto list = nlohmann::json::parse(json, nullptr, false);
  if (!list.is_array()) return Error{ErrorCode::kInvalidInput, "expected a JSON array of nodes"};
  NodeRegistry registry;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const auto& item = list[i];
    if (!item.is_object()) return wrong(i, "expected an object");
    Node node;
    std::string token;
    for (const auto& [key, value] : item.items()) {
      const auto known = {std::string_view("id"), std::string_view("token"), std::string_view("token_sha256"),
                          std::string_view("certificate_name")};
      if (std::find(known.begin(), known.end(), key) == known.end()) {
        const std::optional<std::string> near = nearest_word(key, known);
        return wrong(
            i, "unknown key \"" + display_text(key, 64) + "\"" + (near ? "; did you mean \"" + *near + "\"?" : ""));
      }
      if (!value.is_string()) return wrong(i, "\"" + key + "\" is not text");
    }
    const std::optional<NodeId> id = NodeId::parse(item.value("id", std::string()));
    if (!id) return wrong(i, "\"id\" has to be 1 to 64 characters out of a-z, 0-9 and -");
    node.id = *id;
    node.certificate_name = item.value("certificate_name", std::string());
    if (item.contains("token") && item.contains("token_sha256")) return wrong(i, "both \"token\" and \"token_sha256\"");
    if (item.contains("token")) {
      token = item["token"].get<std::string>();
      if (token.size() < 16) return wrong(i, "\"token\" is shorter than 16 characters");
      node.token = hash_of(token);
    }
    if (item.contains("token_sha256")) {
      const std::string hash = from_hex(item["token_sha256"].get<std::string>());
      if (hash.size() != 32) return wrong(i, "\"token_sha256\" is not 64 hexadecimal digits");
      node.token.emplace();
      std::copy(hash.begin(), hash.end(), node.token->begin());
    }
    if (!node.token && node.certificate_name.empty()) {
      return wrong(i, "node " + node.id.text() + " has neither a token nor a certificate_name: anybody could be it");
    }
    const bool twice =
        std::any_of(registry.nodes_.begin(), registry.nodes_.end(), [&](const Node& n) { return n.id == node.id; });
    if (twice) return wrong(i, "node " + node.id.text() + " is listed twice");
    registry.nodes_.push_back(std::move(node));
  }
  return registry;
}

bool NodeRegistry::proves(const Node& node, const std::optional<TokenHash>& token, const Credentials& credentials) {
  if (node.token && (!token || CRYPTO_memcmp(node.token->data(), token->data(), token->size()) != 0)) {
    return false;
  }
  const auto& names = credentials.certificate_names;
  return node.certificate_name.empty() || std::find(names.begin(), names.end(), node.certificate_name) != names.end();
}

Access NodeRegistry::check(std::string_view node, const Credentials& credentials) const {
  const std::optional<TokenHash> token =
      credentials.bearer.empty() ? std::nullopt : std::optional<TokenHash>(hash_of(credentials.bearer));
  bool somebody = false;
  for (const Node& known : nodes_) {
    if (!proves(known, token, credentials)) continue;
    if (known.id.text() == node) return Access::kAllowed;
    somebody = true;
  }
  return somebody ? Access::kOtherNode : Access::kUnknown;
}

}  // namespace nodemeter
