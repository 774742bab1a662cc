// Identities that do not mix: a VmId is not an Epoch, although both are UUIDs.
//
// Plain values: copy, compare and share between threads freely.

#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace nodemeter {

// 16 bytes in text order. All zero means "none".
struct Uuid {
  std::array<std::uint8_t, 16> bytes{};

  friend bool operator==(const Uuid&, const Uuid&) = default;
  // As their bytes compare, in two steps instead of sixteen: maps by id are walked for every VM of every sample.
  friend std::strong_ordering operator<=>(const Uuid& a, const Uuid& b) {
    const auto high = a.eight(0) <=> b.eight(0);
    return high != 0 ? high : a.eight(8) <=> b.eight(8);
  }

  [[nodiscard]] bool is_zero() const { return *this == Uuid{}; }
  [[nodiscard]] std::string text() const;  // Lower case with dashes.

  // Accepts 36 characters with dashes in either case, nothing else.
  static std::optional<Uuid> parse(std::string_view text);

 private:
  [[nodiscard]] std::uint64_t eight(std::size_t from) const {
    const auto byte = [&](std::size_t i) { return std::uint64_t{bytes[from + i]} << (56 - 8 * i); };
    return byte(0) | byte(1) | byte(2) | byte(3) | byte(4) | byte(5) | byte(6) | byte(7);
  }
};

template <class Tag>
struct TaggedUuid : Uuid {
  TaggedUuid() = default;
  explicit TaggedUuid(const Uuid& uuid) : Uuid(uuid) {}
  static std::optional<TaggedUuid> parse(std::string_view text) {
    const std::optional<Uuid> uuid = Uuid::parse(text);
    return uuid ? std::optional<TaggedUuid>(TaggedUuid(*uuid)) : std::nullopt;
  }
};

using VmId = TaggedUuid<struct VmTag>;
using Epoch = TaggedUuid<struct EpochTag>;  // One per created store.
using BootId = TaggedUuid<struct BootTag>;  // One per boot of the node.

// Position in the journal of one epoch: 1, 2, 3, … without holes. 0: nothing yet.
using Sequence = std::uint64_t;

// A name of 1 to 64 characters out of [a-z0-9-].
class NodeId {
 public:
  NodeId() = default;
  static std::optional<NodeId> parse(std::string_view text);
  [[nodiscard]] const std::string& text() const { return text_; }
  friend auto operator<=>(const NodeId&, const NodeId&) = default;

 private:
  std::string text_;
};

// Name-based UUID (RFC 4122, version 5).
Uuid uuid_from_name(const Uuid& name_space, std::string_view name);

}  // namespace nodemeter

template <>
struct std::hash<nodemeter::VmId> {
  std::size_t operator()(const nodemeter::VmId& id) const noexcept {
    std::uint64_t h = 1469598103934665603ull;  // FNV-1a: ids are not chosen against us, and the table is small.
    for (const std::uint8_t b : id.bytes) h = (h ^ b) * 1099511628211ull;
    return static_cast<std::size_t>(h);
  }
};
