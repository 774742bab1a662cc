#include "uploader/aggregator/row_json.h"

#include <nlohmann/json.hpp>

#include "platform/text.h"
#include "store/entry_codec.h"
#include "store/meters.h"

namespace nodemeter {
namespace {

std::string meter_name(const Uuid& id) {
  const MeterInfo* const meter = find_meter(id);
  return meter != nullptr ? std::string(meter->name) : id.text();
}

}  // namespace

Result<std::string> row_json(const StoredRow& row) {
  const Result<DecodedEntry> decoded = decode_entry(row.row);
  if (!decoded) return decoded.error();
  const Entry& e = decoded->entry;
  nlohmann::ordered_json meters = nlohmann::ordered_json::array();
  for (const MeterValue& value : e.meters) {
    meters.push_back({{"meter", value.meter.text()},
                      {"name", meter_name(value.meter)},
                      {"quantity", value.quantity},
                      {"register", value.reading}});
  }
  const nlohmann::ordered_json json = {{"node", e.node.text()},
                                       {"epoch", e.epoch.text()},
                                       {"sequence", e.sequence},
                                       {"digest", e.digest.hex()},
                                       {"schema", e.schema},
                                       {"kind", entry_kind_name(e.kind)},
                                       {"vm", e.vm.text()},
                                       {"usageStart", iso_time(e.usage_start, true)},
                                       {"usageEnd", iso_time(e.usage_end, true)},
                                       {"reportedAt", iso_time(e.reported_at)},
                                       {"arrivedAt", iso_time(row.arrived)},
                                       {"subscription", e.subscription.text()},
                                       {"tenant", e.tenant.text()},
                                       {"resourceUri", e.resource_uri},
                                       {"location", e.location},
                                       {"vcores", e.vcores},
                                       {"billable", e.billable},
                                       {"coveredMs", e.covered_ms},
                                       {"gapMs", e.gap_ms},
                                       {"status", status_text(e.status)},
                                       {"meters", std::move(meters)},
                                       {"tags", e.tags},
                                       {"detail", e.detail}};
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

Result<std::string> row_line(const StoredRow& row) {
  const Result<DecodedEntry> decoded = decode_entry(row.row);
  if (!decoded) return decoded.error();
  const Entry& e = decoded->entry;
  std::string line = e.node.text() + " " + e.epoch.text().substr(0, 8) + " " + std::to_string(e.sequence) + " " +
                     entry_kind_name(e.kind) + " " + iso_time(e.usage_start, true);
  if (!e.vm.is_zero()) line += " " + e.vm.text();
  for (const MeterValue& value : e.meters) line += " " + meter_name(value.meter) + "=" + std::to_string(value.quantity);
  if (e.status != 0) line += " [" + status_text(e.status) + "]";
  return line;
}

}  // namespace nodemeter
