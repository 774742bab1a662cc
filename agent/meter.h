// The meter: samples in, entries out. This is where readings become usage.
//
// Pure and stepped: no clock, no I/O, no threads; time is what the samples say. The same object runs in the agent, in
// `simulate` and in the tests. Every rule is product.md's, section 3; agent/METERING.md decides the cases.
//
// In memory are the VMs that are here or still have open hours. Of a VM that left, only its registers must survive:
// they are recalled from the store when it comes back.

#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "agent/meter_rows.h"
#include "agent/meter_state.h"
#include "collectors/source.h"
#include "store/entry.h"

namespace nodemeter {

struct MeterOptions {
  // True: a VM that is off counts as allocated, as the usage FAQ says. False: only powered-on VMs do.
  bool count_stopped = true;
  // An hour closes at the first sample this long after its edge. Longer: later bills, fewer further records.
  Milliseconds close_grace{30'000};
  bool simulated = false;
};

// The wall clock moved by more than this between two samples: a step, not a drift.
inline constexpr Milliseconds kClockStepMin{500};

// Two clocks that are cut to milliseconds may differ by this much without having moved.
inline constexpr Milliseconds kClockRounding{1};

// A 32-bit counter that falls has wrapped only if that means fewer operations per second than this; otherwise it fell.
inline constexpr std::uint64_t kWrapOperationsPerSecondMax = 5'000'000;

// A counter that falls by at most this, to more than half of what it was, was read a little early, not reset: its
// baseline stays, so that what it regains is not billed twice. Larger: a reset is billed less after it.
inline constexpr std::uint64_t kSmallFallMax = 1'000'000;

// NodeState::last_complete of a store that has not seen a complete list of VMs yet.
inline constexpr MonotonicTime kNeverComplete{Milliseconds{-1}};

// A display name or a reason is kept up to this many bytes.
inline constexpr std::size_t kNameMax = 255;

class Meter {
 public:
  struct CounterMeter;  // Which counter of which device feeds which meter.

  // The stored state of a VM that is not in memory, if the store has one.
  using Recall = std::function<std::optional<VmState>(const VmId&)>;

  explicit Meter(const MeterOptions& options, Recall recall = {});

  // Puts back what was stored, into a meter that has taken nothing yet. The next sample starts after a gap: nobody
  // watched in between.
  void restore(NodeState node, std::vector<VmState> vms);

  // The same for a store that goes on from an older copy of itself. What was used since the copy's last entries may
  // stand in entries that were made after it and are not here, so it is not counted again: the time until the first
  // sample is declared a gap, with what the copy had gathered of open hours. VMs are met as after an installation.
  // `last_entry`: when the copy's last entry was reported; for a copy without state. Gives where the gap begins.
  UtcTime restore_copy(const NodeState& node, const std::vector<VmState>& vms, UtcTime last_entry);

  // Declares that this store has watched the node, without any VM, until now. For simulations.
  void begin_empty(const BootId& boot, MonotonicTime monotonic, UtcTime utc);

  // Takes a sample: accounts for the time since the previous one, and closes what is due. Gives the entries to commit,
  // together with take_changed_rows(). Requires that monotonic time does not fall within one boot.
  std::vector<Entry> step(const Sample& sample);

  // There is no sample, because of `cause`: the time until the next one is a gap unless it proves otherwise.
  void source_failed(std::string cause);

  // Closes every open hour now; hours that are not over are marked partial. The agent is asked to end for good.
  std::vector<Entry> close_all();

  // Rows that changed since the last call: key to bytes, or to nothing for a row that is to be deleted.
  std::vector<std::pair<std::string, std::optional<std::string>>> take_changed_rows();

  [[nodiscard]] const NodeState& node() const { return node_; }
  [[nodiscard]] const std::map<VmId, VmState>& vms() const { return vms_; }

  // How far the wall clock moved against monotonic time at the last sample.
  [[nodiscard]] std::int64_t clock_moved_ms() const { return clock_moved_ms_; }

 private:
  // What is only known while one sample is taken in.
  struct Interval {
    const Sample* sample = nullptr;
    bool first = false;                 // This store's first sample ever.
    bool rebooted = false;              // The previous sample was taken in another boot.
    bool watched = false;               // Every event since the previous sample is known.
    MonotonicTime previous_complete{};  // The previous one that listed every VM, if in this boot; kNeverComplete.
    std::int64_t offset_ms = 0;         // UTC minus monotonic time, at this sample.
    struct Touched {
      MonotonicTime seen{};  // Of the VM, before this sample.
      BootId boot;
      bool known = false;      // Its state before this sample was known: here, or not here.
      bool ran = false;        // It was here then, with a process that could be told.
      bool settled = false;    // A proof in this step: what follows is known again.
      bool estimated = false;  // Its time includes an unwatched stretch.
      bool assumed = false;    // What it is given was told at the end of its time only.
      bool departed = false;   // An event said so: a listing from just before says nothing.
      bool listed = false;
    };
    std::map<VmId, Touched> touched;
    std::pair<const VmState*, Touched*> last_touched{};  // Nearly always asked for again at once.
  };

