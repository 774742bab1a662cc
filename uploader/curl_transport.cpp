#include "uploader/curl_transport.h"

#include <curl/curl.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

#include "platform/files.h"
#include "platform/text.h"
#include "uploader/client_certificate.h"
#include "uploader/compress.h"
#include "uploader/helper_thread.h"

namespace nodemeter {
namespace {

constexpr std::size_t kSecretBytesMax = 16 * 1024;
constexpr std::size_t kHeaderBytesMax = 64 * 1024;

// A transfer slower than this for `low_speed_time` is given up; below a configured rate limit in any case.
constexpr std::uint64_t kLowSpeedBytesPerSecond = 64;

struct UrlDeleter {
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};
using Url = std::unique_ptr<CURLU, UrlDeleter>;

struct EasyDeleter {
  void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
};

struct ListDeleter {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

std::string part(CURLU* url, CURLUPart which) {
  char* text = nullptr;
  if (curl_url_get(url, which, &text, 0) != CURLUE_OK || text == nullptr) return "";
  std::string copy(text);
  curl_free(text);
  return copy;
}

bool is_loopback(const std::string& host) {
  if (host == "localhost" || host == "[::1]") return true;
  // 127.0.0.0/8 in digits only: "127.0.0.1.example.org" is somebody's name.
  return host.starts_with("127.") && host.find_first_not_of("0123456789.") == std::string::npos;
}

// Scheme, host and port: what may be shown of a URL.
std::string shown(CURLU* url) {
  const std::string port = part(url, CURLUPART_PORT);
  return part(url, CURLUPART_SCHEME) + "://" + part(url, CURLUPART_HOST) + (port.empty() ? "" : ":" + port);
}

Result<Url> parse_url(const std::string& text, bool plaintext) {
  const auto invalid = [&](const std::string& what) {
    return Error{ErrorCode::kInvalidInput, "upload.url " + display_text(text.substr(0, text.find('?'))) + ": " + what};
  };
  Url url(curl_url());
  if (!url) return Error{ErrorCode::kUnavailable, "no memory for a URL"};
  if (curl_url_set(url.get(), CURLUPART_URL, text.c_str(), CURLU_URLENCODE) != CURLUE_OK) {
    return Error{ErrorCode::kInvalidInput, "an upload.url is not a URL; expected https://host[:port]/[?query]"};
  }
  if (!part(url.get(), CURLUPART_USER).empty() || !part(url.get(), CURLUPART_PASSWORD).empty()) {
    return Error{
        ErrorCode::kInvalidInput,
        "upload.url " + shown(url.get()) + ": carries a user name or password; use bearer_file or clickhouse_key_file"};
  }
  const std::string scheme = part(url.get(), CURLUPART_SCHEME);
  if (scheme != "https" && scheme != "http") return invalid("expected https:// (or http:// to this machine)");
  if (!part(url.get(), CURLUPART_FRAGMENT).empty()) return invalid("has a #fragment, which no server ever sees");
  if (scheme == "http" && !plaintext && !is_loopback(part(url.get(), CURLUPART_HOST))) {
    return invalid("plain HTTP to another machine; use https://, or set upload.plaintext = true");
  }
  return url;
}

Status check_proxy(const CurlOptions& options) {
  const auto invalid = [](const std::string& what) { return Error{ErrorCode::kInvalidInput, "upload.proxy" + what}; };
  if (options.proxy.empty()) {
    if (!options.proxy_auth_file.empty()) return invalid("_auth_file stands alone: set upload.proxy too");
    return Done{};
  }
  const Url url(curl_url());
  if (!url) return Error{ErrorCode::kUnavailable, "no memory for a URL"};
  if (curl_url_set(url.get(), CURLUPART_URL, options.proxy.c_str(), CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK) {
    return invalid(" is not a URL; expected http://host:port, https://host:port or socks5h://host:port");
  }
  if (!part(url.get(), CURLUPART_USER).empty() || !part(url.get(), CURLUPART_PASSWORD).empty()) {
    return invalid(" carries a user name or password; use upload.proxy_auth_file");
  }
  const std::string scheme = part(url.get(), CURLUPART_SCHEME);
  if (scheme != "http" && scheme != "https" && scheme != "socks5h" && scheme != "socks5") {
    return invalid(": expected http://, https:// or socks5h://");
  }
  return Done{};
}

// What one attempt collects from curl's callbacks.
struct Collected {
  UploadResponse response;
  std::size_t header_bytes = 0;
  bool cut = false;  // The answer was longer than we keep; its beginning is here.
};

size_t on_header(char* data, size_t size, size_t count, void* user) {
  auto& collected = *static_cast<Collected*>(user);
  std::string_view line(data, size * count);
  collected.header_bytes += line.size();
  if (collected.header_bytes > kHeaderBytesMax) return 0;
  // A proxy's "200 Connection established" or a 100 comes before the answer: only the last set of headers counts.
  if (line.starts_with("HTTP/")) collected.response.headers.clear();
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos) return size * count;
  std::string name(line.substr(0, colon));
  for (char& c : name) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  std::string_view value = line.substr(colon + 1);
  while (!value.empty() && (value.front() == ' ' || value.front() == '\t')) value.remove_prefix(1);
  while (!value.empty() && std::string_view(" \t\r\n").find(value.back()) != std::string_view::npos) {
    value.remove_suffix(1);
  }
  collected.response.headers.insert_or_assign(std::move(name), std::string(value));
  return size * count;
}

size_t on_body(char* data, size_t size, size_t count, void* user) {
  auto& collected = *static_cast<Collected*>(user);
  const std::size_t room = kAnswerBytesMax - collected.response.body.size();
  collected.response.body.append(data, std::min(room, size * count));
  if (size * count <= room) return size * count;
  collected.cut = true;
  return 0;  // Ends the transfer: nobody needs the rest.
}

int on_progress(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return static_cast<const std::atomic<bool>*>(user)->load() ? 1 : 0;
}

bool is_certificate_error(CURLcode code, std::string_view text) {
  switch (code) {
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_SSL_CRL_BADFILE: return true;
    default: break;
  }
  // With TLS 1.3 the peer's refusal of our certificate arrives as an alert on the first read.
  const bool alert = text.find("alert") != std::string_view::npos;
  return alert &&
         (text.find("certificate") != std::string_view::npos || text.find("unknown ca") != std::string_view::npos ||
          text.find("access denied") != std::string_view::npos);
}

// A secret as one line of printable characters.
Result<std::string> read_secret(const std::string& path) {
  Result<std::string> text = read_file(path, kSecretBytesMax);
  if (!text) return text.error();
  const std::size_t first = text->find_first_not_of(" \t\r\n");
  const std::size_t last = text->find_last_not_of(" \t\r\n");
  if (first == std::string::npos) return Error{ErrorCode::kInvalidInput, path + " is empty"};
  std::string secret = text->substr(first, last - first + 1);
  // A line break inside would let the file write headers of its own.
  const bool printable = std::all_of(secret.begin(), secret.end(), [](char c) { return c > 0x20 && c < 0x7f; });
  if (!printable) return Error{ErrorCode::kInvalidInput, path + " holds more than one word of printable ASCII"};
  return secret;
}

class CurlTransport final : public Transport {
 public:
  CurlTransport(CurlOptions options, std::vector<Url> urls, const Clock& clock, std::function<void()> on_answer)
      : options_(std::move(options)),
        urls_(std::move(urls)),
        clock_(clock),
        on_answer_(std::move(on_answer)),
        easy_(curl_easy_init()) {
    NM_ASSERT(easy_ != nullptr);
    thread_ = std::thread([this] { run(); });
  }

