// The registration of a stamp: who pays for which tenant, from when on, as a JSON document.
//
//   { "name": "azurestack-1", "resource_group": "rg", "subscription": "<id>", "partner_id": "…", "kind": "CSP",
//     "billing_model": "PayAsYouUse", "multi_tenancy": true, "cloud_id": "<id>",
//     "tenants": [ { "tenant": "<id>", "subscription": "<id>", "from": "2026-01-01T00:00:00Z" },
//                  { "tenant": "<id>", "subscription": null, "from": "2026-02-01T00:00:00Z" } ] }
//
// `subscription` is the default one, which pays where nothing more specific is in force. Each entry of `tenants` holds
// from its time until the next one of the same tenant; null hands the tenant back to the default. Entries are added and
// never taken away, so that the past stays as it was. Plain values and pure functions.

#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "platform/clock.h"
#include "platform/ids.h"
#include "platform/result.h"

namespace nodemeter {

enum class SubscriptionKind : std::uint8_t { kCsp, kCspss, kEa };
enum class BillingModel : std::uint8_t { kPayAsYouUse, kCapacity, kDevelopment };

// The words of the documents: "CSP", "PayAsYouUse", ….
std::string_view kind_word(SubscriptionKind kind);
std::string_view model_word(BillingModel model);
std::optional<SubscriptionKind> parse_kind(std::string_view word);

struct TenantMapping {
  Uuid tenant;
  std::optional<Uuid> subscription;  // Nothing: the default.
  UtcTime from{};
  friend bool operator==(const TenantMapping&, const TenantMapping&) = default;
};

struct Registration {
  std::string name;
  std::string resource_group;
  Uuid subscription;
  std::string partner_id;
  SubscriptionKind kind = SubscriptionKind::kCsp;
  BillingModel billing_model = BillingModel::kPayAsYouUse;
  bool multi_tenancy = false;  // Microsoft has approved it.
  std::string cloud_id;
  std::vector<TenantMapping> tenants;  // In the order of `from`.

  // Who pays for the tenant's use in an hour or other span that ends at `end`: what is in force there.
  [[nodiscard]] Uuid payer(const Uuid& tenant, UtcTime end) const;
  // What is in force at `t`, by tenant; only those that have a subscription of their own.
  [[nodiscard]] std::vector<TenantMapping> in_force(UtcTime t) const;
  friend bool operator==(const Registration&, const Registration&) = default;
};

// kInvalidInput names the field and what is allowed.
Result<Registration> parse_registration(std::string_view json);
std::string registration_json(const Registration& registration);

// One of the documented errors of customer subscriptions, by code.
struct RegistrationError {
  std::string code;
  std::string message;
  [[nodiscard]] std::string text() const { return code + ": " + message; }
};

// What a verb was told. Empty: not told.
struct TenantRequest {
  std::string name, resource_group, registration_subscription;  // Of the registration that is meant.
  std::string subscription;                                     // The customer's.
  std::optional<Uuid> tenant;
  std::optional<SubscriptionKind> kind;  // Of the customer's subscription, if the caller knows.
  std::string partner_id;                // To which the customer's subscription rolls up, if the caller knows.
};

// The checks that can be made here, in the documented order; the first that fails wins. `registration` nothing: there
// is none. `must_exist`: the customer subscription has to be in force (check, remove).
std::optional<RegistrationError> check_request(const std::optional<Registration>& registration,
                                               const TenantRequest& request, bool must_exist, UtcTime now);

// The registration after the tenant's subscription changed at `from` (nothing: back to the default). kInvalidInput:
// `from` lies before the newest entry of that tenant, and the past would change.
Result<Registration> with_mapping(const Registration& registration, const TenantMapping& mapping);

}  // namespace nodemeter
