#include "store/manifest.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <nlohmann/json.hpp>

#include "platform/contract.h"
#include "platform/text.h"
#include "store/merkle.h"

namespace nodemeter {

namespace {

using Json = nlohmann::json;

constexpr std::string_view kManifestTitle = "nodemeter manifest 1";
constexpr std::string_view kKeyChangeTitle = "nodemeter key change 1";
constexpr std::string_view kKeyChangeEvent = "key-changed";
constexpr std::size_t kKeyBytes = 32;
constexpr std::size_t kSignatureBytes = 64;

std::string hour_text(std::int64_t hour) { return iso_time(UtcTime(std::chrono::hours(hour)), true); }

std::optional<std::int64_t> parse_hour(std::string_view text) {
  const std::optional<UtcTime> time = parse_time(text);
  if (!time) return std::nullopt;
  const auto hour = std::chrono::floor<std::chrono::hours>(*time);
  if (hour != *time) return std::nullopt;
  return hour.time_since_epoch().count();
}

template <class Integer>
std::optional<Integer> parse_number(std::string_view text) {
  Integer value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

std::optional<unsigned __int128> parse_sum(std::string_view text) {
  if (text.empty() || text.size() > 39) return std::nullopt;
  unsigned __int128 value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    const auto digit = static_cast<unsigned>(c - '0');
    if (value > (~static_cast<unsigned __int128>(0) - digit) / 10) return std::nullopt;
    value = value * 10 + digit;
  }
  return value;
}

std::optional<Digest> parse_digest(std::string_view text) {
  const std::string bytes = from_hex(text);
  if (bytes.size() != kKeyBytes) return std::nullopt;
  return Digest::from(bytes);
}

std::string sum_text(unsigned __int128 sum) {
  std::string reversed;
  do {
    reversed += static_cast<char>('0' + static_cast<int>(sum % 10));
    sum /= 10;
  } while (sum != 0);
  return {reversed.rbegin(), reversed.rend()};
}

// A member that is a text; "" if there is none.
std::string text_member(const Json& object, const char* name) {
  const auto member = object.find(name);
  return member != object.end() && member->is_string() ? member->get<std::string>() : std::string();
}

std::optional<std::uint64_t> number_member(const Json& object, const char* name) {
  const auto member = object.find(name);
  if (member == object.end() || !member->is_number_unsigned()) return std::nullopt;
  return member->get<std::uint64_t>();
}

std::optional<HourSums> parse_sums(const Json& object) {
  HourSums sums;
  const auto member = object.find("sums");
  if (member == object.end() || !member->is_object()) return std::nullopt;
  for (const auto& [hour_name, meters] : member->items()) {
    const std::optional<std::int64_t> hour = parse_hour(hour_name);
    if (!hour || !meters.is_object()) return std::nullopt;
    for (const auto& [meter_name, sum] : meters.items()) {
      const std::optional<Uuid> meter = Uuid::parse(meter_name);
      const auto value = sum.is_string() ? parse_sum(sum.get<std::string>()) : std::nullopt;
      if (!meter || !value) return std::nullopt;
      sums[*hour][*meter] = *value;
    }
  }
  return sums;
}

Error corrupt(const Entry& entry, const std::string& what) {
  return Error{ErrorCode::kCorrupt, "the manifest at " + std::to_string(entry.sequence) + " " + what};
}

}  // namespace

// --- The statement --------------------------------------------------------------------------------------------------

std::string ManifestStatement::text() const {
  return std::string(kManifestTitle) + "\nnode " + node.text() + "\nepoch " + epoch.text() + "\nentries " +
         std::to_string(first) + "-" + std::to_string(last) + "\nclosed_until " + hour_text(closed_until) + "\nhead " +
         head.hex() + "\nroot " + root.hex() + "\nsums " + sums.hex() + "\n";
}

std::optional<ManifestStatement> ManifestStatement::parse(std::string_view text) {
  constexpr std::array<std::string_view, 7> kNames{"node ", "epoch ", "entries ", "closed_until ",
                                                   "head ", "root ",  "sums "};
  constexpr std::size_t kTextBytesMax = 1024;
  if (text.size() > kTextBytesMax || !text.starts_with(kManifestTitle)) return std::nullopt;
  std::array<std::string_view, kNames.size()> values;
  std::string_view rest = text.substr(kManifestTitle.size());
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    if (!rest.starts_with("\n") || !rest.substr(1).starts_with(kNames[i])) return std::nullopt;
    rest.remove_prefix(1 + kNames[i].size());
    values[i] = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(values[i].size());
  }
  const auto node = NodeId::parse(values[0]);
  const auto epoch = Epoch::parse(values[1]);
  const std::size_t dash = values[2].find('-');
  if (dash == std::string_view::npos) return std::nullopt;
  const auto first = parse_number<Sequence>(values[2].substr(0, dash));
  const auto last = parse_number<Sequence>(values[2].substr(dash + 1));
  const auto closed_until = parse_hour(values[3]);
  const auto head = parse_digest(values[4]), root = parse_digest(values[5]), sums = parse_digest(values[6]);
  if (!node || !epoch || !first || !last || !closed_until || !head || !root || !sums) return std::nullopt;
  ManifestStatement statement{*node, *epoch, *first, *last, *closed_until, *head, *root, *sums};
  if (statement.text() != text) return std::nullopt;  // There is one way to write it.
  return statement;
}

// --- The entry ------------------------------------------------------------------------------------------------------

