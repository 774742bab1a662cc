// Any answer leads to a verdict without a fault, and only one that names the batch's last entry is an acknowledgement.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "uploader/answer.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace nodemeter;
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  UploadResponse response;
  if (rest.size() < 4) return 0;
  response.status = static_cast<std::uint8_t>(rest[0]) * 4 + static_cast<std::uint8_t>(rest[1]) % 4;
  const auto shape = static_cast<std::uint8_t>(rest[2]);
  rest.remove_prefix(3);
  const auto take_line = [&] {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    std::string line(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
    return line;
  };
  if ((shape & 1) != 0) response.headers["x-clickhouse-exception-code"] = take_line();
  if ((shape & 2) != 0) response.headers["retry-after"] = take_line();
  if ((shape & 4) != 0) response.headers["x-clickhouse-query-id"] = take_line();
  response.body = rest;
  constexpr Sequence kLast = 7;
  const Answer answer = classify(response, kLast);
  if (answer.verdict == Verdict::kAccepted) {
    const bool coded = !response.headers["x-clickhouse-exception-code"].empty();
    const bool named = response.body.find("acknowledged") != std::string::npos;
    const bool silent = response.body.find_first_not_of(" \r\n\t") == std::string::npos && (shape & 4) != 0;
    if (response.status != 200 || coded || !(named || silent)) std::abort();
  } else if (answer.reason.empty() || answer.reason.size() > 2'000) {
    std::abort();
  }
  if (answer.retry_after && answer.retry_after->count() < 0) std::abort();
  return 0;
}
