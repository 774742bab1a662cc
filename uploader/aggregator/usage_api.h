// The usage API: Azure Stack's provider and tenant URIs over the aggregator's store, and the document that describes
// them. Every request, argument and error is in USAGE_API.md, each with the test that shows it.
//
//   GET /subscriptions/{id}/providers/Microsoft.Commerce.Admin/subscriberUsageAggregates   provider
//   GET /subscriptions/{id}/providers/Microsoft.Commerce/subscriberUsageAggregates         the same, older
//   GET /subscriptions/{id}/providers/Microsoft.Commerce/usageAggregates                   tenant
//   GET /openapi.json

#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "platform/clock.h"
#include "platform/log.h"
#include "uploader/aggregator/aggregator_store.h"
#include "uploader/aggregator/http.h"
#include "uploader/aggregator/tokens.h"
#include "uploader/aggregator/usage_query.h"
#include "uploader/aggregator/usage_request.h"

namespace nodemeter {

struct UsageApiOptions {
  std::size_t page_rows = 1'000;
  // Queries at work at once; a further one is answered with ServiceUnavailable, so that readers cannot take every
  // thread from the nodes.
  std::size_t queries_max = 8;
  std::string scheme = "https";  // Of links to further pages, unless a proxy says otherwise.
};

class UsageApi {
 public:
  // `nodes` gives the configured nodes whenever it is asked. The references must outlive the object.
  UsageApi(UsageApiOptions options, const KeyValue& kv, const AggregatorStore& store, const Clock& clock, Log& log,
           TokenRegistry tokens, std::function<std::vector<ExpectedNode>()> nodes);

  // For ServerOptions::routes. The object must outlive the server.
  std::vector<HttpRoute> routes();

  // Any thread.
  HttpAnswer answer(UsageApiKind kind, const HttpRequest& request, std::string_view subscription);

 private:
  HttpAnswer answer_query(UsageApiKind kind, const HttpRequest& request, const Uuid& subscription,
                          const Caller& caller);
  HttpAnswer busy(std::string_view why) const;
  std::string page_json(UsageApiKind kind, const HttpRequest& request, const UsageRequest& asked,
                        const StoreUsagePage& page, const std::string& continuation) const;
  [[nodiscard]] std::string next_link(const HttpRequest& request, const std::string& continuation) const;

  const UsageApiOptions options_;
  const KeyValue& kv_;
  const AggregatorStore& store_;
  const Clock& clock_;
  Log& log_;
  const TokenRegistry tokens_;
  const std::function<std::vector<ExpectedNode>()> nodes_;
  std::atomic<std::size_t> queries_ = 0;
};

// The OpenAPI 3.0 document of what the aggregator serves.
std::string_view openapi_json();

}  // namespace nodemeter
