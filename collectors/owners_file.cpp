#include "collectors/owners_file.h"

#include <algorithm>
#include <utility>

#include "collectors/owner_metadata.h"
#include "platform/files.h"
#include "platform/json_tree.h"
#include "platform/text.h"

namespace nodemeter {

namespace {

constexpr std::size_t kKeyShownMax = 64;
constexpr std::size_t kPatternBytesMax = 256;

// Longest match with one step back: linear in the text times the stars, never exponential.
bool fits(std::string_view pattern, std::string_view text) {
  std::size_t p = 0;
  std::size_t t = 0;
  std::size_t star = std::string_view::npos;
  std::size_t resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == std::string_view::npos;
}

}  // namespace

bool is_conflict(const Owner& shown, const OwnerEntry& entry) {
  return shown.known && entry.subscription && *entry.subscription != shown.subscription;
}

Owner overlaid(const Owner& shown, const OwnerEntry& entry) {
  Owner owner = is_conflict(shown, entry) ? Owner{} : shown;
  owner.known = owner.known || entry.subscription.has_value();
  owner.subscription = entry.subscription.value_or(owner.subscription);
  owner.tenant = entry.tenant.value_or(owner.tenant);
  owner.resource_group = entry.resource_group.value_or(owner.resource_group);
  owner.name = entry.name.value_or(owner.name);
  owner.tags = entry.tags.value_or(owner.tags);
  owner.windows_licence = entry.windows_licence.value_or(owner.windows_licence);
  owner.billable = entry.billable.value_or(owner.billable);
  return owner;
}

// Reads the file's entries and gathers what is wrong with each.
class OwnersReader {
 public:
  OwnersFile read(const JsonTree& root, bool patterns_allowed) {
    OwnersFile file;
    if (root.kind != JsonTree::Kind::kObject) {
      wrong(root, "", R"(an object with "vms", "names" or both is expected)");
      return file;
    }
    find_unknown_members(root, "", {"vms", "names"}, faults);
    if (const JsonTree* vms = root.find("vms")) read_vms(*vms, file);
    const JsonTree* const names = root.find("names");
    if (names == nullptr) return file;
    if (!patterns_allowed) {
      wrong(*names, "names",
            "with trust_metadata = false tenants are not trusted, so their VMs' names say nothing: list VM ids");
    } else {
      read_names(*names, file);
    }
    return file;
  }

  OwnerEntry read_one(const JsonTree& root) { return read_entry(root, "owner", false); }

  std::vector<ConfigFault> faults;

 private:
  void wrong(const JsonTree& at, const std::string& key, const std::string& message) {
    faults.push_back({at.line, key, message});
  }

  void read_vms(const JsonTree& vms, OwnersFile& file) {
    if (vms.kind != JsonTree::Kind::kObject) return wrong(vms, "vms", "an object of VM ids and owners is expected");
    for (const JsonTree& value : vms.items) {
      const std::string key = "vms." + display_text(value.name, kKeyShownMax);
      const std::optional<VmId> vm = VmId::parse(value.name);
      if (!vm || vm->is_zero()) {
        wrong(value, key, "is no VM id (UUID)");
      } else if (!file.vms_.emplace(*vm, read_entry(value, key, false)).second) {
        wrong(value, key, "this VM has an entry already");
      }
    }
  }

  void read_names(const JsonTree& names, OwnersFile& file) {
    if (names.kind != JsonTree::Kind::kList || names.items.size() > kOwnerPatternsMax) {
      return wrong(names, "names", "a list of at most 1024 objects with \"pattern\" is expected");
    }
    for (const JsonTree& item : names.items) {
      OwnersFile::Pattern pattern;
      pattern.text = text(item, "names.", "pattern", kPatternBytesMax).value_or("");
      const bool given = item.find("pattern") != nullptr;
      if (!given || (pattern.text.empty() && faults.empty())) wrong(item, "names", "\"pattern\" is missing or empty");
      pattern.entry = read_entry(item, "names", true);
      file.names_.push_back(std::move(pattern));
    }
  }

