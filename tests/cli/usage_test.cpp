// Goal: what an invoice is made from adds up exactly, is the same however it is paged, and says where it is incomplete.
// Method: a journal as a list of entries in memory; whole answers are golden files.

#include <catch2/catch.hpp>
#include <optional>

#include "agent/cli/usage_query.h"
#include "agent/cli/usage_text.h"
#include "golden.h"
#include "platform/text.h"
#include "store/meters.h"
#include "usage_journal.h"

using namespace nodemeter;
using namespace nodemeter::cli;

namespace {}  // namespace

TEST_CASE("usage in all formats, hourly and daily", "[usage]") {
  const MemoryReader reader = two_hours();
  const UsageQuery hours = hourly("2026-01-01T00:00:00Z", "2026-01-01T02:00:00Z");
  check_golden("usage_hourly.txt", usage_text(answer(reader, hours), hours, false));
  check_golden("usage_hourly.csv", usage_csv(answer(reader, hours), hours));
  check_golden("usage_hourly.json", usage_json(answer(reader, hours), hours));
  UsageQuery days = hourly("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
  days.granularity = Granularity::kDaily;
  days.meter = MemoryReader::meter(MeterIndex::kBaseVmHours);
  check_golden("usage_daily.txt", usage_text(answer(reader, days), days, false));
}

TEST_CASE("a further record of a closed hour is added to it, and its marks stay", "[usage]") {
  MemoryReader reader = two_hours();
  reader.usage(kWeb, kTenantA, "2026-01-01T00:00:00Z", 5, "web-renamed", "2026-01-01T09:00:00Z").status =
      status_bit::kLate;
  const UsageAnswer all = answer(reader, hourly("2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"));
  const auto& [key, row] = *all.rows.begin();
  CHECK(key.vm == kWeb);
  CHECK(row.quantity == 14'400'005);
  CHECK(row.status == status_bit::kLate);
  CHECK(row.name == "web-renamed");
}

TEST_CASE("by reported time a late record counts when it was made, in the hour of its use", "[usage]") {
  MemoryReader reader = two_hours();
  reader.usage(kWeb, kTenantA, "2026-01-01T00:00:00Z", 5, "web-1", "2026-01-01T09:00:00Z");
  UsageQuery query = hourly("2026-01-01T09:00:00Z", "2026-01-01T10:00:00Z");
  query.by = TimeAxis::kReported;
  const UsageAnswer late = answer(reader, query);
  REQUIRE(late.rows.size() == 2);
  CHECK(late.rows.begin()->first.bucket == seconds_at("2026-01-01T00:00:00Z"));
  CHECK(late.rows.begin()->second.quantity == 5);
  query.by = TimeAxis::kUsage;
  CHECK(answer(reader, query).rows.empty());
}

TEST_CASE("sums beyond 64 bits stay exact", "[usage]") {
  MemoryReader reader;
  for (int i = 0; i < 3; ++i) {
    reader.usage(kWeb, kTenantA, "2026-01-01T00:00:00Z", UINT64_MAX, "web-1", "2026-01-01T01:00:30Z");
  }
  const UsageQuery query = hourly("2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z");
  const UsageAnswer all = answer(reader, query);
  CHECK((all.rows.begin()->second.quantity == static_cast<unsigned __int128>(UINT64_MAX) * 3));
  CHECK_THAT(usage_json(all, query), Catch::Matchers::Contains("\"quantityBase\":\"55340232221128654845\""));
}

TEST_CASE("a meter that this version does not know is shown in base units, not left out", "[usage]") {
  MemoryReader reader;
  Entry& entry = reader.usage(kWeb, kTenantA, "2026-01-01T00:00:00Z", 1, "web-1");
  entry.meters = {{*Uuid::parse("99999999-0000-4000-8000-000000000000"), 77, 77}};
  const UsageQuery query = hourly("2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z");
  CHECK_THAT(usage_text(answer(reader, query), query, false),
             Catch::Matchers::Contains("99999999-0000-4000-8000-000000000000        77  base units"));
}

TEST_CASE("filters leave only what was asked for", "[usage]") {
  const MemoryReader reader = two_hours();
  UsageQuery query = hourly("2026-01-01T00:00:00Z", "2026-01-01T02:00:00Z");
  query.subscription = kTenantB;
  CHECK(answer(reader, query).rows.size() == 4);
  query.vm = kWeb;
  CHECK(answer(reader, query).rows.empty());
  query.subscription.reset();
  query.meter = MemoryReader::meter(MeterIndex::kVmHours);
  CHECK(answer(reader, query).rows.size() == 2);
}

TEST_CASE("pages put together are the whole, whatever is written in between", "[paging]") {
  MemoryReader reader = two_hours();
  const UsageQuery query = hourly("2026-01-01T00:00:00Z", "2026-01-01T02:00:00Z");
  const UsageAnswer whole = answer(reader, query);
  for (std::size_t size = 1; size <= whole.rows.size() + 1; ++size) {
    UsagePage page{size, ""};
    std::vector<std::pair<UsageKey, std::string>> seen;
    for (;;) {
      const UsageAnswer part = answer(reader, query, page);
      CHECK(part.rows.size() <= size);
      for (const auto& [key, row] : part.rows) seen.emplace_back(key, decimal_text(row.quantity, 1, 1));
      if (!part.continuation) break;
      page.continuation = *part.continuation;
      // Would change a row that was shown and one that was not.
      reader.usage(kWeb, kTenantA, "2026-01-01T00:00:00Z", 9, "web-1", "2026-01-02T00:00:00Z");
      reader.usage(kDb, kTenantB, "2026-01-01T01:00:00Z", 9, "db", "2026-01-02T00:00:00Z");
    }
    std::vector<std::pair<UsageKey, std::string>> expected;
    for (const auto& [key, row] : answer(reader, query).rows) {
      expected.emplace_back(key, decimal_text(row.quantity, 1, 1));
    }
    INFO("page size " << size);
    REQUIRE(seen.size() == whole.rows.size());
    for (std::size_t i = 0; i < seen.size(); ++i) CHECK(seen[i].first == expected[i].first);
    if (size == 1) {
      std::size_t i = 0;
      for (const auto& [key, row] : whole.rows) CHECK(seen[i++].second == decimal_text(row.quantity, 1, 1));
    }
  }
}

TEST_CASE("a continuation that was mistyped or belongs elsewhere is refused", "[paging]") {
  MemoryReader reader = two_hours();
  const UsageQuery query = hourly("2026-01-01T00:00:00Z", "2026-01-01T02:00:00Z");
  const std::string token = *answer(reader, query, {1, ""}).continuation;
  const auto refused = [&](const UsageQuery& q, const std::string& text) {
    const Result<UsageAnswer> result = query_usage(reader, q, {1, text});
    return !result.ok() && result.error().code == ErrorCode::kInvalidInput;
  };
  CHECK_FALSE(refused(query, token));
  CHECK(refused(query, "xyz"));
  CHECK(refused(query, token.substr(2)));
  for (std::size_t i = 0; i < token.size(); i += 7) {
    std::string wrong = token;
    wrong[i] = wrong[i] == '0' ? '1' : '0';
    CHECK(refused(query, wrong));
  }
  UsageQuery other = query;
  other.vm = kWeb;
  CHECK(refused(other, token));
  reader.state_.epoch = *Epoch::parse("dddddddd-0000-4000-8000-000000000000");
  CHECK(refused(query, token));
}

TEST_CASE("a range that is closed and without gaps is complete", "[completeness]") {
  const UsageAnswer all = answer(two_hours(), hourly("2026-01-01T00:00:00Z", "2026-01-01T02:00:00Z"));
  CHECK(all.complete());
  CHECK(all.shortfall().empty());
  CHECK(all.hours.size() == 2);
}

TEST_CASE("hours that are not closed are open, whatever is recorded in them", "[completeness]") {
  MemoryReader reader = two_hours();
  reader.closed_until("2026-01-01T01:00:00Z");
  const UsageAnswer all = answer(reader, hourly("2026-01-01T00:00:00Z", "2026-01-01T03:00:00Z"));
  CHECK_FALSE(all.hours[0].open);
  CHECK(all.hours[1].open);
  CHECK(all.hours[2].open);
  CHECK(all.shortfall() == "of 3 hours, 2 still open");
}

TEST_CASE("a gap is counted in each hour that it touches, to the millisecond", "[completeness]") {
  MemoryReader reader = two_hours();
  reader.gap(VmId{}, "2026-01-01T00:59:59.750Z", "2026-01-01T01:00:01.500Z", "2026-01-01T01:00:01Z");
  const UsageAnswer all = answer(reader, hourly("2026-01-01T00:00:00Z", "2026-01-01T02:00:00Z"));
  CHECK(all.hours[0].unobserved_ms == 250);
  CHECK(all.hours[1].unobserved_ms == 1500);
  CHECK_FALSE(all.complete());
}

TEST_CASE("a gap of another VM does not make this VM's answer incomplete", "[completeness]") {
  MemoryReader reader = two_hours();
  reader.gap(kDb, "2026-01-01T00:10:00Z", "2026-01-01T00:11:00Z", "2026-01-01T02:00:00Z");
  UsageQuery query = hourly("2026-01-01T00:00:00Z", "2026-01-01T02:00:00Z");
  CHECK_FALSE(answer(reader, query).complete());
  query.vm = kWeb;
  CHECK(answer(reader, query).complete());
}

TEST_CASE("a gap that a later record fills is no longer missing from the bill", "[completeness]") {
  MemoryReader reader = two_hours();
  reader.usage(kWeb, kTenantA, "2026-01-01T02:00:00Z", 1, "web-1").gap_ms = 60'000;
  const UsageQuery query = hourly("2026-01-01T02:00:00Z", "2026-01-01T03:00:00Z");
  CHECK(answer(reader, query).hours[0].gap_ms == 60'000);
  reader.usage(kWeb, kTenantA, "2026-01-01T02:00:00Z", 1, "web-1", "2026-01-01T09:00:00Z").gap_ms = -60'000;
  CHECK(answer(reader, query).hours[0].gap_ms == 0);
  CHECK(answer(reader, query).complete());
}

TEST_CASE("hours before the journal began are not zero but unknown", "[completeness]") {
  const UsageAnswer all = answer(two_hours(), hourly("2025-12-31T23:00:00Z", "2026-01-01T01:00:00Z"));
  CHECK(all.hours[0].not_metered);
  CHECK(all.hours[1].complete());
  CHECK(all.shortfall() == "of 2 hours, 1 not in this journal");
}

TEST_CASE("a range off its edges or empty is refused, with what to do", "[usage]") {
  UsageQuery query = hourly("2026-01-01T00:30:00Z", "2026-01-01T02:00:00Z");
  REQUIRE_FALSE(check_range(query).ok());
  CHECK(check_range(query).error().message == "the start 2026-01-01T00:30:00.000Z is not on a full hour");
  query = hourly("2026-01-01T01:00:00Z", "2026-01-01T02:00:00Z");
  query.granularity = Granularity::kDaily;
  CHECK_THAT(check_range(query).error().message, Catch::Matchers::Contains("--granularity hourly"));
  CHECK_FALSE(check_range(hourly("2026-01-01T02:00:00Z", "2026-01-01T02:00:00Z")).ok());
}
