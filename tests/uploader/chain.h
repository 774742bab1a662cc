// Rows of a node's chain, made for tests: valid, consecutive, linked.

#pragma once

#include <string>
#include <vector>

#include "store/entry_codec.h"

namespace nodemeter::testing {

struct ChainRow {
  Sequence sequence = 0;
  Digest digest;
  std::string bytes;
};

inline Uuid uuid_of(std::uint8_t seed) {
  Uuid uuid;
  for (std::uint8_t& b : uuid.bytes) b = seed++;
  return uuid;
}

inline Entry entry_of(Sequence sequence, const std::string& note) {
  Entry entry;
  entry.sequence = sequence;
  entry.vm = VmId(uuid_of(7));
  entry.usage_start = std::chrono::sys_seconds(std::chrono::seconds(1'767'225'600));
  entry.usage_end = entry.usage_start + std::chrono::hours(1);
  entry.reported_at = UtcTime(std::chrono::seconds(1'767'229'200)) + Milliseconds(static_cast<std::int64_t>(sequence));
  entry.location = "local";
  entry.vcores = 4;
  entry.billable = true;
  entry.covered_ms = 3'600'000;
  entry.meters = {MeterValue{.meter = uuid_of(40), .quantity = sequence, .reading = sequence * 2}};
  entry.detail = note;
  return entry;
}

// Grows a chain row by row. Copy it to let a chain fork.
class ChainBuilder {
 public:
  explicit ChainBuilder(const std::string& node = "node-1", std::uint8_t epoch = 1)
      : node_(*NodeId::parse(node)), epoch_(Epoch(uuid_of(epoch))) {}

  ChainRow add(const std::string& note = "", std::uint32_t status = 0) {
    Entry entry = entry_of(++last_, note);
    entry.status = status;
    return add(std::move(entry));
  }

  // Reported later than any ordinary row.
  ChainRow add_event(const std::string& detail) {
    Entry entry = entry_of(++last_, detail);
    entry.reported_at += std::chrono::hours(1);
    entry.kind = EntryKind::kEvent;
    entry.meters.clear();
    entry.billable = false;
    entry.covered_ms = 0;
    return add(std::move(entry));
  }
  // `count` more rows, back to back.
  std::string body(std::size_t count, const std::string& note = "") {
    std::string bytes;
    for (std::size_t i = 0; i < count; ++i) bytes += add(note).bytes;
    return bytes;
  }

  [[nodiscard]] const NodeId& node() const { return node_; }
  [[nodiscard]] const Epoch& epoch() const { return epoch_; }
  [[nodiscard]] Sequence last() const { return last_; }
  [[nodiscard]] const Digest& head() const { return head_; }

 private:
  ChainRow add(Entry entry) {
    entry.node = node_;
    entry.epoch = epoch_;
    std::string body = *encode_entry_body(entry);
    head_ = chain_digest(head_, body);
    return ChainRow{.sequence = last_, .digest = head_, .bytes = seal_entry(std::move(body), head_)};
  }

  NodeId node_;
  Epoch epoch_;
  Sequence last_ = 0;
  Digest head_;
};

}  // namespace nodemeter::testing
