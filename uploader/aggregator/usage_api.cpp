#include "uploader/aggregator/usage_api.h"

#include <algorithm>
#include <utility>

#include "platform/json_writer.h"
#include "platform/percent.h"
#include "platform/text.h"

namespace nodemeter {
namespace {

using std::chrono::hours;

constexpr std::string_view kContinuationParameter = "continuationToken";
constexpr std::size_t kMissingNamedMax = 20;

std::string_view provider_of(UsageApiKind kind) {
  return kind == UsageApiKind::kProvider ? "Microsoft.Commerce.Admin" : "Microsoft.Commerce";
}

HttpAnswer error_page(const ApiError& error) {
  JsonWriter json;
  json.begin_object();
  json.key("error");
  json.begin_object();
  json.text("code", error.code);
  json.text("message", error.message);
  json.end_object();
  json.end_object();
  HttpAnswer answer;
  answer.status = error.status;
  answer.body = json.take();
  if (error.status == 401) answer.headers.emplace_back("WWW-Authenticate", "Bearer");
  if (error.status == 503) answer.headers.emplace_back("Retry-After", "5");
  return answer;
}

bool same_word(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [&](char x, char y) { return lower(x) == lower(y); });
}

// What a Host header may hold, so that nothing else gets into a link.
bool is_host(std::string_view host) {
  return !host.empty() && host.size() < 300 && std::all_of(host.begin(), host.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view(".-_:[]").find(c) != std::string_view::npos;
  });
}

std::int64_t hour_index(UtcTime t) { return std::chrono::floor<hours>(t).time_since_epoch().count(); }
UtcTime hour_time(std::int64_t hour) { return UtcTime(hours(hour)); }

// Counts a query in, and out again when it ends.
class Seat {
 public:
  Seat(std::atomic<std::size_t>& taken, std::size_t seats) : taken_(taken), got_(taken.fetch_add(1) < seats) {}
  Seat(const Seat&) = delete;
  Seat& operator=(const Seat&) = delete;
  ~Seat() { --taken_; }
  [[nodiscard]] bool got() const { return got_; }

 private:
  std::atomic<std::size_t>& taken_;
  const bool got_;
};

void write_completeness(JsonWriter& json, const std::vector<MissingHours>& missing, bool until_today) {
  const bool complete = missing.empty() && !until_today;
  json.key("completeness");
  json.begin_object();
  json.flag("complete", complete);
  json.text("message", complete           ? ""
                       : !missing.empty() ? "processing not complete: not every node has reported all hours"
                                          : "processing not complete: the range reaches into the current day");
  json.key("missing");
  json.begin_array();
  for (std::size_t i = 0; i < std::min(missing.size(), kMissingNamedMax); ++i) {
    json.begin_object();
    json.text("node", missing[i].node.text());
    json.text("from", azure_time(hour_time(missing[i].from)));
    json.text("to", azure_time(hour_time(missing[i].to)));
    json.end_object();
  }
  json.end_array();
  json.end_object();
}

}  // namespace

UsageApi::UsageApi(UsageApiOptions options, const KeyValue& kv, const AggregatorStore& store, const Clock& clock,
                   Log& log, TokenRegistry tokens, std::function<std::vector<ExpectedNode>()> nodes)
    : options_(std::move(options)),
      kv_(kv),
      store_(store),
      clock_(clock),
      log_(log),
      tokens_(std::move(tokens)),
      nodes_(std::move(nodes)) {}

std::vector<HttpRoute> UsageApi::routes() {
  std::vector<HttpRoute> routes;
  const auto add = [&](const std::string& provider, const std::string& resource, UsageApiKind kind) {
    const std::string tail = "/providers/" + provider + "/" + resource;
    routes.push_back({.method = "GET",
                      .path = "/subscriptions/*" + tail,
                      .answer = [this, kind](const HttpRequest& request, const std::vector<std::string>& parts) {
                        return answer(kind, request, parts.front());
                      }});
    for (const std::string& without_id : {"/subscriptions/" + tail, "/subscriptions" + tail, tail}) {
      routes.push_back({.method = "GET",
                        .path = without_id,
                        .answer = [this, kind](const HttpRequest& request, const std::vector<std::string>&) {
                          return answer(kind, request, "");
                        }});
    }
  };
  add("Microsoft.Commerce.Admin", "subscriberUsageAggregates", UsageApiKind::kProvider);
  add("Microsoft.Commerce", "subscriberUsageAggregates", UsageApiKind::kProviderOlder);
  add("Microsoft.Commerce", "usageAggregates", UsageApiKind::kTenant);
  routes.push_back(
      {.method = "GET", .path = "/openapi.json", .answer = [](const HttpRequest&, const std::vector<std::string>&) {
         HttpAnswer answer;
         answer.body = std::string(openapi_json());
         return answer;
       }});
  return routes;
}

