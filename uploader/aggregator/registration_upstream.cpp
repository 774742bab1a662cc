#include "uploader/aggregator/registration_upstream.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "platform/percent.h"
#include "platform/text.h"

namespace nodemeter {
namespace {

using nlohmann::json;

constexpr std::string_view kVersion = "?api-version=2017-06-01";
constexpr std::size_t kPagesMax = 10'000;

std::string segment(std::string_view text) { return percent_encoded(text, "()"); }

bool is_transient(int status) {
  return status == 408 || status == 429 || status == 502 || status == 503 || status == 504;
}

bool is_success(int status) { return status >= 200 && status < 300; }

// The error as the server gave it, or `otherwise` where it gave none.
RegistrationError error_of(const WebAnswer& answer, const std::string& otherwise) {
  const json body = json::parse(answer.body, nullptr, false);
  const json none = json::object();
  const json& error = body.is_object() && body.contains("error") && body["error"].is_object() ? body["error"] : none;
  const auto text = [&](const char* key) {
    return error.contains(key) && error[key].is_string() ? display_text(error[key].get<std::string>(), 1'000) : "";
  };
  const std::string status = "the upstream server answered with HTTP " + std::to_string(answer.status);
  const std::string code = text("code").empty() ? otherwise : text("code");
  return {code, text("message").empty() ? status + "." : text("message") + " (" + status + ")"};
}

CustomerSubscription subscription_of(const json& item) {
  const auto text = [](const json& object, const char* key) {
    return object.is_object() && object.contains(key) && object[key].is_string() ? object[key].get<std::string>() : "";
  };
  CustomerSubscription one;
  one.id = text(item, "name");
  if (one.id.empty()) {
    const std::string id = text(item, "id");
    one.id = id.substr(id.rfind('/') + 1);
  }
  if (item.is_object() && item.contains("properties")) one.tenant = text(item["properties"], "tenantId");
  return one;
}

// "https://host:port" of a URL.
std::string origin_of(const std::string& url) {
  const std::size_t host = url.find("://");
  return host == std::string::npos ? "" : url.substr(0, url.find('/', host + 3));
}

}  // namespace

std::string RegistrationUpstream::url_of(const std::string& subscription) const {
  std::string base = options_.url;
  while (base.ends_with('/')) base.pop_back();
  const std::string registration = "/subscriptions/" + registration_.subscription.text() + "/resourceGroups/" +
                                   segment(registration_.resource_group) +
                                   "/providers/Microsoft.AzureStack/registrations/" + segment(registration_.name);
  return base + registration + "/customerSubscriptions" + (subscription.empty() ? "" : "/" + segment(subscription)) +
         std::string(kVersion);
}

std::variant<WebAnswer, RegistrationError> RegistrationUpstream::ask(const std::string& method, const std::string& url,
                                                                     const std::string& body) {
  const WebRequest request{.method = method,
                           .url = url,
                           .body = body,
                           .bearer_file = options_.bearer_file,
                           .ca_file = options_.ca_file,
                           .headers = {},
                           .timeout = options_.timeout};
  std::string why;
  Milliseconds pause = options_.pause;
  for (int attempt = 0; attempt < std::max(1, options_.attempts); ++attempt) {
    if (attempt > 0) {
      sleep_(pause);
      pause *= 2;
    }
    const Result<WebAnswer> answer = send_web_request(request);
    if (answer && !is_transient(answer->status)) return *answer;
    if (!answer && answer.error().code != ErrorCode::kUnavailable) {
      return RegistrationError{"UpstreamNotUsable", answer.error().message};
    }
    why = answer ? "HTTP " + std::to_string(answer->status) : answer.error().message;
  }
  return RegistrationError{"MetadataResolverBadGatewayError",
                           "The upstream server failed " + std::to_string(std::max(1, options_.attempts)) +
                               " times, last with " + why + ". Try again later; then contact support."};
}

std::optional<RegistrationError> RegistrationUpstream::put(const std::string& subscription, const Uuid& tenant) {
  const json body = {{"properties", {{"tenantId", tenant.text()}}}};
  const auto answer = ask("PUT", url_of(subscription), body.dump());
  if (const auto* const error = std::get_if<RegistrationError>(&answer)) return *error;
  const WebAnswer& got = std::get<WebAnswer>(answer);
  if (is_success(got.status)) return std::nullopt;
  return error_of(got, got.status == 404 ? "RegistrationNotFound" : "UpstreamRefused");
}

std::optional<RegistrationError> RegistrationUpstream::remove(const std::string& subscription) {
  const auto answer = ask("DELETE", url_of(subscription));
  if (const auto* const error = std::get_if<RegistrationError>(&answer)) return *error;
  const WebAnswer& got = std::get<WebAnswer>(answer);
  if (is_success(got.status)) return std::nullopt;
  return error_of(got, got.status == 404 ? "CustomerSubscriptionNotFound" : "UpstreamRefused");
}

std::variant<CustomerSubscription, RegistrationError> RegistrationUpstream::get(const std::string& subscription) {
  const auto answer = ask("GET", url_of(subscription));
  if (const auto* const error = std::get_if<RegistrationError>(&answer)) return *error;
  const WebAnswer& got = std::get<WebAnswer>(answer);
  if (!is_success(got.status)) {
    RegistrationError error = error_of(got, got.status == 404 ? "CustomerSubscriptionNotFound" : "UpstreamRefused");
    if (error.code == "CustomerSubscriptionNotFound") {
      error.message = "customer subscription '" + display_text(subscription) + "' is not under registration '" +
                      display_text(registration_.name) + "'. Add it with add-tenant, or check the id. " + error.message;
    }
    return error;
  }
  CustomerSubscription one = subscription_of(json::parse(got.body, nullptr, false));
  if (one.id.empty()) one.id = subscription;
  return one;
}

std::variant<std::vector<CustomerSubscription>, RegistrationError> RegistrationUpstream::list() {
  std::vector<CustomerSubscription> all;
  std::string url = url_of("");
  const std::string origin = origin_of(url);
  for (std::size_t page = 0; !url.empty(); ++page) {
    if (page == kPagesMax) return RegistrationError{"UpstreamRefused", "The list has no end."};
    const auto answer = ask("GET", url);
    if (const auto* const error = std::get_if<RegistrationError>(&answer)) return *error;
    const WebAnswer& got = std::get<WebAnswer>(answer);
    const json body = json::parse(got.body, nullptr, false);
    const bool has_code = body.is_object() && body.contains("error") && body["error"].is_object();
    if (got.status == 204 || (got.status == 404 && !has_code) || (got.status == 200 && got.body.empty())) return all;
    if (!is_success(got.status)) return error_of(got, "UpstreamRefused");
    if (!body.is_object() || !body.contains("value") || !body["value"].is_array()) {
      return RegistrationError{"UpstreamRefused", "The upstream server's list is not one."};
    }
    for (const json& item : body["value"]) all.push_back(subscription_of(item));
    url = body.contains("nextLink") && body["nextLink"].is_string() ? body["nextLink"].get<std::string>() : "";
    // The token goes to nobody else.
    if (!url.empty() && origin_of(url) != origin) {
      return RegistrationError{"UpstreamRefused", "The list goes on at another server: " + display_text(url) + "."};
    }
  }
  return all;
}

}  // namespace nodemeter
