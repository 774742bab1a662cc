// How its instants, and notices that came before and while it was being read, become part of a sample. Pure.

#pragma once

#include <map>
#include <optional>
#include <vector>

#include "collectors/source.h"

namespace nodemeter {

// What a tracker hands over for a sample that was read from a certain mark on.
struct TakenNotices {
  ClockReading now;  // Read under the queue's lock: no event of this or an earlier take() is later.
  bool unbroken = false;
  std::vector<VmEvent> events;
  // What became of VMs with notices since the mark: nothing for those that are not allocated any more.
  std::map<VmId, std::optional<Power>> moved;
};

// The sample is of that moment.
void put_instants(Sample& sample, const ClockReading& now);

// `moved`: VMs with such events, and what they are now. The events are right, so the readings follow them.
void follow_moves(Sample& sample, const std::map<VmId, std::optional<Power>>& moved);

// Instants, events and what they make of the readings. `first`: no complete sample was before this one.
void finish_sample(Sample& sample, TakenNotices taken, bool first);

}  // namespace nodemeter
