// A service that begins and never runs: what an upgrade has to take back.

#include <windows.h>

namespace {

DWORD WINAPI no_answer(DWORD, DWORD, void*, void*) { return NO_ERROR; }

void WINAPI service_main(DWORD, wchar_t** arguments) {
  SERVICE_STATUS status{};
  status.dwServiceType = SERVICE_WIN32_OWN_PROCESS;
  status.dwCurrentState = SERVICE_START_PENDING;
  status.dwCheckPoint = 1;
  status.dwWaitHint = 1'000;  // What it says it needs.
  (void)::SetServiceStatus(::RegisterServiceCtrlHandlerExW(arguments[0], &no_answer, nullptr), &status);
  ::Sleep(INFINITE);
}

}  // namespace

int main() {
  wchar_t name[] = L"";  // Of the only service in a process, the manager does not look at it.
  const SERVICE_TABLE_ENTRYW table[] = {{name, &service_main}, {nullptr, nullptr}};
  return ::StartServiceCtrlDispatcherW(table) == 0 ? 1 : 0;
}
