#include "store/entry_codec.h"

#include <array>
#include <limits>
#include <msgpack.hpp>
#include <utility>

namespace nodemeter {

namespace {

constexpr std::int8_t kUuidExtType = 2;         // What ClickHouse takes for a UUID in text order.
constexpr std::size_t kDigestColumnBytes = 34;  // bin 8 header, length, 32 bytes.
constexpr std::uint64_t kSecondsMax = std::numeric_limits<std::uint32_t>::max();  // ClickHouse DateTime.
constexpr std::uint64_t kReportedMsMax = (kSecondsMax + 1) * 1000 - 1;
constexpr std::size_t kElementsMax = 2 * kTagsMax;
static_assert(kMetersMax <= kElementsMax);
// Every entry within the single limits fits the limit of the whole.
static_assert(kTagsMax * 2 * (kTextMax + 5) + 2 * kTextMax + kDetailMax + kMetersMax * 36 + 1024 < kEntryBytesMax);

// ---- Encoding ----

struct StringSink {
  std::string& bytes;
  void write(const char* data, std::size_t size) { bytes.append(data, size); }
};
using Packer = msgpack::packer<StringSink>;

void pack_text(Packer& p, std::string_view text) {
  p.pack_str(static_cast<std::uint32_t>(text.size()));
  p.pack_str_body(text.data(), static_cast<std::uint32_t>(text.size()));
}

// As ext type 2. The library's generic pack() would send a byte array as bin, which ClickHouse stores scrambled.
void pack_uuid(Packer& p, const Uuid& uuid) {
  p.pack_ext(uuid.bytes.size(), kUuidExtType);
  p.pack_ext_body(reinterpret_cast<const char*>(uuid.bytes.data()), static_cast<std::uint32_t>(uuid.bytes.size()));
}

void pack_digest(Packer& p, const Digest& digest) {
  p.pack_bin(static_cast<std::uint32_t>(digest.bytes.size()));
  p.pack_bin_body(digest.view().data(), static_cast<std::uint32_t>(digest.bytes.size()));
}

// Only called with times that check_entry() accepted.
template <class Time>
std::uint64_t since_epoch(Time t) {
  return static_cast<std::uint64_t>(t.time_since_epoch().count());
}

// ---- Decoding: one column at a time, by the library's parser, into a fixed scratch area ----

struct Scalar {
  enum class Type { kNone, kUnsigned, kNegative, kBool, kText, kBin, kExt };
  Type type = Type::kNone;
  std::uint64_t number = 0;
  std::int64_t negative = 0;
  std::string_view bytes;  // Within the input. For ext: the type byte and the body.
};

// Takes one msgpack object: a scalar, or an array or map of scalars. Refuses anything deeper or longer, so that what is
// used in memory never depends on what a length field claims.
class ColumnVisitor : public msgpack::null_visitor {
 public:
  enum class Shape { kScalar, kArray, kMap };

  bool visit_nil() { return put({}); }
  bool visit_boolean(bool v) { return put({Scalar::Type::kBool, v ? 1u : 0u, 0, {}}); }
  bool visit_positive_integer(std::uint64_t v) { return put({Scalar::Type::kUnsigned, v, 0, {}}); }
  bool visit_negative_integer(std::int64_t v) { return put({Scalar::Type::kNegative, 0, v, {}}); }
  bool visit_float32(float /*v*/) { return put({}); }
  bool visit_float64(double /*v*/) { return put({}); }
  bool visit_str(const char* v, std::uint32_t size) { return put({Scalar::Type::kText, 0, 0, {v, size}}); }
  bool visit_bin(const char* v, std::uint32_t size) { return put({Scalar::Type::kBin, 0, 0, {v, size}}); }
  bool visit_ext(const char* v, std::uint32_t size) { return put({Scalar::Type::kExt, 0, 0, {v, size}}); }
  bool start_array(std::uint32_t size) { return open(Shape::kArray, size); }
  bool start_map(std::uint32_t size) { return open(Shape::kMap, std::uint64_t{size} * 2); }
  void insufficient_bytes(std::size_t /*parsed*/, std::size_t /*error*/) { cut_short_ = true; }

