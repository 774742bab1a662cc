#include "uploader/aggregator/ingest.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "platform/text.h"
#include "store/entry_codec.h"
#include "store/manifest.h"
#include "uploader/aggregator/row_keys.h"

namespace nodemeter {
namespace {

// Beyond what any node reaches; so that counting on from the first row cannot wrap.
constexpr Sequence kSequenceMax = Sequence{1} << 62;

Refusal refuse(int status, std::string_view cause, std::string sentence) {
  return Refusal{.status = status, .cause = cause, .sentence = std::move(sentence)};
}

std::string entry_name(Sequence sequence) { return "entry " + std::to_string(sequence); }

std::optional<Refusal> undecodable(const Error& error, std::size_t offset, Sequence expected) {
  // A node that was upgraded before its aggregator: nothing is wrong with the rows, so they must not be set aside.
  if (error.code == ErrorCode::kUnsupported) {
    return refuse(415, "schema", error.message + "; upgrade this aggregator first");
  }
  std::string where = "the row at byte " + std::to_string(offset);
  if (expected != 0) where += " (after " + entry_name(expected - 1) + ")";
  return refuse(400, "row", where + " is not an entry: " + display_text(error.message, 300));
}

// What the first row fixes for the whole batch.
std::optional<Refusal> begin_batch(const Entry& entry, const IngestClaims& claims, IngestBatch& batch) {
  batch.node = entry.node;
  batch.epoch = entry.epoch;
  batch.first = entry.sequence;
  if (entry.sequence == 0 || entry.sequence > kSequenceMax) {
    return refuse(400, "row", "sequence number " + std::to_string(entry.sequence) + " is out of range");
  }
  if (!claims.node.empty() && claims.node != entry.node.text()) {
    return refuse(
        403, "node",
        "the request is from node " + display_text(claims.node, 64) + ", its rows are of node " + entry.node.text());
  }
  if (!claims.epoch.empty() && claims.epoch != entry.epoch.text()) {
    return refuse(400, "header", "Nodemeter-Epoch does not name the epoch of the rows");
  }
  return std::nullopt;
}

std::optional<Refusal> check_row(const DecodedEntry& decoded, const IngestBatch& batch, const IngestLimits& limits) {
  const Entry& entry = decoded.entry;
  if (entry.node != batch.node || entry.epoch != batch.epoch) {
    return refuse(400, "mixed", entry_name(entry.sequence) + " is of another node or epoch than the first row");
  }
  if (!limits.allow_simulated && (entry.status & status_bit::kSimulated) != 0) {
    return refuse(
        403, "simulated",
        entry_name(entry.sequence) + " is simulated; only an aggregator with allow_simulated takes such rows");
  }
  if (batch.rows.empty()) return std::nullopt;
  const IngestRow& before = batch.rows.back();
  if (entry.sequence != before.sequence + 1) {
    return refuse(400, "sequence",
                  entry_name(entry.sequence) + " follows " + entry_name(before.sequence) +
                      " in one batch; sequence numbers must be consecutive");
  }
  if (entry.digest != chain_digest(before.digest, decoded.body)) {
    return refuse(400, "chain",
                  entry_name(entry.sequence) + " does not continue the digest chain of the entry before it");
  }
  return std::nullopt;
}

// A manifest that makes no sense, or whose signature does not hold, is stored like any row: it is the node's word, and
// verify names it. It says nothing about the node's key.
void note_statements(const Entry& entry, IngestBatch& batch) {
  if (const std::optional<KeyChange> change = key_change_of(entry)) {
    const std::string text = key_change_text(entry.node, entry.epoch, entry.sequence, change->key);
    batch.key_statements.push_back({.sequence = entry.sequence,
                                    .key = change->key,
                                    .change = true,
                                    .previous = change->previous,
                                    .vouched_for = verify_signature(change->previous, text, change->signature)});
  }
  if (entry.kind != EntryKind::kManifest) return;
  const Result<Manifest> manifest = manifest_of(entry);
  if (!manifest) return;
  batch.rows.back().closed_until = manifest->statement.closed_until;
  const std::string& key = manifest->public_key;
  if (!key.empty() && !verify_signature(key, manifest->statement.text(), manifest->signature)) return;
  batch.key_statements.push_back({.sequence = entry.sequence, .key = key, .change = false, .previous = {}});
}

std::optional<OlderCopy> older_copy(const Entry& entry) {
  if (entry.sequence != 1 || entry.kind != EntryKind::kEvent) return std::nullopt;
  const auto detail = nlohmann::json::parse(entry.detail, nullptr, false);
  if (!detail.is_object() || detail.value("event", nlohmann::json{}) != "store-restored") return std::nullopt;
  const nlohmann::json of = detail.value("previous_epoch", nlohmann::json{});
  const nlohmann::json last = detail.value("previous_last_sequence", nlohmann::json{});
  const std::optional<Epoch> epoch = of.is_string() ? Epoch::parse(of.get<std::string>()) : std::nullopt;
  if (!epoch || !last.is_number_unsigned()) return std::nullopt;
  return OlderCopy{.of = *epoch, .last = last.get<Sequence>()};
}

std::optional<Refusal> check_claims(const IngestClaims& claims, const IngestBatch& batch) {
  const std::string range = std::to_string(batch.first) + "-" + std::to_string(batch.last);
  if (!claims.sequence.empty() && claims.sequence != range) {
    return refuse(400, "header",
                  "Nodemeter-Sequence says " + display_text(claims.sequence, 48) + ", the rows are " + range);
  }
  if (!claims.digest.empty() && claims.digest != batch.rows.back().digest.hex()) {
    return refuse(400, "header", "Nodemeter-Digest is not the digest of the last row");
  }
  return std::nullopt;
}

}  // namespace

std::variant<IngestBatch, Refusal> decode_batch(const IngestClaims& claims, std::string_view body,
                                                const IngestLimits& limits) {
  if (body.empty()) return refuse(400, "empty", "the body is empty: a batch has at least one row");
  if (body.size() > limits.bytes_max) {
    return refuse(413, "size", "the batch is larger than " + std::to_string(limits.bytes_max) + " bytes");
  }
  IngestBatch batch;
  for (std::size_t offset = 0; offset < body.size();) {
    if (batch.rows.size() == limits.rows_max) {
      return refuse(413, "size", "the batch has more than " + std::to_string(limits.rows_max) + " rows");
    }
    const Result<DecodedEntry> decoded = decode_entry(body.substr(offset));
    if (!decoded) return *undecodable(decoded.error(), offset, batch.rows.empty() ? 0 : batch.rows.back().sequence + 1);
    if (batch.rows.empty()) {
      if (auto refusal = begin_batch(decoded->entry, claims, batch)) return *std::move(refusal);
      batch.first_body = body.substr(0, decoded->body.size());
    }
    if (auto refusal = check_row(*decoded, batch, limits)) return *std::move(refusal);
    batch.rows.push_back(IngestRow{.sequence = decoded->entry.sequence,
                                   .digest = decoded->entry.digest,
                                   .row = body.substr(offset, decoded->row.size()),
                                   .kind = decoded->entry.kind,
                                   .hour = hour_of(decoded->entry),
                                   .closed_until = std::nullopt});
    note_statements(decoded->entry, batch);
    if (batch.rows.size() == 1) batch.older_copy = older_copy(decoded->entry);
    batch.last = decoded->entry.sequence;
    batch.reported_last = decoded->entry.reported_at;
    offset += decoded->row.size();
  }
  if (auto refusal = check_claims(claims, batch)) return *std::move(refusal);
  return batch;
}

}  // namespace nodemeter
