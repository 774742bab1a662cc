#include "uploader/aggregator/http.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "platform/digest.h"

namespace nodemeter {
namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool same_word(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) { return lower(x) == lower(y); });
}

// Takes the part before the next `separator`, and that one, off the front.
std::string_view take_part(std::string_view& rest, char separator) {
  const std::size_t end = rest.find(separator);
  const std::string_view part = rest.substr(0, end);
  rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  return part;
}

}  // namespace

std::string HttpRequest::header(std::string_view name) const {
  const auto found = headers.find(std::string(name));
  return found == headers.end() ? std::string() : found->second;
}

HttpAnswer error_answer(int status, std::string_view sentence) {
  HttpAnswer answer;
  answer.status = status;
  answer.body =
      nlohmann::json{{"error", std::string(sentence)}}.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  if (status == 401) answer.headers.emplace_back("WWW-Authenticate", "Bearer");
  if (status == 503) answer.headers.emplace_back("Retry-After", "30");
  return answer;
}

std::optional<std::vector<std::string>> matches(const HttpRoute& route, std::string_view method,
                                                std::string_view path) {
  if (route.method != method) return std::nullopt;
  std::string_view pattern = route.path;
  std::vector<std::string> parts;
  while (!pattern.empty() && !path.empty()) {
    const std::string_view wanted = take_part(pattern, '/');
    const std::string decoded = percent_decoded(take_part(path, '/'));
    if (wanted == "*") {
      if (decoded.empty()) return std::nullopt;
      parts.push_back(decoded);
    } else if (!same_word(wanted, decoded)) {
      return std::nullopt;
    }
  }
  if (!pattern.empty() || !path.empty()) return std::nullopt;
  return parts;
}

std::string percent_decoded(std::string_view text, bool plus_is_space) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size()) {
      if (const std::string byte = from_hex(text.substr(i + 1, 2)); byte.size() == 1) {
        plain += byte;
        i += 2;
        continue;
      }
    }
    plain.push_back(plus_is_space && text[i] == '+' ? ' ' : text[i]);
  }
  return plain;
}

void set_target(HttpRequest& request, std::string_view target) {
  target = target.substr(0, target.find('#'));
  request.path = std::string(take_part(target, '?'));
  while (!target.empty()) {
    std::string_view value = take_part(target, '&');
    const std::string_view name = take_part(value, '=');
    request.query.emplace_back(percent_decoded(name, true), percent_decoded(value, true));
  }
}

}  // namespace nodemeter
