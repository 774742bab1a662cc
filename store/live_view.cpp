#include "store/live_view.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "platform/bytes.h"
#include "platform/process.h"
#include "platform/shared_region.h"

namespace nodemeter {

namespace {

// ---- The bytes of a snapshot ----

constexpr std::size_t kOptionalBytes = 9;
constexpr std::size_t kTextBytes = 4 + kLiveTextMax;
constexpr std::size_t kVmBytesMax =
    3 * 16 + kTextBytes + 4 + 4 + 8 + 8 + (5 + kMeterCount) * kOptionalBytes + 8 + 8 + 4;
constexpr std::size_t kNodeBytesMax = 8 * kTextBytes + 16 + 20 * 8 + 3 + 16;

// At most kLiveTextMax bytes, cut between two characters.
std::string_view cut(std::string_view text) {
  if (text.size() <= kLiveTextMax) return text;
  std::size_t size = kLiveTextMax;
  while (size > 0 && (static_cast<std::uint8_t>(text[size]) & 0xC0) == 0x80) --size;
  return text.substr(0, size);
}

void put(ByteWriter& out, const std::optional<std::uint64_t>& v) {
  out.boolean(v.has_value());
  out.u64(v.value_or(0));
}

std::optional<std::uint64_t> take_optional(ByteReader& in) {
  const bool has_value = in.boolean();
  const std::uint64_t v = in.u64();
  return has_value ? std::optional<std::uint64_t>(v) : std::nullopt;
}

void put(ByteWriter& out, UtcTime t) { out.i64(t.time_since_epoch().count()); }
UtcTime take_time(ByteReader& in) { return UtcTime(Milliseconds(in.i64())); }

void put(ByteWriter& out, const LiveNode& n) {
  for (const std::string* text :
       {&n.node, &n.version, &n.source, &n.state, &n.reason, &n.upload_state, &n.upload_reason, &n.owners_fault}) {
    out.text(cut(*text));
  }
  out.u64(n.process_id);
  put(out, n.started);
  put(out, n.sampled);
  out.i64(n.sampled_monotonic.time_since_epoch().count());
  out.u64(n.sample_interval_ms);
  out.u64(n.sample_duration_us);
  out.boolean(n.clock_synchronised);
  out.i64(n.clock_offset_moved_ms);
  out.uuid(n.epoch);
  out.u64(n.last_sequence);
  out.u64(n.acknowledged);
  out.boolean(n.uploading);
  put(out, n.oldest_unacknowledged);
  out.u64(n.parked);
  out.u64(n.store_used_bytes);
  out.u64(n.store_size_max_bytes);
  out.u64(n.store_bytes_per_day);
  out.u64(n.store_retained_bytes);
  out.u64(n.gap_ms_today);
  out.u64(n.gaps_today);
  out.boolean(n.simulated);
  out.u64(n.owners_listed);
  out.u64(n.owner_conflicts);
}

LiveNode take_node(ByteReader& in) {
  LiveNode n;
  for (std::string* text :
       {&n.node, &n.version, &n.source, &n.state, &n.reason, &n.upload_state, &n.upload_reason, &n.owners_fault}) {
    *text = in.text();
  }
  n.process_id = in.u64();
  n.started = take_time(in);
  n.sampled = take_time(in);
  n.sampled_monotonic = MonotonicTime(Milliseconds(in.i64()));
  n.sample_interval_ms = in.u64();
  n.sample_duration_us = in.u64();
  n.clock_synchronised = in.boolean();
  n.clock_offset_moved_ms = in.i64();
  n.epoch = in.uuid();
  n.last_sequence = in.u64();
  n.acknowledged = in.u64();
  n.uploading = in.boolean();
  n.oldest_unacknowledged = take_time(in);
  n.parked = in.u64();
  n.store_used_bytes = in.u64();
  n.store_size_max_bytes = in.u64();
  n.store_bytes_per_day = in.u64();
  n.store_retained_bytes = in.u64();
  n.gap_ms_today = in.u64();
  n.gaps_today = in.u64();
  n.simulated = in.boolean();
  n.owners_listed = in.u64();
  n.owner_conflicts = in.u64();
  return n;
}

void put(ByteWriter& out, const LiveVm& vm) {
  out.uuid(vm.vm);
  out.text(cut(vm.name));
  out.uuid(vm.subscription);
  out.uuid(vm.tenant);
  out.boolean(vm.owner_known);
  out.boolean(vm.billable);
  out.boolean(vm.windows_licence);
  out.u8(vm.power);
  out.u32(vm.vcores);
  out.u64(vm.memory_mib);
  out.u64(vm.disk_mib);
  put(out, vm.cpu_permille);
  put(out, vm.disk_read_bytes_per_s);
  put(out, vm.disk_write_bytes_per_s);
  put(out, vm.network_receive_bytes_per_s);
  put(out, vm.network_transmit_bytes_per_s);
  out.u64(vm.hour_vcore_ms);
  out.u64(vm.hour_gap_ms);
  out.u32(vm.status);
  for (const std::optional<std::uint64_t>& value : vm.registers) put(out, value);
}

LiveVm take_vm(ByteReader& in) {
  LiveVm vm;
  vm.vm = VmId(in.uuid());
  vm.name = in.text();
  vm.subscription = in.uuid();
  vm.tenant = in.uuid();
  vm.owner_known = in.boolean();
  vm.billable = in.boolean();
  vm.windows_licence = in.boolean();
  vm.power = in.u8();
  vm.vcores = in.u32();
  vm.memory_mib = in.u64();
  vm.disk_mib = in.u64();
  vm.cpu_permille = take_optional(in);
  vm.disk_read_bytes_per_s = take_optional(in);
  vm.disk_write_bytes_per_s = take_optional(in);
  vm.network_receive_bytes_per_s = take_optional(in);
  vm.network_transmit_bytes_per_s = take_optional(in);
  vm.hour_vcore_ms = in.u64();
  vm.hour_gap_ms = in.u64();
  vm.status = in.u32();
  for (std::optional<std::uint64_t>& value : vm.registers) value = take_optional(in);
  return vm;
}

std::string encode(const LiveSnapshot& snapshot, std::uint32_t vms_max) {
  ByteWriter out;
  put(out, snapshot.node);
  const auto vms = static_cast<std::uint32_t>(std::min<std::size_t>(snapshot.vms.size(), vms_max));
  out.u32(snapshot.vms_left_out + static_cast<std::uint32_t>(snapshot.vms.size() - vms));
  out.u32(vms);
  for (std::uint32_t i = 0; i < vms; ++i) put(out, snapshot.vms[i]);
  return out.take();
}

// ---- The segment ----

// Shared memory is read and written in whole words that are atomic, so that a torn copy is a well-defined one that the
// version gives away.
using Word = std::atomic<std::uint64_t>;
static_assert(Word::is_always_lock_free && sizeof(Word) == sizeof(std::uint64_t));

constexpr std::uint64_t kMagic = 0x3165'7669'4c4d'4eull;  // "NMLive1", as a little-endian word.

struct Header {
  Word magic;  // Written last: a segment without it is not ready.
  Word format;
  Word process_id;
  Word process_started;
  Word slot_words;  // Of the payload of one slot.
};

struct Slot {
  Word version;  // Odd while written. Even: twice the number of the publication.
  Word bytes;    // Of the payload that follows.
};

constexpr std::size_t words_for(std::size_t bytes) { return (bytes + sizeof(Word) - 1) / sizeof(Word); }
constexpr std::size_t kHeaderWords = 16;
constexpr std::size_t kSlotHeaderWords = words_for(sizeof(Slot));
static_assert(sizeof(Header) <= kHeaderWords * sizeof(Word));

// The two slots of a mapped segment whose size was checked against `slot_words`.
struct Segment {
  Word* words;
  std::size_t slot_words;

