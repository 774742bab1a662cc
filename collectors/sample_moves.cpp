#include "collectors/sample_moves.h"

#include <algorithm>

namespace nodemeter {

void follow_moves(Sample& sample, const std::map<VmId, std::optional<Power>>& moved) {
  for (const auto& [id, power] : moved) {
    const auto reading = std::lower_bound(sample.vms.begin(), sample.vms.end(), id,
                                          [](const VmReading& r, const VmId& wanted) { return r.vm < wanted; });
    const bool listed = reading != sample.vms.end() && reading->vm == id;
    if (!listed && power) {
      sample.inventory = Inventory::kKnownOnly;  // It is here and was not read; its arrival asks for the next sample.
    } else if (listed && !power) {
      sample.vms.erase(reading);
    } else if (listed) {
      reading->levels.power = *power;
      if (*power == Power::kOff) {
        reading->devices.clear();
        reading->process_began.reset();
      }
    }
  }
}

}  // namespace nodemeter
