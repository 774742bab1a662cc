#include "agent/cli/usage_query.h"

#include <algorithm>
#include <utility>

#include "agent/meter.h"
#include "agent/meter_state.h"
#include "platform/contract.h"
#include "platform/text.h"
#include "store/detail.h"

namespace nodemeter::cli {

namespace {

using std::chrono::hours;
using std::chrono::sys_seconds;

constexpr Milliseconds kHour{3'600'000};
constexpr Milliseconds kDay{86'400'000};

// A restored store begins a new epoch: what was metered before it still counts.
constexpr bool kAllEpochs = true;

// A record is made after its hour, but the two instants come from two readings of a clock that may have been set in
// between: entries are looked at from this long before.
constexpr Milliseconds kLookBack = kDay;

// --- Completeness ---------------------------------------------------------------------------------------------------

class Coverage {
 public:
  explicit Coverage(const UsageQuery& query) : query_(query) {
    for (UtcTime t = query.start; t < query.end; t += kHour) {
      hours_.push_back({.hour = std::chrono::floor<std::chrono::seconds>(t)});
    }
  }

  void gap(const Entry& entry) {
    const GapSpan span = gap_span(entry);
    if (query_.by == TimeAxis::kReported) {
      if (HourState* hour = at(entry.reported_at)) hour->unobserved_ms += ms(span.to - span.from);
      return;
    }
    overlap(span, [](HourState& hour, std::uint64_t part) { hour.unobserved_ms += part; });
  }

  void usage(const Entry& entry) {
    if (entry.gap_ms == 0) return;
    const UtcTime t = query_.by == TimeAxis::kUsage ? UtcTime(entry.usage_start) : entry.reported_at;
    if (at(t) != nullptr) vm_gaps_[{std::chrono::floor<hours>(t), entry.vm}] += entry.gap_ms;
  }

  // Nothing before `t` is in this journal.
  void begins_at(UtcTime t) {
    for (HourState& hour : hours_) {
      if (hour.hour + hours{1} <= t) hour.not_metered = true;
    }
    if (query_.by == TimeAxis::kReported) return;
    const UtcTime edge = std::chrono::floor<hours>(t);
    if (HourState* hour = at(edge)) hour->unobserved_ms += ms(t - edge);
  }

  // Everything from `t` on may still grow.
  void open_from(UtcTime t) {
    for (HourState& hour : hours_) hour.open = hour.hour + hours{1} > t;
  }

  std::vector<HourState> take() {
    for (const auto& [key, gap_ms] : vm_gaps_) {
      HourState* hour = at(key.first);
      if (hour != nullptr && gap_ms > 0) hour->gap_ms += gap_ms;  // A later record may have filled it.
    }
    return std::move(hours_);
  }

 private:
  static std::uint64_t ms(Milliseconds span) {
    return static_cast<std::uint64_t>(std::max<std::int64_t>(0, span.count()));
  }

  HourState* at(UtcTime t) {
    if (t < query_.start || t >= query_.end) return nullptr;
    const auto index = static_cast<std::size_t>((t - query_.start) / kHour);
    return index < hours_.size() ? &hours_[index] : nullptr;
  }

  template <class Visit>
  void overlap(GapSpan span, Visit visit) {
    span.from = std::max(span.from, query_.start);
    span.to = std::min(span.to, query_.end);
    while (span.from < span.to) {
      const UtcTime edge = std::chrono::floor<hours>(span.from) + kHour;
      HourState* hour = at(span.from);
      NM_ASSERT(hour != nullptr);
      visit(*hour, ms(std::min(span.to, edge) - span.from));
      span.from = edge;
    }
  }

