// Goal: what a part of the aggregator serves beside batches is found by its path, whatever the case, and by nothing
// else.

#include "uploader/aggregator/http.h"

#include <catch2/catch.hpp>

#include "tests/aggregator/plain_client.h"
#include "tests/aggregator/server_fixture.h"
#include "tests/uploader/chain.h"

namespace nodemeter {
namespace {

using testing::PlainClient;
using testing::ServerFixture;
using testing::status_of;
using Parts = std::vector<std::string>;

std::optional<Parts> parts_of(const std::string& pattern, const std::string& path) {
  return matches(HttpRoute{.method = "GET", .path = pattern, .answer = {}}, "GET", path);
}

HttpRoute echo(const std::string& method, const std::string& path) {
  return HttpRoute{.method = method, .path = path, .answer = [](const HttpRequest& request, const Parts& parts) {
                     if (request.header("x-fault") == "yes") throw std::runtime_error("on purpose");
                     HttpAnswer answer;
                     answer.status = 202;
                     answer.type = "text/plain";
                     answer.headers = {{"X-Bearer", request.credentials.bearer}};
                     answer.body = request.path;
                     for (const std::string& part : parts) answer.body += " " + part;
                     for (const auto& [name, value] : request.query) answer.body += " " + name + "=" + value;
                     answer.body += " " + request.body;
                     return answer;
                   }};
}

}  // namespace

TEST_CASE("a route's path is matched segment by segment, without regard to case", "[http]") {
  CHECK(parts_of("/a/*/c", "/A/x%20y/C") == Parts{"x y"});
  CHECK(parts_of("/a/*/c", "/a/x%2Fc/c") == Parts{"x/c"});
  CHECK(parts_of("/*/*", "/1/2") == Parts{"1", "2"});
  CHECK(parts_of("/a", "/a/") == Parts{});
  CHECK_FALSE(parts_of("/a/*/c", "/a//c").has_value());
  CHECK_FALSE(parts_of("/a/*", "/a").has_value());
  CHECK_FALSE(parts_of("/a", "/a/b").has_value());
  CHECK_FALSE(parts_of("/a", "/b").has_value());
  CHECK_FALSE(matches(HttpRoute{.method = "PUT", .path = "/a", .answer = {}}, "GET", "/a").has_value());
  CHECK(percent_decoded("a%2", true) == "a%2");
  CHECK(percent_decoded("%zz%41+b", true) == "%zzA b");
  CHECK(percent_decoded("+%C3%A4") == "+\xc3\xa4");
}

TEST_CASE("routes answer beside batches, with query, body, credentials and their own status", "[http]") {
  ServerOptions options;
  options.routes = {echo("GET", "/s/*/usage"), echo("PUT", "/s/*"), echo("POST", "/s/*"), echo("DELETE", "/s/*")};
  ServerFixture server(std::move(options));
  PlainClient client(server.port());
  const std::string got =
      client.ask("GET /S/one%2Ftwo/Usage?a=1%262&B=&c HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\n\r\n");
  CHECK(status_of(got) == 202);
  CHECK(got.find("X-Bearer: secret\r\n") != std::string::npos);
  CHECK(got.ends_with("\r\n\r\n/S/one%2Ftwo/Usage one/two a=1&2 B= c= "));
  for (const std::string method : {"PUT", "POST", "DELETE"}) {
    CHECK(client.ask(method + " /s/x HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody").ends_with("/s/x x body"));
  }
  CHECK(status_of(client.ask("GET /s/x HTTP/1.1\r\nHost: x\r\nX-Fault: yes\r\n\r\n")) == 404);
  CHECK(status_of(client.ask("GET /s/x/usage HTTP/1.1\r\nHost: x\r\nX-Fault: yes\r\n\r\n")) == 500);
  testing::ChainBuilder chain;
  const std::string rows = chain.body(2);
  CHECK(status_of(client.ask(testing::post(rows, "", "/elsewhere"))) == 200);
  CHECK(server.rows() == rows);
  const std::string large(kRouteBodyMax + 1, 'x');
  CHECK(status_of(client.ask(testing::post(large, "", "/s/x"))) == 413);
}

}  // namespace nodemeter
