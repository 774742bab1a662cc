// JSON files that people write, as a tree that remembers lines and numbers as they were written.
//
// A fault in such a file has to name its line, and a price must not pass through binary fractions on its way to a bill;
// the usual trees forget both. Plain values and pure functions.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "platform/config_text.h"
#include "platform/result.h"

namespace nodemeter {

struct JsonTree {
  enum class Kind : std::uint8_t { kNull, kFlag, kNumber, kText, kList, kObject };
  Kind kind = Kind::kNull;
  std::uint32_t line = 0;       // From 1. A member's is the line of its name.
  std::string name;             // Within the object that it is a member of.
  std::string text;             // A text's characters, a number as it was written, "true" or "false".
  std::vector<JsonTree> items;  // Of a list, or the members of an object, in the order of the file.

  // Null: no such member.
  [[nodiscard]] const JsonTree* find(std::string_view member) const;
};

// Nothing: not JSON, nested too deeply, or a name given twice in one object; the faults say where.
std::optional<JsonTree> parse_json_tree(std::string_view text, std::vector<ConfigFault>& faults);

// Complains about members of `object` that are none of these, with the nearest known one. `where`: the object's key.
void find_unknown_members(const JsonTree& object, const std::string& where, const ConfigWords& known,
                          std::vector<ConfigFault>& faults);

// kInvalidInput with one line for each fault, in order of lines.
Error faults_error(const std::string& file, std::vector<ConfigFault> faults);

}  // namespace nodemeter
