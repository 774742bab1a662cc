#include "collectors/domain_xml.h"

#include <algorithm>
#include <limits>
#include <optional>

#include "collectors/xml_walk.h"
#include "platform/text.h"

namespace nodemeter {

namespace {

using Path = std::vector<std::string_view>;

bool at(const Path& path, std::initializer_list<std::string_view> names) {
  return std::equal(path.begin(), path.end(), names.begin(), names.end());
}

// Bytes of one of libvirt's units; the default is KiB.
std::optional<std::uint64_t> unit_bytes(std::string_view unit) {
  struct Unit {
    std::string_view name;
    std::uint64_t bytes;
  };
  static constexpr Unit kUnits[] = {{"", 1ull << 10},  {"KiB", 1ull << 10}, {"k", 1ull << 10},
                                    {"b", 1},          {"bytes", 1},        {"KB", 1000},
                                    {"M", 1ull << 20}, {"MiB", 1ull << 20}, {"MB", 1000 * 1000},
                                    {"G", 1ull << 30}, {"GiB", 1ull << 30}, {"GB", 1000ull * 1000 * 1000},
                                    {"T", 1ull << 40}, {"TiB", 1ull << 40}, {"TB", 1000ull * 1000 * 1000 * 1000}};
  for (const Unit& u : kUnits) {
    if (u.name == unit) return u.bytes;
  }
  return std::nullopt;
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r\n";
  const std::size_t begin = text.find_first_not_of(kBlank);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlank) - begin + 1);
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

bool begins_with(std::string_view text, std::string_view begin) { return text.substr(0, begin.size()) == begin; }

// libvirt keeps these names for host devices that it makes itself. A device with a chosen name is made too, unless the
// type says that somebody else brought it, perhaps with counts of an earlier run.
bool made_by_libvirt(const DomainNic& nic, bool managed) {
  if (!managed) return false;
  if (begins_with(nic.target, "vnet") || begins_with(nic.target, "macvtap")) return true;
  return nic.type == "bridge" || nic.type == "network" || nic.type == "direct";
}

class DomainVisitor final : public XmlVisitor {
 public:
  void open(const Path& path, const XmlAttributes& attributes) override {
    if (path.size() == 1) {
      domain_ = path[0] == "domain";
    } else if (path.size() == 2) {
      text_.clear();
      if (path[1] == "memory") memory_unit_ = attributes.get("unit");
      if (path[1] == "currentMemory") current_unit_ = attributes.get("unit");
      if (path[1] == "vcpu") current_vcpus_ = attributes.get("current");
    } else if (path[1] == "devices") {
      if (path.size() == 3) {
        begin_device(path[2], attributes);
      } else if (path.size() == 4 && path[2] == "disk") {
        disk_child(path[3], attributes);
      } else if (path.size() == 4 && path[2] == "interface") {
        nic_child(path[3], attributes);
      }
    }
  }

  void text(const Path& path, std::string_view piece) override {
    // Only the short values below the root are wanted; descriptions and metadata are not collected.
    if (path.size() == 2 && text_.size() + piece.size() <= kTextMax) text_ += piece;
  }

  void close(const Path& path) override {
    if (at(path, {"domain", "name"})) name_ = trimmed(text_);
    if (at(path, {"domain", "uuid"})) uuid_ = trimmed(text_);
    if (at(path, {"domain", "memory"})) memory_ = trimmed(text_);
    if (at(path, {"domain", "currentMemory"})) current_memory_ = trimmed(text_);
    if (at(path, {"domain", "vcpu"})) vcpus_ = trimmed(text_);
    if (at(path, {"domain", "devices", "disk"})) end_disk();
    if (at(path, {"domain", "devices", "interface"})) end_nic();
  }

