// Counters of a serving aggregator, as text for Prometheus. Any thread.

#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

#include "uploader/aggregator/aggregator_store.h"

namespace nodemeter {

class AggregatorMetrics {
 public:
  void accepted(const StoreOutcome& outcome);
  // `cause` is one of a fixed set of words, so that labels stay few.
  void refused(std::string_view cause);

  // The counters since start, and of every node and epoch what is stored.
  [[nodiscard]] std::string text(const std::map<ChainKey, ChainHead>& heads) const;

 private:
  mutable std::mutex mutex_;
  std::uint64_t batches_ = 0;
  std::uint64_t rows_ = 0;
  std::uint64_t repeats_ = 0;
  std::uint64_t forks_ = 0;
  std::map<std::string, std::uint64_t, std::less<>> refused_;
};

}  // namespace nodemeter
