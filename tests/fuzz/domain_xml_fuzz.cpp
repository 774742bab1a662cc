// Any bytes as a domain definition: no crash, and what is accepted keeps its promises.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "collectors/domain_xml.h"
#include "collectors/owner_metadata.h"
#include "platform/text.h"

using namespace nodemeter;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const Result<DomainDefinition> domain = parse_domain_xml(text);
  if (domain) {
    for (std::size_t i = 1; i < domain->disks.size(); ++i) {
      if (domain->disks[i - 1].target >= domain->disks[i].target) std::abort();
    }
    for (std::size_t i = 1; i < domain->nics.size(); ++i) {
      if (domain->nics[i - 1].mac >= domain->nics[i].mac) std::abort();
    }
    if (!is_plain_text(domain->name)) std::abort();
  }
  const Owner owner = parse_owner_metadata(text);
  if (owner.known && owner.subscription.is_zero()) std::abort();
  if (!is_plain_text(owner.name) || owner.name.size() > kOwnerNameMax || owner.tags.size() > kOwnerTagsMax)
    std::abort();
  return 0;
}
