// Whatever bytes arrive: decoding ends, and what it accepts encodes to the very bytes it came from.

#include <cstdint>
#include <cstdlib>

#include "store/entry_codec.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace nodemeter;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const Result<std::vector<DecodedEntry>> rows = decode_rows(bytes, 100);
  if (!rows) return rows.error().message.empty() ? std::abort(), 1 : 0;
  std::string again;
  for (const DecodedEntry& row : *rows) {
    const Result<std::string> body = encode_entry_body(row.entry);
    if (!body || *body != row.body) std::abort();
    again += seal_entry(*body, row.entry.digest);
  }
  if (again != bytes) std::abort();
  return 0;
}
