#include "uploader/aggregator/serve.h"

#include <signal.h>
#include <sys/resource.h>

#include <functional>
#include <iostream>
#include <mutex>
#include <thread>

#include "platform/clock.h"
#include "platform/files.h"
#include "platform/log.h"
#include "platform/text.h"
#include "store/lmdb_kv.h"
#include "uploader/aggregator/aggregator_store.h"
#include "uploader/aggregator/config.h"
#include "uploader/aggregator/exit_codes.h"
#include "uploader/aggregator/import_file.h"
#include "uploader/aggregator/relay_thread.h"
#include "uploader/aggregator/server.h"
#include "uploader/aggregator/usage_api.h"
#include "uploader/curl_global.h"

namespace nodemeter {
namespace {

namespace fs = std::filesystem;

// The HTTP library waits with select(), which knows descriptors below 1024 only. More connections than this wait in
// the kernel's queue.
constexpr rlim_t kDescriptorsMax = 1'000;

int say(int code, const std::string& message) {
  std::cerr << "nodemeter-aggregator: " << message << "\n";
  return code;
}

Result<AggregatorConfig> configuration(const ServeFlags& flags) {
  AggregatorConfig config;
  if (!flags.config_file.empty()) {
    Result<AggregatorConfig> loaded = load_aggregator_config(flags.config_file);
    if (!loaded) return loaded.error();
    config = std::move(*loaded);
  }
  if (!flags.listen.empty()) config.address = flags.listen;
  if (!flags.state.empty()) config.state = flags.state;
  if (!flags.cert.empty()) config.cert_file = flags.cert;
  if (!flags.key.empty()) config.key_file = flags.key;
  if (!flags.client_ca.empty()) config.client_ca_file = flags.client_ca;
  if (!flags.nodes.empty()) config.nodes_file = flags.nodes;
  if (!flags.tokens.empty()) config.tokens_file = flags.tokens;
  config.allow_simulated = config.allow_simulated || flags.allow_simulated;
  if (const std::string fault = serving_fault(config); !fault.empty()) return Error{ErrorCode::kInvalidInput, fault};
  return config;
}

Result<ServerOptions> server_options(const AggregatorConfig& config) {
  ServerOptions options;
  options.address = parse_listen_address(config.address).value();
  options.cert_file = config.cert_file;
  options.key_file = config.key_file;
  options.client_ca_file = config.client_ca_file;
  options.limits.allow_simulated = config.allow_simulated;
  if (!config.nodes_file.empty()) {
    Result<NodeRegistry> nodes = NodeRegistry::load(config.nodes_file);
    if (!nodes) return nodes.error();
    options.nodes = std::move(*nodes);
  }
  return options;
}

// Without a tokens file nobody has a token, and the usage API tells everybody so.
Result<TokenRegistry> token_registry(const AggregatorConfig& config) {
  if (config.tokens_file.empty()) return TokenRegistry();
  return TokenRegistry::load(config.tokens_file);
}

// Who has to report, read and replaced by different threads.
class ExpectedNodes {
 public:
  void set(std::vector<ExpectedNode> nodes) {
    const std::lock_guard lock(mutex_);
    nodes_ = std::move(nodes);
  }
  [[nodiscard]] std::vector<ExpectedNode> get() const {
    const std::lock_guard lock(mutex_);
    return nodes_;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<ExpectedNode> nodes_;
};

sigset_t stop_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  return set;
}

// What is needed to take in files beside requests.
class Inbox {
 public:
  Inbox(const fs::path& state, AggregatorStore& store, const IngestLimits& limits, const Clock& clock, Log& log)
      : state_(state), store_(store), limits_(limits), clock_(clock), log_(log) {}
  void look(const NodeRegistry* nodes) {
    const auto done = import_inbox_files(state_, store_, limits_, nodes, clock_);
    const std::string trouble = done ? "" : done.error().message;
    if (!trouble.empty() && trouble != trouble_) log_.error("cannot import", {{"why", trouble}});
    trouble_ = trouble;
    if (!done) return;
    for (const auto& [file, report] : *done) {
      if (report.error.empty()) {
        log_.info("imported", {{"file", display_text(file)}, {"report", report.json()}});
      } else {
        log_.warning("not imported", {{"file", display_text(file)}, {"why", report.error}});
      }
    }
  }

