// A Source that plays a recorded trace (collectors/trace.h) as if it happened now.
//
// The first read gives the first line. Later reads give the last line that was due by then, with the events of all
// lines since the previous read; instants are moved to the given clock, counters and runs stay as recorded. Nothing is
// due between two lines: the reading is then the same with a later instant. After the last line read_all() fails with
// kUnavailable, as if the hypervisor had gone.

#pragma once

#include <filesystem>
#include <memory>

#include "collectors/source.h"

namespace nodemeter {

// Reads line by line as they become due. `clock` must outlive the source.
//   kNotFound, kPermissionDenied, kUnavailable  the file cannot be opened.
//   kCorrupt, kUnsupported                      its first line is no trace.
Result<std::unique_ptr<Source>> open_replay_source(const std::filesystem::path& path, const Clock& clock);

}  // namespace nodemeter
