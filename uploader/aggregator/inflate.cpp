#include "uploader/aggregator/inflate.h"

#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <memory>

#include "platform/text.h"

namespace nodemeter {
namespace {

constexpr std::size_t kChunk = 128 * 1024;

// A frame may ask for this much history and no more: what one request costs is bounded.
constexpr int kZstdWindowLogMax = 24;

Error too_large(std::size_t size_max) {
  return Error{ErrorCode::kLimitExceeded,
               "the uncompressed body is larger than " + std::to_string(size_max) + " bytes"};
}

Result<std::string> inflate_zstd(std::string_view bytes, std::size_t size_max) {
  const std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> context(ZSTD_createDCtx(), &ZSTD_freeDCtx);
  if (!context) return Error{ErrorCode::kUnavailable, "no memory for the zstd decoder"};
  ZSTD_DCtx_setParameter(context.get(), ZSTD_d_windowLogMax, kZstdWindowLogMax);
  std::string out;
  const auto chunk = std::make_unique<std::array<char, kChunk>>();
  ZSTD_inBuffer in{bytes.data(), bytes.size(), 0};
  for (;;) {
    ZSTD_outBuffer piece{chunk->data(), chunk->size(), 0};
    const std::size_t left = ZSTD_decompressStream(context.get(), &piece, &in);
    if (ZSTD_isError(left) != 0) {
      return Error{ErrorCode::kInvalidInput, std::string("the zstd body is damaged: ") + ZSTD_getErrorName(left)};
    }
    if (piece.pos > size_max - out.size()) return too_large(size_max);
    out.append(chunk->data(), piece.pos);
    if (left == 0) break;
    if (in.pos == in.size && piece.pos < piece.size) return Error{ErrorCode::kInvalidInput, "the zstd body is cut off"};
  }
  if (in.pos != in.size) return Error{ErrorCode::kInvalidInput, "something follows the zstd frame"};
  return out;
}

struct InflateEnd {
  void operator()(z_stream* stream) const {
    inflateEnd(stream);
    delete stream;
  }
};

Result<std::string> inflate_gzip(std::string_view bytes, std::size_t size_max) {
  constexpr int kGzipWindow = 15 + 16;
  const std::unique_ptr<z_stream, InflateEnd> stream(new z_stream{});
  if (inflateInit2(stream.get(), kGzipWindow) != Z_OK) {
    return Error{ErrorCode::kUnavailable, "no memory for the gzip decoder"};
  }
  // zlib counts in 32 bits; the server's own limit on a request keeps far below.
  if (bytes.size() > (1u << 30)) return too_large(size_max);
  stream->next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream->avail_in = static_cast<uInt>(bytes.size());
  std::string out;
  const auto chunk = std::make_unique<std::array<char, kChunk>>();
  for (;;) {
    stream->next_out = reinterpret_cast<Bytef*>(chunk->data());
    stream->avail_out = static_cast<uInt>(chunk->size());
    const int outcome = inflate(stream.get(), Z_NO_FLUSH);
    const std::size_t made = chunk->size() - stream->avail_out;
    if (made > size_max - out.size()) return too_large(size_max);
    out.append(chunk->data(), made);
    if (outcome == Z_STREAM_END) break;
    if (outcome == Z_BUF_ERROR || (outcome == Z_OK && stream->avail_in == 0 && stream->avail_out > 0)) {
      return Error{ErrorCode::kInvalidInput, "the gzip body is cut off"};
    }
    if (outcome != Z_OK) return Error{ErrorCode::kInvalidInput, "the gzip body is damaged"};
  }
  if (stream->avail_in != 0) return Error{ErrorCode::kInvalidInput, "something follows the gzip stream"};
  return out;
}

}  // namespace

Result<std::string> inflate_body(std::string_view encoding, std::string bytes, std::size_t size_max) {
  if (encoding == "zstd") return inflate_zstd(bytes, size_max);
  if (encoding == "gzip") return inflate_gzip(bytes, size_max);
  if (!encoding.empty() && encoding != "identity") {
    return Error{ErrorCode::kUnsupported,
                 "Content-Encoding " + display_text(encoding, 32) + " is not known; expected zstd or gzip"};
  }
  if (bytes.size() > size_max) return too_large(size_max);
  return bytes;
}

}  // namespace nodemeter
