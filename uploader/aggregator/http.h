// HTTP as the aggregator's parts see it, without the library that speaks it: a request, its answer, and who answers
// what. A part that serves something makes HttpRoutes and hands them to the server in ServerOptions::routes.

#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "uploader/aggregator/nodes.h"

namespace nodemeter {

struct HttpRequest {
  std::string method;                                      // "GET", "POST", …
  std::string path;                                        // As sent, still percent-encoded, without the query.
  std::vector<std::pair<std::string, std::string>> query;  // Decoded, in the order sent.
  std::multimap<std::string, std::string> headers;         // Names in lower case.
  std::string from;                                        // The sender's address.
  Credentials credentials;                                 // Unchecked, but for the certificate's issuer.
  std::string body;                                        // As sent: "content-encoding" says how it is packed.

  // The first header of that (lower-case) name; "": there is none.
  [[nodiscard]] std::string header(std::string_view name) const;
};

struct HttpAnswer {
  int status = 200;
  std::string body;
  std::string type = "application/json";
  std::vector<std::pair<std::string, std::string>> headers;
};

// {"error": sentence}; with the headers that belong to 401 and 503.
HttpAnswer error_answer(int status, std::string_view sentence);

struct HttpRoute {
  std::string method;
  // Segments between slashes, compared without regard to ASCII case; "*" stands for any one segment.
  std::string path;
  // `parts`: the segments that "*" stood for, percent-decoded. Called from any of the server's threads, several at
  // once. An exception is answered with 500.
  std::function<HttpAnswer(const HttpRequest& request, const std::vector<std::string>& parts)> answer;
};

// Bodies of routes (not of batches) are at most this large; larger ones are answered with 413.
inline constexpr std::size_t kRouteBodyMax = 256 * 1024;

// The parts if the route is for this request.
std::optional<std::vector<std::string>> matches(const HttpRoute& route, std::string_view method, std::string_view path);

// Undoes %XX. What is not a whole escape stays as it is.
std::string percent_decoded(std::string_view text, bool plus_is_space = false);

// Takes "path?a=1&b=2" apart.
void set_target(HttpRequest& request, std::string_view target);

}  // namespace nodemeter
