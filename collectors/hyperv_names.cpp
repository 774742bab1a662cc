#include "collectors/hyperv_names.h"

#include <algorithm>

#include "platform/text.h"

namespace nodemeter {

namespace {

constexpr std::size_t kUuidChars = 36;

}  // namespace

bool take_repeat_mark(std::string_view& instance) {
  const std::size_t at = instance.rfind('#');
  if (at == std::string_view::npos || !parse_u64(instance.substr(at + 1))) return false;
  instance = instance.substr(0, at);
  return true;
}

std::string lower_case(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

std::optional<ProcessorInstance> parse_processor_instance(std::string_view instance) {
  constexpr std::string_view kMark = ":Hv VP ";
  ProcessorInstance parsed;
  const std::size_t at = instance.rfind(kMark);
  if (at == std::string_view::npos || at == 0) return std::nullopt;
  std::string_view number = instance.substr(at + kMark.size());
  parsed.numbered_twice = take_repeat_mark(number);
  const std::optional<std::uint64_t> n = parse_u64(number);
  if (!n || *n > UINT32_MAX) return std::nullopt;
  parsed.vm_name = instance.substr(0, at);
  parsed.number = static_cast<std::uint32_t>(*n);
  return parsed;
}

std::optional<AdapterInstance> parse_adapter_instance(std::string_view instance) {
  constexpr std::string_view kBetween = "--";
  const bool twice = take_repeat_mark(instance);
  const std::size_t at = instance.rfind(kBetween);
  if (at == std::string_view::npos || at < kUuidChars + 1) return std::nullopt;
  const std::string_view adapter = instance.substr(at + kBetween.size());
  if (instance[at - kUuidChars - 1] != '_') return std::nullopt;
  const std::optional<VmId> vm = VmId::parse(instance.substr(at - kUuidChars, kUuidChars));
  if (!vm || vm->is_zero()) return std::nullopt;
  if (const std::optional<Uuid> guid = Uuid::parse(adapter)) return AdapterInstance{*vm, guid->text(), twice};
  const std::optional<std::uint64_t> index = parse_u64(adapter);
  if (!index) return std::nullopt;
  return AdapterInstance{*vm, std::to_string(*index), twice};
}

std::string storage_key_of_instance(std::string_view instance) {
  constexpr std::string_view kLongPrefix = "--?-";
  if (instance.starts_with(kLongPrefix)) instance.remove_prefix(kLongPrefix.size());
  return lower_case(instance);
}

std::string storage_key_of_path(std::string_view path) {
  std::string escaped(path);
  for (char& c : escaped) {
    if (c == '\\' || c == '/') c = '-';
  }
  return storage_key_of_instance(escaped);
}

std::optional<SettingId> parse_setting_id(std::string_view instance_id) {
  constexpr std::string_view kPrefix = "Microsoft:";
  if (!instance_id.starts_with(kPrefix)) return std::nullopt;
  instance_id.remove_prefix(kPrefix.size());
  const std::optional<VmId> vm = VmId::parse(instance_id.substr(0, kUuidChars));
  if (!vm || vm->is_zero()) return std::nullopt;
  SettingId id{*vm, {}};
  if (instance_id.size() == kUuidChars) return id;
  if (instance_id[kUuidChars] != '\\') return std::nullopt;
  id.device = lower_case(instance_id.substr(kUuidChars + 1));
  std::replace(id.device.begin(), id.device.end(), '\\', '/');
  return id;
}

}  // namespace nodemeter
