// Goal: no text, however broken, makes the reader of owners files crash or hang, hand over an owner outside its limits,
// or complain in words that a terminal must not show.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "collectors/owner_metadata.h"
#include "collectors/owners_file.h"
#include "platform/contract.h"
#include "platform/text.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace nodemeter;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const bool patterns_allowed : {true, false}) {
    const Result<OwnersFile> file = OwnersFile::parse(text, "fuzz.json", patterns_allowed);
    if (!file) {
      std::string_view rest = file.error().message;
      while (!rest.empty()) {
        const std::string_view line = rest.substr(0, rest.find('\n'));
        NM_ASSERT(line.starts_with("fuzz.json:") && is_plain_text(line));
        rest.remove_prefix(std::min(rest.size(), line.size() + 1));
      }
      continue;
    }
    const VmId vm = *VmId::parse("6f1c0000-0000-4000-8000-000000000001");
    for (const std::string_view name : {std::string_view("web-1"), std::string_view(), text.substr(0, 64)}) {
      const OwnerEntry* const entry = file->find(vm, name);
      if (entry == nullptr) continue;
      const Owner owner = overlaid(Owner{}, *entry);
      NM_ASSERT(owner.known == entry->subscription.has_value());
      NM_ASSERT(owner.name.size() <= kOwnerNameMax && is_plain_text(owner.name));
      NM_ASSERT(owner.resource_group.size() <= kOwnerNameMax && is_plain_text(owner.resource_group));
      NM_ASSERT(owner.tags.size() <= kOwnerTagsMax);
      for (const auto& [key, value] : owner.tags) {
        NM_ASSERT(!key.empty() && key.size() <= kOwnerNameMax && is_plain_text(key));
        NM_ASSERT(value.size() <= kOwnerTagValueMax && is_plain_text(value));
      }
    }
  }
  return 0;
}
