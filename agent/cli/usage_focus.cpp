#include "agent/cli/usage_focus.h"

#include <utility>
#include <vector>

#include "agent/cli/table.h"
#include "platform/decimal.h"
#include "platform/json_writer.h"
#include "platform/text.h"
#include "store/meters.h"

namespace nodemeter::cli {

namespace {

// Where nobody says who provides what.
constexpr const char* kProvider = "nodemeter";
constexpr char kNoCurrency[] = {'X', 'X', 'X', '\0'};  // ISO 4217.

// What the specification calls a meter's service and units.
struct FocusMeter {
  const char* category;
  const char* subcategory;
  const char* service;
  const char* consumed_unit;
  const char* pricing_unit;
};

constexpr const char* kVirtualMachines = "Virtual Machines";

FocusMeter focus_meter(const MeterInfo* info) {
  const auto compute = [](const char* unit) {
    return FocusMeter{"Compute", kVirtualMachines, kVirtualMachines, unit, unit};
  };
  const auto disk = [](const char* consumed, const char* pricing) {
    return FocusMeter{"Storage", "Block Storage", "Virtual Disks", consumed, pricing};
  };
  const auto network = [](const char* unit) {
    return FocusMeter{"Networking", "Other (Networking)", "Virtual Networks", unit, unit};
  };
  if (info == nullptr) return {"Other", "Other (Other)", "Other", "Units", "Units"};
  switch (info->index) {
    case MeterIndex::kBaseVmHours:
    case MeterIndex::kWindowsVmHours:
    case MeterIndex::kCpuTime: return compute("Core-Hours");
    case MeterIndex::kVmHours: return compute("VM-Hours");
    case MeterIndex::kMemoryHours: return compute("GB-Hours");
    case MeterIndex::kDiskAllocatedHours: return disk("GB-Hours", "GB-Hours");
    case MeterIndex::kDiskReadBytes:
    case MeterIndex::kDiskWriteBytes: return disk("GB", "GB");
    case MeterIndex::kDiskReadOperations:
    case MeterIndex::kDiskWriteOperations: return disk("Requests", "10000 Requests");
    case MeterIndex::kNetworkReceiveBytes:
    case MeterIndex::kNetworkTransmitBytes: return network("GB");
    case MeterIndex::kNetworkReceivePackets:
    case MeterIndex::kNetworkTransmitPackets: return network("Packets");
  }
  return {"Other", "Other (Other)", "Other", "Units", "Units"};
}

struct Month {
  UtcTime begin, end;
};

Month month_of(UtcTime t) {
  const std::chrono::year_month_day day(std::chrono::floor<std::chrono::days>(t));
  const std::chrono::year_month month = day.year() / day.month();
  const auto first = [](std::chrono::year_month m) { return UtcTime(std::chrono::sys_days(m / 1)); };
  return {first(month), first(month + std::chrono::months{1})};
}

std::string id_or_null(const Uuid& id) { return id.is_zero() ? "" : id.text(); }

std::string tags_json(const UsageRow& row) {
  if (row.tags.empty()) return "";
  JsonWriter json;
  json.begin_object();
  for (const auto& [name, value] : row.tags) json.text(name, value);
  json.end_object();
  return json.take();
}

// One line, column by column: the header is made of the same list, so the two cannot come apart.
class FocusRow {
 public:
  FocusRow(const UsageKey& key, const UsageRow& row, const UsageQuery& query, const std::optional<PriceFile>& prices)
      : key_(key),
        row_(row),
        query_(query),
        prices_(prices),
        info_(find_meter(key.meter)),
        meter_(focus_meter(info_)) {}

  std::vector<std::pair<const char*, std::string>> cells() {
    billing();
    charge();
    resource_and_service();
    own();
    return std::move(cells_);
  }

 private:
  // `value` as it is, for what cannot begin like a formula; "": null.
  void put(const char* column, std::string value) { cells_.emplace_back(column, std::move(value)); }
  void put_text(const char* column, const std::string& value) { put(column, csv_text(display_text(value, kTextMax))); }

  [[nodiscard]] std::string list_price() const {
    const auto price = prices_->prices.find(key_.meter);
    return price == prices_->prices.end() ? "0" : price->second;
  }
  [[nodiscard]] std::string contracted_price() const { return row_.billable ? list_price() : "0"; }
  [[nodiscard]] std::string cost(const std::string& price) const {
    return decimal_product(show_quantity(key_.meter, row_.quantity).quantity, price);
  }

  [[nodiscard]] bool is_correction() const {
    const bool over = month_of(key_.bucket).end <= query_.start;
    return query_.by == TimeAxis::kReported && over && row_.all_late;
  }

