// Which signing keys of a node are to be believed: the first one that it showed (or that the operator wrote down), and
// every later one that the one before has signed for, or that the operator wrote down in its place.

#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "platform/result.h"
#include "store/kv.h"
#include "uploader/aggregator/ingest.h"

namespace nodemeter {

struct KnownKey {
  enum class How : std::uint8_t {
    kFirst = 1,       // Nothing was known of the node before.
    kVouchedFor = 2,  // Signed for by a key that was known.
    kConfigured = 3,  // The nodes file says so.
  };
  std::string key;  // 32 bytes.
  How how = How::kFirst;
  Epoch epoch;  // Where it was shown first.
  Sequence sequence = 0;
};

// In the order in which they were learnt; the last one is in force.
using KeyHistory = std::vector<KnownKey>;

[[nodiscard]] bool knows(const KeyHistory& history, std::string_view key);

// Adds what the statements of a batch tell. The refusal of one that nothing vouches for; `history` is then unusable.
std::optional<Refusal> learn_keys(const IngestBatch& batch, const std::vector<const KeyStatement*>& statements,
                                  KeyHistory& history);

// The rows that make the entries of `history` from `from` on durable.
std::vector<Write> key_rows(const NodeId& node, const KeyHistory& history, std::size_t from);

// kCorrupt: a row makes no sense.
Result<std::map<NodeId, KeyHistory>> read_key_histories(const Snapshot& snapshot);

}  // namespace nodemeter
