#include "uploader/aggregator/intake.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "platform/text.h"
#include "uploader/aggregator/inflate.h"

namespace nodemeter {

BatchIntake::BatchIntake(AggregatorStore& store, const Clock& clock, Log& log, AggregatorMetrics& metrics,
                         const IngestLimits& limits, bool certificate_needed, std::optional<NodeRegistry> nodes)
    : store_(store),
      clock_(clock),
      log_(log),
      metrics_(metrics),
      limits_(limits),
      certificate_needed_(certificate_needed) {
  if (nodes) nodes_ = std::make_shared<const NodeRegistry>(*std::move(nodes));
}

void BatchIntake::set_nodes(NodeRegistry nodes) {
  auto next = std::make_shared<const NodeRegistry>(std::move(nodes));
  const std::lock_guard lock(nodes_mutex_);
  nodes_ = std::move(next);
}

std::shared_ptr<const NodeRegistry> BatchIntake::nodes() const {
  const std::lock_guard lock(nodes_mutex_);
  return nodes_;
}

// Whether senders have to prove who they are.
bool BatchIntake::guarded() const { return certificate_needed_ || nodes() != nullptr; }

std::optional<Refusal> BatchIntake::check_sender(const HttpRequest& request) const {
  const std::shared_ptr<const NodeRegistry> nodes = this->nodes();
  if (!certificate_needed_ && !nodes) return std::nullopt;
  const auto& names = request.credentials.certificate_names;
  if (certificate_needed_ && names.empty()) {
    return Refusal{.status = 401,
                   .cause = "credentials",
                   .sentence = "a client certificate of the configured authority is required"};
  }
  const std::string node = request.header("nodemeter-node");
  if (node.empty()) return Refusal{.status = 400, .cause = "header", .sentence = "Nodemeter-Node is missing"};
  Access access = Access::kOtherNode;
  if (nodes) {
    access = nodes->check(node, request.credentials);
  } else if (std::find(names.begin(), names.end(), node) != names.end()) {
    access = Access::kAllowed;
  }
  if (access == Access::kAllowed) return std::nullopt;
  if (access == Access::kOtherNode) {
    return Refusal{.status = 403,
                   .cause = "node",
                   .sentence = "these credentials do not let anyone write as node " + display_text(node, 64)};
  }
  return Refusal{.status = 401, .cause = "credentials", .sentence = "no credentials, or unknown ones"};
}

HttpAnswer BatchIntake::take(HttpRequest request) {
  const Result<std::string> plain =
      inflate_body(request.header("content-encoding"), std::move(request.body), limits_.bytes_max);
  if (!plain) {
    const ErrorCode code = plain.error().code;
    const int status = code == ErrorCode::kLimitExceeded ? 413 : code == ErrorCode::kUnsupported ? 415 : 400;
    return refuse(request, Refusal{.status = status, .cause = "body", .sentence = plain.error().message});
  }
  const IngestClaims claims{.node = request.header("nodemeter-node"),
                            .epoch = request.header("nodemeter-epoch"),
                            .sequence = request.header("nodemeter-sequence"),
                            .digest = request.header("nodemeter-digest")};
  auto decoded = decode_batch(claims, *plain, limits_);
  if (const auto* const refused = std::get_if<Refusal>(&decoded)) return refuse(request, *refused);
  auto& batch = std::get<IngestBatch>(decoded);
  if (const auto nodes = this->nodes()) batch.configured_key = nodes->configured_key(batch.node.text());
  return store_batch(batch);
}

HttpAnswer BatchIntake::store_batch(const IngestBatch& batch) {
  if (failed_) return error_answer(503, "the store has failed; this process has to be restarted");
  const auto stored = store_.store(batch, clock_.now().utc);
  if (!stored) return store_failed(stored.error());
  const std::string range = std::to_string(batch.first) + "-" + std::to_string(batch.last);
  if (const auto* const refused = std::get_if<Refusal>(&*stored)) {
    metrics_.refused(refused->cause, batch.node, clock_.now().utc);
    log_.warning("a batch was refused",
                 {{"node", batch.node.text()}, {"sequence", range}, {"reason", refused->sentence}});
    return error_answer(refused->status, refused->sentence);
  }
  const StoreOutcome& outcome = std::get<StoreOutcome>(*stored);
  metrics_.accepted(batch.node, outcome, clock_.now().utc);
  report(batch, range, outcome);
  nlohmann::json answer = {{"acknowledged", outcome.acknowledged}, {"resend_from", nullptr}};
  if (outcome.resend_from) {
    answer["resend_from"] = *outcome.resend_from;
    answer["missing"] = outcome.missing;
  }
  return HttpAnswer{.status = 200, .body = answer.dump(), .type = "application/json", .headers = {}};
}

// What an operator should know about the node, although its batch was taken.
void BatchIntake::report(const IngestBatch& batch, const std::string& range, const StoreOutcome& outcome) {
  const auto tell = [&](LogLevel level, std::string_view message) {
    log_.write(level, message, {{"node", batch.node.text()}, {"epoch", batch.epoch.text()}, {"sequence", range}});
  };
  if (outcome.forks > 0) {
    tell(LogLevel::kError, "a node has sent different entries under the same sequence numbers: all are kept");
  }
  if (outcome.went_back) {
    tell(LogLevel::kError,
         "a node sends again, unasked, what it was told is stored: its store went back to an older copy");
  }
  if (outcome.twin) {
    tell(LogLevel::kError,
         "an earlier store of a node goes on beside its newer one: two copies of the node are at work");
  }
  if (outcome.after_copy) {
    log_.warning("a node goes on from an older copy of its journal, and declares what was used since as a gap",
                 {{"node", batch.node.text()},
                  {"epoch", batch.epoch.text()},
                  {"entries_here_after_the_copy", std::to_string(*outcome.after_copy)}});
  } else if (outcome.new_epoch) {
    tell(LogLevel::kWarning, "a node has begun a new store");
  }
}

HttpAnswer BatchIntake::refuse(const HttpRequest& request, const Refusal& refusal) {
  const std::optional<NodeId> node = NodeId::parse(request.header("nodemeter-node"));
  if (node && guarded() && !check_sender(request)) {
    metrics_.refused(refusal.cause, *node, clock_.now().utc);
  } else {
    metrics_.refused(refusal.cause);
  }
  log_.warning("a batch was refused", {{"from", request.from},
                                       {"node", display_text(request.header("nodemeter-node"), 64)},
                                       {"status", std::to_string(refusal.status)},
                                       {"reason", refusal.sentence}});
  return error_answer(refusal.status, refusal.sentence);
}

HttpAnswer BatchIntake::store_failed(const Error& error) {
  metrics_.refused(error.code == ErrorCode::kFull ? "full" : "store");
  log_.error("the store takes nothing", {{"reason", error.message}});
  if (error.code == ErrorCode::kFull) return error_answer(503, "the aggregator has no room left");
  failed_ = true;
  return error_answer(503, "the aggregator's store has failed");
}

}  // namespace nodemeter