  [[nodiscard]] Header& header() const { return *reinterpret_cast<Header*>(words); }
  [[nodiscard]] Slot& slot(std::size_t i) const {
    return *reinterpret_cast<Slot*>(words + kHeaderWords + i * (kSlotHeaderWords + slot_words));
  }
  [[nodiscard]] Word* payload(std::size_t i) const { return reinterpret_cast<Word*>(&slot(i)) + kSlotHeaderWords; }
};

// The payload is stored with release and loaded with acquire, instead of fences around relaxed accesses: who sees one
// new word also sees the odd version before it, and no later look at the version moves ahead of the copy. On x86 that
// is free, and the thread sanitizer understands it.
void write_slot(const Segment& segment, std::size_t i, std::uint64_t version, std::string_view bytes) {
  Slot& slot = segment.slot(i);
  slot.version.store(version - 1, std::memory_order_relaxed);
  slot.bytes.store(bytes.size(), std::memory_order_release);
  Word* payload = segment.payload(i);
  for (std::size_t at = 0; at < bytes.size(); at += sizeof(Word)) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data() + at, std::min(sizeof word, bytes.size() - at));
    payload[at / sizeof(Word)].store(word, std::memory_order_release);
  }
  slot.version.store(version, std::memory_order_release);
}

// One attempt to copy the newer slot. Nothing: it changed meanwhile, or nothing was published yet (version 0).
std::optional<std::string> copy_newest(const Segment& segment) {
  const std::uint64_t a = segment.slot(0).version.load(std::memory_order_acquire);
  const std::uint64_t b = segment.slot(1).version.load(std::memory_order_acquire);
  const auto whole = [](std::uint64_t version) { return version % 2 == 0 ? version : 0; };
  const std::uint64_t version = std::max(whole(a), whole(b));
  if (version == 0) return std::nullopt;
  const std::size_t i = whole(a) == version ? 0 : 1;
  const std::uint64_t size = segment.slot(i).bytes.load(std::memory_order_acquire);
  if (size > segment.slot_words * sizeof(Word)) return std::nullopt;
  std::string bytes(words_for(size) * sizeof(Word), '\0');
  const Word* payload = segment.payload(i);
  for (std::size_t at = 0; at < bytes.size(); at += sizeof(Word)) {
    const std::uint64_t word = payload[at / sizeof(Word)].load(std::memory_order_acquire);
    std::memcpy(bytes.data() + at, &word, sizeof word);
  }
  if (segment.slot(i).version.load(std::memory_order_relaxed) != version) return std::nullopt;
  bytes.resize(size);
  return bytes;
}

