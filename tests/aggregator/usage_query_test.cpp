// Goal: what the aggregator shows is the exact sum of what it holds, in pages that stay stable while records arrive,
// and it says which hours are not whole. Method: seeded sites, delivered in random order and pieces; an independent sum
// over the same entries, written without the index, the runs or the code that adds up, is compared with every page.

#include "uploader/aggregator/usage_query.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <set>

#include "platform/random.h"
#include "tests/aggregator/usage_site.h"

namespace nodemeter {
namespace {

using testing::at;
using testing::get;
using testing::id_of;
using testing::UsageNode;
using testing::UsageSite;

std::int64_t hour(const std::string& text) { return at(text).time_since_epoch() / std::chrono::hours(1); }

StoreUsageQuery asked(const std::string& start, const std::string& end, TimeAxis by, Granularity granularity) {
  StoreUsageQuery query;
  query.usage.start = at(start);
  query.usage.end = at(end);
  query.usage.by = by;
  query.usage.granularity = granularity;
  query.newest = UtcTime::max();
  return query;
}

// Bucket, subscription, VM and meter as text, and the sum.
using Sums = std::map<std::string, std::string>;

std::string line(std::int64_t bucket, const Uuid& subscription, const Uuid& vm, const Uuid& meter) {
  return std::to_string(bucket) + " " + subscription.text() + " " + vm.text() + " " + meter.text();
}

Sums sums_of(const StoreUsagePage& page) {
  Sums sums;
  for (const auto& [key, row] : page.rows) {
    const std::int64_t bucket = std::chrono::floor<std::chrono::hours>(key.bucket).time_since_epoch().count();
    REQUIRE(sums.emplace(line(bucket, key.subscription, key.vm, key.meter), whole_text(row.quantity)).second);
  }
  return sums;
}

// Every row that was delivered, as (arrival, entry), without repeats.
using Ledger = std::vector<std::pair<UtcTime, Entry>>;

Sums expected_sums(const Ledger& ledger, const StoreUsageQuery& query) {
  std::map<std::string, unsigned __int128> sums;
  const std::int64_t per_bucket = query.usage.granularity == Granularity::kDaily ? 24 : 1;
  for (const auto& [arrived, entry] : ledger) {
    const UtcTime t = query.usage.by == TimeAxis::kUsage ? UtcTime(entry.usage_start) : arrived;
    if (entry.kind != EntryKind::kUsage || t < query.usage.start || t >= query.usage.end) continue;
    if (arrived > query.newest) continue;
    if (query.usage.subscription && *query.usage.subscription != entry.subscription) continue;
    const std::int64_t bucket = entry.usage_start.time_since_epoch() / std::chrono::hours(per_bucket) * per_bucket;
    for (const MeterValue& value : entry.meters) {
      sums[line(bucket, entry.subscription, entry.vm, value.meter)] += value.quantity;
    }
  }
  Sums texts;
  for (const auto& [key, sum] : sums) texts.emplace(key, whole_text(sum));
  return texts;
}

// Pages of `size` until there is no more.
Sums paged(const KeyValue& kv, StoreUsageQuery query, std::size_t size) {
  query.rows_max = size;
  Sums all;
  for (;;) {
    const auto page = query_store(kv, query);
    REQUIRE(page.ok());
    REQUIRE(page->rows.size() <= size);
    for (auto& [key, sum] : sums_of(*page)) REQUIRE(all.emplace(key, sum).second);
    if (!page->more) return all;
    REQUIRE(page->rows.size() == size);
    query.after = page->rows.back().first;
  }
}

Ledger ledger_of(const KeyValue& kv) {
  Ledger ledger;
  REQUIRE(for_each_row(kv, std::nullopt, [&](const StoredRow& row) {
            ledger.emplace_back(row.arrived, decode_entry(row.row)->entry);
            return true;
          }).ok());
  return ledger;
}

// Three nodes, two days, late records, batches that are cut anywhere, repeated and out of order.
void play(UsageSite& site, Random& random) {
  const UtcTime start = at("2026-01-01T00:00:00Z");
  std::map<unsigned, UsageNode> nodes;
  for (unsigned n = 0; n < 3; ++n) nodes.emplace(n, UsageNode("node-" + std::to_string(n), n + 1));
  std::vector<std::string> held;
  for (int h = 0; h < 48; ++h) {
    const std::string hour_text = iso_time(start + std::chrono::hours(h));
    for (auto& [n, node] : nodes) {
      for (unsigned vm = 0; vm < 4; ++vm) {
        const std::uint64_t big = random.chance(1, 50) ? 1ull << 63 : 0;
        const bool late = random.chance(1, 10) && h > 5;
        const std::string used = late ? iso_time(start + std::chrono::hours(h - 5)) : hour_text;
        node.add_usage(used, vm, static_cast<unsigned>(random.below(3)), big + random.below(4'000'000));
      }
      node.close(iso_time(start + std::chrono::hours(h + 1)));
      if (random.chance(1, 2)) held.push_back(node.take());
    }
    const std::string when = iso_time(start + std::chrono::hours(h + 1) + Milliseconds(60'000));
    while (!held.empty() && random.chance(3, 4)) {
      const std::size_t pick = random.below(held.size());
      if (!held[pick].empty()) site.deliver(held[pick], when);
      if (random.chance(9, 10)) held.erase(held.begin() + static_cast<std::ptrdiff_t>(pick));
    }
  }
  for (const std::string& rows : held) {
    if (!rows.empty()) site.deliver(rows, "2026-01-03T12:00:00Z");
  }
  for (auto& [n, node] : nodes) {
    if (const std::string rows = node.take(); !rows.empty()) site.deliver(rows, "2026-01-03T12:00:01Z");
  }
}

}  // namespace

TEST_CASE("pages join to the exact sums, by usage and by report, by hour and by day", "[usage_query]") {
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    UsageSite site;
    Random random(seed);
    play(site, random);
    INFO("seed " << seed);
    const Ledger ledger = ledger_of(*site.kv);
    for (const TimeAxis by : {TimeAxis::kUsage, TimeAxis::kReported}) {
      for (const Granularity granularity : {Granularity::kHourly, Granularity::kDaily}) {
        StoreUsageQuery query = asked("2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z", by, granularity);
        if (random.chance(1, 3)) query.usage.subscription = id_of(1);
        if (granularity == Granularity::kHourly) {
          query.usage.start += std::chrono::hours(random.below(30));
          query.usage.end -= std::chrono::hours(random.below(30));
        }
        const Sums wanted = expected_sums(ledger, query);
        CHECK(wanted.size() > 10);
        CHECK(paged(*site.kv, query, 1'000'000) == wanted);
        CHECK(paged(*site.kv, query, 1 + random.below(40)) == wanted);
      }
    }
  }
}

TEST_CASE("what arrives while somebody reads pages is not in them", "[usage_query]") {
  UsageSite site;
  Random random(7);
  play(site, random);
  StoreUsageQuery query = asked("2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z", TimeAxis::kUsage, Granularity::kHourly);
  query.newest = site.store->newest_arrival();
  const Sums before = paged(*site.kv, query, 25);
  UsageNode more("node-9", 99);
  // The same millisecond as the newest: still later.
  more.add_usage("2026-01-01T05:00:00Z", 1, 1, 5);
  site.deliver(more, iso_time(query.newest));
  CHECK(paged(*site.kv, query, 25) == before);
  query.newest = site.store->newest_arrival();
  CHECK(paged(*site.kv, query, 25) != before);
}

TEST_CASE("pages of 1000 rows have links that stay valid while records arrive", "[usage_query][usage_api]") {
  UsageSite site;
  site.clock.t = at("2026-01-05T00:00:00Z");
  UsageNode node("node-1");
  for (unsigned vm = 0; vm < 1'250; ++vm) node.add_usage("2026-01-01T05:00:00Z", vm, vm % 7, 1'000 + vm);
  site.deliver(node, "2026-01-01T06:00:00Z");
  UsageApi& api = site.api();
  std::string target = "/subscriptions/" + id_of(50).text() +
                       "/providers/Microsoft.Commerce.Admin/SubscriberUsageAggregates?api-version=2015-06-01-preview"
                       "&ReportedStartTime=2026-01-01T00:00:00+00:00Z&reportedEndTime=2026-01-02&showDetails=a%20b";
  std::set<std::string> seen;
  std::vector<std::size_t> sizes;
  for (;;) {
    const HttpAnswer answer = get(api, target, "token-of-the-operator");
    REQUIRE(answer.status == 200);
    const auto page = nlohmann::json::parse(answer.body);
    sizes.push_back(page["value"].size());
    for (const auto& item : page["value"]) {
      const auto& p = item["properties"];
      REQUIRE(seen.insert(p["vm"].get<std::string>() + p["meterId"].get<std::string>()).second);
    }
    if (!page.contains("nextLink")) break;
    const std::string link = page["nextLink"];
    INFO(link);
    const std::string origin = "https://aggregator.example:8443";
    REQUIRE(link.rfind(origin, 0) == 0);
    CHECK(link.find("&ReportedStartTime=2026-01-01T00%3A00%3A00%2000%3A00Z&") != std::string::npos);
    CHECK(link.find("&showDetails=a%20b&continuationToken=") != std::string::npos);
    CHECK(link.find("continuationToken") == link.rfind("continuationToken"));
    target = link.substr(origin.size());
    // A record of the same hour for a VM that is still to come.
    node.add_usage("2026-01-01T05:00:00Z", 1'249, 1'249 % 7, 1);
    site.deliver(node, "2026-01-01T07:00:00Z");
  }
  CHECK(sizes == std::vector<std::size_t>{1'000, 1'000, 500});
  CHECK(seen.size() == 2'500);
}

TEST_CASE("a continuation is taken only with the query that it came from", "[usage_query][usage_api]") {
  UsageSite site;
  site.clock.t = at("2026-01-05T00:00:00Z");
  UsageNode node("node-1");
  for (unsigned vm = 0; vm < 3; ++vm) node.add_usage("2026-01-01T05:00:00Z", vm, 1, 1'000);
  site.deliver(node, "2026-01-01T06:00:00Z");
  UsageApiOptions options;
  options.page_rows = 2;
  UsageApi& api = site.api(UsageSite::kTokens, options);
  const std::string base = "/subscriptions/" + id_of(1).text() +
                           "/providers/Microsoft.Commerce/usageAggregates?api-version=2015-06-01-preview"
                           "&reportedStartTime=2026-01-01&reportedEndTime=2026-01-02";
  const std::string token = "token-of-the-first";
  const auto first = nlohmann::json::parse(get(api, base, token).body);
  std::string link = first["nextLink"];
  const std::string continuation = link.substr(link.find("continuationToken=") + 18);
  CHECK(get(api, base + "&continuationToken=" + continuation, token).status == 200);
  std::string flipped = continuation;
  flipped[40] = flipped[40] == '0' ? '1' : '0';
  for (const std::string& bad :
       {base + "&continuationToken=" + flipped, base + "&continuationToken=00", base + "&continuationToken=x",
        base + "&aggregationGranularity=hourly&continuationToken=" + continuation,
        base + "&by=usage&continuationToken=" + continuation}) {
    const HttpAnswer answer = get(api, bad, token);
    CHECK(answer.status == 400);
    CHECK(answer.body.find("\"InvalidProperty\"") != std::string::npos);
    CHECK(answer.body.find("'continuationToken'") != std::string::npos);
  }
  // Another caller with the same token gets nothing by it.
  CHECK(get(api, base + "&continuationToken=" + continuation, "token-of-the-second").status == 403);
  // A store that has never been that far did not give it.
  UsageSite younger;
  younger.clock.t = site.clock.t;
  CHECK(get(younger.api(UsageSite::kTokens, options), base + "&continuationToken=" + continuation, token).status ==
        400);
}

TEST_CASE("of a fork the branch that came first is billed, and it stays so", "[usage_query]") {
  UsageSite site;
  UsageNode node("node-1");
  node.begin("2026-01-01T00:00:00Z");
  site.deliver(node, "2026-01-01T00:30:00Z");
  UsageNode twin = node;
  node.add_usage("2026-01-01T00:00:00Z", 1, 1, 100);
  node.add_usage("2026-01-01T01:00:00Z", 1, 1, 200);
  site.deliver(node, "2026-01-01T02:00:00Z");
  const StoreUsageQuery query =
      asked("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", TimeAxis::kUsage, Granularity::kHourly);
  const Sums before = paged(*site.kv, query, 100);
  twin.add_usage("2026-01-01T00:00:00Z", 1, 1, 999);
  twin.add_usage("2026-01-01T00:00:00Z", 2, 1, 999);
  twin.add_usage("2026-01-01T02:00:00Z", 1, 1, 300);
  site.deliver(twin, "2026-01-01T03:00:00Z");
  CHECK(site.store->heads().begin()->second.forks == 2);
  const Sums after = paged(*site.kv, query, 100);
  CHECK(after.size() == before.size() + 2);
  for (const auto& [key, sum] : before) CHECK(after.at(key) == sum);
}

TEST_CASE("an hour is complete when the manifests of all configured nodes are there", "[usage_query]") {
  UsageSite site;
  UsageNode one("node-1", 1);
  UsageNode two("node-2", 2);
  const auto missing = [&](const std::string& from, const std::string& to) {
    std::string text;
    for (const MissingHours& m : missing_hours(site.store->heads(), site.expected, hour(from), hour(to))) {
      text += m.node.text() + " " + iso_time(UtcTime(std::chrono::hours(m.from)), true) + " " +
              std::to_string(m.to - m.from) + "\n";
    }
    return text;
  };
  CHECK(missing("2026-01-01", "2026-01-02") == " 2026-01-01T00:00:00Z 24\n");
  one.begin("2026-01-01T00:20:00Z");
  one.add_usage("2026-01-01T00:00:00Z", 1, 1, 1);
  site.deliver(one, "2026-01-01T01:00:00Z");
  CHECK(missing("2026-01-01", "2026-01-02") == "node-1 2026-01-01T00:00:00Z 24\n");
  one.close("2026-01-01T05:00:00Z");
  site.deliver(one, "2026-01-01T05:01:00Z");
  CHECK(missing("2026-01-01T00:00:00Z", "2026-01-01T05:00:00Z").empty());
  CHECK(missing("2026-01-01T00:00:00Z", "2026-01-01T06:00:00Z") == "node-1 2026-01-01T05:00:00Z 1\n");
  CHECK(missing("2025-12-31T22:00:00Z", "2026-01-01T05:00:00Z") == "node-1 2025-12-31T22:00:00Z 2\n");

  // A configured node that has never reported is missing, from when it is expected.
  site.expected = {{.id = one.id(), .since = 0}, {.id = two.id(), .since = hour("2026-01-01T03:00:00Z")}};
  CHECK(missing("2026-01-01T00:00:00Z", "2026-01-01T03:00:00Z").empty());
  CHECK(missing("2026-01-01T00:00:00Z", "2026-01-01T05:00:00Z") == "node-2 2026-01-01T03:00:00Z 2\n");
  two.begin("2026-01-01T03:00:00Z");
  two.close("2026-01-01T04:00:00Z");
  site.deliver(two, "2026-01-01T05:02:00Z");
  CHECK(missing("2026-01-01T00:00:00Z", "2026-01-01T05:00:00Z") == "node-2 2026-01-01T04:00:00Z 1\n");

  // A manifest counts once nothing before it is missing.
  two.add_usage("2026-01-01T04:00:00Z", 1, 1, 1);
  const std::string hole = two.take();
  two.close("2026-01-01T05:00:00Z");
  site.deliver(two, "2026-01-01T05:03:00Z");
  CHECK(missing("2026-01-01T00:00:00Z", "2026-01-01T05:00:00Z") == "node-2 2026-01-01T04:00:00Z 1\n");
  site.reopen();
  site.deliver(hole, "2026-01-01T05:04:00Z");
  CHECK(missing("2026-01-01T00:00:00Z", "2026-01-01T05:00:00Z").empty());

  // A new store of a node says nothing of the time between.
  UsageNode again("node-1", 3);
  again.begin("2026-01-01T07:10:00Z");
  again.close("2026-01-01T09:00:00Z");
  site.deliver(again, "2026-01-01T09:01:00Z");
  site.expected.pop_back();
  site.reopen();
  CHECK(missing("2026-01-01T00:00:00Z", "2026-01-01T10:00:00Z") ==
        "node-1 2026-01-01T05:00:00Z 2\nnode-1 2026-01-01T09:00:00Z 1\n");
}

TEST_CASE("a page says whether its hours are complete, and the provider's not on the current day",
          "[usage_query][usage_api]") {
  UsageSite site;
  site.clock.t = at("2026-01-01T06:30:00Z");
  UsageNode node("node-1");
  node.begin("2026-01-01T00:00:00Z");
  node.add_usage("2026-01-01T00:00:00Z", 1, 1, 1);
  node.close("2026-01-01T05:00:00Z");
  site.deliver(node, "2026-01-01T05:01:00Z");
  const auto completeness = [&](const std::string& resource, const std::string& end, const std::string& day = "01") {
    const HttpAnswer answer = get(site.api(),
                                  "/subscriptions/" + id_of(1).text() + "/providers/" + resource +
                                      "?api-version=2015-06-01-preview&aggregationGranularity=hourly&"
                                      "reportedStartTime=2026-01-01T00:00:00Z&reportedEndTime=2026-01-" +
                                      day + "T" + end + ":00:00Z",
                                  "token-of-the-operator");
    INFO(answer.body);
    REQUIRE(answer.status == 200);
    return nlohmann::json::parse(answer.body)["completeness"];
  };
  const std::string tenant = "Microsoft.Commerce/usageAggregates";
  const std::string provider = "Microsoft.Commerce.Admin/subscriberUsageAggregates";
  CHECK(completeness(tenant, "05") == nlohmann::json::parse(R"({"complete":true,"message":"","missing":[]})"));
  CHECK(completeness(tenant, "06") ==
        nlohmann::json::parse(
            R"({"complete":false,"message":"processing not complete: not every node has reported all hours",
                "missing":[{"node":"node-1","from":"2026-01-01T05:00:00+00:00","to":"2026-01-01T06:00:00+00:00"}]})"));
  CHECK(completeness(provider, "05") ==
        nlohmann::json::parse(
            R"({"complete":false,"message":"processing not complete: the range reaches into the current day",
                "missing":[]})"));
  site.clock.t = at("2026-01-02T06:30:00Z");
  CHECK(completeness(provider, "05")["complete"] == true);
  CHECK(completeness(provider, "00", "02")["complete"] == false);
}

TEST_CASE("a store without the index gets it when it is opened", "[usage_query]") {
  UsageSite site;
  Random random(11);
  play(site, random);
  const StoreUsageQuery query =
      asked("2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z", TimeAxis::kReported, Granularity::kHourly);
  const Sums before = paged(*site.kv, query, 1'000'000);
  const auto heads = site.store->heads();
  // As the format before left it: heads of 48 bytes, no index, nothing about manifests.
  std::vector<Write> back;
  const auto snapshot = site.kv->snapshot();
  REQUIRE((*snapshot)
              ->scan(Table::kState, "",
                     [&](std::string_view key, std::string_view value) {
                       const bool head = key.front() == 'h';
                       back.push_back({.table = Table::kState,
                                       .key = std::string(key),
                                       .value = head ? std::optional(std::string(value.substr(0, 48))) : std::nullopt});
                       return true;
                     })
              .ok());
  back.push_back({.table = Table::kMeta, .key = "format", .value = std::string("\1\0\0\0", 4)});
  REQUIRE(site.kv->commit(back).ok());
  CHECK(paged(*site.kv, query, 1'000'000).empty());
  site.reopen();
  CHECK(paged(*site.kv, query, 1'000'000) == before);
  const auto after = site.store->heads();
  REQUIRE(after.size() == heads.size());
  for (const auto& [chain, head] : heads) {
    CHECK(after.at(chain).hours_first == head.hours_first);
    CHECK(after.at(chain).hours_closed == head.hours_closed);
  }
}

}  // namespace nodemeter
