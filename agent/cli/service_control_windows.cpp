#include <windows.h>

#include <algorithm>
#include <string>
#include <utility>

#include "agent/cli/service_control.h"
#include "agent/cli/service_name.h"

namespace nodemeter::cli {

namespace {

constexpr DWORD kStartHintMs = 110'000;  // Opening a large journal checks it first.
constexpr DWORD kFailed = 1;             // Our own exit code, so that the recovery actions run.
constexpr DWORD kAccepted = SERVICE_ACCEPT_STOP | SERVICE_ACCEPT_PRESHUTDOWN | SERVICE_ACCEPT_PARAMCHANGE |
                            SERVICE_ACCEPT_POWEREVENT | SERVICE_ACCEPT_TIMECHANGE;

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

class ConsoleService : public Service {
 public:
  ConsoleService(ServiceControls& controls, std::function<void()> on_end)
      : controls_(controls), on_end_(std::move(on_end)) {}
  ConsoleService(const ConsoleService&) = delete;
  ConsoleService& operator=(const ConsoleService&) = delete;
  ~ConsoleService() override {
    if (on_end_) on_end_();
  }

  void wait(Milliseconds longest) override { controls_.wait(longest); }
  void wake() override { controls_.wake(); }
  [[nodiscard]] int stop_requests() const override { return controls_.stop_requests(); }
  [[nodiscard]] int reload_requests() const override { return controls_.reload_requests(); }
  [[nodiscard]] int disturbances() const override { return controls_.disturbances(); }
  void ready() override {}
  void alive() override {}
  void stopping() override {}

 protected:
  ServiceControls& controls_;

 private:
  std::function<void()> on_end_;
};

class ManagedService final : public ConsoleService {
 public:
  ManagedService(ServiceControls& controls, std::thread dispatcher)
      : ConsoleService(controls, nullptr), dispatcher_(std::move(dispatcher)) {}
  ManagedService(const ManagedService&) = delete;
  ManagedService& operator=(const ManagedService&) = delete;
  ~ManagedService() override {
    controls_.finish();
    if (dispatcher_.joinable()) dispatcher_.join();
  }

  std::unique_ptr<Log> open_log(LogLevel least, bool) override { return std::make_unique<EventLog>(least); }
  void ready() override { controls_.ready(); }
  void alive() override { controls_.alive(); }
  void stopping() override { controls_.stopping(); }
  void failed(std::string_view why) override {
    controls_.failed();
    EventLog(LogLevel::kError).error("the agent has ended", {{"why", std::string(why)}});
  }

 private:
  std::thread dispatcher_;
};

}  // namespace

ServiceControls::ServiceControls() : wake_(::CreateEventW(nullptr, FALSE, FALSE, nullptr)) {}

void ServiceControls::begin(Tell tell) {
  const std::lock_guard lock(mutex_);
  tell_ = std::move(tell);
  report(SERVICE_START_PENDING, kStartHintMs);
}

void ServiceControls::serve() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return finished_; });
  report(SERVICE_STOPPED, 0);
}

void ServiceControls::ask_to_stop() {
  stops_.fetch_add(1);
  wake();
}

void ServiceControls::wait(Milliseconds longest) {
  const auto ms = static_cast<DWORD>(std::clamp<std::int64_t>(longest.count(), 0, 60'000));
  (void)::WaitForSingleObject(wake_.get(), ms);
}

void ServiceControls::wake() { (void)::SetEvent(wake_.get()); }

void ServiceControls::ready() {
  const std::lock_guard lock(mutex_);
  if (stops_.load() == 0) report(SERVICE_RUNNING, 0);
}

void ServiceControls::alive() {
  const std::lock_guard lock(mutex_);
  if (last_.state == SERVICE_STOP_PENDING) report(SERVICE_STOP_PENDING, kStopsWithinMs);
}

void ServiceControls::stopping() {
  const std::lock_guard lock(mutex_);
  report(SERVICE_STOP_PENDING, kStopsWithinMs);
}

void ServiceControls::failed() {
  const std::lock_guard lock(mutex_);
  last_.exit_code = kFailed;
}

void ServiceControls::finish() {
  {
    const std::lock_guard lock(mutex_);
    if (stops_.load() == 0) last_.exit_code = kFailed;
    finished_ = true;
  }
  changed_.notify_all();
}

void ServiceControls::report(DWORD state, DWORD hint_ms) {
  const bool pending = state == SERVICE_START_PENDING || state == SERVICE_STOP_PENDING;
  last_.check_point = pending ? (last_.state == state ? last_.check_point + 1 : 1) : 0;
  last_.state = state;
  last_.hint_ms = hint_ms;
  last_.accepted = state == SERVICE_RUNNING ? kAccepted : 0;
  if (tell_) tell_(last_);
}

DWORD ServiceControls::answer(DWORD control, DWORD event) {
  switch (control) {
    case SERVICE_CONTROL_STOP:
    case SERVICE_CONTROL_PRESHUTDOWN: {
      const std::lock_guard lock(mutex_);
      report(SERVICE_STOP_PENDING, kStopsWithinMs);
      stops_.fetch_add(1);
      break;
    }
    case SERVICE_CONTROL_PARAMCHANGE: reloads_.fetch_add(1); break;
    case SERVICE_CONTROL_TIMECHANGE: disturbances_.fetch_add(1); break;
    case SERVICE_CONTROL_POWEREVENT:
      // Also on the way down: what was used until now is read before the machine sleeps, as far as it leaves time.
      if (event != PBT_APMSUSPEND && event != PBT_APMRESUMEAUTOMATIC) return NO_ERROR;
      disturbances_.fetch_add(1);
      break;
    case SERVICE_CONTROL_INTERROGATE: return NO_ERROR;
    default: return ERROR_CALL_NOT_IMPLEMENTED;
  }
  wake();
  return NO_ERROR;
}

unsigned long on_service_control(unsigned long control, unsigned long event, void*, void* controls) {
  return static_cast<ServiceControls*>(controls)->answer(control, event);
}

std::unique_ptr<Service> managed_service(ServiceControls& controls, std::thread dispatcher) {
  return std::make_unique<ManagedService>(controls, std::move(dispatcher));
}

std::unique_ptr<Service> console_service(ServiceControls& controls, std::function<void()> on_end) {
  return std::make_unique<ConsoleService>(controls, std::move(on_end));
}

}  // namespace nodemeter::cli
