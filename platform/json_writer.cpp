#include "platform/json_writer.h"

#include <algorithm>

#include "platform/text.h"

namespace nodemeter {

namespace {

constexpr std::uint64_t kExactMax = 1ull << 53;

}  // namespace

std::string whole_text(unsigned __int128 value) {
  std::string digits;
  do {
    digits.push_back(static_cast<char>('0' + static_cast<int>(value % 10)));
    value /= 10;
  } while (value != 0);
  std::reverse(digits.begin(), digits.end());
  return digits;
}

void JsonWriter::separate() {
  if (!first_) text_ += ",";
  first_ = false;
}

void JsonWriter::open(char bracket) {
  separate();
  text_.push_back(bracket);
  first_ = true;
}

void JsonWriter::close(char bracket) {
  text_.push_back(bracket);
  first_ = false;
}

void JsonWriter::key(std::string_view name) {
  separate();
  text_ += json_quote(name) + ":";
  first_ = true;
}

void JsonWriter::text(std::string_view value) {
  separate();
  text_ += json_quote(value);
}

void JsonWriter::number(unsigned __int128 value) {
  separate();
  const std::string digits = whole_text(value);
  text_ += value > kExactMax ? "\"" + digits + "\"" : digits;
}

void JsonWriter::signed_number(std::int64_t value) {
  separate();
  text_ += std::to_string(value);
}

void JsonWriter::raw(std::string_view value) {
  separate();
  text_ += value;
}

void JsonWriter::number(std::string_view name, const std::optional<std::uint64_t>& value) {
  key(name);
  if (value) {
    number(static_cast<unsigned __int128>(*value));
  } else {
    null();
  }
}

}  // namespace nodemeter
