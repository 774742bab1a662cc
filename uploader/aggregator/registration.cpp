#include "uploader/aggregator/registration.h"

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "platform/text.h"

namespace nodemeter {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::array<std::pair<SubscriptionKind, std::string_view>, 3> kKinds{
    {{SubscriptionKind::kCsp, "CSP"}, {SubscriptionKind::kCspss, "CSPSS"}, {SubscriptionKind::kEa, "EA"}}};
constexpr std::array<std::pair<BillingModel, std::string_view>, 3> kModels{
    {{BillingModel::kPayAsYouUse, "PayAsYouUse"},
     {BillingModel::kCapacity, "Capacity"},
     {BillingModel::kDevelopment, "Development"}}};

const std::initializer_list<std::string_view> kFields = {"name",          "resource_group", "subscription",
                                                         "partner_id",    "kind",           "billing_model",
                                                         "multi_tenancy", "cloud_id",       "tenants"};
const std::initializer_list<std::string_view> kMappingFields = {"tenant", "subscription", "from"};

Error wrong(const std::string& what) { return Error{ErrorCode::kInvalidInput, "registration: " + what}; }

std::string unknown_field(const Json& object, const std::initializer_list<std::string_view>& known) {
  for (const auto& [key, value] : object.items()) {
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    const std::optional<std::string> near = nearest_word(key, known);
    return "unknown field \"" + display_text(key, 64) + "\"" + (near ? "; did you mean \"" + *near + "\"?" : "");
  }
  return "";
}

// Text without control characters, "" where there is none. Nothing: it is something else.
std::optional<std::string> text_of(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end()) return std::string();
  if (!found->is_string() || !is_plain_text(found->get<std::string>())) return std::nullopt;
  return found->get<std::string>();
}

std::optional<Uuid> id_of(const Json& object, const char* key) {
  const std::optional<std::string> text = text_of(object, key);
  return text ? Uuid::parse(*text) : std::nullopt;
}

Result<TenantMapping> parse_mapping(const Json& item) {
  if (!item.is_object()) return wrong("an entry of \"tenants\" is not an object");
  if (const std::string fault = unknown_field(item, kMappingFields); !fault.empty()) return wrong("tenants: " + fault);
  TenantMapping mapping;
  const std::optional<Uuid> tenant = id_of(item, "tenant");
  if (!tenant) return wrong("tenants: \"tenant\" has to be a tenant id (UUID)");
  mapping.tenant = *tenant;
  if (!item.contains("subscription")) return wrong("tenants: \"subscription\" is missing; null is the default one");
  if (!item["subscription"].is_null()) {
    mapping.subscription = id_of(item, "subscription");
    if (!mapping.subscription) return wrong("tenants: \"subscription\" has to be a subscription id (UUID) or null");
  }
  const std::optional<std::string> from = text_of(item, "from");
  const std::optional<UtcTime> t = from ? parse_time(*from) : std::nullopt;
  if (!t) return wrong("tenants: \"from\" has to be a time such as 2026-01-01T00:00:00Z");
  mapping.from = *t;
  return mapping;
}

template <class Value, std::size_t n>
std::optional<Value> value_of(const std::array<std::pair<Value, std::string_view>, n>& words, std::string_view word) {
  for (const auto& [value, known] : words) {
    if (known == word) return value;
  }
  return std::nullopt;
}

bool is_lower_case_id(std::string_view text) {
  const std::optional<Uuid> id = Uuid::parse(text);
  return id && !id->is_zero() && id->text() == text;
}

std::string shown(std::string_view text) { return "'" + display_text(text, 100) + "'"; }

// The registration's three names, as they were asked for.
std::string place(const std::string& name, const std::string& group, const std::string& subscription) {
  return "registration " + shown(name) + " in resource group " + shown(group) + " of subscription " +
         shown(subscription);
}

std::string place(const Registration& r) { return place(r.name, r.resource_group, r.subscription.text()); }

