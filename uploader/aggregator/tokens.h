// Who may read usage: the file of [tokens] in the aggregator's configuration.
//
//   [ { "token_sha256": "<64 hex digits>", "role": "operator" },
//     { "token": "…", "role": "provider", "subscription": "<id>", "tenants": ["<id>", …] },
//     { "token": "…", "role": "subscription", "subscription": "<id>" } ]
//
// An operator sees every subscription. A delegated provider sees its direct tenants through its own subscription, and
// not what those sell on. A subscription sees itself. Tokens are kept as their SHA-256 only, and are compared in
// constant time. Plain value, constant after loading: share between threads freely.

#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>
#include <vector>

#include "platform/ids.h"
#include "platform/result.h"

namespace nodemeter {

enum class CallerRole : std::uint8_t { kOperator, kProvider, kSubscription };

struct Caller {
  CallerRole role = CallerRole::kSubscription;
  Uuid subscription;          // Zero for an operator: it may call in the name of any.
  std::vector<Uuid> tenants;  // Of a provider, in ascending order.

  // Whether the caller may use a URI of this subscription.
  [[nodiscard]] bool may_call_as(const Uuid& id) const { return role == CallerRole::kOperator || id == subscription; }
  // Whether usage of this subscription belongs to what the caller gets from the provider API.
  [[nodiscard]] bool has_tenant(const Uuid& id) const;
};

class TokenRegistry {
 public:
  // kInvalidInput names the entry and the field. kNotFound, kPermissionDenied: the file.
  static Result<TokenRegistry> load(const std::filesystem::path& file);
  static Result<TokenRegistry> parse(std::string_view json);

  // Whose token it is; null: nobody's. Takes as long for a wrong token as for a right one.
  [[nodiscard]] const Caller* find(std::string_view token) const;

  [[nodiscard]] std::size_t size() const { return entries_.size(); }

 private:
  using Hash = std::array<std::uint8_t, 32>;
  struct Item {
    Hash hash{};
    Caller caller;
  };
  static Hash hash_of(std::string_view token);

  std::vector<Item> entries_;
};

}  // namespace nodemeter