  ~CurlTransport() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
      abandoned_ = true;
    }
    wake_.notify_one();
    thread_.join();
  }

  [[nodiscard]] PackedBody packed(std::string rows) const override {
    if (options_.compression == Compression::kNone) return {.bytes = std::move(rows), .encoding = {}};
    Result<std::string> small = compressed(rows, options_.compression);
    if (!small) return {.bytes = std::move(rows), .encoding = {}};
    return {.bytes = std::move(*small), .encoding = std::string(content_encoding(options_.compression))};
  }

  void begin(UploadRequest request) override {
    {
      const std::lock_guard lock(mutex_);
      NM_ASSERT(!expected_);
      expected_ = true;
      answer_.reset();
      request_ = std::move(request);
    }
    wake_.notify_one();
  }

  std::optional<UploadResponse> poll() override {
    const std::lock_guard lock(mutex_);
    if (!answer_) return std::nullopt;
    expected_ = false;
    return std::exchange(answer_, std::nullopt);
  }

  void cancel() override {
    const std::lock_guard lock(mutex_);
    expected_ = false;
    request_.reset();
    answer_.reset();
    // The transfer under way, if any, ends at its next progress call; its answer is dropped.
    if (busy_) abandoned_ = true;
  }

 private:
  void run();
  UploadResponse attempt(const UploadRequest& request);
  UploadResponse send_to(CURLU* base, const UploadRequest& request, const curl_slist* headers);
  Result<std::unique_ptr<curl_slist, ListDeleter>> headers_of(const UploadRequest& request) const;
  void set_security();
  [[nodiscard]] Status set_proxy(CURLU* url);
  void set_limits(std::size_t body_bytes);
  void note_failure(CURLcode code, std::string_view text, CURLU* base, UploadResponse& response);

