// A seeded stream of numbers: jitter, identifiers, simulated worlds. Same seed, same stream, on every platform.
//
// xoshiro256** seeded by splitmix64. Not for secrets (those come from platform/digest.h). One thread at a time.

#pragma once

#include <array>
#include <cstdint>

#include "platform/ids.h"

namespace nodemeter {

class Random {
 public:
  explicit Random(std::uint64_t seed);
  static Random from_system();

  std::uint64_t next();
  // Uniform in [0, bound). Requires bound > 0.
  std::uint64_t below(std::uint64_t bound);
  // Uniform in [low, high].
  std::int64_t between(std::int64_t low, std::int64_t high);
  // True `numerator` times out of `denominator`.
  bool chance(std::uint64_t numerator, std::uint64_t denominator) { return below(denominator) < numerator; }
  Uuid uuid();  // Version 4.

 private:
  std::array<std::uint64_t, 4> s_{};
};

}  // namespace nodemeter
