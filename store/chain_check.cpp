#include "store/chain_check.h"

#include <algorithm>

#include "store/entry_codec.h"
#include "store/merkle.h"

namespace nodemeter {

void ChainChecker::fault(Sequence sequence, const std::string& what) {
  if (check_.faults.size() < kChainFaultsMax) {
    check_.faults.push_back("entry " + std::to_string(sequence) + ": " + what);
  } else {
    ++check_.faults_untold;
  }
}

void ChainChecker::begin(const Epoch& epoch, Sequence first, const Digest& before) {
  epoch_ = epoch;
  expected_ = check_.first = first;
  previous_ = before;
  check_.signed_until = 0;
  next_manifest_first_.reset();
  lose_range();
  range_first_ = first;
}

void ChainChecker::skip_to(Sequence first, const std::optional<Digest>& before) {
  if (expected_ == check_.first) check_.first = first;
  expected_ = first;
  previous_ = before;
  lose_range();
  range_first_ = first;
}

void ChainChecker::lose_range() {
  range_.clear();
  range_first_.reset();
}

void ChainChecker::take(Sequence sequence, std::string_view row) {
  if (sequence > expected_) {
    fault(expected_, expected_ + 1 == sequence ? "missing" : "missing, and all up to " + std::to_string(sequence - 1));
    previous_.reset();
    lose_range();
  }
  expected_ = sequence + 1;
  ++check_.entries;
  check_.bytes += row.size();
  const Result<DecodedEntry> decoded = decode_entry(row);
  if (!decoded || decoded->row.size() != row.size()) {
    fault(sequence, decoded ? "bytes after its end" : decoded.error().message);
    previous_.reset();
    lose_range();
    return;
  }
  const Entry& entry = decoded->entry;
  if (entry.sequence != sequence) fault(sequence, "stored under a number that is not its own");
  if (entry.epoch != epoch_) fault(sequence, "of another epoch");
  if (entry.reported_at < reported_) fault(sequence, "reported earlier than the entry before it");
  reported_ = entry.reported_at;
  if (previous_ && chain_digest(*previous_, decoded->body) != entry.digest) {
    fault(sequence, "its digest does not match: it or the entry before it was changed");
  }
  previous_ = entry.digest;
  check_.last = sequence;
  check_.head = entry.digest;
  if (entry.kind == EntryKind::kManifest) take_manifest(entry);
  if (const std::optional<KeyChange> change = key_change_of(entry)) take_key(entry, *change);
  if (!range_first_) return;
  Covered covered;
  covered.leaf = merkle_leaf(row);
  covered.digest = entry.digest;
  covered.hour = std::chrono::floor<std::chrono::hours>(entry.usage_start).time_since_epoch().count();
  if (entry.kind == EntryKind::kUsage) covered.meters = entry.meters;
  range_.push_back(std::move(covered));
}

void ChainChecker::take_manifest(const Entry& entry) {
  ++check_.manifests;
  const Result<Manifest> manifest = manifest_of(entry);
  if (!manifest) {
    fault(entry.sequence, manifest.error().message);
    return;
  }
  const ManifestStatement& s = manifest->statement;
  if (next_manifest_first_ && s.first != *next_manifest_first_) {
    fault(entry.sequence, "its manifest begins at " + std::to_string(s.first) + ", the one before it ended before " +
                              std::to_string(*next_manifest_first_));
  }
  next_manifest_first_ = s.last + 1;
  if (manifest->public_key != check_.key) {
    if (check_.key.empty() || accepts(manifest->public_key)) {
      check_.key = manifest->public_key;
    } else {
      fault(entry.sequence, manifest->public_key.empty() ? "its manifest is not signed"
                                                         : "its manifest is signed with another key than the node's");
    }
  }
  if (!manifest->public_key.empty()) {
    if (verify_signature(manifest->public_key, s.text(), manifest->signature)) {
      ++check_.signed_manifests;
      if (manifest->public_key == check_.key) check_.signed_until = s.last;
    } else {
      fault(entry.sequence, "its manifest's signature does not hold");
    }
  }
  compare_with_range(entry, *manifest);
}

// Several manifests may follow one another where a single one would be too long: then each covers a part of the rows
// that came before them all.
void ChainChecker::compare_with_range(const Entry& entry, const Manifest& manifest) {
  const ManifestStatement& s = manifest.statement;
  if (!range_first_ || s.last + 1 > *range_first_ + range_.size()) {
    ++check_.partial;
    lose_range();
    if (s.last + 1 == entry.sequence) range_first_ = entry.sequence;
    return;
  }
  // Rows before the range are of a time when this store made no manifests: the head vouches for them.
  const Sequence begin = std::max(s.first, *range_first_);
  const auto end = range_.begin() + static_cast<std::ptrdiff_t>(s.last + 1 - *range_first_);
  if (end != range_.begin() && std::prev(end)->digest != s.head) {
    fault(entry.sequence, "its manifest's head is not that of the chain");
  }
  if (begin == s.first) {
    compare_rows(entry, manifest, range_.begin() + static_cast<std::ptrdiff_t>(begin - *range_first_), end);
  } else {
    ++check_.partial;
  }
  range_.erase(range_.begin(), end);
  range_first_ = s.last + 1;
}

void ChainChecker::compare_rows(const Entry& entry, const Manifest& manifest, Rows begin, Rows end) {
  std::vector<Digest> leaves;
  HourSums sums;
  for (Rows row = begin; row != end; ++row) {
    leaves.push_back(row->leaf);
    for (const MeterValue& value : row->meters) sums[row->hour][value.meter] += value.quantity;
  }
  if (merkle_root(leaves) != manifest.statement.root) {
    fault(entry.sequence, "its manifest's root is not that of the entries");
  }
  if (sums != manifest.sums) fault(entry.sequence, "its manifest's sums are not those of the entries");
}

bool ChainChecker::accepts(const std::string& key) const {
  return std::find(accepted_.begin(), accepted_.end(), key) != accepted_.end();
}

void ChainChecker::take_key(const Entry& entry, const KeyChange& change) {
  if (!check_.key.empty() && change.previous != check_.key && !accepts(change.key)) {
    fault(entry.sequence, "changes a key that is not the node's");
    return;
  }
  const std::string text = key_change_text(entry.node, entry.epoch, entry.sequence, change.key);
  if (!verify_signature(change.previous, text, change.signature) && !accepts(change.key)) {
    fault(entry.sequence, "the node's key changed without a signature of the one before: ask who changed it");
  }
  check_.key = change.key;
}

void ChainChecker::end(Sequence last, const Digest& head) {
  if (expected_ <= last) fault(expected_, "missing, and all up to the head, " + std::to_string(last));
  if (expected_ == last + 1 && previous_ && *previous_ != head) {
    fault(last, "its digest is not the one that the head was written with");
  }
  check_.last = last;
  check_.head = head;
}

ChainCheck ChainChecker::finish() {
  if (check_.faults_untold > 0) check_.faults.push_back("and " + std::to_string(check_.faults_untold) + " more");
  return std::move(check_);
}

}  // namespace nodemeter