  Result<DomainDefinition> finish() {
    if (!domain_) return corrupt("root element", "");
    if (devices_exceeded_) return Error{ErrorCode::kLimitExceeded, "domain with too many devices"};
    if (!bad_device_.empty()) return corrupt("device", bad_device_);
    DomainDefinition domain;
    const std::optional<VmId> vm = VmId::parse(uuid_);
    if (!vm || vm->is_zero()) return corrupt("uuid", uuid_);
    domain.vm = *vm;
    domain.name = display_text(name_, kDomainNameMax);
    const std::string& vcpus = current_vcpus_.empty() ? vcpus_ : current_vcpus_;
    const std::optional<std::uint64_t> vcpu_count = parse_u64(vcpus);
    if (!vcpu_count || *vcpu_count > kVcpusMax) return corrupt("vcpu", vcpus);
    domain.vcpus = static_cast<std::uint32_t>(*vcpu_count);
    const bool has_current = !current_memory_.empty();
    const std::string& memory = has_current ? current_memory_ : memory_;
    const std::optional<std::uint64_t> mib = memory_mib(memory, has_current ? current_unit_ : memory_unit_);
    if (!mib) return corrupt("memory", memory);
    domain.memory_mib = *mib;
    const auto by_target = [](const DomainDisk& a, const DomainDisk& b) { return a.target < b.target; };
    const auto same_target = [](const DomainDisk& a, const DomainDisk& b) { return a.target == b.target; };
    std::sort(disks_.begin(), disks_.end(), by_target);
    disks_.erase(std::unique(disks_.begin(), disks_.end(), same_target), disks_.end());
    const auto by_mac = [](const DomainNic& a, const DomainNic& b) { return a.mac < b.mac; };
    const auto same_mac = [](const DomainNic& a, const DomainNic& b) { return a.mac == b.mac; };
    std::stable_sort(nics_.begin(), nics_.end(), by_mac);
    nics_.erase(std::unique(nics_.begin(), nics_.end(), same_mac), nics_.end());
    domain.disks = std::move(disks_);
    domain.nics = std::move(nics_);
    return domain;
  }

 private:
  static constexpr std::size_t kTextMax = 4096;
  static constexpr std::uint64_t kVcpusMax = 1u << 16;

  static Error corrupt(std::string_view field, std::string_view value) {
    return Error{ErrorCode::kCorrupt,
                 "domain definition: bad " + std::string(field) + " \"" + display_text(value, 64) + "\""};
  }

  static std::optional<std::uint64_t> memory_mib(std::string_view amount, std::string_view unit) {
    constexpr std::uint64_t kMib = 1ull << 20;
    const std::optional<std::uint64_t> count = parse_u64(amount);
    const std::optional<std::uint64_t> bytes = unit_bytes(unit);
    if (!count || !bytes || *count > (std::numeric_limits<std::uint64_t>::max() - kMib) / *bytes) return std::nullopt;
    return (*count * *bytes + kMib - 1) / kMib;
  }

  void begin_device(std::string_view kind, const XmlAttributes& attributes) {
    disk_ = {};
    nic_ = {};
    nic_managed_ = true;
    // Without the attribute libvirt means a hard disk.
    const std::string_view device = attributes.get("device");
    hard_disk_ = kind == "disk" && (device.empty() || device == "disk" || device == "lun");
    if (kind == "interface") nic_.type = attributes.get("type").substr(0, kDeviceIdMax);
  }

  void disk_child(std::string_view child, const XmlAttributes& attributes) {
    if (child == "target") disk_.target = attributes.get("dev");
    if (child == "alias") disk_.alias = attributes.get("name");
    if (child == "source") {
      const std::string_view file = attributes.get("file");
      disk_.source = file.empty() ? attributes.get("dev") : file;
    }
  }

  void nic_child(std::string_view child, const XmlAttributes& attributes) {
    if (child == "mac") nic_.mac = lower(attributes.get("address"));
    if (child == "alias") nic_.alias = attributes.get("name");
    if (child == "target") {
      nic_.target = attributes.get("dev");
      nic_managed_ = attributes.get("managed") != "no";
    }
  }

  bool acceptable(std::string_view id, std::size_t count) {
    if (id.empty() || id.size() > kDeviceIdMax || !is_plain_text(id)) bad_device_ = id.empty() ? "(unnamed)" : id;
    devices_exceeded_ = devices_exceeded_ || count >= kDomainDevicesMax;
    return bad_device_.empty() && !devices_exceeded_;
  }

  void end_disk() {
    if (hard_disk_ && acceptable(disk_.target, disks_.size())) disks_.push_back(std::move(disk_));
  }

  void end_nic() {
    nic_.target_made = made_by_libvirt(nic_, nic_managed_);
    if (acceptable(nic_.mac, nics_.size())) nics_.push_back(std::move(nic_));
  }

  bool domain_ = false;
  bool devices_exceeded_ = false;
  std::string bad_device_;
  std::string text_, name_, uuid_, memory_, memory_unit_, current_memory_, current_unit_, vcpus_, current_vcpus_;
  DomainDisk disk_;
  bool hard_disk_ = false;
  DomainNic nic_;
  bool nic_managed_ = true;
  std::vector<DomainDisk> disks_;
  std::vector<DomainNic> nics_;
};

}  // namespace

Result<DomainDefinition> parse_domain_xml(std::string_view xml) {
  DomainVisitor visitor;
  // Without namespaces: libvirt tolerates metadata with undeclared prefixes, and a VM must not get lost through its
  // notes.
  if (Status walked = walk_xml(xml, false, visitor); !walked) return walked.error();
  return visitor.finish();
}

}  // namespace nodemeter
