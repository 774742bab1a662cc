#include "uploader/compress.h"

#include <zlib.h>
#include <zstd.h>

#include <array>
#include <cstring>
#include <memory>

namespace nodemeter {
namespace {

constexpr std::size_t kChunk = 64 * 1024;

Result<std::string> zstd_compressed(std::string_view bytes) {
  const std::unique_ptr<ZSTD_CCtx, decltype(&ZSTD_freeCCtx)> context(ZSTD_createCCtx(), &ZSTD_freeCCtx);
  if (!context) return Error{ErrorCode::kUnavailable, "no memory for the zstd compressor"};
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_compressionLevel, 1);
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_checksumFlag, 1);
  ZSTD_CCtx_setPledgedSrcSize(context.get(), bytes.size());
  std::string out;
  out.reserve(bytes.size() / 2);  // Pages that are never written cost nothing; growing by doubling does.
  std::array<char, kChunk> chunk;
  ZSTD_inBuffer in{bytes.data(), bytes.size(), 0};
  for (;;) {
    ZSTD_outBuffer piece{chunk.data(), chunk.size(), 0};
    const std::size_t left = ZSTD_compressStream2(context.get(), &piece, &in, ZSTD_e_end);
    if (ZSTD_isError(left) != 0) return Error{ErrorCode::kUnavailable, std::string("zstd: ") + ZSTD_getErrorName(left)};
    out.append(chunk.data(), piece.pos);
    if (left == 0) return out;
  }
}

Result<std::string> gzip_compressed(std::string_view bytes) {
  z_stream stream{};
  constexpr int kGzipWindow = 15 + 16;
  constexpr int kMemoryLevel = 8;
  if (deflateInit2(&stream, 1, Z_DEFLATED, kGzipWindow, kMemoryLevel, Z_DEFAULT_STRATEGY) != Z_OK) {
    return Error{ErrorCode::kUnavailable, "no memory for the gzip compressor"};
  }
  std::string out;
  out.reserve(bytes.size() / 2);
  std::array<Bytef, kChunk> chunk;
  std::size_t taken = 0;
  int outcome = Z_OK;
  do {
    // zlib takes its input without a const and in pieces of 32 bits; a body is far below that.
    const std::size_t piece = std::min<std::size_t>(bytes.size() - taken, 1u << 20);
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data() + taken));
    stream.avail_in = static_cast<uInt>(piece);
    const bool last = taken + piece == bytes.size();
    do {
      stream.next_out = chunk.data();
      stream.avail_out = static_cast<uInt>(chunk.size());
      outcome = deflate(&stream, last ? Z_FINISH : Z_NO_FLUSH);
      out.append(reinterpret_cast<const char*>(chunk.data()), chunk.size() - stream.avail_out);
    } while (stream.avail_out == 0);
    taken += piece;
  } while (taken < bytes.size());
  deflateEnd(&stream);
  if (outcome != Z_STREAM_END) return Error{ErrorCode::kUnavailable, "gzip: the compressor did not finish"};
  return out;
}

}  // namespace

std::string_view content_encoding(Compression compression) {
  switch (compression) {
    case Compression::kGzip: return "gzip";
    case Compression::kZstd: return "zstd";
    case Compression::kNone: break;
  }
  return "";
}

Result<std::string> compressed(std::string_view bytes, Compression compression) {
  switch (compression) {
    case Compression::kGzip: return gzip_compressed(bytes);
    case Compression::kZstd: return zstd_compressed(bytes);
    case Compression::kNone: break;
  }
  return std::string(bytes);
}

}  // namespace nodemeter
