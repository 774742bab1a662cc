// A stand-in for pdh.dll: the calls that the collector makes, answered by the test that loaded it. Built into pdh.dll.

#include <windows.h>

#include <pdh.h>
#include <pdhmsg.h>

#include <cstring>
#include <cwchar>
#include <string>

#include "tests/windows/fake_pdh.h"

namespace {

const nodemeter::FakePdhHost* the_host = nullptr;

struct Counter {
  std::wstring path;
  std::uint32_t type = 0;
  std::uint32_t provider = 0;  // That was there when it was added.
};

PDH_STATUS code(DWORD value) { return static_cast<PDH_STATUS>(value); }

// Items first, names behind them, as the real one lays them out.
DWORD size_of_array(const Counter& counter, std::uint32_t count) {
  std::size_t bytes = count * sizeof(PDH_RAW_COUNTER_ITEM_W);
  for (std::uint32_t i = 0; i < count; ++i) {
    const wchar_t* name = L"";
    std::uint64_t raw = 0;
    std::uint32_t status = 0;
    the_host->value(counter.path.c_str(), i, name, raw, status);
    bytes += (std::wcslen(name) + 1) * sizeof(wchar_t);
  }
  return static_cast<DWORD>(bytes);
}

}  // namespace

extern "C" {

void fake_pdh_host(const nodemeter::FakePdhHost* host) { the_host = host; }

PDH_STATUS WINAPI FakeOpenQuery(LPCWSTR, DWORD_PTR, PDH_HQUERY* query) {
  *query = new int(0);
  return ERROR_SUCCESS;
}

// Counters that nobody removes live as long as the process: a test opens few.
PDH_STATUS WINAPI FakeCloseQuery(PDH_HQUERY query) {
  delete static_cast<int*>(query);
  return ERROR_SUCCESS;
}

PDH_STATUS WINAPI FakeAddEnglishCounter(PDH_HQUERY, LPCWSTR path, DWORD_PTR, PDH_HCOUNTER* counter) {
  auto made = new Counter{path, 0, the_host == nullptr ? 0 : the_host->provider()};
  *counter = made;
  if (the_host != nullptr && the_host->offered(path, made->type)) return ERROR_SUCCESS;
  delete made;
  return code(PDH_CSTATUS_NO_COUNTER);
}

PDH_STATUS WINAPI FakeRemoveCounter(PDH_HCOUNTER counter) {
  delete static_cast<Counter*>(counter);
  return ERROR_SUCCESS;
}

PDH_STATUS WINAPI FakeCollectQueryData(PDH_HQUERY) {
  return the_host == nullptr ? code(PDH_NO_DATA) : code(the_host->collected());
}

PDH_STATUS WINAPI FakeGetCounterInfo(PDH_HCOUNTER counter, BOOLEAN, LPDWORD bytes, PDH_COUNTER_INFO_W* info) {
  if (info == nullptr || *bytes < sizeof(PDH_COUNTER_INFO_W)) {
    *bytes = sizeof(PDH_COUNTER_INFO_W);
    return code(PDH_MORE_DATA);
  }
  std::memset(info, 0, sizeof(*info));
  info->dwType = static_cast<Counter*>(counter)->type;
  return ERROR_SUCCESS;
}

PDH_STATUS WINAPI FakeGetRawCounterArray(PDH_HCOUNTER handle, LPDWORD bytes, LPDWORD count,
                                         PDH_RAW_COUNTER_ITEM_W* items) {
  const Counter& counter = *static_cast<Counter*>(handle);
  const bool served = the_host != nullptr && the_host->provider() == counter.provider;
  const std::uint32_t there = served ? the_host->count(counter.path.c_str()) : 0;
  if (there == 0) return code(PDH_CSTATUS_ITEM_NOT_VALIDATED);  // As seen where no machine runs.
  const DWORD needed = size_of_array(counter, there);
  if (items == nullptr || *bytes < needed) {
    *bytes = needed;
    return code(PDH_MORE_DATA);
  }
  auto* text = reinterpret_cast<wchar_t*>(items + there);
  for (std::uint32_t i = 0; i < there; ++i) {
    const wchar_t* name = L"";
    std::uint64_t raw = 0;
    std::uint32_t status = 0;
    the_host->value(counter.path.c_str(), i, name, raw, status);
    std::wcscpy(text, name);
    std::memset(&items[i], 0, sizeof(items[i]));
    items[i].szName = text;
    items[i].RawValue.CStatus = status;
    items[i].RawValue.FirstValue = static_cast<LONGLONG>(raw);
    text += std::wcslen(name) + 1;
  }
  *count = there;
  return ERROR_SUCCESS;
}

}  // extern "C"
