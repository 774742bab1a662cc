// Manifests: what a node signs once an hour about the entries since its previous manifest.
//
// A manifest is an entry of the journal (kind 4) whose detail carries, as JSON, the range of sequence numbers that it
// covers (from the previous manifest on, that one included), the chain's head at its end, the Merkle root over the
// covered rows, the sums per hour and meter, and until when the hours are closed. The signature covers a short
// statement with the sums' digest instead of the sums: so whoever is shown a proof for its own rows learns nothing of
// the others'. Layout in store/FORMAT.md. Pure; any thread.

#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "platform/clock.h"
#include "platform/digest.h"
#include "platform/ids.h"
#include "platform/result.h"
#include "store/entry.h"

namespace nodemeter {

// More hours than this in one range, after a long time with a full disk, make several manifests.
inline constexpr std::size_t kManifestHoursMax = 128;

// Base units by hour (since 1970) and meter. Sums of 64-bit quantities do not fit 64 bits.
using HourSums = std::map<std::int64_t, std::map<Uuid, unsigned __int128>>;

// What is signed. Whoever holds it and the public key can check any row's proof.
struct ManifestStatement {
  NodeId node;
  Epoch epoch;
  Sequence first = 1;
  Sequence last = 0;              // Below `first`: nothing is covered.
  std::int64_t closed_until = 0;  // Hours since 1970 below this one are closed: they only get later knowledge.
  Digest head;                    // Chain digest after `last`.
  Digest root;                    // Merkle root over the rows from first to last.
  Digest sums;                    // Of the sums' JSON text.
  // The bytes under the signature.
  [[nodiscard]] std::string text() const;
  static std::optional<ManifestStatement> parse(std::string_view text);
  friend bool operator==(const ManifestStatement&, const ManifestStatement&) = default;
};

struct Manifest {
  ManifestStatement statement;
  HourSums sums;
  std::string public_key;  // 32 bytes; empty: the node has no key, and nothing is signed.
  std::string signature;   // 64 bytes.
};

std::string sums_text(const HourSums& sums);

// The detail column of a manifest entry.
std::string manifest_detail(const Manifest& manifest);

// The manifest of an entry of that kind. kCorrupt: its detail is not one, or not in the only form there is.
Result<Manifest> manifest_of(const Entry& entry);

// Gathers the rows since the previous manifest, in order.
class ManifestBuilder {
 public:
  explicit ManifestBuilder(Sequence first) : first_(first) {}
  void add(const Entry& entry, std::string_view row);
  // True if one more entry would exceed kManifestHoursMax: time for a manifest.
  [[nodiscard]] bool full_for(const Entry& entry) const;
  [[nodiscard]] Sequence first() const { return first_; }
  [[nodiscard]] Sequence next() const { return first_ + leaves_.size(); }
  [[nodiscard]] const std::vector<Digest>& leaves() const { return leaves_; }
  [[nodiscard]] const HourSums& sums() const { return sums_; }
  // `head`: the chain's digest after the last row that was added.
  [[nodiscard]] Manifest build(const NodeId& node, const Epoch& epoch, std::int64_t closed_until, const Digest& head,
                               const std::optional<SigningKey>& key) const;

 private:
  Sequence first_;
  std::vector<Digest> leaves_;
  HourSums sums_;
};

// What the node wrote when its key changed: signed by the key before it, so that whoever trusted that one may trust the
// new one. An event entry's detail.
struct KeyChange {
  std::string key;  // 32 bytes each.
  std::string previous;
  std::string signature;  // By `previous`; empty: the key before was lost, and nothing vouches for the new one.
};
// The bytes under the signature.
std::string key_change_text(const NodeId& node, const Epoch& epoch, Sequence sequence, std::string_view key);
std::string key_change_detail(const KeyChange& change, UtcTime at);
// Nothing: the entry is another event.
std::optional<KeyChange> key_change_of(const Entry& entry);

}  // namespace nodemeter
