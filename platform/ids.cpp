#include "platform/ids.h"

#include <algorithm>

#include "platform/digest.h"

namespace nodemeter {

namespace {

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool dash_at(std::size_t i) { return i == 8 || i == 13 || i == 18 || i == 23; }

}  // namespace

std::string Uuid::text() const {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  out.reserve(36);
  for (const std::uint8_t b : bytes) {
    if (dash_at(out.size())) out.push_back('-');
    out.push_back(kHex[b >> 4]);
    out.push_back(kHex[b & 15]);
  }
  return out;
}

std::optional<Uuid> Uuid::parse(std::string_view text) {
  if (text.size() != 36) return std::nullopt;
  Uuid uuid;
  std::size_t digit = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (dash_at(i)) {
      if (text[i] != '-') return std::nullopt;
      continue;
    }
    const int v = hex_value(text[i]);
    if (v < 0) return std::nullopt;
    std::uint8_t& byte = uuid.bytes[digit / 2];
    byte = static_cast<std::uint8_t>(digit % 2 == 0 ? v << 4 : byte | v);
    ++digit;
  }
  return uuid;
}

std::optional<NodeId> NodeId::parse(std::string_view text) {
  const auto allowed = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; };
  if (text.empty() || text.size() > 64 || !std::all_of(text.begin(), text.end(), allowed)) return std::nullopt;
  NodeId id;
  id.text_ = text;
  return id;
}

Uuid uuid_from_name(const Uuid& name_space, std::string_view name) {
  const std::string_view prefix(reinterpret_cast<const char*>(name_space.bytes.data()), name_space.bytes.size());
  const std::array<std::uint8_t, 20> sha = sha1_of({prefix, name});
  Uuid uuid;
  std::copy_n(sha.begin(), uuid.bytes.size(), uuid.bytes.begin());
  uuid.bytes[6] = static_cast<std::uint8_t>((uuid.bytes[6] & 0x0f) | 0x50);
  uuid.bytes[8] = static_cast<std::uint8_t>((uuid.bytes[8] & 0x3f) | 0x80);
  return uuid;
}

}  // namespace nodemeter
