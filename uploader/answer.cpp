#include "uploader/answer.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <string_view>

#include <nlohmann/json.hpp>

#include "platform/text.h"

namespace nodemeter {
namespace {

// What ClickHouse's exception codes ask of the sender. Codes that are not listed are decided by the HTTP status.
struct CodeMeaning {
  std::uint32_t code;
  Verdict verdict;
};

constexpr CodeMeaning kCodes[] = {
    // The server or its neighbours are busy, full or away.
    {159, Verdict::kRetry},  // TIMEOUT_EXCEEDED
    {160, Verdict::kRetry},  // TOO_SLOW
    {201, Verdict::kRetry},  // QUOTA_EXCEEDED
    {202, Verdict::kRetry},  // TOO_MANY_SIMULTANEOUS_QUERIES
    {203, Verdict::kRetry},  // NO_FREE_CONNECTION
    {209, Verdict::kRetry},  // SOCKET_TIMEOUT
    {210, Verdict::kRetry},  // NETWORK_ERROR
    {225, Verdict::kRetry},  // NO_ZOOKEEPER
    {236, Verdict::kRetry},  // ABORTED
    {241, Verdict::kRetry},  // MEMORY_LIMIT_EXCEEDED
    {242, Verdict::kRetry},  // TABLE_IS_READ_ONLY
    {243, Verdict::kRetry},  // NOT_ENOUGH_SPACE
    {279, Verdict::kRetry},  // ALL_CONNECTION_TRIES_FAILED
    {285, Verdict::kRetry},  // TOO_FEW_LIVE_REPLICAS
    {286, Verdict::kRetry},  // UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE
    {319, Verdict::kRetry},  // UNKNOWN_STATUS_OF_INSERT
    {394, Verdict::kRetry},  // QUERY_WAS_CANCELLED
    {395, Verdict::kRetry},  // FUNCTION_THROW_IF_VALUE_IS_NON_ZERO: inside a view, the row may be stored
    {999, Verdict::kRetry},  // KEEPER_EXCEPTION
    // Rights, schema, syntax: an operator has to act, and no row is to blame.
    {10, Verdict::kHeld},   // NOT_FOUND_COLUMN_IN_BLOCK
    {15, Verdict::kHeld},   // DUPLICATE_COLUMN
    {16, Verdict::kHeld},   // NO_SUCH_COLUMN_IN_TABLE
    {20, Verdict::kHeld},   // NUMBER_OF_COLUMNS_DOESNT_MATCH
    {43, Verdict::kHeld},   // ILLEGAL_TYPE_OF_ARGUMENT: a view that does not fit its table
    {46, Verdict::kHeld},   // UNKNOWN_FUNCTION
    {47, Verdict::kHeld},   // UNKNOWN_IDENTIFIER
    {48, Verdict::kHeld},   // NOT_IMPLEMENTED: an encoding it does not know
    {60, Verdict::kHeld},   // UNKNOWN_TABLE
    {62, Verdict::kHeld},   // SYNTAX_ERROR
    {73, Verdict::kHeld},   // UNKNOWN_FORMAT
    {81, Verdict::kHeld},   // UNKNOWN_DATABASE
    {115, Verdict::kHeld},  // UNKNOWN_SETTING
    {164, Verdict::kHeld},  // READONLY
    {192, Verdict::kHeld},  // UNKNOWN_USER
    {193, Verdict::kHeld},  // WRONG_PASSWORD
    {194, Verdict::kHeld},  // REQUIRED_PASSWORD
    {195, Verdict::kHeld},  // IP_ADDRESS_NOT_ALLOWED
    {291, Verdict::kHeld},  // DATABASE_ACCESS_DENIED
    {381, Verdict::kHeld},  // HTTP_LENGTH_REQUIRED
    {452, Verdict::kHeld},  // SETTING_CONSTRAINT_VIOLATION
    {497, Verdict::kHeld},  // ACCESS_DENIED
    {516, Verdict::kHeld},  // AUTHENTICATION_FAILED
    {701, Verdict::kHeld},  // CLUSTER_DOESNT_EXIST
    {774, Verdict::kHeld},  // TABLE_IS_PERMANENTLY_READ_ONLY
    // Something in the rows.
    {6, Verdict::kData},    // CANNOT_PARSE_TEXT
    {26, Verdict::kData},   // CANNOT_PARSE_QUOTED_STRING
    {27, Verdict::kData},   // CANNOT_PARSE_INPUT_ASSERTION_FAILED
    {32, Verdict::kData},   // ATTEMPT_TO_READ_AFTER_EOF
    {33, Verdict::kData},   // CANNOT_READ_ALL_DATA
    {36, Verdict::kData},   // BAD_ARGUMENTS
    {38, Verdict::kData},   // CANNOT_PARSE_DATE
    {41, Verdict::kData},   // CANNOT_PARSE_DATETIME
    {44, Verdict::kData},   // ILLEGAL_COLUMN
    {53, Verdict::kData},   // TYPE_MISMATCH
    {69, Verdict::kData},   // ARGUMENT_OUT_OF_BOUND
    {72, Verdict::kData},   // CANNOT_PARSE_NUMBER
    {117, Verdict::kData},  // INCORRECT_DATA
    {131, Verdict::kData},  // TOO_LARGE_STRING_SIZE
    {190, Verdict::kData},  // SIZES_OF_ARRAYS_DONT_MATCH
    {349, Verdict::kData},  // CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN
    {354, Verdict::kData},  // ZLIB_INFLATE_FAILED
    {376, Verdict::kData},  // CANNOT_PARSE_UUID
    {469, Verdict::kData},  // VIOLATED_CONSTRAINT
    {561, Verdict::kData},  // ZSTD_DECODER_FAILED
};

constexpr std::uint32_t kTooManyParts = 252;
constexpr std::uint32_t kViolatedConstraint = 469;

// Constraints of our own schema (uploader/clickhouse) that are about who writes: no row is to blame.
bool is_about_the_writer(std::string_view body) {
  return body.find("`writes_as_itself`") != std::string_view::npos ||
         body.find("`not_simulated`") != std::string_view::npos;
}

std::string_view header(const UploadResponse& response, const std::string& name) {
  const auto found = response.headers.find(name);
  return found == response.headers.end() ? std::string_view() : std::string_view(found->second);
}

std::optional<Verdict> verdict_of_code(std::uint64_t code, std::string_view body) {
  // One code, two meanings: merges are behind (weather), or one block spans too many months (halving cures it).
  if (code == kTooManyParts) {
    return body.find("partitions") != std::string_view::npos ? Verdict::kData : Verdict::kRetry;
  }
  if (code == kViolatedConstraint && is_about_the_writer(body)) return Verdict::kHeld;
  const auto* const found =
      std::find_if(std::begin(kCodes), std::end(kCodes), [&](const CodeMeaning& m) { return m.code == code; });
  return found == std::end(kCodes) ? std::nullopt : std::optional<Verdict>(found->verdict);
}

Verdict verdict_of_status(int status) {
  switch (status) {
    case 400:
    case 413:
    case 422: return Verdict::kData;
    case 408:
    case 425:
    case 429: return Verdict::kRetry;
    default:
      // Any other 3xx and 4xx is a matter of addresses, rights or software versions: nothing is ever parked for it.
      return status >= 300 && status <= 499 ? Verdict::kHeld : Verdict::kRetry;
  }
}

// The day within "Sun, 06 Nov 1994 08:49:37 GMT" as year, month, day; the only date form that servers may send today.
std::optional<UtcTime> parse_http_date(std::string_view text) {
  constexpr std::array<std::string_view, 12> kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                        "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  if (text.size() != 29 || text.substr(3, 2) != ", " || text.substr(25) != " GMT") return std::nullopt;
  const auto month = std::find(kMonths.begin(), kMonths.end(), text.substr(8, 3));
  if (month == kMonths.end()) return std::nullopt;
  const auto number = static_cast<int>(month - kMonths.begin()) + 1;
  std::string iso(text.substr(12, 4));
  iso += number < 10 ? "-0" : "-";
  iso += std::to_string(number);
  iso += '-';
  iso += text.substr(5, 2);
  iso += 'T';
  iso += text.substr(17, 8);
  iso += 'Z';
  return parse_time(iso);
}

std::optional<Milliseconds> retry_after(const UploadResponse& response) {
  const std::string_view text = header(response, "retry-after");
  if (text.empty()) return std::nullopt;
  if (const std::optional<std::uint64_t> seconds = parse_u64(text)) {
    // Nobody means more than a year; the bound keeps the arithmetic safe.
    return std::chrono::seconds(std::min<std::uint64_t>(*seconds, 366ull * 86'400));
  }
  const std::optional<UtcTime> at = parse_http_date(text);
  if (!at) return std::nullopt;
  // By the receiver's own clock where it tells: ours may be wrong by hours.
  const UtcTime now = parse_http_date(header(response, "date")).value_or(response.received_at);
  return std::max(Milliseconds(0), *at - now);
}

std::string describe(const UploadResponse& response, std::string_view what) {
  std::string text = "HTTP " + std::to_string(response.status);
  const std::string_view code = header(response, "x-clickhouse-exception-code");
  if (!code.empty()) text += ", ClickHouse code " + display_text(code, 16);
  text += ": ";
  text += what;
  // The sentence that a nodemeter aggregator put into its JSON, or the start of whatever came.
  std::string detail;
  const auto json = nlohmann::json::parse(response.body, nullptr, false);
  if (json.is_object() && json.contains("error") && json["error"].is_string()) {
    detail = json["error"].get<std::string>();
  } else {
    detail = response.body.substr(0, response.body.find('\n'));
  }
  if (!detail.empty()) text += " (" + display_text(detail, 200) + ")";
  return text;
}

std::string_view meaning(Verdict verdict, int status) {
  switch (verdict) {
    case Verdict::kHeld:
      if (status >= 300 && status < 400) return "the receiver redirects, which is never followed: correct the URL";
      if (status == 401 || status == 407) return "the receiver does not accept our credentials";
      if (status == 403) return "the receiver does not let us write";
      return "the receiver's configuration and ours do not fit";
    case Verdict::kData: return "the receiver refuses something in the batch";
    case Verdict::kAccepted:
    case Verdict::kRetry: break;
  }
  return "the receiver cannot take it now";
}

Answer answer_with(Verdict verdict, const UploadResponse& response) {
  return Answer{.verdict = verdict,
                .reason = describe(response, meaning(verdict, response.status)),
                .retry_after = retry_after(response),
                .resend_from = std::nullopt,
                .missing = std::nullopt};
}

Answer not_an_acknowledgement(const UploadResponse& response, std::string_view why) {
  return Answer{.verdict = Verdict::kRetry,
                .reason = describe(response, why),
                .retry_after = retry_after(response),
                .resend_from = std::nullopt,
                .missing = std::nullopt};
}

// ClickHouse says nothing on success. Its query id or summary shows that the answer is its own and not a proxy's.
bool is_clickhouse_success(const UploadResponse& response) {
  const bool marked =
      response.headers.contains("x-clickhouse-summary") || response.headers.contains("x-clickhouse-query-id");
  const bool silent = response.body.find_first_not_of(" \r\n\t") == std::string::npos;
  return marked && silent;
}

Answer classify_success(const UploadResponse& response, Sequence batch_last) {
  const auto json = nlohmann::json::parse(response.body, nullptr, false);
  if (json.is_object() && json.contains("acknowledged")) {
    const auto& acknowledged = json["acknowledged"];
    if (!acknowledged.is_number_unsigned() || acknowledged.get<Sequence>() != batch_last) {
      return not_an_acknowledgement(response, "it acknowledges something that was not sent");
    }
    Answer answer{.verdict = Verdict::kAccepted, .reason = "", .retry_after = {}, .resend_from = {}, .missing = {}};
    if (json.contains("resend_from") && json["resend_from"].is_number_unsigned()) {
      const auto from = json["resend_from"].get<Sequence>();
      if (from >= 1) answer.resend_from = from;
    }
    if (json.contains("missing") && json["missing"].is_number_unsigned()) {
      answer.missing = json["missing"].get<std::uint64_t>();
    }
    return answer;
  }
  if (is_clickhouse_success(response))
    return Answer{.verdict = Verdict::kAccepted, .reason = "", .retry_after = {}, .resend_from = {}, .missing = {}};
  return not_an_acknowledgement(response, "the page of a proxy or of another server, not an acknowledgement");
}

}  // namespace

Answer classify(const UploadResponse& response, Sequence batch_last) {
  if (response.configuration_error || response.certificate_error) {
    return Answer{.verdict = Verdict::kHeld,
                  .reason = response.transport_error.value_or("the transport is not configured"),
                  .retry_after = {},
                  .resend_from = {},
                  .missing = {}};
  }
  if (response.transport_error) {
    return Answer{.verdict = Verdict::kRetry,
                  .reason = *response.transport_error,
                  .retry_after = {},
                  .resend_from = {},
                  .missing = {}};
  }
  // The code decides before the status: ClickHouse sends permanent errors as 500 too.
  const std::string_view code_text = header(response, "x-clickhouse-exception-code");
  if (!code_text.empty()) {
    const std::optional<std::uint64_t> code = parse_u64(code_text);
    const std::optional<Verdict> verdict = code ? verdict_of_code(*code, response.body) : std::nullopt;
    if (verdict) return answer_with(*verdict, response);
    // An exception is never an acknowledgement, whatever its status says.
    return answer_with(response.status >= 400 ? verdict_of_status(response.status) : Verdict::kRetry, response);
  }
  if (response.status == 200) return classify_success(response, batch_last);
  if (response.status > 200 && response.status < 300) {
    return not_an_acknowledgement(response, "the page of a proxy or of another server, not an acknowledgement");
  }
  return answer_with(verdict_of_status(response.status), response);
}

}  // namespace nodemeter