std::string sums_text(const HourSums& sums) {
  std::string text = "{";
  for (const auto& [hour, meters] : sums) {
    if (text.size() > 1) text += ',';
    text += '"' + hour_text(hour) + "\":{";
    bool first = true;
    for (const auto& [meter, sum] : meters) {
      text += std::string(first ? "" : ",") + '"' + meter.text() + "\":\"" + sum_text(sum) + '"';
      first = false;
    }
    text += '}';
  }
  return text + "}";
}

std::string manifest_detail(const Manifest& manifest) {
  const ManifestStatement& s = manifest.statement;
  return "{\"first_seq\":" + std::to_string(s.first) + ",\"last_seq\":" + std::to_string(s.last) +
         ",\"count\":" + std::to_string(s.last + 1 - s.first) + ",\"closed_until\":\"" + hour_text(s.closed_until) +
         "\",\"head\":\"" + s.head.hex() + "\",\"root\":\"" + s.root.hex() + "\",\"sums\":" + sums_text(manifest.sums) +
         ",\"key\":\"" + to_hex(manifest.public_key) + "\",\"signature\":\"" + to_hex(manifest.signature) + "\"}";
}

Result<Manifest> manifest_of(const Entry& entry) {
  const Json object = Json::parse(entry.detail, nullptr, false);
  if (!object.is_object()) return corrupt(entry, "is not JSON");
  Manifest manifest;
  ManifestStatement& s = manifest.statement;
  const auto first = number_member(object, "first_seq"), last = number_member(object, "last_seq");
  const auto closed_until = parse_hour(text_member(object, "closed_until"));
  const auto head = parse_digest(text_member(object, "head")), root = parse_digest(text_member(object, "root"));
  std::optional<HourSums> sums = parse_sums(object);
  if (!first || !last || !closed_until || !head || !root || !sums) return corrupt(entry, "lacks a member");
  if (*first == 0 || *last + 1 < *first || *last >= entry.sequence)
    return corrupt(entry, "covers a range that cannot be");
  s = ManifestStatement{entry.node, entry.epoch, *first, *last, *closed_until, *head, *root, {}};
  manifest.sums = std::move(*sums);
  s.sums = digest_of({sums_text(manifest.sums)});
  manifest.public_key = from_hex(text_member(object, "key"));
  manifest.signature = from_hex(text_member(object, "signature"));
  const bool keyless = manifest.public_key.empty() && manifest.signature.empty();
  const bool keyed = manifest.public_key.size() == kKeyBytes && manifest.signature.size() == kSignatureBytes;
  if (!keyless && !keyed) return corrupt(entry, "has a key or a signature of the wrong size");
  if (manifest_detail(manifest) != entry.detail) return corrupt(entry, "is not written in its only form");
  return manifest;
}

// --- Building -------------------------------------------------------------------------------------------------------

namespace {

std::int64_t hour_of(const Entry& entry) {
  return std::chrono::floor<std::chrono::hours>(entry.usage_start).time_since_epoch().count();
}

}  // namespace

void ManifestBuilder::add(const Entry& entry, std::string_view row) {
  leaves_.push_back(merkle_leaf(row));
  if (entry.kind != EntryKind::kUsage) return;
  for (const MeterValue& value : entry.meters) sums_[hour_of(entry)][value.meter] += value.quantity;
}

bool ManifestBuilder::full_for(const Entry& entry) const {
  return entry.kind == EntryKind::kUsage && sums_.size() >= kManifestHoursMax && !sums_.contains(hour_of(entry));
}

Manifest ManifestBuilder::build(const NodeId& node, const Epoch& epoch, std::int64_t closed_until, const Digest& head,
                                const std::optional<SigningKey>& key) const {
  Manifest manifest;
  manifest.sums = sums_;
  manifest.statement = ManifestStatement{
      node, epoch, first_, next() - 1, closed_until, head, merkle_root(leaves_), digest_of({sums_text(sums_)})};
  if (key) {
    manifest.public_key = key->public_key();
    manifest.signature = key->sign(manifest.statement.text());
  }
  return manifest;
}

// --- Keys -----------------------------------------------------------------------------------------------------------

std::string key_change_text(const NodeId& node, const Epoch& epoch, Sequence sequence, std::string_view key) {
  return std::string(kKeyChangeTitle) + "\nnode " + node.text() + "\nepoch " + epoch.text() + "\nentry " +
         std::to_string(sequence) + "\nkey " + to_hex(key) + "\n";
}

std::string key_change_detail(const KeyChange& change, UtcTime at) {
  return "{\"event\":\"" + std::string(kKeyChangeEvent) + "\",\"at\":\"" + iso_time(at) + "\",\"key\":\"" +
         to_hex(change.key) + "\",\"previous_key\":\"" + to_hex(change.previous) + "\",\"signature\":\"" +
         to_hex(change.signature) + "\"}";
}

std::optional<KeyChange> key_change_of(const Entry& entry) {
  if (entry.kind != EntryKind::kEvent || !entry.detail.starts_with("{\"event\":\"key-changed\"")) return std::nullopt;
  const Json object = Json::parse(entry.detail, nullptr, false);
  if (!object.is_object()) return std::nullopt;
  KeyChange change{from_hex(text_member(object, "key")), from_hex(text_member(object, "previous_key")),
                   from_hex(text_member(object, "signature"))};
  const bool sized = change.key.size() == kKeyBytes && change.previous.size() == kKeyBytes &&
                     (change.signature.empty() || change.signature.size() == kSignatureBytes);
  return sized ? std::optional(std::move(change)) : std::nullopt;
}

}  // namespace nodemeter
