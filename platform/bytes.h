// Fixed-layout little-endian byte strings for state rows: write in order, read in the same order.
//
// Reading never trusts: every read checks what is left, a failed reader stays failed and yields zeros, and the caller
// asks once at the end whether all of it was there.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "platform/ids.h"

namespace nodemeter {

class ByteWriter {
 public:
  void u8(std::uint8_t v) { bytes_.push_back(static_cast<char>(v)); }
  void u32(std::uint32_t v) { fixed(v, 4); }
  void u64(std::uint64_t v) { fixed(v, 8); }
  void i64(std::int64_t v) { fixed(static_cast<std::uint64_t>(v), 8); }
  void boolean(bool v) { u8(v ? 1 : 0); }
  // At most 4 GiB.
  void text(std::string_view v) {
    u32(static_cast<std::uint32_t>(v.size()));
    bytes_.append(v);
  }
  void raw(std::string_view v) { bytes_.append(v); }
  void uuid(const Uuid& v) { bytes_.append(reinterpret_cast<const char*>(v.bytes.data()), v.bytes.size()); }

  [[nodiscard]] std::string take() { return std::move(bytes_); }

 private:
  void fixed(std::uint64_t v, int width) {
    for (int i = 0; i < width; ++i) bytes_.push_back(static_cast<char>(static_cast<std::uint8_t>(v >> (8 * i))));
  }
  std::string bytes_;
};

class ByteReader {
 public:
  // `bytes` must outlive the reader.
  explicit ByteReader(std::string_view bytes) : rest_(bytes) {}

  std::uint8_t u8() { return static_cast<std::uint8_t>(fixed(1)); }
  std::uint32_t u32() { return static_cast<std::uint32_t>(fixed(4)); }
  std::uint64_t u64() { return fixed(8); }
  std::int64_t i64() { return static_cast<std::int64_t>(fixed(8)); }
  bool boolean() { return u8() != 0; }
  std::string text() { return std::string(raw(u32())); }
  std::string_view raw(std::size_t size) {
    if (size > rest_.size()) {
      failed_ = true;
      rest_ = {};
      return {};
    }
    const std::string_view taken = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return taken;
  }
  Uuid uuid() {
    Uuid v;
    const std::string_view taken = raw(v.bytes.size());
    for (std::size_t i = 0; i < taken.size(); ++i) v.bytes[i] = static_cast<std::uint8_t>(taken[i]);
    return v;
  }
  // A count of elements of at least `element_size` bytes each: never more than could still follow.
  std::uint32_t count(std::size_t element_size) {
    const std::uint32_t n = u32();
    if (n > rest_.size() / element_size) {
      failed_ = true;
      rest_ = {};
      return 0;
    }
    return n;
  }

  [[nodiscard]] bool failed() const { return failed_; }
  [[nodiscard]] bool at_end() const { return !failed_ && rest_.empty(); }

 private:
  std::uint64_t fixed(std::size_t width) {
    std::uint64_t v = 0;
    const std::string_view taken = raw(width);
    for (std::size_t i = 0; i < taken.size(); ++i) v |= std::uint64_t{static_cast<std::uint8_t>(taken[i])} << (8 * i);
    return v;
  }
  std::string_view rest_;
  bool failed_ = false;
};

}  // namespace nodemeter
