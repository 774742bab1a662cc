// Goal: one entry has one encoding, and nothing else is taken for it.
// Method: a worked example from the format's document, then every column damaged in every way that msgpack allows:
// other types, longer forms of the same number, cuts at every byte, lengths that lie.

#include "store/entry_codec.h"

#include <fstream>
#include <sstream>

#include "store_fixtures.h"

namespace nodemeter {

namespace {

std::string row_of(const Entry& entry, Entry* sealed = nullptr) {
  const std::string body = taken(encode_entry_body(entry));
  Entry copy = entry;
  copy.digest = chain_digest(Digest{}, body);
  if (sealed != nullptr) *sealed = copy;
  return seal_entry(body, copy.digest);
}

// Start and end of one msgpack value, by an independent reading of the specification.
std::size_t value_end(const std::string& bytes, std::size_t at) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(bytes.at(i)); };
  const auto number = [&](std::size_t i, int width) {
    std::size_t v = 0;
    for (int k = 0; k < width; ++k) v = v << 8 | byte(i + static_cast<std::size_t>(k));
    return v;
  };
  const auto skip = [&](std::size_t from, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) from = value_end(bytes, from);
    return from;
  };
  const std::uint8_t b = byte(at);
  if (b <= 0x7f || b >= 0xe0 || b == 0xc2 || b == 0xc3) return at + 1;
  if (b <= 0x8f) return skip(at + 1, 2u * (b & 15u));
  if (b <= 0x9f) return skip(at + 1, b & 15u);
  if (b <= 0xbf) return at + 1 + (b & 31u);
  switch (b) {
    case 0xc4:
    case 0xd9: return at + 2 + number(at + 1, 1);
    case 0xda: return at + 3 + number(at + 1, 2);
    case 0xcc:
    case 0xd0: return at + 2;
    case 0xcd:
    case 0xd1: return at + 3;
    case 0xce:
    case 0xd2: return at + 5;
    case 0xcf:
    case 0xd3: return at + 9;
    case 0xd8: return at + 18;
    case 0xdc: return skip(at + 3, number(at + 1, 2));
    default: FAIL("no column is encoded as " << int{b}); return 0;
  }
}

std::vector<std::pair<std::size_t, std::size_t>> columns_of(const std::string& row) {
  std::vector<std::pair<std::size_t, std::size_t>> columns;
  for (std::size_t at = 0; at < row.size();) {
    const std::size_t end = value_end(row, at);
    columns.emplace_back(at, end);
    at = end;
  }
  return columns;
}

std::string with_column(const std::string& row, std::size_t column, const std::string& bytes) {
  const auto [start, end] = columns_of(row).at(column);
  return row.substr(0, start) + bytes + row.substr(end);
}

std::size_t index_of(std::string_view name) {
  const auto& columns = entry_columns();
  return static_cast<std::size_t>(std::find(columns.begin(), columns.end(), name) - columns.begin());
}

// The error's message, or "accepted".
std::string verdict(const std::string& row) {
  const auto decoded = decode_entry(row);
  return decoded.ok() ? "accepted" : decoded.error().message;
}

std::string hex(std::string_view text) { return from_hex(text); }

}  // namespace

TEST_CASE("the columns are those of the wire, in its order", "[codec]") {
  std::string names;
  for (const std::string_view name : entry_columns()) names += std::string(name) + " ";
  CHECK(names ==
        "schema node_id epoch seq kind vm_id usage_start usage_end reported_at subscription_id tenant_id resource_uri "
        "location vcores billable covered_ms gap_ms status meter.id meter.quantity meter.register tags detail digest ");
}