  struct Span {  // Half open, in labelled UTC.
    UtcTime from;
    UtcTime to;
  };

  VmState* find(const VmId& vm);
  VmState& enter(const VmId& vm);
  Interval::Touched& touch(const VmState& vm);
  [[nodiscard]] UtcTime label(MonotonicTime t) const;
  [[nodiscard]] bool counts(const Levels& levels) const;
  [[nodiscard]] bool unwatched(const VmState& vm);

  void begin_interval(const Sample& sample);
  void apply(const VmEvent& event);
  void describe_arrival(VmState& vm, const VmReading& reading);
  void arrive(VmState& vm, MonotonicTime at);
  void observe(const VmReading& reading);
  void found(VmState& vm, const VmReading& reading);
  void describe(VmState& vm, const VmReading& reading);
  void settle_unlisted(VmState& vm);
  void end_interval();
  void follow_clock();
  void close_due();
  void forget_departed();

  void advance(VmState& vm, MonotonicTime to, const Levels& just_before);
  void bridge(VmState& vm, MonotonicTime to, const Levels& after, std::optional<MonotonicTime> process_began);
  void bridge_boots(VmState& vm, UtcTime to, const Levels& low, std::optional<MonotonicTime> process_began);
  void seen_until(VmState& vm, MonotonicTime to);
  void cover(VmState& vm, Span span, const Levels& levels, std::uint32_t status);
  void add_gap(VmState& vm, Span span, std::uint32_t status);
  void depart(VmState& vm, MonotonicTime at, const std::string& how);
  void end_runs(VmState& vm, MonotonicTime at);
  void set_runs_aside(VmState& vm);

  [[nodiscard]] static bool goes_on(const std::vector<DeviceTrack>& tracks, const VmReading& reading);
  void count_devices(VmState& vm, const VmReading& reading);
  void count_device(VmState& vm, const DeviceReading& device, bool older);
  void count_counter(VmState& vm, const CounterMeter& rule, const DeviceReading& device,
                     std::optional<CounterBase>& base, bool may_wrap);
  DeviceTrack& begin_run(VmState& vm, const DeviceReading& device, bool older);
  void count_delta(VmState& vm, MeterIndex meter, std::uint64_t delta, MonotonicTime from, MonotonicTime to);
  void mark(VmState& vm, MonotonicTime at, std::uint32_t status) { mark(vm, label(at), status); }
  void mark(VmState& vm, UtcTime at, std::uint32_t status);

  OpenHour& open_hour(VmState& vm, std::int64_t hour);
  Entry usage_entry(VmState& vm, std::int64_t hour, const OpenHour& open, bool partial) const;
  void close_hours(VmState& vm, std::int64_t below, bool partial);
  void note_gap(const Sample& sample);
  // Returns where the told stretch ends; `to` if none was open.
  UtcTime tell_gap(UtcTime to);
  void record_event(const VmState* vm, std::string_view what, const std::string& how, UtcTime at,
                    std::uint32_t status = 0, const std::string& extra = {});

  const MeterOptions options_;
  const Recall recall_;
  NodeState node_;
  std::map<VmId, VmState> vms_;
  MonotonicTime watched_from_{};  // The last sample before which an event may have been lost.
  std::set<VmId> unsettled_;      // Present, but not listed at the end of a stretch that nobody watched.
  std::set<VmId> forgotten_;
  std::map<VmId, std::string> gone_rows_;
  std::string moved_row_;  // As it was last given out.
  bool node_changed_ = false;
  std::string gap_cause_ = "agent down";  // Of the time since the last sample; "" if it was watched.
  std::int64_t clock_moved_ms_ = 0;
  Interval interval_;
  std::vector<Entry> entries_;
};

// Across time that nobody watched, the smaller of both sides is what is proven.
Levels smaller(const Levels& a, const Levels& b);

// /subscriptions/{s}/resourceGroups/{g}/providers/Microsoft.Compute/virtualMachines/{name}, parts percent-encoded.
std::string resource_uri(const VmId& vm, const Owner& owner);

}  // namespace nodemeter