  void reset() {
    shape_ = Shape::kScalar;
    size_ = 0;
    cut_short_ = too_long_ = opened_ = false;
  }

  [[nodiscard]] Shape shape() const { return shape_; }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] const Scalar& at(std::size_t i) const { return elements_[i]; }
  [[nodiscard]] bool cut_short() const { return cut_short_; }
  [[nodiscard]] bool too_long() const { return too_long_; }
  [[nodiscard]] bool is(Shape shape, Scalar::Type type) const {
    if (shape_ != shape) return false;
    for (std::size_t i = 0; i < size_; ++i) {
      if (elements_[i].type != type) return false;
    }
    return true;
  }

 private:
  bool open(Shape shape, std::uint64_t size) {
    if (opened_) return false;  // Nothing in the row nests twice.
    opened_ = true;
    shape_ = shape;
    too_long_ = size > kElementsMax;
    return !too_long_;
  }
  bool put(const Scalar& scalar) {
    NM_ASSERT(size_ < kElementsMax);
    elements_[size_++] = scalar;
    return true;
  }

  std::array<Scalar, kElementsMax> elements_{};
  std::size_t size_ = 0;
  Shape shape_ = Shape::kScalar;
  bool opened_ = false;
  bool cut_short_ = false;
  bool too_long_ = false;
};

using Shape = ColumnVisitor::Shape;
using Type = Scalar::Type;

// What a column says about its value; null: fine. kTooLong is told apart because it is a limit, not damage.
using Complaint = const char*;
constexpr const char* kTooLong = "longer than this program accepts";

Complaint take_unsigned(const ColumnVisitor& v, std::uint64_t max, std::uint64_t& out) {
  if (!v.is(Shape::kScalar, Type::kUnsigned)) return "not an unsigned integer";
  if (v.at(0).number > max) return "out of range";
  out = v.at(0).number;
  return nullptr;
}

template <class Integer>
Complaint take_integer(const ColumnVisitor& v, Integer& out) {
  std::uint64_t number = 0;
  if (Complaint c = take_unsigned(v, std::numeric_limits<Integer>::max(), number)) return c;
  out = static_cast<Integer>(number);
  return nullptr;
}

Complaint take_signed(const ColumnVisitor& v, std::int64_t& out) {
  if (v.is(Shape::kScalar, Type::kNegative)) {
    out = v.at(0).negative;
    return nullptr;
  }
  return take_integer(v, out);
}

Complaint take_text(const ColumnVisitor& v, std::size_t size_max, std::string& out);

template <class Time>
Complaint take_time(const ColumnVisitor& v, std::uint64_t max, Time& out) {
  std::uint64_t number = 0;
  if (Complaint c = take_unsigned(v, max, number)) return c;
  out = Time(typename Time::duration(static_cast<typename Time::rep>(number)));
  return nullptr;
}

Complaint uuid_from(const Scalar& scalar, Uuid& out) {
  if (scalar.type != Type::kExt || scalar.bytes.empty() || scalar.bytes[0] != kUuidExtType) return "not a UUID (ext 2)";
  if (scalar.bytes.size() != 1 + out.bytes.size()) return "a UUID that is not 16 bytes long";
  for (std::size_t i = 0; i < out.bytes.size(); ++i) out.bytes[i] = static_cast<std::uint8_t>(scalar.bytes[i + 1]);
  return nullptr;
}

Complaint take_uuid(const ColumnVisitor& v, Uuid& out) {
  if (v.shape() != Shape::kScalar) return "not a UUID (ext 2)";
  return uuid_from(v.at(0), out);
}

// Well-formed UTF-8: no overlong forms, no surrogates, nothing past U+10FFFF.
bool is_utf8(std::string_view text) {
  std::size_t i = 0;
  const auto byte = [&text](std::size_t at) { return static_cast<std::uint8_t>(text[at]); };
  while (i < text.size()) {
    const std::uint8_t lead = byte(i);
    if (lead < 0x80) {
      ++i;
      continue;
    }
    const std::size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if (lead < 0xC2 || lead > 0xF4 || length > text.size() - i) return false;
    const std::uint8_t second = byte(i + 1);
    if ((lead == 0xE0 && second < 0xA0) || (lead == 0xED && second > 0x9F)) return false;
    if ((lead == 0xF0 && second < 0x90) || (lead == 0xF4 && second > 0x8F)) return false;
    for (std::size_t k = 1; k < length; ++k) {
      if ((byte(i + k) & 0xC0) != 0x80) return false;
    }
    i += length;
  }
  return true;
}

Complaint text_from(const Scalar& scalar, std::size_t size_max, std::string& out) {
  if (scalar.type != Type::kText) return "not a string";
  if (scalar.bytes.size() > size_max) return kTooLong;
  if (!is_utf8(scalar.bytes)) return "not UTF-8";
  out.assign(scalar.bytes);
  return nullptr;
}

Complaint take_text(const ColumnVisitor& v, std::size_t size_max, std::string& out) {
  if (v.shape() != Shape::kScalar) return "not a string";
  return text_from(v.at(0), size_max, out);
}

Complaint take_node(const ColumnVisitor& v, NodeId& out) {
  std::string text;
  if (Complaint c = take_text(v, kTextMax, text)) return c;
  const std::optional<NodeId> node = NodeId::parse(text);
  if (!node) return "not a node name";
  out = *node;
  return nullptr;
}

Complaint take_kind(const ColumnVisitor& v, EntryKind& out) {
  std::uint64_t number = 0;
  if (Complaint c = take_unsigned(v, static_cast<std::uint64_t>(EntryKind::kManifest), number)) return c;
  if (number < static_cast<std::uint64_t>(EntryKind::kUsage)) return "out of range";
  out = static_cast<EntryKind>(number);
  return nullptr;
}

Complaint take_schema(const ColumnVisitor& v, std::uint8_t& out) {
  if (Complaint c = take_integer(v, out)) return c;
  return out == 0 ? "out of range" : nullptr;
}

Complaint take_billable(const ColumnVisitor& v, bool& out) {
  if (!v.is(Shape::kScalar, Type::kBool)) return "not true or false";
  out = v.at(0).number != 0;
  return nullptr;
}

// The first of the three meter arrays sets their number, the others have to agree.
Complaint take_meter_ids(const ColumnVisitor& v, Entry& e) {
  if (v.shape() != Shape::kArray) return "not an array";
  if (v.size() > kMetersMax) return kTooLong;
  e.meters.resize(v.size());
  for (std::size_t i = 0; i < v.size(); ++i) {
    if (Complaint c = uuid_from(v.at(i), e.meters[i].meter)) return c;
  }
  return nullptr;
}

Complaint take_meter_numbers(const ColumnVisitor& v, Entry& e, std::uint64_t MeterValue::*member) {
  if (!v.is(Shape::kArray, Type::kUnsigned)) return "not an array of unsigned integers";
  if (v.size() != e.meters.size()) return "an array of another length than meter.id";
  for (std::size_t i = 0; i < v.size(); ++i) e.meters[i].*member = v.at(i).number;
  return nullptr;
}

Complaint take_tags(const ColumnVisitor& v, Entry& e) {
  if (v.shape() != Shape::kMap) return "not a map";
  e.tags.clear();
  for (std::size_t i = 0; i + 1 < v.size(); i += 2) {
    std::string name;
    std::string value;
    if (Complaint c = text_from(v.at(i), kTextMax, name)) return c;
    if (Complaint c = text_from(v.at(i + 1), kTextMax, value)) return c;
    e.tags.emplace_hint(e.tags.end(), std::move(name), std::move(value));  // Order and repeats: the canonical check.
  }
  return nullptr;
}

Complaint take_digest(const ColumnVisitor& v, Digest& out) {
  if (!v.is(Shape::kScalar, Type::kBin) || v.at(0).bytes.size() != out.bytes.size()) return "not 32 bytes";
  out = Digest::from(v.at(0).bytes);
  return nullptr;
}

// ---- The table: names, order, encoding and decoding of all columns ----

struct Column {
  std::string_view name;
  void (*encode)(Packer&, const Entry&);
  Complaint (*decode)(const ColumnVisitor&, Entry&);
};

using P = Packer;
using V = ColumnVisitor;

constexpr std::array kColumns{
    Column{"schema", [](P& p, const Entry& e) { p.pack_uint8(e.schema); },
           [](const V& v, Entry& e) { return take_schema(v, e.schema); }},
    Column{"node_id", [](P& p, const Entry& e) { pack_text(p, e.node.text()); },
           [](const V& v, Entry& e) { return take_node(v, e.node); }},
    Column{"epoch", [](P& p, const Entry& e) { pack_uuid(p, e.epoch); },
           [](const V& v, Entry& e) { return take_uuid(v, e.epoch); }},
    Column{"seq", [](P& p, const Entry& e) { p.pack_uint64(e.sequence); },
           [](const V& v, Entry& e) { return take_integer(v, e.sequence); }},
    Column{"kind", [](P& p, const Entry& e) { p.pack_uint8(static_cast<std::uint8_t>(e.kind)); },
           [](const V& v, Entry& e) { return take_kind(v, e.kind); }},
    Column{"vm_id", [](P& p, const Entry& e) { pack_uuid(p, e.vm); },
           [](const V& v, Entry& e) { return take_uuid(v, e.vm); }},
    Column{"usage_start", [](P& p, const Entry& e) { p.pack_uint64(since_epoch(e.usage_start)); },
           [](const V& v, Entry& e) { return take_time(v, kSecondsMax, e.usage_start); }},
    Column{"usage_end", [](P& p, const Entry& e) { p.pack_uint64(since_epoch(e.usage_end)); },
           [](const V& v, Entry& e) {
             if (Complaint c = take_time(v, kSecondsMax, e.usage_end)) return c;
             return e.usage_end < e.usage_start ? "before usage_start" : nullptr;
           }},
    Column{"reported_at", [](P& p, const Entry& e) { p.pack_uint64(since_epoch(e.reported_at)); },
           [](const V& v, Entry& e) { return take_time(v, kReportedMsMax, e.reported_at); }},
    Column{"subscription_id", [](P& p, const Entry& e) { pack_uuid(p, e.subscription); },
           [](const V& v, Entry& e) { return take_uuid(v, e.subscription); }},
    Column{"tenant_id", [](P& p, const Entry& e) { pack_uuid(p, e.tenant); },
           [](const V& v, Entry& e) { return take_uuid(v, e.tenant); }},
    Column{"resource_uri", [](P& p, const Entry& e) { pack_text(p, e.resource_uri); },
           [](const V& v, Entry& e) { return take_text(v, kTextMax, e.resource_uri); }},
    Column{"location", [](P& p, const Entry& e) { pack_text(p, e.location); },
           [](const V& v, Entry& e) { return take_text(v, kTextMax, e.location); }},
    Column{"vcores", [](P& p, const Entry& e) { p.pack_uint32(e.vcores); },
           [](const V& v, Entry& e) { return take_integer(v, e.vcores); }},
    Column{"billable", [](P& p, const Entry& e) { e.billable ? p.pack_true() : p.pack_false(); },
           [](const V& v, Entry& e) { return take_billable(v, e.billable); }},
    Column{"covered_ms", [](P& p, const Entry& e) { p.pack_uint64(e.covered_ms); },
           [](const V& v, Entry& e) { return take_integer(v, e.covered_ms); }},
    Column{"gap_ms", [](P& p, const Entry& e) { p.pack_int64(e.gap_ms); },
           [](const V& v, Entry& e) { return take_signed(v, e.gap_ms); }},
    Column{"status", [](P& p, const Entry& e) { p.pack_uint32(e.status); },
           [](const V& v, Entry& e) { return take_integer(v, e.status); }},
    Column{"meter.id",
           [](P& p, const Entry& e) {
             p.pack_array(static_cast<std::uint32_t>(e.meters.size()));
             for (const MeterValue& m : e.meters) pack_uuid(p, m.meter);
           },
           take_meter_ids},
    Column{"meter.quantity",
           [](P& p, const Entry& e) {
             p.pack_array(static_cast<std::uint32_t>(e.meters.size()));
             for (const MeterValue& m : e.meters) p.pack_uint64(m.quantity);
           },
           [](const V& v, Entry& e) { return take_meter_numbers(v, e, &MeterValue::quantity); }},
    Column{"meter.register",
           [](P& p, const Entry& e) {
             p.pack_array(static_cast<std::uint32_t>(e.meters.size()));
             for (const MeterValue& m : e.meters) p.pack_uint64(m.reading);
           },
           [](const V& v, Entry& e) { return take_meter_numbers(v, e, &MeterValue::reading); }},
    Column{"tags",
           [](P& p, const Entry& e) {
             p.pack_map(static_cast<std::uint32_t>(e.tags.size()));
             for (const auto& [name, value] : e.tags) {
               pack_text(p, name);
               pack_text(p, value);
             }
           },
           take_tags},
    Column{"detail", [](P& p, const Entry& e) { pack_text(p, e.detail); },
           [](const V& v, Entry& e) { return take_text(v, kDetailMax, e.detail); }},
    Column{"digest", [](P& p, const Entry& e) { pack_digest(p, e.digest); },
           [](const V& v, Entry& e) { return take_digest(v, e.digest); }},
};
static_assert(kColumns.size() == 24);

// ---- Checks before encoding: the same bounds that decoding has ----

Error refused(std::string_view column, const std::string& what) {
  return Error{ErrorCode::kInvalidInput, "entry column " + std::string(column) + ": " + what};
}

Error over_limit(std::string_view column, std::size_t is, std::size_t max) {
  return Error{ErrorCode::kLimitExceeded, "entry column " + std::string(column) + " has " + std::to_string(is) +
                                              ", more than the " + std::to_string(max) + " that one entry may have"};
}

Status check_text(std::string_view column, const std::string& text, std::size_t size_max) {
  if (text.size() > size_max) return over_limit(column, text.size(), size_max);
  if (!is_utf8(text)) return refused(column, "not UTF-8");
  return Done{};
}

Status check_entry(const Entry& e) {
  if (e.schema != kEntrySchema) return refused("schema", "this program writes " + std::to_string(kEntrySchema));
  if (e.node.text().empty()) return refused("node_id", "empty");
  if (e.kind < EntryKind::kUsage || e.kind > EntryKind::kManifest) return refused("kind", "out of range");
  const auto in_range = [](std::int64_t t, std::uint64_t max) {
    return t >= 0 && static_cast<std::uint64_t>(t) <= max;
  };
  if (!in_range(e.usage_start.time_since_epoch().count(), kSecondsMax)) return refused("usage_start", "out of range");
  if (!in_range(e.usage_end.time_since_epoch().count(), kSecondsMax)) return refused("usage_end", "out of range");
  if (e.usage_end < e.usage_start) return refused("usage_end", "before usage_start");
  if (!in_range(e.reported_at.time_since_epoch().count(), kReportedMsMax)) {
    return refused("reported_at", "out of range");
  }
  if (Status s = check_text("resource_uri", e.resource_uri, kTextMax); !s) return s;
  if (Status s = check_text("location", e.location, kTextMax); !s) return s;
  if (Status s = check_text("detail", e.detail, kDetailMax); !s) return s;
  if (e.meters.size() > kMetersMax) return over_limit("meter.id", e.meters.size(), kMetersMax);
  if (e.tags.size() > kTagsMax) return over_limit("tags", e.tags.size(), kTagsMax);
  for (const auto& [name, value] : e.tags) {
    if (Status s = check_text("tags", name, kTextMax); !s) return s;
    if (Status s = check_text("tags", value, kTextMax); !s) return s;
  }
  return Done{};
}

Error damaged(const Column& column, std::string_view what) {
  return Error{ErrorCode::kCorrupt, "entry column " + std::string(column.name) + ": " + std::string(what)};
}

// Parses, checks and takes over one column, then compares it with the only encoding that is allowed for its value.
Status decode_column(const Column& column, std::string_view bytes, std::size_t& offset, ColumnVisitor& visitor,
                     std::string& scratch, Entry& entry) {
  const std::size_t start = offset;
  visitor.reset();
  if (!msgpack::parse(bytes.data(), bytes.size(), offset, visitor)) {
    if (visitor.too_long()) return Error{ErrorCode::kLimitExceeded, damaged(column, kTooLong).message};
    return damaged(column, visitor.cut_short() ? "cut short" : "not a value of this format");
  }
  if (Complaint complaint = column.decode(visitor, entry)) {
    if (complaint == kTooLong) return Error{ErrorCode::kLimitExceeded, damaged(column, complaint).message};
    return damaged(column, complaint);
  }
  scratch.clear();
  StringSink sink{scratch};
  Packer packer(sink);
  column.encode(packer, entry);
  if (bytes.substr(start, offset - start) != scratch) return damaged(column, "not in canonical form");
  return Done{};
}

}  // namespace

