#include <chrono>
#include <thread>

#include "collectors/hyperv_capture.h"
#include "collectors/hyperv_workers.h"
#include "collectors/pdh_counters_windows.h"
#include "collectors/wmi_session_windows.h"

namespace nodemeter {

Result<HypervCapture> capture_this_host() {
  const WmiConnector wmi = [] { return open_wmi_session(kHypervNamespace); };
  if (const Result<std::unique_ptr<WmiSession>> session = wmi(); !session) {
    if (session.error().code == ErrorCode::kUnsupported) return session.error();
  }
  const std::unique_ptr<Clock> clock = system_clock();
  NullLog log;
  const auto tracker = std::make_shared<HypervTracker>(HypervTracker::Options{}, *clock);
  HypervWorkers::Options options;
  options.patience = Milliseconds{60'000};
  options.disk_patience = Milliseconds{60'000};
  HypervWorkers reader(options, wmi, open_pdh_counters, tracker, *clock, log);
  HypervCapture capture;
  capture.passes.push_back(capture_pass(reader, *clock));
  std::this_thread::sleep_for(std::chrono::seconds{1});
  capture.passes.push_back(capture_pass(reader, *clock));
  std::vector<std::string> paths;
  if (const auto all = parse_settings(capture.passes.front().tables); all) {
    for (const auto& [vm, settings] : *all) {
      for (const HypervDisk& disk : settings.disks) paths.push_back(disk.path);
    }
  }
  capture.sizes = reader.disk_sizes(paths);
  return capture;
}

}  // namespace nodemeter
