// A simulated host node: VMs that truly run, a clock, and a hypervisor that shows them as well as it can.
//
// Truth is kept here, in true time, by integrating states exactly; nothing of the meter is used. What a source shows
// is derived from it through the faults of the plan. Times are milliseconds of true time since the plan's start.

#pragma once

#include <array>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "platform/clock.h"
#include "store/meters.h"
#include "tests/sim/plan.h"

namespace nodemeter {

VmId plan_vm_id(const Plan& plan, std::size_t index);

// What a VM was allocated, from `at` on.
struct Moment {
  std::int64_t at = 0;
  bool present = false;
  Power power = Power::kOff;
  std::uint64_t vcores = 0;
  std::uint64_t memory_mib = 0;
  std::uint64_t disk_mib = 0;
};

struct Truth {
  std::vector<Moment> moments;                       // Ordered by `at`; in force until the next one.
  std::array<std::uint64_t, kMeterCount> hidden{};   // Of it no reading will ever show this much.
  std::array<std::uint64_t, kMeterCount> counted{};  // Counters only.
  std::int64_t late_ms = 0;                          // By which its notices were late, together.
};

class SimNode {
 public:
  explicit SimNode(const Plan& plan);

  void advance(std::int64_t to);
  [[nodiscard]] std::int64_t now() const { return now_; }
  void apply(const PlanOp& op, bool watched);
  // The next instant at which something happens by itself; far away if nothing will.
  [[nodiscard]] std::int64_t next_own() const;

  // --- The host and its clock.
  void suspend_until(std::int64_t t) { suspended_until_ = std::max(suspended_until_, t); }
  [[nodiscard]] std::int64_t suspended_until() const { return suspended_until_; }
  void power_off();
  void power_on(std::int64_t wall_error_ms);
  [[nodiscard]] bool host_up() const { return host_up_; }
  void step_wall(std::int64_t by);
  void drift(std::int64_t ppm);
  void unsynchronised_until(std::int64_t t) { unsynchronised_until_ = t; }
  [[nodiscard]] ClockReading clock() const;
  [[nodiscard]] std::int64_t true_of(MonotonicTime t) const { return t.time_since_epoch().count() + boot_began_; }

  // --- The hypervisor's side.
  void cut_stream();
  // The agent's connection ends. Notices that the hypervisor has not made yet reach the next one.
  void hang_up();
  void keep_stream() { unbroken_ = true; }
  // Definitions that stay behind after a migration are only shown to somebody who saw the migration.
  void forget_left_behind_since(std::uint64_t sample);
  void service_away_until(std::int64_t t);
  void source_down_until(std::int64_t t);
  // What happens until then is told late, unless what a sample lists cannot be understood without it.
  void notices_late_until(std::int64_t t) { late_until_ = std::max(late_until_, t); }
  Result<Sample> read_all();
  bool take_urgency() { return std::exchange(urgent_, false); }
  void make_urgent() { urgent_ = true; }
  void everything_answers();  // The end of all faults of source and VMs.

  // For how long the VM has truly run in its present run, and what it is made of.
  [[nodiscard]] std::int64_t ran_ms(const VmId& vm) const;
  [[nodiscard]] std::uint64_t run_of(const VmId& vm) const;
  [[nodiscard]] std::vector<std::pair<DeviceKind, std::string>> device_ids(const VmId& vm) const;

  [[nodiscard]] const std::map<VmId, Truth>& truth() const { return truth_; }

