#include "platform/digest.h"

#include <sodium.h>

#include <algorithm>
#include <bit>

namespace nodemeter {

namespace {

const unsigned char* bytes_of(std::string_view text) { return reinterpret_cast<const unsigned char*>(text.data()); }

// libsodium picks its implementations at first use; doing so is thread-safe and idempotent.
void prepare() {
  static const int ready = sodium_init();
  NM_ASSERT(ready >= 0);
}

}  // namespace

std::string to_hex(std::string_view bytes) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const char c : bytes) {
    const auto b = static_cast<std::uint8_t>(c);
    out.push_back(kHex[b >> 4]);
    out.push_back(kHex[b & 15]);
  }
  return out;
}

std::string from_hex(std::string_view text) {
  const auto value = [](char c) -> int {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
  };
  if (text.size() % 2 != 0) return {};
  std::string out;
  for (std::size_t i = 0; i < text.size(); i += 2) {
    const int high = value(text[i]);
    const int low = value(text[i + 1]);
    if (high < 0 || low < 0) return {};
    out.push_back(static_cast<char>(static_cast<std::uint8_t>(high << 4 | low)));
  }
  return out;
}

std::string Digest::hex() const { return to_hex(view()); }

Digest Digest::from(std::string_view thirty_two_bytes) {
  Digest digest;
  NM_ASSERT(thirty_two_bytes.size() == digest.bytes.size());
  std::copy_n(bytes_of(thirty_two_bytes), digest.bytes.size(), digest.bytes.begin());
  return digest;
}

namespace {

void begin_digest(crypto_generichash_state& state) {
  prepare();
  crypto_generichash_init(&state, nullptr, 0, sizeof(Digest::bytes));
}

void add_to_digest(crypto_generichash_state& state, std::string_view part) {
  crypto_generichash_update(&state, bytes_of(part), part.size());
}

Digest end_digest(crypto_generichash_state& state) {
  Digest digest;
  crypto_generichash_final(&state, digest.bytes.data(), digest.bytes.size());
  return digest;
}

}  // namespace

Digest digest_of(std::initializer_list<std::string_view> parts) {
  crypto_generichash_state state;
  begin_digest(state);
  for (const std::string_view part : parts) add_to_digest(state, part);
  return end_digest(state);
}

struct DigestStream::State {
  crypto_generichash_state hash;
};

DigestStream::DigestStream() : state_(std::make_unique<State>()) { begin_digest(state_->hash); }
DigestStream::~DigestStream() = default;
void DigestStream::add(std::string_view part) { add_to_digest(state_->hash, part); }
Digest DigestStream::done() { return end_digest(state_->hash); }

namespace {

void sha1_block(std::array<std::uint32_t, 5>& h, std::string_view block) {
  std::array<std::uint32_t, 80> w{};
  for (std::size_t i = 0; i < 64; ++i) w[i / 4] = w[i / 4] << 8 | static_cast<std::uint8_t>(block[i]);
  for (std::size_t i = 16; i < 80; ++i) w[i] = std::rotl(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
  auto [a, b, c, d, e] = h;
  for (std::size_t i = 0; i < 80; ++i) {
    std::uint32_t f = b ^ c ^ d;
    std::uint32_t k = 0x6ed9eba1;
    if (i < 20) {
      f = (b & c) | (~b & d);
      k = 0x5a827999;
    } else if (i >= 40 && i < 60) {
      f = (b & c) | (b & d) | (c & d);
      k = 0x8f1bbcdc;
    } else if (i >= 60) {
      k = 0xca62c1d6;
    }
    const std::uint32_t next = std::rotl(a, 5) + f + e + k + w[i];
    e = d;
    d = c;
    c = std::rotl(b, 30);
    b = a;
    a = next;
  }
  h = {h[0] + a, h[1] + b, h[2] + c, h[3] + d, h[4] + e};
}

}  // namespace

std::array<std::uint8_t, 20> sha1_of(std::initializer_list<std::string_view> parts) {
  std::string text;
  for (const std::string_view part : parts) text.append(part);
  const std::uint64_t bits = std::uint64_t{text.size()} * 8;
  text.push_back(static_cast<char>(0x80));
  while (text.size() % 64 != 56) text.push_back(0);
  for (int shift = 56; shift >= 0; shift -= 8)
    text.push_back(static_cast<char>(static_cast<std::uint8_t>(bits >> shift)));
  std::array<std::uint32_t, 5> h{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
  for (std::size_t i = 0; i < text.size(); i += 64) sha1_block(h, std::string_view(text).substr(i, 64));
  std::array<std::uint8_t, 20> out{};
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<std::uint8_t>(h[i / 4] >> (24 - 8 * (i % 4)));
  return out;
}

SigningKey SigningKey::generate() {
  prepare();
  std::array<unsigned char, crypto_sign_SEEDBYTES> seed{};
  randombytes_buf(seed.data(), seed.size());
  return from_seed({reinterpret_cast<const char*>(seed.data()), seed.size()}).value();
}

Result<SigningKey> SigningKey::from_seed(std::string_view thirty_two_bytes) {
  prepare();
  if (thirty_two_bytes.size() != crypto_sign_SEEDBYTES) {
    return Error{ErrorCode::kCorrupt, "a signing key is 32 bytes, not " + std::to_string(thirty_two_bytes.size())};
  }
  SigningKey key;
  std::array<unsigned char, crypto_sign_PUBLICKEYBYTES> ignored{};
  crypto_sign_seed_keypair(ignored.data(), key.secret_.data(), bytes_of(thirty_two_bytes));
  return key;
}

std::string SigningKey::seed() const { return {reinterpret_cast<const char*>(secret_.data()), crypto_sign_SEEDBYTES}; }

std::string SigningKey::public_key() const {
  return {reinterpret_cast<const char*>(secret_.data()) + crypto_sign_SEEDBYTES, crypto_sign_PUBLICKEYBYTES};
}

std::string SigningKey::sign(std::string_view message) const {
  std::array<unsigned char, crypto_sign_BYTES> signature{};
  crypto_sign_detached(signature.data(), nullptr, bytes_of(message), message.size(), secret_.data());
  return {reinterpret_cast<const char*>(signature.data()), signature.size()};
}

bool verify_signature(std::string_view public_key, std::string_view message, std::string_view signature) {
  prepare();
  if (public_key.size() != crypto_sign_PUBLICKEYBYTES || signature.size() != crypto_sign_BYTES) return false;
  return crypto_sign_verify_detached(bytes_of(signature), bytes_of(message), message.size(), bytes_of(public_key)) == 0;
}

}  // namespace nodemeter
