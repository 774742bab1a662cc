#include <algorithm>

#include "agent/cli/usage_text.h"
#include "agent/cli/verbs.h"
#include "platform/json_writer.h"
#include "platform/text.h"
#include "store/journal_format.h"
#include "store/lmdb_check.h"
#include "store/lmdb_kv.h"
#include "store/salvage.h"

namespace nodemeter::cli {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kRangesShownMax = 20;
constexpr std::size_t kFaultShownMax = 512;

// A journal's directory, given as itself or as the state directory around it.
fs::path journal_of(const std::string& given, const Options& options) {
  if (given.empty()) return journal_directory(options.state_path);
  std::error_code ignored;
  if (fs::exists(fs::path(given) / "data.mdb", ignored)) return given;
  return journal_directory(given);
}

std::uint64_t count_of(const std::vector<SequenceRange>& ranges) {
  std::uint64_t count = 0;
  for (const SequenceRange& range : ranges) count += range.last - range.first + 1;
  return count;
}

void json_ranges(JsonWriter& json, const std::string& name, const std::vector<SequenceRange>& ranges) {
  json.key(name);
  json.begin_array();
  for (const SequenceRange& range : ranges) {
    json.begin_object();
    json.number("first", range.first);
    json.number("last", range.last);
    json.end_object();
  }
  json.end_array();
}

std::string report_json(const SalvageReport& report) {
  JsonWriter json;
  json.begin_object();
  json.text("node", report.node.text());
  json.flag("marksWhole", report.marks);
  json.number("bytes", report.bytes);
  json.number("unreadableBytes", report.unreadable_bytes);
  json.number("rowsFound", report.rows);
  json.number("repeats", report.repeats);
  json.number("prunedBefore", report.pruned);
  json.key("epochs");
  json.begin_array();
  for (const SalvagedEpoch& epoch : report.epochs) {
    json.begin_object();
    json.text("epoch", epoch.epoch.text());
    json.number("firstSequence", epoch.first);
    json.number("lastSequence", epoch.last);
    json.number("recovered", epoch.recovered);
    json.number("verified", epoch.verified);
    json.number("contradicting", epoch.contradicting);
    json_ranges(json, "unlinked", epoch.unlinked);
    json_ranges(json, "lost", epoch.lost);
    json.end_object();
  }
  json.end_array();
  json.end_object();
  return json.take() + "\n";
}

std::string ranges_text(const std::vector<SequenceRange>& ranges) {
  std::string text;
  for (std::size_t i = 0; i < std::min(ranges.size(), kRangesShownMax); ++i) {
    text += (i == 0 ? " (" : ", ") + std::to_string(ranges[i].first);
    if (ranges[i].last != ranges[i].first) text += "-" + std::to_string(ranges[i].last);
  }
  if (ranges.size() > kRangesShownMax) text += " and more: --json shows all";
  return text.empty() ? "" : text + ")";
}

std::string report_text(const SalvageReport& report) {
  std::string text = size_text(report.bytes) + " swept, " + std::to_string(report.rows) + " rows found, " +
                     std::to_string(report.repeats) + " of them repeats, " + std::to_string(report.pruned) +
                     " pruned before\n";
  if (report.unreadable_bytes != 0) text += size_text(report.unreadable_bytes) + " cannot be read from the disk\n";
  if (!report.marks) text += "the store's marks are damaged: what is lost at its end cannot be told\n";
  for (const SalvagedEpoch& epoch : report.epochs) {
    text += "epoch " + epoch.epoch.text() + ": " + std::to_string(epoch.recovered) + " entries recovered";
    if (epoch.recovered != 0) text += ", " + std::to_string(epoch.first) + " to " + std::to_string(epoch.last);
    text += "; " + std::to_string(epoch.verified) + " verified by the chain\n";
    text += "  unlinked: " + std::to_string(count_of(epoch.unlinked)) + ranges_text(epoch.unlinked) + "\n";
    text += "  lost: " + std::to_string(count_of(epoch.lost)) + ranges_text(epoch.lost) + "\n";
  }
  return text;
}

}  // namespace

