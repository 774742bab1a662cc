// What `status` and `vms` show of a live snapshot. Pure: snapshot and time in, text out.

#pragma once

#include <optional>
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

// The first line of `status` and `top`: "billing safe: …" or "billing at risk: …".
std::string headline(const Verdict& verdict, const LiveSnapshot& snapshot);

std::string status_text(const LiveSnapshot& snapshot, const ClockReading& now, bool colour);
std::string status_json(const LiveSnapshot& snapshot, const ClockReading& now);

enum class VmOrder { kName, kCpu, kMemory, kDisk, kNetwork };

// The VMs, those with most of it first; by name where that is equal.
std::vector<const LiveVm*> ordered(const LiveSnapshot& snapshot, VmOrder order);

std::string vms_text(const LiveSnapshot& snapshot, VmOrder order, bool colour);
std::string vms_json(const LiveSnapshot& snapshot);

// "3 s", "2 min 5 s", "4 h 10 min", "3 d 2 h".
std::string age_text(Milliseconds age);

// "running", "paused", "off".
const char* power_word(std::uint8_t power);

// Percent of one core, as top(1) counts: a VM with four busy vcores shows 400. "-": not known.
std::string cpu_text(const LiveVm& vm);

Milliseconds sample_age(const LiveNode& node, const ClockReading& now);

// Entries that are not acknowledged.
std::uint64_t backlog_of(const LiveNode& node);

// Days until the journal is full; nothing: its growth is not known, or retention holds it below its bound.
std::optional<std::uint64_t> days_left(const LiveNode& node);

// The last sample is older than this: the agent hangs or the node was asleep.
Milliseconds stale_after(const LiveNode& node);

}  // namespace nodemeter::cli
