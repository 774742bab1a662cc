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
  void accepted(const NodeId& node, const StoreOutcome& outcome, UtcTime now);
  // `cause` is one of a fixed set of words, so that labels stay few.
  void refused(std::string_view cause);
  // The same of a sender that has proven to be this node. Counts as a contact.
  void refused(std::string_view cause, const NodeId& node, UtcTime now);

  // The counters since start, and of every node and epoch what is stored.
  [[nodiscard]] std::string text(const std::map<ChainKey, ChainHead>& heads, const KeyValue::Usage& usage) const;

 private:
  struct Node {
    UtcTime contact{};
    std::uint64_t went_back = 0;
    std::uint64_t twins = 0;
    std::map<std::string, std::uint64_t, std::less<>> refused;
  };
  [[nodiscard]] std::string node_text() const;

  mutable std::mutex mutex_;
  std::map<NodeId, Node> nodes_;
  std::uint64_t batches_ = 0;
  std::uint64_t rows_ = 0;
  std::uint64_t repeats_ = 0;
  std::uint64_t forks_ = 0;
  std::map<std::string, std::uint64_t, std::less<>> refused_;
};

}  // namespace nodemeter