TEST_CASE("the worked example of the format's document is what the encoder writes", "[codec]") {
  std::ifstream file(SOURCE_ROOT "/store/FORMAT.md");
  REQUIRE(file.good());
  std::stringstream text;
  text << file.rdbuf();
  const std::string document = text.str();
  const std::size_t begin = document.find("```hex\n");
  REQUIRE(begin != std::string::npos);
  std::istringstream lines(document.substr(begin + 7, document.find("```", begin + 7) - begin - 7));
  std::string digits;
  for (std::string line; std::getline(lines, line);) {
    for (const char c : line.substr(0, line.find(';'))) {
      if (c != ' ') digits += c;
    }
  }
  Entry sealed;
  const std::string row = row_of(document_entry(), &sealed);
  CHECK(to_hex(row) == digits);
  CHECK(taken(decode_entry(from_hex(digits))).entry == sealed);
}

TEST_CASE("what was encoded decodes to itself, at the edges of every type", "[codec]") {
  Entry e = document_entry();
  SECTION("as it is") {}
  SECTION("empty") {
    Entry empty;
    empty.node = e.node;
    e = empty;
  }
  SECTION("largest numbers") {
    e.sequence = e.covered_ms = e.meters[0].quantity = e.meters[0].reading = ~std::uint64_t{0};
    e.vcores = e.status = ~std::uint32_t{0};
    e.gap_ms = std::numeric_limits<std::int64_t>::max();
  }
  SECTION("most negative gap") { e.gap_ms = std::numeric_limits<std::int64_t>::min(); }
  SECTION("largest texts") {
    e.resource_uri = std::string(kTextMax, 'u');
    e.detail = std::string(kDetailMax, 'd');
    for (std::size_t i = 0; i < kTagsMax; ++i) {
      std::string name = std::to_string(i);
      name.resize(kTextMax, '.');
      e.tags[name] = std::string(kTextMax, 'v');
    }
    while (e.tags.size() > kTagsMax) e.tags.erase(e.tags.begin());
    e.meters.resize(kMetersMax);
  }
  SECTION("text outside ASCII") { e.tags = {{"größe", "\xF0\x9F\x98\x80"}}; }
  Entry sealed;
  const std::string row = row_of(e, &sealed);
  const std::string followed = row + "more";
  const DecodedEntry decoded = taken(decode_entry(followed));
  CHECK(decoded.entry == sealed);
  CHECK(decoded.row == row);
  CHECK(decoded.body == taken(encode_entry_body(e)));
}

TEST_CASE("every whole number takes its shortest form at each border between forms", "[codec]") {
  for (int bits : {0, 5, 6, 7, 8, 15, 16, 31, 32, 63}) {
    for (std::uint64_t near : {(1ull << bits) - 1, 1ull << bits}) {
      Entry e = document_entry();
      e.covered_ms = near;
      e.gap_ms = -static_cast<std::int64_t>(near >> 1) - 1;
      Entry sealed;
      const std::string row = row_of(e, &sealed);
      CHECK(taken(decode_entry(row)).entry == sealed);
      const auto [start, end] = columns_of(row)[index_of("covered_ms")];
      CHECK(end - start == (near < 128 ? 1u : near < 256 ? 2u : near < 65536 ? 3u : near <= 0xffffffffull ? 5u : 9u));
    }
  }
}

TEST_CASE("a row cut at any byte is refused, and the column is named", "[codec]") {
  const std::string row = row_of(document_entry());
  const auto columns = columns_of(row);
  REQUIRE(columns.size() == entry_columns().size());
  for (std::size_t c = 0; c < columns.size(); ++c) {
    for (std::size_t cut = columns[c].first; cut < columns[c].second; ++cut) {
      const auto decoded = decode_entry(std::string_view(row).substr(0, cut));
      REQUIRE_FALSE(decoded.ok());
      CHECK(decoded.error().code == ErrorCode::kCorrupt);
      CHECK(decoded.error().message == "entry column " + std::string(entry_columns()[c]) + ": cut short");
    }
  }
}

