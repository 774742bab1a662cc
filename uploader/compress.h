// Bodies made smaller before they travel. The only zlib.h and zstd.h of the sending side is in compress.cpp.

#pragma once

#include <string>
#include <string_view>

#include "platform/result.h"
#include "uploader/curl_transport.h"

namespace nodemeter {

// `bytes` in the form that `compression` names; zstd and gzip at level 1: a node's processor is its tenants'.
// Uses little more memory than the result. kUnavailable: no memory for the compressor. Any thread.
Result<std::string> compressed(std::string_view bytes, Compression compression);

// The Content-Encoding that belongs to it; "" for none.
std::string_view content_encoding(Compression compression);

}  // namespace nodemeter