bool writer_runs(const Header& header) {
  const std::uint64_t id = header.process_id.load(std::memory_order_acquire);
  const std::uint64_t started = header.process_started.load(std::memory_order_acquire);
  return started != 0 && process_started(id) == started;
}

Result<Segment> segment_of(const SharedRegion& region, const std::string& name) {
  if (region.size() < kHeaderWords * sizeof(Word)) {
    return Error{ErrorCode::kCorrupt, "the shared memory '" + name + "' is not of nodemeter"};
  }
  Segment segment{static_cast<Word*>(region.data()), 0};
  const std::uint64_t magic = segment.header().magic.load(std::memory_order_acquire);
  if (magic == 0) return Error{ErrorCode::kNotFound, "the agent has not published under '" + name + "' yet"};
  if (magic != kMagic) return Error{ErrorCode::kCorrupt, "the shared memory '" + name + "' is not of nodemeter"};
  const std::uint64_t format = segment.header().format.load(std::memory_order_acquire);
  if (format != kLiveFormat) {
    return Error{ErrorCode::kUnsupported, "the agent publishes format " + std::to_string(format) +
                                              ", this program reads format " + std::to_string(kLiveFormat) +
                                              ": use the nodemeter of the agent's version"};
  }
  const std::uint64_t words = segment.header().slot_words.load(std::memory_order_acquire);
  const std::uint64_t room = region.size() / sizeof(Word) - kHeaderWords;
  if (words > room || 2 * (words + kSlotHeaderWords) > room) {
    return Error{ErrorCode::kCorrupt, "the shared memory '" + name + "' is smaller than it says"};
  }
  segment.slot_words = static_cast<std::size_t>(words);
  return segment;
}

