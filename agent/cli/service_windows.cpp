#include <windows.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

#include "agent/cli/service.h"
#include "agent/cli/service_name.h"
#include "platform/windows_api.h"

namespace nodemeter::cli {

namespace {

constexpr DWORD kStartHintMs = 60'000;  // Opening a large journal checks it first.
constexpr DWORD kStopHintMs = 30'000;
constexpr DWORD kFailed = 1;            // Our own exit code, so that the recovery actions run.
constexpr DWORD kConsoleEndMs = 4'000;  // The system ends a process five seconds after its console is closed.

// Everything that callbacks of the system touch, for the one service of the process.
struct ProcessState {
  HANDLE wake = ::CreateEventW(nullptr, FALSE, FALSE, nullptr);
  HANDLE ended = ::CreateEventW(nullptr, TRUE, FALSE, nullptr);
  std::atomic<int> stops{0};
  std::atomic<int> reloads{0};
  std::atomic<int> disturbances{0};

  std::mutex mutex;  // Guards what follows.
  std::condition_variable changed;
  enum class Starter { kUnknown, kManager, kSomebodyElse } starter = Starter::kUnknown;
  bool finished = false;
  DWORD exit_code = 0;
  SERVICE_STATUS_HANDLE handle = nullptr;
  SERVICE_STATUS status{};
};

ProcessState& state() {
  static auto* const one = new ProcessState;  // Outlives every thread of the system's that may still call.
  return *one;
}

void poke() { (void)::SetEvent(state().wake); }

// Tells the manager. With the mutex held.
void report(DWORD what, DWORD hint_ms) {
  ProcessState& s = state();
  s.status.dwServiceType = SERVICE_WIN32_OWN_PROCESS;
  const bool pending = what == SERVICE_START_PENDING || what == SERVICE_STOP_PENDING;
  s.status.dwCheckPoint = pending ? (s.status.dwCurrentState == what ? s.status.dwCheckPoint + 1 : 1) : 0;
  s.status.dwCurrentState = what;
  s.status.dwWaitHint = hint_ms;
  s.status.dwControlsAccepted = what == SERVICE_RUNNING
                                    ? SERVICE_ACCEPT_STOP | SERVICE_ACCEPT_PRESHUTDOWN | SERVICE_ACCEPT_PARAMCHANGE |
                                          SERVICE_ACCEPT_POWEREVENT | SERVICE_ACCEPT_TIMECHANGE
                                    : 0;
  s.status.dwWin32ExitCode = s.exit_code == 0 ? NO_ERROR : ERROR_SERVICE_SPECIFIC_ERROR;
  s.status.dwServiceSpecificExitCode = s.exit_code;
  (void)::SetServiceStatus(s.handle, &s.status);
}

DWORD WINAPI on_control(DWORD control, DWORD event, void*, void*) {
  ProcessState& s = state();
  switch (control) {
    case SERVICE_CONTROL_STOP:
    case SERVICE_CONTROL_PRESHUTDOWN: {
      const std::lock_guard lock(s.mutex);
      report(SERVICE_STOP_PENDING, kStopHintMs);
      s.stops.fetch_add(1);
      break;
    }
    case SERVICE_CONTROL_PARAMCHANGE: s.reloads.fetch_add(1); break;
    case SERVICE_CONTROL_TIMECHANGE: s.disturbances.fetch_add(1); break;
    case SERVICE_CONTROL_POWEREVENT:
      // Also on the way down: what was used until now is read before the machine sleeps.
      if (event == PBT_APMSUSPEND || event == PBT_APMRESUMEAUTOMATIC) s.disturbances.fetch_add(1);
      break;
    case SERVICE_CONTROL_INTERROGATE: return NO_ERROR;
    default: return ERROR_CALL_NOT_IMPLEMENTED;
  }
  poke();
  return NO_ERROR;
}

// The manager's thread: stands for the daemon, which runs on the thread that it has always run on.
void WINAPI service_main(DWORD, wchar_t**) {
  ProcessState& s = state();
  std::unique_lock lock(s.mutex);
  s.handle = ::RegisterServiceCtrlHandlerExW(kServiceName, &on_control, nullptr);
  s.starter = ProcessState::Starter::kManager;
  report(SERVICE_START_PENDING, kStartHintMs);
  s.changed.notify_all();
  s.changed.wait(lock, [&] { return s.finished; });
  report(SERVICE_STOPPED, 0);
}

void dispatch() {
  std::wstring name = kServiceName;
  const SERVICE_TABLE_ENTRYW table[] = {{name.data(), &service_main}, {nullptr, nullptr}};
  if (::StartServiceCtrlDispatcherW(table) != 0) return;
  // Not started by the manager, in which case the system says so at once.
  ProcessState& s = state();
  const std::lock_guard lock(s.mutex);
  s.starter = ProcessState::Starter::kSomebodyElse;
  s.changed.notify_all();
}

BOOL WINAPI on_console(DWORD what) {
  ProcessState& s = state();
  s.stops.fetch_add(1);
  poke();
  // The process is ended when this returns, unless it was a key.
  if (what != CTRL_C_EVENT && what != CTRL_BREAK_EVENT) (void)::WaitForSingleObject(s.ended, kConsoleEndMs);
  return TRUE;
}

// The application log of the system.
class EventLog final : public Log {
 public:
  explicit EventLog(LogLevel least) : least_(least), source_(::RegisterEventSourceW(nullptr, kServiceName)) {}
  EventLog(const EventLog&) = delete;
  EventLog& operator=(const EventLog&) = delete;
  ~EventLog() override {
    if (source_ != nullptr) ::DeregisterEventSource(source_);
  }

