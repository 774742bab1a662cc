#include "store/export_file.h"

#include <zstd.h>

#include <algorithm>
#include <array>

#include "platform/bytes.h"
#include "platform/contract.h"

namespace nodemeter {

namespace {

constexpr std::string_view kMagic("nodemeter export\n", 17);
constexpr int kCompressionLevel = 3;

// Kinds of record: never renumber.
constexpr char kSection = 'H';
constexpr char kStatement = 'S';
constexpr char kRow = 'R';
constexpr char kProof = 'P';
constexpr char kKeyChange = 'K';
constexpr char kEnd = 'E';

constexpr std::size_t kHeadBytes = 5;
constexpr std::size_t kReadBytes = 64 * 1024;

std::string payload_of(const ExportSection& section) {
  ByteWriter out;
  out.u32(kExportFormat);
  out.text(section.node.text());
  out.uuid(section.epoch);
  out.boolean(section.extract);
  out.u64(section.first);
  out.raw(section.before.view());
  out.boolean(section.simulated);
  out.text(section.about);
  return out.take();
}

std::string payload_of(const ExportStatement& statement) {
  ByteWriter out;
  out.text(statement.text);
  out.text(statement.public_key);
  out.text(statement.signature);
  return out.take();
}

std::string payload_of(const ExportProof& proof) {
  ByteWriter out;
  out.u64(proof.index);
  for (const Digest& sibling : proof.path) out.raw(sibling.view());
  return out.take();
}

Error corrupt(const std::string& what) { return Error{ErrorCode::kCorrupt, "not a whole export file: " + what}; }

Result<ExportRecord> parse_section(std::string_view payload) {
  ByteReader in(payload);
  if (const std::uint32_t format = in.u32(); format != kExportFormat) {
    return Error{ErrorCode::kUnsupported, "the export file has format " + std::to_string(format) +
                                              ", this program knows " + std::to_string(kExportFormat) +
                                              ": use a newer nodemeter"};
  }
  ExportSection section;
  const std::optional<NodeId> node = NodeId::parse(in.text());
  section.epoch = Epoch(in.uuid());
  section.extract = in.boolean();
  section.first = in.u64();
  const std::string_view before = in.raw(section.before.bytes.size());
  section.simulated = in.boolean();
  section.about = in.text();
  if (!in.at_end() || !node || section.first == 0) return corrupt("a section's head is unreadable");
  section.node = *node;
  section.before = Digest::from(before);
  return ExportRecord(std::move(section));
}

Result<ExportRecord> parse_statement(std::string_view payload) {
  ByteReader in(payload);
  ExportStatement statement{in.text(), in.text(), in.text()};
  if (!in.at_end()) return corrupt("a statement is unreadable");
  return ExportRecord(std::move(statement));
}

Result<ExportRecord> parse_proof(std::string_view payload) {
  constexpr std::size_t kDigestBytes = sizeof(Digest::bytes);
  ByteReader in(payload);
  ExportProof proof;
  proof.index = in.u64();
  const std::size_t left = payload.size() < 8 ? 1 : payload.size() - 8;
  if (in.failed() || left % kDigestBytes != 0 || left / kDigestBytes > kProofPathMax) {
    return corrupt("a proof is unreadable");
  }
  for (std::size_t i = 0; i < left / kDigestBytes; ++i) proof.path.push_back(Digest::from(in.raw(kDigestBytes)));
  return ExportRecord(std::move(proof));
}

std::uint32_t length_in(std::string_view head) {
  ByteReader in(head.substr(1));
  return in.u32();
}

}  // namespace

// --- Writing --------------------------------------------------------------------------------------------------------

struct ExportWriter::Compressor {
  Compressor() : stream(ZSTD_createCCtx(), ZSTD_freeCCtx), out(ZSTD_CStreamOutSize(), '\0') {
    NM_ASSERT(stream != nullptr);
    ZSTD_CCtx_setParameter(stream.get(), ZSTD_c_compressionLevel, kCompressionLevel);
    ZSTD_CCtx_setParameter(stream.get(), ZSTD_c_checksumFlag, 1);
  }
  std::unique_ptr<ZSTD_CCtx, std::size_t (*)(ZSTD_CCtx*)> stream;
  std::string out;
};

ExportWriter::ExportWriter(Sink sink) : sink_(std::move(sink)), compressor_(std::make_unique<Compressor>()) {
  if (Status begun = compress(kMagic, false); !begun) failed_ = begun.error();
}

ExportWriter::~ExportWriter() = default;

Status ExportWriter::compress(std::string_view bytes, bool end) {
  ZSTD_inBuffer in{bytes.data(), bytes.size(), 0};
  for (;;) {
    ZSTD_outBuffer out{compressor_->out.data(), compressor_->out.size(), 0};
    const std::size_t left =
        ZSTD_compressStream2(compressor_->stream.get(), &out, &in, end ? ZSTD_e_end : ZSTD_e_continue);
    if (ZSTD_isError(left) != 0) return Error{ErrorCode::kUnavailable, ZSTD_getErrorName(left)};
    if (out.pos > 0) {
      if (Status written = sink_(std::string_view(compressor_->out.data(), out.pos)); !written) return written;
    }
    if (end ? left == 0 : in.pos == in.size) return Done{};
  }
}

Status ExportWriter::write(char kind, std::string_view payload) {
  if (failed_) return *failed_;
  NM_ASSERT(payload.size() <= kExportRecordMax);
  ByteWriter head;
  head.raw(std::string_view(&kind, 1));
  head.u32(static_cast<std::uint32_t>(payload.size()));
  std::string record = head.take();
  record += payload;
  running_ = digest_of({running_.view(), record});
  Status written = compress(record, false);
  if (!written) failed_ = written.error();
  return written;
}

Status ExportWriter::add(const ExportRecord& record) {
  if (const auto* section = std::get_if<ExportSection>(&record)) return write(kSection, payload_of(*section));
  if (const auto* statement = std::get_if<ExportStatement>(&record)) return write(kStatement, payload_of(*statement));
  if (const auto* proof = std::get_if<ExportProof>(&record)) return write(kProof, payload_of(*proof));
  if (const auto* change = std::get_if<ExportKeyChange>(&record)) return write(kKeyChange, change->row);
  if (const auto* row = std::get_if<ExportRow>(&record)) {
    ++rows_;
    return write(kRow, row->row);
  }
  return Done{};  // The end is finish()'s.
}

Status ExportWriter::finish() {
  ByteWriter payload;
  payload.u64(rows_);
  payload.raw(running_.view());
  if (Status written = write(kEnd, payload.take()); !written) return written;
  return compress({}, true);
}

// --- Reading --------------------------------------------------------------------------------------------------------

struct ExportReader::Decompressor {
  Decompressor() : stream(ZSTD_createDCtx(), ZSTD_freeDCtx), out(kReadBytes, '\0') {
    NM_ASSERT(stream != nullptr);
    ZSTD_DCtx_setParameter(stream.get(), ZSTD_d_windowLogMax, 27);
  }
  std::unique_ptr<ZSTD_DCtx, std::size_t (*)(ZSTD_DCtx*)> stream;
  std::string in;
  std::size_t taken = 0;  // Of `in`.
  std::string out;
  bool begun = false;
  bool frame_done = false;
  bool origin_done = false;
};

ExportReader::ExportReader(Origin origin)
    : origin_(std::move(origin)), decompressor_(std::make_unique<Decompressor>()) {}

ExportReader::~ExportReader() = default;

// Until the buffer has `wanted` bytes, or the frame ends.
Status ExportReader::fill(std::size_t wanted) {
  Decompressor& d = *decompressor_;
  while (buffer_.size() < wanted && !d.frame_done) {
    if (d.taken == d.in.size() && !d.origin_done) {
      Result<std::string> more = origin_(kReadBytes);
      if (!more) return more.error();
      d.origin_done = more->empty();
      d.in = std::move(*more);
      d.taken = 0;
    }
    ZSTD_inBuffer in{d.in.data(), d.in.size(), d.taken};
    ZSTD_outBuffer out{d.out.data(), d.out.size(), 0};
    const std::size_t left = ZSTD_decompressStream(d.stream.get(), &out, &in);
    if (ZSTD_isError(left) != 0) return corrupt(ZSTD_getErrorName(left));
    d.taken = in.pos;
    buffer_.append(d.out, 0, out.pos);
    d.frame_done = left == 0;
    if (d.origin_done && out.pos == 0 && !d.frame_done) return corrupt("it is cut short");
  }
  return Done{};
}

Result<std::optional<ExportRecord>> ExportReader::next() {
  if (ended_) return std::optional<ExportRecord>{};
  if (!decompressor_->begun) {
    if (Status filled = fill(kMagic.size()); !filled) return filled.error();
    if (!buffer_.starts_with(kMagic)) return corrupt("it does not begin like one");
    buffer_.erase(0, kMagic.size());
    decompressor_->begun = true;
  }
  if (Status filled = fill(kHeadBytes); !filled) return filled.error();
  if (buffer_.size() < kHeadBytes) return corrupt("it ends without its last record");
  const std::uint32_t length = length_in(buffer_);
  if (length > kExportRecordMax) return corrupt("a record is longer than any may be");
  if (Status filled = fill(kHeadBytes + length); !filled) return filled.error();
  if (buffer_.size() < kHeadBytes + length) return corrupt("it ends within a record");
  const Digest before = running_;
  const std::string record = buffer_.substr(0, kHeadBytes + length);
  buffer_.erase(0, record.size());
  running_ = digest_of({running_.view(), record});
  const std::string_view payload = std::string_view(record).substr(kHeadBytes);
  const auto some = [](Result<ExportRecord> parsed) -> Result<std::optional<ExportRecord>> {
    if (!parsed) return parsed.error();
    return std::optional<ExportRecord>(std::move(*parsed));
  };
  switch (record.front()) {
    case kSection: return some(parse_section(payload));
    case kStatement: return some(parse_statement(payload));
    case kProof: return some(parse_proof(payload));
    case kKeyChange: return std::optional<ExportRecord>(ExportKeyChange{std::string(payload)});
    case kRow: ++rows_; return std::optional<ExportRecord>(ExportRow{std::string(payload)});
    case kEnd: break;
    default: return corrupt("a record is of no known kind");
  }
  ByteReader in(payload);
  const std::uint64_t rows = in.u64();
  const std::string_view digest = in.raw(before.bytes.size());
  if (!in.at_end() || rows != rows_ || digest != before.view()) return corrupt("its last record does not fit the rest");
  if (Status filled = fill(1); !filled) return filled.error();
  if (!buffer_.empty() || decompressor_->taken != decompressor_->in.size()) return corrupt("bytes follow its end");
  const Result<std::string> more = origin_(1);
  if (!more) return more.error();
  if (!more->empty()) return corrupt("bytes follow its end");
  ended_ = true;
  return std::optional<ExportRecord>(ExportEnd{rows});
}

}  // namespace nodemeter
