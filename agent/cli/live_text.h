// What `status`, `vms` and `top` show of a live snapshot. Pure: snapshot and time in, text out.

#pragma once

#include <string>
#include <vector>

#include "platform/clock.h"
#include "store/live_view.h"

namespace nodemeter::cli {

// Whether every VM of this node is being billed rightly at this moment, and everything that speaks against it.
struct Verdict {
  bool safe = false;
  std::vector<std::string> reasons;  // Sentences without a full stop; the gravest first. Empty if safe.
  std::vector<std::string> notes;    // Worth knowing, but no risk to billing now.
};
Verdict judge(const LiveSnapshot& snapshot, const ClockReading& now);

std::string status_text(const LiveSnapshot& snapshot, const ClockReading& now, bool colour);
std::string status_json(const LiveSnapshot& snapshot, const ClockReading& now);

enum class VmOrder { kName, kCpu, kMemory, kDisk, kNetwork };

std::string vms_text(const LiveSnapshot& snapshot, VmOrder order, bool colour);
std::string vms_json(const LiveSnapshot& snapshot);

// One screen of `top`, at most `lines` high and `columns` wide.
std::string top_text(const LiveSnapshot& snapshot, const ClockReading& now, VmOrder order, std::size_t lines,
                     std::size_t columns, bool colour);

// "3 s", "2 min 5 s", "4 h 10 min", "3 d 2 h".
std::string age_text(Milliseconds age);

// The last sample is older than this: the agent hangs or the node was asleep.
Milliseconds stale_after(const LiveNode& node);

}  // namespace nodemeter::cli