  void write(LogLevel level, std::string_view message, std::initializer_list<LogField> fields) override {
    if (level < least_ || source_ == nullptr) return;
    const WORD type = level == LogLevel::kError     ? EVENTLOG_ERROR_TYPE
                      : level == LogLevel::kWarning ? EVENTLOG_WARNING_TYPE
                                                    : EVENTLOG_INFORMATION_TYPE;
    const std::wstring text = windows::wide(log_text(message, fields));
    const wchar_t* strings[] = {text.c_str()};
    const DWORD id = kEventOfLevel + static_cast<DWORD>(level);
    (void)::ReportEventW(source_, type, 0, id, nullptr, 1, 0, strings, nullptr);
  }

 private:
  const LogLevel least_;
  const HANDLE source_;
};

class ProcessService : public Service {
 public:
  void wait(Milliseconds longest) override {
    const auto ms = static_cast<DWORD>(std::clamp<std::int64_t>(longest.count(), 0, 60'000));
    (void)::WaitForSingleObject(state().wake, ms);
  }
  void wake() override { poke(); }
  [[nodiscard]] int stop_requests() const override { return state().stops.load(); }
  [[nodiscard]] int reload_requests() const override { return state().reloads.load(); }
  [[nodiscard]] int disturbances() const override { return state().disturbances.load(); }
  void ready() override {}
  void alive() override {}
  void stopping() override {}
};

class ConsoleService final : public ProcessService {
 public:
  ~ConsoleService() override { (void)::SetEvent(state().ended); }
};

class ManagedService final : public ProcessService {
 public:
  explicit ManagedService(std::thread dispatcher) : dispatcher_(std::move(dispatcher)) {}
  ManagedService(const ManagedService&) = delete;
  ManagedService& operator=(const ManagedService&) = delete;
  ~ManagedService() override {
    {
      const std::lock_guard lock(state().mutex);
      // Ended without being asked to: the manager is to start it again.
      if (state().stops.load() == 0) state().exit_code = kFailed;
      state().finished = true;
    }
    state().changed.notify_all();
    dispatcher_.join();
  }

  std::unique_ptr<Log> open_log(LogLevel least, bool) override { return std::make_unique<EventLog>(least); }
  void ready() override {
    const std::lock_guard lock(state().mutex);
    if (state().stops.load() == 0) report(SERVICE_RUNNING, 0);
  }
  void alive() override {
    const std::lock_guard lock(state().mutex);
    if (state().status.dwCurrentState == SERVICE_STOP_PENDING) report(SERVICE_STOP_PENDING, kStopHintMs);
  }
  void stopping() override {
    const std::lock_guard lock(state().mutex);
    report(SERVICE_STOP_PENDING, kStopHintMs);
  }
  void failed(std::string_view why) override {
    {
      const std::lock_guard lock(state().mutex);
      state().exit_code = kFailed;
    }
    EventLog(LogLevel::kError).error("the agent has ended", {{"why", std::string(why)}});
  }

 private:
  std::thread dispatcher_;
};

}  // namespace

Result<std::unique_ptr<Service>> open_process_service() {
  ProcessState& s = state();
  if (s.wake == nullptr || s.ended == nullptr) return windows::failed("cannot make an event", ::GetLastError());
  std::thread dispatcher(&dispatch);
  std::unique_lock lock(s.mutex);
  s.changed.wait(lock, [&] { return s.starter != ProcessState::Starter::kUnknown; });
  if (s.starter == ProcessState::Starter::kManager) {
    return std::unique_ptr<Service>(std::make_unique<ManagedService>(std::move(dispatcher)));
  }
  lock.unlock();
  dispatcher.join();
  if (::SetConsoleCtrlHandler(&on_console, TRUE) == 0) {
    return windows::failed("cannot handle Ctrl-C", ::GetLastError());
  }
  return std::unique_ptr<Service>(std::make_unique<ConsoleService>());
}

}  // namespace nodemeter::cli
