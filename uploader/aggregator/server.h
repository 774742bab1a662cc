// The aggregator's HTTP end (the only httplib.h is in server.cpp).
//
//   POST <any path>   a batch, in the form that ClickHouse gets too (product wire format); the answer is JSON
//   GET  /healthz     200 "ok", or 503 with the reason
//   GET  /metrics     Prometheus text
//   what ServerOptions::routes adds (http.h)
//
// What a batch may be is ingest.h, what becomes of it aggregator_store.h. A batch is acknowledged after its commit is
// durable and not before.

#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "platform/clock.h"
#include "platform/log.h"
#include "platform/result.h"
#include "uploader/aggregator/aggregator_store.h"
#include "uploader/aggregator/config.h"
#include "uploader/aggregator/connection_limits.h"
#include "uploader/aggregator/http.h"
#include "uploader/aggregator/ingest.h"
#include "uploader/aggregator/nodes.h"

namespace nodemeter {

struct ServerOptions {
  ListenAddress address;
  std::string cert_file, key_file, client_ca_file;  // As in AggregatorConfig.
  std::optional<NodeRegistry>
      nodes;  // Nothing: a client certificate names its node, and without client CA anybody writes.
  IngestLimits limits;
  // What is served beside batches, /healthz and /metrics. The first route that matches answers; a POST that matches
  // none is a batch.
  std::vector<HttpRoute> routes;
  std::size_t threads = 64;  // Connections served at once; further ones wait.
  ConnectionLimits connections;
  std::function<std::string()> more_metrics;  // Appended to /metrics; called from any thread.
};

class AggregatorServer {
 public:
  virtual ~AggregatorServer() = default;
  AggregatorServer(const AggregatorServer&) = delete;
  AggregatorServer& operator=(const AggregatorServer&) = delete;

  // Binds the address; requests wait until run(). All references must outlive the server.
  //   kInvalidInput  certificate, key or client CA cannot be used; the message says which
  //   kLocked        the address is taken
  static Result<std::unique_ptr<AggregatorServer>> open(const ServerOptions& options, AggregatorStore& store,
                                                        const Clock& clock, Log& log);

  [[nodiscard]] virtual int port() const = 0;

  // Serves until stop(), or until the listening socket fails. Returns when every request under way is answered.
  virtual void run() = 0;

  // Any thread, once, after run() was called somewhere.
  virtual void stop() = 0;

  // Another list of who may write, for every request that comes from now on. Any thread.
  virtual void set_nodes(NodeRegistry nodes) = 0;

  // The store refuses everything from now on, or no connection is accepted any more: the process has to end and begin
  // again. Any thread.
  [[nodiscard]] virtual bool failed() const = 0;

 protected:
  AggregatorServer() = default;
};

}  // namespace nodemeter
