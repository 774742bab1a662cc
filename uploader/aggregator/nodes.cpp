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

using Json = nlohmann::json;

constexpr std::size_t kNodesFileMax = 16u << 20;
constexpr std::size_t kTokenCharactersMin = 16;
constexpr std::size_t kHashBytes = 32;

std::size_t line_at(std::string_view text, std::size_t offset) {
  return 1 +
         static_cast<std::size_t>(std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(offset), '\n'));
}

// The line on which each element of a (valid) JSON array begins.
std::vector<std::size_t> element_lines(std::string_view json) {
  std::vector<std::size_t> lines;
  std::size_t line = 1;
  int depth = 0;
  bool in_text = false;
  bool expected = false;  // An element of the outer array begins with what comes next.
  for (std::size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (c == '\n') ++line;
    if (in_text) {
      if (c == '\\') ++i;
      in_text = c != '"';
      continue;
    }
    const bool blank = c == ' ' || c == '\n' || c == '\r' || c == '\t';
    if (expected && !blank && c != ']') {
      lines.push_back(line);
      expected = false;
    }
    if (c == '"') in_text = true;
    if (c == '[' || c == '{') expected = ++depth == 1;
    if (c == ']' || c == '}') --depth;
    if (c == ',' && depth == 1) expected = true;
  }
  return lines;
}

}  // namespace

// Reads one file's entries and gathers what is wrong with each.
class NodesReader {
 public:
  NodesReader(std::string name, std::string_view json) : name_(std::move(name)), lines_(element_lines(json)) {}

  void read(std::size_t index, const Json& item) {
    index_ = index;
    if (!item.is_object()) return wrong("expected an object");
    if (!check_fields(item)) return;
    NodeRegistry::Node node;
    const std::optional<NodeId> id = NodeId::parse(text(item, "id"));
    if (!id) return wrong("\"id\" has to be 1 to 64 characters out of a-z, 0-9 and -");
    node.id = *id;
    node.certificate_name = text(item, "certificate_name");
    if (!read_token(item, node) || !read_key(item, node) || !read_relay(item, node) || !read_since(item, node)) return;
    if (!node.has_credentials() && (node.key.empty() || node.relays)) {
      return wrong("node " + node.id.text() + " has neither a token nor a certificate_name: nobody could be it");
    }
    for (const NodeRegistry::Node& other : registry_.nodes_) {
      if (other.id == node.id) return wrong("node " + node.id.text() + " is listed twice");
      const bool same = other.token == node.token && other.certificate_name == node.certificate_name;
      if (same && node.has_credentials())
        return wrong("node " + node.id.text() + " has the credentials of node " + other.id.text());
    }
    registry_.nodes_.push_back(std::move(node));
  }

  Result<NodeRegistry> take() {
    if (!faults_.empty()) return Error{ErrorCode::kInvalidInput, faults_};
    return std::move(registry_);
  }

 private:
  static std::string text(const Json& item, const char* key) { return item.value(key, std::string()); }

  void wrong(const std::string& what) {
    const std::string line = index_ < lines_.size() ? ":" + std::to_string(lines_[index_]) : std::string();
    faults_ += (faults_.empty() ? "" : "\n") + name_ + line + ": entry " + std::to_string(index_ + 1) + ": " + what;
  }

  bool check_fields(const Json& item) {
    const auto known = {std::string_view("id"),           std::string_view("token"),
                        std::string_view("token_sha256"), std::string_view("certificate_name"),
                        std::string_view("key"),          std::string_view("relay"),
                        std::string_view("since")};
    for (const auto& [key, value] : item.items()) {
      if (std::find(known.begin(), known.end(), key) == known.end()) {
        const std::optional<std::string> near = nearest_word(key, known);
        wrong("unknown key \"" + display_text(key, 64) + "\"" + (near ? "; did you mean \"" + *near + "\"?" : ""));
        return false;
      }
      if (key != "relay" && !value.is_string()) {
        wrong("\"" + key + "\" is not text");
        return false;
      }
    }
    return true;
  }

