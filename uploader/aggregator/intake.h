// One request with a batch: who sends it, whether they may, what is in it, and what the store says. The answer decides
// what the sender does next (uploader/answer.h). Any thread.

#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>

#include "platform/clock.h"
#include "platform/log.h"
#include "uploader/aggregator/aggregator_store.h"
#include "uploader/aggregator/http.h"
#include "uploader/aggregator/ingest.h"
#include "uploader/aggregator/metrics.h"

namespace nodemeter {

class BatchIntake {
 public:
  // `certificate_needed`: senders have to show one of the configured authority. `nodes` none: a client certificate
  // names its node, and without certificates anybody writes. The references must outlive the intake.
  BatchIntake(AggregatorStore& store, const Clock& clock, Log& log, AggregatorMetrics& metrics,
              const IngestLimits& limits, bool certificate_needed, std::optional<NodeRegistry> nodes);

  void set_nodes(NodeRegistry nodes);

  // Why this sender may not write, known before the body is.
  [[nodiscard]] std::optional<Refusal> check_sender(const HttpRequest& request) const;

  // A whole request whose sender may write.
  HttpAnswer take(HttpRequest request);

  // Counts, logs and answers.
  HttpAnswer refuse(const HttpRequest& request, const Refusal& refusal);

  [[nodiscard]] const IngestLimits& limits() const { return limits_; }

  // The store refuses everything from now on.
  [[nodiscard]] bool failed() const { return failed_; }

 private:
  [[nodiscard]] std::shared_ptr<const NodeRegistry> nodes() const;
  [[nodiscard]] bool guarded() const;
  HttpAnswer store_batch(const IngestBatch& batch);
  void report(const IngestBatch& batch, const std::string& range, const StoreOutcome& outcome);
  HttpAnswer store_failed(const Error& error);

  AggregatorStore& store_;
  const Clock& clock_;
  Log& log_;
  AggregatorMetrics& metrics_;
  const IngestLimits limits_;
  const bool certificate_needed_;
  std::atomic<bool> failed_ = false;
  mutable std::mutex nodes_mutex_;
  std::shared_ptr<const NodeRegistry> nodes_;  // Guarded by nodes_mutex_.
};

}  // namespace nodemeter
