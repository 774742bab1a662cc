// What keeps the node's store in bounds: retention, and a forecast of its growth.
//
// Everything is derived from the journal itself, so that a restart changes nothing. Threads: one at a time.

#pragma once

#include <optional>

#include "platform/clock.h"
#include "store/journal.h"
#include "store/kv.h"

namespace nodemeter {

// Where the store's size is going.
struct StoreForecast {
  std::uint64_t bytes_per_day = 0;   // Growth over the last days; 0: the journal is too young to tell.
  std::uint64_t retained_bytes = 0;  // The size at which retention will hold it; 0: not known, or nothing is delivered.
};

class StoreKeeper {
 public:
  // Both must outlive the keeper. `retention` runs from acknowledgement if `uploading`, else from reporting.
  StoreKeeper(Journal& journal, const KeyValue& store, Milliseconds retention, bool uploading)
      : journal_(journal), store_(store), retention_(retention), uploading_(uploading) {}

  // Entries of one commit: some ten milliseconds of work, which no sample waits for longer.
  static constexpr std::uint64_t kLot = 500;

  // Deletes at most one lot of the entries that are past retention. True: there is more. Journal::prune's errors.
  Result<bool> prune(UtcTime now);

  // Reads a few rows.
  [[nodiscard]] Result<StoreForecast> forecast(UtcTime now) const;

  // When the oldest entry that is not acknowledged was reported; zero: there is none.
  Result<UtcTime> oldest_unacknowledged();

 private:
  Journal& journal_;
  const KeyValue& store_;
  Milliseconds retention_;
  bool uploading_;
  Sequence oldest_ = 0;  // Its number and time, as last read.
  UtcTime oldest_reported_{};
};

}  // namespace nodemeter
