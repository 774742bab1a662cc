// The verbs of `nodemeter`, one function each: options in, data and messages out, exit code back.
//
// agent/cli/cli.cpp turns a command line into these options. A verb reads the configuration itself, so that a wrong
// one is reported the same way everywhere. Threads: one at a time.

#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "agent/cli/console.h"
#include "agent/options.h"
#include "store/reader.h"

namespace nodemeter {
class JsonWriter;
}

namespace nodemeter::cli {

struct CommonOptions {
  std::string config;  // "": the default path, if there is a file.
  std::string state;   // "": as configured.
  bool json = false;
};

// The configuration with what the command line overrides.
Result<Options> configured(const CommonOptions& common);

// The journal of the configured state directory. Errors say which account or path would do.
Result<std::unique_ptr<Reader>> open_journal(const Options& options);

struct StatusOptions {
  std::string format;  // "", "text", "json", "prometheus".
  std::string out;     // A file, replaced as a whole; "": standard output.
};
int status(const CommonOptions& common, const StatusOptions& options, const Console& console);
int vms(const CommonOptions& common, const Console& console);

struct TopOptions {
  std::uint32_t interval_ms = 2000;
  std::uint32_t count = 0;  // 0: until q on a terminal, else once.
  std::string sort = "cpu";
  std::string filter;  // Part of a name, an id, a subscription or a state.
};
int top(const CommonOptions& common, const TopOptions& options, const Console& console);

struct UsageOptions {
  std::string start, end;                    // By usage time, unless `by` says otherwise.
  std::string reported_start, reported_end;  // As in Get-UsageAggregates: by reported time.
  std::string granularity = "daily";
  std::string by;  // "", "usage", "reported".
  std::string subscription, vm, meter;
  std::string format;  // "", "table", "json", "csv", "focus".
  std::string prices;  // Of FOCUS; "": none.
  bool accept_gaps = false;
  std::optional<std::uint32_t> page_size;
  std::string continuation;
};
int usage(const CommonOptions& common, const UsageOptions& options, const Console& console);

struct ReportOptions {
  std::string start, end;  // On the hour.
  std::string out;         // "-": standard output.
};
int report(const CommonOptions& common, const ReportOptions& options, const Console& console);

struct RangeOptions {
  std::string start, end;  // "": open on that side.
  std::string vm;
};
int gaps(const CommonOptions& common, const RangeOptions& options, const Console& console);
int events(const CommonOptions& common, const RangeOptions& options, const Console& console);

int journal_info(const CommonOptions& common, const Console& console);
struct VerifyOptions {
  std::string file;  // An export; "-": standard input; "": the journal itself.
  std::string key;   // The node's public key, or a file with it; "": believe the first one that is found.
};
int journal_verify(const CommonOptions& common, const VerifyOptions& options, const Console& console);
int verify_store(const CommonOptions& common, const std::string& key, const Console& console);

// What verify says about manifests and signatures, and its exit code.
void add_signatures(JsonWriter& json, const ChainCheck& check);
std::string signatures_text(const ChainCheck& check);
int verdict(const ChainCheck& check, bool key_believed, const Console& console);

struct ExportOptions {
  std::uint64_t first = 0, last = 0;  // 0: open on that side.
  std::string start, end;
  std::string subscription, vm;  // Either makes an extract with proofs.
  std::string out;               // "": standard output, unless that is a terminal.
};
int journal_export(const CommonOptions& common, const ExportOptions& options, const Console& console);
int journal_rotate_key(const CommonOptions& common, const Console& console);
struct CatOptions {
  std::uint64_t from = 0;   // 0: the oldest entry that is kept.
  std::uint64_t count = 0;  // 0: all.
  bool follow = false;
};
int journal_cat(const CommonOptions& common, const CatOptions& options, const Console& console);
// kDone: LMDB's pages hold, or the journal cannot be opened for a reason that opening it tells. Else it says where the
// damage is and what it affects.
int verify_pages(const CommonOptions& common, const std::filesystem::path& state, const Console& console);
struct SalvageOptions {
  std::string from;  // "": the configured state directory's journal.
  std::string out;
};
int journal_salvage(const CommonOptions& common, const SalvageOptions& options, const Console& console);
int journal_backup(const CommonOptions& common, const std::string& target, const Console& console);
struct PruneOptions {
  std::string before;  // An instant; "": `keep` says it.
  std::string keep;    // A duration.
  bool dry_run = false;
  bool unacknowledged = false;  // Also what an uploading node has not delivered.
};
int journal_prune(const CommonOptions& common, const PruneOptions& options, const Console& console);
int journal_unpark(const CommonOptions& common, const Console& console);
struct AcknowledgeOptions {
  std::string file;  // A report of nodemeter-aggregator import.
  std::string key;   // The receiver's public key, or a file with it; "": upload.receipt_key.
};
int journal_acknowledge(const CommonOptions& common, const AcknowledgeOptions& options, const Console& console);

int meters(const CommonOptions& common, const Console& console);
// Everything that may be wrong on this node. kFailed if something is; kIncomplete if this account may not look at it
// all.
int doctor(const CommonOptions& common, const Console& console);
struct DiagnosticsOptions {
  std::string file;
  bool with_tenant_data = false;
};
// What this host's hypervisor shows, as a file that tests can replay (collectors/hyperv_capture.h).
int collect_diagnostics(const DiagnosticsOptions& options, const Console& console);
int config_check(const std::string& path, const Console& console);
int version(const CommonOptions& common, const Console& console);

struct AgentVerbOptions {
  bool final = false;
};
int agent(const CommonOptions& common, const AgentVerbOptions& options, const Console& console);

}  // namespace nodemeter::cli
