// What the aggregator keeps: every row that any node sent, once, with the time it arrived.
//
// Layout on the KeyValue seam (all integers in keys big-endian, in values little-endian), beside rows and the index to
// them, which row_keys.h describes:
//   kState    "h" <node> 00 <epoch:16>                       ->  ChainHead
//             "m" <node> 00 <epoch:16> <sequence:8>          ->  i64: the hour until which the manifest with that
//             sequence number says that hours are closed, kept as long as rows before it are missing
//   kMeta     "format"                                       ->  u32
//             "key/" <node>, "keys/" <node> 00 <index:4>  ->  the node's public keys: key_history.h
//             "arrival"                                    ->  i64: the newest arrival time ever given
// A row's key is its dedup mark, so row, mark and head are one commit by construction. Two rows with one sequence
// number and different digests are a fork of that node's chain: both stay, and the fork is counted and reported.
//
// Threads: store() and heads() from any thread; one writer at a time inside.

#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "platform/clock.h"
#include "platform/result.h"
#include "store/kv.h"
#include "uploader/aggregator/forward_queue.h"
#include "uploader/aggregator/ingest.h"
#include "uploader/aggregator/key_history.h"
#include "uploader/aggregator/row_keys.h"

namespace nodemeter {

inline constexpr std::uint32_t kAggregatorFormat = 3;  // Before: without the index, which opening makes.

// How far one node's chain in one epoch is known.
struct ChainHead {
  Sequence contiguous = 0;  // Every entry from 1 to here is stored.
  Sequence highest = 0;     // The greatest that is stored.
  std::uint64_t rows = 0;   // Stored, forks included.
  std::uint64_t forks = 0;  // Rows beyond the first with their sequence number.
  UtcTime arrived_last{};   // Of the newest new row.
  UtcTime reported_last{};  // What the node said about the newest new batch's end.
  // Hours since 1970, [first, closed): everything about them is stored, but for later knowledge. Equal: nothing is
  // known to be whole.
  std::int64_t hours_first = 0;
  std::int64_t hours_closed = 0;
};

struct StoreOutcome {
  Sequence acknowledged = 0;
  std::optional<Sequence> resend_from;  // Entries from here are missing below what was just stored.
  std::uint64_t missing = 0;            // How many: a sender tells by it whether more was lost since it was last asked.
  std::uint64_t stored = 0;
  std::uint64_t repeats = 0;
  std::uint64_t forks = 0;
  // The node sends again, unasked, what was acknowledged long ago: its store went back to an older copy.
  bool went_back = false;
  bool new_epoch = false;  // The node has begun a new store.
  // The new store is a copy of an earlier one, and so many entries of that one, stored here, were made after the copy.
  std::optional<std::uint64_t> after_copy;
  bool twin = false;  // An earlier store of the node goes on beside the newer one: two copies of it are at work.
};

struct StoredRow {
  NodeId node;
  Epoch epoch;
  Sequence sequence = 0;
  Digest digest;
  UtcTime arrived{};
  std::string row;
};

class AggregatorStore {
 public:
  // `kv` must outlive it. kUnsupported: written by a newer format; kCorrupt: the heads make no sense.
  static Result<std::unique_ptr<AggregatorStore>> open(KeyValue& kv);

  // Stores what is new of the batch, durably, before it returns. The batch's arrival time is `now`, or a millisecond
  // after the newest ever given where the clock has not passed it: no two commits have the same. A batch whose first
  // row does not continue the stored entry before it is refused, and one with a key that nothing vouches for. Errors
  // are the store's: kFull (nothing was stored), kUnavailable and kCorrupt (reopen).
  Result<std::variant<StoreOutcome, Refusal>> store(const IngestBatch& batch, UtcTime now);

  [[nodiscard]] std::map<ChainKey, ChainHead> heads() const;

  [[nodiscard]] std::map<NodeId, KeyHistory> keys() const;

  // The newest arrival time ever given. What is stored from now on has a later one.
  [[nodiscard]] UtcTime newest_arrival() const;

  [[nodiscard]] KeyValue::Usage usage() const;

  // What still has to be passed on to the receiver upstream.
  [[nodiscard]] ForwardQueue& forward_queue() { return forward_; }

 private:
  struct Plan;

  explicit AggregatorStore(KeyValue& kv) : kv_(kv) {}
  Status load();
  Status upgrade();
  Result<bool> continues(const Snapshot& snapshot, const IngestBatch& batch) const;
  static Status plan_manifests(const Snapshot& snapshot, const IngestBatch& batch, ChainHead& head, Plan& plan);
  static Status plan_rows(const Snapshot& snapshot, const IngestBatch& batch, const ChainHead& head, Plan& plan);
  void note_newest();
  void note_epoch(const IngestBatch& batch, const ChainHead& head, StoreOutcome& outcome);
  static std::optional<Refusal> learn_fresh_keys(const IngestBatch& batch, Plan& plan);

  KeyValue& kv_;
  mutable std::mutex mutex_;  // Guards what follows, and makes check and commit one step.
  std::map<ChainKey, ChainHead> heads_;
  std::map<NodeId, KeyHistory> keys_;
  std::map<NodeId, Epoch> newest_;      // The store of each node that began last.
  std::map<ChainKey, Sequence> asked_;  // What is to be sent again, from where on.
  ForwardQueue forward_{kv_, mutex_};
  UtcTime arrival_{};
};

// What a program beside a running aggregator has to know. All of one moment.
struct StoreView {
  std::map<ChainKey, ChainHead> heads;
  UtcTime newest_arrival{};
};

// kUnsupported: another format, which opening by an aggregator makes this one, or a newer one.
Result<StoreView> read_store_view(const KeyValue& kv);

// The newest arrival time that was given in what the snapshot shows; 1970 if it holds no rows.
Result<UtcTime> newest_arrival_of(const Snapshot& snapshot);

// Visits the stored rows in key order (node, epoch, sequence, digest), of one node if given, until `visit` returns
// false. Takes short snapshots: a slow reader costs a running aggregator nothing. kCorrupt: a key makes no sense.
Status for_each_row(const KeyValue& kv, const std::optional<NodeId>& node,
                    const std::function<bool(const StoredRow&)>& visit);

struct StoreCheck {
  std::uint64_t rows = 0;
  std::uint64_t chains = 0;
  std::uint64_t forks = 0;
  std::uint64_t manifests = 0;
  std::uint64_t signed_manifests = 0;  // By a key of the node that is to be believed.
  std::vector<std::string> holes;      // Entries that no node has delivered (yet). At most kFaultsMax are spelled out.
  std::vector<std::string> faults;     // Rows that do not decode, do not fit their key or break their chain.
};
inline constexpr std::size_t kFaultsMax = 1'000;

// Recomputes every chain from the stored bytes alone. Shares no code with store().
Result<StoreCheck> verify_store(const KeyValue& kv);

}  // namespace nodemeter