const std::vector<std::string_view>& entry_columns() {
  static const std::vector<std::string_view> names = [] {
    std::vector<std::string_view> all;
    all.reserve(kColumns.size());
    for (const Column& column : kColumns) all.push_back(column.name);
    return all;
  }();
  return names;
}

Result<std::string> encode_entry_body(const Entry& entry) {
  if (Status checked = check_entry(entry); !checked) return checked.error();
  std::string bytes;
  bytes.reserve(1024 + entry.detail.size());
  StringSink sink{bytes};
  Packer packer(sink);
  for (std::size_t i = 0; i + 1 < kColumns.size(); ++i) kColumns[i].encode(packer, entry);
  NM_ASSERT(bytes.size() + kDigestColumnBytes <= kEntryBytesMax);
  return bytes;
}

std::string seal_entry(std::string body, const Digest& digest) {
  StringSink sink{body};
  Packer packer(sink);
  pack_digest(packer, digest);
  return body;
}

std::optional<SealedRow> split_sealed(std::string_view row) {
  // bin 8 of 32 bytes: what pack_digest() writes.
  constexpr std::string_view kHead = "\xc4\x20";
  constexpr std::size_t kColumn = kHead.size() + sizeof(Digest::bytes);
  if (row.size() <= kColumn || !row.substr(row.size() - kColumn).starts_with(kHead)) return std::nullopt;
  return SealedRow{.body = row.substr(0, row.size() - kColumn),
                   .digest = Digest::from(row.substr(row.size() - sizeof(Digest::bytes)))};
}

