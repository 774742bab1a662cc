// Stored rows as JSON, one line each: for people, trials and tests that look at what arrived.

#pragma once

#include <string>

#include "platform/result.h"
#include "uploader/aggregator/aggregator_store.h"

namespace nodemeter {

// One object without a line break: the row's columns by name, times as text, quantities in base units, and
// "arrived_at". kCorrupt: the stored bytes are not an entry.
Result<std::string> row_json(const StoredRow& row);

// The same for a terminal: sequence, kind, VM, hour and meters by name.
Result<std::string> row_line(const StoredRow& row);

}  // namespace nodemeter