TEST_CASE("a value of another type is refused in every column, and the column is named", "[codec]") {
  const std::string row = row_of(document_entry());
  const std::vector<std::pair<std::string, std::string>> others{
      {"nil", hex("c0")},
      {"true", hex("c3")},
      {"integer", hex("05")},
      {"negative", hex("ff")},
      {"float", hex("ca3f800000")},
      {"double", hex("cb3ff0000000000000")},
      {"string", hex("a161")},
      {"bin", hex("c40161")},
      {"bin 16", hex("c410") + std::string(16, 'u')},
      {"ext 2", hex("d80200112233445566778899aabbccddeeff")},
      {"ext 5", hex("d80500112233445566778899aabbccddeeff")},
      {"short ext 2", hex("d70200112233445566aa")},
      {"array", hex("920102")},
      {"nested array", hex("919101")},
      {"map", hex("810102")},
      {"never used byte", hex("c1")},
  };
  // What each column takes out of the list above (where it then is a valid, canonical value).
  const std::map<std::string, std::string, std::less<>> own{
      {"schema", ""},
      {"node_id", "string"},
      {"epoch", "ext 2"},
      {"seq", "integer"},
      {"kind", ""},
      {"vm_id", "ext 2"},
      {"usage_start", "integer"},
      {"usage_end", ""},
      {"reported_at", "integer"},
      {"subscription_id", "ext 2"},
      {"tenant_id", "ext 2"},
      {"resource_uri", "string"},
      {"location", "string"},
      {"vcores", "integer"},
      {"billable", "true"},
      {"covered_ms", "integer"},
      {"gap_ms", "integer negative"},
      {"status", "integer"},
      {"meter.id", ""},
      {"meter.quantity", "array"},
      {"meter.register", "array"},
      {"tags", ""},
      {"detail", "string"},
      {"digest", ""},
  };
  for (std::size_t c = 0; c < entry_columns().size(); ++c) {
    const std::string column(entry_columns()[c]);
    for (const auto& [type, bytes] : others) {
      const std::string got = verdict(with_column(row, c, bytes));
      INFO(column << " as " << type << ": " << got);
      std::istringstream accepted(own.at(column));
      bool fits = false;
      for (std::string word; accepted >> word;) fits = fits || word == type || (word == "ext" && type == "ext 2");
      if (fits) {
        CHECK(got == "accepted");
      } else if (column == "schema" && type == "integer") {
        CHECK(got.find("schema 5") != std::string::npos);
      } else {
        CHECK(got.find("entry column " + column + ":") == 0);
      }
    }
  }
}

TEST_CASE("other encodings of the same value are refused as not canonical", "[codec]") {
  const std::string row = row_of(document_entry());
  const auto refused = [&](std::string_view column, const std::string& bytes) {
    const std::string got = verdict(with_column(row, index_of(column), bytes));
    INFO(column << ": " << got);
    CHECK(got == "entry column " + std::string(column) + ": not in canonical form");
  };
  refused("schema", hex("cc01"));
  refused("seq", hex("cd0001"));
  refused("seq", hex("cf0000000000000001"));
  refused("gap_ms", hex("d3ffffffffffffd8f0"));
  refused("gap_ms", hex("d005"));
  refused("node_id", hex("d9066e6f64652d30"));
  refused("detail", hex("db00000000"));
  refused("epoch", hex("c71002d7a822827e8944f7a107b2ea2f4f5933"));
  refused("meter.quantity", hex("dc00020102"));
  refused("tags", hex("de0000"));
  refused("tags", hex("82a162a131a161a132"));  // b before a,
  refused("tags", hex("82a161a131a161a132"));  // a twice.
  refused("digest", hex("c50020") + std::string(32, 'd'));
}

