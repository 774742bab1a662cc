// A journal of several hundred pages to damage, and the ways to damage its file.

#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace nodemeter::corruption {

// One way to damage a file: `bytes` written at `offset`, or the file cut to `offset`.
struct Damage {
  std::string kind;  // The class that it is counted under.
  std::uint64_t offset = 0;
  std::string bytes;
  bool cut = false;
  [[nodiscard]] std::string text() const;
};

// The bytes of a store's data file: as it is, and as it was some hundred commits before.
struct Original {
  std::string bytes;
  std::string older;
};
Original make_journal(const std::filesystem::path& directory, std::uint64_t seed);

// Every bit of the meta pages, and a seeded sample of `count` bits of everything else, half of them in the heads of
// pages and nodes; cuts; pages zeroed, exchanged, copied over others, and as they were before.
std::vector<Damage> damages(const Original& original, std::uint64_t seed, std::size_t count);

}  // namespace nodemeter::corruption