  const CurlOptions options_;
  const std::vector<Url> urls_;
  const Clock& clock_;
  const std::function<void()> on_answer_;

  // The helper thread's alone.
  std::unique_ptr<CURL, EasyDeleter> easy_;
  std::size_t url_index_ = 0;

  std::atomic<bool> abandoned_ = false;  // The transfer under way is to end; also read by curl's progress callback.
  std::mutex mutex_;                     // Guards what follows.
  std::condition_variable wake_;
  bool stopping_ = false;
  bool busy_ = false;
  bool expected_ = false;  // begin() was called and its answer not yet taken.
  std::optional<UploadRequest> request_;
  std::optional<UploadResponse> answer_;

  std::thread thread_;
};

void CurlTransport::run() {
  keep_signals_away();
  for (;;) {
    UploadRequest request;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return stopping_ || request_; });
      if (stopping_) return;
      request = std::move(*request_);
      request_.reset();
      busy_ = true;
      abandoned_ = false;
    }
    UploadResponse response = attempt(request);
    bool deliver = false;
    {
      const std::lock_guard lock(mutex_);
      busy_ = false;
      deliver = !abandoned_;
      if (deliver) answer_ = std::move(response);
    }
    if (deliver && on_answer_) on_answer_();
  }
}

// Every URL leads to the same receiver, so one that cannot even be reached is passed over at once. An attempt that
// may have arrived ends here: what happens next is the uploader's decision.
UploadResponse CurlTransport::attempt(const UploadRequest& request) {
  UploadResponse response;
  const auto refuse = [&](const Error& error) {
    response.configuration_error = true;
    response.sent_nothing = true;
    response.transport_error = error.message;
    response.received_at = clock_.now().utc;
    return response;
  };
  const auto headers = headers_of(request);
  if (!headers) return refuse(headers.error());

  std::string failures;
  bool all_certificates = true;
  for (std::size_t tried = 0; tried < urls_.size(); ++tried) {
    CURLU* const url = urls_[url_index_].get();
    response = send_to(url, request, headers->get());
    const bool reached = !response.transport_error || !response.sent_nothing;
    if (response.transport_error || response.status >= 500) url_index_ = (url_index_ + 1) % urls_.size();
    if (reached || abandoned_) break;
    all_certificates = all_certificates && response.certificate_error;
    if (!failures.empty()) failures += "; ";
    failures += *response.transport_error;
    response.certificate_error = all_certificates;
    response.transport_error = failures;
  }
  response.received_at = clock_.now().utc;
  return response;
}

