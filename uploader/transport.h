// How a batch travels: begin and poll, never blocking a step.
//
// Implementations: CurlTransport (libcurl on a helper thread) and SimTransport (tests/sim). The transport says what
// came back; uploader/answer.h decides what it means. Threads: one at a time.

#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "platform/clock.h"

namespace nodemeter {

struct UploadRequest {
  std::string url_suffix_token;                              // insert_deduplication_token, not yet percent-encoded.
  std::vector<std::pair<std::string, std::string>> headers;  // Nodemeter-… headers.
  std::string body;
  std::string encoding{};  // Content-Encoding of the body; "": rows as they are.
};

// Rows as they travel.
struct PackedBody {
  std::string bytes;
  std::string encoding;
};

struct UploadResponse {
  // Set: no complete HTTP answer came (network, TLS, time-out); the text is for people.
  std::optional<std::string> transport_error;
  bool certificate_error = false;    // The peer or our own certificate was refused: configuration, not weather.
  bool configuration_error = false;  // Nothing was sent: a credential file cannot be read, no URL is valid.
  bool sent_nothing = false;         // The request provably did not leave (refused, DNS): outcome known.
  int status = 0;
  std::map<std::string, std::string> headers;  // Names in lower case.
  std::string body;                            // At most kAnswerBytesMax; a longer one is cut.
  UtcTime received_at{};
};
inline constexpr std::size_t kAnswerBytesMax = 64 * 1024;

class Transport {
 public:
  virtual ~Transport() = default;
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;

  // Compresses rows as configured; as they are if that fails. Also while a request is under way.
  [[nodiscard]] virtual PackedBody packed(std::string rows) const { return {.bytes = std::move(rows), .encoding = {}}; }
  // Requires that no request is under way.
  virtual void begin(UploadRequest request) = 0;
  // The answer, once. Nothing while it is under way or if nothing was begun.
  virtual std::optional<UploadResponse> poll() = 0;
  // Gives up what is under way; the outcome is then unknown.
  virtual void cancel() = 0;

 protected:
  Transport() = default;
};

}  // namespace nodemeter
