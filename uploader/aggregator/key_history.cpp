#include "uploader/aggregator/key_history.h"

#include <algorithm>

#include "platform/bytes.h"
#include "platform/digest.h"

namespace nodemeter {
namespace {

// The first key has a row of its own: so it was before there were histories.
constexpr std::string_view kFirstPrefix = "key/";
constexpr std::string_view kNextPrefix = "keys/";
constexpr std::size_t kKeyBytes = 32;
constexpr std::size_t kIndexBytes = 4;

std::string short_name(std::string_view key) { return to_hex(key).substr(0, 16) + "…"; }

Refusal unknown_key(const NodeId& node, const KeyStatement& statement, const KeyHistory& history) {
  const std::string what = statement.change ? "changes the key to " + short_name(statement.key) + " without a signature"
                           : statement.key.empty() ? "is a manifest without a signature"
                                                   : "is signed with key " + short_name(statement.key);
  const KnownKey& known = history.back();
  const std::string ours = known.how == KnownKey::How::kConfigured
                               ? ", and the key that was written down for it in the nodes file is "
                               : ", and the key known here is ";
  return Refusal{.status = 403,
                 .cause = "key",
                 .sentence = "entry " + std::to_string(statement.sequence) + " of node " + node.text() + " " + what +
                             ours + short_name(known.key) +
                             ": if the node lost its key, write the new one into the nodes file as its \"key\""};
}

std::string next_row(const NodeId& node, std::size_t index) {
  std::string row = std::string(kNextPrefix) + node.text() + '\0';
  for (int shift = 24; shift >= 0; shift -= 8)
    row.push_back(static_cast<char>(static_cast<std::uint8_t>(index >> shift)));
  return row;
}

std::optional<KnownKey> parse_known(std::string_view value) {
  // A row from before there were histories is the key alone.
  if (value.size() == kKeyBytes) {
    return KnownKey{.key = std::string(value), .how = KnownKey::How::kFirst, .epoch = {}, .sequence = 0};
  }
  if (value.size() < kKeyBytes) return std::nullopt;
  KnownKey known;
  known.key = std::string(value.substr(0, kKeyBytes));
  ByteReader r(value.substr(kKeyBytes));
  const std::uint8_t how = r.u8();
  known.how = static_cast<KnownKey::How>(how);
  known.epoch = Epoch(r.uuid());
  known.sequence = r.u64();
  if (!r.at_end() || how < 1 || how > 3) return std::nullopt;
  return known;
}

std::string encode_known(const KnownKey& known) {
  ByteWriter w;
  w.u8(static_cast<std::uint8_t>(known.how));
  w.uuid(known.epoch);
  w.u64(known.sequence);
  return known.key + w.take();
}

}  // namespace

bool knows(const KeyHistory& history, std::string_view key) {
  return std::any_of(history.begin(), history.end(), [&](const KnownKey& known) { return known.key == key; });
}

std::optional<Refusal> learn_keys(const IngestBatch& batch, const std::vector<const KeyStatement*>& statements,
                                  KeyHistory& history) {
  for (const KeyStatement* const statement : statements) {
    const auto learn = [&](const std::string& key, KnownKey::How how) {
      if (knows(history, key)) return;
      history.push_back({.key = key, .how = how, .epoch = batch.epoch, .sequence = statement->sequence});
    };
    // What the operator wrote down counts from the first statement on that it fits, and before anything else.
    const std::string& trusted = batch.configured_key;
    if (!trusted.empty() && (history.empty() || statement->key == trusted)) {
      learn(trusted, KnownKey::How::kConfigured);
    }
    if (history.empty() && statement->key.empty()) continue;  // A node without a key.
    if (statement->change && statement->vouched_for) {
      if (history.empty()) learn(statement->previous, KnownKey::How::kFirst);
      if (knows(history, statement->previous)) learn(statement->key, KnownKey::How::kVouchedFor);
    }
    if (history.empty()) learn(statement->key, KnownKey::How::kFirst);
    if (!knows(history, statement->key)) return unknown_key(batch.node, *statement, history);
  }
  return std::nullopt;
}

std::vector<Write> key_rows(const NodeId& node, const KeyHistory& history, std::size_t from) {
  std::vector<Write> rows;
  for (std::size_t i = from; i < history.size(); ++i) {
    rows.push_back(Write{.table = Table::kMeta,
                         .key = i == 0 ? std::string(kFirstPrefix) + node.text() : next_row(node, i),
                         .value = encode_known(history[i])});
  }
  return rows;
}

Result<std::map<NodeId, KeyHistory>> read_key_histories(const Snapshot& snapshot) {
  std::map<NodeId, KeyHistory> histories;
  bool sound = true;
  for (const std::string_view prefix : {kFirstPrefix, kNextPrefix}) {
    const Status scanned = snapshot.scan(Table::kMeta, prefix, [&](std::string_view key, std::string_view value) {
      if (!key.starts_with(prefix)) return false;
      key.remove_prefix(prefix.size());
      if (prefix == kNextPrefix) key = key.substr(0, key.size() - std::min(key.size(), kIndexBytes + 1));
      const auto node = NodeId::parse(key);
      const std::optional<KnownKey> known = parse_known(value);
      sound = node && known;
      if (sound) histories[*node].push_back(*known);
      return sound;
    });
    if (!scanned) return scanned.error();
    if (!sound) return Error{ErrorCode::kCorrupt, "a node's key in the aggregator's store makes no sense"};
  }
  return histories;
}

}  // namespace nodemeter