HttpAnswer UsageApi::answer(UsageApiKind kind, const HttpRequest& request, std::string_view subscription) {
  const Caller* const caller = tokens_.find(request.credentials.bearer);
  if (caller == nullptr) {
    return error_page(
        {.status = 401,
         .code = "AuthenticationFailed",
         .message = "Authentication failed: send a token that is known here as 'Authorization: Bearer'."});
  }
  const auto path = check_path(kind, subscription, *caller);
  if (const auto* const fault = std::get_if<ApiError>(&path)) return error_page(*fault);
  return answer_query(kind, request, std::get<Uuid>(path), *caller);
}

HttpAnswer UsageApi::busy(std::string_view why) const {
  return error_page({.status = 503, .code = "ServiceUnavailable", .message = std::string(why) + " Try again later."});
}

HttpAnswer UsageApi::answer_query(UsageApiKind kind, const HttpRequest& request, const Uuid& subscription,
                                  const Caller& caller) {
  const auto parsed = parse_usage_request(kind, subscription, request.query, caller, clock_.now().utc);
  if (const auto* const fault = std::get_if<ApiError>(&parsed)) return error_page(*fault);
  const UsageRequest& asked = std::get<UsageRequest>(parsed);

  StoreUsageQuery query{.usage = asked.query,
                        .visible = std::nullopt,
                        .newest = store_.newest_arrival(),
                        .after = std::nullopt,
                        .rows_max = options_.page_rows};
  if (kind != UsageApiKind::kTenant && caller.role == CallerRole::kProvider) query.visible = caller.tenants;
  const std::string digest = query_digest(asked.query, std::string(provider_of(kind)) + subscription.text());
  if (!asked.continuation.empty()) {
    const Result<Continuation> from = decode_continuation(asked.continuation, digest);
    const bool known = from && from->pinned <= static_cast<std::uint64_t>(query.newest.time_since_epoch().count());
    if (!known) {
      return error_page({.status = 400,
                         .code = "InvalidProperty",
                         .message = "The property 'continuationToken' is not valid: " +
                                    (from ? "it is of another store" : from.error().message) + "."});
    }
    query.newest = UtcTime(Milliseconds(static_cast<std::int64_t>(from->pinned)));
    query.after = from->after;
  }
  const Seat seat(queries_, options_.queries_max);
  if (!seat.got()) return busy("Too many usage queries are at work.");
  const Result<StoreUsagePage> page = query_store(kv_, query);
  if (!page) {
    log_.error("a usage query failed", {{"reason", page.error().message}});
    return busy("The store cannot be read; the aggregator's log has the reason.");
  }
  std::string continuation;
  if (page->more) {
    const Continuation next{.store = {},
                            .pinned = static_cast<std::uint64_t>(query.newest.time_since_epoch().count()),
                            .after = page->rows.back().first};
    continuation = encode_continuation(next, digest);
  }
  HttpAnswer answer;
  answer.body = page_json(kind, request, asked, *page, continuation);
  answer.headers.emplace_back("Cache-Control", "no-store");
  return answer;
}

std::string UsageApi::page_json(UsageApiKind kind, const HttpRequest& request, const UsageRequest& asked,
                                const StoreUsagePage& page, const std::string& continuation) const {
  JsonWriter json;
  json.begin_object();
  json.key("value");
  json.begin_array();
  for (const auto& [key, row] : page.rows) {
    write_aggregate(json, key, row, asked.query.granularity, provider_of(kind));
  }
  json.end_array();
  // Left out on the last page: scripts ask whether it is there.
  if (!continuation.empty()) json.text("nextLink", next_link(request, continuation));
  write_completeness(
      json, missing_hours(store_.heads(), nodes_(), hour_index(asked.query.start), hour_index(asked.query.end)),
      asked.until_today);
  json.end_object();
  return json.take();
}

std::string UsageApi::next_link(const HttpRequest& request, const std::string& continuation) const {
  std::string link;
  const std::string host = request.header("host");
  if (is_host(host)) {
    const std::string forwarded = request.header("x-forwarded-proto");
    link = (forwarded == "https" || forwarded == "http" ? forwarded : options_.scheme) + "://" + host;
  }
  link += request.path;
  char separator = '?';
  for (const auto& [name, value] : request.query) {
    if (same_word(name, kContinuationParameter)) continue;
    link += std::exchange(separator, '&') + percent_encoded(name) + "=" + percent_encoded(value);
  }
  return link + std::exchange(separator, '&') + std::string(kContinuationParameter) + "=" + continuation;
}

}  // namespace nodemeter
