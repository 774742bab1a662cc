// Export files come from other people's machines: whatever is in one, reading it ends, within bounds.

#include <zstd.h>

#include "store/entry_codec.h"
#include "store/export_file.h"
#include "store/manifest.h"

using namespace nodemeter;

namespace {

void read(const std::string& bytes) {
  std::size_t at = 0;
  const auto origin = [&](std::size_t size_max) -> Result<std::string> {
    std::string part = bytes.substr(at, std::min<std::size_t>(size_max, 1024));
    at += part.size();
    return part;
  };
  (void)check_export(origin, {}, {});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  read(bytes);
  // The same as the content of a sound frame: what a mutation of the frame itself hardly ever reaches.
  const std::string content = "nodemeter export\n" + bytes;
  std::string frame(ZSTD_compressBound(content.size()), '\0');
  frame.resize(ZSTD_compress(frame.data(), frame.size(), content.data(), content.size(), 1));
  read(frame);
  (void)ManifestStatement::parse(bytes);
  Entry entry;
  entry.kind = EntryKind::kManifest;
  entry.sequence = 1'000;
  entry.detail = bytes;
  (void)manifest_of(entry);
  entry.kind = EntryKind::kEvent;
  (void)key_change_of(entry);
  return 0;
}
