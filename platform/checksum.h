// XXH3 checksums, from xxHash (included by checksum.cpp only).

#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace nodemeter {

// XXH3-128 of `bytes`, low word first, seeded with XXH3-64 of `context`. For damage that happens by accident; whoever
// means harm can make any sum he likes.
std::array<std::uint64_t, 2> checksum_of(std::string_view context, std::string_view bytes);

}  // namespace nodemeter
