// Usage aggregates as a table, JSON (the shape of Azure's UsageAggregate) and CSV (RFC 4180, in UTF-8 with a byte order
// mark: that is what Excel needs to read it as such); gaps and events as lines. Pure.
//
// Quantities are rounded once, here, after everything was summed.

#pragma once

#include <string>
#include <vector>

#include "agent/cli/usage_query.h"

namespace nodemeter::cli {

std::string usage_text(const UsageAnswer& answer, const UsageQuery& query, bool colour);
std::string usage_json(const UsageAnswer& answer, const UsageQuery& query);
std::string usage_csv(const UsageAnswer& answer, const UsageQuery& query);

std::string gaps_text(const std::vector<Entry>& gaps, bool colour);
std::string gaps_json(const std::vector<Entry>& gaps);
std::string events_text(const std::vector<Entry>& events, bool colour);
std::string events_json(const std::vector<Entry>& events);

// One line of `journal cat`: for people, and as JSON with every column.
std::string entry_text(const Entry& entry);
std::string entry_json(const Entry& entry);

}  // namespace nodemeter::cli
