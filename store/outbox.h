// What the uploader delivers from: entries of one node and epoch in order, and the marks of their delivery. The agent's
// is its journal (store/journal.h); the aggregator's passes on what it received (uploader/aggregator/forward_queue.h).
//
// Every change is durable when it returns success. Threads: one at a time.

#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "platform/digest.h"
#include "platform/ids.h"
#include "platform/result.h"

namespace nodemeter {

// A run of entries whose boundaries are committed: every resend, after any crash, is the same bytes under the same
// token.
struct FrozenBatch {
  Epoch epoch;
  Sequence first = 0;
  Sequence last = 0;
  std::string token;           // <node>:<epoch>:<first>-<last>:<16 hex digits of the body's BLAKE2b>
  std::uint32_t attempts = 0;  // Begun so far; kept in memory only between commits.
  Digest head;                 // Chain digest after `last`.
};

struct DeliveryState {
  NodeId node;
  Epoch epoch;
  Sequence last_sequence = 0;  // Of this epoch; 0: empty.
  Sequence acknowledged = 0;   // Everything up to here is at the receiver (or parked).
  std::optional<FrozenBatch> frozen;
};

// Limits are in uncompressed bytes; a single entry always fits.
struct BatchLimits {
  std::uint32_t rows_max = 10'000;
  std::uint64_t bytes_max = 3u << 20;  // A node that drains holds three to four times as much in private memory.
};

std::string batch_token(const NodeId& node, const Epoch& epoch, Sequence first, Sequence last, std::string_view body);
std::string batch_token(const NodeId& node, const Epoch& epoch, Sequence first, Sequence last, const Digest& of_body);

class Outbox {
 public:
  virtual ~Outbox() = default;
  Outbox(const Outbox&) = delete;
  Outbox& operator=(const Outbox&) = delete;

  [[nodiscard]] virtual const DeliveryState& state() const = 0;

  // The next batch to send: the frozen one, or a new one cut after `acknowledged` and frozen by a commit. Nothing: no
  // backlog.
  virtual Result<std::optional<FrozenBatch>> freeze_next(const BatchLimits& limits) = 0;

  // While the frozen batch is under way: cuts the one after it, if there is enough for a full one, in memory only. It
  // is frozen by the commit that acknowledges, if that commit is the next change of delivery. What is wrong with its
  // rows shows when it is cut again. An outbox may do without: nothing is prepared.
  virtual std::optional<FrozenBatch> prepare_next(const BatchLimits& /*limits*/) { return std::nullopt; }

  // Replaces the frozen batch by its part [first, last] (halving, to find an offending row). Same start, earlier end.
  virtual Status refreeze(Sequence last) = 0;

  // The bytes of a frozen batch, of a prepared one, or of any single entry from it to `last_sequence`: the stored rows
  // back to back.
  [[nodiscard]] virtual Result<std::string> batch_body(const FrozenBatch& batch) const = 0;

  // Everything up to and with the frozen batch is at the receiver. Commits the mark and drops the frozen batch; in its
  // place there is then the prepared one, if there is one.
  virtual Status acknowledge_frozen() = 0;

  // Puts the frozen batch's single entry aside with the reason and moves on. Requires first == last.
  virtual Status park_frozen(const std::string& reason) = 0;

  // Re-opens an acknowledged range: the receiver asked for everything from `from` again. Clamped to what is kept. A
  // frozen batch is delivered first, as it is: it may be on its way. Parked entries stay parked.
  virtual Status resend_from(Sequence from) = 0;

 protected:
  Outbox() = default;
};

}  // namespace nodemeter
