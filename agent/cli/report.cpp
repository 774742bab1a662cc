#include "agent/cli/report.h"

#include <algorithm>

#include "agent/cli/verbs.h"
#include "store/detail.h"

namespace nodemeter::cli {

namespace {

constexpr std::chrono::hours kHour{1};

std::string field(const Entry& entry, const char* key) {
  const auto fields = detail_fields(entry.detail);
  const auto found = fields.find(key);
  return found == fields.end() ? "" : found->second;
}

void take_usage(Report& report, const Entry& entry) {
  const Payer payer{entry.billable, entry.subscription};
  MeterSums& sums = report.payers[payer];
  ReportVm& vm = report.vms[entry.vm];
  vm.name = field(entry, "name");
  vm.payer = payer;
  vm.covered_ms += entry.covered_ms;
  vm.gap_ms += entry.gap_ms;
  WideSum vcores = 0;
  for (const MeterValue& value : entry.meters) {
    const MeterInfo* info = find_meter(value.meter);
    if (info == nullptr) continue;  // Of a newer version: this page has no place for it.
    const auto index = static_cast<std::size_t>(info->index);
    sums[index] += value.quantity;
    vm.sums[index] += value.quantity;
    if (info->index == MeterIndex::kBaseVmHours || info->index == MeterIndex::kWindowsVmHours) vcores += value.quantity;
  }
  if (!entry.billable || vcores == 0) return;
  const auto hour = static_cast<std::size_t>((UtcTime(entry.usage_start) - report.start) / kHour);
  if (hour < report.hourly.size()) report.hourly[hour][payer] += vcores;
}

void take_gap(Report& report, const Entry& entry) {
  const GapSpan span = gap_span(entry);
  if (!entry.vm.is_zero() || span.from >= report.end || span.to <= report.start) return;
  if (report.gaps.size() == kReportGapsMax) {
    ++report.gaps_untold;
    return;
  }
  report.gaps.push_back({std::max(span.from, report.start), std::min(span.to, report.end), field(entry, "cause")});
}

}  // namespace

bool Report::complete() const {
  return std::all_of(hours.begin(), hours.end(), [](const HourState& hour) { return hour.complete(); });
}

WideSum vcore_ms(const MeterSums& sums) {
  return sums[static_cast<std::size_t>(MeterIndex::kBaseVmHours)] +
         sums[static_cast<std::size_t>(MeterIndex::kWindowsVmHours)];
}

Result<Report> make_report(const Reader& reader, const UsageQuery& range, bool delivers, UtcTime now,
                           const std::function<void(std::uint64_t)>& progress) {
  if (Status checked = check_range(range); !checked) return checked.error();
  Result<JournalState> state = reader.state();
  if (!state) return state.error();
  Report report;
  report.node = state->node.text();
  report.start = range.start;
  report.end = range.end;
  report.made = now;
  report.simulated = state->simulated;
  report.delivers = delivers;
  report.hourly.resize(static_cast<std::size_t>((range.end - range.start) / kHour));
  Result<std::vector<HourState>> hours =
      visit_usage(reader, *state, range, state->last_sequence, [&](const Entry& entry, std::uint64_t) {
        entry.kind == EntryKind::kUsage ? take_usage(report, entry) : take_gap(report, entry);
      });
  if (!hours) return hours.error();
  report.hours = std::move(*hours);
  for (const auto& [id, vm] : report.vms) ++report.payer_vms[vm.payer];
  std::stable_sort(report.gaps.begin(), report.gaps.end(),
                   [](const ReportGap& a, const ReportGap& b) { return a.from < b.from; });
  Result<ChainCheck> check = reader.verify(progress);
  if (check) {
    report.check = std::move(*check);
  } else {
    report.check_error = check.error().message;
  }
  report.journal = std::move(*state);
  return report;
}

}  // namespace nodemeter::cli
