#include "platform/checksum.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace nodemeter {

std::array<std::uint64_t, 2> checksum_of(std::string_view context, std::string_view bytes) {
  const std::uint64_t seed = XXH3_64bits(context.data(), context.size());
  const XXH128_hash_t hash = XXH3_128bits_withSeed(bytes.data(), bytes.size(), seed);
  return {hash.low64, hash.high64};
}

}  // namespace nodemeter
