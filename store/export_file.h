// The portable file of journal rows: what `nodemeter journal export` writes and anybody can check off the node.
//
// One zstd frame of records, each a byte for its kind, a 4-byte length and that many bytes; written and read front to
// back, so that it may go through a pipe. A section holds either a run of consecutive rows, whose chain and manifests
// can be recomputed, or an extract: single rows, each with its Merkle path to a root that the node has signed. The last
// record counts and digests everything before it: a file that was cut short shows. Layout in store/FORMAT.md.
//
// Threads: one at a time.

#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "platform/result.h"
#include "store/chain_check.h"
#include "store/entry.h"
#include "store/manifest.h"

namespace nodemeter {

inline constexpr std::uint32_t kExportFormat = 1;

// A record beyond this is not one of ours.
inline constexpr std::size_t kExportRecordMax = 2u << 20;

// Siblings in a proof: a tree over all sequence numbers that fit.
inline constexpr std::size_t kProofPathMax = 64;

struct ExportSection {
  NodeId node;
  Epoch epoch;
  bool extract = false;
  Sequence first = 1;  // Of a run: its first row. Not used in an extract.
  Digest before;       // Of a run: chain digest before it.
  bool simulated = false;
  std::string about;  // For people: what was asked for.
};

// What a node signed, as it stands in an extract; the rows after it are proven by it.
struct ExportStatement {
  std::string text;  // ManifestStatement::text()
  std::string public_key;
  std::string signature;
};

struct ExportProof {
  std::uint64_t index = 0;  // Of the row before it, among those that the statement covers.
  std::vector<Digest> path;
};

// In an extract: the entry by which the node's key changed. It speaks for itself: the key before signed it.
struct ExportKeyChange {
  std::string row;
};

struct ExportEnd {
  std::uint64_t rows = 0;
};

struct ExportRow {
  std::string row;
};

using ExportRecord = std::variant<ExportSection, ExportStatement, ExportRow, ExportProof, ExportKeyChange, ExportEnd>;

class ExportWriter {
 public:
  // Takes the file's next bytes.
  using Sink = std::function<Status(std::string_view)>;

  explicit ExportWriter(Sink sink);
  ExportWriter(const ExportWriter&) = delete;
  ExportWriter& operator=(const ExportWriter&) = delete;
  ~ExportWriter();

  // The first error of the sink sticks: later calls answer with it.
  Status add(const ExportRecord& record);
  // Writes the end and flushes. Without it the file counts as cut short.
  Status finish();
  [[nodiscard]] std::uint64_t rows() const { return rows_; }

 private:
  struct Compressor;
  Status write(char kind, std::string_view payload);
  Status compress(std::string_view bytes, bool end);

  Sink sink_;
  std::unique_ptr<Compressor> compressor_;
  std::uint64_t rows_ = 0;
  Digest running_;
  std::optional<Error> failed_;
};

class ExportReader {
 public:
  // Gives up to `size_max` more bytes of the file; empty at its end.
  using Origin = std::function<Result<std::string>(std::size_t size_max)>;

  explicit ExportReader(Origin origin);
  ExportReader(const ExportReader&) = delete;
  ExportReader& operator=(const ExportReader&) = delete;
  ~ExportReader();

  // The next record; nothing after the end record, which was checked then.
  //   kCorrupt      not such a file, damaged, cut short, or with bytes after its end
  //   kUnsupported  of a newer format
  Result<std::optional<ExportRecord>> next();

 private:
  struct Decompressor;
  Status fill(std::size_t wanted);

  Origin origin_;
  std::unique_ptr<Decompressor> decompressor_;
  std::string buffer_;
  std::uint64_t rows_ = 0;
  Digest running_;
  bool ended_ = false;
};

struct ExportCheck {
  ChainCheck chain;  // Of the runs. `entries` and `bytes` count extracts, too.
  std::uint64_t sections = 0;
  std::uint64_t extract_rows = 0;
  std::uint64_t proven_rows = 0;  // Of those: shown to be among what the node signed.
  std::vector<NodeId> nodes;
};

// Reads the file to its end and checks everything that can be. `key`: the node's public key, known from elsewhere; ""
// believes the first one in the file. Errors are the reader's; what is wrong with the content is in the faults.
Result<ExportCheck> check_export(const ExportReader::Origin& origin, const std::string& key,
                                 const std::function<void(std::uint64_t rows)>& progress);

}  // namespace nodemeter