  void billing() {
    const std::string billed = prices_ ? cost(contracted_price()) : "0";
    const Month month = month_of(key_.bucket);
    put("BilledCost", billed);
    put_text("BillingAccountId", prices_ && !prices_->account_id.empty() ? prices_->account_id : row_.tenant.text());
    put_text("BillingAccountName", prices_ ? prices_->account_name : "");
    put("BillingCurrency", prices_ ? prices_->currency : kNoCurrency);
    put("BillingPeriodEnd", iso_time(month.end, true));
    put("BillingPeriodStart", iso_time(month.begin, true));
  }

  void charge() {
    const std::string contracted = prices_ ? cost(contracted_price()) : "0";
    const std::string quantity = show_quantity(key_.meter, row_.quantity).quantity;
    const bool counts_single = std::string_view(meter_.consumed_unit) != meter_.pricing_unit;
    put("ChargeCategory", "Usage");
    put("ChargeClass", is_correction() ? "Correction" : "");
    put_text("ChargeDescription", info_ == nullptr ? "A meter of another version." : std::string(info_->text));
    put("ChargeFrequency", "Usage-Based");
    put("ChargePeriodEnd", iso_time(bucket_end(key_, query_.granularity), true));
    put("ChargePeriodStart", iso_time(key_.bucket, true));
    put("ConsumedQuantity", counts_single ? whole_text(row_.quantity) : quantity);
    put("ConsumedUnit", meter_.consumed_unit);
    put("ContractedCost", contracted);
    if (prices_) put("ContractedUnitPrice", contracted_price());
    put("EffectiveCost", contracted);
    put_text("InvoiceIssuerName", name_of(prices_ ? prices_->invoice_issuer : ""));
    put("ListCost", prices_ ? cost(list_price()) : "0");
    if (prices_) put("ListUnitPrice", list_price());
    put("PricingCategory", "Standard");
    put("PricingQuantity", quantity);
    put_text("PricingUnit", meter_.pricing_unit);
    put_text("ProviderName", name_of(prices_ ? prices_->provider : ""));
    put_text("PublisherName", name_of(prices_ ? prices_->publisher : ""));
  }

  void resource_and_service() {
    const bool windows = info_ != nullptr && info_->index == MeterIndex::kWindowsVmHours;
    put_text("RegionId", row_.location);
    put_text("RegionName", row_.location);
    put_text("ResourceId", row_.resource_uri);
    put_text("ResourceName", row_.name);
    put_text("ResourceType", "Virtual Machine");
    put_text("ServiceCategory", meter_.category);
    put_text("ServiceName", meter_.service);
    put_text("ServiceSubcategory", meter_.subcategory);
    put("SkuId", key_.meter.text());
    put_text("SkuMeter", show_quantity(key_.meter, 0).meter);
    if (prices_) put_text("SkuPriceDetails", windows ? R"({"OperatingSystem":"Windows"})" : "");
    if (prices_) put("SkuPriceId", key_.meter.text());
    put("SubAccountId", id_or_null(key_.subscription));
    put("SubAccountType", key_.subscription.is_zero() ? "" : "Subscription");
    put("Tags", csv_text(tags_json(row_)));  // Whole: cut JSON is none.
  }

  void own() {
    put_text("x_BaseUnit", show_quantity(key_.meter, 0).base_unit);
    put("x_Billable", row_.billable ? "true" : "false");
    put("x_CoreCount", std::to_string(row_.vcores));
    put("x_Estimated", (row_.status & status_bit::kEstimated) != 0 ? "true" : "false");
    put_text("x_Marks", nodemeter::status_text(row_.status));
    put("x_Node", row_.node.text());
    put("x_QuantityBase", whole_text(row_.quantity));
    put("x_ReportedTime", iso_time(row_.reported_at, true));
    put("x_TenantId", id_or_null(row_.tenant));
    put("x_VmId", key_.vm.text());
  }

  static std::string name_of(const std::string& given) { return given.empty() ? kProvider : given; }

  const UsageKey& key_;
  const UsageRow& row_;
  const UsageQuery& query_;
  const std::optional<PriceFile>& prices_;
  const MeterInfo* info_;
  FocusMeter meter_;
  std::vector<std::pair<const char*, std::string>> cells_;
};

}  // namespace

std::string usage_focus(const UsageAnswer& answer, const UsageQuery& query, const std::optional<PriceFile>& prices) {
  std::vector<std::string> fields;
  for (auto& [column, value] : FocusRow(UsageKey{}, UsageRow{}, query, prices).cells()) fields.emplace_back(column);
  std::string text = csv_line(fields);
  for (const auto& [key, row] : answer.rows) {
    fields.clear();
    for (auto& [column, value] : FocusRow(key, row, query, prices).cells()) fields.push_back(std::move(value));
    text += csv_line(fields);
  }
  return text;
}

}  // namespace nodemeter::cli
