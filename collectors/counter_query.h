// Raw performance counters as Windows shows them, in plain values, so that everything above compiles and is tested
// without Windows. The real ones are in pdh_counters_windows.cpp.
//
// One pass reads every instance of every counter once. Values are raw: cumulative as the provider keeps them, never
// rates. What a raw value means (100 ns, bytes, operations) is the business of who asks.
//
// Threads: a query belongs to the thread that opened it. read() lasts as long as the providers take: call it only where
// waiting for ever costs nobody anything (collectors/hyperv_workers.h).

#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "platform/result.h"

namespace nodemeter {

struct CounterPath {
  std::string set;      // English name of the counter set.
  std::string counter;  // English name of the counter.
  friend bool operator==(const CounterPath&, const CounterPath&) = default;
};

struct CounterValue {
  std::string instance;  // UTF-8. Names may repeat within a set: nothing tells which is whose.
  std::uint64_t raw = 0;
  bool valid = false;  // The provider's status of this value says that it may be used.
  friend bool operator==(const CounterValue&, const CounterValue&) = default;
};

// Stored in diagnostics files: never renumber.
enum class ColumnState : std::uint8_t {
  kRead = 1,        // `values` are all instances; no instance is an answer, too.
  kNotOffered = 2,  // This Windows has no such set or counter.
  kFailed = 3,      // Not read this time.
};

// One counter over all instances of its set.
struct CounterColumn {
  ColumnState state = ColumnState::kNotOffered;
  std::uint32_t type = 0;  // PERF_… type code; 0: not told.
  std::string fault;       // For people, if the state is not kRead.
  std::vector<CounterValue> values;
  friend bool operator==(const CounterColumn&, const CounterColumn&) = default;
};

class CounterQuery {
 public:
  CounterQuery() = default;
  CounterQuery(const CounterQuery&) = delete;
  CounterQuery& operator=(const CounterQuery&) = delete;
  virtual ~CounterQuery() = default;

  // One column for each path that the query was opened with, in that order. A counter that is missing or fails costs
  // itself only.
  //   kUnavailable       nothing could be read at all; try again.
  //   kPermissionDenied  this account may not read counters.
  virtual Result<std::vector<CounterColumn>> read() = 0;
};

// Never fails for a single counter. Errors as CounterQuery::read().
using CounterOpener = std::function<Result<std::unique_ptr<CounterQuery>>(const std::vector<CounterPath>& paths)>;

}  // namespace nodemeter
