// One HTTP request with a JSON body to somebody else's server, and its answer: the registration's upstream, and the
// receiver of commerce records. Blocks until the answer or the time-out. Beside uploader/curl_transport.cpp, which
// delivers batches, the only libcurl here; main() holds a CurlGlobal.
//
// TLS is always verified, redirects are never followed, plain HTTP goes to this machine only, and a secret is read from
// its file for each request and never shown.

#pragma once

#include <string>
#include <utility>
#include <vector>

#include "platform/clock.h"
#include "platform/result.h"

namespace nodemeter {

struct WebRequest {
  std::string method = "GET";
  std::string url;
  std::string body;
  std::string bearer_file;  // "": no token is sent.
  std::string ca_file;      // "": the system's authorities.
  std::vector<std::pair<std::string, std::string>> headers;
  Milliseconds timeout{60'000};
};

struct WebAnswer {
  int status = 0;
  std::string body;  // At most kWebAnswerMax bytes of it.
};
inline constexpr std::size_t kWebAnswerMax = 4u << 20;

//   kInvalidInput      the URL is none, or plain HTTP to another machine; the token's file holds none
//   kPermissionDenied  a certificate is not to be trusted
//   kUnavailable       no answer: it may or may not have arrived
//   and what reading the token's file gives
Result<WebAnswer> send_web_request(const WebRequest& request);

}  // namespace nodemeter