Result<std::unique_ptr<curl_slist, ListDeleter>> CurlTransport::headers_of(const UploadRequest& request) const {
  std::unique_ptr<curl_slist, ListDeleter> list;
  bool complete = true;
  const auto add = [&](const std::string& line) {
    curl_slist* const longer = curl_slist_append(list.get(), line.c_str());
    if (longer == nullptr) {
      complete = false;
      return;
    }
    (void)list.release();
    list.reset(longer);
  };
  add("Content-Type: application/vnd.msgpack");
  add("Expect:");
  if (!request.encoding.empty()) add("Content-Encoding: " + request.encoding);
  for (const auto& [name, value] : request.headers) add(std::string(name).append(": ").append(value));
  if (!options_.bearer_file.empty()) {
    const Result<std::string> token = read_secret(options_.bearer_file);
    if (!token) return Error{token.error().code, "upload.bearer_file: " + token.error().message};
    add("Authorization: Bearer " + *token);
  }
  if (!options_.clickhouse_user.empty()) add("X-ClickHouse-User: " + options_.clickhouse_user);
  if (!options_.clickhouse_key_file.empty()) {
    const Result<std::string> key = read_secret(options_.clickhouse_key_file);
    if (!key) return Error{key.error().code, "upload.clickhouse_key_file: " + key.error().message};
    add("X-ClickHouse-Key: " + *key);
  }
  if (!complete) return Error{ErrorCode::kUnavailable, "no memory for the request's headers"};
  return list;
}

void CurlTransport::set_security() {
  CURL* const easy = easy_.get();
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
  curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
  curl_easy_setopt(easy, CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
  if (!options_.ca_file.empty()) curl_easy_setopt(easy, CURLOPT_CAINFO, options_.ca_file.c_str());
  if (!options_.cert_file.empty()) curl_easy_setopt(easy, CURLOPT_SSLCERT, options_.cert_file.c_str());
  if (!options_.key_file.empty()) curl_easy_setopt(easy, CURLOPT_SSLKEY, options_.key_file.c_str());
}

// A proxy may carry TLS through, but never sees plain text.
Status CurlTransport::set_proxy(CURLU* url) {
  CURL* const easy = easy_.get();
  if (part(url, CURLUPART_SCHEME) == "http") {
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    return Done{};
  }
  if (!options_.proxy.empty()) {
    curl_easy_setopt(easy, CURLOPT_PROXY, options_.proxy.c_str());
    curl_easy_setopt(easy, CURLOPT_NOPROXY, "");
    curl_easy_setopt(easy, CURLOPT_HTTPPROXYTUNNEL, 1L);
    if (!options_.ca_file.empty()) curl_easy_setopt(easy, CURLOPT_PROXY_CAINFO, options_.ca_file.c_str());
  }
  if (!options_.proxy_auth_file.empty()) {
    const Result<std::string> auth = read_secret(options_.proxy_auth_file);
    if (!auth) return Error{auth.error().code, "upload.proxy_auth_file: " + auth.error().message};
    curl_easy_setopt(easy, CURLOPT_PROXYUSERPWD, auth->c_str());
    curl_easy_setopt(easy, CURLOPT_PROXYAUTH, static_cast<long>(CURLAUTH_ANYSAFE | CURLAUTH_BASIC));
  }
  return Done{};
}

void CurlTransport::set_limits(std::size_t body_bytes) {
  CURL* const easy = easy_.get();
  Milliseconds total = options_.total_timeout;
  std::uint64_t low_speed = kLowSpeedBytesPerSecond;
  if (const std::uint64_t rate = options_.rate_limit_bytes_per_s; rate > 0) {
    curl_easy_setopt(easy, CURLOPT_MAX_SEND_SPEED_LARGE, static_cast<curl_off_t>(rate));
    // What was asked to go slowly gets the time for it, twice over.
    total += Milliseconds(static_cast<std::int64_t>(2'000 * static_cast<std::uint64_t>(body_bytes) / rate));
    low_speed = std::max<std::uint64_t>(1, std::min(low_speed, rate / 4));
  }
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(options_.connect_timeout.count()));
  curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, static_cast<long>(total.count()));
  const auto seconds = std::chrono::ceil<std::chrono::seconds>(options_.low_speed_time);
  curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, static_cast<long>(low_speed));
  curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, static_cast<long>(seconds.count()));
}

