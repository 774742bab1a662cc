// Usage aggregates as a FOCUS 1.2 data set (FinOps Open Cost and Usage Specification), in CSV.
//
// Columns of the specification in alphabetical order, then ours (x_…). A null is an empty field. Quantities are exact
// sums, rounded once to 10 decimals; a cost is the exact product of that quantity and the price, so that it can be
// checked by multiplying, as the specification asks. Without prices costs are 0 in ISO 4217's code for no currency,
// and the columns that need a price list are left out. Usage that is not billable has its list price and costs nothing.
//
// A row is a Correction if it was asked for by reported time, tells of a month that was over when the range begins, and
// holds nothing but knowledge that came late. Pure.

#pragma once

#include <optional>
#include <string>

#include "agent/cli/price_file.h"
#include "agent/cli/usage_query.h"

namespace nodemeter::cli {

std::string usage_focus(const UsageAnswer& answer, const UsageQuery& query, const std::optional<PriceFile>& prices);

}  // namespace nodemeter::cli
