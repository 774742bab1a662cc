// The HypervReader of a real host: WMI, counters and image files each on a thread of their own, so that none waits for
// another, and a pump that carries notices to the tracker.
//
// Every call has a time limit. A thread that hangs is left behind and replaced (collectors/session_worker.h). A pump
// that is not heard of counts as broken, until another one is connected.
//
// Threads: as HypervReader.

#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "collectors/hyperv_reader.h"
#include "collectors/hyperv_tracker.h"
#include "collectors/session_worker.h"
#include "collectors/wmi_session.h"
#include "platform/log.h"

namespace nodemeter {

class HypervWorkers final : public HypervReader {
 public:
  struct Options {
    Milliseconds patience{5'000};       // With all rows of a list, or a pass over all counters; longer where one came
    Milliseconds patience_max{15'000};  // too late, or a large host would never answer in time.
    Milliseconds disk_patience{500};    // With sizes, which are read on in the background.
    Milliseconds size_age_max{300'000};
    Milliseconds size_retry{30'000};    // Where none is known yet: the file may still be in the making.
    Milliseconds wedged_after{30'000};  // Who is asked for sizes; then another takes its place.
    Milliseconds pump_silence_max{10'000};
  };
  // `tracker` receives the notices. `clock` and `log` must outlive the object.
  HypervWorkers(Options options, const WmiConnector& wmi, const CounterOpener& counters,
                std::shared_ptr<HypervTracker> tracker, const Clock& clock, Log& log);
  ~HypervWorkers() override;

  Result<Rows> rows(const std::vector<WmiQuery>& queries) override;
  Result<Counters> counters() override;
  std::map<std::string, std::uint64_t> disk_sizes(const std::vector<std::string>& paths) override;

 private:
  struct Pump;
  struct Sizes {
    struct Size {
      std::optional<std::uint64_t> bytes;
      std::string fault;  // Why there is none.
      bool told = false;
      std::chrono::steady_clock::time_point read_at{};
    };
    struct Asked {
      std::chrono::steady_clock::time_point at{};
      int unanswered = 0;
    };
    std::mutex mutex;
    std::map<std::string, Size> known;
    std::map<std::string, Asked> asked;
  };
  template <class T, class Session, class Task>
  Result<T> call(SessionWorker<Session>& worker, const std::string& what, const Task& task);
  static Status read_sizes(WmiSession& session, const std::vector<std::string>& paths, Sizes& sizes);
  std::vector<std::string> sizes_wanted(const std::vector<std::string>& paths);
  void start_pump();
  void watch_pump();
  static void pump_main(const std::shared_ptr<Pump>& pump);
  static Error pump_notices(Pump& pump);

  const Options options_;
  const WmiConnector connector_;
  const std::shared_ptr<HypervTracker> tracker_;
  const Clock& clock_;
  Log& log_;
  SessionWorker<WmiSession> wmi_;
  SessionWorker<CounterQuery> counters_;
  SessionWorker<WmiSession> files_;
  const std::shared_ptr<Sizes> sizes_ = std::make_shared<Sizes>();
  std::map<std::string, Milliseconds> patience_;  // By what is asked for, where it is not the usual one.
  std::shared_ptr<Pump> pump_;
  std::vector<std::shared_ptr<Pump>> pumps_left_;  // Behind, because they hung.
};

// Reads what the notice of a new machine should tell: its settings, with the sizes of its disks. Nothing: not readable.
std::optional<HypervSettings> read_settings_of(WmiSession& session, const VmId& vm);

}  // namespace nodemeter
