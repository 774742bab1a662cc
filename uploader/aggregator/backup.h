// A copy of the aggregator's store as of one moment, while it goes on taking batches.
//
// It goes by content, in short snapshots: what the running aggregator frees meanwhile is free to it. Rows are never
// changed or deleted, and each carries its commit's arrival time, which no other commit has; so the rows of the moment
// are those that arrived no later than the newest arrival in it.

#pragma once

#include <filesystem>

#include "platform/result.h"

namespace nodemeter {

// Copies the store of the state directory `from` into the new one `to`; `from` must not be open in this process.
// Durable on success. kInvalidInput: there is a store at `to` already. kFull. Else as open_lmdb.
Status backup_aggregator(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace nodemeter
