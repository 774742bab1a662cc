// Judges of a played plan. Each holds what the agent wrote against something that it had no hand in: the node's truth,
// the second reading of the rules (bookkeeper.h), the receiver's books. None means that the world was right.

#pragma once

#include <string>
#include <vector>

#include "tests/sim/play.h"

namespace nodemeter {

// Each complaint begins with its judge's name and a colon.
std::vector<std::string> judge(const Plan& plan, const Outcome& outcome);

std::string judge_name(const std::string& complaint);

}  // namespace nodemeter