std::optional<RegistrationError> check_registration(const std::optional<Registration>& registration,
                                                    const TenantRequest& request) {
  const auto differs = [](const std::string& asked, const std::string& is) { return !asked.empty() && asked != is; };
  const bool found = registration && !differs(request.name, registration->name) &&
                     !differs(request.resource_group, registration->resource_group) &&
                     !differs(request.registration_subscription, registration->subscription.text());
  if (!found) {
    const Registration none;
    const Registration& r = registration ? *registration : none;
    const auto or_else = [](const std::string& asked, const std::string& is) { return asked.empty() ? is : asked; };
    return RegistrationError{
        "RegistrationNotFound",
        "There is no " +
            place(or_else(request.name, r.name), or_else(request.resource_group, r.resource_group),
                  or_else(request.registration_subscription, registration ? r.subscription.text() : "")) +
            (registration ? "; the file has " + place(r) : "; the registration file is not there") +
            ". Check subscription id, resource group and registration name."};
  }
  if (registration->billing_model != BillingModel::kPayAsYouUse) {
    return RegistrationError{"CustomerSubscriptionsNotAllowed",
                             "Customer subscriptions are not supported with the billing model " +
                                 std::string(model_word(registration->billing_model)) + " of " + place(*registration) +
                                 ". Register again with PayAsYouUse."};
  }
  if (!registration->multi_tenancy || registration->kind == SubscriptionKind::kEa) {
    return RegistrationError{
        "UnauthorizedCspRegistration",
        place(*registration) + " is not approved for multi-tenancy" +
            (registration->kind == SubscriptionKind::kEa ? ", which needs a CSP or CSPSS subscription" : "") +
            ". Have it approved (azstCSP@microsoft.com, with name, group and subscription), then set multi_tenancy."};
  }
  return std::nullopt;
}

bool is_in_force(const Registration& registration, const Uuid& subscription, UtcTime now) {
  const std::vector<TenantMapping> mappings = registration.in_force(now);
  return std::any_of(mappings.begin(), mappings.end(),
                     [&](const TenantMapping& mapping) { return mapping.subscription == subscription; });
}

}  // namespace

std::string_view kind_word(SubscriptionKind kind) {
  return std::find_if(kKinds.begin(), kKinds.end(), [&](const auto& k) { return k.first == kind; })->second;
}

std::string_view model_word(BillingModel model) {
  return std::find_if(kModels.begin(), kModels.end(), [&](const auto& m) { return m.first == model; })->second;
}

std::optional<SubscriptionKind> parse_kind(std::string_view word) { return value_of(kKinds, word); }

Uuid Registration::payer(const Uuid& tenant, UtcTime end) const {
  Uuid payer = subscription;
  for (const TenantMapping& mapping : tenants) {
    if (mapping.from >= end) break;
    if (mapping.tenant == tenant) payer = mapping.subscription.value_or(subscription);
  }
  return payer;
}

std::vector<TenantMapping> Registration::in_force(UtcTime t) const {
  std::map<Uuid, TenantMapping> newest;
  for (const TenantMapping& mapping : tenants) {
    if (mapping.from <= t) newest.insert_or_assign(mapping.tenant, mapping);
  }
  std::vector<TenantMapping> mappings;
  for (const auto& [tenant, mapping] : newest) {
    if (mapping.subscription) mappings.push_back(mapping);
  }
  return mappings;
}

Result<Registration> parse_registration(std::string_view json) {
  const Json document = Json::parse(json, nullptr, false);
  if (!document.is_object()) return wrong("expected a JSON object");
  if (const std::string fault = unknown_field(document, kFields); !fault.empty()) return wrong(fault);
  Registration registration;
  const std::array<std::pair<const char*, std::string*>, 4> texts{{{"name", &registration.name},
                                                                   {"resource_group", &registration.resource_group},
                                                                   {"partner_id", &registration.partner_id},
                                                                   {"cloud_id", &registration.cloud_id}}};
  for (const auto& [key, value] : texts) {
    const std::optional<std::string> text = text_of(document, key);
    if (!text) return wrong("\"" + std::string(key) + "\" has to be text");
    *value = *text;
  }
  if (registration.name.empty()) return wrong("\"name\" is missing");
  if (registration.resource_group.empty()) return wrong("\"resource_group\" is missing");
  const std::optional<Uuid> subscription = id_of(document, "subscription");
  if (!subscription) return wrong("\"subscription\" has to be the default subscription's id (UUID)");
  registration.subscription = *subscription;
  const auto kind = value_of(kKinds, text_of(document, "kind").value_or(""));
  if (!kind) return wrong(R"("kind" has to be "CSP", "CSPSS" or "EA")");
  registration.kind = *kind;
  const auto model = value_of(kModels, text_of(document, "billing_model").value_or(""));
  if (!model) return wrong(R"("billing_model" has to be "PayAsYouUse", "Capacity" or "Development")");
  registration.billing_model = *model;
  if (document.contains("multi_tenancy")) {
    if (!document["multi_tenancy"].is_boolean()) return wrong("\"multi_tenancy\" has to be true or false");
    registration.multi_tenancy = document["multi_tenancy"].get<bool>();
  }
  if (!document.contains("tenants")) return registration;
  if (!document["tenants"].is_array()) return wrong("\"tenants\" has to be a list");
  for (const Json& item : document["tenants"]) {
    const Result<TenantMapping> mapping = parse_mapping(item);
    if (!mapping) return mapping.error();
    registration.tenants.push_back(*mapping);
  }
  // Entries of one instant keep the order of the file: the last one holds.
  std::stable_sort(registration.tenants.begin(), registration.tenants.end(),
                   [](const TenantMapping& a, const TenantMapping& b) { return a.from < b.from; });
  return registration;
}

