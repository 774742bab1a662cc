#include "uploader/aggregator/usage_request.h"

#include <algorithm>
#include <array>

#include "platform/text.h"

namespace nodemeter {
namespace {

using std::chrono::days;

constexpr std::size_t kShownMax = 64;

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool same_word(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) { return lower(x) == lower(y); });
}

ApiError invalid(std::string_view property, const std::string& what) {
  return {.status = 400, .code = "InvalidProperty", .message = "The property '" + std::string(property) + "' " + what};
}

// The values of one name. Unknown names are nobody's business here: clients of Azure's own API send more than these.
const std::string* value_of(const Parameters& parameters, std::string_view name) {
  const auto found = std::find_if(parameters.begin(), parameters.end(),
                                  [&](const auto& parameter) { return same_word(parameter.first, name); });
  return found == parameters.end() ? nullptr : &found->second;
}

// A parameter given twice means two things, and nobody knows which.
std::optional<ApiError> find_repeated(const Parameters& parameters) {
  static constexpr std::array<std::string_view, 7> kKnown{"api-version",
                                                          "reportedStartTime",
                                                          "reportedEndTime",
                                                          "aggregationGranularity",
                                                          "subscriberId",
                                                          "continuationToken",
                                                          "by"};
  for (const std::string_view name : kKnown) {
    const auto count = std::count_if(parameters.begin(), parameters.end(),
                                     [&](const auto& parameter) { return same_word(parameter.first, name); });
    if (count > 1) return invalid(name, "is given " + std::to_string(count) + " times; give it once.");
  }
  return std::nullopt;
}

std::optional<ApiError> check_version(const Parameters& parameters) {
  const std::string* const version = value_of(parameters, "api-version");
  if (version == nullptr || version->empty()) {
    return ApiError{.status = 400,
                    .code = "NoApiVersion",
                    .message = "The api-version query parameter (?api-version=) is missing; use 2015-06-01-preview."};
  }
  // The second is what Azure's documentation has in some examples.
  if (same_word(*version, "2015-06-01-preview") || *version == "1.0") return std::nullopt;
  return invalid("api-version", "is '" + display_text(*version, kShownMax) + "'; use 2015-06-01-preview.");
}

std::optional<ApiError> read_words(const Parameters& parameters, UsageQuery& query) {
  if (const std::string* const text = value_of(parameters, "aggregationGranularity")) {
    if (!same_word(*text, "daily") && !same_word(*text, "hourly")) {
      return ApiError{.status = 400,
                      .code = "InvalidAggregationGranularity",
                      .message = "The aggregation granularity '" + display_text(*text, kShownMax) +
                                 "' is not valid; use daily or hourly."};
    }
    query.granularity = same_word(*text, "daily") ? Granularity::kDaily : Granularity::kHourly;
  }
  query.by = TimeAxis::kReported;
  if (const std::string* const by = value_of(parameters, "by")) {
    if (!same_word(*by, "usage") && !same_word(*by, "reported")) {
      return invalid("by", "is '" + display_text(*by, kShownMax) + "'; use usage or reported.");
    }
    if (same_word(*by, "usage")) query.by = TimeAxis::kUsage;
  }
  return std::nullopt;
}

std::optional<ApiError> read_time(const Parameters& parameters, std::string_view name, Granularity granularity,
                                  UtcTime& t) {
  const std::string* const text = value_of(parameters, name);
  if (text == nullptr || text->empty()) return invalid(name, "is missing; give a time such as 2026-01-01T00:00:00Z.");
  const std::string shown = "'" + display_text(*text, kShownMax) + "'";
  const std::optional<UtcTime> parsed = parse_api_time(*text);
  if (!parsed) return invalid(name, "is " + shown + "; give a time such as 2026-01-01T00:00:00Z.");
  t = *parsed;
  if (granularity == Granularity::kDaily && t != std::chrono::floor<days>(t)) {
    return invalid(name, "is " + shown + "; with daily aggregation, which is the default, give midnight UTC.");
  }
  if (t != std::chrono::floor<std::chrono::hours>(t)) {
    return invalid(name, "is " + shown + "; give a full hour, such as 2026-01-01T13:00:00Z.");
  }
  return std::nullopt;
}

