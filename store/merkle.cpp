#include "store/merkle.h"

#include <bit>
#include <span>

#include "platform/contract.h"

namespace nodemeter {

namespace {

constexpr std::string_view kLeafPrefix("\0", 1);
constexpr std::string_view kNodePrefix("\1", 1);

using Leaves = std::span<const Digest>;

Digest parent(const Digest& left, const Digest& right) { return digest_of({kNodePrefix, left.view(), right.view()}); }

// Leaves of the left subtree. Requires count > 1.
std::size_t left_size(std::size_t count) { return std::bit_floor(count - 1); }

// Depth is the logarithm of the number of leaves.
Digest root_of(Leaves leaves) {
  if (leaves.size() == 1) return leaves.front();
  const std::size_t left = left_size(leaves.size());
  return parent(root_of(leaves.first(left)), root_of(leaves.subspan(left)));
}

void add_path(Leaves leaves, std::size_t index, std::vector<Digest>& path) {
  if (leaves.size() == 1) return;
  const std::size_t left = left_size(leaves.size());
  const bool in_left = index < left;
  add_path(in_left ? leaves.first(left) : leaves.subspan(left), in_left ? index : index - left, path);
  path.push_back(root_of(in_left ? leaves.subspan(left) : leaves.first(left)));
}

}  // namespace

Digest merkle_leaf(std::string_view row) { return digest_of({kLeafPrefix, row}); }

Digest merkle_root(const std::vector<Digest>& leaves) { return leaves.empty() ? digest_of({}) : root_of(leaves); }

std::vector<Digest> merkle_path(const std::vector<Digest>& leaves, std::size_t index) {
  NM_ASSERT(index < leaves.size());
  std::vector<Digest> path;
  add_path(leaves, index, path);
  return path;
}

std::optional<Digest> merkle_root_by(const Digest& leaf, std::uint64_t index, std::uint64_t count,
                                     const std::vector<Digest>& path) {
  if (index >= count) return std::nullopt;
  // Which way each step goes, from the root down.
  std::vector<bool> in_left;
  while (count > 1) {
    const std::uint64_t left = std::bit_floor(count - 1);
    in_left.push_back(index < left);
    count = in_left.back() ? left : count - left;
    if (!in_left.back()) index -= left;
  }
  if (in_left.size() != path.size()) return std::nullopt;
  Digest here = leaf;
  for (const Digest& sibling : path) {
    here = in_left.back() ? parent(here, sibling) : parent(sibling, here);
    in_left.pop_back();
  }
  return here;
}

}  // namespace nodemeter
