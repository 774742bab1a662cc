// What stands in an entry's detail: JSON text that the meter wrote, or that a damaged or foreign store holds.

#pragma once

#include <map>
#include <string>
#include <string_view>

namespace nodemeter {

// The members of a JSON object that are texts, numbers or booleans, as text. Anything else gives nothing for it;
// text that is not a JSON object gives an empty map.
std::map<std::string, std::string> detail_fields(std::string_view detail);

}  // namespace nodemeter
