// Turns WMI's notices about machines into allocation events, in order and without losing one silently.
//
// A notice shows a machine as it was; what happened is the difference to what was known before. Notices come late and
// out of date, so one that is older than what a list of all machines has shown since is passed over. Starts are placed
// by the machine's on-time, everything else by when its notice came.
//
// Threads: all methods from any thread. Notices come from the thread that waits for them, samples from the agent's.

#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "collectors/hyperv_inventory.h"
#include "collectors/notice_stream.h"
#include "collectors/sample_moves.h"
#include "collectors/source.h"

namespace nodemeter {

// What a machine is allocated by its settings, without disk sizes, which only the storage knows.
Levels levels_of(const HypervSettings& settings, Power power);

class HypervTracker final : public NoticeStream {
 public:
  struct Options {
    bool trust_notes = true;
    std::function<void()> on_urgency;  // Called without a lock, from the thread of notice().
    std::size_t events_max = 4096;     // Beyond it events are dropped, and the next sample says so.
  };
  // `clock` must outlive the tracker.
  HypervTracker(Options options, const Clock& clock) : options_(std::move(options)), clock_(clock) {}

  // `settings`: of this machine, read when the notice came; nothing if they could not be.
  void notice(const WmiNotice& notice, const std::optional<HypervSettings>& settings);

  // True once after something about machines' settings may have changed.
  bool take_changed();
  // Machines that notices showed without a process since the last call.
  struct Absences {
    std::set<VmId> off;   // Whatever they run now was started since, and here.
    std::set<VmId> left;  // Not here, and not seen off after that: what came back may have been on elsewhere.
  };
  Absences take_absences();

  // A machine that is allocated here, or is not; only where it was listed.
  struct Standing {
    HypervMachine machine;
    bool allocated = false;
  };
  // Whether the notices so far explain exactly what is listed.
  [[nodiscard]] bool explains(const std::vector<Standing>& listed) const;
  // Takes over what was listed at `mark`. Machines with later notices keep what those told.
  void accept(const std::vector<Standing>& listed, std::uint64_t mark);
  // Whether this machine is known to be on its way in: it is here, and somebody else's until it runs.
  [[nodiscard]] bool arriving(const VmId& vm) const;
  // Whether it is allocated here as far as lists and notices told.
  [[nodiscard]] bool has(const VmId& vm) const;

  TakenNotices take(std::uint64_t mark);

 private:
  struct Machine {
    HypervMachine known;
    bool allocated = false;
    bool came_in = false;  // Was on its way in when first seen.
    MonotonicTime seen{};  // When `known` was shown, which may have been shortly before.
    std::uint64_t noticed = 0;
    MonotonicTime last_event{};
    // UTC less monotonic time, when its last state change was seen. Nothing: the clock was set back since.
    std::optional<std::int64_t> wall_offset_ms;
  };

  void push(Machine& machine, VmEventKind kind, std::string how, MonotonicTime at,
            const std::optional<HypervSettings>& settings);
  void change(Machine& machine, const HypervMachine& now, bool created, const std::optional<HypervSettings>& settings);
  void change_power(Machine& machine, const HypervMachine& now, const std::optional<HypervSettings>& settings);
  void remove(Machine& machine, const HypervMachine& last);
  [[nodiscard]] std::int64_t wall_offset_ms() const;
  [[nodiscard]] MonotonicTime started_at(const HypervMachine& machine) const;

  const Options options_;
  const Clock& clock_;
  std::map<VmId, Machine> machines_;
  std::vector<VmEvent> queue_;
  MonotonicTime stamp_{};                       // Of the notice that is being applied.
  MonotonicTime floor_{};                       // When the queue was last taken: no later event may be earlier.
  std::uint64_t changes_ = 0;                   // Notices of more than that time has passed.
  std::optional<std::uint64_t> changes_taken_;  // Those that take_changed() told of.
  Absences absences_;
};

}  // namespace nodemeter