class SharedLiveWriter final : public LiveWriter {
 public:
  SharedLiveWriter(std::string name, SharedRegion region, std::uint32_t vms_max, std::size_t slot_words)
      : name_(std::move(name)),
        region_(std::move(region)),
        segment_{static_cast<Word*>(region_.data()), slot_words},
        vms_max_(vms_max) {
    Header& header = segment_.header();
    header.format.store(kLiveFormat, std::memory_order_relaxed);
    header.process_id.store(current_process(), std::memory_order_relaxed);
    header.process_started.store(process_started(current_process()), std::memory_order_relaxed);
    header.slot_words.store(slot_words, std::memory_order_relaxed);
    header.magic.store(kMagic, std::memory_order_release);
  }
  SharedLiveWriter(const SharedLiveWriter&) = delete;
  SharedLiveWriter& operator=(const SharedLiveWriter&) = delete;
  ~SharedLiveWriter() override { SharedRegion::remove(name_); }

  void publish(const LiveSnapshot& snapshot) override {
    const std::string bytes = encode(snapshot, vms_max_);
    NM_ASSERT(bytes.size() <= segment_.slot_words * sizeof(Word));
    ++publications_;
    write_slot(segment_, publications_ % 2, 2 * publications_, bytes);
  }

 private:
  std::string name_;
  SharedRegion region_;
  Segment segment_;
  std::uint32_t vms_max_;
  std::uint64_t publications_ = 0;
};

}  // namespace

Result<std::unique_ptr<LiveWriter>> LiveWriter::create(const std::string& name, const std::string& group,
                                                       std::uint32_t vms_max) {
  if (const Result<SharedRegion> old = SharedRegion::open(name)) {
    const Result<Segment> segment = segment_of(*old, name);
    const bool other = segment && segment->header().process_id.load(std::memory_order_acquire) != current_process();
    if (other && writer_runs(segment->header())) {
      return Error{ErrorCode::kLocked, "process " + std::to_string(segment->header().process_id.load()) +
                                           " publishes under '" + name + "': stop it, or set live.name"};
    }
  }
  const std::size_t slot_words = words_for(kNodeBytesMax + 8 + std::size_t{vms_max} * kVmBytesMax);
  const std::size_t words = kHeaderWords + 2 * (kSlotHeaderWords + slot_words);
  Result<SharedRegion> region = SharedRegion::create(name, words * sizeof(Word), group);
  if (!region) return region.error();
  return std::unique_ptr<LiveWriter>(
      std::make_unique<SharedLiveWriter>(name, std::move(region).value(), vms_max, slot_words));
}

Result<LiveSnapshot> read_live_view(const std::string& name) {
  const Result<SharedRegion> region = SharedRegion::open(name);
  if (!region) {
    Error error = region.error();
    if (error.code == ErrorCode::kNotFound) error.message = "no agent publishes under '" + name + "'";
    if (error.code == ErrorCode::kPermissionDenied) {
      error.message += ": it is for the members of the group that live.group names";
    }
    return error;
  }
  const Result<Segment> segment = segment_of(*region, name);
  if (!segment) return segment.error();

  // The writer needs at least an interval per slot and a copy far less: a few attempts are plenty, a hang is none.
  constexpr int kAttempts = 100;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const std::optional<std::string> bytes = copy_newest(*segment);
    if (!bytes) continue;
    ByteReader in(*bytes);
    LiveSnapshot snapshot;
    snapshot.node = take_node(in);
    snapshot.vms_left_out = in.u32();
    const std::uint32_t vms = in.count(kVmBytesMax - kTextBytes);
    for (std::uint32_t i = 0; i < vms; ++i) snapshot.vms.push_back(take_vm(in));
    if (!in.at_end()) return Error{ErrorCode::kCorrupt, "the shared memory '" + name + "' holds no snapshot"};
    snapshot.writer_alive = writer_runs(segment->header());
    return snapshot;
  }
  const bool published = segment->slot(0).version.load() > 1 || segment->slot(1).version.load() > 1;
  if (!published) return Error{ErrorCode::kNotFound, "the agent has not published under '" + name + "' yet"};
  return Error{ErrorCode::kUnavailable, "the live view '" + name + "' changes faster than it can be read"};
}

}  // namespace nodemeter
