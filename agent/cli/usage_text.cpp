#include "agent/cli/usage_text.h"

#include "agent/cli/table.h"
#include "platform/json_writer.h"
#include "platform/text.h"
#include "store/detail.h"
#include "store/meters.h"

namespace nodemeter::cli {

namespace {

constexpr std::size_t kNameShownMax = 32;
constexpr std::size_t kHowShownMax = 120;

// Without it Excel takes the file for the code page of its country and spoils every name that is not ASCII. Power BI
// and the readers of RFC 4180 in use skip it.
constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

const char* state_word(const HourState& hour) {
  if (hour.not_metered) return "not in this journal";
  if (hour.open) return "open";
  return hour.complete() ? "complete" : "gap";
}

void write_completeness(JsonWriter& json, const UsageAnswer& answer) {
  json.begin_object();
  json.flag("complete", answer.complete());
  json.text("message", answer.shortfall());
  json.key("hours");
  json.begin_array();
  for (const HourState& hour : answer.hours) {
    json.begin_object();
    json.text("hour", iso_time(hour.hour, true));
    json.text("state", state_word(hour));
    json.number("unobservedMs", hour.unobserved_ms);
    json.signed_number("gapMs", hour.gap_ms);
    json.end_object();
  }
  json.end_array();
  json.end_object();
}

std::string field(const std::map<std::string, std::string>& fields, const std::string& key) {
  const auto found = fields.find(key);
  return found == fields.end() ? "" : found->second;
}

std::string vm_or_node(const Entry& entry) { return entry.vm.is_zero() ? "(node)" : entry.vm.text(); }

// Members of `detail` that are texts or numbers, in the order of their names.
void write_detail(JsonWriter& json, const std::string& detail) {
  json.begin_object();
  for (const auto& [name, value] : detail_fields(detail)) json.text(name, value);
  json.end_object();
}

template <class Write>
std::string json_list(const std::vector<Entry>& entries, Write write) {
  JsonWriter json;
  json.begin_array();
  for (const Entry& entry : entries) {
    const auto fields = detail_fields(entry.detail);
    json.begin_object();
    json.number("sequence", entry.sequence);
    json.text("node", entry.node.text());
    json.key("vm");
    if (entry.vm.is_zero()) {
      json.null();
    } else {
      json.text(entry.vm.text());
    }
    write(json, entry, fields);
    json.text("reportedAt", iso_time(entry.reported_at));
    json.end_object();
  }
  json.end_array();
  return json.take() + "\n";
}

}  // namespace

std::string usage_text(const UsageAnswer& answer, const UsageQuery& query, bool colour) {
  Table table({{"START"}, {"SUBSCRIPTION"}, {"VM"}, {"NAME"}, {"METER"}, {"QUANTITY", true}, {"UNIT"}, {"MARKS"}});
  for (const auto& [key, row] : answer.rows) {
    const ShownQuantity shown = show_quantity(key.meter, row.quantity);
    const std::string start = iso_time(key.bucket, true);
    table.add({query.granularity == Granularity::kDaily ? start.substr(0, 10) : start, key.subscription.text(),
               key.vm.text(), display_text(row.name, kNameShownMax), shown.meter, shown.quantity, shown.unit,
               nodemeter::status_text(row.status)});
  }
  return table.text(colour);
}

std::string usage_json(const UsageAnswer& answer, const UsageQuery& query) {
  JsonWriter json;
  json.begin_object();
  json.key("value");
  json.begin_array();
  for (const auto& [key, row] : answer.rows) write_aggregate(json, key, row, query.granularity, "Microsoft.Commerce");
  json.end_array();
  json.key("continuationToken");
  if (answer.continuation) {
    json.text(*answer.continuation);
  } else {
    json.null();
  }
  json.key("completeness");
  write_completeness(json, answer);
  json.end_object();
  return json.take() + "\n";
}

std::string usage_csv(const UsageAnswer& answer, const UsageQuery& query) {
  std::string text = std::string(kByteOrderMark) +
                     csv_line({"usageStartTime", "usageEndTime", "subscriptionId", "tenantId", "vm", "vmName",
                               "resourceUri", "location", "vcores", "billable", "meterId", "meterName", "quantity",
                               "unit", "quantityBase", "baseUnit", "status", "tags"});
  for (const auto& [key, row] : answer.rows) {
    const ShownQuantity shown = show_quantity(key.meter, row.quantity);
    JsonWriter tags;
    tags.begin_object();
    for (const auto& [name, value] : row.tags) tags.text(name, value);
    tags.end_object();
    text +=
        csv_line({iso_time(key.bucket, true), iso_time(bucket_end(key, query.granularity), true),
                  key.subscription.text(), row.tenant.text(), key.vm.text(), csv_text(display_text(row.name)),
                  csv_text(display_text(row.resource_uri, kTextMax)), csv_text(display_text(row.location)),
                  std::to_string(row.vcores), row.billable ? "true" : "false", key.meter.text(), csv_text(shown.meter),
                  shown.quantity, csv_text(shown.unit), whole_text(row.quantity), csv_text(shown.base_unit),
                  csv_text(nodemeter::status_text(row.status)), row.tags.empty() ? "" : csv_text(tags.take())});
  }
  return text;
}

std::string gaps_text(const std::vector<Entry>& gaps, bool colour) {
  Table table({{"SEQUENCE", true}, {"FROM"}, {"TO"}, {"MS", true}, {"VM"}, {"CAUSE"}});
  for (const Entry& entry : gaps) {
    const auto fields = detail_fields(entry.detail);
    table.add({std::to_string(entry.sequence), display_text(field(fields, "from"), kNameShownMax),
               display_text(field(fields, "to"), kNameShownMax), display_text(field(fields, "ms"), kNameShownMax),
               vm_or_node(entry), display_text(field(fields, "cause"), kHowShownMax)});
  }
  return table.text(colour);
}

std::string gaps_json(const std::vector<Entry>& gaps) {
  return json_list(gaps, [](JsonWriter& json, const Entry&, const std::map<std::string, std::string>& fields) {
    json.text("cause", field(fields, "cause"));
    json.text("from", field(fields, "from"));
    json.text("to", field(fields, "to"));
    json.number("ms", parse_u64(field(fields, "ms")));
  });
}

std::string events_text(const std::vector<Entry>& events, bool colour) {
  Table table({{"SEQUENCE", true}, {"AT"}, {"EVENT"}, {"HOW"}, {"VM"}, {"NAME"}});
  for (const Entry& entry : events) {
    const auto fields = detail_fields(entry.detail);
    table.add({std::to_string(entry.sequence), display_text(field(fields, "at"), kNameShownMax),
               display_text(field(fields, "event"), kNameShownMax), display_text(field(fields, "how"), kHowShownMax),
               vm_or_node(entry), display_text(field(fields, "name"), kNameShownMax)});
  }
  return table.text(colour);
}

std::string events_json(const std::vector<Entry>& events) {
  return json_list(events, [](JsonWriter& json, const Entry& entry, const std::map<std::string, std::string>& fields) {
    json.text("event", field(fields, "event"));
    json.text("how", field(fields, "how"));
    json.text("at", field(fields, "at"));
    json.text("name", field(fields, "name"));
    json.key("detail");
    write_detail(json, entry.detail);
  });
}

std::string entry_text(const Entry& entry) {
  std::string text = std::to_string(entry.sequence) + "  " + iso_time(entry.reported_at) + "  " +
                     entry_kind_name(entry.kind) + "  " + vm_or_node(entry) + "  " + iso_time(entry.usage_start, true);
  if (entry.kind == EntryKind::kUsage) {
    text += "  covered " + std::to_string(entry.covered_ms) + " ms, gap " + std::to_string(entry.gap_ms) + " ms";
    for (const MeterValue& value : entry.meters) {
      const MeterInfo* info = find_meter(value.meter);
      text += "  " + (info == nullptr ? value.meter.text() : std::string(info->name)) + "=" +
              std::to_string(value.quantity);
    }
  } else {
    text += "  " + display_text(entry.detail, kHowShownMax);
  }
  const std::string marks = nodemeter::status_text(entry.status);
  return text + (marks.empty() ? "" : "  [" + marks + "]") + "\n";
}

std::string entry_json(const Entry& entry) {
  JsonWriter json;
  json.begin_object();
  json.number("schema", std::uint64_t{entry.schema});
  json.text("node", entry.node.text());
  json.text("epoch", entry.epoch.text());
  json.number("sequence", entry.sequence);
  json.text("kind", entry_kind_name(entry.kind));
  json.text("vm", entry.vm.text());
  json.text("usageStart", iso_time(entry.usage_start, true));
  json.text("usageEnd", iso_time(entry.usage_end, true));
  json.text("reportedAt", iso_time(entry.reported_at));
  json.text("subscription", entry.subscription.text());
  json.text("tenant", entry.tenant.text());
  json.text("resourceUri", entry.resource_uri);
  json.text("location", entry.location);
  json.number("vcores", std::uint64_t{entry.vcores});
  json.flag("billable", entry.billable);
  json.number("coveredMs", entry.covered_ms);
  json.signed_number("gapMs", entry.gap_ms);
  json.text("status", nodemeter::status_text(entry.status));
  json.key("meters");
  json.begin_array();
  for (const MeterValue& value : entry.meters) {
    const MeterInfo* info = find_meter(value.meter);
    json.begin_object();
    json.text("meter", value.meter.text());
    json.text("name", info == nullptr ? "" : info->name);
    json.number("quantity", value.quantity);
    json.number("register", value.reading);
    json.end_object();
  }
  json.end_array();
  json.key("tags");
  json.begin_object();
  for (const auto& [name, value] : entry.tags) json.text(name, value);
  json.end_object();
  json.text("detail", entry.detail);
  json.text("digest", entry.digest.hex());
  json.end_object();
  return json.take() + "\n";
}

}  // namespace nodemeter::cli
