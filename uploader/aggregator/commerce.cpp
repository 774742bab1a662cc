#include "uploader/aggregator/commerce.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>
#include <utility>

#include "platform/bytes.h"
#include "platform/digest.h"
#include "platform/files.h"
#include "platform/text.h"
#include "store/entry_codec.h"
#include "store/meters.h"
#include "store/usage_sum.h"
#include "uploader/aggregator/row_keys.h"
#include "uploader/aggregator/usage_query.h"
#include "uploader/aggregator/web_request.h"

namespace nodemeter {
namespace {

using std::chrono::days;
using std::chrono::hours;

constexpr std::string_view kPendingKey = "pending";
constexpr std::string_view kSeenKey = "seen";
constexpr char kDayPrefix = 'd';
constexpr char kWaitingPrefix = 'w';
constexpr std::int64_t kHoursPerDay = 24;

UtcTime day_time(std::int64_t day) { return UtcTime(days(day)); }

std::string day_key(char prefix, std::int64_t day) {
  std::string key(1, prefix);
  append_big_endian(key, static_cast<std::uint64_t>(day));
  return key;
}

Uuid catalogue_id(MeterIndex index) { return meter_catalogue()[static_cast<std::size_t>(index)].id; }

// The only two that Azure bills; the time of the others is in these already, or nobody sells it.
bool is_billed_upstream(const Uuid& meter) {
  return meter == catalogue_id(MeterIndex::kBaseVmHours) || meter == catalogue_id(MeterIndex::kWindowsVmHours);
}

struct RecordKey {
  Uuid payer;
  Uuid subscription;
  Uuid tenant;
  VmId vm;
  Uuid meter;
  friend auto operator<=>(const RecordKey&, const RecordKey&) = default;
};

struct RecordSum {
  unsigned __int128 quantity = 0;
  std::string resource_uri;
  std::string location;
};
using Records = std::map<RecordKey, RecordSum>;

void write_record(JsonWriter& json, const RecordKey& key, const RecordSum& record, const Uuid& commerce_meter,
                  std::int64_t day) {
  const ShownQuantity shown = show_quantity(key.meter, record.quantity);
  json.begin_object();
  json.text("meterId", commerce_meter.text());
  json.key("quantity");
  json.raw(shown.quantity);
  json.text("unit", shown.unit);
  json.key("quantityBase");
  json.number(record.quantity);
  json.text("location", record.location);
  json.text("resourceUri", record.resource_uri);
  json.text("subscriptionId", key.subscription.text());
  json.text("billingSubscriptionId", key.payer.text());
  json.text("usageStartTime", azure_time(day_time(day)));
  json.text("usageEndTime", azure_time(day_time(day + 1)));
  json.text("localMeterId", key.meter.text());
  json.key("additionalInfo");
  json.begin_object();
  json.text("subscriptionId", key.subscription.text());
  json.text("tenantId", key.tenant.text());
  json.text("vmId", key.vm.text());
  json.end_object();
  json.end_object();
}

std::string missing_text(const std::vector<MissingHours>& missing) {
  const MissingHours& first = missing.front();
  const std::string node = first.node.text().empty() ? "any node" : "node " + first.node.text();
  return "waits for the manifests of " + node + " from " + iso_time(UtcTime(hours(first.from)), true) + " on";
}

}  // namespace

bool commerce_is_on(BillingModel model) { return model == BillingModel::kPayAsYouUse; }

MeterMap default_meter_map() {
  // Azure's price list has the base meter under the local id, and Windows under another.
  return {{catalogue_id(MeterIndex::kBaseVmHours), catalogue_id(MeterIndex::kBaseVmHours)},
          {catalogue_id(MeterIndex::kWindowsVmHours), *Uuid::parse("fb8c0713-ea20-40bf-901f-5560fd3f6330")}};
}

Result<MeterMap> parse_meter_map(std::string_view json) {
  const auto wrong = [](const std::string& what) { return Error{ErrorCode::kInvalidInput, "meter map: " + what}; };
  const nlohmann::json document = nlohmann::json::parse(json, nullptr, false);
  if (!document.is_object() || document.empty()) return wrong("expected a JSON object of meters");
  MeterMap map;
  for (const auto& [name, value] : document.items()) {
    const MeterInfo* const meter = find_meter(name);
    if (meter == nullptr) return wrong("there is no meter \"" + display_text(name, 64) + "\"");
    if (!is_billed_upstream(meter->id)) {
      return wrong("\"" + std::string(meter->name) +
                   "\" is not billed upstream: base-vm-hours and windows-vm-hours are, and they hold all of it");
    }
    const std::optional<Uuid> id = value.is_string() ? Uuid::parse(value.get<std::string>()) : std::nullopt;
    if (!id) return wrong("\"" + std::string(meter->name) + "\" needs the id of a commerce meter (UUID)");
    if (!map.emplace(meter->id, *id).second) return wrong("\"" + std::string(meter->name) + "\" is given twice");
  }
  return map;
}

std::string CommerceDocument::name() const {
  return "commerce-" + iso_time(day_time(day), true).substr(0, 10) + "-" + std::to_string(part);
}

CommerceDelivery deliver_to_directory(const std::string& directory) {
  return [directory](const CommerceDocument& document) -> Status {
    return replace_file(std::filesystem::path(directory) / (document.name() + ".json"), document.text);
  };
}

CommerceDelivery deliver_to_url(const CommerceUrl& target) {
  return [target](const CommerceDocument& document) -> Status {
    const std::string digest = digest_of({"nodemeter commerce", document.text}).hex().substr(0, 16);
    const WebRequest request{.method = "POST",
                             .url = target.url,
                             .body = document.text,
                             .bearer_file = target.bearer_file,
                             .ca_file = target.ca_file,
                             .headers = {{"Nodemeter-Commerce", document.name() + ":" + digest}},
                             .timeout = Milliseconds(120'000)};
    Milliseconds pause = target.pause;
    Error last{ErrorCode::kUnavailable, "not tried"};
    for (int attempt = 0; attempt < std::max(1, target.attempts); ++attempt) {
      if (attempt > 0) {
        target.sleep(pause);
        pause *= 2;
      }
      const Result<WebAnswer> answer = send_web_request(request);
      if (answer && answer->status >= 200 && answer->status < 300) return Done{};
      if (!answer && answer.error().code != ErrorCode::kUnavailable) return answer.error();
      const int status = answer ? answer->status : 0;
      last.message =
          answer ? "the receiver answered with HTTP " + std::to_string(status) + ": " + display_text(answer->body, 300)
                 : answer.error().message;
      const bool again = !answer || status == 408 || status == 425 || status == 429 || status >= 500;
      if (!again) return last;
    }
    return last;
  };
}

Commerce::Commerce(const KeyValue& rows, KeyValue& state, const Registration& registration, MeterMap meters,
                   std::vector<ExpectedNode> nodes)
    : rows_(rows), state_(state), registration_(registration), meters_(std::move(meters)), nodes_(std::move(nodes)) {}

Result<std::optional<CommerceDocument>> Commerce::pending() const {
  const auto snapshot = state_.snapshot();
  if (!snapshot) return snapshot.error();
  const auto value = (*snapshot)->get(Table::kMeta, kPendingKey);
  if (!value) return value.error();
  if (!value->has_value()) return std::optional<CommerceDocument>();
  ByteReader reader(**value);
  CommerceDocument document;
  document.day = reader.i64();
  document.arrived_until = UtcTime(Milliseconds(reader.i64()));
  document.part = reader.u32();
  document.text = reader.text();
  if (!reader.at_end()) return Error{ErrorCode::kCorrupt, "the pending commerce document makes no sense"};
  return std::optional(std::move(document));
}

Result<std::map<std::int64_t, Commerce::DayState>> Commerce::days() const {
  const auto snapshot = state_.snapshot();
  if (!snapshot) return snapshot.error();
  std::map<std::int64_t, DayState> known;
  bool sound = true;
  const Status scanned =
      (*snapshot)->scan(Table::kState, std::string(1, kDayPrefix), [&](std::string_view key, std::string_view value) {
        if (key.front() != kDayPrefix) return false;
        ByteReader reader(value);
        const UtcTime arrived(Milliseconds(reader.i64()));
        const DayState state{.arrived_until = arrived, .parts = reader.u32()};
        sound = reader.at_end() && key.size() == 9;
        if (sound) known.emplace(static_cast<std::int64_t>(read_big_endian(key.substr(1))), state);
        return sound;
      });
  if (!scanned) return scanned.error();
  if (!sound) return Error{ErrorCode::kCorrupt, "the state of commerce makes no sense"};
  return known;
}

Status Commerce::finish(const CommerceDocument& document) {
  ByteWriter value;
  value.i64(document.arrived_until.time_since_epoch().count());
  value.u32(document.part);
  return state_.commit({{.table = Table::kState, .key = day_key(kDayPrefix, document.day), .value = value.take()},
                        {.table = Table::kMeta, .key = std::string(kPendingKey), .value = std::nullopt}});
}

Status Commerce::forward(const CommerceDocument& document, const CommerceDelivery& deliver, CommerceReport& report) {
  if (Status delivered = deliver(document); !delivered) {
    return Error{delivered.error().code, document.name() + ": " + delivered.error().message};
  }
  if (Status finished = finish(document); !finished) return finished;
  report.delivered.push_back(document.name());
  return Done{};
}

Result<CommerceDocument> Commerce::make(std::int64_t day, const DayState& before, UtcTime to,
                                        std::uint64_t& records) const {
  auto runs = runs_by_hour(rows_, day * kHoursPerDay, (day + 1) * kHoursPerDay, to);
  if (!runs) return runs.error();
  std::sort(runs->begin(), runs->end(), [](const UsageRun& a, const UsageRun& b) {
    return std::tie(a.arrived, a.chain, a.hour, a.first) < std::tie(b.arrived, b.chain, b.hour, b.first);
  });
  Records sums;
  for (const UsageRun& run : *runs) {
    if (before.parts > 0 && run.arrived <= before.arrived_until) continue;
    const Status added = for_each_of_run(rows_, run, [&](std::string_view row) -> Status {
      const Result<DecodedEntry> decoded = decode_entry(row);
      if (!decoded) return decoded.error();
      const Entry& entry = decoded->entry;
      if (entry.kind != EntryKind::kUsage || hour_of(entry) != run.hour || !entry.billable) return Done{};
      // Trials are not billed to anybody.
      if ((entry.status & status_bit::kSimulated) != 0) return Done{};
      const Uuid payer = registration_.payer(entry.tenant, UtcTime(hours(run.hour + 1)));
      for (const MeterValue& value : entry.meters) {
        if (value.quantity == 0 || !meters_.contains(value.meter)) continue;
        RecordSum& sum = sums[{payer, entry.subscription, entry.tenant, entry.vm, value.meter}];
        sum.quantity += value.quantity;
        sum.resource_uri = entry.resource_uri;
        sum.location = entry.location;
      }
      return Done{};
    });
    if (!added) return added.error();
  }
  CommerceDocument document{.day = day, .part = before.parts + 1, .arrived_until = to, .text = {}};
  records = sums.size();
  // The first part is delivered even if it is empty: it says that the day is complete.
  if (sums.empty() && before.parts > 0) return document;
  JsonWriter json;
  json.begin_object();
  json.text("name", document.name());
  json.text("day", iso_time(day_time(day), true).substr(0, 10));
  json.number("part", std::uint64_t{document.part});
  json.text("registration", registration_.name);
  json.text("cloudId", registration_.cloud_id);
  json.key("records");
  json.begin_array();
  for (const auto& [key, sum] : sums) write_record(json, key, sum, meters_.at(key.meter), day);
  json.end_array();
  json.end_object();
  document.text = json.take() + "\n";
  return document;
}

Result<std::set<std::int64_t>> Commerce::waiting_days(UtcTime newest) const {
  std::set<std::int64_t> waiting;
  UtcTime seen{};
  {
    const auto snapshot = state_.snapshot();
    if (!snapshot) return snapshot.error();
    const auto mark = (*snapshot)->get(Table::kMeta, kSeenKey);
    if (!mark) return mark.error();
    if (mark->has_value()) seen = UtcTime(Milliseconds(ByteReader(**mark).i64() + 1));
    const Status scanned =
        (*snapshot)->scan(Table::kState, std::string(1, kWaitingPrefix), [&](std::string_view key, std::string_view) {
          if (key.front() != kWaitingPrefix) return false;
          waiting.insert(static_cast<std::int64_t>(read_big_endian(key.substr(1))));
          return true;
        });
    if (!scanned) return scanned.error();
  }
  const auto runs = runs_by_arrival(rows_, seen, UtcTime::max(), newest);
  if (!runs) return runs.error();
  for (const UsageRun& run : *runs) waiting.insert(run.hour / kHoursPerDay);
  return waiting;
}

Status Commerce::keep_waiting(const std::set<std::int64_t>& before, const std::set<std::int64_t>& after,
                              UtcTime newest) {
  ByteWriter seen;
  seen.i64(newest.time_since_epoch().count());
  std::vector<Write> writes{{.table = Table::kMeta, .key = std::string(kSeenKey), .value = seen.take()}};
  for (const std::int64_t day : before) {
    const bool waits = after.contains(day);
    writes.push_back({.table = Table::kState,
                      .key = day_key(kWaitingPrefix, day),
                      .value = waits ? std::optional<std::string>("") : std::nullopt});
  }
  return state_.commit(writes);
}

Status Commerce::forward_day(std::int64_t day, const DayState& before, UtcTime newest, const CommerceDelivery& deliver,
                             CommerceReport& report) {
  std::uint64_t records = 0;
  Result<CommerceDocument> document = make(day, before, newest, records);
  if (!document) return document.error();
  if (document->text.empty()) {
    // Nothing to bill came later: the mark moves on, and no part is counted.
    document->part = before.parts;
    return finish(*document);
  }
  ByteWriter value;
  value.i64(document->day);
  value.i64(document->arrived_until.time_since_epoch().count());
  value.u32(document->part);
  value.text(document->text);
  if (Status kept = state_.commit({{.table = Table::kMeta, .key = std::string(kPendingKey), .value = value.take()}});
      !kept) {
    return kept;
  }
  report.records += records;
  return forward(*document, deliver, report);
}

Result<CommerceReport> Commerce::run(const CommerceDelivery& deliver, UtcTime now) {
  CommerceReport report;
  const auto left = pending();
  if (!left) return left.error();
  if (*left) {
    if (Status sent = forward(**left, deliver, report); !sent) return sent.error();
  }
  const Result<StoreView> view = read_store_view(rows_);
  if (!view) return view.error();
  const auto known = days();
  if (!known) return known.error();
  const auto waiting = waiting_days(view->newest_arrival);
  if (!waiting) return waiting.error();
  std::set<std::int64_t> left_waiting;
  const std::int64_t today = std::chrono::floor<std::chrono::days>(now).time_since_epoch().count();
  for (const std::int64_t day : *waiting) {
    const auto state = known->find(day);
    const DayState before = state == known->end() ? DayState{} : state->second;
    const auto missing = missing_hours(view->heads, nodes_, day * kHoursPerDay, (day + 1) * kHoursPerDay);
    // A day that was forwarded is complete for good: later knowledge of it does not wait for anybody.
    if (before.parts == 0 && (day >= today || !missing.empty())) {
      left_waiting.insert(day);
      if (report.waiting.empty() && day < today) {
        report.waiting = iso_time(day_time(day), true).substr(0, 10) + " " + missing_text(missing);
      }
      continue;
    }
    if (Status sent = forward_day(day, before, view->newest_arrival, deliver, report); !sent) return sent.error();
  }
  if (Status kept = keep_waiting(*waiting, left_waiting, view->newest_arrival); !kept) return kept.error();
  return report;
}

}  // namespace nodemeter
