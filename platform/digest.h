// BLAKE2b digests and Ed25519 signatures, from libsodium (included by digest.cpp only).

#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>

#include "platform/result.h"

namespace nodemeter {

struct Digest {
  std::array<std::uint8_t, 32> bytes{};
  friend auto operator<=>(const Digest&, const Digest&) = default;
  [[nodiscard]] std::string_view view() const { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }
  [[nodiscard]] std::string hex() const;
  static Digest from(std::string_view thirty_two_bytes);  // Requires exactly 32 bytes.
};

// BLAKE2b-256 over the parts, as if they stood in one piece.
Digest digest_of(std::initializer_list<std::string_view> parts);

// The same over parts that come one after the other.
class DigestStream {
 public:
  DigestStream();
  ~DigestStream();
  DigestStream(const DigestStream&) = delete;
  DigestStream& operator=(const DigestStream&) = delete;
  void add(std::string_view part);
  // Nothing may be added afterwards.
  [[nodiscard]] Digest done();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string to_hex(std::string_view bytes);
// Empty on anything but an even number of hexadecimal digits.
std::string from_hex(std::string_view text);

// SHA-1, for name-based UUIDs (RFC 4122) only: nothing's safety rests on it.
std::array<std::uint8_t, 20> sha1_of(std::initializer_list<std::string_view> parts);

// An Ed25519 key pair of a node.
class SigningKey {
 public:
  static SigningKey generate();
  static Result<SigningKey> from_seed(std::string_view thirty_two_bytes);
  [[nodiscard]] std::string seed() const;                          // 32 bytes: secret.
  [[nodiscard]] std::string public_key() const;                    // 32 bytes.
  [[nodiscard]] std::string sign(std::string_view message) const;  // 64 bytes.

 private:
  std::array<unsigned char, 64> secret_{};
};

bool verify_signature(std::string_view public_key, std::string_view message, std::string_view signature);

}  // namespace nodemeter