TEST_CASE("numbers that no entry has are refused although their type fits", "[codec]") {
  const std::string row = row_of(document_entry());
  const auto got = [&](std::string_view column, const std::string& bytes) {
    return verdict(with_column(row, index_of(column), bytes));
  };
  CHECK(got("schema", hex("00")) == "entry column schema: out of range");
  CHECK(got("kind", hex("00")) == "entry column kind: out of range");
  CHECK(got("kind", hex("05")) == "entry column kind: out of range");
  CHECK(got("vcores", hex("cf0000000100000000")) == "entry column vcores: out of range");
  CHECK(got("usage_end", hex("cf0000000100000000")) == "entry column usage_end: out of range");
  CHECK(got("usage_end", hex("01")) == "entry column usage_end: before usage_start");
  CHECK(got("node_id", hex("a141")) == "entry column node_id: not a node name");
  CHECK(got("detail", hex("a2c328")) == "entry column detail: not UTF-8");
  CHECK(got("detail", hex("a3eda080")) == "entry column detail: not UTF-8");
  CHECK(got("detail", hex("a2c080")) == "entry column detail: not UTF-8");
  CHECK(got("meter.quantity", hex("9101")) == "entry column meter.quantity: an array of another length than meter.id");
  CHECK(got("digest", hex("c41f") + std::string(31, 'd')) == "entry column digest: not 32 bytes");
}

TEST_CASE("a row of a newer schema is told apart from damage", "[codec]") {
  const auto decoded = decode_entry(with_column(row_of(document_entry()), 0, hex("02")));
  REQUIRE_FALSE(decoded.ok());
  CHECK(decoded.error().code == ErrorCode::kUnsupported);
}

TEST_CASE("lengths that lie cost nothing, and limits are limits", "[codec]") {
  const std::string row = row_of(document_entry());
  const auto code = [&](std::string_view column, const std::string& bytes) {
    const auto [start, end] = columns_of(row)[index_of(column)];
    const auto decoded = decode_entry(row.substr(0, start) + bytes);
    REQUIRE_FALSE(decoded.ok());
    return decoded.error().code;
  };
  CHECK(code("meter.id", hex("ddffffffff")) == ErrorCode::kLimitExceeded);
  CHECK(code("tags", hex("dfffffffff")) == ErrorCode::kLimitExceeded);
  CHECK(code("detail", hex("dbffffffff")) == ErrorCode::kCorrupt);  // Cut short: there are no 4 GiB.
  CHECK(code("detail", hex("db00040001") + std::string(kDetailMax + 1, 'd')) == ErrorCode::kLimitExceeded);
  CHECK(code("detail", hex("db7fffffff") + std::string(kEntryBytesMax, 'd')) == ErrorCode::kLimitExceeded);
  CHECK(code("meter.id", hex("dc0041") + std::string(65, '\1')) == ErrorCode::kLimitExceeded);
}

TEST_CASE("an entry beyond a limit is refused on encoding, never cut", "[codec]") {
  const auto code = [](const std::function<void(Entry&)>& spoil) {
    Entry e = document_entry();
    spoil(e);
    const auto encoded = encode_entry_body(e);
    REQUIRE_FALSE(encoded.ok());
    return encoded.error().code;
  };
  CHECK(code([](Entry& e) { e.resource_uri = std::string(kTextMax + 1, 'u'); }) == ErrorCode::kLimitExceeded);
  CHECK(code([](Entry& e) { e.detail = std::string(kDetailMax + 1, 'u'); }) == ErrorCode::kLimitExceeded);
  CHECK(code([](Entry& e) { e.meters.resize(kMetersMax + 1); }) == ErrorCode::kLimitExceeded);
  CHECK(code([](Entry& e) { e.tags["\xff"] = ""; }) == ErrorCode::kInvalidInput);
  CHECK(code([](Entry& e) { e.node = NodeId(); }) == ErrorCode::kInvalidInput);
  CHECK(code([](Entry& e) { e.kind = static_cast<EntryKind>(5); }) == ErrorCode::kInvalidInput);
  CHECK(code([](Entry& e) { e.usage_end = e.usage_start - std::chrono::seconds(1); }) == ErrorCode::kInvalidInput);
  CHECK(code([](Entry& e) { e.usage_start = std::chrono::sys_seconds(std::chrono::seconds(-1)); }) ==
        ErrorCode::kInvalidInput);
  CHECK(code([](Entry& e) { e.reported_at = at_ms(-1); }) == ErrorCode::kInvalidInput);
  CHECK(code([](Entry& e) { e.schema = 2; }) == ErrorCode::kInvalidInput);
}

