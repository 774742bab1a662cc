#include "store/detail.h"

#include <nlohmann/json.hpp>

namespace nodemeter {

std::map<std::string, std::string> detail_fields(std::string_view detail) {
  std::map<std::string, std::string> fields;
  const auto document = nlohmann::json::parse(detail, nullptr, false);
  if (!document.is_object()) return fields;
  for (const auto& [key, value] : document.items()) {
    if (value.is_string()) {
      fields[key] = value.get<std::string>();
    } else if (value.is_number() || value.is_boolean()) {
      fields[key] = value.dump();
    }
  }
  return fields;
}

}  // namespace nodemeter