  bool read_token(const Json& item, NodeRegistry::Node& node) {
    const bool plain = item.contains("token");
    const bool hashed = item.contains("token_sha256");
    std::string fault;
    if (plain && hashed) fault = "both \"token\" and \"token_sha256\"";
    if (plain) {
      const std::string token = text(item, "token");
      if (token.size() < kTokenCharactersMin) {
        fault = "\"token\" is shorter than " + std::to_string(kTokenCharactersMin) + " characters";
      }
      node.token = NodeRegistry::hash_of(token);
    }
    if (hashed) {
      const std::string hash = from_hex(text(item, "token_sha256"));
      node.token.emplace();
      if (hash.size() != kHashBytes) {
        fault = "\"token_sha256\" is not 64 hexadecimal digits";
      } else {
        std::copy(hash.begin(), hash.end(), node.token->begin());
      }
    }
    if (!fault.empty()) wrong(fault);
    return fault.empty();
  }

  bool read_key(const Json& item, NodeRegistry::Node& node) {
    if (!item.contains("key")) return true;
    node.key = from_hex(text(item, "key"));
    if (node.key.size() != kHashBytes) wrong("\"key\" is not 64 hexadecimal digits");
    return node.key.size() == kHashBytes;
  }

  bool read_relay(const Json& item, NodeRegistry::Node& node) {
    const auto relay = item.find("relay");
    if (relay == item.end()) return true;
    node.relays = true;
    if (*relay == "*") return node.relays_any = true;
    bool good = relay->is_array() && !relay->empty();
    for (const Json& one : good ? *relay : Json::array()) {
      good = good && one.is_string() && (one == "*" || NodeId::parse(one.get<std::string>()));
      if (!good) break;
      if (one == "*") node.relays_any = true;
      node.relayed.insert(one.get<std::string>());
    }
    if (!good) wrong("\"relay\" has to be \"*\" or a list of node ids");
    return good;
  }

  bool read_since(const Json& item, NodeRegistry::Node& node) {
    if (!item.contains("since")) return true;
    const std::optional<UtcTime> since = parse_time(text(item, "since"));
    if (!since) {
      wrong("\"since\" is not a time such as 2026-01-01T00:00:00Z");
      return false;
    }
    node.since = std::chrono::ceil<std::chrono::hours>(*since).time_since_epoch().count();
    return true;
  }

  std::string name_;
  std::vector<std::size_t> lines_;
  std::size_t index_ = 0;
  std::string faults_;
  NodeRegistry registry_;
};

bool NodeRegistry::Node::speaks_for(std::string_view node) const {
  if (!relays) return id.text() == node;
  return relays_any || relayed.contains(node);
}

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
  return parse(*text, file.string());
}

Result<NodeRegistry> NodeRegistry::parse(std::string_view json, const std::string& name) {
  Json list;
  try {
    list = Json::parse(json);
  } catch (const Json::parse_error& error) {
    const std::size_t offset = std::min(json.size(), error.byte == 0 ? 0 : error.byte - 1);
    return Error{ErrorCode::kInvalidInput, name + ":" + std::to_string(line_at(json, offset)) + ": not valid JSON"};
  }
  if (!list.is_array()) return Error{ErrorCode::kInvalidInput, name + ":1: expected a JSON array of nodes"};
  NodesReader reader(name, json);
  for (std::size_t i = 0; i < list.size(); ++i) reader.read(i, list[i]);
  return reader.take();
}

std::vector<ExpectedNode> NodeRegistry::expected() const {
  std::vector<ExpectedNode> expected;
  for (const Node& node : nodes_) {
    if (!node.relays) expected.push_back({.id = node.id, .since = node.since});
  }
  return expected;
}

bool NodeRegistry::proves(const Node& node, const std::optional<TokenHash>& token, const Credentials& credentials) {
  if (!node.has_credentials()) return false;
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
    if (known.speaks_for(node)) return Access::kAllowed;
    somebody = true;
  }
  return somebody ? Access::kOtherNode : Access::kUnknown;
}

std::string NodeRegistry::configured_key(std::string_view node) const {
  const auto found = std::find_if(nodes_.begin(), nodes_.end(), [&](const Node& n) { return n.id.text() == node; });
  return found == nodes_.end() ? std::string() : found->key;
}

std::vector<NodeId> NodeRegistry::nodes() const {
  std::vector<NodeId> ids;
  for (const Node& node : nodes_) {
    if (!node.relays) ids.push_back(node.id);
  }
  return ids;
}

}  // namespace nodemeter
