// The smallest plan that still makes one judge complain.

#pragma once

#include <functional>
#include <string>

#include "tests/sim/plan.h"

namespace nodemeter {

// Removes operations and VMs and shortens `plan` while the judge of that name still complains.
Plan shrink(const Plan& plan, const std::string& judge);

// The same with any condition; `fails(plan)` must be true and must not depend on anything but the plan.
Plan shrink_while(const Plan& plan, const std::function<bool(const Plan&)>& fails);

}  // namespace nodemeter
