#include <algorithm>
#include <cctype>

#include "agent/cli/price_file.h"
#include "agent/cli/usage_focus.h"
#include "agent/cli/usage_query.h"
#include "agent/cli/usage_text.h"
#include "agent/cli/verbs.h"
#include "platform/text.h"
#include "store/meters.h"

namespace nodemeter::cli {

namespace {

// As in Get-UsageAggregates.
constexpr std::uint32_t kAliasPageSize = 1000;

Error wrong(const std::string& option, const std::string& value, const std::string& allowed) {
  return Error{ErrorCode::kInvalidInput, option + " is \"" + display_text(value) + "\"; " + allowed};
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

Result<UtcTime> instant(const std::string& option, const std::string& text) {
  if (text.empty()) return Error{ErrorCode::kInvalidInput, option + " is missing: such as 2026-01-01T00:00:00Z"};
  if (const auto t = parse_time(text)) return *t;
  return wrong(option, text, "a time such as 2026-01-01T00:00:00Z or a date such as 2026-01-01 is expected");
}

Status parse_filters(const UsageOptions& options, UsageQuery& query) {
  if (!options.subscription.empty()) {
    query.subscription = Uuid::parse(options.subscription);
    if (!query.subscription)
      return wrong("--subscription", options.subscription, "a subscription id (UUID) is expected");
  }
  if (!options.vm.empty()) {
    query.vm = VmId::parse(options.vm);
    if (!query.vm) return wrong("--vm", options.vm, "a VM id (UUID) is expected; nodemeter vms shows them");
  }
  if (!options.meter.empty()) {
    const MeterInfo* info = find_meter(options.meter);
    query.meter = info == nullptr ? Uuid::parse(options.meter) : std::optional<Uuid>(info->id);
    if (!query.meter) return wrong("--meter", options.meter, "a meter's id or name is expected; see nodemeter meters");
  }
  return Done{};
}

Status parse_words(const UsageOptions& options, UsageQuery& query) {
  const std::string granularity = lower(options.granularity);
  if (granularity != "daily" && granularity != "hourly") {
    return wrong("--granularity", options.granularity, "hourly or daily is expected");
  }
  query.granularity = granularity == "daily" ? Granularity::kDaily : Granularity::kHourly;
  const bool alias = !options.reported_start.empty() || !options.reported_end.empty();
  if (!options.by.empty() && options.by != "usage" && options.by != "reported") {
    return wrong("--by", options.by, "usage or reported is expected");
  }
  if (alias && options.by == "usage") {
    return wrong("--by", options.by, "--reported-start-time and --reported-end-time ask by reported time");
  }
  if (alias && (!options.start.empty() || !options.end.empty())) {
    return Error{ErrorCode::kInvalidInput,
                 "--start and --end do not go together with --reported-start-time and --reported-end-time"};
  }
  query.by = alias || options.by == "reported" ? TimeAxis::kReported : TimeAxis::kUsage;
  return Done{};
}

Result<UsageQuery> parse_query(const UsageOptions& options) {
  UsageQuery query;
  if (Status words = parse_words(options, query); !words) return words.error();
  const bool alias = !options.reported_start.empty() || !options.reported_end.empty();
  const Result<UtcTime> start =
      alias ? instant("--reported-start-time", options.reported_start) : instant("--start", options.start);
  if (!start) return start.error();
  const Result<UtcTime> end =
      alias ? instant("--reported-end-time", options.reported_end) : instant("--end", options.end);
  if (!end) return end.error();
  query.start = *start;
  query.end = *end;
  if (Status filters = parse_filters(options, query); !filters) return filters.error();
  if (Status range = check_range(query); !range) return range.error();
  return query;
}

enum class Format { kTable, kJson, kCsv, kFocus };

Result<Format> parse_format(const CommonOptions& common, const UsageOptions& options) {
  if (options.format.empty()) return common.json ? Format::kJson : Format::kTable;
  if (options.format == "json") return Format::kJson;
  if (common.json) return wrong("--format", options.format, "--json asks for another one");
  if (options.format == "csv") return Format::kCsv;
  if (options.format == "focus") return Format::kFocus;
  if (options.format == "table") return Format::kTable;
  return wrong("--format", options.format, "table, json, csv or focus is expected");
}

Result<std::optional<PriceFile>> parse_prices(const UsageOptions& options, Format format) {
  if (options.prices.empty()) return std::optional<PriceFile>();
  if (format != Format::kFocus) return wrong("--prices", options.prices, "only --format focus has cost columns");
  Result<PriceFile> prices = load_price_file(options.prices);
  if (!prices) return prices.error();
  return std::optional(std::move(prices).value());
}

void print(const UsageAnswer& answer, const UsageQuery& query, Format format, const std::optional<PriceFile>& prices,
           const Console& console) {
  switch (format) {
    case Format::kTable: console.out << usage_text(answer, query, console.colour); break;
    case Format::kJson: console.out << usage_json(answer, query); break;
    case Format::kCsv: console.out << usage_csv(answer, query); break;
    case Format::kFocus: console.out << usage_focus(answer, query, prices); break;
  }
}

struct Range {
  UtcTime start{};
  UtcTime end = UtcTime::max();
  std::optional<VmId> vm;
};

Result<Range> parse_range(const RangeOptions& options) {
  Range range;
  if (!options.start.empty()) {
    const Result<UtcTime> start = instant("--start", options.start);
    if (!start) return start.error();
    range.start = *start;
  }
  if (!options.end.empty()) {
    const Result<UtcTime> end = instant("--end", options.end);
    if (!end) return end.error();
    range.end = *end;
  }
  if (range.start >= range.end) return Error{ErrorCode::kInvalidInput, "--start is not before --end"};
  if (!options.vm.empty()) {
    range.vm = VmId::parse(options.vm);
    if (!range.vm) return wrong("--vm", options.vm, "a VM id (UUID) is expected");
  }
  return range;
}

// Entries of one kind that overlap the range, oldest first.
Result<std::vector<Entry>> entries_of(EntryKind kind, const CommonOptions& common, const RangeOptions& options) {
  const Result<Range> range = parse_range(options);
  if (!range) return range.error();
  const Result<Options> configuration = configured(common);
  if (!configuration) return configuration.error();
  const Result<std::unique_ptr<Reader>> reader = open_journal(*configuration);
  if (!reader) return reader.error();
  const Result<JournalState> state = (*reader)->state();
  if (!state) return state.error();
  std::vector<Entry> found;
  Status read = (*reader)->for_each(
      state->oldest_kept,
      [&](const Entry& entry, std::string_view) {
        const bool at_instant = entry.usage_start == entry.usage_end && entry.usage_start >= range->start;
        const bool overlaps = entry.usage_start < range->end && (entry.usage_end > range->start || at_instant);
        const bool of_vm = !range->vm || entry.vm == *range->vm || (kind == EntryKind::kGap && entry.vm.is_zero());
        if (entry.kind == kind && overlaps && of_vm) found.push_back(entry);
        return true;
      },
      true);
  if (!read) return read.error();
  return found;
}

}  // namespace

int usage(const CommonOptions& common, const UsageOptions& options, const Console& console) {
  const Result<UsageQuery> query = parse_query(options);
  if (!query) return say(console, query.error());
  const Result<Format> format = parse_format(common, options);
  if (!format) return say(console, format.error());
  const Result<std::optional<PriceFile>> prices = parse_prices(options, *format);
  if (!prices) return say(console, prices.error());
  const Result<Options> configuration = configured(common);
  if (!configuration) return say(console, configuration.error());
  const Result<std::unique_ptr<Reader>> reader = open_journal(*configuration);
  if (!reader) return say(console, reader.error());
  UsagePage page;
  page.size = options.page_size.value_or(options.reported_start.empty() ? 0 : kAliasPageSize);
  page.continuation = options.continuation;
  const Result<UsageAnswer> answer = query_usage(**reader, *query, page);
  if (!answer) return say(console, answer.error());
  print(*answer, *query, *format, *prices, console);
  if (answer->continuation && *format != Format::kJson) {
    console.err << "nodemeter: more rows follow: repeat with --continuation " << *answer->continuation << "\n";
  }
  if (answer->complete()) return kDone;
  console.err << "nodemeter: this answer is incomplete: " << answer->shortfall() << "\n";
  return options.accept_gaps && !answer->may_grow() ? kDone : kIncomplete;
}

int gaps(const CommonOptions& common, const RangeOptions& options, const Console& console) {
  const Result<std::vector<Entry>> found = entries_of(EntryKind::kGap, common, options);
  if (!found) return say(console, found.error());
  console.out << (common.json ? gaps_json(*found) : gaps_text(*found, console.colour));
  return kDone;
}

int events(const CommonOptions& common, const RangeOptions& options, const Console& console) {
  const Result<std::vector<Entry>> found = entries_of(EntryKind::kEvent, common, options);
  if (!found) return say(console, found.error());
  console.out << (common.json ? events_json(*found) : events_text(*found, console.colour));
  return kDone;
}

}  // namespace nodemeter::cli
