// Goal: every class of answer leads to its reaction, and nothing but an acknowledgement ever counts as one.
// Method: one table; each line is an answer as it was seen on the wire, with the verdict that it must get.

#include "uploader/answer.h"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

namespace nodemeter {
namespace {

constexpr Sequence kLast = 7;

using Headers = std::map<std::string, std::string>;

struct Case {
  std::string name;
  int status;
  Headers headers;
  std::string body;
  Verdict verdict;
};

UploadResponse response_of(int status, Headers headers, std::string body) {
  UploadResponse response;
  response.status = status;
  response.headers = std::move(headers);
  response.body = std::move(body);
  return response;
}

Headers code(int number) { return {{"x-clickhouse-exception-code", std::to_string(number)}}; }

void check(const std::vector<Case>& cases) {
  for (const Case& c : cases) {
    INFO(c.name);
    const Answer answer = classify(response_of(c.status, c.headers, c.body), kLast);
    CHECK(static_cast<int>(answer.verdict) == static_cast<int>(c.verdict));
    CHECK(answer.reason.empty() == (c.verdict == Verdict::kAccepted));
  }
}

}  // namespace

TEST_CASE("only a nodemeter or ClickHouse acknowledgement of this batch is taken for one", "[answer]") {
  const Headers clickhouse = {{"x-clickhouse-query-id", "a"}, {"x-clickhouse-summary", "{}"}};
  check({
      {"nodemeter, the batch's last", 200, {}, R"({"acknowledged":7,"resend_from":null})", Verdict::kAccepted},
      {"nodemeter, resend wish", 200, {}, R"({"acknowledged":7,"resend_from":3})", Verdict::kAccepted},
      {"nodemeter, no resend field", 200, {}, R"({"acknowledged":7})", Verdict::kAccepted},
      {"acknowledges less", 200, {}, R"({"acknowledged":6,"resend_from":null})", Verdict::kRetry},
      {"acknowledges more", 200, {}, R"({"acknowledged":8,"resend_from":null})", Verdict::kRetry},
      {"acknowledges text", 200, {}, R"({"acknowledged":"7"})", Verdict::kRetry},
      {"acknowledges a fraction", 200, {}, R"({"acknowledged":7.0})", Verdict::kRetry},
      {"acknowledges something negative", 200, {}, R"({"acknowledged":-7})", Verdict::kRetry},
      {"JSON cut off", 200, {}, R"({"acknowledged":7)", Verdict::kRetry},
      {"other JSON", 200, {}, R"({"status":"ok"})", Verdict::kRetry},
      {"a JSON array", 200, {}, "[7]", Verdict::kRetry},
      {"ClickHouse, silent", 200, clickhouse, "", Verdict::kAccepted},
      {"ClickHouse, a line break", 200, clickhouse, "\n", Verdict::kAccepted},
      {"ClickHouse's ping page", 200, {}, "Ok.\n", Verdict::kRetry},
      {"ClickHouse headers and a page", 200, clickhouse, "<html>", Verdict::kRetry},
      {"ClickHouse, exception after 200", 200, clickhouse, "Code: 241. DB::Exception: …", Verdict::kRetry},
      {"empty 200 from nowhere", 200, {}, "", Verdict::kRetry},
      {"a captive portal", 200, {{"content-type", "text/html"}}, "<html>Log in</html>", Verdict::kRetry},
      {"201", 201, {}, R"({"acknowledged":7})", Verdict::kRetry},
      {"202 queued by somebody", 202, {}, "", Verdict::kRetry},
      {"204", 204, clickhouse, "", Verdict::kRetry},
      {"206", 206, {}, "", Verdict::kRetry},
  });
}

TEST_CASE("weather is retried", "[answer]") {
  check({
      {"408", 408, {}, "", Verdict::kRetry},
      {"425", 425, {}, "", Verdict::kRetry},
      {"429", 429, {}, "", Verdict::kRetry},
      {"500 that nothing explains", 500, {}, "oops", Verdict::kRetry},
      {"501", 501, {}, "", Verdict::kRetry},
      {"502", 502, {}, "<html>Bad Gateway</html>", Verdict::kRetry},
      {"503", 503, {}, "", Verdict::kRetry},
      {"504", 504, {}, "", Verdict::kRetry},
      {"507", 507, {}, "", Verdict::kRetry},
      {"no status at all", 0, {}, "", Verdict::kRetry},
      {"100 as a final answer", 100, {}, "", Verdict::kRetry},
      {"999", 999, {}, "", Verdict::kRetry},
  });
}

TEST_CASE("credentials and configuration are held, and no row is blamed for them", "[answer]") {
  std::vector<Case> cases;
  for (const int status : {300, 301, 302, 303, 304, 307, 308, 401, 402, 403, 404, 405,
                           406, 407, 409, 410, 411, 414, 415, 421, 426, 431, 451}) {
    cases.push_back({std::to_string(status), status, {}, "<html>", Verdict::kHeld});
  }
  check(cases);
}

TEST_CASE("a data fault of the receiver's is a data fault", "[answer]") {
  check({
      {"400", 400, {}, R"({"error":"entry 5 is not canonical"})", Verdict::kData},
      {"413", 413, {}, "", Verdict::kData},
      {"422", 422, {}, "", Verdict::kData},
  });
}

TEST_CASE("ClickHouse's exception code decides before the status", "[answer]") {
  std::vector<Case> cases;
  const auto add = [&](std::initializer_list<int> codes, Verdict verdict) {
    for (const int number : codes) {
      for (const int status : {200, 400, 403, 404, 500, 503}) {
        cases.push_back({"code " + std::to_string(number) + " with " + std::to_string(status), status, code(number),
                         "Code: " + std::to_string(number) + ". DB::Exception: it is so", verdict});
      }
    }
  };
  add({159, 160, 202, 203, 209, 210, 225, 236, 241, 242, 243, 279, 285, 286, 319, 394, 395, 999}, Verdict::kRetry);
  add({10, 15, 16, 20, 43, 46, 47, 48, 60, 62, 73, 81, 115, 164, 192, 193, 194, 195, 291, 381, 452, 497, 516, 701, 774},
      Verdict::kHeld);
  add({6, 26, 27, 32, 33, 36, 38, 41, 44, 53, 69, 72, 117, 131, 190, 349, 354, 376, 469, 561}, Verdict::kData);
  check(cases);
  check({
      {"469, another node's user", 500, code(469),
       "Code: 469. DB::Exception: Constraint `writes_as_itself` for table …", Verdict::kHeld},
      {"469, a trial's rows", 500, code(469), "Code: 469. DB::Exception: Constraint `not_simulated` for table …",
       Verdict::kHeld},
      {"252, merges are behind", 500, code(252), "Code: 252. DB::Exception: Too many parts (300).", Verdict::kRetry},
      {"252, one block spans too many months", 500, code(252),
       "Code: 252. DB::Exception: Too many partitions for single INSERT block (more than 100).", Verdict::kData},
      {"unknown code, 500", 500, code(4711), "", Verdict::kRetry},
      {"unknown code, 400", 400, code(4711), "", Verdict::kData},
      {"unknown code, 403", 403, code(4711), "", Verdict::kHeld},
      {"unknown code, 200", 200, code(4711), "", Verdict::kRetry},
      {"a code that is no number", 200, {{"x-clickhouse-exception-code", "x"}}, "", Verdict::kRetry},
      {"a code and our own JSON", 200, code(60), R"({"acknowledged":7})", Verdict::kHeld},
  });
}

TEST_CASE("without an HTTP answer the kind of failure decides", "[answer]") {
  UploadResponse weather;
  weather.transport_error = "connection reset";
  CHECK(classify(weather, kLast).verdict == Verdict::kRetry);
  CHECK(classify(weather, kLast).reason == "connection reset");

  UploadResponse certificate;
  certificate.transport_error = "certificate has expired";
  certificate.certificate_error = true;
  CHECK(classify(certificate, kLast).verdict == Verdict::kHeld);

  UploadResponse configuration;
  configuration.transport_error = "bearer_file: not there";
  configuration.configuration_error = true;
  CHECK(classify(configuration, kLast).verdict == Verdict::kHeld);

  UploadResponse cut = response_of(200, {}, R"({"acknowledged":7})");
  cut.transport_error = "transfer closed with 3 bytes remaining";
  CHECK(classify(cut, kLast).verdict == Verdict::kRetry);
}

TEST_CASE("Retry-After is read in both of its forms, and nonsense is no wish", "[answer]") {
  const UtcTime now = UtcTime(Milliseconds(784'111'777'000));  // 1994-11-06T08:49:37Z
  const auto wish = [&](const std::string& text) {
    UploadResponse response = response_of(503, {{"retry-after", text}}, "");
    response.received_at = now;
    return classify(response, kLast).retry_after;
  };
  CHECK(wish("120") == Milliseconds(120'000));
  CHECK(wish("0") == Milliseconds(0));
  CHECK(wish("Sun, 06 Nov 1994 08:50:37 GMT") == Milliseconds(60'000));
  CHECK(wish("Sun, 06 Nov 1994 08:00:00 GMT") == Milliseconds(0));
  // This node's clock is wrong: the receiver's counts.
  UploadResponse skewed = response_of(
      503, {{"retry-after", "Sun, 06 Nov 1994 12:01:00 GMT"}, {"date", "Sun, 06 Nov 1994 12:00:00 GMT"}}, "");
  skewed.received_at = now;
  CHECK(classify(skewed, kLast).retry_after == Milliseconds(60'000));
  CHECK(wish("18446744073709551615") == Milliseconds(366ll * 86'400'000));
  for (const char* const nonsense :
       {"", "soon", "-5", "1.5", "Sun, 06 Foo 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun, 99 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 CET"}) {
    INFO(nonsense);
    CHECK_FALSE(wish(nonsense).has_value());
  }
}

TEST_CASE("resend_from is heard only where it is a sequence number", "[answer]") {
  const auto heard = [](const std::string& value) {
    return classify(response_of(200, {}, R"({"acknowledged":7,"resend_from":)" + value + "}"), kLast).resend_from;
  };
  CHECK(heard("3") == Sequence{3});
  CHECK_FALSE(heard("null").has_value());
  CHECK_FALSE(heard("0").has_value());
  CHECK_FALSE(heard("-1").has_value());
  CHECK_FALSE(heard("\"3\"").has_value());
}

TEST_CASE("a reason shows nothing that could disturb a terminal", "[answer]") {
  const Answer answer =
      classify(response_of(502, {}, std::string("\x1b[31mred\x07\xff") + std::string(5'000, 'x')), kLast);
  CHECK(answer.reason.find('\x1b') == std::string::npos);
  CHECK(answer.reason.find('\x07') == std::string::npos);
  CHECK(answer.reason.size() < 600);
  const Answer sentence = classify(response_of(400, {}, R"({"error":"entry 5 is not canonical"})"), kLast);
  CHECK(sentence.reason.find("entry 5 is not canonical") != std::string::npos);
}

}  // namespace nodemeter
