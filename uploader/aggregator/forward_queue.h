// What still has to be passed on to the receiver upstream, exactly as it was received: runs of stored rows, queued in
// the commit that stored them and taken off the queue in the commit that notes the receiver's acknowledgement.
//
//   kMeta   "forward"                                            ->  "1": rows are queued as they are stored
//   kState  "q" <node> 00 <epoch:16> <number:8>                  ->  first:u64, last:u64, digest of last:32
//   kState  "f" <node> 00 <epoch:16>                             ->  the frozen batch: first, last, digest, token
//   kMeta   "forward-parked/" <node> 00 <epoch:16> <sequence:8>  ->  why the receiver refused the row
//
// A run follows one branch of a chain, so forks are passed on with both their branches, and a hole that is closed late
// is passed on late. Each chain (node and epoch) is an Outbox, so that what decides about answers, cutting and parking
// is the agent's own Uploader.
//
// Threads: any; everything is guarded by the mutex of the store whose rows these are, which is also the one writer.

#pragma once

#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "store/kv.h"
#include "store/outbox.h"
#include "uploader/aggregator/ingest.h"
#include "uploader/aggregator/row_keys.h"

namespace nodemeter {

// A stretch of one branch.
struct ForwardRun {
  std::uint64_t number = 0;  // Its place in the queue.
  Sequence first = 0;
  Sequence last = 0;
  Digest digest;  // Of last.
};

struct ForwardBacklog {
  std::uint64_t rows = 0;
  std::uint64_t parked = 0;  // Ever, of this chain.
};

class ForwardQueue {
 public:
  // `mutex`: of the store; both must outlive the queue.
  ForwardQueue(KeyValue& kv, std::mutex& mutex) : kv_(kv), mutex_(mutex) {}

  // With the mutex held. kCorrupt: a row of the queue makes no sense.
  Status load(const Snapshot& snapshot);

  // Begins to queue: everything that is stored already goes first. If it was on already, nothing happens. Off: forgets
  // what is queued and parked; switching on again then passes on everything once more, and the receiver removes the
  // repeats.
  Status switch_on();
  Status switch_off();

  // With the mutex held: what queues `fresh` rows, for the commit that stores them; and after it.
  [[nodiscard]] std::vector<Write> plan(const ChainKey& chain, const std::vector<const IngestRow*>& fresh,
                                        std::vector<ForwardRun>& planned) const;
  void planned_is_durable(const ChainKey& chain, const std::vector<ForwardRun>& planned);

  [[nodiscard]] std::map<ChainKey, ForwardBacklog> backlog() const;

  // The outbox of one chain, which must not outlive the queue.
  [[nodiscard]] std::unique_ptr<Outbox> outbox(const ChainKey& chain);

 private:
  friend class ChainOutbox;
  struct Chain {
    std::deque<ForwardRun> runs;
    std::optional<FrozenBatch> frozen;
    std::set<Sequence> parked;
  };
  // Runs of what is stored of a chain, from `from` to `to`.
  Result<std::vector<ForwardRun>> stored_runs(const Snapshot& snapshot, const ChainKey& chain, Sequence from,
                                              Sequence to) const;
  Status load_chain_row(std::string_view key, std::string_view value);

  KeyValue& kv_;
  std::mutex& mutex_;
  bool on_ = false;
  std::map<ChainKey, Chain> chains_;
  std::uint64_t next_number_ = 1;
};

}  // namespace nodemeter
