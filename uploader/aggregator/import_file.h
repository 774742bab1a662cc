// Export files as a way of delivery: what a node could not send is carried here by hand and stored like any batch, each
// row once, however often the file comes.
//
// A file is checked whole before anything of it is stored, and what it says about a node's key is judged as it is of a
// batch: the key in the nodes file counts. The report is the acknowledgement to carry back.
// While the aggregator runs, it imports what appears in its inbox; else the verb opens the store itself.

#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "platform/clock.h"
#include "store/export_file.h"
#include "uploader/aggregator/aggregator_store.h"
#include "uploader/aggregator/nodes.h"

namespace nodemeter {

struct ImportedRun {
  NodeId node;
  Epoch epoch;
  Sequence first = 0;
  Sequence last = 0;  // Everything from first to here is stored.
  std::uint64_t stored = 0;
  std::uint64_t repeats = 0;
  std::uint64_t forks = 0;
  Digest head;             // Chain digest after `last`.
  std::string signature;   // Of the receipt (uploader/receipt.h) for first to last; 64 bytes, "" before sign().
  bool new_store = false;  // The node has begun a new store with these.
  bool twin = false;       // They are of an earlier store of the node that goes on beside its newer one.
};

struct ImportReport {
  std::vector<ImportedRun> runs;
  std::string key;       // The file's public key, hexadecimal; "": nothing in it is signed.
  std::string error;     // What is wrong with the file: then nothing of it was stored. "": nothing.
  std::string receiver;  // Public key that signed the runs, hexadecimal.
  // Makes each run a receipt that its node takes. Nothing to do if the file had a fault.
  void sign(const SigningKey& key);
  [[nodiscard]] std::string json() const;
};

// The key that signs receipts: <state>/receipt.key, made on the first call. Nodes are configured with its public half,
// which is in every report. kCorrupt: the file is no key.
Result<SigningKey> receipt_key(const std::filesystem::path& state);

// Opens the same file from its beginning: it is read twice.
using OpenOrigin = std::function<Result<ExportReader::Origin>()>;

// What is wrong with the file is in the report. Errors are the store's, and those of opening the file; what was stored
// until then stays, and the next import goes on. `nodes`: the nodes file with the keys that are written down; null:
// none.
Result<ImportReport> import_file(const OpenOrigin& open, AggregatorStore& store, const IngestLimits& limits,
                                 const NodeRegistry* nodes, const Clock& clock);

Result<ImportReport> import_file(const std::filesystem::path& file, AggregatorStore& store, const IngestLimits& limits,
                                 const NodeRegistry* nodes, const Clock& clock);

// <state>/import: a file that gets its name NAME.nmx there by a rename is imported by the running aggregator, which
// puts the report beside it as NAME.json and then removes the file.
std::filesystem::path import_inbox(const std::filesystem::path& state);
inline constexpr const char* kImportSuffix = ".nmx";

// Imports what is in the inbox. Returns the names of the files that were dealt with, each with its report.
Result<std::vector<std::pair<std::string, ImportReport>>> import_inbox_files(const std::filesystem::path& state,
                                                                             AggregatorStore& store,
                                                                             const IngestLimits& limits,
                                                                             const NodeRegistry* nodes,
                                                                             const Clock& clock);

}  // namespace nodemeter
