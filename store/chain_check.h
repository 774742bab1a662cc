// Checks a run of journal rows against the chain and against the manifests among them: a node's store, an export file,
// an aggregator's copy. It trusts nothing but a public key, if it is given one. Pure; one thread at a time.

#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "store/entry.h"
#include "store/manifest.h"

namespace nodemeter {

// More faults than this are counted, not told.
inline constexpr std::size_t kChainFaultsMax = 500;

struct ChainCheck {
  std::uint64_t entries = 0;  // Of all epochs.
  std::uint64_t bytes = 0;
  Sequence first = 0;  // Of the newest epoch, as are `last` and `head`.
  Sequence last = 0;
  Digest head;
  std::uint64_t manifests = 0;
  std::uint64_t signed_manifests = 0;  // Whose signature holds.
  std::uint64_t partial = 0;           // Manifests over entries that are partly pruned or outside: root not recomputed.
  Sequence signed_until = 0;           // Of the newest epoch; what comes after is only in the chain.
  std::string key;                     // Public key in force at the end; "": nothing is signed.
  // Each names the epoch's entry and what is wrong; after some hundred the last one counts the rest. Empty: it holds.
  std::vector<std::string> faults;
  std::uint64_t faults_untold = 0;
};

class ChainChecker {
 public:
  // `key`: the public key that the first manifest has to be signed with; "": the first one seen is believed.
  // `accepted`: further keys that the operator believes, whatever the chain says about how they came.
  explicit ChainChecker(std::string key, std::vector<std::string> accepted = {}) : accepted_(std::move(accepted)) {
    check_.key = std::move(key);
  }

  // The rows that follow are of `epoch`, from `first` on, and continue the chain at `before`.
  void begin(const Epoch& epoch, Sequence first, const Digest& before);

  // The entries up to `first` are not at hand, which is no fault (pruned meanwhile); the chain goes on at `before`, if
  // that is known.
  void skip_to(Sequence first, const std::optional<Digest>& before);

  // The next row, stored under `sequence`.
  void take(Sequence sequence, std::string_view row);

  // Nothing follows in this epoch: it should end with `last` and its digest `head`.
  void end(Sequence last, const Digest& head);

  void fault(Sequence sequence, const std::string& what);

  [[nodiscard]] Sequence expected() const { return expected_; }
  [[nodiscard]] const ChainCheck& so_far() const { return check_; }
  [[nodiscard]] ChainCheck finish();

 private:
  ChainCheck check_;
  Epoch epoch_;
  Sequence expected_ = 1;
  std::optional<Digest> previous_;  // Nothing: a fault before was reported already.
  UtcTime reported_{};

  // What a manifest is going to say about a row.
  struct Covered {
    Digest leaf;
    Digest digest;
    std::int64_t hour = 0;
    std::vector<MeterValue> meters;
  };
  using Rows = std::vector<Covered>::const_iterator;

  void take_manifest(const Entry& entry);
  void take_key(const Entry& entry, const KeyChange& change);
  void compare_with_range(const Entry& entry, const Manifest& manifest);
  void compare_rows(const Entry& entry, const Manifest& manifest, Rows begin, Rows end);
  void lose_range();
  [[nodiscard]] bool accepts(const std::string& key) const;

  const std::vector<std::string> accepted_;
  std::vector<Covered> range_;           // Rows from range_first_ on, without holes, that no manifest has covered yet.
  std::optional<Sequence> range_first_;  // Nothing: where the next manifest begins is not at hand.
  std::optional<Sequence> next_manifest_first_;
};

}  // namespace nodemeter
