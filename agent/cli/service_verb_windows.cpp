#include <windows.h>

#include <aclapi.h>
#include <lm.h>
#include <sddl.h>
#include <shellapi.h>

#include <array>
#include <filesystem>
#include <memory>
#include <optional>
#include <utility>

#include "agent/cli/service_name.h"
#include "agent/cli/service_verb.h"
#include "agent/machine.h"
#include "platform/files.h"
#include "platform/json_writer.h"
#include "platform/windows_api.h"

namespace nodemeter::cli {

namespace {

namespace fs = std::filesystem;

// Opening a journal of years checks it first; a stop waits for a commit and for a batch under way.
constexpr ULONGLONG kChangesWithinMs = 120'000;
constexpr DWORD kLookEveryMs = 100;
// On top of what a service that starts asked for itself.
constexpr ULONGLONG kLateByMs = 10'000;
constexpr DWORD kEndsWithinMs = 10'000;  // A process that was ended by force.

// What a service of the system's newest version can be asked for, and an older one (or Wine) refuses.
constexpr DWORD kNotKnownHere[] = {ERROR_INVALID_LEVEL, ERROR_INVALID_PARAMETER, ERROR_CALL_NOT_IMPLEMENTED};

struct ManagerDeleter {
  void operator()(SC_HANDLE handle) const { ::CloseServiceHandle(handle); }
};
using ManagerHandle = std::unique_ptr<std::remove_pointer_t<SC_HANDLE>, ManagerDeleter>;

struct LocalDeleter {
  void operator()(void* memory) const { ::LocalFree(memory); }
};

Error refused(const std::string& what) { return windows::failed(what, ::GetLastError()); }

Result<ManagerHandle> open_manager(DWORD access) {
  ManagerHandle manager(::OpenSCManagerW(nullptr, nullptr, access));
  if (!manager) return refused("cannot reach the service manager (run this as an administrator)");
  return manager;
}

Result<ManagerHandle> open_service(DWORD access) {
  const Result<ManagerHandle> manager = open_manager(SC_MANAGER_CONNECT);
  if (!manager) return manager.error();
  ManagerHandle service(::OpenServiceW(manager->get(), kServiceName, access));
  if (service) return service;
  if (::GetLastError() == ERROR_SERVICE_DOES_NOT_EXIST) {
    return Error{ErrorCode::kNotFound, "the service is not installed: nodemeter service install"};
  }
  return refused("cannot open the service (run this as an administrator)");
}

std::optional<SERVICE_STATUS_PROCESS> status_of(const ManagerHandle& service) {
  SERVICE_STATUS_PROCESS status{};
  DWORD size = 0;
  if (::QueryServiceStatusEx(service.get(), SC_STATUS_PROCESS_INFO, reinterpret_cast<BYTE*>(&status), sizeof status,
                             &size) == 0) {
    return std::nullopt;
  }
  return status;
}

const char* word_of(DWORD state) {
  switch (state) {
    case SERVICE_STOPPED: return "stopped";
    case SERVICE_START_PENDING: return "starting";
    case SERVICE_STOP_PENDING: return "stopping";
    case SERVICE_RUNNING: return "running";
    default: return "paused";
  }
}

// ---- Installing ----

std::wstring program() {
  std::array<wchar_t, 32'768> path{};
  const DWORD size = ::GetModuleFileNameW(nullptr, path.data(), static_cast<DWORD>(path.size()));
  return {path.data(), size};
}

std::wstring command_line(const ServiceOptions& options) {
  std::wstring line = L"\"" + program() + L"\" agent";
  if (!options.config.empty()) line += L" --config \"" + fs::absolute(fs::path(options.config)).native() + L"\"";
  return line;
}

// The service's account in the system's notation; "" where the system makes none for services (Wine).
std::string service_sid() {
  std::array<char, SECURITY_MAX_SID_SIZE> sid{};
  std::array<wchar_t, 256> domain{};
  auto sid_size = static_cast<DWORD>(sid.size());
  auto domain_size = static_cast<DWORD>(domain.size());
  SID_NAME_USE use{};
  wchar_t* text = nullptr;
  if (::LookupAccountNameW(nullptr, kServiceAccount, sid.data(), &sid_size, domain.data(), &domain_size, &use) == 0 ||
      ::ConvertSidToStringSidW(sid.data(), &text) == 0) {
    return "";
  }
  const std::unique_ptr<wchar_t, LocalDeleter> owner(text);
  return windows::narrow(text);
}

Status set_option(const ManagerHandle& service, DWORD level, void* value, const std::string& what) {
  if (::ChangeServiceConfig2W(service.get(), level, value) != 0) return Done{};
  const DWORD error = ::GetLastError();
  for (const DWORD known : kNotKnownHere) {
    if (error == known) return Done{};
  }
  return windows::failed("cannot set the service's " + what, error);
}

Status set_recovery(const ManagerHandle& service) {
  // After each failure of a day, a little later each time, without an end: a stopped meter is a gap.
  std::array<SC_ACTION, 3> actions{
      {{SC_ACTION_RESTART, 5'000}, {SC_ACTION_RESTART, 30'000}, {SC_ACTION_RESTART, 60'000}}};
  SERVICE_FAILURE_ACTIONSW recovery{};
  recovery.dwResetPeriod = 86'400;
  recovery.cActions = static_cast<DWORD>(actions.size());
  recovery.lpsaActions = actions.data();
  if (Status set = set_option(service, SERVICE_CONFIG_FAILURE_ACTIONS, &recovery, "recovery"); !set) return set;
  SERVICE_FAILURE_ACTIONS_FLAG also_by_exit_code{TRUE};
  return set_option(service, SERVICE_CONFIG_FAILURE_ACTIONS_FLAG, &also_by_exit_code, "recovery by exit code");
}

Status set_options(const ManagerHandle& service) {
  std::wstring text = kServiceText;
  SERVICE_DESCRIPTIONW description{text.data()};
  SERVICE_SID_INFO sid{SERVICE_SID_TYPE_UNRESTRICTED};
  // The names of shared memory that all sessions see, and nothing else.
  std::array<wchar_t, 64> privileges{L"SeChangeNotifyPrivilege\0SeCreateGlobalPrivilege\0"};
  SERVICE_REQUIRED_PRIVILEGES_INFOW required{privileges.data()};
  SERVICE_PRESHUTDOWN_INFO shutdown{kStopsWithinMs};
  if (Status set = set_option(service, SERVICE_CONFIG_DESCRIPTION, &description, "description"); !set) return set;
  if (Status set = set_option(service, SERVICE_CONFIG_SERVICE_SID_INFO, &sid, "account"); !set) return set;
  if (Status set = set_option(service, SERVICE_CONFIG_REQUIRED_PRIVILEGES_INFO, &required, "privileges"); !set)
    return set;
  if (Status set = set_option(service, SERVICE_CONFIG_PRESHUTDOWN_INFO, &shutdown, "shutdown time"); !set) return set;
  return set_recovery(service);
}

// Makes the service, or brings one that is there up to date.
Result<ManagerHandle> make_service(const ServiceOptions& options) {
  const Result<ManagerHandle> manager = open_manager(SC_MANAGER_CONNECT | SC_MANAGER_CREATE_SERVICE);
  if (!manager) return manager.error();
  const std::wstring line = command_line(options);
  ManagerHandle service(::CreateServiceW(manager->get(), kServiceName, kServiceTitle, SERVICE_ALL_ACCESS,
                                         SERVICE_WIN32_OWN_PROCESS, SERVICE_AUTO_START, SERVICE_ERROR_NORMAL,
                                         line.c_str(), nullptr, nullptr, nullptr, kServiceAccount, nullptr));
  if (service) return service;
  if (::GetLastError() != ERROR_SERVICE_EXISTS) return refused("cannot create the service");
  service.reset(::OpenServiceW(manager->get(), kServiceName, SERVICE_ALL_ACCESS));
  if (!service ||
      ::ChangeServiceConfigW(service.get(), SERVICE_WIN32_OWN_PROCESS, SERVICE_AUTO_START, SERVICE_ERROR_NORMAL,
                             line.c_str(), nullptr, nullptr, nullptr, kServiceAccount, nullptr, kServiceTitle) == 0) {
    return refused("cannot change the service");
  }
  return service;
}

// The folder of configuration, journal and keys: for the system, administrators and the service only.
Status close_folder(const std::string& sid) {
  const fs::path folder = default_config_path().parent_path();
  if (Status made = make_state_directory(folder); !made) return made;
  std::string rules = "D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)";
  if (!sid.empty()) rules += "(A;OICI;FA;;;" + sid + ")";
  PSECURITY_DESCRIPTOR descriptor = nullptr;
  if (::ConvertStringSecurityDescriptorToSecurityDescriptorW(windows::wide(rules).c_str(), SDDL_REVISION_1, &descriptor,
                                                             nullptr) == 0) {
    return refused("cannot make the rules of " + folder.string());
  }
  const std::unique_ptr<void, LocalDeleter> owner(descriptor);
  BOOL present = FALSE;
  BOOL by_default = FALSE;
  PACL list = nullptr;
  (void)::GetSecurityDescriptorDacl(descriptor, &present, &list, &by_default);
  std::wstring path = folder.native();
  const DWORD error = ::SetNamedSecurityInfoW(path.data(), SE_FILE_OBJECT,
                                              DACL_SECURITY_INFORMATION | PROTECTED_DACL_SECURITY_INFORMATION, nullptr,
                                              nullptr, list, nullptr);
  if (error != ERROR_SUCCESS) return windows::failed("cannot close " + folder.string() + " to others", error);
  return Done{};
}

// Which groups the service needs to be in, by the numbers that they have in every language.
struct Group {
  const wchar_t* sid;
  const char* name;
  const char* why;
};
constexpr Group kGroups[] = {
    {L"S-1-5-32-578", "Hyper-V Administrators", "virtual machines cannot be read; is the Hyper-V role installed?"},
    {L"S-1-5-32-558", "Performance Monitor Users", "performance counters cannot be read"},
};

std::optional<std::wstring> group_name(const wchar_t* text) {
  PSID sid = nullptr;
  if (::ConvertStringSidToSidW(text, &sid) == 0) return std::nullopt;
  const std::unique_ptr<void, LocalDeleter> owner(sid);
  std::array<wchar_t, 256> name{};
  std::array<wchar_t, 256> domain{};
  auto name_size = static_cast<DWORD>(name.size());
  auto domain_size = static_cast<DWORD>(domain.size());
  SID_NAME_USE use{};
  if (::LookupAccountSidW(nullptr, sid, name.data(), &name_size, domain.data(), &domain_size, &use) == 0) {
    return std::nullopt;
  }
  return std::wstring(name.data());
}

// Puts the service's account into its groups, or takes it out. What cannot be done is said, and is no failure: a host
// without the role has no such group.
void change_groups(const std::string& sid, bool add, const Console& console) {
  PSID account = nullptr;
  if (sid.empty() || ::ConvertStringSidToSidW(windows::wide(sid).c_str(), &account) == 0) {
    if (add) console.err << "nodemeter: this system gives services no account of their own: no group was changed\n";
    return;
  }
  const std::unique_ptr<void, LocalDeleter> owner(account);
  for (const Group& group : kGroups) {
    const std::optional<std::wstring> name = group_name(group.sid);
    LOCALGROUP_MEMBERS_INFO_0 member{account};
    DWORD error = NERR_GroupNotFound;
    if (name) {
      auto* const bytes = reinterpret_cast<BYTE*>(&member);
      error = add ? ::NetLocalGroupAddMembers(nullptr, name->c_str(), 0, bytes, 1)
                  : ::NetLocalGroupDelMembers(nullptr, name->c_str(), 0, bytes, 1);
    }
    if (add && error != NERR_Success && error != ERROR_MEMBER_IN_ALIAS) {
      console.err << "nodemeter: cannot add the service to the group " << group.name << " (" << windows::words(error)
                  << "): " << group.why << "\n";
    }
  }
}

constexpr const wchar_t* kEventSource = L"SYSTEM\\CurrentControlSet\\Services\\EventLog\\Application\\nodemeter";

// Lets the event viewer show our messages: by a program of the system's that knows the message "%1".
Status register_events() {
  constexpr wchar_t kMessages[] = L"%SystemRoot%\\System32\\EventCreate.exe";
  const DWORD types = EVENTLOG_ERROR_TYPE | EVENTLOG_WARNING_TYPE | EVENTLOG_INFORMATION_TYPE;
  LONG error = ::RegSetKeyValueW(HKEY_LOCAL_MACHINE, kEventSource, L"EventMessageFile", REG_EXPAND_SZ, kMessages,
                                 sizeof kMessages);
  if (error == ERROR_SUCCESS) {
    error = ::RegSetKeyValueW(HKEY_LOCAL_MACHINE, kEventSource, L"TypesSupported", REG_DWORD, &types, sizeof types);
  }
  if (error == ERROR_SUCCESS) return Done{};
  return windows::failed("cannot register the event source", static_cast<windows::ErrorNumber>(error));
}

int install(const ServiceOptions& options, const Console& console) {
  const Result<ManagerHandle> service = make_service(options);
  if (!service) return say(console, service.error());
  if (Status set = set_options(*service); !set) return say(console, set.error());
  const std::string sid = service_sid();
  if (Status closed = close_folder(sid); !closed) return say(console, closed.error());
  if (Status registered = register_events(); !registered) return say(console, registered.error());
  change_groups(sid, true, console);
  console.out << "installed; it starts with the system, and now with: nodemeter service start\n";
  return kDone;
}

// ---- Running ----

// Until the service is in `wanted`, or has stopped. An error if it hangs; one that starts tells how long that may take.
Result<SERVICE_STATUS_PROCESS> await(const ManagerHandle& service, DWORD wanted) {
  const ULONGLONG begun = ::GetTickCount64();
  ULONGLONG told = begun;
  DWORD told_last = 0;
  for (;;) {
    const std::optional<SERVICE_STATUS_PROCESS> status = status_of(service);
    if (!status) return refused("cannot ask for the service's state");
    if (status->dwCurrentState == wanted || status->dwCurrentState == SERVICE_STOPPED) return *status;
    const ULONGLONG now = ::GetTickCount64();
    if (std::exchange(told_last, status->dwCheckPoint) != status->dwCheckPoint) told = now;
    const ULONGLONG waited = now - begun;
    const bool hangs = status->dwCurrentState == SERVICE_START_PENDING && now - told > status->dwWaitHint + kLateByMs;
    if (hangs || waited > kChangesWithinMs) {
      return Error{ErrorCode::kUnavailable, std::string("the service is still ") + word_of(status->dwCurrentState) +
                                                " after " + std::to_string(waited / 1'000) + " s"};
    }
    ::Sleep(kLookEveryMs);
  }
}

// Gives the process that meters.
Result<DWORD> start_service(const ManagerHandle& service) {
  if (::StartServiceW(service.get(), 0, nullptr) == 0 && ::GetLastError() != ERROR_SERVICE_ALREADY_RUNNING) {
    return refused("cannot start the service");
  }
  const Result<SERVICE_STATUS_PROCESS> status = await(service, SERVICE_RUNNING);
  if (!status) return status.error();
  if (status->dwCurrentState != SERVICE_RUNNING) {
    return Error{ErrorCode::kUnavailable,
                 "the service has ended; the event viewer's application log says why (source nodemeter)"};
  }
  return status->dwProcessId;
}

int start(const ServiceOptions&, const Console& console) {
  const Result<ManagerHandle> service = open_service(SERVICE_START | SERVICE_QUERY_STATUS);
  if (!service) return say(console, service.error());
  const Result<DWORD> process = start_service(*service);
  if (!process) return say(console, process.error());
  console.out << "running, process " << *process << "\n";
  return kDone;
}

Status stop_service(const ManagerHandle& service) {
  const std::optional<SERVICE_STATUS_PROCESS> now = status_of(service);
  if (now && now->dwCurrentState == SERVICE_START_PENDING) {  // Nothing can be asked of it before it runs.
    if (const Result<SERVICE_STATUS_PROCESS> started = await(service, SERVICE_RUNNING); !started)
      return started.error();
  }
  SERVICE_STATUS ignored{};
  const bool stops_already = now && now->dwCurrentState == SERVICE_STOP_PENDING;
  if (!stops_already && ::ControlService(service.get(), SERVICE_CONTROL_STOP, &ignored) == 0) {
    if (::GetLastError() == ERROR_SERVICE_NOT_ACTIVE) return Done{};
    // It stops already: somebody else asked for it.
    if (::GetLastError() != ERROR_SERVICE_CANNOT_ACCEPT_CTRL) return refused("cannot stop the service");
  }
  const Result<SERVICE_STATUS_PROCESS> status = await(service, SERVICE_STOPPED);
  return status ? Status(Done{}) : Status(status.error());
}

// By administrators, of processes of other accounts.
void allow_ending_processes() {
  HANDLE token = nullptr;
  if (::OpenProcessToken(::GetCurrentProcess(), TOKEN_ADJUST_PRIVILEGES, &token) == 0) return;
  const windows::Handle owner(token);
  TOKEN_PRIVILEGES wanted{};
  wanted.PrivilegeCount = 1;
  wanted.Privileges[0].Attributes = SE_PRIVILEGE_ENABLED;
  if (::LookupPrivilegeValueW(nullptr, SE_DEBUG_NAME, &wanted.Privileges[0].Luid) == 0) return;
  (void)::AdjustTokenPrivileges(token, FALSE, &wanted, 0, nullptr, nullptr);
}

// Of a service that hangs. It costs a journal no more than a power cut does.
Status end_process(const ManagerHandle& service) {
  const std::optional<SERVICE_STATUS_PROCESS> now = status_of(service);
  if (!now) return refused("cannot ask for the service's process");
  if (now->dwCurrentState == SERVICE_STOPPED) return Done{};
  allow_ending_processes();
  const windows::Handle process(::OpenProcess(PROCESS_TERMINATE | SYNCHRONIZE, FALSE, now->dwProcessId));
  if (!process.valid() || ::TerminateProcess(process.get(), ERROR_PROCESS_ABORTED) == 0 ||
      ::WaitForSingleObject(process.get(), kEndsWithinMs) != WAIT_OBJECT_0) {
    return refused("the service hangs, and its process cannot be ended");
  }
  (void)await(service, SERVICE_STOPPED);  // The manager may notice only when it is asked to start it (Wine).
  return Done{};
}

Status stop_or_end(const ManagerHandle& service) {
  const Status stopped = stop_service(service);
  const std::optional<SERVICE_STATUS_PROCESS> now = status_of(service);
  const bool hangs = !stopped && now && now->dwCurrentState != SERVICE_RUNNING;
  return hangs ? end_process(service) : stopped;
}

int stop(const ServiceOptions&, const Console& console) {
  const Result<ManagerHandle> service = open_service(SERVICE_STOP | SERVICE_QUERY_STATUS);
  if (!service) return say(console, service.error());
  if (Status stopped = stop_service(*service); !stopped) return say(console, stopped.error());
  console.out << "stopped\n";
  return kDone;
}

int reload(const ServiceOptions&, const Console& console) {
  const Result<ManagerHandle> service = open_service(SERVICE_PAUSE_CONTINUE | SERVICE_QUERY_STATUS);
  if (!service) return say(console, service.error());
  SERVICE_STATUS ignored{};
  if (::ControlService(service->get(), SERVICE_CONTROL_PARAMCHANGE, &ignored) == 0) {
    return say(console, refused("the service does not read its files again"));
  }
  return kDone;
}

int status(const ServiceOptions& options, const Console& console) {
  const Result<ManagerHandle> service = open_service(SERVICE_QUERY_STATUS);
  if (!service && service.error().code != ErrorCode::kNotFound) return say(console, service.error());
  const std::optional<SERVICE_STATUS_PROCESS> now = service ? status_of(*service) : std::nullopt;
  const std::string word = now ? word_of(now->dwCurrentState) : "not installed";
  const bool running = now && now->dwCurrentState == SERVICE_RUNNING;
  if (options.json) {
    JsonWriter json;
    json.begin_object();
    json.text("state", word);
    if (now) json.number("process", std::uint64_t{now->dwProcessId});
    if (now) json.number("exitCode", std::uint64_t{now->dwServiceSpecificExitCode});
    json.end_object();
    console.out << json.take() << "\n";
  } else {
    console.out << word << (running ? ", process " + std::to_string(now->dwProcessId) : "") << "\n";
  }
  return running ? kDone : kIncomplete;
}

// ---- Upgrading ----

constexpr std::size_t kProgramBytesMax = 256u << 20;

// The program that the service runs.
Result<fs::path> installed_program(const ManagerHandle& service) {
  alignas(QUERY_SERVICE_CONFIGW) std::array<BYTE, 8'192> bytes{};  // The most that the system gives.
  auto* const settings = reinterpret_cast<QUERY_SERVICE_CONFIGW*>(bytes.data());
  DWORD size = 0;
  if (::QueryServiceConfigW(service.get(), settings, static_cast<DWORD>(bytes.size()), &size) == 0) {
    return refused("cannot read the service's settings (run this as an administrator)");
  }
  int parts = 0;
  const std::unique_ptr<wchar_t*, LocalDeleter> line(::CommandLineToArgvW(settings->lpBinaryPathName, &parts));
  if (!line || parts == 0) return refused("cannot read the service's command line");
  return fs::path(line.get()[0]);
}

fs::path beside(const fs::path& program, const wchar_t* ending) { return program.native() + ending; }

// A program that runs cannot be written over, but it can be renamed: the service goes on with the old one, which is
// beside the new one afterwards.
Status put_in_place(const std::string& content, const fs::path& program) {
  const fs::path next = beside(program, L".new");
  if (Status written = replace_file(next, content); !written) return written;
  Status moved = move_path(program, beside(program, L".old"));
  if (moved) {
    moved = move_path(next, program);
    if (!moved) (void)move_path(beside(program, L".old"), program);
  }
  if (!moved) (void)::DeleteFileW(next.c_str());
  return moved;
}

// The new program does not run: the old one gets its place and runs again. Gives the error to show.
Error roll_back(const ManagerHandle& service, const fs::path& program, const std::string& why) {
  const fs::path failed = beside(program, L".failed");
  Status back = move_path(program, failed);
  if (back) back = move_path(beside(program, L".old"), program);
  (void)::DeleteFileW(failed.c_str());
  const std::string said = "the new program does not run (" + why + "); the old one is ";
  if (!back) return Error{back.error().code, said + "not back in its place: " + back.error().message};
  const Result<DWORD> process = start_service(service);
  if (process) return Error{ErrorCode::kUnavailable, said + "back in its place and runs"};
  return Error{process.error().code, said + "back in its place and does not run: " + process.error().message};
}

int upgrade(const ServiceOptions& options, const Console& console) {
  const Result<ManagerHandle> service =
      open_service(SERVICE_START | SERVICE_STOP | SERVICE_QUERY_STATUS | SERVICE_QUERY_CONFIG);
  if (!service) return say(console, service.error());
  const Result<fs::path> program = installed_program(*service);
  if (!program) return say(console, program.error());
  const Result<std::string> wanted = read_file(options.program, kProgramBytesMax);
  if (!wanted) return say(console, wanted.error());
  const Result<std::string> there = read_file(*program, kProgramBytesMax);
  if (there && *there == *wanted) {
    console.out << "nothing to do: " << windows::narrow(program->native()) << " is this program\n";
    return kDone;
  }
  const std::optional<SERVICE_STATUS_PROCESS> before = status_of(*service);
  if (Status placed = put_in_place(*wanted, *program); !placed) return say(console, placed.error());
  const fs::path old = beside(*program, L".old");
  if (before && before->dwCurrentState == SERVICE_STOPPED) {
    (void)::DeleteFileW(old.c_str());
    console.out << "upgraded; the service is stopped, as it was\n";
    return kDone;
  }
  // From here on metering stands still, for as long as a stop and a start take.
  const Status stopped = stop_or_end(*service);
  const Result<DWORD> process = stopped ? start_service(*service) : Result<DWORD>(stopped.error());
  if (stopped && !process) (void)end_process(*service);  // What is left of the new one: it had its time.
  if (!process) return say(console, roll_back(*service, *program, process.error().message));
  (void)::DeleteFileW(old.c_str());  // In use by somebody's console: the next upgrade takes it away.
  console.out << "upgraded; running, process " << *process << "\n";
  return kDone;
}

int uninstall(const ServiceOptions&, const Console& console) {
  const std::string sid = service_sid();
  const Result<ManagerHandle> service = open_service(SERVICE_ALL_ACCESS);
  if (!service && service.error().code != ErrorCode::kNotFound) return say(console, service.error());
  if (service) {
    if (Status stopped = stop_or_end(*service); !stopped) return say(console, stopped.error());
    if (::DeleteService(service->get()) == 0 && ::GetLastError() != ERROR_SERVICE_MARKED_FOR_DELETE) {
      return say(console, refused("cannot remove the service"));
    }
    change_groups(sid, false, console);
  }
  (void)::RegDeleteTreeW(HKEY_LOCAL_MACHINE, kEventSource);
  console.out << "removed; journal, keys and configuration stay in " << default_config_path().parent_path().string()
              << "\n";
  return kDone;
}

}  // namespace

std::vector<ServiceAction> service_actions() {
  return {{"install", "Make the service and its event source, or bring them up to date; close its folder to others",
           &install},
          {"uninstall", "Stop and remove the service; journal, keys and configuration stay", &uninstall},
          {"start", "Start it and wait until it meters", &start},
          {"stop", "Stop it and wait until it has", &stop},
          {"reload", "Let it read its files again (owners)", &reload},
          {"upgrade", "Put a new program in its place and restart it; if that does not run, put the old one back",
           &upgrade, " C:\\new\\nodemeter.exe"},
          {"status", "Is it installed, and does it run; exit code 3 if not", &status}};
}

}  // namespace nodemeter::cli
