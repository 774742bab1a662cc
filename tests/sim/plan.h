// What happens in one world, drawn from a seed: a node's VMs, and every fault in the order of true time.
//
// A plan is plain values, so that it can be printed, read back and shrunk. It knows more than a scenario file: what a
// hypervisor, a clock, a store and a network do to an agent, and not only what operators do to VMs.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "collectors/source.h"
#include "platform/result.h"

namespace nodemeter {

// One list for names in JSON, totals and printed plans.
// clang-format off
#define NODEMETER_PLAN_OPS(X) \
  /* To a VM. */ \
  X(arrive) X(migrate_in) X(leave) X(migrate_out) X(migrate_fails) X(recreate) X(start) X(stop) X(restart) \
  X(reboot) X(pause) X(resume) X(resize) X(resize_quietly) X(balloon) X(rename) X(owner) X(plug_disk) \
  X(plug_nic) X(unplug) X(hang) X(stall) X(fall) \
  /* To the source and the host. */ \
  X(stream_cut) X(service_away) X(source_down) X(late_sample) X(sample_twice) X(clock_step) X(clock_drift) \
  X(clock_unsynchronised) X(suspend) X(power_loss) X(late_notices) \
  /* To the agent and its store. */ \
  X(agent_crash) X(agent_upgrade) X(commit_lost) X(commit_unknown_written) X(commit_unknown_lost) X(store_full) \
  /* To the network and the receiver. */ \
  X(refused) X(lost_before_storing) X(lost_after_storing) X(arrives_later) X(old_request_again) X(slow) \
  X(status) X(retry_after) X(proxy_page) X(truncated) X(wrong_acknowledgement) X(refuses_row) \
  X(refuses_rows_for_a_while) X(refuses_all) X(too_large) X(receiver_backup) X(receiver_restored)
// clang-format on

enum class Op : std::uint8_t {
#define NODEMETER_PLAN_OP(name) name,
  NODEMETER_PLAN_OPS(NODEMETER_PLAN_OP)
#undef NODEMETER_PLAN_OP
      count_of_ops
};
inline constexpr std::size_t kOpCount = static_cast<std::size_t>(Op::count_of_ops);

std::string_view op_name(Op op);

struct PlanOp {
  std::int64_t at_ms = 0;  // True time since the world's start.
  Op op = Op::reboot;
  std::uint32_t vm = 0;  // Position in Plan::vms; of VM operations only.
  std::int64_t a = 0;    // Meaning by operation: a span in ms, a level, a status, a count.
  std::int64_t b = 0;
  friend bool operator==(const PlanOp&, const PlanOp&) = default;
};

struct PlanVm {
  std::uint32_t vcores = 1;
  std::uint64_t memory_mib = 0;
  std::uint32_t cpu_percent = 0;
  std::uint32_t disks = 0;
  std::uint32_t nics = 0;
  std::uint64_t rate = 0;     // Bytes per second of each device; operations and packets follow from it.
  bool width_32 = false;      // Operation counters wrap at 32 bits, and are fast enough to do so.
  bool starts_proven = true;  // The hypervisor shows when processes and devices began.
  bool owner_known = true;
  bool windows = false;
  bool persistent = true;     // A definition stays behind after a migration.
  std::int64_t first_ms = 0;  // Present from then on; below 0: it waits for an operation.
  friend bool operator==(const PlanVm&, const PlanVm&) = default;
};

struct Plan {
  std::uint64_t seed = 1;     // Of identifiers and of the agent's jitter.
  std::int64_t start_ms = 0;  // UTC.
  std::int64_t length_ms = 0;
  std::int64_t interval_ms = 10'000;
  std::int64_t close_grace_ms = 30'000;
  std::uint32_t rows_max = 10'000;  // Of a batch.
  bool begins_empty = true;         // The store has watched the node without VMs until the start.
  bool count_stopped = true;
  bool urgent = true;  // Arrivals are read at once.
  std::vector<PlanVm> vms;
  std::vector<PlanOp> ops;  // Ordered by at_ms.
  friend bool operator==(const Plan&, const Plan&) = default;
};

Plan draw_plan(std::uint64_t seed);

std::string plan_json(const Plan& plan);
// kInvalidInput says what is wrong.
Result<Plan> parse_plan(std::string_view json);

// What was drawn, in two lines for people.
std::string plan_text(const Plan& plan);

}  // namespace nodemeter
