// A request to the usage API, from its arguments to a query or to one of the documented errors. Pure.
//
// Which fault is told when there are several: api-version, then the granularity, then the two times, then their order
// and the future, then the subscriber, then the continuation.

#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "platform/clock.h"
#include "platform/ids.h"
#include "store/usage_sum.h"
#include "uploader/aggregator/tokens.h"

namespace nodemeter {

// Answered as {"error": {"code": …, "message": …}}.
struct ApiError {
  int status = 400;
  std::string code;
  std::string message;
};

enum class UsageApiKind : std::uint8_t {
  kTenant,         // …/Microsoft.Commerce/usageAggregates
  kProvider,       // …/Microsoft.Commerce.Admin/subscriberUsageAggregates
  kProviderOlder,  // …/Microsoft.Commerce/subscriberUsageAggregates
};

using Parameters = std::vector<std::pair<std::string, std::string>>;

struct UsageRequest {
  UsageQuery query;          // With the one subscription that was asked for, if one was.
  std::string continuation;  // "": from the beginning.
  bool until_today = false;  // The provider API's range reaches into the current day.
};

// The subscription of the path, and whether the caller may use it.
//   SubscriptionIdMissingInRequest  it is empty
//   InvalidProperty                 it is not a UUID
//   AuthorizationFailed (403)       it is not the caller's, or the caller is no provider
std::variant<Uuid, ApiError> check_path(UsageApiKind kind, std::string_view subscription, const Caller& caller);

// `subscription`: the path's, which was checked.
std::variant<UsageRequest, ApiError> parse_usage_request(UsageApiKind kind, const Uuid& subscription,
                                                         const Parameters& parameters, const Caller& caller,
                                                         UtcTime now);

// An instant as the published clients and scripts send it: "Z", "+00:00", "+00:00Z", no zone at all (it is UTC then), a
// date alone, and a plus that became a blank on its way.
std::optional<UtcTime> parse_api_time(std::string_view text);

}  // namespace nodemeter
