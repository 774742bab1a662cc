// The path of a received body: any bytes, in any encoding, are refused or are rows that stand for themselves exactly.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "store/entry_codec.h"
#include "uploader/aggregator/inflate.h"
#include "uploader/aggregator/ingest.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace nodemeter;
  if (size == 0) return 0;
  constexpr std::size_t kBytesMax = 1u << 20;
  constexpr std::string_view kEncodings[] = {"", "gzip", "zstd", "br"};
  const std::string bytes(reinterpret_cast<const char*>(data + 1), size - 1);
  const Result<std::string> body = inflate_body(kEncodings[data[0] % 4], bytes, kBytesMax);
  if (!body) return 0;
  if (body->size() > kBytesMax) std::abort();
  const auto result = decode_batch({}, *body, {.rows_max = 1'000, .bytes_max = kBytesMax, .allow_simulated = true});
  if (const auto* const refusal = std::get_if<Refusal>(&result)) {
    if (refusal->status < 400 || refusal->status > 499 || refusal->sentence.empty()) std::abort();
    return 0;
  }
  const auto& batch = std::get<IngestBatch>(result);
  std::string together;
  Sequence expected = batch.first;
  for (const IngestRow& row : batch.rows) {
    if (row.sequence != expected++) std::abort();
    const Result<DecodedEntry> decoded = decode_entry(row.row);
    if (!decoded) std::abort();
    const Result<std::string> again = encode_entry_body(decoded->entry);
    if (!again || seal_entry(*again, decoded->entry.digest) != row.row) std::abort();
    together += row.row;
  }
  if (together != *body) std::abort();
  return 0;
}
