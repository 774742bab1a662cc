#include <algorithm>
#include <vector>

#include "store/chain_check.h"
#include "store/entry_codec.h"
#include "uploader/aggregator/aggregator_store.h"

namespace nodemeter {
namespace {

// Walks the rows in key order and keeps, per chain, the digests of the sequence number before the current one.
class Verifier {
 public:
  explicit Verifier(std::map<NodeId, KeyHistory> keys) : keys_(std::move(keys)) {}

  void visit(const StoredRow& row) {
    if (check_.rows++ == 0 || row.node != node_ || row.epoch != epoch_) begin_chain(row);
    if (row.sequence == sequence_) {
      ++check_.forks;
    } else {
      if (row.sequence != sequence_ + 1) {
        hole(sequence_ + 1, row.sequence - 1);
        before_.clear();
        unknown_before_ = true;
      } else {
        before_ = std::move(here_);
        unknown_before_ = false;
      }
      here_.clear();
      sequence_ = row.sequence;
    }
    here_.push_back(row.digest);
    check_row(row);
  }

  [[nodiscard]] StoreCheck take() {
    end_chain();
    return std::move(check_);
  }

 private:
  // What the node's own manifests and signatures say.
  void end_chain() {
    if (!manifests_) return;
    const ChainCheck checked = manifests_->finish();
    for (const std::string& what : checked.faults) {
      if (check_.faults.size() < kFaultsMax) check_.faults.push_back(node_.text() + " " + epoch_.text() + " " + what);
    }
    check_.manifests += checked.manifests;
    check_.signed_manifests += checked.signed_manifests;
    manifests_.reset();
  }

  void begin_chain(const StoredRow& row) {
    end_chain();
    ++check_.chains;
    const auto keys = keys_.find(row.node);
    believed_ = keys == keys_.end() ? KeyHistory() : keys->second;
    std::vector<std::string> configured;
    for (const KnownKey& known : believed_) {
      if (known.how == KnownKey::How::kConfigured) configured.push_back(known.key);
    }
    // Any key that is to be believed may be the first one of an epoch: see note_key().
    first_key_.reset();
    manifests_.emplace("", std::move(configured));
    manifests_->begin(row.epoch, 1, Digest{});
    node_ = row.node;
    epoch_ = row.epoch;
    sequence_ = 0;
    before_.clear();
    here_ = {Digest{}};  // An epoch's first entry continues nothing.
  }

  // The key that was in force when the chain began has to be one of the node's; how it goes on is the chain's own
  // story.
  void note_key(const Entry& entry) {
    if (first_key_) return;
    if (const std::optional<KeyChange> change = key_change_of(entry)) first_key_ = change->previous;
    if (entry.kind == EntryKind::kManifest) {
      if (const Result<Manifest> manifest = manifest_of(entry)) first_key_ = manifest->public_key;
    }
    if (!first_key_ || believed_.empty() || knows(believed_, *first_key_)) return;
    fault(StoredRow{.node = entry.node, .epoch = entry.epoch, .sequence = entry.sequence, .digest = {}, .row = {}},
          first_key_->empty() ? "is a manifest without a signature, and the node has a key"
                              : "is signed with another key than the node's");
  }

  void check_row(const StoredRow& row) {
    const Result<DecodedEntry> decoded = decode_entry(row.row);
    if (!decoded || decoded->row.size() != row.row.size()) {
      fault(row, decoded ? "has bytes after its end" : decoded.error().message);
      return;
    }
    const Entry& entry = decoded->entry;
    if (entry.node != row.node || entry.epoch != row.epoch || entry.sequence != row.sequence ||
        entry.digest != row.digest) {
      fault(row, "is stored under another entry's key");
      return;
    }
    note_key(entry);
    if (unknown_before_) {
      manifests_->skip_to(row.sequence, std::nullopt);
      manifests_->take(row.sequence, row.row);
      return;
    }
    const bool linked = std::any_of(before_.begin(), before_.end(), [&](const Digest& previous) {
      return chain_digest(previous, decoded->body) == row.digest;
    });
    if (!linked) fault(row, "does not continue the chain");
    // Of a fork the first branch is followed; that there is another one is told already.
    if (here_.size() > 1) return;
    if (!linked || before_.size() > 1) manifests_->skip_to(row.sequence, std::nullopt);
    manifests_->take(row.sequence, row.row);
  }

  [[nodiscard]] std::string name(Sequence sequence) const {
    return node_.text() + " " + epoch_.text() + " entry " + std::to_string(sequence);
  }
  void hole(Sequence first, Sequence last) {
    if (check_.holes.size() < kFaultsMax) {
      check_.holes.push_back(name(first) + (last > first ? " to " + std::to_string(last) : "") + " is missing");
    }
  }
  void fault(const StoredRow& row, const std::string& what) {
    if (check_.faults.size() < kFaultsMax) check_.faults.push_back(name(row.sequence) + " " + what);
  }

  StoreCheck check_;
  NodeId node_;
  Epoch epoch_;
  Sequence sequence_ = 0;
  bool unknown_before_ = false;
  std::vector<Digest> before_;
  std::vector<Digest> here_;
  std::optional<ChainChecker> manifests_;
  const std::map<NodeId, KeyHistory> keys_;  // As pinned and vouched for.
  KeyHistory believed_;                      // Of the present node.
  std::optional<std::string> first_key_;     // Of the present chain.
};

}  // namespace

Result<StoreCheck> verify_store(const KeyValue& kv) {
  auto snapshot = kv.snapshot();
  if (!snapshot) return snapshot.error();
  Result<std::map<NodeId, KeyHistory>> keys = read_key_histories(**snapshot);
  if (!keys) return keys.error();
  snapshot->reset();
  Verifier verifier(std::move(*keys));
  const Status walked = for_each_row(kv, std::nullopt, [&](const StoredRow& row) {
    verifier.visit(row);
    return true;
  });
  if (!walked) return walked.error();
  return verifier.take();
}

}  // namespace nodemeter
