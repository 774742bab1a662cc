#include "uploader/aggregator/web_request.h"

#include <curl/curl.h>

#include <algorithm>
#include <array>
#include <memory>

#include "platform/files.h"
#include "platform/text.h"

namespace nodemeter {
namespace {

constexpr std::size_t kTokenBytesMax = 16 * 1024;

struct UrlDeleter {
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};
struct EasyDeleter {
  void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
};
struct ListDeleter {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
using HeaderList = std::unique_ptr<curl_slist, ListDeleter>;

std::string part_of(CURLU* url, CURLUPart which) {
  char* text = nullptr;
  if (curl_url_get(url, which, &text, 0) != CURLUE_OK || text == nullptr) return "";
  std::string copy(text);
  curl_free(text);
  return copy;
}

// "" if it may be asked.
std::string url_fault(const std::string& text) {
  const std::unique_ptr<CURLU, UrlDeleter> url(curl_url());
  if (!url || curl_url_set(url.get(), CURLUPART_URL, text.c_str(), 0) != CURLUE_OK) return "is not a URL";
  if (!part_of(url.get(), CURLUPART_USER).empty() || !part_of(url.get(), CURLUPART_PASSWORD).empty()) {
    return "carries a user name or password";
  }
  const std::string scheme = part_of(url.get(), CURLUPART_SCHEME);
  if (scheme == "https") return "";
  const std::string host = part_of(url.get(), CURLUPART_HOST);
  const bool here = host == "localhost" || host == "[::1]" ||
                    (host.starts_with("127.") && host.find_first_not_of("0123456789.") == std::string::npos);
  return scheme == "http" && here ? "" : "is not https:// (plain http:// goes to this machine only)";
}

Result<std::string> read_token(const std::string& file) {
  const Result<std::string> text = read_file(file, kTokenBytesMax);
  if (!text) return text.error();
  const std::size_t first = text->find_first_not_of(" \t\r\n");
  const std::size_t last = text->find_last_not_of(" \t\r\n");
  if (first == std::string::npos) return Error{ErrorCode::kInvalidInput, file + " is empty"};
  std::string token = text->substr(first, last - first + 1);
  const bool word = std::all_of(token.begin(), token.end(), [](char c) { return c > 0x20 && c < 0x7f; });
  if (!word) return Error{ErrorCode::kInvalidInput, file + " holds more than one word of printable ASCII"};
  return token;
}

Result<HeaderList> header_list(const WebRequest& request) {
  std::vector<std::string> lines{"Expect:", "Accept: application/json"};
  if (!request.body.empty()) lines.emplace_back("Content-Type: application/json");
  for (const auto& [name, value] : request.headers) lines.push_back(std::string(name).append(": ").append(value));
  if (!request.bearer_file.empty()) {
    const Result<std::string> token = read_token(request.bearer_file);
    if (!token) return token.error();
    lines.push_back("Authorization: Bearer " + *token);
  }
  HeaderList list;
  for (const std::string& line : lines) {
    curl_slist* const longer = curl_slist_append(list.get(), line.c_str());
    if (longer == nullptr) return Error{ErrorCode::kUnavailable, "no memory for the request's headers"};
    (void)list.release();
    list.reset(longer);
  }
  return list;
}

size_t on_body(char* data, size_t size, size_t count, void* user) {
  auto& body = *static_cast<std::string*>(user);
  if (body.size() + size * count > kWebAnswerMax) return 0;
  body.append(data, size * count);
  return size * count;
}

bool is_certificate_error(CURLcode code) {
  return code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CERTPROBLEM || code == CURLE_SSL_CACERT_BADFILE ||
         code == CURLE_SSL_ISSUER_ERROR;
}

}  // namespace

Result<WebAnswer> send_web_request(const WebRequest& request) {
  const std::string shown = display_text(request.url.substr(0, request.url.find('?')));
  if (const std::string fault = url_fault(request.url); !fault.empty()) {
    return Error{ErrorCode::kInvalidInput, "the URL " + shown + " " + fault};
  }
  const Result<HeaderList> headers = header_list(request);
  if (!headers) return headers.error();
  const std::unique_ptr<CURL, EasyDeleter> easy(curl_easy_init());
  if (!easy) return Error{ErrorCode::kUnavailable, "libcurl refuses to start"};
  WebAnswer answer;
  std::array<char, CURL_ERROR_SIZE> error_text{};
  curl_easy_setopt(easy.get(), CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(easy.get(), CURLOPT_CUSTOMREQUEST, request.method.c_str());
  if (!request.body.empty()) {
    curl_easy_setopt(easy.get(), CURLOPT_POSTFIELDS, request.body.data());
    curl_easy_setopt(easy.get(), CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
  } else if (request.method != "GET") {
    // Servers want to be told that there is no body.
    curl_easy_setopt(easy.get(), CURLOPT_POSTFIELDS, "");
    curl_easy_setopt(easy.get(), CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(0));
  }
  curl_easy_setopt(easy.get(), CURLOPT_HTTPHEADER, headers->get());
  curl_easy_setopt(easy.get(), CURLOPT_WRITEFUNCTION, &on_body);
  curl_easy_setopt(easy.get(), CURLOPT_WRITEDATA, &answer.body);
  curl_easy_setopt(easy.get(), CURLOPT_ERRORBUFFER, error_text.data());
  curl_easy_setopt(easy.get(), CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy.get(), CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy.get(), CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(easy.get(), CURLOPT_SSL_VERIFYPEER, 1L);
  curl_easy_setopt(easy.get(), CURLOPT_SSL_VERIFYHOST, 2L);
  curl_easy_setopt(easy.get(), CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
  if (!request.ca_file.empty()) curl_easy_setopt(easy.get(), CURLOPT_CAINFO, request.ca_file.c_str());
  if (request.url.starts_with("http:")) curl_easy_setopt(easy.get(), CURLOPT_PROXY, "");
  curl_easy_setopt(easy.get(), CURLOPT_TIMEOUT_MS, static_cast<long>(request.timeout.count()));
  curl_easy_setopt(easy.get(), CURLOPT_USERAGENT, "nodemeter-aggregator/" NODEMETER_VERSION);
  const CURLcode code = curl_easy_perform(easy.get());
  if (code != CURLE_OK) {
    const std::string why = error_text.front() != '\0' ? error_text.data() : curl_easy_strerror(code);
    return Error{is_certificate_error(code) ? ErrorCode::kPermissionDenied : ErrorCode::kUnavailable,
                 shown + ": " + display_text(why)};
  }
  long status = 0;
  curl_easy_getinfo(easy.get(), CURLINFO_RESPONSE_CODE, &status);
  answer.status = static_cast<int>(status);
  return answer;
}

}  // namespace nodemeter
