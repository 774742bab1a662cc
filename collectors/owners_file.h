// Who owns which VM, as the operator's owners file says: JSON that lies over what the hypervisor shows.
//
//   { "vms":   { "<vm id>": { "subscription": "<id>", "tenant": "<id>", "resource_group": "rg", "name": "web-1",
//                             "tags": { "cost-centre": "4711" }, "windows_licence": true, "billable": true } },
//     "names": [ { "pattern": "infra-*", "billable": false } ] }
//
// An entry for the VM's id decides; else the first pattern that fits its whole name (* any text, ? one character).
// What an entry says holds, what it leaves out stays as the hypervisor shows it; but if both name a subscription and
// they differ, that is a conflict, and nothing of the hypervisor's owner is taken over: half of one owner and half of
// another is nobody. Tags are taken whole. Patterns need names that tenants cannot choose: with trust_metadata = false
// they are refused. Plain values, constant after loading.

#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "collectors/source.h"
#include "platform/result.h"

namespace nodemeter {

inline constexpr std::size_t kOwnersFileMax = 4u << 20;
inline constexpr std::size_t kOwnerPatternsMax = 1024;

// What the file says of one VM; nothing: not said.
struct OwnerEntry {
  std::optional<Uuid> subscription, tenant;
  std::optional<std::string> resource_group, name;
  std::optional<std::map<std::string, std::string>> tags;
  std::optional<bool> windows_licence, billable;
};

// Whether both name a subscription, and not the same one.
bool is_conflict(const Owner& shown, const OwnerEntry& entry);
// `shown`: what the hypervisor says.
Owner overlaid(const Owner& shown, const OwnerEntry& entry);

// One entry that stands alone, with the members that the file's entries have. kInvalidInput as OwnersFile::parse().
Result<OwnerEntry> parse_owner_entry(std::string_view json, const std::string& name);

class OwnersFile {
 public:
  // As parse, and what reading the file gives.
  static Result<OwnersFile> read(const std::filesystem::path& file, bool patterns_allowed);
  // kInvalidInput: every fault with its line, one per line of text. `name`: of the file, for these messages.
  static Result<OwnersFile> parse(std::string_view json, const std::string& name, bool patterns_allowed);

  // Null: the file says nothing of this VM.
  [[nodiscard]] const OwnerEntry* find(const VmId& vm, std::string_view name) const;
  [[nodiscard]] std::size_t size() const { return vms_.size() + names_.size(); }

 private:
  friend class OwnersReader;
  struct Pattern {
    std::string text;
    OwnerEntry entry;
  };
  std::map<VmId, OwnerEntry> vms_;
  std::vector<Pattern> names_;
};

}  // namespace nodemeter
