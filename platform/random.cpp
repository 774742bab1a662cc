#include "platform/random.h"

#include <bit>
#include <random>

#include "platform/contract.h"

namespace nodemeter {

Random::Random(std::uint64_t seed) {
  for (std::uint64_t& word : s_) {
    seed += 0x9e3779b97f4a7c15ull;
    std::uint64_t z = seed;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    word = z ^ (z >> 31);
  }
}

Random Random::from_system() {
  std::random_device device;
  return Random(std::uint64_t{device()} << 32 | device());
}

std::uint64_t Random::next() {
  const std::uint64_t result = std::rotl(s_[1] * 5, 7) * 9;
  const std::uint64_t t = s_[1] << 17;
  s_[2] ^= s_[0];
  s_[3] ^= s_[1];
  s_[1] ^= s_[2];
  s_[0] ^= s_[3];
  s_[2] ^= t;
  s_[3] = std::rotl(s_[3], 45);
  return result;
}

std::uint64_t Random::below(std::uint64_t bound) {
  NM_ASSERT(bound > 0);
  // Rejects the incomplete last stretch, so that every value is equally likely.
  const std::uint64_t excess = (0 - bound) % bound;
  std::uint64_t v = next();
  while (v < excess) v = next();
  return v % bound;
}

std::int64_t Random::between(std::int64_t low, std::int64_t high) {
  NM_ASSERT(low <= high);
  const std::uint64_t span = static_cast<std::uint64_t>(high) - static_cast<std::uint64_t>(low) + 1;
  const std::uint64_t offset = span == 0 ? next() : below(span);
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(low) + offset);
}

Uuid Random::uuid() {
  Uuid uuid;
  for (std::size_t i = 0; i < uuid.bytes.size(); i += 8) {
    const std::uint64_t word = next();
    for (std::size_t k = 0; k < 8; ++k) uuid.bytes[i + k] = static_cast<std::uint8_t>(word >> (8 * k));
  }
  uuid.bytes[6] = static_cast<std::uint8_t>((uuid.bytes[6] & 0x0f) | 0x40);
  uuid.bytes[8] = static_cast<std::uint8_t>((uuid.bytes[8] & 0x3f) | 0x80);
  return uuid;
}

}  // namespace nodemeter
