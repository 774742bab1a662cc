// What becomes of a sample's readings by events that came while it was being read. Pure.

#pragma once

#include <map>
#include <optional>

#include "collectors/source.h"

namespace nodemeter {

// `moved`: VMs with such events, and what they are now; nothing: not allocated any more. The events are right, so the
// readings follow them.
void follow_moves(Sample& sample, const std::map<VmId, std::optional<Power>>& moved);

}  // namespace nodemeter
