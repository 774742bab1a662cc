#include "collectors/sample_moves.h"

#include <algorithm>
#include <utility>

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

void put_instants(Sample& sample, const ClockReading& now) {
  sample.boot = now.boot;
  sample.taken_at = now.monotonic;
  sample.wall = now.utc;
  sample.clock_synchronised = now.synchronised;
}

void finish_sample(Sample& sample, TakenNotices taken, bool first) {
  put_instants(sample, taken.now);
  sample.events_unbroken = taken.unbroken && !first;
  sample.events = std::move(taken.events);
  follow_moves(sample, taken.moved);
}

}  // namespace nodemeter