 private:
  struct Device {
    DeviceKind kind = DeviceKind::kCpu;
    std::string id;
    std::uint64_t run = 0;
    std::int64_t began = 0;
    std::int64_t ran_ms = 0;
    std::array<std::uint64_t, kCountersMax> per_s{};
    std::array<std::uint64_t, kCountersMax> value{};   // Truly counted in this run.
    std::array<std::uint64_t, kCountersMax> fallen{};  // How much less is shown.
    std::array<std::uint64_t, kCountersMax> frozen{};
    std::int64_t frozen_until = -1;
    std::int64_t readable_from = 0;
    std::uint64_t capacity_mib = 0;
    mutable std::uint64_t shown_run = 0;  // The last run that a reading showed.
  };
  struct Machine {
    const PlanVm* plan = nullptr;
    VmId id;
    bool present = false;
    bool left_behind = false;
    std::int64_t left_at = 0;
    std::uint64_t left_in = 0;  // The sample that tells of it, if nothing is lost.
    bool migrating = false;     // Out, suspended for the last time, or so it seems.
    bool restart = false;
    bool known_to_process_watch = false;  // Listed while the service was there.
    Power power = Power::kOff;
    std::uint32_t vcores = 0;
    std::uint64_t memory_mib = 0;
    std::uint32_t name = 0;
    std::uint32_t owner = 0;
    std::int64_t run_began = 0;
    std::vector<Device> devices;  // Ordered by (kind, id).
    std::uint32_t devices_made = 0;
    std::optional<Power> told;  // As the last sample showed it; nothing: not allocated.
    std::int64_t hangs_until = -1;
    bool hangs_whole = false;
  };
  struct Notice {
    std::int64_t at = 0;   // What it tells of.
    std::int64_t due = 0;  // When it comes, unless a sample waits for it.
    VmEvent event;
  };
  struct Own {
    std::uint32_t vm = 0;
    Op op = Op::start;
  };

  [[nodiscard]] const Machine& machine_of(const VmId& vm) const;
  void apply_to(Machine& machine, const PlanOp& op, bool watched);
  void apply_lifecycle(Machine& machine, const PlanOp& op, bool watched);
  void apply_devices(Machine& machine, const PlanOp& op);
  void apply_own(const Own& own);
  void run_devices(Machine& machine, std::int64_t ran);
  void begin_run(Machine& machine);
  void arrive(Machine& machine, const char* how);
  void depart(Machine& machine, const char* how);
  void start(Machine& machine);
  void stop(Machine& machine);
  void hide(const Machine& machine, Device& device, std::size_t counter, std::uint64_t amount);
  void resize(Machine& machine, std::uint32_t vcores);
  void add_device(Machine& machine, DeviceKind kind, std::int64_t readable_from);
  void redefine_notices(const Machine& machine);
  void forget_notices(const std::function<bool(const Notice&)>& lost);
  void note(const Machine& machine);
  void report(const Machine& machine, VmEventKind kind, const char* how);
  [[nodiscard]] Levels levels(const Machine& machine) const;
  [[nodiscard]] Owner owner(const Machine& machine) const;
  [[nodiscard]] VmReading reading(const Machine& machine, MonotonicTime monotonic, bool service) const;
  void tell(Sample& sample);
  [[nodiscard]] static std::optional<Power> standing(const Machine& machine);
  [[nodiscard]] std::int64_t wall() const;
  void begin_boot();

  const Plan& plan_;
  std::int64_t now_ = 0;
  std::vector<Machine> machines_;
  std::map<VmId, Truth> truth_;
  std::multimap<std::int64_t, Own> own_;
  std::uint64_t runs_ = 0;
  std::array<Uuid, 8> subscriptions_;  // By owner.

  bool host_up_ = true;
  std::int64_t suspended_until_ = 0;
  std::uint32_t boots_ = 0;
  BootId boot_;
  std::int64_t boot_began_ = -3'600'000;
  std::int64_t wall_offset_ = 0;
  std::int64_t drift_ppm_ = 0;
  std::int64_t drift_since_ = 0;
  std::int64_t unsynchronised_until_ = -1;

  std::vector<Notice> notices_;
  std::int64_t late_until_ = -1;
  std::uint64_t samples_ = 0;
  bool unbroken_ = false;
  bool urgent_ = false;
  std::int64_t away_until_ = -1;
  std::int64_t down_until_ = -1;
};

}  // namespace nodemeter
