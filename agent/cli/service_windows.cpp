#include <windows.h>

#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

#include "agent/cli/service.h"
#include "agent/cli/service_control.h"
#include "agent/cli/service_name.h"
#include "platform/windows_api.h"

namespace nodemeter::cli {

namespace {

constexpr DWORD kConsoleEndMs = 4'000;  // The system ends a process five seconds after its console is closed.

// For the one service of the process.
struct ProcessState {
  ServiceControls controls;
  const windows::Handle ended{::CreateEventW(nullptr, TRUE, FALSE, nullptr)};

  std::mutex mutex;  // Guards what follows.
  std::condition_variable changed;
  enum class Starter { kUnknown, kManager, kSomebodyElse } starter = Starter::kUnknown;
};

ProcessState& state() {
  static auto* const one = new ProcessState;  // Outlives every thread of the system's that may still call.
  return *one;
}

void started_by(ProcessState::Starter starter) {
  {
    const std::lock_guard lock(state().mutex);
    state().starter = starter;
  }
  state().changed.notify_all();
}

void tell_manager(SERVICE_STATUS_HANDLE manager, const ServiceReport& report) {
  SERVICE_STATUS status{};
  status.dwServiceType = SERVICE_WIN32_OWN_PROCESS;
  status.dwCurrentState = report.state;
  status.dwControlsAccepted = report.accepted;
  status.dwWin32ExitCode = report.exit_code == 0 ? NO_ERROR : ERROR_SERVICE_SPECIFIC_ERROR;
  status.dwServiceSpecificExitCode = report.exit_code;
  status.dwCheckPoint = report.check_point;
  status.dwWaitHint = report.hint_ms;
  (void)::SetServiceStatus(manager, &status);
}

// The manager's thread: stands for the daemon, which runs on the thread that it has always run on.
void WINAPI service_main(DWORD, wchar_t**) {
  ServiceControls& controls = state().controls;
  const SERVICE_STATUS_HANDLE manager = ::RegisterServiceCtrlHandlerExW(kServiceName, &on_service_control, &controls);
  controls.begin([manager](const ServiceReport& report) { tell_manager(manager, report); });
  started_by(ProcessState::Starter::kManager);
  controls.serve();
}

void dispatch() {
  std::wstring name = kServiceName;
  const SERVICE_TABLE_ENTRYW table[] = {{name.data(), &service_main}, {nullptr, nullptr}};
  // Not started by the manager, in which case the system says so at once.
  if (::StartServiceCtrlDispatcherW(table) == 0) started_by(ProcessState::Starter::kSomebodyElse);
}

BOOL WINAPI on_console(DWORD what) {
  state().controls.ask_to_stop();
  // The process is ended when this returns, unless it was a key.
  if (what != CTRL_C_EVENT && what != CTRL_BREAK_EVENT) {
    (void)::WaitForSingleObject(state().ended.get(), kConsoleEndMs);
  }
  return TRUE;
}

}  // namespace

Result<std::unique_ptr<Service>> open_process_service() {
  ProcessState& s = state();
  if (!s.controls.usable() || !s.ended.valid()) return windows::failed("cannot make an event", ::GetLastError());
  std::thread dispatcher(&dispatch);
  std::unique_lock lock(s.mutex);
  s.changed.wait(lock, [&] { return s.starter != ProcessState::Starter::kUnknown; });
  if (s.starter == ProcessState::Starter::kManager) return managed_service(s.controls, std::move(dispatcher));
  lock.unlock();
  dispatcher.join();
  if (::SetConsoleCtrlHandler(&on_console, TRUE) == 0) {
    return windows::failed("cannot handle Ctrl-C", ::GetLastError());
  }
  return console_service(s.controls, [] { (void)::SetEvent(state().ended.get()); });
}

}  // namespace nodemeter::cli
