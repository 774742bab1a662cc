// The meter's rows in the store.
//
//   "node"      the node (agent/meter_state.h)
//   "vm/<id>"   a VM that is here or has open hours: all of its state, at the time at which the row was written
//   "moved"     how far time alone has moved the numbers of those VMs since
//   "gone/<id>" a VM that left and whose hours are all recorded: for its registers
//
// A node in ordinary service changes little: the same VMs, owners and devices, while the same numbers grow with every
// sample. So a VM's row is written only when anything else changes, which is about twice an hour; the growth of all VMs
// stands in one small row. Either is in the commit of the sample that made it.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "agent/meter_state.h"
#include "platform/result.h"

namespace nodemeter {

inline constexpr std::string_view kNodeRowKey = "node";
inline constexpr std::string_view kMovedRowKey = "moved";
inline constexpr std::string_view kVmRowPrefix = "vm/";
std::string vm_row_key(const VmId& vm);
std::string gone_row_key(const VmId& vm);

// Makes the row "moved": add() every VM that has a row, in the order of their ids.
//
// Layout: u8 layout, u32 number of VMs; per VM the first 4 bytes of its id and its numbers, as they come in
// meter_rows.cpp. A number is given as the difference between its move and the move that the numbers before it let
// expect, modulo 2^64, zigzag-coded. Most are zero: before each eighth number of the row stands a byte that tells which
// of the next eight are not (the lowest bit is the first), and only those follow, 7 bits a byte, the lowest first, the
// highest bit set in all but the last.
class MovedRow {
 public:
  // `bytes_usual`: how long the row was the last time.
  explicit MovedRow(std::size_t bytes_usual = 0);
  // False, and nothing is added: between `row`, what the VM's row says, and `now` more has changed than numbers.
  bool add(const VmState& now, const VmState& row);
  [[nodiscard]] std::string take();

 private:
  std::string bytes_;  // Longer than what is in use, so that numbers need no look at its size.
  std::size_t used_ = 0;
  std::size_t mask_at_ = 0;
  unsigned numbers_ = 0;
  std::uint32_t vms_ = 0;
  std::uint64_t usual_move_ = 0;
};

// What the rows say, given those of the keys above (others are passed over). Nothing was ever stored: a node that has
// not started and no VMs. Stores of earlier versions have no row "moved": their VMs' rows are up to date.
// kCorrupt: a row does not decode; the message names it.
struct StoredMeter {
  NodeState node;
  std::vector<VmState> vms;  // Ordered by id.
};
Result<StoredMeter> decode_rows(const std::vector<std::pair<std::string, std::string>>& rows);

}  // namespace nodemeter
