// A site for tests of usage: nodes whose hours are made by hand or by a seeded stream, delivered to a store in memory
// at times that the test sets.

#pragma once

#include <catch2/catch.hpp>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "platform/clock.h"
#include "platform/log.h"
#include "platform/text.h"
#include "store/entry_codec.h"
#include "store/manifest.h"
#include "store/meters.h"
#include "tests/aggregator/store_in_memory.h"
#include "uploader/aggregator/aggregator_store.h"
#include "uploader/aggregator/usage_api.h"

namespace nodemeter::testing {

inline UtcTime at(const std::string& text) {
  const std::optional<UtcTime> t = parse_time(text);
  REQUIRE(t.has_value());
  return *t;
}

inline Uuid meter_id(MeterIndex index) { return meter_catalogue()[static_cast<std::size_t>(index)].id; }

inline Uuid id_of(unsigned number) {
  Uuid id;
  id.bytes[0] = 0xaa;
  for (std::size_t i = 0; i < 4; ++i) id.bytes[15 - i] = static_cast<std::uint8_t>(number >> (8 * i));
  return id;
}

class SetClock final : public Clock {
 public:
  [[nodiscard]] ClockReading now() const override {
    ClockReading reading;
    reading.utc = t;
    return reading;
  }
  UtcTime t{};
};

// One node's chain, entry by entry.
class UsageNode {
 public:
  explicit UsageNode(const std::string& id, unsigned epoch = 1)
      : node_(*NodeId::parse(id)), epoch_(Epoch(id_of(epoch))) {}

  Entry usage(const std::string& hour, unsigned vm, unsigned subscription, std::vector<MeterValue> meters) const {
    Entry entry;
    entry.vm = VmId(id_of(vm));
    entry.usage_start = std::chrono::floor<std::chrono::seconds>(at(hour));
    entry.usage_end = entry.usage_start + std::chrono::hours(1);
    entry.reported_at = entry.usage_end + std::chrono::seconds(30);
    entry.subscription = id_of(subscription);
    entry.tenant = id_of(subscription + 1000);
    entry.resource_uri = "/subscriptions/" + entry.subscription.text() +
                         "/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/vm-" + std::to_string(vm);
    entry.location = "local";
    entry.vcores = 4;
    entry.billable = true;
    entry.meters = std::move(meters);
    entry.detail = "{\"name\":\"vm-" + std::to_string(vm) + "\"}";
    return entry;
  }

  void add(Entry entry) {
    entry.node = node_;
    entry.epoch = epoch_;
    entry.sequence = ++last_;
    std::string body = *encode_entry_body(entry);
    head_ = chain_digest(head_, body);
    waiting_ += seal_entry(std::move(body), head_);
  }

  void add_usage(const std::string& hour, unsigned vm, unsigned subscription, std::uint64_t vcore_ms) {
    add(usage(hour, vm, subscription,
              {{meter_id(MeterIndex::kBaseVmHours), vcore_ms, 0}, {meter_id(MeterIndex::kVmHours), 3'600'000, 0}}));
  }

  // The metering began in this hour.
  void begin(const std::string& hour) {
    Entry entry;
    entry.kind = EntryKind::kEvent;
    entry.usage_start = entry.usage_end = std::chrono::floor<std::chrono::seconds>(at(hour));
    entry.reported_at = entry.usage_end;
    entry.detail = R"({"event":"metering-started"})";
    add(entry);
  }

  // Everything before this hour is closed.
  void close(const std::string& hour) {
    Entry entry;
    entry.kind = EntryKind::kManifest;
    entry.usage_start = entry.usage_end = std::chrono::floor<std::chrono::seconds>(at(hour));
    entry.reported_at = entry.usage_end;
    const std::int64_t closed = at(hour).time_since_epoch() / std::chrono::hours(1);
    entry.detail = manifest_detail(ManifestBuilder(last_ + 1).build(node_, epoch_, closed, head_, std::nullopt));
    add(entry);
  }

  // What has not been delivered yet.
  std::string take() { return std::exchange(waiting_, {}); }

  [[nodiscard]] const NodeId& id() const { return node_; }
  [[nodiscard]] const Epoch& epoch() const { return epoch_; }

 private:
  NodeId node_;
  Epoch epoch_;
  Sequence last_ = 0;
  Digest head_;
  std::string waiting_;
};

class UsageSite : public StoreInMemory {
 public:
  void deliver(const std::string& rows, const std::string& when, const IngestLimits& limits = {}) {
    const auto batch = decode_batch({}, rows, limits);
    REQUIRE(std::holds_alternative<IngestBatch>(batch));
    keep(std::get<IngestBatch>(batch), at(when));
  }
  void deliver(UsageNode& node, const std::string& when, const IngestLimits& limits = {}) {
    deliver(node.take(), when, limits);
  }

  UsageApi& api(const std::string& tokens = kTokens, UsageApiOptions options = {}) {
    const auto registry = TokenRegistry::parse(tokens);
    if (!registry) FAIL(registry.error().message);
    api_ = std::make_unique<UsageApi>(options, *kv, *store, clock, log, *registry, [this] { return expected; });
    return *api_;
  }

  // Who reads: an operator, a provider (subscription 50 with tenants 1 and 2), and subscriptions 1 and 2.
  static inline const std::string kTokens =
      R"([{"token":"token-of-the-operator","role":"operator"},
          {"token":"token-of-the-provider","role":"provider","subscription":")" +
      id_of(50).text() + R"(","tenants":[")" + id_of(2).text() + R"(",")" + id_of(1).text() + R"("]},
          {"token":"token-of-the-first","role":"subscription","subscription":")" +
      id_of(1).text() + R"("},
          {"token":"token-of-the-second","role":"subscription","subscription":")" +
      id_of(2).text() + R"("}])";

  SetClock clock;
  NullLog log;
  std::vector<ExpectedNode> expected;

 private:
  std::unique_ptr<UsageApi> api_;
};

// A GET of `target` by whoever holds `token`, through the routes as the server does it.
inline HttpAnswer get(UsageApi& api, const std::string& target, const std::string& token) {
  HttpRequest request;
  request.method = "GET";
  set_target(request, target);
  request.headers.emplace("host", "aggregator.example:8443");
  request.credentials.bearer = token;
  for (const HttpRoute& route : api.routes()) {
    if (const auto parts = matches(route, request.method, request.path)) return route.answer(request, *parts);
  }
  return error_answer(404, "there is nothing here");
}

}  // namespace nodemeter::testing
