// nodemeter-aggregator: the command line. Serving is serve.cpp.

#include <CLI/CLI.hpp>
#include <cstdio>
#include <initializer_list>
#include <iostream>
#include <thread>

#include "platform/clock.h"
#include "platform/files.h"
#include "platform/process.h"
#include "platform/random.h"
#include "platform/text.h"
#include "store/lmdb_kv.h"
#include "uploader/aggregator/aggregator_store.h"
#include "uploader/aggregator/backup.h"
#include "uploader/aggregator/business_verbs.h"
#include "uploader/aggregator/config.h"
#include "uploader/aggregator/exit_codes.h"
#include "uploader/aggregator/import_file.h"
#include "uploader/aggregator/row_json.h"
#include "uploader/aggregator/serve.h"

namespace nodemeter {
namespace {

namespace fs = std::filesystem;

// A report has a line of some hundred bytes for each run of a file.
constexpr std::size_t kReportMax = 16u << 20;

int say(int code, const std::string& message) {
  std::cerr << "nodemeter-aggregator: " << message << "\n";
  return code;
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

struct ImportFlags {
  std::vector<std::string> files;
  std::string config, state, nodes;
  bool allow_simulated = false;
};

// What the configuration file says, where the flags do not. "" or what is wrong.
std::string configure(ImportFlags& flags) {
  if (!flags.config.empty()) {
    const Result<AggregatorConfig> config = load_aggregator_config(flags.config);
    if (!config) return config.error().message;
    if (flags.state.empty()) flags.state = config->state.string();
    if (flags.nodes.empty()) flags.nodes = config->nodes_file;
    flags.allow_simulated = flags.allow_simulated || config->allow_simulated;
  }
  return flags.state.empty() ? "import needs --state or --config" : "";
}

int import(ImportFlags flags) {
  if (const std::string fault = configure(flags); !fault.empty()) return say(kWrongUse, fault);
  const std::string& state = flags.state;
  std::optional<NodeRegistry> nodes;
  if (!flags.nodes.empty()) {
    Result<NodeRegistry> loaded = NodeRegistry::load(flags.nodes);
    if (!loaded) return say(kWrongUse, loaded.error().message);
    nodes = std::move(*loaded);
  }
  for (const fs::path& wanted : {fs::path(state), rows_directory(state), import_inbox(state)}) {
    if (const Status made = make_state_directory(wanted); !made) return say(kFailed, made.error().message);
  }
  const Result<FileLock> lock = FileLock::acquire(fs::path(state) / "lock");
  if (!lock && lock.error().code != ErrorCode::kLocked) return say(kFailed, lock.error().message);
  int code = kDone;
  if (!lock) {
    if (nodes) say(kDone, "the running aggregator imports, and by the nodes file that it was started with");
    for (const std::string& file : flags.files) code = std::max(code, import_by_server(state, file));
    return code;
  }
  const auto kv = open_lmdb(rows_directory(state), LmdbOptions{.size_max_bytes = kStoreSizeMax});
  if (!kv) return say(kFailed, kv.error().message);
  const auto store = AggregatorStore::open(**kv);
  if (!store) return say(kFailed, store.error().message);
  const Result<SigningKey> key = receipt_key(state);
  if (!key) return say(kFailed, key.error().message);
  const std::unique_ptr<Clock> clock = system_clock();
  IngestLimits limits;
  limits.allow_simulated = flags.allow_simulated;
  for (const std::string& file : flags.files) {
    Result<ImportReport> report = import_file(fs::path(file), **store, limits, nodes ? &*nodes : nullptr, *clock);
    if (!report) return say(kFailed, report.error().message);
    report->sign(*key);
    code = std::max(code, tell(file, *report));
  }
  return code;
}

int backup(const std::string& state, const std::string& to) {
  const Status copied = backup_aggregator(state, to);
  return copied ? kDone : say(kFailed, copied.error().message);
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
  app.add_option("--tokens", flags.tokens, "file of the tokens that may read usage (JSON)");
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
                         "Example: nodemeter-aggregator import january.nmx --config F");
  ImportFlags import_flags;
  import_verb->add_option("files", import_flags.files, "exported files")->required();
  import_verb->add_option("--config", import_flags.config, "configuration file (TOML); flags below win over it");
  import_verb->add_option("--state", import_flags.state, "state directory");
  import_verb->add_option("--nodes", import_flags.nodes, "file of the nodes (JSON): the keys in it count");
  import_verb->add_flag("--allow-simulated", import_flags.allow_simulated, "also take simulated rows (trials)");
  CLI::App* const backup_verb =
      app.add_subcommand("backup",
                         "copy the store as of one moment, while the aggregator runs or not; to restore, put the copy\n"
                         "in the place of the state directory: nodes send again what is missing from it\n"
                         "Example: nodemeter-aggregator backup --state DIR --to DIR2");
  std::string to;
  backup_verb->add_option("--state", state, "state directory")->required();
  backup_verb->add_option("--to", to, "new directory for the copy")->required();
  CLI::App* const version = app.add_subcommand("version", "print the version");
  CLI::App* const config = app.add_subcommand("config", "work on a configuration file");
  config->require_subcommand(1);
  CLI::App* const check = config->add_subcommand("check", "say what is wrong with it, by line");
  std::string file;
  check->add_option("file", file, "configuration file")->required();
  BusinessVerbs business(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kDone : kWrongUse;
  }
  if (const std::optional<int> code = business.run(std::cout, std::cerr)) return *code;
  if (*rows) return print_rows(state, node, json);
  if (*verify_verb) return verify(state);
  if (*import_verb) return import(import_flags);
  if (*backup_verb) return backup(state, to);
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
  nodemeter::return_freed_blocks();
  try {
    return nodemeter::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "nodemeter-aggregator: internal error: %s\n", error.what());
    return 1;
  }
}
