#include "tests/sim/far_end.h"

#include <algorithm>

#include "platform/digest.h"
#include "store/entry_codec.h"

namespace nodemeter {

namespace {

UploadResponse status_response(int status, std::string body) {
  UploadResponse response;
  response.status = status;
  response.body = std::move(body);
  return response;
}

UploadResponse broken(const char* why, bool nothing_sent) {
  UploadResponse response;
  response.transport_error = why;
  response.sent_nothing = nothing_sent;
  return response;
}

std::string header_of(const UploadRequest& request, const std::string& name) {
  for (const auto& [key, value] : request.headers) {
    if (key == name) return value;
  }
  return {};
}

}  // namespace

void FarEnd::complain(const std::string& what) {
  if (complaints_.size() < 8) complaints_.push_back("delivery: " + what);
}

void FarEnd::at(std::int64_t now) {
  now_ = now;
  std::erase_if(spells_, [&](const Spell& spell) { return spell.until <= now_; });
  for (std::size_t i = 0; i < delayed_.size();) {
    if (delayed_[i].at > now_) {
      ++i;
      continue;
    }
    store(delayed_[i].body);
    delayed_.erase(delayed_.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

void FarEnd::apply(const PlanOp& op) {
  switch (op.op) {
    case Op::old_request_again:
      if (!old_.empty()) store(old_[static_cast<std::size_t>(op.at_ms) % old_.size()]);
      return;
    case Op::refuses_row: refused_rows_.insert(static_cast<std::uint64_t>(op.a)); return;
    case Op::receiver_backup: backup_ = rows_; return;
    case Op::receiver_restored: rows_ = backup_; return;
    default: spells_.push_back({op.op, now_ + op.a, op.b}); return;
  }
}

void FarEnd::calm() {
  spells_.clear();
  if (answer_) answer_->first = std::min(answer_->first, now_);
}

bool FarEnd::ever_refused(std::uint64_t sequence) const {
  return refuses(sequence) || refused_alone_.contains(sequence);
}

bool FarEnd::misses_any_below(std::uint64_t sequence) const {
  std::uint64_t expected = 1;
  for (const auto& [have, row] : rows_) {
    while (expected < have && refuses(expected)) ++expected;
    if (have != expected) break;
    ++expected;
  }
  while (refuses(expected) || ever_refused(expected)) ++expected;
  return expected < sequence;
}

// One batch, one token, one body, forever; its header tells the truth about what is in it.
void FarEnd::check(const UploadRequest& request, std::uint64_t first, std::uint64_t last) {
  const std::string digest = digest_of({request.body}).hex();
  const auto [known, fresh] = bodies_.try_emplace(request.url_suffix_token, digest);
  if (!fresh && known->second != digest) complain("another body under the token " + request.url_suffix_token);
  const std::string range = ":" + std::to_string(first) + "-" + std::to_string(last) + ":" + digest.substr(0, 16);
  if (!request.url_suffix_token.ends_with(range)) complain("the token names another range or body: " + range);
  if (header_of(request, "Nodemeter-Sequence") != std::to_string(first) + "-" + std::to_string(last))
    complain("the header names another range");
}

// Whether a single one of the rows is refused, and the answer then.
std::optional<UploadResponse> FarEnd::judge_rows(const std::string& body, std::uint64_t first, std::uint64_t last) {
  constexpr int kRefusals[] = {400, 422, 413};
  const auto refuse = [&](std::uint64_t sequence) {
    if (first == last) refused_alone_.insert(sequence);
    return status_response(kRefusals[sequence % 3], "row " + std::to_string(sequence));
  };
  for (const Spell& spell : spells_) {
    if (spell.op == Op::too_large && last - first >= static_cast<std::uint64_t>(spell.b)) {
      return status_response(413, "too large");
    }
    if (spell.op == Op::refuses_all) return refuse(first);
    if (spell.op != Op::refuses_rows_for_a_while) continue;
    const auto every = static_cast<std::uint64_t>(spell.b);
    if (last / every != (first - 1) / every) return refuse(last / every * every);
  }
  const auto refused = refused_rows_.lower_bound(first);
  if (refused != refused_rows_.end() && *refused <= last) return refuse(*refused);
  if (body.empty()) return status_response(400, "nothing");
  return std::nullopt;
}

void FarEnd::store(const std::string& body) {
  const auto rows = decode_rows(body, 1'000'000);
  if (!rows) {
    complain("a body does not decode: " + rows.error().message);
    return;
  }
  for (const DecodedEntry& row : *rows) {
    const std::string digest = row.entry.digest.hex();
    const auto [known, fresh] = seen_.try_emplace(row.entry.sequence, digest);
    if (!fresh && known->second != digest) complain("a fork at " + std::to_string(row.entry.sequence));
    rows_.try_emplace(row.entry.sequence, row.row);
  }
}

void FarEnd::answer(UploadResponse response, std::int64_t after) {
  response.received_at = UtcTime{Milliseconds{plan_.start_ms + now_ + after}};
  answer_.emplace(now_ + after, std::move(response));
}

UploadResponse FarEnd::acknowledgement(std::uint64_t first, std::uint64_t last) {
  acknowledged_ = std::max(acknowledged_, last);
  std::uint64_t expected = 1;
  for (const auto& [have, row] : rows_) {
    if (have != expected) break;
    ++expected;
  }
  std::string wish = "null";
  if (expected < first) {
    wish = std::to_string(expected) + ",\"missing\":" + std::to_string(rows_.rbegin()->first - rows_.size());
  }
  UploadResponse response =
      status_response(200, "{\"acknowledged\":" + std::to_string(last) + ",\"resend_from\":" + wish + "}");
  response.headers["content-type"] = "application/json";
  return response;
}

// True: the spell decided what becomes of the request.
bool FarEnd::meddle(const UploadRequest& request, const Spell& spell) {
  switch (spell.op) {
    case Op::refused: answer(broken("connection refused", true), 0); return true;
    case Op::lost_before_storing: answer(broken("connection reset while sending", false), 40); return true;
    case Op::lost_after_storing:
      store(request.body);
      answer(broken("connection reset while waiting for the answer", false), 40);
      return true;
    case Op::arrives_later:
      delayed_.push_back({now_ + spell.b, request.body});
      answer(broken("time-out", false), 30'000);
      return true;
    case Op::status: answer(status_response(static_cast<int>(spell.b), "not now"), 5); return true;
    case Op::retry_after: {
      UploadResponse response = status_response(requests_ % 2 == 0 ? 429 : 503, "later");
      response.headers["retry-after"] = std::to_string(spell.b);
      answer(std::move(response), 5);
      return true;
    }
    case Op::proxy_page: answer(status_response(200, "<html>welcome to this network</html>"), 5); return true;
    case Op::truncated:
      store(request.body);
      answer(status_response(200, "{\"acknowledged\":1"), 5);
      return true;
    case Op::wrong_acknowledgement:
      store(request.body);
      answer(status_response(200, "{\"acknowledged\":999999999,\"resend_from\":null}"), 5);
      return true;
    default: return false;
  }
}

void FarEnd::begin(UploadRequest request) {
  ++requests_;
  const auto rows = decode_rows(request.body, 1'000'000);
  if (!rows || rows->empty()) {
    complain("a body without rows, or that does not decode");
    answer(status_response(400, "nonsense"), 0);
    return;
  }
  const std::uint64_t first = rows->front().entry.sequence;
  const std::uint64_t last = rows->back().entry.sequence;
  if (last - first + 1 != rows->size()) complain("a batch with holes");
  check(request, first, last);
  if (old_.size() < 16 && requests_ % 3 == 0) old_.push_back(request.body);
  for (const Spell& spell : spells_) {
    // Whatever the reason given: a row that was refused alone may be set aside.
    const bool as_data = spell.op == Op::status && (spell.b == 400 || spell.b == 413 || spell.b == 422);
    if (as_data && first == last) refused_alone_.insert(first);
    if (meddle(request, spell)) return;
  }
  if (std::optional<UploadResponse> refusal = judge_rows(request.body, first, last)) {
    answer(std::move(*refusal), 5);
    return;
  }
  store(request.body);
  std::int64_t after = static_cast<std::int64_t>(requests_ % 3) * 15;
  for (const Spell& spell : spells_) {
    if (spell.op == Op::slow) after = spell.b;
  }
  answer(acknowledgement(first, last), after);
}

std::optional<UploadResponse> FarEnd::poll() {
  if (!answer_ || answer_->first > now_) return std::nullopt;
  UploadResponse response = std::move(answer_->second);
  answer_.reset();
  return response;
}

}  // namespace nodemeter
