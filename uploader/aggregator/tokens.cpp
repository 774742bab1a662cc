#include "uploader/aggregator/tokens.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <variant>

#include "platform/digest.h"
#include "platform/files.h"
#include "platform/text.h"

namespace nodemeter {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kTokensFileMax = 16u << 20;
constexpr std::size_t kTokenLengthMin = 16;

std::string unknown_key(const Json& item) {
  const auto known = {std::string_view("token"), std::string_view("token_sha256"), std::string_view("role"),
                      std::string_view("subscription"), std::string_view("tenants")};
  for (const auto& [key, value] : item.items()) {
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    const std::optional<std::string> near = nearest_word(key, known);
    return "unknown key \"" + display_text(key, 64) + "\"" + (near ? "; did you mean \"" + *near + "\"?" : "");
  }
  return "";
}

std::string text_of(const Json& item, const char* key) {
  const auto found = item.find(key);
  return found == item.end() || !found->is_string() ? std::string() : found->get<std::string>();
}

// Fills in who calls. Says what is wrong, "" if nothing.
std::string read_caller(const Json& item, Caller& caller) {
  const std::string role = text_of(item, "role");
  const std::optional<Uuid> subscription = Uuid::parse(text_of(item, "subscription"));
  if (role == "operator") {
    caller.role = CallerRole::kOperator;
    if (item.contains("subscription")) return "an operator has no \"subscription\": it sees all of them";
  } else if (role == "provider" || role == "subscription") {
    caller.role = role == "provider" ? CallerRole::kProvider : CallerRole::kSubscription;
    if (!subscription) return "\"subscription\" has to be a subscription id (UUID)";
    caller.subscription = *subscription;
  } else {
    return R"("role" has to be "operator", "provider" or "subscription")";
  }
  if (item.contains("tenants") != (caller.role == CallerRole::kProvider)) {
    return "a provider, and nobody else, has \"tenants\"";
  }
  if (caller.role != CallerRole::kProvider) return "";
  if (!item["tenants"].is_array()) return "\"tenants\" has to be a list of subscription ids";
  for (const Json& tenant : item["tenants"]) {
    const std::optional<Uuid> id = tenant.is_string() ? Uuid::parse(tenant.get<std::string>()) : std::nullopt;
    if (!id) return "\"tenants\" has to be a list of subscription ids (UUIDs)";
    caller.tenants.push_back(*id);
  }
  std::sort(caller.tenants.begin(), caller.tenants.end());
  return "";
}

}  // namespace

bool Caller::has_tenant(const Uuid& id) const {
  return role == CallerRole::kOperator || std::binary_search(tenants.begin(), tenants.end(), id);
}

TokenRegistry::Hash TokenRegistry::hash_of(std::string_view token) {
  Hash hash{};
  unsigned int size = 0;
  NM_ASSERT(EVP_Digest(token.data(), token.size(), hash.data(), &size, EVP_sha256(), nullptr) == 1);
  NM_ASSERT(size == hash.size());
  return hash;
}

Result<TokenRegistry> TokenRegistry::load(const std::filesystem::path& file) {
  const Result<std::string> text = read_file(file, kTokensFileMax);
  if (!text) return text.error();
  Result<TokenRegistry> registry = parse(*text);
  if (!registry) return Error{registry.error().code, file.string() + ": " + registry.error().message};
  return registry;
}

Result<TokenRegistry> TokenRegistry::parse(std::string_view json) {
  const Json list = Json::parse(json, nullptr, false);
  if (!list.is_array()) return Error{ErrorCode::kInvalidInput, "expected a JSON array of tokens"};
  TokenRegistry registry;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const auto wrong = [i](const std::string& what) {
      return Error{ErrorCode::kInvalidInput, "tokens file, entry " + std::to_string(i + 1) + ": " + what};
    };
    const Json& item = list[i];
    if (!item.is_object()) return wrong("expected an object");
    if (const std::string fault = unknown_key(item); !fault.empty()) return wrong(fault);
    Item entry;
    if (const std::string fault = read_caller(item, entry.caller); !fault.empty()) return wrong(fault);
    if (item.contains("token") == item.contains("token_sha256")) {
      return wrong("exactly one of \"token\" and \"token_sha256\" is needed");
    }
    if (item.contains("token")) {
      const std::string token = text_of(item, "token");
      if (token.size() < kTokenLengthMin) return wrong("\"token\" has to be text of 16 characters or more");
      entry.hash = hash_of(token);
    } else {
      const std::string hash = from_hex(text_of(item, "token_sha256"));
      if (hash.size() != entry.hash.size()) return wrong("\"token_sha256\" is not 64 hexadecimal digits");
      std::copy(hash.begin(), hash.end(), entry.hash.begin());
    }
    const bool twice = std::any_of(registry.entries_.begin(), registry.entries_.end(),
                                   [&](const Item& known) { return known.hash == entry.hash; });
    if (twice) return wrong("this token is listed twice");
    registry.entries_.push_back(std::move(entry));
  }
  return registry;
}

const Caller* TokenRegistry::find(std::string_view token) const {
  if (token.empty()) return nullptr;
  const Hash hash = hash_of(token);
  const Caller* found = nullptr;
  for (const Item& item : entries_) {
    if (CRYPTO_memcmp(item.hash.data(), hash.data(), hash.size()) == 0) found = &item.caller;
  }
  return found;
}

}  // namespace nodemeter
