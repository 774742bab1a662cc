// Goal: the service answers each control of Windows' service manager as a meter should: it samples when the machine
// wakes up or its clock is set, ends in the time that it asked for, and refuses what it has no answer to.
// Method: the handler that the system would call is called here, with the manager's part played by a list of what it
// was told; then with the whole daemon behind it. Wine's own manager cannot send the controls of power and time.

#include <windows.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <thread>

#include "agent/cli/service_control.h"
#include "agent/cli/service_name.h"
#include "store/live_view.h"
#include "tests/agent/daemon_site.h"

using namespace nodemeter;
using cli::ServiceReport;

namespace {

constexpr std::chrono::seconds kSoon{60};  // Far below what a test may take, far above what a busy machine needs.

struct Manager {
  Manager() {
    controls.begin([this](const ServiceReport& report) {
      const std::lock_guard lock(mutex);
      told.push_back(report);
    });
  }
  DWORD send(DWORD control, DWORD event = 0) { return cli::on_service_control(control, event, nullptr, &controls); }
  ServiceReport last() {
    const std::lock_guard lock(mutex);
    return told.back();
  }
  // The daemon's next wait ends at once.
  bool woken() {
    const auto begun = std::chrono::steady_clock::now();
    controls.wait(Milliseconds{60'000});
    return std::chrono::steady_clock::now() - begun < kSoon / 2;
  }

  std::mutex mutex;
  std::vector<ServiceReport> told;
  cli::ServiceControls controls;
};

// The daemon under the manager, with samples an hour apart.
struct RunningService {
  RunningService() {
    site.options.speed = 1;
    site.options.sample_interval = std::chrono::hours{1};
    daemon = std::thread([this] {
      const auto service = cli::managed_service(manager.controls, std::thread([this] { manager.controls.serve(); }));
      std::ostringstream err;
      code = run_daemon(site.options, false, *service, err);
    });
  }
  RunningService(const RunningService&) = delete;
  RunningService& operator=(const RunningService&) = delete;
  ~RunningService() { stop(); }

  void stop() {
    if (!daemon.joinable()) return;
    manager.send(SERVICE_CONTROL_PRESHUTDOWN);
    daemon.join();
  }
  // When the last sample was taken; waits for one that is later than `before`.
  MonotonicTime sampled_after(MonotonicTime before) const {
    const auto begun = std::chrono::steady_clock::now();
    for (;;) {
      const auto view = read_live_view(site.options.live_name);
      if (view && view->node.sampled_monotonic > before) {
        // The system's clock may move in steps of 16 ms: the next sample is to be another step's.
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        return view->node.sampled_monotonic;
      }
      if (std::chrono::steady_clock::now() - begun > kSoon) FAIL("no sample was taken");
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }

  DaemonSite site;
  Manager manager;
  std::thread daemon;
  int code = -1;
};

}  // namespace

TEST_CASE("a service that starts says so, and takes controls when it runs", "[service]") {
  Manager manager;
  CHECK(manager.last().state == SERVICE_START_PENDING);
  CHECK(manager.last().accepted == 0);
  CHECK(manager.last().check_point == 1);
  CHECK(manager.last().hint_ms == 110'000);
  manager.controls.ready();
  CHECK(manager.last().state == SERVICE_RUNNING);
  CHECK(manager.last().accepted == (SERVICE_ACCEPT_STOP | SERVICE_ACCEPT_PRESHUTDOWN | SERVICE_ACCEPT_PARAMCHANGE |
                                    SERVICE_ACCEPT_POWEREVENT | SERVICE_ACCEPT_TIMECHANGE));
  CHECK(manager.last().check_point == 0);
  CHECK(manager.last().hint_ms == 0);
}

TEST_CASE("a stop and a shutdown are answered with the time that they may take", "[service]") {
  const DWORD control = GENERATE(as<DWORD>{}, SERVICE_CONTROL_STOP, SERVICE_CONTROL_PRESHUTDOWN);
  Manager manager;
  manager.controls.ready();
  CHECK(manager.send(control) == NO_ERROR);
  CHECK(manager.controls.stop_requests() == 1);
  CHECK(manager.last().state == SERVICE_STOP_PENDING);
  CHECK(manager.last().accepted == 0);
  CHECK(manager.last().check_point == 1);
  CHECK(manager.last().hint_ms == cli::kStopsWithinMs);
  CHECK(manager.woken());
  // Each sign of life asks for as much again: a last delivery may take longer than one hint.
  manager.controls.alive();
  CHECK(manager.last().check_point == 2);
  CHECK(manager.last().hint_ms == cli::kStopsWithinMs);
  // What is late in becoming ready does not take the stop back.
  manager.controls.ready();
  CHECK(manager.last().state == SERVICE_STOP_PENDING);
  manager.controls.finish();
  manager.controls.serve();
  CHECK(manager.last().state == SERVICE_STOPPED);
  CHECK(manager.last().exit_code == 0);
}

TEST_CASE("an end that nobody asked for, and a failure, let the recovery actions run", "[service]") {
  Manager manager;
  manager.controls.ready();
  SECTION("without a stop") {}
  SECTION("a failure while it stops") {
    manager.send(SERVICE_CONTROL_STOP);
    manager.controls.failed();
  }
  manager.controls.finish();
  manager.controls.serve();
  CHECK(manager.last().state == SERVICE_STOPPED);
  CHECK(manager.last().exit_code == 1);
}

TEST_CASE("going to sleep, waking up and a clock that is set wake the daemon up for a sample", "[service]") {
  const auto [control, event] = GENERATE(table<DWORD, DWORD>({{SERVICE_CONTROL_POWEREVENT, PBT_APMSUSPEND},
                                                              {SERVICE_CONTROL_POWEREVENT, PBT_APMRESUMEAUTOMATIC},
                                                              {SERVICE_CONTROL_TIMECHANGE, 0}}));
  Manager manager;
  manager.controls.ready();
  CHECK(manager.send(control, event) == NO_ERROR);
  CHECK(manager.controls.disturbances() == 1);
  CHECK(manager.woken());
  CHECK(manager.controls.stop_requests() == 0);
  CHECK(manager.last().state == SERVICE_RUNNING);
}

TEST_CASE("a change of parameters is a wish to read the files again, and nothing else", "[service]") {
  Manager manager;
  CHECK(manager.send(SERVICE_CONTROL_PARAMCHANGE) == NO_ERROR);
  CHECK(manager.controls.reload_requests() == 1);
  CHECK(manager.controls.disturbances() == 0);
  CHECK(manager.controls.stop_requests() == 0);
  CHECK(manager.woken());
}

TEST_CASE("what concerns no meter changes nothing", "[service]") {
  Manager manager;
  manager.controls.ready();
  const std::size_t told = manager.told.size();
  CHECK(manager.send(SERVICE_CONTROL_INTERROGATE) == NO_ERROR);
  // A user at the screen after the machine has already woken up; mains or battery; a setting.
  for (const DWORD event : {PBT_APMRESUMESUSPEND, PBT_APMPOWERSTATUSCHANGE, PBT_POWERSETTINGCHANGE}) {
    CHECK(manager.send(SERVICE_CONTROL_POWEREVENT, event) == NO_ERROR);
  }
  for (const DWORD control : {SERVICE_CONTROL_PAUSE, SERVICE_CONTROL_CONTINUE, SERVICE_CONTROL_SHUTDOWN,
                              SERVICE_CONTROL_SESSIONCHANGE, 128, 255}) {
    CHECK(manager.send(control) == ERROR_CALL_NOT_IMPLEMENTED);
  }
  CHECK(manager.controls.stop_requests() == 0);
  CHECK(manager.controls.reload_requests() == 0);
  CHECK(manager.controls.disturbances() == 0);
  CHECK(manager.told.size() == told);
}

TEST_CASE("the running service samples at once when the machine wakes up or its clock is set, and ends with it",
          "[service]") {
  RunningService service;
  MonotonicTime last = service.sampled_after(MonotonicTime{});
  CHECK(service.manager.send(SERVICE_CONTROL_POWEREVENT, PBT_APMSUSPEND) == NO_ERROR);
  last = service.sampled_after(last);
  CHECK(service.manager.send(SERVICE_CONTROL_POWEREVENT, PBT_APMRESUMEAUTOMATIC) == NO_ERROR);
  last = service.sampled_after(last);
  CHECK(service.manager.send(SERVICE_CONTROL_TIMECHANGE) == NO_ERROR);
  (void)service.sampled_after(last);
  CHECK(service.manager.last().state == SERVICE_RUNNING);
  service.stop();
  CHECK(service.code == 0);
  CHECK(service.manager.last().state == SERVICE_STOPPED);
  CHECK(service.manager.last().exit_code == 0);
}
