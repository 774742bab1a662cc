// nodemeter-aggregator: the composition root. It alone reads the real clock, disk, signals and command line.

#include <signal.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <initializer_list>
#include <iostream>
#include <thread>

#include "platform/clock.h"
#include "platform/files.h"
#include "platform/log.h"
#include "platform/random.h"
#include "platform/text.h"
#include "store/lmdb_kv.h"
#include "uploader/aggregator/aggregator_store.h"
#include "uploader/aggregator/config.h"
#include "uploader/aggregator/import_file.h"
#include "uploader/aggregator/row_json.h"
#include "uploader/aggregator/server.h"

namespace nodemeter {
namespace {

namespace fs = std::filesystem;

constexpr int kDone = 0;
constexpr int kFailed = 1;
constexpr int kWrongUse = 2;
constexpr int kIncomplete = 3;

// Address space, not disk: the file grows with what is stored.
constexpr std::uint64_t kStoreSizeMax = 256ull << 30;

// A report has a line of some hundred bytes for each run of a file.
constexpr std::size_t kReportMax = 16u << 20;

// The HTTP library waits with select(), which knows descriptors below 1024 only. More connections than this wait in
// the kernel's queue.
constexpr rlim_t kDescriptorsMax = 1'000;

int say(int code, const std::string& message) {
  std::cerr << "nodemeter-aggregator: " << message << "\n";
  return code;
}

fs::path rows_directory(const fs::path& state) { return state / "rows"; }

struct ServeFlags {
  std::string config_file, listen, state, cert, key, client_ca, nodes, port_file;
  bool allow_simulated = false;
};

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
  void look() {
    const auto done = import_inbox_files(state_, store_, limits_, clock_);
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

// Serves until a stop signal (0) or until the store fails (1).
int serve_until_stopped(AggregatorServer& server, Inbox& inbox, Log& log) {
  std::thread serving([&] { server.run(); });
  const sigset_t signals = stop_signals();
  const timespec patience{.tv_sec = 0, .tv_nsec = 200'000'000};
  int signal = 0;
  while (signal <= 0 && !server.failed()) {
    signal = sigtimedwait(&signals, nullptr, &patience);
    if (signal <= 0) inbox.look();
  }
  log.info(signal > 0 ? "stopping: requests under way are finished first" : "stopping: the store has failed");
  server.stop();
  serving.join();
  return server.failed() ? kFailed : kDone;
}

int serve(const ServeFlags& flags) {
  const Result<AggregatorConfig> config = configuration(flags);
  if (!config) return say(kWrongUse, config.error().message);
  const Result<ServerOptions> options = server_options(*config);
  if (!options) return say(kWrongUse, options.error().message);

  // Threads inherit the mask: the signals are taken where sigtimedwait() stands, and SIGPIPE nowhere.
  sigset_t blocked = stop_signals();
  sigaddset(&blocked, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &blocked, nullptr);
  rlimit descriptors{};
  if (getrlimit(RLIMIT_NOFILE, &descriptors) == 0 && descriptors.rlim_cur > kDescriptorsMax) {
    descriptors.rlim_cur = kDescriptorsMax;
    setrlimit(RLIMIT_NOFILE, &descriptors);
  }

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
  const auto kv = open_lmdb(rows, LmdbOptions{.size_max_bytes = kStoreSizeMax});
  if (!kv) return say(kFailed, kv.error().message);
  const auto store = AggregatorStore::open(**kv);
  if (!store) return say(kFailed, store.error().message);

  const std::unique_ptr<Clock> clock = system_clock();
  const std::unique_ptr<Log> log = standard_error_log(LogLevel::kInfo, false);
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
  return serve_until_stopped(**server, inbox, *log);
}

Result<std::unique_ptr<KeyValue>> open_for_reading(const std::string& state) {
  return open_lmdb(rows_directory(state), LmdbOptions{.size_max_bytes = kStoreSizeMax, .read_only = true});
}

int print_rows(const std::string& state, const std::string& node_text, bool json) {
  std::optional<NodeId> node;
  if (!node_text.empty()) {
    node = NodeId::parse(node_text);
    if (!node) return say(kWrongUse, "--node has to be 1 to 64 characters out of a-z, 0-9 and -");
  }
  const auto kv = open_for_reading(state);
  if (!kv) return say(kFailed, kv.error().message);
  int code = kDone;
  const Status walked = for_each_row(**kv, node, [&](const StoredRow& row) {
    const Result<std::string> text = json ? row_json(row) : row_line(row);
    if (text) {
      std::cout << *text << "\n";
    } else {
      code = say(kFailed,
                 "entry " + std::to_string(row.sequence) + " of " + row.node.text() + ": " + text.error().message);
    }
    return std::cout.good();
  });
  if (!walked) return say(kFailed, walked.error().message);
  std::cout.flush();
  return std::cout.good() ? code : say(kFailed, "cannot write the output");
}

int verify(const std::string& state) {
  const auto kv = open_for_reading(state);
  if (!kv) return say(kFailed, kv.error().message);
  const Result<StoreCheck> check = verify_store(**kv);
  if (!check) return say(kFailed, check.error().message);
  for (const std::string& fault : check->faults) std::cout << "fault: " << fault << "\n";
  for (const std::string& hole : check->holes) std::cout << "hole: " << hole << "\n";
  std::cout << check->rows << " rows, " << check->chains << " chains, " << check->forks << " forks, "
            << check->signed_manifests << " of " << check->manifests << " manifests signed, " << check->holes.size()
            << " holes, " << check->faults.size() << " faults\n";
  if (!check->faults.empty() || check->forks > 0) return kFailed;
  return check->holes.empty() ? kDone : kIncomplete;
}

int tell(const std::string& file, const ImportReport& report) {
  std::cout << report.json() << "\n";
  if (!report.error.empty()) return say(kFailed, file + ": " + report.error);
  return kDone;
}

// The aggregator runs: it imports what appears in its inbox, and leaves its report there.
int import_by_server(const fs::path& state, const std::string& file) {
  const std::string name = Random::from_system().uuid().text();
  const fs::path part = import_inbox(state) / (name + ".part");
  const fs::path report = import_inbox(state) / (name + ".json");
  std::error_code error;
  fs::copy_file(file, part, error);
  if (error) return say(kFailed, "cannot copy " + file + " to " + part.string() + ": " + error.message());
  fs::rename(part, import_inbox(state) / (name + kImportSuffix), error);
  if (error) return say(kFailed, "cannot rename " + part.string() + ": " + error.message());
  constexpr auto kLook = std::chrono::milliseconds(100);
  constexpr auto kPatience = std::chrono::minutes(30);
  for (auto waited = std::chrono::milliseconds(0); waited < kPatience; waited += kLook) {
    const Result<std::string> text = read_file(report, kReportMax);
    if (text) {
      fs::remove(report, error);
      std::cout << *text;
      return text->starts_with("{\"error\":\"\"") ? kDone : say(kFailed, file + " was not imported");
    }
    std::this_thread::sleep_for(kLook);
  }
  return say(kFailed, "the running aggregator has not imported it yet; its report will be " + report.string());
}

int import(const std::string& state, const std::vector<std::string>& files, const IngestLimits& limits) {
  for (const fs::path& wanted : {fs::path(state), rows_directory(state), import_inbox(state)}) {
    if (const Status made = make_state_directory(wanted); !made) return say(kFailed, made.error().message);
  }
  const Result<FileLock> lock = FileLock::acquire(fs::path(state) / "lock");
  if (!lock && lock.error().code != ErrorCode::kLocked) return say(kFailed, lock.error().message);
  int code = kDone;
  if (!lock) {
    for (const std::string& file : files) code = std::max(code, import_by_server(state, file));
    return code;
  }
  const auto kv = open_lmdb(rows_directory(state), LmdbOptions{.size_max_bytes = kStoreSizeMax});
  if (!kv) return say(kFailed, kv.error().message);
  const auto store = AggregatorStore::open(**kv);
  if (!store) return say(kFailed, store.error().message);
  const std::unique_ptr<Clock> clock = system_clock();
  for (const std::string& file : files) {
    const Result<ImportReport> report = import_file(fs::path(file), **store, limits, *clock);
    if (!report) return say(kFailed, report.error().message);
    code = std::max(code, tell(file, *report));
  }
  return code;
}

int check_config(const std::string& file) {
  const Result<AggregatorConfig> config = load_aggregator_config(file);
  if (!config) return say(kWrongUse, config.error().message);
  if (const std::string fault = serving_fault(*config); !fault.empty()) return say(kWrongUse, file + ": " + fault);
  std::cout << file << ": good\n";
  return kDone;
}

int run(int argc, char** argv) {
  CLI::App app(
      "Receives the entries of nodemeter agents and keeps each of them once.\n"
      "Example: nodemeter-aggregator --config /etc/nodemeter/aggregator.toml",
      "nodemeter-aggregator");
  app.require_subcommand(0, 1);
  ServeFlags flags;
  app.add_option("--config", flags.config_file, "configuration file (TOML); flags below win over it");
  app.add_option("--listen", flags.listen, "host:port; port 0 takes a free one");
  app.add_option("--state", flags.state, "state directory");
  app.add_option("--cert", flags.cert, "certificate chain of this server (PEM)");
  app.add_option("--key", flags.key, "its key (PEM)");
  app.add_option("--client-ca", flags.client_ca, "senders need a certificate of this authority (PEM)");
  app.add_option("--nodes", flags.nodes, "file of the nodes that may write (JSON)");
  app.add_option("--port-file", flags.port_file, "write the port here once listening");
  app.add_flag("--allow-simulated", flags.allow_simulated, "also take simulated rows (trials)");

  std::string state;
  std::string node;
  bool json = false;
  CLI::App* const rows = app.add_subcommand("rows",
                                            "print stored rows, oldest first per node\n"
                                            "Example: nodemeter-aggregator rows --state DIR --json");
  rows->add_option("--state", state, "state directory")->required();
  rows->add_option("--node", node, "only this node");
  rows->add_flag("--json", json, "one JSON object a line");
  CLI::App* const verify_verb =
      app.add_subcommand("verify", "recompute every chain; exit 1: faults or forks, 3: entries are missing");
  verify_verb->add_option("--state", state, "state directory")->required();
  CLI::App* const import_verb =
      app.add_subcommand("import",
                         "store what nodemeter journal export wrote, each entry once; prints what was stored as JSON\n"
                         "Example: nodemeter-aggregator import january.nmx --state DIR");
  std::vector<std::string> files;
  bool allow_simulated = false;
  import_verb->add_option("files", files, "exported files")->required();
  import_verb->add_option("--state", state, "state directory")->required();
  import_verb->add_flag("--allow-simulated", allow_simulated, "also take simulated rows (trials)");
  CLI::App* const version = app.add_subcommand("version", "print the version");
  CLI::App* const config = app.add_subcommand("config", "work on a configuration file");
  config->require_subcommand(1);
  CLI::App* const check = config->add_subcommand("check", "say what is wrong with it, by line");
  std::string file;
  check->add_option("file", file, "configuration file")->required();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kDone : kWrongUse;
  }
  if (*rows) return print_rows(state, node, json);
  if (*verify_verb) return verify(state);
  if (*import_verb) {
    IngestLimits limits;
    limits.allow_simulated = allow_simulated;
    return import(state, files, limits);
  }
  if (*check) return check_config(file);
  if (*version) {
    std::cout << "nodemeter-aggregator " << NODEMETER_VERSION << " (store format " << kAggregatorFormat
              << ", entry schema " << static_cast<unsigned>(kEntrySchema) << ")\n";
    return kDone;
  }
  return serve(flags);
}

}  // namespace
}  // namespace nodemeter

int main(int argc, char** argv) {
  try {
    return nodemeter::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "nodemeter-aggregator: internal error: %s\n", error.what());
    return 1;
  }
}
