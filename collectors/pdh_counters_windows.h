// Performance counters by PDH. The only user of pdh.h is pdh_counters_windows.cpp.

#pragma once

#include "collectors/counter_query.h"

namespace nodemeter {

// Counters are added by their English names, one by one; those that this Windows does not offer, and those that have
// shown nothing for a while, are added anew now and then: a role may be installed, a provider started again meanwhile.
// As CounterOpener.
Result<std::unique_ptr<CounterQuery>> open_pdh_counters(const std::vector<CounterPath>& paths);

}  // namespace nodemeter