UploadResponse CurlTransport::send_to(CURLU* base, const UploadRequest& request, const curl_slist* headers) {
  const std::string& body = request.body;
  Collected collected;
  CURL* const easy = easy_.get();
  curl_easy_reset(easy);  // Options only: the connection and the TLS session stay.
  const Url url(curl_url_dup(base));
  const std::string token = "insert_deduplication_token=" + request.url_suffix_token;
  if (!url ||
      curl_url_set(url.get(), CURLUPART_QUERY, token.c_str(), CURLU_APPENDQUERY | CURLU_URLENCODE) != CURLUE_OK) {
    collected.response.transport_error = "no memory for the URL";
    collected.response.sent_nothing = true;
    return std::move(collected.response);
  }
  std::array<char, CURL_ERROR_SIZE> error_text{};
  curl_easy_setopt(easy, CURLOPT_CURLU, url.get());
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, error_text.data());
  curl_easy_setopt(easy, CURLOPT_USERAGENT, options_.user_agent.c_str());
  curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_2TLS));
  curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
  curl_easy_setopt(easy, CURLOPT_POST, 1L);
  curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body.data());
  curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, &on_header);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, &collected);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &on_body);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, &collected);
  curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, &on_progress);
  curl_easy_setopt(easy, CURLOPT_XFERINFODATA, &abandoned_);
  set_security();
  set_limits(body.size());
  if (const Status proxy = set_proxy(url.get()); !proxy) {
    curl_easy_reset(easy);
    collected.response.configuration_error = true;
    collected.response.sent_nothing = true;
    collected.response.transport_error = proxy.error().message;
    return std::move(collected.response);
  }

  const CURLcode code = curl_easy_perform(easy);
  long status = 0;
  curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
  collected.response.status = static_cast<int>(status);
  if (code != CURLE_OK && !(code == CURLE_WRITE_ERROR && collected.cut)) {
    const std::string_view text = error_text[0] != '\0' ? error_text.data() : curl_easy_strerror(code);
    note_failure(code, text, base, collected.response);
  }
  curl_easy_reset(easy);  // Nothing may point at this frame any longer.
  return std::move(collected.response);
}

void CurlTransport::note_failure(CURLcode code, std::string_view text, CURLU* base, UploadResponse& response) {
  long request_bytes = 0;
  long proxy_status = 0;
  curl_easy_getinfo(easy_.get(), CURLINFO_REQUEST_SIZE, &request_bytes);
  curl_easy_getinfo(easy_.get(), CURLINFO_HTTP_CONNECTCODE, &proxy_status);
  response.transport_error = shown(base) + ": " + display_text(text);
  response.certificate_error = is_certificate_error(code, text);
  const bool by_date =
      text.find("expired") != std::string_view::npos || text.find("not yet valid") != std::string_view::npos;
  if (response.certificate_error && by_date) *response.transport_error += "; or is this node's clock wrong?";
  // A proxy that does not let us through has passed nothing on.
  const bool refused_by_proxy = proxy_status >= 300;
  response.sent_nothing = request_bytes == 0 || refused_by_proxy;
  if (refused_by_proxy && proxy_status < 500) {
    response.configuration_error = true;
    *response.transport_error += "; the proxy does not let us through: see upload.proxy";
  }
}

}  // namespace

Result<std::unique_ptr<Transport>> open_curl_transport(const CurlOptions& options, const Clock& clock,
                                                       std::function<void()> on_answer) {
  if (options.urls.empty()) return Error{ErrorCode::kInvalidInput, "upload.url: no URL is configured"};
  if (const auto fault = client_certificate_fault(options, "upload.")) {
    return Error{ErrorCode::kInvalidInput, "upload." + fault->key + " " + fault->what};
  }
  if (!is_plain_text(options.clickhouse_user)) {
    return Error{ErrorCode::kInvalidInput, "upload.clickhouse_user: control characters are not allowed"};
  }
  if (Status fits = check_proxy(options); !fits) return fits.error();
  std::vector<Url> urls;
  for (const std::string& text : options.urls) {
    Result<Url> url = parse_url(text, options.plaintext);
    if (!url) return url.error();
    urls.push_back(std::move(*url));
  }
  return std::unique_ptr<Transport>(
      std::make_unique<CurlTransport>(options, std::move(urls), clock, std::move(on_answer)));
}

}  // namespace nodemeter