std::optional<ApiError> read_times(const Parameters& parameters, UtcTime now, UsageQuery& query) {
  if (auto fault = read_time(parameters, "reportedStartTime", query.granularity, query.start)) return fault;
  if (auto fault = read_time(parameters, "reportedEndTime", query.granularity, query.end)) return fault;
  if (query.end > now) {
    return ApiError{.status = 400,
                    .code = "RequestEndTimeIsInFuture",
                    .message = "The property 'reportedEndTime' " + iso_time(query.end, true) +
                               " is in the future; it is " + iso_time(now, true) + " now."};
  }
  if (query.start >= query.end) {
    return invalid("reportedEndTime", "is not after 'reportedStartTime': " + iso_time(query.end, true) + " and " +
                                          iso_time(query.start, true) + ".");
  }
  if (const Status range = check_range(query); !range) {
    return invalid("reportedStartTime", "gives a range that is too long: " + range.error().message + ".");
  }
  return std::nullopt;
}

std::optional<ApiError> read_subscriber(const Parameters& parameters, const Caller& caller, UsageQuery& query) {
  const std::string* const text = value_of(parameters, "subscriberId");
  if (text == nullptr || text->empty()) return std::nullopt;
  query.subscription = Uuid::parse(*text);
  if (!query.subscription) {
    return invalid("subscriberId", "is '" + display_text(*text, kShownMax) + "'; give a subscription id (UUID).");
  }
  if (caller.has_tenant(*query.subscription)) return std::nullopt;
  return ApiError{.status = 400,
                  .code = "SubscriberIdIsNotDirectTenant",
                  .message = "The subscription " + query.subscription->text() + " is not a direct tenant of " +
                             caller.subscription.text() + "."};
}

}  // namespace

std::optional<UtcTime> parse_api_time(std::string_view text) {
  constexpr std::size_t kClockEnd = 19;  // "2026-01-01T00:00:00"
  std::string plain(text);
  const std::size_t blank = plain.find(' ', kClockEnd);
  if (blank != std::string::npos) plain[blank] = '+';
  if (const std::optional<UtcTime> t = parse_time(plain)) return t;
  return parse_time(plain + "Z");
}

std::variant<Uuid, ApiError> check_path(UsageApiKind kind, std::string_view subscription, const Caller& caller) {
  if (subscription.empty()) {
    return ApiError{
        .status = 400,
        .code = "SubscriptionIdMissingInRequest",
        .message = "The caller's subscription id is missing in the request: /subscriptions/{id}/providers/…"};
  }
  const std::optional<Uuid> id = Uuid::parse(subscription);
  if (!id) {
    return invalid("subscriptionId", "is '" + display_text(subscription, kShownMax) + "'; give a UUID.");
  }
  const bool provider = kind != UsageApiKind::kTenant;
  if (!caller.may_call_as(*id) || (provider && caller.role == CallerRole::kSubscription)) {
    return ApiError{.status = 403,
                    .code = "AuthorizationFailed",
                    .message = "This token does not give access to " +
                               std::string(provider ? "usage of the tenants of" : "usage of") + " subscription " +
                               id->text() + "."};
  }
  return *id;
}

std::variant<UsageRequest, ApiError> parse_usage_request(UsageApiKind kind, const Uuid& subscription,
                                                         const Parameters& parameters, const Caller& caller,
                                                         UtcTime now) {
  UsageRequest request;
  UsageQuery& query = request.query;
  if (auto fault = check_version(parameters)) return *std::move(fault);
  if (auto fault = find_repeated(parameters)) return *std::move(fault);
  if (auto fault = read_words(parameters, query)) return *std::move(fault);
  if (auto fault = read_times(parameters, now, query)) return *std::move(fault);
  if (kind == UsageApiKind::kTenant) {
    query.subscription = subscription;
  } else {
    if (auto fault = read_subscriber(parameters, caller, query)) return *std::move(fault);
    request.until_today = query.end > std::chrono::floor<days>(now);
  }
  if (const std::string* const token = value_of(parameters, "continuationToken")) request.continuation = *token;
  return request;
}

}  // namespace nodemeter
