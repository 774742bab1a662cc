// From the bytes of one request to a batch that may be stored, or to the reason why not. Pure.
//
// A batch is one run of consecutive entries of one node and epoch: every row canonical, every digest the chain of the
// row before it, all of it in agreement with the request's headers. Whether it continues what is already stored is the
// question of aggregator_store.h.

#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "store/entry.h"

namespace nodemeter {

// What the request says about itself. "" where a header was not sent.
struct IngestClaims {
  std::string node;      // Nodemeter-Node
  std::string epoch;     // Nodemeter-Epoch
  std::string sequence;  // Nodemeter-Sequence: "<first>-<last>"
  std::string digest;    // Nodemeter-Digest: chain head after the last, in hex
};

struct IngestLimits {
  std::size_t rows_max = 50'000;      // More: refused with 413, the sender halves.
  std::size_t bytes_max = 16u << 20;  // Uncompressed. More: the same.
  bool allow_simulated = false;       // Rows that no real node metered: for trials only.
};

struct IngestRow {
  Sequence sequence = 0;
  Digest digest;
  std::string_view row;  // Within the body.
  EntryKind kind = EntryKind::kUsage;
  std::int64_t hour = 0;                     // Since 1970: in which its use begins.
  std::optional<std::int64_t> closed_until;  // Of a manifest: hours below this one are closed.
};

// What one of the rows says about the node's signing key.
struct KeyStatement {
  Sequence sequence = 0;
  std::string key;           // 32 bytes: of a manifest whose signature holds, or the new one of a change. "": unsigned.
  bool change = false;       // A change of key, from `previous`.
  std::string previous;      // 32 bytes.
  bool vouched_for = false;  // Signed by `previous`.
};

// A store that begins by saying that it is a copy of an earlier one, taken when that had so many entries.
struct OlderCopy {
  Epoch of;
  Sequence last = 0;
};

struct IngestBatch {
  NodeId node;
  Epoch epoch;
  Sequence first = 0;
  Sequence last = 0;
  UtcTime reported_last{};  // Reported time of the last row.
  std::vector<IngestRow> rows;
  std::vector<KeyStatement> key_statements;  // In order.
  std::optional<OlderCopy> older_copy;       // What entry 1 says.
  // The key that the operator wrote down for this node, 32 bytes; "": none. Filled by whoever checked the sender.
  std::string configured_key;
  std::string_view first_body;  // The first row without its digest: the store links it to what came before.
};

// Why a batch is not taken. The status decides what the sender does (uploader/answer.h).
struct Refusal {
  int status = 400;
  std::string_view cause;  // One word for counting: "row", "chain", "size", "node", "simulated", "format", …
  std::string sentence;    // For people. Names the sequence number where one is to blame.
};

// `body` must outlive the batch.
std::variant<IngestBatch, Refusal> decode_batch(const IngestClaims& claims, std::string_view body,
                                                const IngestLimits& limits);

}  // namespace nodemeter