int journal_salvage(const CommonOptions& common, const SalvageOptions& options, const Console& console) {
  const Result<Options> configuration = configured(common);
  if (!configuration) return say(console, configuration.error());
  const fs::path from = journal_of(options.from, *configuration);
  const Result<SalvageReport> report = salvage_store(from, options.out, [&](std::uint64_t bytes) {
    if (console.terminal) console.err << "\r" << size_text(bytes) << " swept" << std::flush;
  });
  if (console.terminal) console.err << "\r\x1b[K" << std::flush;
  if (!report) return say(console, report.error());
  console.out << (common.json ? report_json(*report) : report_text(*report));
  const bool whole = std::ranges::all_of(
      report->epochs, [](const SalvagedEpoch& epoch) { return epoch.lost.empty() && epoch.unlinked.empty(); });
  return whole && report->marks ? kDone : kIncomplete;
}

namespace {

// The entries that a damaged page takes away.
std::string affected(const lmdb_pages::Fault& fault) {
  if (fault.table != "entries") return "";
  const auto from = journal_format::parse_entry_key(fault.from);
  const auto to = fault.to ? journal_format::parse_entry_key(*fault.to) : std::nullopt;
  const std::string begin = from ? "from " + std::to_string(from->sequence) : std::string("from the first");
  return "; affects entries " + begin + (to ? " to before " + std::to_string(to->sequence) : " to the last");
}

int report_pages(const std::vector<std::string>& faults, std::uint64_t rows, const CommonOptions& common,
                 const Console& console) {
  if (common.json) {
    JsonWriter json;
    json.begin_object();
    json.flag("holds", false);
    json.number("rowsReached", rows);
    json.key("faults");
    json.begin_array();
    for (const std::string& fault : faults) json.text(fault);
    json.end_array();
    json.end_object();
    console.out << json.take() << "\n";
  } else {
    for (const std::string& fault : faults) console.out << display_text(fault, kFaultShownMax) << "\n";
  }
  console.err << "nodemeter: the data file is damaged: keep this directory as evidence; nodemeter journal salvage gets "
                 "back what holds\n";
  return kFailed;
}

// How often the check of a store that is being written to begins again.
constexpr int kAttemptsMax = 5;

Result<std::uint64_t> newest_transaction(const lmdb_pages::ByteSource& bytes) {
  const Result<lmdb_pages::Version> version = lmdb_pages::read_version(bytes);
  if (!version) return version.error();
  return version->transaction;
}

}  // namespace

int verify_pages(const CommonOptions& common, const fs::path& state, const Console& console) {
  const fs::path directory = journal_directory(state);
  const auto bytes = lmdb_pages::open_bytes(directory / "data.mdb");
  if (!bytes) return kDone;  // Opening the journal says why, and what would do.
  Result<lmdb_pages::WholeCheck> check = Error{ErrorCode::kUnavailable, ""};
  bool still = false;
  for (int attempt = 0; attempt < kAttemptsMax && !still; ++attempt) {
    const Result<std::uint64_t> before = newest_transaction(**bytes);
    check = lmdb_pages::check_whole(**bytes, {}, [&](std::uint64_t pages) {
      if (console.terminal) console.err << "\r" << pages << " pages checked" << std::flush;
    });
    // An agent that goes on takes pages for new ones in the third commit (Snapshot::intact): then begin again. A store
    // that is too damaged to say has no writer.
    const Result<std::uint64_t> after = newest_transaction(**bytes);
    still = !before || !after || *after <= *before + 1;
  }
  if (console.terminal) console.err << "\r\x1b[K" << std::flush;
  if (!still) {
    console.err << "nodemeter: the agent writes faster than the pages can be checked: only the rows are\n";
    return kDone;
  }
  if (!check) return report_pages({check.error().message}, 0, common, console);
  if (check->faults.empty()) return kDone;
  std::vector<std::string> faults;
  for (const lmdb_pages::Fault& fault : check->faults) {
    faults.push_back(lmdb_pages::located(check->version, fault.page, fault.table, fault.what) + affected(fault));
  }
  if (check->more_faults != 0) faults.push_back("and " + std::to_string(check->more_faults) + " more");
  return report_pages(faults, check->rows, common, console);
}

}  // namespace nodemeter::cli
