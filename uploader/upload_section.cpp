#include "uploader/upload_section.h"

#include <algorithm>

#include "platform/digest.h"
#include "platform/text.h"
#include "uploader/client_certificate.h"

namespace nodemeter {
namespace {

constexpr std::size_t kUrlBytesMax = 4096;
constexpr std::size_t kShownUrlMax = 80;

bool only_of(std::string_view text, std::string_view allowed) {
  return text.find_first_not_of(allowed) == std::string_view::npos;
}

// Names that begin with 127. belong to anybody: only addresses count.
bool is_loopback(std::string_view host) {
  return host == "localhost" || host == "[::1]" || (host.substr(0, 4) == "127." && only_of(host, "0123456789."));
}

// Says what is wrong with a URL, or nothing. The transport checks again when it is opened; here is the line number.
std::string url_problem(const std::string& url, bool plaintext, const std::string& section) {
  const bool https = url.rfind("https://", 0) == 0;
  const bool http = url.rfind("http://", 0) == 0;
  if (!https && !http) return "a URL that begins with https:// is expected";
  if (!is_plain_text(url) || url.size() > kUrlBytesMax || url.find(' ') != std::string::npos) {
    return "a URL has no spaces or control characters and at most " + std::to_string(kUrlBytesMax) + " bytes";
  }
  const std::string rest = url.substr(https ? 8 : 7);
  const std::string authority = rest.substr(0, rest.find_first_of("/?#"));
  if (authority.find('@') != std::string::npos) {
    return "credentials do not belong into a URL: use bearer_file or clickhouse_user and clickhouse_key_file";
  }
  const std::size_t colon = authority.rfind(':');
  const std::string host = authority.substr(
      0, colon != std::string::npos && authority.find(']', colon) == std::string::npos ? colon : authority.size());
  if (host.empty()) return "the URL names no host";
  if (http && !plaintext && !is_loopback(host)) {
    return "plain http sends usage unprotected: use https, or set " + section + ".plaintext = true";
  }
  return "";
}

// A directory on a medium that is carried. It stands alone: what one receiver has must not be taken for what another
// has.
void read_file_target(ConfigSection& section, std::vector<std::string>& urls, CarryTarget& carry) {
  constexpr std::string_view kScheme = "file://";
  std::string key;
  section.text("receipt_key", key, [](const std::string& value) -> std::string {
    return value.empty() || from_hex(value).size() == 32
               ? ""
               : "64 hexadecimal digits are expected: \"receiver\" in a report of the aggregator's import";
  });
  carry.receipt_key = from_hex(key);
  const bool files = std::ranges::any_of(urls, [&](const std::string& url) { return url.starts_with(kScheme); });
  if (!files) return;
  const std::string path = urls.front().substr(std::min(urls.front().size(), kScheme.size()));
  if (urls.size() != 1) {
    section.refuse("url", "holds a file:// URL beside others: it stands alone");
  } else if (!is_plain_text(path) || !path.starts_with('/')) {
    section.refuse("url", "holds \"" + display_text(urls.front(), kShownUrlMax) +
                              "\"; file:// and the absolute path of a directory is expected");
  } else {
    carry.directory = path;
  }
  urls.clear();
}

}  // namespace

void read_upload_section(ConfigSection section, CurlOptions& upload, Milliseconds& interval, CarryTarget* carry) {
  const std::string me = section.name() + ".";
  section.flag("plaintext", upload.plaintext);
  section.texts("url", upload.urls);
  if (carry != nullptr) {
    read_file_target(section, upload.urls, *carry);
  } else {
    std::string key;
    section.text("receipt_key", key);
    if (!key.empty()) section.refuse("receipt_key", "has no meaning here: nothing is carried from an aggregator");
  }
  for (const std::string& url : upload.urls) {
    const std::string problem = url_problem(url, upload.plaintext, section.name());
    // A URL may carry a secret by mistake: what is shown of it ends before its query.
    const std::string without_query = url.substr(0, url.find_first_of("?#"));
    const std::size_t at = without_query.rfind('@');
    const std::string safe = at == std::string::npos ? without_query : "…" + without_query.substr(at);
    if (!problem.empty()) section.refuse("url", "holds \"" + display_text(safe, kShownUrlMax) + "\"; " + problem);
  }
  section.duration("interval", interval, Milliseconds{0}, Milliseconds{3'600'000});
  constexpr Compression kKinds[] = {Compression::kNone, Compression::kGzip, Compression::kZstd};
  if (const auto kind = section.word("compression", {"none", "gzip", "zstd"})) upload.compression = kKinds[*kind];
  section.text("ca_file", upload.ca_file);
  section.text("cert_file", upload.cert_file);
  section.text("key_file", upload.key_file);
  section.text("bearer_file", upload.bearer_file);
  section.text("clickhouse_user", upload.clickhouse_user);
  section.text("clickhouse_key_file", upload.clickhouse_key_file);
  section.size("rate_limit", upload.rate_limit_bytes_per_s, 0, 1ull << 40);
  section.text("proxy", upload.proxy);
  section.text("proxy_auth_file", upload.proxy_auth_file);
  section.duration("connect_timeout", upload.connect_timeout, Milliseconds{100}, Milliseconds{300'000});
  section.duration("timeout", upload.total_timeout, Milliseconds{1'000}, Milliseconds{3'600'000});
  if (upload.proxy.empty() && !upload.proxy_auth_file.empty()) {
    section.refuse("proxy_auth_file", "stands alone: set " + me + "proxy too");
  }
  if (upload.proxy.find('@') != std::string::npos) {
    section.refuse("proxy", "carries a user name or password: use " + me + "proxy_auth_file");
  }
  if (const auto fault = client_certificate_fault(upload, me)) section.refuse(fault->key, fault->what);
  if (upload.clickhouse_user.empty() && !upload.clickhouse_key_file.empty()) {
    section.refuse("clickhouse_key_file", "stands alone: set " + me + "clickhouse_user too");
  }
  if (!upload.bearer_file.empty() && !upload.clickhouse_user.empty()) {
    section.refuse("bearer_file", "stands beside " + me + "clickhouse_user: a request carries one kind of credential");
  }
}

}  // namespace nodemeter
