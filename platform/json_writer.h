// JSON text, written front to back. The caller keeps begin and end in pairs; commas are set here.
//
// Whole numbers above 2^53 are written as strings, because common readers would round them.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace nodemeter {

class JsonWriter {
 public:
  void begin_object() { open('{'); }
  void end_object() { close('}'); }
  void begin_array() { open('['); }
  void end_array() { close(']'); }
  void key(std::string_view name);

  void text(std::string_view value);
  void number(unsigned __int128 value);
  void number(std::uint64_t value) { number(static_cast<unsigned __int128>(value)); }
  void signed_number(std::int64_t value);
  // `value` is already JSON: a decimal number.
  void raw(std::string_view value);
  void flag(bool value) { raw(value ? "true" : "false"); }
  void null() { raw("null"); }

  // Shorthands for members of an object.
  void text(std::string_view name, std::string_view value) { key(name), text(value); }
  void number(std::string_view name, std::uint64_t value) { key(name), number(value); }
  void number(std::string_view name, const std::optional<std::uint64_t>& value);
  void signed_number(std::string_view name, std::int64_t value) { key(name), signed_number(value); }
  void flag(std::string_view name, bool value) { key(name), flag(value); }

  // The text so far, with nothing after it.
  [[nodiscard]] std::string take() { return std::move(text_); }

 private:
  void open(char bracket);
  void close(char bracket);
  void separate();

  std::string text_;
  bool first_ = true;  // Nothing stands in the innermost bracket, or a key was just written.
};

// Decimal digits: the standard library has none for 128 bits.
std::string whole_text(unsigned __int128 value);

}  // namespace nodemeter