  OwnerEntry read_entry(const JsonTree& object, const std::string& where, bool with_pattern) {
    OwnerEntry entry;
    if (object.kind != JsonTree::Kind::kObject || object.items.size() <= (with_pattern ? 1 : 0)) {
      wrong(object, where, "an object that says something of the owner is expected");
      return entry;
    }
    if (with_pattern) {
      find_unknown_members(
          object, where,
          {"pattern", "subscription", "tenant", "resource_group", "name", "tags", "windows_licence", "billable"},
          faults);
    } else {
      find_unknown_members(object, where,
                           {"subscription", "tenant", "resource_group", "name", "tags", "windows_licence", "billable"},
                           faults);
    }
    const std::string prefix = where + ".";
    entry.subscription = id(object, prefix, "subscription");
    entry.tenant = id(object, prefix, "tenant");
    entry.resource_group = text(object, prefix, "resource_group", kOwnerNameMax);
    entry.name = text(object, prefix, "name", kOwnerNameMax);
    entry.windows_licence = flag(object, prefix, "windows_licence");
    entry.billable = flag(object, prefix, "billable");
    entry.tags = tags(object, prefix);
    return entry;
  }

  std::optional<Uuid> id(const JsonTree& object, const std::string& prefix, const std::string& key) {
    const JsonTree* const value = object.find(key);
    if (value == nullptr) return std::nullopt;
    const std::optional<Uuid> id = value->kind == JsonTree::Kind::kText ? Uuid::parse(value->text) : std::nullopt;
    if (id && !id->is_zero()) return id;
    wrong(*value, prefix + key, "an id (UUID) in quotes is expected");
    return std::nullopt;
  }

  std::optional<std::string> text(const JsonTree& object, const std::string& prefix, const std::string& key,
                                  std::size_t size_max) {
    const JsonTree* const value = object.find(key);
    if (value == nullptr) return std::nullopt;
    if (value->kind == JsonTree::Kind::kText && value->text.size() <= size_max && is_plain_text(value->text)) {
      return value->text;
    }
    wrong(*value, prefix + key,
          "a text of at most " + std::to_string(size_max) + " bytes without control characters is expected");
    return std::nullopt;
  }

  std::optional<bool> flag(const JsonTree& object, const std::string& prefix, const std::string& key) {
    const JsonTree* const value = object.find(key);
    if (value == nullptr) return std::nullopt;
    if (value->kind == JsonTree::Kind::kFlag) return value->text == "true";
    wrong(*value, prefix + key, "true or false is expected");
    return std::nullopt;
  }

  std::optional<std::map<std::string, std::string>> tags(const JsonTree& object, const std::string& prefix) {
    const JsonTree* const value = object.find("tags");
    if (value == nullptr) return std::nullopt;
    std::map<std::string, std::string> tags;
    if (value->kind != JsonTree::Kind::kObject || value->items.size() > kOwnerTagsMax) {
      wrong(*value, prefix + "tags", "an object of at most 64 texts is expected");
      return tags;
    }
    for (const JsonTree& tag : value->items) {
      const std::string& name = tag.name;
      if (name.empty() || name.size() > kOwnerNameMax || !is_plain_text(name)) {
        wrong(tag, prefix + "tags", "the name of a tag is 1 to 512 bytes without control characters");
      } else {
        tags[name] = text(*value, prefix + "tags.", name, kOwnerTagValueMax).value_or("");
      }
    }
    return tags;
  }
};

Result<OwnersFile> OwnersFile::read(const std::filesystem::path& file, bool patterns_allowed) {
  const Result<std::string> text = read_file(file, kOwnersFileMax);
  if (!text) return text.error();
  return parse(*text, file.string(), patterns_allowed);
}

Result<OwnersFile> OwnersFile::parse(std::string_view json, const std::string& name, bool patterns_allowed) {
  std::vector<ConfigFault> faults;
  const std::optional<JsonTree> root = parse_json_tree(json, faults);
  if (!root) return faults_error(name, std::move(faults));
  OwnersReader reader;
  OwnersFile file = reader.read(*root, patterns_allowed);
  if (!reader.faults.empty()) return faults_error(name, std::move(reader.faults));
  return file;
}

Result<OwnerEntry> parse_owner_entry(std::string_view json, const std::string& name) {
  std::vector<ConfigFault> faults;
  const std::optional<JsonTree> root = parse_json_tree(json, faults);
  if (!root) return faults_error(name, std::move(faults));
  OwnersReader reader;
  OwnerEntry entry = reader.read_one(*root);
  if (!reader.faults.empty()) return faults_error(name, std::move(reader.faults));
  return entry;
}

const OwnerEntry* OwnersFile::find(const VmId& vm, std::string_view name) const {
  if (const auto found = vms_.find(vm); found != vms_.end()) return &found->second;
  const auto found = std::find_if(names_.begin(), names_.end(), [&](const Pattern& p) { return fits(p.text, name); });
  return found == names_.end() ? nullptr : &found->entry;
}

}  // namespace nodemeter
