// The stand-in for pdh.dll that lies beside the test, made to show what the test gives it.

#pragma once

#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "collectors/hyperv_counters.h"
#include "platform/windows_api.h"
#include "tests/windows/fake_pdh.h"

namespace nodemeter::fake {

// What the stand-in for PDH reads.
struct PdhSide {
  std::mutex mutex;
  std::uint32_t collected = 0;                   // Status of a pass; not 0: nothing can be read.
  std::map<std::string, CounterColumn> columns;  // By path. Those that are not there are not offered.
  std::wstring name;
  std::uint32_t provider = 1;
};
inline PdhSide& pdh_side() {
  static PdhSide side;
  return side;
}
inline CounterColumn* column_of(const wchar_t* path) {
  const auto found = pdh_side().columns.find(windows::narrow(path));
  return found == pdh_side().columns.end() ? nullptr : &found->second;
}
inline const FakePdhHost kPdhHost = {
    [] {
      const std::lock_guard lock(pdh_side().mutex);
      return pdh_side().collected;
    },
    [](const wchar_t* path, std::uint32_t& type) {
      const std::lock_guard lock(pdh_side().mutex);
      const CounterColumn* column = column_of(path);
      if (column != nullptr) type = column->type;
      return column != nullptr;
    },
    [](const wchar_t* path) {
      const std::lock_guard lock(pdh_side().mutex);
      const CounterColumn* column = column_of(path);
      return column == nullptr ? 0u : static_cast<std::uint32_t>(column->values.size());
    },
    [](const wchar_t* path, std::uint32_t index, const wchar_t*& name, std::uint64_t& raw, std::uint32_t& status) {
      const std::lock_guard lock(pdh_side().mutex);
      const CounterValue& value = column_of(path)->values[index];
      pdh_side().name = windows::wide(value.instance);
      name = pdh_side().name.c_str();
      raw = value.raw;
      status = value.valid ? 0 : 0xC0000BBA;
    },
    [] {
      const std::lock_guard lock(pdh_side().mutex);
      return pdh_side().provider;
    }};

// While it lives, what PDH shows is what show() was given. One at a time.
class PdhInPlace {
 public:
  PdhInPlace() {
    const HMODULE dll = GetModuleHandleW(L"pdh.dll");
    void* const found = dll == nullptr ? nullptr : reinterpret_cast<void*>(GetProcAddress(dll, "fake_pdh_host"));
    if (found == nullptr) throw std::logic_error("the stand-in for pdh.dll does not lie beside this program");
    set_ = reinterpret_cast<SetFakePdhHost>(found);
    pdh_side().columns.clear();
    pdh_side().collected = 0;
    set_(&kPdhHost);
  }
  PdhInPlace(const PdhInPlace&) = delete;
  PdhInPlace& operator=(const PdhInPlace&) = delete;
  ~PdhInPlace() { set_(nullptr); }

  // In the order of hyperv_counter_paths().
  static void show(const std::vector<CounterColumn>& columns) {
    const std::lock_guard lock(pdh_side().mutex);
    pdh_side().collected = 0;
    pdh_side().columns.clear();
    for (std::size_t i = 0; i < columns.size(); ++i) {
      const CounterPath& path = hyperv_counter_paths()[i];
      if (columns[i].state == ColumnState::kRead)
        pdh_side().columns["\\" + path.set + "(*)\\" + path.counter] = columns[i];
    }
  }

  static void restart_provider() {
    const std::lock_guard lock(pdh_side().mutex);
    ++pdh_side().provider;
  }

  // Until show(): a pass over the counters ends with this status.
  static void refuse(std::uint32_t status) {
    const std::lock_guard lock(pdh_side().mutex);
    pdh_side().collected = status;
  }

 private:
  SetFakePdhHost set_ = nullptr;
};

}  // namespace nodemeter::fake
