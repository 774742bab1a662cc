// What the Hyper-V sampler asks of its host. Every call comes back in bounded time, whatever hangs behind it.
//
// HypervWorkers (threads, PDH, WMI) is the one of a real host; tests and captured hosts have their own.
// Threads: one at a time.

#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "collectors/counter_query.h"
#include "collectors/hyperv_inventory.h"
#include "platform/clock.h"
#include "platform/result.h"

namespace nodemeter {

class HypervReader {
 public:
  HypervReader() = default;
  HypervReader(const HypervReader&) = delete;
  HypervReader& operator=(const HypervReader&) = delete;
  virtual ~HypervReader() = default;

  struct Rows {
    WmiTables tables;          // Without classes that this Windows does not have.
    MonotonicTime asked{};     // Before the first query,
    MonotonicTime answered{};  // and after the last answer.
  };
  //   kUnavailable       not answered in time, or the service is away.
  //   kPermissionDenied  this account may not ask.
  //   kUnsupported       not a Hyper-V host.
  virtual Result<Rows> rows(const std::vector<WmiQuery>& queries) = 0;

  struct Counters {
    std::vector<CounterColumn> columns;  // In the order of hyperv_counter_paths().
    MonotonicTime asked{};
    MonotonicTime answered{};
  };
  // Errors as CounterQuery::read().
  virtual Result<Counters> counters() = 0;

  // Virtual sizes in bytes of those image files of which one is known. Asks for the others, and again now and then.
  virtual std::map<std::string, std::uint64_t> disk_sizes(const std::vector<std::string>& paths) = 0;
};

}  // namespace nodemeter
