#include "uploader/aggregator/registration_audit.h"

#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "platform/digest.h"
#include "platform/text.h"
#include "uploader/aggregator/row_keys.h"

namespace nodemeter {
namespace {

using Json = nlohmann::ordered_json;

std::string number_key(std::uint64_t number) {
  std::string key;
  append_big_endian(key, number);
  return key;
}

Json body_of(const AuditEntry& entry) {
  return {{"number", entry.number}, {"at", iso_time(entry.at)}, {"account", entry.account}, {"verb", entry.verb},
          {"change", entry.change}, {"before", entry.before},   {"after", entry.after}};
}

std::string chain_of(const std::string& before, const AuditEntry& entry) {
  return digest_of({"nodemeter registration audit", before, body_of(entry).dump()}).hex();
}

std::optional<AuditEntry> parse_entry(std::string_view text) {
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) return std::nullopt;
  AuditEntry entry;
  for (const auto& [key, value] : {std::pair<const char*, std::string*>{"account", &entry.account},
                                   {"verb", &entry.verb},
                                   {"change", &entry.change},
                                   {"before", &entry.before},
                                   {"after", &entry.after},
                                   {"chain", &entry.chain}}) {
    if (!json.contains(key) || !json[key].is_string()) return std::nullopt;
    *value = json[key].get<std::string>();
  }
  if (!json.contains("number") || !json["number"].is_number_unsigned()) return std::nullopt;
  entry.number = json["number"].get<std::uint64_t>();
  if (!json.contains("at") || !json["at"].is_string()) return std::nullopt;
  const std::optional<UtcTime> at = parse_time(json["at"].get<std::string>());
  if (!at) return std::nullopt;
  entry.at = *at;
  return entry;
}

}  // namespace

Result<std::vector<AuditEntry>> read_audit(const KeyValue& kv) {
  return consistent(kv, [](const Snapshot& snapshot) -> Result<std::vector<AuditEntry>> {
    std::vector<AuditEntry> entries;
    std::string before;
    bool sound = true;
    const Status scanned = snapshot.scan(Table::kEntries, "", [&](std::string_view key, std::string_view value) {
      const std::optional<AuditEntry> entry = parse_entry(value);
      sound = entry && entry->number == entries.size() + 1 && key == number_key(entry->number) &&
              entry->chain == chain_of(before, *entry);
      if (!sound) return false;
      before = entry->chain;
      entries.push_back(*entry);
      return true;
    });
    if (!scanned) return scanned.error();
    if (!sound) {
      return Error{ErrorCode::kCorrupt, "entry " + std::to_string(entries.size() + 1) +
                                            " of the registration's audit does not continue the one before it"};
    }
    return entries;
  });
}

std::string RegistrationAudit::digest_of_text(std::string_view text) {
  return digest_of({"nodemeter registration", text}).hex();
}

Result<RegistrationAudit> RegistrationAudit::open(KeyValue& kv) {
  RegistrationAudit audit(kv);
  Result<std::vector<AuditEntry>> entries = read_audit(kv);
  if (!entries) return entries.error();
  audit.entries_ = std::move(*entries);
  return audit;
}

Status RegistrationAudit::add(AuditEntry entry) {
  entry.number = entries_.size() + 1;
  // A name from outside stays JSON, and one line.
  entry.account = display_text(entry.account);
  entry.at = std::chrono::floor<Milliseconds>(entry.at);
  entry.chain = chain_of(entries_.empty() ? "" : entries_.back().chain, entry);
  Json json = body_of(entry);
  json["chain"] = entry.chain;
  const Status written =
      kv_->commit({{.table = Table::kEntries, .key = number_key(entry.number), .value = json.dump()}});
  if (!written) return written.error();
  entries_.push_back(std::move(entry));
  return Done{};
}

Status RegistrationAudit::note_other_change(std::string_view text, UtcTime now, const std::string& account) {
  const std::string digest = digest_of_text(text);
  const std::string known = entries_.empty() ? "" : entries_.back().after;
  if (digest == known) return Done{};
  return add({.number = 0,
              .at = now,
              .account = account,
              .verb = entries_.empty() ? "first-seen" : "changed-elsewhere",
              .change = entries_.empty() ? "The registration file is seen for the first time."
                                         : "The registration file is not as the entry before left it.",
              .before = known,
              .after = digest,
              .chain = ""});
}

}  // namespace nodemeter
