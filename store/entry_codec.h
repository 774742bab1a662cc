// Entries to bytes and back: one msgpack row per entry, all columns in order, nothing around it (store/FORMAT.md).
//
// Canonical: one entry has exactly one encoding, and decoding accepts only that one. So a stored row re-encodes to the
// bytes that its digest covers. Pure; any thread.

#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "platform/result.h"
#include "store/entry.h"

namespace nodemeter {

// The column names in wire order, generated from the same table as the encoder.
const std::vector<std::string_view>& entry_columns();

// The row without its last column, the digest: what the digest is computed over, after the previous digest.
// kLimitExceeded if the entry breaks a limit of store/entry.h; kInvalidInput if text is not UTF-8 or a time is out of
// range.
Result<std::string> encode_entry_body(const Entry& entry);

// `body` with the digest column appended.
std::string seal_entry(std::string body, const Digest& digest);

// BLAKE2b-256(previous || body).
Digest chain_digest(const Digest& previous, std::string_view body);

// A row without decoding it: what its digest covers after the previous one, and the digest. Nothing: it does not end
// with a digest column. A row whose digest continues the chain is, byte for byte, what was sealed.
struct SealedRow {
  std::string_view body;
  Digest digest;
};
std::optional<SealedRow> split_sealed(std::string_view row);

struct DecodedEntry {
  Entry entry;
  std::string_view row;   // The bytes of this row within the input.
  std::string_view body;  // The same without the digest column.
};

// Decodes the first row of `bytes`. kCorrupt names the column and what is wrong with it; kLimitExceeded, kUnsupported
// (schema newer than this program).
Result<DecodedEntry> decode_entry(std::string_view bytes);

// Decodes rows until the input ends. At most `rows_max`.
Result<std::vector<DecodedEntry>> decode_rows(std::string_view bytes, std::size_t rows_max);

}  // namespace nodemeter
