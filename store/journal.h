// The node's journal: what was metered, in order, with the state it came from, in one commit.
//
// The journal gives every entry its sequence number and digest in the commit that makes it durable, keeps the delivery
// marks (what is frozen for sending, what is acknowledged, what is parked), and stores the meter's state rows as opaque
// bytes. It does not know what a meter is.
//
// Threads: one at a time, the agent's. Other processes read through store/reader.h.

#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "platform/clock.h"
#include "platform/random.h"
#include "platform/result.h"
#include "store/entry.h"
#include "store/kv.h"
#include "store/outbox.h"

namespace nodemeter {

namespace journal_format {
class Sealer;
}

// 1: without manifests and the sum over marks and state rows. Taken over on opening.
inline constexpr std::uint32_t kStoreFormat = 4;

struct JournalOptions {
  NodeId node;
  std::string location = "local";
  // Marks the store for good: agent, upload and import refuse it unless they are simulated too.
  bool simulated = false;
  // Signs the manifests. Nothing: they are made without a signature.
  std::optional<SigningKey> key{};
};

// A change of one state row: nothing deletes it.
struct StateWrite {
  std::string key;
  std::optional<std::string> value;
};

// What one sample changes.
struct JournalCommit {
  std::vector<Entry> entries;  // node, epoch, sequence, reported_at, location and digest are filled in by the journal.
  std::vector<StateWrite> state;
  // Hours since 1970. If set, the commit ends with a manifest over everything since the previous one, which says that
  // the hours below are closed.
  std::optional<std::int64_t> closed_until;
};

struct ParkedEntry {
  Epoch epoch;
  Sequence sequence = 0;
  std::string reason;
};

struct JournalState : DeliveryState {
  std::string location;
  std::uint32_t epoch_ordinal = 0;
  bool simulated = false;
  Digest head;                 // Chain digest after it; zero before the first.
  UtcTime last_reported_at{};  // Reported times never fall.
  Sequence oldest_kept = 1;    // First entry that is still stored.
  std::uint64_t parked = 0;
  Sequence resend_from = 0;  // The receiver wants everything from here again, once `frozen` is through; 0: nothing.
  Epoch previous_epoch;      // Zero in the first epoch of a store.
  Sequence previous_last_sequence = 0;
  std::string public_key;         // In force; empty: no manifest was ever signed.
  Sequence manifested = 0;        // Everything up to here is covered by a manifest.
  std::int64_t closed_until = 0;  // Hours since 1970, as the last manifest says; 0: there is none.
};

class Journal final : public Outbox {
 public:
  // Opens or creates the journal in `kv`, which must outlive it. `random` gives the epoch of a new store. A store that
  // is marked as a backup gets a new epoch: its first entry should name state().previous_epoch and where that ended. A
  // key other than the one in force becomes an entry of the next commit, one without the old key's signature.
  //   kUnsupported  written by a newer format: the message names both and says what to do.
  //   kInvalidInput the store belongs to another node, or is simulated while this run is not (or the other way round).
  //   kCorrupt      the marks contradict each other or the last entry, or a mark or state row was changed.
  static Result<std::unique_ptr<Journal>> open(KeyValue& kv, const JournalOptions& options, Random& random);
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;
  ~Journal() override;

  // Assigns sequence numbers, reported times and digests, and commits entries and state together. On success the
  // entries in `commit` carry what they were given. On an error nothing is there (kUnavailable: unknown; reopen).
  // `now` is the node's UTC; reported times never fall even if it does.
  Status commit(JournalCommit& commit, UtcTime now);

  // Puts `next` in the place of the signing key, by an entry that the present key signs. The caller keeps the key file.
  Status rotate_key(const SigningKey& next, UtcTime now);

  [[nodiscard]] const JournalState& state() const override { return state_; }

  // State rows whose key starts with `prefix`, in key order.
  [[nodiscard]] Result<std::vector<std::pair<std::string, std::string>>> state_rows(std::string_view prefix) const;

  // Delivery: store/outbox.h.
  using BatchLimits = nodemeter::BatchLimits;
  Result<std::optional<FrozenBatch>> freeze_next(const BatchLimits& limits) override;
  std::optional<FrozenBatch> prepare_next(const BatchLimits& limits) override;
  Status refreeze(Sequence last) override;
  [[nodiscard]] Result<std::string> batch_body(const FrozenBatch& batch) const override;
  Status acknowledge_frozen() override;
  Status park_frozen(const std::string& reason) override;
  Status resend_from(Sequence from) override;

  // Everything from `first` to `last` is at the receiver, whose entry `last` has the digest `head`: it said so by
  // another way than an answer. Commits the mark; a frozen batch within the range is dropped. kInvalidInput, as the
  // rest of a sentence: entries before `first` are not acknowledged, `last` has another digest here or is not there, or
  // a frozen batch reaches beyond it.
  Status acknowledge_range(Sequence first, Sequence last, const Digest& head);

  // The stored rows [first, …], within the limits (a single row always fits), with the digest before the first.
  // Nothing: there is none. Parked entries are among them.
  struct Run {
    Epoch epoch;
    Sequence first = 0;
    Sequence last = 0;
    Digest before;
    std::vector<std::string> rows;
  };
  [[nodiscard]] Result<std::optional<Run>> read_run(Sequence first, const BatchLimits& limits) const;

  // The last entry that had been acknowledged (or parked) on a day that ended before `t`, by the reported times of that
  // time; 0: none is known.
  [[nodiscard]] Result<Sequence> acknowledged_before(UtcTime t) const;

  [[nodiscard]] Result<std::vector<ParkedEntry>> parked() const;

  // Makes every parked entry sendable again by re-opening from the lowest one.
  Status unpark();

  // Deletes the oldest entries, at most `entries_max` of them in one commit: those of earlier epochs, then those of
  // this one, while their reported time is before `reported_before` and their sequence is below `keep_from` (of this
  // epoch; the caller knows whether unacknowledged entries are still to be sent). Frozen entries stay, and those that
  // no manifest covers yet. Returns how many
  // went; fewer than `entries_max` means that there are no more. The chain is still verifiable from the first that is
  // kept.
  Result<std::uint64_t> prune(UtcTime reported_before, Sequence keep_from, std::uint64_t entries_max = 5'000);

 private:
  class Appender;
  Journal(KeyValue& kv, JournalState state, const JournalOptions& options);
  Status commit_sealed(std::vector<Write> writes);
  Status add_manifests(Appender& appender, std::int64_t closed_until) const;
  // Commits the delivery marks of `next` and `more`, then takes over `next`.
  Status commit_delivery(const JournalState& next, std::vector<Write> more = {});
  // What comes to be sent after `acknowledged`: no batch if nothing waits.
  struct NextBatch {
    std::optional<FrozenBatch> batch;
    Sequence passed = 0;  // Everything up to here is at the receiver or put aside.
    bool full = false;    // More waits behind it than fits into it.
  };
  Result<NextBatch> next_batch(Sequence acknowledged, const BatchLimits& limits) const;
  // The rows from `first` on, up to and without the first that `fits` refuses.
  Result<FrozenBatch> cut(const Snapshot& snapshot, Sequence first,
                          const std::function<bool(Sequence, std::size_t bytes)>& fits) const;
  KeyValue& kv_;
  JournalState state_;
  std::optional<NextBatch> prepared_;  // Behind the frozen batch, as long as nothing else changed in delivery.
  std::optional<SigningKey> key_;
  std::unique_ptr<journal_format::Sealer> sealer_;
};

}  // namespace nodemeter