TEST_CASE("rows stand back to back, and no more of them are read than asked for", "[codec]") {
  Entry first;
  Entry second = usage_entry(1, 0);
  second.node = document_entry().node;
  const std::string rows = row_of(document_entry(), &first) + row_of(Entry(second), &second);
  const auto decoded = taken(decode_rows(rows, 2));
  REQUIRE(decoded.size() == 2);
  CHECK(decoded[0].entry == first);
  CHECK(decoded[1].entry == second);
  CHECK(taken(decode_rows("", 0)).empty());
  CHECK(decode_rows(rows, 1).error().code == ErrorCode::kLimitExceeded);
  const auto cut = decode_rows(std::string_view(rows).substr(0, rows.size() - 1), 2);
  REQUIRE_FALSE(cut.ok());
  CHECK(cut.error().message == "row 2: entry column digest: cut short");
}

TEST_CASE("flipping any bit of a row never goes unseen", "[codec]") {
  Entry sealed;
  const std::string row = row_of(document_entry(), &sealed);
  for (std::size_t bit = 0; bit < row.size() * 8; ++bit) {
    std::string damaged = row;
    damaged[bit / 8] = static_cast<char>(static_cast<std::uint8_t>(damaged[bit / 8]) ^ (1u << (bit % 8)));
    const auto decoded = decode_entry(damaged);
    if (!decoded.ok()) continue;
    const bool seen =
        decoded->row.size() != row.size() || chain_digest(Digest{}, decoded->body) != decoded->entry.digest;
    REQUIRE(seen);
  }
}

TEST_CASE("meters are found by id and by name, and shown by the product's factors", "[meters]") {
  REQUIRE(find_meter("Windows-VM-Hours") != nullptr);
  CHECK(find_meter("Windows-VM-Hours")->id == *Uuid::parse("9CD92D4C-BAFD-4492-B278-BEDC2DE8232A"));
  REQUIRE(find_meter("fab6eb84-500b-4a09-a8ca-7358f8bbaea5") != nullptr);
  CHECK(find_meter("fab6eb84-500b-4a09-a8ca-7358f8bbaea5")->name == "base-vm-hours");
  CHECK(find_meter("base-vm-hour") == nullptr);
  CHECK(find_meter(Uuid{}) == nullptr);
  for (std::size_t i = 0; i < kMeterCount; ++i) CHECK(static_cast<std::size_t>(meter_catalogue()[i].index) == i);
  // One hour of one unit each: a core, a GiB (1.073741824 GB), a GB, ten thousand requests.
  const auto shown = [](std::string_view name, std::uint64_t base) {
    const MeterInfo* meter = find_meter(name);
    return static_cast<double>(base) * static_cast<double>(meter->multiplier) / static_cast<double>(meter->divisor);
  };
  CHECK(shown("base-vm-hours", 3'600'000) == 1);
  CHECK(shown("cpu-time", 3'600'000'000) == 1);
  CHECK(shown("memory-hours", 1024ull * 3'600'000) == Approx(1.073741824));
  CHECK(shown("disk-allocated-hours", 1024ull * 3'600'000) == Approx(1.073741824));
  CHECK(shown("disk-read-bytes", 1'000'000'000) == 1);
  CHECK(shown("network-transmit-bytes", 1'000'000'000) == 1);
  CHECK(shown("disk-write-operations", 10'000) == 1);
  CHECK(shown("network-receive-packets", 1) == 1);
}

TEST_CASE("status bits read as words, and a bit of a newer version is not swallowed", "[entry]") {
  CHECK(status_text(0).empty());
  CHECK(status_text(status_bit::kGap | status_bit::kEstimated) == "estimated,gap");
  CHECK(status_text(status_bit::kLate | 1u << 31) == "late,bit_31");
}

}  // namespace nodemeter
