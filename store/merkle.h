// Merkle trees over journal rows, so that one row can be shown to be among those that a manifest signs without showing
// the others.
//
// The tree of RFC 6962 (certificate transparency), section 2.1, with BLAKE2b-256: a leaf is the digest of a zero byte
// and the row, a node that of a one byte and its two children; a tree of n > 1 leaves splits after the largest power of
// two below n. Pure; any thread.

#pragma once

#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

#include "platform/digest.h"

namespace nodemeter {

Digest merkle_leaf(std::string_view row);

// Of no leaves: the digest of nothing.
Digest merkle_root(const std::vector<Digest>& leaves);

// The siblings on the way from leaf `index` up to the root, lowest first. Requires index < leaves.size().
std::vector<Digest> merkle_path(const std::vector<Digest>& leaves, std::size_t index);

// The root that `path` leads to from `leaf`, which is number `index` of `count`. Nothing: the path does not fit a tree
// of that size.
std::optional<Digest> merkle_root_by(const Digest& leaf, std::uint64_t index, std::uint64_t count,
                                     const std::vector<Digest>& path);

}  // namespace nodemeter
