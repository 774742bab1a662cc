#include <algorithm>
#include <functional>

#include "agent/cli/advice.h"
#include "agent/cli/usage_text.h"
#include "agent/cli/verbs.h"
#include "agent/node_key.h"
#include "platform/data_file.h"
#include "platform/files.h"
#include "platform/json_writer.h"
#include "platform/random.h"
#include "platform/text.h"
#include "store/lmdb_kv.h"
#include "uploader/receipt.h"

namespace nodemeter::cli {

namespace {

constexpr std::size_t kParkedShownMax = 20;

struct Opened {
  Options options;
  std::unique_ptr<Reader> reader;
  JournalState state;
};

Result<Opened> open_configured(const CommonOptions& common) {
  Result<Options> options = configured(common);
  if (!options) return options.error();
  Result<std::unique_ptr<Reader>> reader = open_journal(*options);
  if (!reader) return reader.error();
  Result<JournalState> state = (*reader)->state();
  if (!state) return state.error();
  return Opened{std::move(*options), std::move(*reader), std::move(*state)};
}

std::string info_json(const JournalState& state, const KeyValue::Usage& usage, const std::vector<ParkedEntry>& parked) {
  JsonWriter json;
  json.begin_object();
  json.text("node", state.node.text());
  json.text("location", state.location);
  json.text("epoch", state.epoch.text());
  json.number("epochOrdinal", std::uint64_t{state.epoch_ordinal});
  json.flag("simulated", state.simulated);
  json.number("format", std::uint64_t{kStoreFormat});
  json.number("oldestSequence", state.oldest_kept);
  json.number("lastSequence", state.last_sequence);
  json.number("acknowledgedSequence", state.acknowledged);
  json.text("lastReportedAt", iso_time(state.last_reported_at));
  json.text("head", state.head.hex());
  json.number("usedBytes", usage.used_bytes);
  json.number("sizeMaxBytes", usage.size_max_bytes);
  json.key("parked");
  json.begin_array();
  for (const ParkedEntry& entry : parked) {
    json.begin_object();
    json.text("epoch", entry.epoch.text());
    json.number("sequence", entry.sequence);
    json.text("reason", entry.reason);
    json.end_object();
  }
  json.end_array();
  json.end_object();
  return json.take() + "\n";
}

std::string info_text(const JournalState& state, const KeyValue::Usage& usage, const std::vector<ParkedEntry>& parked) {
  std::string text;
  const auto line = [&](const std::string& name, const std::string& value) {
    text += name + std::string(14 - name.size(), ' ') + value + "\n";
  };
  line("node", state.node.text() + (state.simulated ? " (simulated)" : ""));
  line("location", display_text(state.location));
  line("epoch", state.epoch.text() + " (number " + std::to_string(state.epoch_ordinal) + ")");
  line("entries", state.last_sequence == 0
                      ? "none"
                      : std::to_string(state.oldest_kept) + " to " + std::to_string(state.last_sequence));
  line("acknowledged", std::to_string(state.acknowledged));
  if (state.last_sequence != 0) line("last reported", iso_time(state.last_reported_at));
  line("head", state.head.hex());
  line("size", size_text(usage.used_bytes) + " of " + size_text(usage.size_max_bytes));
  line("parked",
       std::to_string(parked.size()) + (parked.empty() ? "" : " (nodemeter journal unpark sends them again)"));
  for (std::size_t i = 0; i < parked.size() && i < kParkedShownMax; ++i) {
    text += "  " + std::to_string(parked[i].sequence) + ": " + display_text(parked[i].reason) + "\n";
  }
  if (parked.size() > kParkedShownMax) {
    text += "  and " + std::to_string(parked.size() - kParkedShownMax) + " more (--json shows all)\n";
  }
  return text;
}

std::string check_json(const ChainCheck& check) {
  JsonWriter json;
  json.begin_object();
  json.flag("holds", check.faults.empty());
  json.number("entries", check.entries);
  json.number("bytes", check.bytes);
  json.number("firstSequence", check.first);
  json.number("lastSequence", check.last);
  json.text("head", check.head.hex());
  add_signatures(json, check);
  json.end_object();
  return json.take() + "\n";
}

int report_unparked(std::uint64_t parked, const CommonOptions& common, const Console& console) {
  if (common.json) {
    console.out << "{\"unparked\":" << parked << "}\n";
  } else {
    console.out << parked << (parked == 1 ? " entry" : " entries") << " will be sent again\n";
  }
  return kDone;
}

// A store is written by one process only; an LMDB environment is open at most once in a process.
Status change_journal(Opened& opened, const std::function<Status(Journal&)>& change) {
  const JournalOptions journal_options{opened.state.node, opened.state.location, opened.state.simulated};
  opened.reader.reset();
  const std::filesystem::path& state = opened.options.state_path;
  const Result<FileLock> lock = FileLock::acquire(state / "agent.lock");
  if (!lock) {
    return Error{lock.error().code, lock.error().message + "; " + advice().stop_first};
  }
  LmdbOptions lmdb;
  lmdb.size_max_bytes = opened.options.store_size_max;
  const Result<std::unique_ptr<KeyValue>> store = open_lmdb(journal_directory(state), lmdb);
  if (!store) return store.error();
  Random random = Random::from_system();
  const Result<std::unique_ptr<Journal>> journal = Journal::open(**store, journal_options, random);
  if (!journal) return journal.error();
  return change(**journal);
}

}  // namespace

int journal_info(const CommonOptions& common, const Console& console) {
  const Result<Opened> opened = open_configured(common);
  if (!opened) return say(console, opened.error());
  const Result<std::vector<ParkedEntry>> parked = opened->reader->parked();
  if (!parked) return say(console, parked.error());
  KeyValue::Usage usage = opened->reader->usage();
  // Where the map follows the file, the store does not know how far it may grow.
  if (map_needs_file()) usage.size_max_bytes = opened->options.store_size_max;
  console.out << (common.json ? info_json(opened->state, usage, *parked) : info_text(opened->state, usage, *parked));
  return kDone;
}

int verify_store(const CommonOptions& common, const std::string& key, const Console& console) {
  const Result<Options> options = configured(common);
  if (!options) return say(console, options.error());
  if (const int pages = verify_pages(common, options->state_path, console); pages != kDone) return pages;
  const Result<Opened> opened = open_configured(common);
  if (!opened) return say(console, opened.error());
  const auto progress = [&](std::uint64_t done) {
    if (console.terminal) console.err << "\r" << done << " entries checked" << std::flush;
  };
  const Result<ChainCheck> check = opened->reader->verify(progress, key);
  if (console.terminal) console.err << "\r\x1b[K" << std::flush;
  if (!check) return say(console, check.error());
  if (common.json) {
    console.out << check_json(*check);
  } else {
    console.out << check->entries << " entries (" << size_text(check->bytes) << ") checked, newest " << check->last
                << ", head " << check->head.hex() << "\n"
                << signatures_text(*check);
  }
  return verdict(*check, key.empty(), console);
}

int journal_unpark(const CommonOptions& common, const Console& console) {
  Result<Opened> opened = open_configured(common);
  if (!opened) return say(console, opened.error());
  const std::uint64_t parked = opened->state.parked;
  if (parked == 0) return report_unparked(0, common, console);  // Nothing is opened for writing.
  const Status done = change_journal(*opened, [](Journal& journal) { return journal.unpark(); });
  return done ? report_unparked(parked, common, console) : say(console, done.error());
}

int journal_acknowledge(const CommonOptions& common, const AcknowledgeOptions& options, const Console& console) {
  constexpr std::size_t kReportMax = 64u << 20;
  Result<Opened> opened = open_configured(common);
  if (!opened) return say(console, opened.error());
  std::string key = opened->options.carry.receipt_key;
  if (!options.key.empty()) {
    Result<std::string> given = public_key_from(options.key);
    if (!given) return say(console, given.error());
    key = std::move(*given);
  }
  const Result<std::string> text = read_file(options.file, kReportMax);
  if (!text) return say(console, text.error());
  Result<std::vector<Receipt>> receipts = parse_receipts(*text);
  if (!receipts) return say(console, Error{ErrorCode::kUnavailable, options.file + ": " + receipts.error().message});
  std::ranges::sort(*receipts, {}, &Receipt::first);
  Sequence acknowledged = 0;
  const Status done = change_journal(*opened, [&](Journal& journal) {
    for (const Receipt& receipt : *receipts) {
      if (receipt.node != journal.state().node && receipts->size() > 1) continue;  // One report, many nodes.
      const Result<bool> taken = take_receipt(journal, receipt, key);
      if (!taken) return Status(Error{ErrorCode::kUnavailable, taken.error().message});
    }
    acknowledged = journal.state().acknowledged;
    return Status(Done{});
  });
  if (!done) return say(console, done.error());
  if (common.json) {
    console.out << "{\"acknowledgedSequence\":" << acknowledged << "}\n";
  } else {
    console.out << "everything up to entry " << acknowledged << " is at the receiver\n";
  }
  return kDone;
}

}  // namespace nodemeter::cli