  const UsageQuery& query_;
  std::vector<HourState> hours_;
  std::map<std::pair<UtcTime, VmId>, std::int64_t> vm_gaps_;
};

// --- Rows -----------------------------------------------------------------------------------------------------------

// A gap of the whole node concerns every VM; a gap entry has no subscription.
bool gap_matters(const UsageQuery& query, const Entry& entry) {
  return !query.vm || entry.vm.is_zero() || *query.vm == entry.vm;
}

bool in_range(const UsageQuery& query, const Entry& entry) {
  const UtcTime t = query.by == TimeAxis::kUsage ? UtcTime(entry.usage_start) : entry.reported_at;
  return t >= query.start && t < query.end;
}

// From when on the journal speaks. Of a pruned one, the hour of the first kept record may have lost some by its
// reported time, but none by its usage time: those that it closed are older.
Result<std::optional<UtcTime>> journal_begins(const Reader& reader, const JournalState& state, TimeAxis by) {
  std::optional<UtcTime> begins;
  Status read = reader.for_each(
      state.oldest_kept,
      [&](const Entry& entry, std::string_view) {
        if (entry.sequence <= 1) {
          begins = entry.usage_start;
        } else if (by == TimeAxis::kUsage) {
          begins = std::chrono::floor<hours>(entry.reported_at);
        } else {
          begins = std::chrono::ceil<hours>(entry.reported_at);
        }
        return false;
      },
      kAllEpochs);
  if (!read) return read.error();
  return begins;
}

Result<UtcTime> closed_until(const Reader& reader, const JournalState& state, TimeAxis by) {
  const auto rows = reader.state_rows(kNodeRowKey);
  if (!rows) return rows.error();
  if (rows->empty()) return UtcTime{};
  const std::optional<NodeState> node = decode_node_state(rows->front().second);
  if (!node) return Error{ErrorCode::kCorrupt, "the journal's node row does not decode: run nodemeter journal verify"};
  if (by == TimeAxis::kUsage) return UtcTime(hours{node->closed_until});
  return std::max(state.last_reported_at, node->last_utc);
}

// Leaves only the rows of the page, and names the next one.
void cut_page(UsageAnswer& answer, const UsageQuery& query, const UsagePage& page, const Continuation& from,
              bool continued) {
  if (continued) answer.rows.erase(answer.rows.begin(), answer.rows.upper_bound(from.after));
  if (page.size == 0 || answer.rows.size() <= page.size) return;
  const auto next = std::next(answer.rows.begin(), static_cast<std::ptrdiff_t>(page.size));
  Continuation rest = from;
  rest.after = std::prev(next)->first;
  answer.continuation = encode_continuation(rest, query_digest(query));
  answer.rows.erase(next, answer.rows.end());
}

}  // namespace

GapSpan gap_span(const Entry& entry) {
  const auto fields = detail_fields(entry.detail);
  const auto instant = [&](const char* key, UtcTime otherwise) {
    const auto field = fields.find(key);
    return field == fields.end() ? otherwise : parse_time(field->second).value_or(otherwise);
  };
  return {instant("from", entry.usage_start), instant("to", entry.usage_end)};
}

bool UsageAnswer::complete() const {
  return std::all_of(hours.begin(), hours.end(), [](const HourState& hour) { return hour.complete(); });
}

bool UsageAnswer::may_grow() const {
  return std::any_of(hours.begin(), hours.end(), [](const HourState& hour) { return hour.open || hour.not_metered; });
}

std::string UsageAnswer::shortfall() const {
  if (complete()) return "";
  std::size_t open = 0;
  std::size_t not_metered = 0;
  std::size_t gaps = 0;
  std::uint64_t unobserved_ms = 0;
  std::int64_t gap_ms = 0;
  for (const HourState& hour : hours) {
    if (hour.open) ++open;
    if (hour.not_metered) ++not_metered;
    if (hour.unobserved_ms != 0 || hour.gap_ms != 0) ++gaps;
    unobserved_ms += hour.unobserved_ms;
    gap_ms += hour.gap_ms;
  }
  std::string text = "of " + std::to_string(hours.size()) + (hours.size() == 1 ? " hour" : " hours");
  if (open != 0) text += ", " + std::to_string(open) + " still open";
  if (not_metered != 0) text += ", " + std::to_string(not_metered) + " not in this journal";
  if (gaps != 0) {
    text += ", " + std::to_string(gaps) + " with gaps (" + std::to_string(unobserved_ms) + " ms not observed, " +
            std::to_string(gap_ms) + " ms of VM time not proven)";
  }
  return text;
}

Result<std::vector<HourState>> visit_usage(const Reader& reader, const JournalState& state, const UsageQuery& query,
                                           Sequence pinned, const UsageVisit& visit) {
  Coverage coverage(query);
  const Result<std::optional<UtcTime>> begins = journal_begins(reader, state, query.by);
  if (!begins) return begins.error();
  const Result<UtcTime> closed = closed_until(reader, state, query.by);
  if (!closed) return closed.error();
  coverage.begins_at(begins->value_or(query.end));
  coverage.open_from(*closed);

  const Result<Sequence> first = reader.first_reported_at(std::max(UtcTime{}, query.start - kLookBack));
  if (!first) return first.error();
  std::uint64_t position = 0;
  const auto look = [&](const Entry& entry, std::string_view) {
    if (entry.epoch == state.epoch && entry.sequence > pinned) return false;
    ++position;
    if (entry.kind == EntryKind::kGap && gap_matters(query, entry)) {
      coverage.gap(entry);
      visit(entry, position);
    }
    if (entry.kind == EntryKind::kUsage && usage_matches(query, entry) && in_range(query, entry)) {
      coverage.usage(entry);
      visit(entry, position);
    }
    return true;
  };
  Status read = reader.for_each(std::max(*first, state.oldest_kept), look, kAllEpochs);
  if (!read) return read.error();
  return coverage.take();
}

Result<UsageAnswer> query_usage(const Reader& reader, const UsageQuery& query, const UsagePage& page) {
  if (Status range = check_range(query); !range) return range.error();
  const Result<JournalState> state = reader.state();
  if (!state) return state.error();
  Continuation from{state->epoch, state->last_sequence, {}};
  const bool continued = !page.continuation.empty();
  if (continued) {
    Result<Continuation> given = decode_continuation(page.continuation, query_digest(query));
    if (!given) return given.error();
    if (given->store != state->epoch) {
      return Error{ErrorCode::kInvalidInput, "the continuation belongs to another journal: start with the first page"};
    }
    from = *given;
  }
  UsageAnswer answer;
  Result<std::vector<HourState>> hours =
      visit_usage(reader, *state, query, from.pinned, [&](const Entry& entry, std::uint64_t position) {
        if (entry.kind == EntryKind::kUsage) add_usage(answer.rows, query, entry, position);
      });
  if (!hours) return hours.error();
  answer.hours = std::move(*hours);
  cut_page(answer, query, page, from, continued);
  return answer;
}

}  // namespace nodemeter::cli