Digest chain_digest(const Digest& previous, std::string_view body) { return digest_of({previous.view(), body}); }

Result<DecodedEntry> decode_entry(std::string_view bytes) {
  const bool longer = bytes.size() > kEntryBytesMax;
  bytes = bytes.substr(0, kEntryBytesMax);
  DecodedEntry decoded;
  ColumnVisitor visitor;
  std::string scratch;
  std::size_t offset = 0;
  std::size_t before_last = 0;
  for (const Column& column : kColumns) {
    before_last = offset;
    if (Status taken = decode_column(column, bytes, offset, visitor, scratch, decoded.entry); !taken) {
      if (longer && visitor.cut_short()) {
        return Error{ErrorCode::kLimitExceeded,
                     "an entry longer than " + std::to_string(kEntryBytesMax) + " bytes, the most that is accepted"};
      }
      return taken.error();
    }
    if (decoded.entry.schema > kEntrySchema) {
      return Error{ErrorCode::kUnsupported, "an entry of schema " + std::to_string(decoded.entry.schema) +
                                                "; this program knows up to " + std::to_string(kEntrySchema) +
                                                ": use a newer one"};
    }
  }
  decoded.row = bytes.substr(0, offset);
  decoded.body = bytes.substr(0, before_last);
  return decoded;
}

Result<std::vector<DecodedEntry>> decode_rows(std::string_view bytes, std::size_t rows_max) {
  std::vector<DecodedEntry> rows;
  while (!bytes.empty()) {
    if (rows.size() == rows_max) {
      return Error{ErrorCode::kLimitExceeded, "more than the " + std::to_string(rows_max) + " rows that are accepted"};
    }
    Result<DecodedEntry> row = decode_entry(bytes);
    if (!row) return Error{row.error().code, "row " + std::to_string(rows.size() + 1) + ": " + row.error().message};
    bytes.remove_prefix(row->row.size());
    rows.push_back(std::move(*row));
  }
  return rows;
}

}  // namespace nodemeter
