// `nodemeter report`: what one page tells of a span of time, read from the journal once. What it looks like is
// agent/cli/report_html.h.
//
// Sums are in base units and 128 bits wide; they are rounded once, where they are shown. Threads: one at a time.

#pragma once

#include <array>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "agent/cli/usage_query.h"
#include "store/meters.h"

namespace nodemeter::cli {

using WideSum = unsigned __int128;
using MeterSums = std::array<WideSum, kMeterCount>;

// Who pays, as the records say it. Infrastructure VMs stand apart: they are metered and not billed.
struct Payer {
  bool billable = true;
  Uuid subscription;  // Zero: no owner was known.
  friend auto operator<=>(const Payer&, const Payer&) = default;
};

struct ReportVm {
  std::string name;  // From outside, as is the newest record's.
  Payer payer;       // Of the newest record.
  MeterSums sums{};
  std::uint64_t covered_ms = 0;
  std::int64_t gap_ms = 0;
};

struct ReportGap {
  UtcTime from;
  UtcTime to;
  std::string cause;  // From the journal.
};

struct Report {
  std::string node;
  UtcTime start{};
  UtcTime end{};
  UtcTime made{};
  bool simulated = false;

  std::map<Payer, MeterSums> payers;
  std::map<Payer, std::size_t> payer_vms;
  std::map<VmId, ReportVm> vms;
  // Billable vcore milliseconds by hour of the range, in order; every hour has an element.
  std::vector<std::map<Payer, WideSum>> hourly;
  std::vector<HourState> hours;
  std::vector<ReportGap> gaps;  // Of the whole node, oldest first; at most kReportGapsMax.
  std::size_t gaps_untold = 0;

  bool delivers = false;  // An aggregator is configured.
  JournalState journal;
  std::optional<ChainCheck> check;
  std::string check_error;  // Why there is none.

  [[nodiscard]] bool complete() const;
  [[nodiscard]] bool verified() const { return check && check->faults.empty(); }
};

inline constexpr std::size_t kReportGapsMax = 200;

// vcore milliseconds of both meters that are billed.
WideSum vcore_ms(const MeterSums& sums);

// Reads the journal twice: for the sums and for the verification, whose progress is told in entries. `range`: hourly,
// by usage time. Errors as query_usage.
Result<Report> make_report(const Reader& reader, const UsageQuery& range, bool delivers, UtcTime now,
                           const std::function<void(std::uint64_t)>& progress);

}  // namespace nodemeter::cli