std::string registration_json(const Registration& registration) {
  Json tenants = Json::array();
  for (const TenantMapping& mapping : registration.tenants) {
    tenants.push_back({{"tenant", mapping.tenant.text()},
                       {"subscription", mapping.subscription ? Json(mapping.subscription->text()) : Json(nullptr)},
                       {"from", iso_time(mapping.from)}});
  }
  const Json document = {{"name", registration.name},
                         {"resource_group", registration.resource_group},
                         {"subscription", registration.subscription.text()},
                         {"partner_id", registration.partner_id},
                         {"kind", kind_word(registration.kind)},
                         {"billing_model", model_word(registration.billing_model)},
                         {"multi_tenancy", registration.multi_tenancy},
                         {"cloud_id", registration.cloud_id},
                         {"tenants", std::move(tenants)}};
  return document.dump(2) + "\n";
}

std::optional<RegistrationError> check_request(const std::optional<Registration>& registration,
                                               const TenantRequest& request, bool must_exist, UtcTime now) {
  if (auto fault = check_registration(registration, request)) return fault;
  const std::string customer = "customer subscription " + shown(request.subscription);
  if (!is_lower_case_id(request.subscription)) {
    return RegistrationError{"InvalidCustomerSubscriptionId",
                             customer + " is not a valid subscription id. Give it as a GUID in lower case."};
  }
  if (request.kind && *request.kind != SubscriptionKind::kCsp) {
    return RegistrationError{"InvalidCSPSubscription", customer + " is not a CSP subscription but " +
                                                           std::string(kind_word(*request.kind)) +
                                                           ". Check the id; it may be mistyped."};
  }
  if (!request.partner_id.empty() && request.partner_id != registration->partner_id) {
    return RegistrationError{"BadCustomerSubscriptionId",
                             customer + " belongs to partner " + shown(request.partner_id) + ", " +
                                 place(*registration) + " to partner " + shown(registration->partner_id) +
                                 ". Both have to roll up to the same CSP; check the ids, then contact support."};
  }
  if (must_exist && !is_in_force(*registration, *Uuid::parse(request.subscription), now)) {
    return RegistrationError{"CustomerSubscriptionNotFound", customer + " is not under " + place(*registration) +
                                                                 ". Add it with add-tenant, or check the id."};
  }
  return std::nullopt;
}

Result<Registration> with_mapping(const Registration& registration, const TenantMapping& mapping) {
  for (const TenantMapping& known : registration.tenants) {
    if (known.tenant == mapping.tenant && known.from > mapping.from) {
      return Error{ErrorCode::kInvalidInput, "tenant " + mapping.tenant.text() + " has an entry from " +
                                                 iso_time(known.from) + " on: one from " + iso_time(mapping.from) +
                                                 " would change the past"};
    }
  }
  Registration changed = registration;
  changed.tenants.push_back(mapping);
  std::stable_sort(changed.tenants.begin(), changed.tenants.end(),
                   [](const TenantMapping& a, const TenantMapping& b) { return a.from < b.from; });
  return changed;
}

}  // namespace nodemeter
