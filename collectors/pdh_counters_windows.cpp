#include "collectors/pdh_counters_windows.h"

// windows.h first: pdh.h needs its types.
#include <windows.h>

#include <pdh.h>
#include <pdhmsg.h>

#include <cstdio>
#include <cstring>

#include "platform/windows_api.h"

namespace nodemeter {

namespace {

constexpr std::uint32_t kReadsBetweenAdding = 30;

bool is(PDH_STATUS status, DWORD code) { return static_cast<DWORD>(status) == code; }

// What means that there is nothing to read, which is an answer.
bool is_empty(PDH_STATUS status) {
  return is(status, PDH_NO_DATA) || is(status, PDH_CSTATUS_NO_INSTANCE) || is(status, PDH_CSTATUS_ITEM_NOT_VALIDATED);
}

bool is_missing(PDH_STATUS status) { return is(status, PDH_CSTATUS_NO_COUNTER) || is(status, PDH_CSTATUS_NO_OBJECT); }

std::string code_text(const char* call, PDH_STATUS status) {
  char text[64];
  std::snprintf(text, sizeof(text), "%s: 0x%08lX", call, static_cast<unsigned long>(status));
  return text;
}

Error failed(const char* call, PDH_STATUS status) {
  const bool denied = is(status, PDH_ACCESS_DENIED) || is(status, ERROR_ACCESS_DENIED);
  return Error{denied ? ErrorCode::kPermissionDenied : ErrorCode::kUnavailable,
               "performance counters cannot be read: " + code_text(call, status)};
}

class PdhQuery final : public CounterQuery {
 public:
  PdhQuery(PDH_HQUERY query, const std::vector<CounterPath>& paths) : query_(query) {
    for (const CounterPath& path : paths) counters_.push_back({path});
    add_missing();
  }
  ~PdhQuery() override { PdhCloseQuery(query_); }

  Result<std::vector<CounterColumn>> read() override {
    if (++reads_ % kReadsBetweenAdding == 0) {
      remove_barren();
      add_missing();
    }
    const PDH_STATUS collected = PdhCollectQueryData(query_);
    if (collected != ERROR_SUCCESS && !is_empty(collected)) return failed("PdhCollectQueryData", collected);
    std::vector<CounterColumn> columns;
    columns.reserve(counters_.size());
    for (Counter& counter : counters_) {
      columns.push_back(read_counter(counter));
      counter.barren = columns.back().values.empty() ? counter.barren + 1 : 0;
    }
    return columns;
  }

 private:
  struct Counter {
    CounterPath path;
    PDH_HCOUNTER handle = nullptr;
    PDH_STATUS refused = 0;  // Why there is no handle.
    std::uint32_t type = 0;
    std::uint32_t barren = 0;  // Reads since it showed any instance.
  };

  // A counter stays bound to the provider that was there when it was added. One that has shown nothing for long may be
  // another one's by now.
  void remove_barren() {
    for (Counter& counter : counters_) {
      if (counter.handle == nullptr || counter.barren < kReadsBetweenAdding - 1) continue;
      PdhRemoveCounter(counter.handle);
      counter.handle = nullptr;
    }
  }

  void add_missing() {
    for (Counter& counter : counters_) {
      if (counter.handle != nullptr) continue;
      const std::wstring path = windows::wide("\\" + counter.path.set + "(*)\\" + counter.path.counter);
      counter.refused = PdhAddEnglishCounterW(query_, path.c_str(), 0, &counter.handle);
      if (counter.refused != ERROR_SUCCESS) counter.handle = nullptr;
      if (counter.handle != nullptr) counter.type = type_of(counter.handle);
    }
  }

  static std::uint32_t type_of(PDH_HCOUNTER handle) {
    DWORD bytes = 0;
    if (!is(PdhGetCounterInfoW(handle, FALSE, &bytes, nullptr), PDH_MORE_DATA)) return 0;
    std::vector<std::uint64_t> buffer(bytes / sizeof(std::uint64_t) + 1);
    auto* info = reinterpret_cast<PDH_COUNTER_INFO_W*>(buffer.data());
    if (PdhGetCounterInfoW(handle, FALSE, &bytes, info) != ERROR_SUCCESS) return 0;
    return info->dwType;
  }

  static CounterColumn read_counter(const Counter& counter) {
    CounterColumn column;
    column.type = counter.type;
    if (counter.handle == nullptr) {
      column.state = is_missing(counter.refused) ? ColumnState::kNotOffered : ColumnState::kFailed;
      column.fault = code_text("PdhAddEnglishCounterW", counter.refused);
      return column;
    }
    // Instances may come between the question for the size and the reading.
    std::vector<std::uint64_t> buffer;
    PDH_STATUS status = static_cast<PDH_STATUS>(PDH_MORE_DATA);
    DWORD bytes = 0;
    DWORD count = 0;
    for (int round = 0; round < 5 && is(status, PDH_MORE_DATA); ++round) {
      buffer.resize(bytes / sizeof(std::uint64_t) + 1);
      auto* items = reinterpret_cast<PDH_RAW_COUNTER_ITEM_W*>(buffer.data());
      status = PdhGetRawCounterArrayW(counter.handle, &bytes, &count, bytes == 0 ? nullptr : items);
    }
    column.state = ColumnState::kRead;
    if (is_empty(status)) return column;
    if (status != ERROR_SUCCESS) {
      column.state = ColumnState::kFailed;
      column.fault = code_text("PdhGetRawCounterArrayW", status);
      return column;
    }
    const auto* items = reinterpret_cast<const PDH_RAW_COUNTER_ITEM_W*>(buffer.data());
    for (DWORD i = 0; bytes > 0 && i < count; ++i) {
      CounterValue value;
      value.instance = items[i].szName == nullptr ? std::string() : windows::narrow(items[i].szName);
      const DWORD quality = items[i].RawValue.CStatus;
      value.valid = quality == PDH_CSTATUS_VALID_DATA || quality == PDH_CSTATUS_NEW_DATA;
      value.raw = static_cast<std::uint64_t>(items[i].RawValue.FirstValue);
      column.values.push_back(std::move(value));
    }
    return column;
  }

  const PDH_HQUERY query_;
  std::vector<Counter> counters_;
  std::uint32_t reads_ = 0;
};

}  // namespace

Result<std::unique_ptr<CounterQuery>> open_pdh_counters(const std::vector<CounterPath>& paths) {
  PDH_HQUERY query = nullptr;
  const PDH_STATUS opened = PdhOpenQueryW(nullptr, 0, &query);
  if (opened != ERROR_SUCCESS) return failed("PdhOpenQueryW", opened);
  return std::unique_ptr<CounterQuery>(std::make_unique<PdhQuery>(query, paths));
}

}  // namespace nodemeter
