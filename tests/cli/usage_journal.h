// A journal as a list of entries in memory, for tests of what is shown from one.

#pragma once

#include <catch2/catch.hpp>
#include <optional>
#include <string>
#include <vector>

#include "agent/cli/usage_query.h"
#include "agent/meter.h"
#include "agent/meter_state.h"
#include "platform/text.h"
#include "store/meters.h"

namespace nodemeter::cli {

inline const VmId kWeb = *VmId::parse("6f1c0000-0000-4000-8000-000000000001");
inline const VmId kDb = *VmId::parse("6f1c0000-0000-4000-8000-000000000002");
inline const Uuid kTenantA = *Uuid::parse("aaaaaaaa-1111-4111-8111-111111111111");
inline const Uuid kTenantB = *Uuid::parse("bbbbbbbb-1111-4111-8111-111111111111");

inline UtcTime at(const std::string& text) { return *parse_time(text); }

inline std::chrono::sys_seconds seconds_at(const std::string& text) {
  return std::chrono::floor<std::chrono::seconds>(at(text));
}

class MemoryReader final : public Reader {
 public:
  MemoryReader() {
    state_.epoch = *Epoch::parse("eeeeeeee-0000-4000-8000-000000000000");
    state_.epoch_ordinal = 1;
    closed_until("2026-01-03T00:00:00Z");
    add(EntryKind::kEvent, VmId{}, "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z").detail =
        R"({"event":"metering-started","at":"2026-01-01T00:00:00.000Z"})";
  }

  Entry& add(EntryKind kind, const VmId& vm, const std::string& start, const std::string& reported) {
    Entry entry;
    entry.epoch = state_.epoch;
    entry.sequence = ++state_.last_sequence;
    entry.kind = kind;
    entry.vm = vm;
    entry.usage_start = entry.usage_end = seconds_at(start);
    entry.reported_at = state_.last_reported_at = at(reported);
    entries_.push_back(entry);
    return entries_.back();
  }

  Entry& usage(const VmId& vm, const Uuid& subscription, const std::string& hour, std::uint64_t vcore_ms,
               const std::string& name, std::optional<std::string> reported = {}) {
    const std::string made = reported.value_or(iso_time(at(hour) + Milliseconds{3'630'000}));
    Entry& entry = add(EntryKind::kUsage, vm, hour, made);
    entry.usage_end += std::chrono::hours{1};
    entry.subscription = subscription;
    entry.resource_uri = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/" + name;
    entry.location = "local";
    entry.vcores = 4;
    entry.billable = true;
    entry.covered_ms = 3'600'000;
    entry.detail = "{\"name\":" + json_quote(name) + "}";
    entry.meters = {{meter(MeterIndex::kBaseVmHours), vcore_ms, 0}, {meter(MeterIndex::kVmHours), 3'600'000, 0}};
    return entry;
  }

  void gap(const VmId& vm, const std::string& from, const std::string& to, const std::string& reported) {
    Entry& entry = add(EntryKind::kGap, vm, from, reported);
    entry.usage_end = std::chrono::ceil<std::chrono::seconds>(at(to));
    entry.detail = R"({"cause":"agent down","from":")" + from + R"(","to":")" + to +
                   "\",\"ms\":" + std::to_string((at(to) - at(from)).count()) + "}";
  }

  void closed_until(const std::string& t) {
    NodeState node;
    node.started = true;
    node.closed_until = at(t).time_since_epoch() / std::chrono::hours{1};
    node.last_utc = at(t);
    node_row_ = encode_node_state(node);
  }

  static Uuid meter(MeterIndex index) { return meter_catalogue()[static_cast<std::size_t>(index)].id; }

  Result<JournalState> state() const override { return state_; }
  Result<std::vector<std::pair<std::string, std::string>>> state_rows(std::string_view) const override {
    return std::vector<std::pair<std::string, std::string>>{{std::string(kNodeRowKey), node_row_}};
  }
  Result<std::vector<ParkedEntry>> parked() const override { return std::vector<ParkedEntry>{}; }
  Status for_each(Sequence from, const std::function<bool(const Entry&, std::string_view)>& visit,
                  bool) const override {
    for (const Entry& entry : entries_) {
      if (entry.sequence >= from && !visit(entry, "")) break;
    }
    return Done{};
  }
  Result<Sequence> first_reported_at(UtcTime t) const override {
    for (const Entry& entry : entries_) {
      if (entry.reported_at >= t) return entry.sequence;
    }
    return state_.last_sequence + 1;
  }
  Result<std::vector<EpochSpan>> epochs() const override { return std::vector<EpochSpan>{}; }
  Result<ChainCheck> verify(const std::function<void(std::uint64_t)>&, const std::string&) const override {
    return ChainCheck{};
  }
  KeyValue::Usage usage() const override { return {}; }

  JournalState state_;

 private:
  std::string node_row_;
  std::vector<Entry> entries_;
};

inline UsageQuery hourly(const std::string& start, const std::string& end) {
  UsageQuery query;
  query.start = at(start);
  query.end = at(end);
  query.granularity = Granularity::kHourly;
  return query;
}

inline UsageAnswer answer(const MemoryReader& reader, const UsageQuery& query, const UsagePage& page = {}) {
  Result<UsageAnswer> result = query_usage(reader, query, page);
  INFO((result ? "" : result.error().message));
  REQUIRE(result.ok());
  return std::move(result).value();
}

inline MemoryReader two_hours() {
  MemoryReader reader;
  reader.usage(kWeb, kTenantA, "2026-01-01T00:00:00Z", 14'400'000, "web-1");
  reader.usage(kDb, kTenantB, "2026-01-01T00:00:00Z", 7'200'000, "=cmd|' /C calc'!A0");
  reader.usage(kWeb, kTenantA, "2026-01-01T01:00:00Z", 14'400'000, "web-1").status = status_bit::kEstimated;
  reader.usage(kDb, kTenantB, "2026-01-01T01:00:00Z", 1, "db, \"1\"");
  return reader;
}

}  // namespace nodemeter::cli
