// Goal: what a node signed about an hour cannot be changed, moved or passed off for another node's without being seen.
// Method: manifests built from known rows, then every kind of change; trees of all small sizes; the worked form of the
// statement and of the detail as text.

#include "store/manifest.h"

#include <catch2/catch.hpp>

#include "store/entry_codec.h"
#include "store/merkle.h"
#include "tests/store/store_fixtures.h"

using namespace nodemeter;

namespace {

std::vector<Digest> leaves_of(std::size_t count) {
  std::vector<Digest> leaves;
  for (std::size_t i = 0; i < count; ++i) leaves.push_back(merkle_leaf("row " + std::to_string(i)));
  return leaves;
}

SigningKey key_of(char c) { return SigningKey::from_seed(std::string(32, c)).value(); }

Entry numbered(Sequence sequence, std::int64_t hour, std::uint64_t quantity) {
  Entry entry = usage_entry(1, 0);
  entry.node = *NodeId::parse("node-1");
  entry.sequence = sequence;
  entry.usage_start = std::chrono::sys_seconds(std::chrono::hours(hour));
  entry.usage_end = entry.usage_start + std::chrono::hours(1);
  for (MeterValue& value : entry.meters) value.quantity = quantity;
  return entry;
}

Manifest built(std::size_t rows = 3) {
  ManifestBuilder builder(5);
  for (std::size_t i = 0; i < rows; ++i) {
    builder.add(numbered(5 + i, 490'000, UINT64_MAX), "row " + std::to_string(i));
  }
  return builder.build(*NodeId::parse("node-1"), Epoch{}, 490'001, merkle_leaf("head"), key_of('k'));
}

Entry entry_of(const Manifest& manifest) {
  Entry entry;
  entry.kind = EntryKind::kManifest;
  entry.node = manifest.statement.node;
  entry.epoch = manifest.statement.epoch;
  entry.sequence = manifest.statement.last + 1;
  entry.detail = manifest_detail(manifest);
  return entry;
}

}  // namespace

TEST_CASE("the root of a tree is that of RFC 6962 with our digest", "[manifest]") {
  const std::string zero("\0", 1), one("\1", 1);
  const Digest a = digest_of({zero, "row 0"}), b = digest_of({zero, "row 1"}), c = digest_of({zero, "row 2"});
  CHECK(merkle_root({}) == digest_of({}));
  CHECK(merkle_root(leaves_of(1)) == a);
  CHECK(merkle_root(leaves_of(3)) == digest_of({one, digest_of({one, a.view(), b.view()}).view(), c.view()}));
}

TEST_CASE("every leaf of every tree has a path to its root, and to no other", "[manifest]") {
  for (std::size_t count = 1; count <= 33; ++count) {
    const std::vector<Digest> leaves = leaves_of(count);
    const Digest root = merkle_root(leaves);
    for (std::size_t i = 0; i < count; ++i) {
      const std::vector<Digest> path = merkle_path(leaves, i);
      CHECK(merkle_root_by(leaves[i], i, count, path) == root);
      CHECK(merkle_root_by(merkle_leaf("another"), i, count, path) != root);
      CHECK_FALSE(merkle_root_by(leaves[i], count, count, path).has_value());
      for (std::size_t other = 0; other < count; ++other) {
        if (other != i) CHECK(merkle_root_by(leaves[i], other, count, path) != root);
      }
      std::vector<Digest> longer = path;
      longer.push_back(root);
      CHECK_FALSE(merkle_root_by(leaves[i], i, count, longer).has_value());
    }
  }
}

TEST_CASE("a manifest's detail reads back, with sums beyond 64 bits", "[manifest]") {
  const Manifest manifest = built();
  const Result<Manifest> read = manifest_of(entry_of(manifest));
  REQUIRE(read.ok());
  CHECK(read->statement == manifest.statement);
  CHECK(read->sums == manifest.sums);
  CHECK(read->signature == manifest.signature);
  const Uuid meter = usage_entry(1, 0).meters.front().meter;
  CHECK(read->sums.at(490'000).at(meter) == static_cast<unsigned __int128>(UINT64_MAX) * 3);
  CHECK(entry_of(manifest).detail.find("\"55340232221128654845\"") != std::string::npos);
  CHECK(verify_signature(read->public_key, read->statement.text(), read->signature));
}

TEST_CASE("the statement is a text with one form", "[manifest]") {
  const ManifestStatement statement = built().statement;
  CHECK(
      statement.text().starts_with("nodemeter manifest 1\nnode node-1\nepoch 00000000-0000-0000-0000-000000000000\n"
                                   "entries 5-7\nclosed_until 2025-11-24T17:00:00Z\nhead "));
  CHECK(ManifestStatement::parse(statement.text()) == statement);
  const std::string text = statement.text();
  for (std::size_t i = 0; i < text.size(); ++i) {
    std::string changed = text;
    changed[i] = static_cast<char>(changed[i] ^ 1);
    const auto parsed = ManifestStatement::parse(changed);
    CHECK((!parsed || !(*parsed == statement)));
    CHECK_FALSE(ManifestStatement::parse(text.substr(0, i)).has_value());
  }
  CHECK_FALSE(ManifestStatement::parse(text + "\n").has_value());
}

TEST_CASE("no character of a manifest can change unseen", "[manifest]") {
  const Manifest manifest = built();
  const Entry entry = entry_of(manifest);
  std::uint64_t accepted = 0;
  for (std::size_t i = 0; i < entry.detail.size(); ++i) {
    for (const int bit : {0, 1, 2, 4, 5}) {
      Entry changed = entry;
      changed.detail[i] = static_cast<char>(changed.detail[i] ^ (1 << bit));
      const Result<Manifest> read = manifest_of(changed);
      if (!read) continue;
      const bool same_key = read->public_key == manifest.public_key;
      if (same_key && verify_signature(read->public_key, read->statement.text(), read->signature)) ++accepted;
    }
  }
  CHECK(accepted == 0);
}

TEST_CASE("a range over more hours than a manifest takes is announced before it is too long", "[manifest]") {
  ManifestBuilder builder(1);
  for (std::size_t i = 0; i < kManifestHoursMax; ++i) {
    const Entry entry = numbered(i + 1, 490'000 + static_cast<std::int64_t>(i), 1);
    CHECK_FALSE(builder.full_for(entry));
    builder.add(entry, "row");
  }
  CHECK(builder.full_for(numbered(200, 480'000, 1)));
  CHECK_FALSE(builder.full_for(numbered(200, 490'000, 1)));
  Entry event = numbered(200, 480'000, 1);
  event.kind = EntryKind::kEvent;
  CHECK_FALSE(builder.full_for(event));
}

TEST_CASE("a change of key reads back from its entry and from no other", "[manifest]") {
  const SigningKey old_key = key_of('a'), new_key = key_of('b');
  Entry entry = numbered(9, 1, 1);
  entry.kind = EntryKind::kEvent;
  const std::string text = key_change_text(entry.node, entry.epoch, entry.sequence, new_key.public_key());
  entry.detail = key_change_detail({new_key.public_key(), old_key.public_key(), old_key.sign(text)}, UtcTime{});
  const std::optional<KeyChange> change = key_change_of(entry);
  REQUIRE(change.has_value());
  CHECK(change->key == new_key.public_key());
  CHECK(verify_signature(change->previous, text, change->signature));
  entry.kind = EntryKind::kUsage;
  CHECK_FALSE(key_change_of(entry).has_value());
  entry.kind = EntryKind::kEvent;
  entry.detail = "{\"event\":\"key-changed\",\"key\":\"00\"}";
  CHECK_FALSE(key_change_of(entry).has_value());
}
