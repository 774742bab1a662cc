// Publications of the live view whose numbers all follow from one, so that a mixture of two gives itself away.

#pragma once

#include "platform/process.h"
#include "store/live_view.h"
#include "store_fixtures.h"

namespace nodemeter {

inline std::string fresh_name() { return "nodemeter-test-" + Random::from_system().uuid().text(); }

// Every number in it is `n` or follows from it.
inline LiveSnapshot numbered(std::uint64_t n, std::size_t vms = 20) {
  LiveSnapshot s;
  s.node.node = "node-" + std::to_string(n);
  s.node.process_id = current_process();
  s.node.sampled = at_ms(static_cast<std::int64_t>(n));
  s.node.last_sequence = n;
  s.node.gaps_today = n;
  for (std::size_t i = 0; i < vms; ++i) {
    LiveVm vm;
    Uuid id;
    id.bytes[14] = static_cast<std::uint8_t>(i >> 8);
    id.bytes[15] = static_cast<std::uint8_t>(i);
    vm.vm = VmId(id);
    vm.name = "vm-" + std::to_string(n + i);
    vm.memory_mib = n;
    vm.hour_vcore_ms = n + i;
    if (n % 2 == 0) vm.cpu_permille = n;
    s.vms.push_back(vm);
  }
  return s;
}

inline bool whole(const LiveSnapshot& s) {
  const std::uint64_t n = s.node.last_sequence;
  if (s.node.node != "node-" + std::to_string(n) || s.node.gaps_today != n) return false;
  for (std::size_t i = 0; i < s.vms.size(); ++i) {
    const LiveVm& vm = s.vms[i];
    if (vm.name != "vm-" + std::to_string(n + i) || vm.memory_mib != n || vm.hour_vcore_ms != n + i) return false;
    if (vm.cpu_permille.has_value() != (n % 2 == 0)) return false;
  }
  return true;
}

}  // namespace nodemeter
