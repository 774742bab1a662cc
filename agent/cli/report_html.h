// The page of `nodemeter report`: one HTML document that needs nothing else, no network and no script; light and dark
// as the reader's system says, and fit to print. Everything from outside is shown through display_text() and escaped.
// Pure.

#pragma once

#include <string>
#include <string_view>

#include "agent/cli/report.h"

namespace nodemeter::cli {

std::string report_html(const Report& report);

// Text for an element or a quoted attribute.
std::string html_text(std::string_view text);

// How many subscriptions have a colour of their own; the others share one.
inline constexpr std::size_t kReportColours = 7;

// What stands where in the chart: the subscriptions with most use first, by class name "c0", "c1", …; others "cx".
using PayerColours = std::map<Payer, std::string>;
PayerColours colours_of(const Report& report);

std::string payer_name(const Payer& payer);

// "1 234.568": rounded half-up to three decimals for the eye; exact figures come from `nodemeter usage`.
std::string figure(WideSum value, std::uint64_t multiplier, std::uint64_t divisor);
std::string vcore_hours_figure(WideSum vcore_ms);

// The stacked chart of billable vcore hours: by hour, or by day where hours would be too narrow to see.
std::string usage_chart(const Report& report, const PayerColours& colours);

// One cell an hour, a row a day: what is complete and what is not.
std::string coverage_chart(const Report& report);

}  // namespace nodemeter::cli
