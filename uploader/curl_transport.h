// Transport on libcurl (the only curl.h): one helper thread, one easy handle that keeps its connection.
//
// TLS verification always; redirects never followed; plain HTTP only to loopback unless `plaintext`; credentials are
// re-read from their files for every attempt and never logged. HTTP/2 where TLS offers it, else HTTP/1.1 with the
// connection kept. The embedder calls curl_global_init.
//
// Threads: the seam's rule, one at a time. Destruction waits for the transfer under way to give up: about a second.

#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "platform/result.h"
#include "uploader/transport.h"

namespace nodemeter {

enum class Compression { kNone, kGzip, kZstd };

struct CurlOptions {
  std::vector<std::string> urls;  // One aggregator reached several ways: the next one after a failure to connect.
  Compression compression = Compression::kZstd;
  std::string ca_file, cert_file, key_file, bearer_file;
  std::string clickhouse_user, clickhouse_key_file;
  std::uint64_t rate_limit_bytes_per_s = 0;  // 0: none.
  bool plaintext = false;
  // http://, https:// or socks5h://host:port, only ever for TLS to pass through; "": what the environment names
  // (https_proxy, no_proxy). The file holds user:password.
  std::string proxy, proxy_auth_file;
  Milliseconds connect_timeout{10'000};
  Milliseconds total_timeout{120'000};  // A configured rate limit lengthens it by the time that the limit costs.
  Milliseconds low_speed_time{30'000};  // Given up after this long with hardly a byte either way. Whole seconds.
  std::string user_agent = "nodemeter";
};

// kInvalidInput: a URL is malformed or plain HTTP to another machine, or the proxy is none; the message says which.
// `on_answer` is called from the helper thread when poll() has something.
Result<std::unique_ptr<Transport>> open_curl_transport(const CurlOptions& options, const Clock& clock,
                                                       std::function<void()> on_answer);

}  // namespace nodemeter
