#include "store/usage_sum.h"

#include <utility>

#include "platform/bytes.h"
#include "platform/digest.h"
#include "platform/text.h"
#include "store/detail.h"
#include "store/meters.h"

namespace nodemeter {

namespace {

using std::chrono::hours;
using std::chrono::sys_seconds;

constexpr Milliseconds kHour{3'600'000};
constexpr Milliseconds kDay{86'400'000};
constexpr std::uint8_t kUnknownMeter = 255;
constexpr std::uint8_t kTokenVersion = 1;
constexpr std::size_t kTokenCheckBytes = 8;

std::string name_of(const Entry& entry) {
  const auto fields = detail_fields(entry.detail);
  const auto name = fields.find("name");
  return name == fields.end() ? "" : name->second;
}

void describe(UsageRow& row, const Entry& entry, const std::string& name, std::uint64_t position) {
  row.newest = position;
  row.name = name;
  row.resource_uri = entry.resource_uri;
  row.location = entry.location;
  row.tenant = entry.tenant;
  row.vcores = entry.vcores;
  row.billable = entry.billable;
  row.tags = entry.tags;
  row.reported_at = entry.reported_at;
  row.node = entry.node;
}

std::string token_check(std::string_view body) {
  return std::string(digest_of({"nodemeter continuation", body}).view().substr(0, kTokenCheckBytes));
}

}  // namespace

Status check_range(const UsageQuery& query) {
  const auto wrong = [](const std::string& message) { return Error{ErrorCode::kInvalidInput, message}; };
  const Milliseconds step = query.granularity == Granularity::kDaily ? kDay : kHour;
  const std::string edge = query.granularity == Granularity::kDaily
                               ? "midnight UTC (daily is the default; --granularity hourly takes full hours)"
                               : "a full hour";
  for (const auto& [name, t] : {std::pair("start", query.start), std::pair("end", query.end)}) {
    if (t.time_since_epoch() % step != Milliseconds{0}) {
      return wrong("the " + std::string(name) + " " + iso_time(t) + " is not on " + edge);
    }
  }
  if (query.start >= query.end) {
    return wrong("the start " + iso_time(query.start, true) + " is not before the end " + iso_time(query.end, true));
  }
  if (query.end - query.start > kUsageRangeMax) {
    return wrong("the range is longer than " + duration_text(kUsageRangeMax) + ": ask for parts of it");
  }
  return Done{};
}

sys_seconds bucket_of(sys_seconds t, Granularity granularity) {
  if (granularity == Granularity::kDaily) return std::chrono::floor<std::chrono::days>(t);
  return std::chrono::floor<hours>(t);
}

bool usage_matches(const UsageQuery& query, const Entry& entry) {
  if (query.subscription && *query.subscription != entry.subscription) return false;
  return !query.vm || *query.vm == entry.vm;
}

void add_usage(UsageRows& rows, const UsageQuery& query, const Entry& entry, std::uint64_t position) {
  const std::string name = name_of(entry);
  for (const MeterValue& value : entry.meters) {
    if (query.meter && *query.meter != value.meter) continue;
    const MeterInfo* info = find_meter(value.meter);
    UsageKey key;
    key.bucket = bucket_of(entry.usage_start, query.granularity);
    key.subscription = entry.subscription;
    key.vm = entry.vm;
    key.meter_order = info == nullptr ? kUnknownMeter : static_cast<std::uint8_t>(info->index);
    key.meter = value.meter;
    UsageRow& row = rows[key];
    row.quantity += value.quantity;
    row.status |= entry.status;
    row.all_late = row.all_late && (entry.status & status_bit::kLate) != 0;
    if (position > row.newest) describe(row, entry, name, position);
  }
}

ShownQuantity show_quantity(const Uuid& meter, unsigned __int128 quantity) {
  const MeterInfo* info = find_meter(meter);
  if (info == nullptr) return {meter.text(), whole_text(quantity), "base units", "base units"};
  return {std::string(info->name), decimal_text(quantity, info->multiplier, info->divisor), std::string(info->unit),
          std::string(info->base_unit)};
}

std::string azure_time(UtcTime t) {
  std::string text = iso_time(t, true);
  text.pop_back();
  return text + "+00:00";
}

UtcTime bucket_end(const UsageKey& key, Granularity granularity) {
  return key.bucket + hours{granularity == Granularity::kDaily ? 24 : 1};
}

std::string instance_data(const UsageKey& key, const UsageRow& row) {
  JsonWriter json;
  json.begin_object();
  json.key("Microsoft.Resources");
  json.begin_object();
  json.text("resourceUri", row.resource_uri);
  json.text("location", row.location);
  json.key("tags");
  if (row.tags.empty()) {
    json.null();
  } else {
    json.begin_object();
    for (const auto& [name, value] : row.tags) json.text(name, value);
    json.end_object();
  }
  json.key("additionalInfo");
  json.begin_object();
  json.text("vmId", key.vm.text());
  json.text("vmName", row.name);
  json.number("vcores", std::uint64_t{row.vcores});
  json.end_object();
  json.end_object();
  json.end_object();
  return json.take();
}

void write_aggregate(JsonWriter& json, const UsageKey& key, const UsageRow& row, Granularity granularity,
                     std::string_view provider) {
  const ShownQuantity shown = show_quantity(key.meter, row.quantity);
  const std::string name = key.subscription.text() + "-" + key.meter.text();
  const std::string type = std::string(provider) + "/UsageAggregate";
  json.begin_object();
  json.text("id", "/subscriptions/" + key.subscription.text() + "/providers/" + type + "/" + name);
  json.text("name", name);
  json.text("type", type);
  json.key("properties");
  json.begin_object();
  json.text("subscriptionId", key.subscription.text());
  json.text("usageStartTime", azure_time(key.bucket));
  json.text("usageEndTime", azure_time(bucket_end(key, granularity)));
  json.text("instanceData", instance_data(key, row));
  json.key("quantity");
  json.raw(shown.quantity);
  json.text("meterId", key.meter.text());
  json.text("meterName", shown.meter);
  json.text("unit", shown.unit);
  json.key("quantityBase");
  json.number(row.quantity);
  json.text("baseUnit", shown.base_unit);
  json.text("tenantId", row.tenant.text());
  json.text("vm", key.vm.text());
  json.text("vmName", row.name);
  json.flag("billable", row.billable);
  json.text("status", status_text(row.status));
  json.end_object();
  json.end_object();
}

std::string query_digest(const UsageQuery& query, std::string_view caller) {
  ByteWriter bytes;
  bytes.i64(query.start.time_since_epoch().count());
  bytes.i64(query.end.time_since_epoch().count());
  bytes.u8(static_cast<std::uint8_t>(query.granularity));
  bytes.u8(static_cast<std::uint8_t>(query.by));
  for (const std::optional<Uuid>& filter : {query.subscription, std::optional<Uuid>(query.vm), query.meter}) {
    bytes.boolean(filter.has_value());
    bytes.uuid(filter.value_or(Uuid{}));
  }
  return std::string(digest_of({"nodemeter usage query", bytes.take(), caller}).view().substr(0, kTokenCheckBytes));
}

std::string encode_continuation(const Continuation& continuation, std::string_view query_digest) {
  ByteWriter bytes;
  bytes.u8(kTokenVersion);
  bytes.raw(query_digest);
  bytes.uuid(continuation.store);
  bytes.u64(continuation.pinned);
  bytes.i64(continuation.after.bucket.time_since_epoch().count());
  bytes.uuid(continuation.after.subscription);
  bytes.uuid(continuation.after.vm);
  bytes.u8(continuation.after.meter_order);
  bytes.uuid(continuation.after.meter);
  const std::string body = bytes.take();
  return to_hex(body + token_check(body));
}

Result<Continuation> decode_continuation(const std::string& token, std::string_view query_digest) {
  const std::string bytes = from_hex(token);
  const Error garbled{ErrorCode::kInvalidInput, "the continuation is not one: give it back exactly as it was printed"};
  if (bytes.size() <= kTokenCheckBytes) return garbled;
  const std::string body = bytes.substr(0, bytes.size() - kTokenCheckBytes);
  if (token_check(body) != bytes.substr(body.size())) return garbled;
  ByteReader reader(body);
  if (reader.u8() != kTokenVersion) return garbled;
  if (reader.raw(kTokenCheckBytes) != query_digest) {
    return Error{ErrorCode::kInvalidInput,
                 "the continuation belongs to another query: repeat the options of the first page"};
  }
  Continuation c;
  c.store = reader.uuid();
  c.pinned = reader.u64();
  c.after.bucket = sys_seconds(std::chrono::seconds(reader.i64()));
  c.after.subscription = reader.uuid();
  c.after.vm = VmId(reader.uuid());
  c.after.meter_order = reader.u8();
  c.after.meter = reader.uuid();
  if (!reader.at_end()) return garbled;
  return c;
}

}  // namespace nodemeter