 private:
  const fs::path& state_;
  AggregatorStore& store_;
  const IngestLimits& limits_;
  const Clock& clock_;
  Log& log_;
  std::string trouble_;
};

// Takes over what was written into the nodes file meanwhile; a faulty file changes nothing.
class NodesFile {
 public:
  NodesFile(const fs::path& file, std::optional<NodeRegistry> nodes, AggregatorServer& server, ExpectedNodes& expected,
            Log& log)
      : watch_(file), file_(file), nodes_(std::move(nodes)), server_(server), expected_(expected), log_(log) {}
  void look() {
    if (file_.empty() || !watch_.changed()) return;
    Result<NodeRegistry> nodes = NodeRegistry::load(file_);
    if (!nodes) {
      log_.error("the nodes file is not taken over: what it said before stays in force",
                 {{"why", display_text(nodes.error().message, 2'000)}});
      return;
    }
    log_.info("the nodes file was read again", {{"nodes", std::to_string(nodes->size())}});
    expected_.set(nodes->expected());
    server_.set_nodes(*nodes);
    nodes_ = std::move(*nodes);
  }
  // What it says now; null: there is none.
  [[nodiscard]] const NodeRegistry* nodes() const { return nodes_ ? &*nodes_ : nullptr; }

 private:
  FileWatch watch_;
  const fs::path file_;
  std::optional<NodeRegistry> nodes_;
  AggregatorServer& server_;
  ExpectedNodes& expected_;
  Log& log_;
};

// Serves until a stop signal (0) or until it cannot go on (1).
// `look`: what else there is to do now and then; gives false if it cannot go on.
int serve_until_stopped(AggregatorServer& server, const std::function<bool()>& look, Log& log) {
  std::thread serving([&] { server.run(); });
  const sigset_t signals = stop_signals();
  const timespec patience{.tv_sec = 0, .tv_nsec = 200'000'000};
  int signal = 0;
  bool good = true;
  while (signal <= 0 && good) {
    signal = sigtimedwait(&signals, nullptr, &patience);
    good = (signal > 0 || look()) && !server.failed();
  }
  log.info(signal > 0 ? "stopping: requests under way are finished first"
                      : "stopping: it cannot go on, and has to be started again");
  server.stop();
  serving.join();
  return good && !server.failed() ? kDone : kFailed;
}

void prepare_process() {
  // Threads inherit the mask: the signals are taken where sigtimedwait() stands, and SIGPIPE nowhere.
  sigset_t blocked = stop_signals();
  sigaddset(&blocked, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &blocked, nullptr);
  rlimit descriptors{};
  if (getrlimit(RLIMIT_NOFILE, &descriptors) == 0 && descriptors.rlim_cur > kDescriptorsMax) {
    descriptors.rlim_cur = kDescriptorsMax;
    setrlimit(RLIMIT_NOFILE, &descriptors);
  }
}

// Nothing: nothing is passed on.
Result<std::unique_ptr<RelayThread>> start_relay(const AggregatorConfig& config, AggregatorStore& store,
                                                 const Clock& clock, Log& log) {
  ForwardQueue& queue = store.forward_queue();
  const bool forwarding = !config.forward.urls.empty();
  const Status switched = forwarding ? queue.switch_on() : queue.switch_off();
  if (!switched) return switched.error();
  if (!forwarding) return std::unique_ptr<RelayThread>();
  auto started = RelayThread::start(config, queue, clock, log);
  if (!started) return Error{started.error().code, "forward: " + started.error().message};
  return started;
}

}  // namespace

int serve(const ServeFlags& flags) {
  const Result<AggregatorConfig> config = configuration(flags);
  if (!config) return say(kWrongUse, config.error().message);
  Result<ServerOptions> options = server_options(*config);
  if (!options) return say(kWrongUse, options.error().message);
  const Result<TokenRegistry> tokens = token_registry(*config);
  if (!tokens) return say(kWrongUse, tokens.error().message);

  const CurlGlobal curl;
  if (!curl.ready()) return say(kFailed, "libcurl cannot be used");
  prepare_process();
  if (const Status made = make_state_directory(config->state); !made) return say(kFailed, made.error().message);
  const Result<FileLock> lock = FileLock::acquire(config->state / "lock");
  if (!lock && lock.error().code == ErrorCode::kLocked) {
    return say(kFailed, "another nodemeter-aggregator serves " + config->state.string() + ": " + lock.error().message);
  }
  if (!lock) return say(kFailed, lock.error().message);
  const fs::path rows = rows_directory(config->state);
  for (const fs::path& made_here : {rows, import_inbox(config->state)}) {
    if (const Status made = make_state_directory(made_here); !made) return say(kFailed, made.error().message);
  }
  const auto kv = open_lmdb(rows, LmdbOptions{.size_max_bytes = config->size_max});
  if (!kv) return say(kFailed, kv.error().message);
  const auto store = AggregatorStore::open(**kv);
  if (!store) return say(kFailed, store.error().message);

  const std::unique_ptr<Clock> clock = system_clock();
  const std::unique_ptr<Log> log = standard_error_log(LogLevel::kInfo, false);
  ExpectedNodes expected;
  if (options->nodes) expected.set(options->nodes->expected());
  UsageApi usage({.scheme = options->cert_file.empty() ? "http" : "https"}, **kv, **store, *clock, *log, *tokens,
                 [&expected] { return expected.get(); });
  options->routes = usage.routes();
  const auto relay = start_relay(*config, **store, *clock, *log);
  if (!relay) return say(kFailed, relay.error().message);
  if (*relay) options->more_metrics = [&relay] { return (*relay)->metrics(); };
  const auto server = AggregatorServer::open(*options, **store, *clock, *log);
  if (!server) return say(kFailed, server.error().message);
  log->info("listening", {{"address", options->address.host},
                          {"port", std::to_string((*server)->port())},
                          {"tls", options->cert_file.empty() ? "no" : "yes"},
                          {"state", config->state.string()}});
  if (!flags.port_file.empty()) {
    const Status written = replace_file(flags.port_file, std::to_string((*server)->port()) + "\n");
    if (!written) return say(kFailed, written.error().message);
  }
  Inbox inbox(config->state, **store, options->limits, *clock, *log);
  NodesFile nodes(config->nodes_file, options->nodes, **server, expected, *log);
  const auto look = [&] {
    nodes.look();
    inbox.look(nodes.nodes());
    return *relay == nullptr || !(*relay)->failed();
  };
  return serve_until_stopped(**server, look, *log);
}

}  // namespace nodemeter
