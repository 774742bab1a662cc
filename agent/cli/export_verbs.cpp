// The verbs that take evidence away and check it: journal export, journal verify, journal rotate-key.

#include <fstream>
#include <iostream>

#include "agent/cli/advice.h"
#include "agent/cli/usage_text.h"
#include "agent/cli/verbs.h"
#include "agent/node_key.h"
#include "platform/data_file.h"
#include "platform/files.h"
#include "platform/json_writer.h"
#include "platform/random.h"
#include "platform/text.h"
#include "store/export_rows.h"
#include "store/lmdb_kv.h"

namespace nodemeter::cli {

namespace {

namespace fs = std::filesystem;

Error wrong(const std::string& message) { return Error{ErrorCode::kInvalidInput, message}; }

Result<ExportFilter> filter_of(const ExportOptions& options) {
  ExportFilter filter;
  if (options.first != 0) filter.first = options.first;
  if (options.last != 0) filter.last = options.last;
  if (filter.first && filter.last && *filter.last < *filter.first) return wrong("--last is before --first");
  const auto time = [](const std::string& text, const char* name, std::optional<UtcTime>& into) -> Status {
    if (text.empty()) return Done{};
    into = parse_time(text);
    return into ? Status(Done{}) : wrong(std::string(name) + " '" + display_text(text) + "' is not a time");
  };
  if (Status s = time(options.start, "--start", filter.start); !s) return s.error();
  if (Status s = time(options.end, "--end", filter.end); !s) return s.error();
  if (filter.start && filter.end && *filter.end <= *filter.start) return wrong("--end is not after --start");
  if (!options.subscription.empty()) {
    filter.subscription = Uuid::parse(options.subscription);
    if (!filter.subscription) return wrong("--subscription '" + display_text(options.subscription) + "' is no id");
  }
  if (!options.vm.empty()) {
    filter.vm = VmId::parse(options.vm);
    if (!filter.vm) return wrong("--vm '" + display_text(options.vm) + "' is no id");
  }
  return filter;
}

std::string about(const ExportOptions& options) {
  std::string text = options.subscription.empty() && options.vm.empty() ? "run" : "extract";
  const auto add = [&text](const char* name, const std::string& value) {
    if (!value.empty()) text += std::string(" ") + name + " " + value;
  };
  add("from entry", options.first != 0 ? std::to_string(options.first) : "");
  add("to entry", options.last != 0 ? std::to_string(options.last) : "");
  add("from", options.start);
  add("to", options.end);
  add("of subscription", options.subscription);
  add("of VM", options.vm);
  return text;
}

// Where an export goes: standard output, or a file that appears under its name once it is whole and durable.
class Target {
 public:
  Target(const std::string& path, const Console& console) : console_(console) {
    if (path == "-") return;
    path_ = path;
    part_ = path + ".part";
    file_.open(part_, std::ios::binary | std::ios::trunc);
  }
  Target(const Target&) = delete;
  Target& operator=(const Target&) = delete;
  ~Target() {
    if (part_.empty() || done_) return;
    file_.close();
    std::error_code ignored;
    fs::remove(part_, ignored);
  }

  Status write(std::string_view bytes) {
    std::ostream& out = part_.empty() ? console_.out : file_;
    out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    if (out) return Done{};
    return Error{ErrorCode::kUnavailable, "cannot write to " + (part_.empty() ? "standard output" : part_.string())};
  }

  Status finish() {
    if (part_.empty()) {
      console_.out << std::flush;
      return write({});
    }
    file_.close();
    if (file_.fail()) return Error{ErrorCode::kUnavailable, "cannot write to " + part_.string()};
    if (Status synced = sync_file(part_); !synced) return synced;
    std::error_code error;
    fs::rename(part_, path_, error);
    if (error) return Error{ErrorCode::kUnavailable, "cannot rename " + part_.string() + ": " + error.message()};
    done_ = true;
    return sync_directory(fs::absolute(path_).parent_path());
  }

 private:
  const Console& console_;
  fs::path path_, part_;
  std::ofstream file_;
  bool done_ = false;
};

void show_progress(const Console& console, std::uint64_t done, const char* what) {
  if (console.terminal) console.err << "\r" << done << " " << what << std::flush;
}

void end_progress(const Console& console) {
  if (console.terminal) console.err << "\r\x1b[K" << std::flush;
}

std::string node_names(const ExportCheck& check) {
  std::string names;
  for (const NodeId& node : check.nodes) names += (names.empty() ? "" : ", ") + node.text();
  return names.empty() ? "nothing" : names;
}

std::string check_json(const ExportCheck& check) {
  JsonWriter json;
  json.begin_object();
  json.flag("holds", check.chain.faults.empty());
  json.key("nodes");
  json.begin_array();
  for (const NodeId& node : check.nodes) json.text(node.text());
  json.end_array();
  json.number("sections", check.sections);
  json.number("entries", check.chain.entries);
  json.number("extractEntries", check.extract_rows);
  json.number("provenEntries", check.proven_rows);
  add_signatures(json, check.chain);
  json.end_object();
  return json.take() + "\n";
}

Result<ExportReader::Origin> open_origin(const std::string& path) {
  auto file = std::make_shared<std::ifstream>();
  if (path != "-") {
    file->open(path, std::ios::binary);
    if (!*file) return Error{ErrorCode::kNotFound, "cannot read " + display_text(path)};
  }
  return ExportReader::Origin([file, standard_input = path == "-"](std::size_t size_max) -> Result<std::string> {
    std::istream& in = standard_input ? std::cin : *file;
    std::string bytes(size_max, '\0');
    in.read(bytes.data(), static_cast<std::streamsize>(size_max));
    if (in.bad()) return Error{ErrorCode::kUnavailable, "reading failed"};
    bytes.resize(static_cast<std::size_t>(in.gcount()));
    return bytes;
  });
}

int verify_file(const CommonOptions& common, const VerifyOptions& options, const std::string& key,
                const Console& console) {
  const Result<ExportReader::Origin> origin = open_origin(options.file);
  if (!origin) return say(console, origin.error());
  const Result<ExportCheck> check =
      check_export(*origin, key, [&](std::uint64_t done) { show_progress(console, done, "entries checked"); });
  end_progress(console);
  if (!check) return say(console, check.error());
  if (common.json) {
    console.out << check_json(*check);
  } else {
    console.out << "export of " << node_names(*check) << ": " << check->chain.entries << " entries ("
                << size_text(check->chain.bytes) << ") checked\n";
    if (check->extract_rows > 0) {
      console.out << check->proven_rows << " of " << check->extract_rows
                  << " single entries are proven to be among what the node signed\n";
    }
    console.out << signatures_text(check->chain);
  }
  return verdict(check->chain, key.empty(), console);
}

}  // namespace

void add_signatures(JsonWriter& json, const ChainCheck& check) {
  json.number("manifests", check.manifests);
  json.number("signedManifests", check.signed_manifests);
  json.number("partialManifests", check.partial);
  json.number("signedUntilSequence", check.signed_until);
  json.text("key", to_hex(check.key));
  json.key("faults");
  json.begin_array();
  for (const std::string& fault : check.faults) json.text(fault);
  json.end_array();
}

std::string signatures_text(const ChainCheck& check) {
  std::string text;
  if (check.manifests > 0) {
    text += std::to_string(check.signed_manifests) + " of " + std::to_string(check.manifests) + " manifests signed";
    if (check.partial > 0) text += " (" + std::to_string(check.partial) + " over entries that are not all kept)";
    text += ", up to entry " + std::to_string(check.signed_until) + "\n";
  }
  if (!check.key.empty()) text += "key " + to_hex(check.key) + "\n";
  for (const std::string& fault : check.faults) text += display_text(fault) + "\n";
  return text;
}

int verdict(const ChainCheck& check, bool key_believed, const Console& console) {
  if (!check.faults.empty()) {
    console.err << "nodemeter: it does not hold, in " << check.faults.size()
                << " places: keep it as evidence, and compare with what the aggregator holds\n";
    return kFailed;
  }
  if (key_believed && !check.key.empty()) {
    console.err << "nodemeter: the key was taken from what is checked: give --key the node's signing.pub, as you know "
                   "it from elsewhere\n";
  }
  return kDone;
}

int journal_export(const CommonOptions& common, const ExportOptions& options, const Console& console) {
  const Result<ExportFilter> filter = filter_of(options);
  if (!filter) return say(console, filter.error());
  if (options.out.empty() && console.terminal) {
    return say(console, wrong("an export is not for a terminal: give --out FILE, or pipe it on"));
  }
  const Result<Options> configuration = configured(common);
  if (!configuration) return say(console, configuration.error());
  const Result<std::unique_ptr<Reader>> reader = open_journal(*configuration);
  if (!reader) return say(console, reader.error());
  Target target(options.out.empty() ? "-" : options.out, console);
  ExportWriter writer([&target](std::string_view bytes) { return target.write(bytes); });
  const Result<ExportReport> report = export_rows(**reader, *filter, about(options), writer, [&](std::uint64_t done) {
    show_progress(console, done, "entries written");
  });
  end_progress(console);
  if (!report) return say(console, report.error());
  if (Status finished = writer.finish(); !finished) return say(console, finished.error());
  if (Status finished = target.finish(); !finished) return say(console, finished.error());
  console.err << "nodemeter: " << report->rows << " entries exported\n";
  if (report->without_proof == 0) return kDone;
  console.err << "nodemeter: " << report->without_proof
              << " entries left out: no manifest signs them yet, or a part of their hour was pruned\n";
  return kIncomplete;
}

int journal_verify(const CommonOptions& common, const VerifyOptions& options, const Console& console) {
  Result<std::string> key = std::string();
  if (!options.key.empty()) key = public_key_from(options.key);
  if (!key) return say(console, key.error());
  if (!options.file.empty()) return verify_file(common, options, *key, console);
  return verify_store(common, *key, console);
}

int journal_rotate_key(const CommonOptions& common, const Console& console) {
  const Result<Options> configuration = configured(common);
  if (!configuration) return say(console, configuration.error());
  const fs::path& state = configuration->state_path;
  JournalOptions journal_options;
  {
    const Result<std::unique_ptr<Reader>> reader = open_journal(*configuration);
    if (!reader) return say(console, reader.error());
    const Result<JournalState> there = (*reader)->state();
    if (!there) return say(console, there.error());
    journal_options = JournalOptions{.node = there->node, .location = there->location, .simulated = there->simulated};
  }
  const Result<FileLock> lock = FileLock::acquire(state / "agent.lock");
  if (!lock) {
    return say(console, Error{lock.error().code, lock.error().message + "; " + advice().stop_first});
  }
  LmdbOptions lmdb;
  lmdb.size_max_bytes = configuration->store_size_max;
  const Result<std::unique_ptr<KeyValue>> store = open_lmdb(journal_directory(state), lmdb);
  if (!store) return say(console, store.error());
  const Result<SigningKey> old_key = open_node_key(state, **store);
  if (!old_key) return say(console, old_key.error());
  journal_options.key = *old_key;
  Random random = Random::from_system();
  const Result<std::unique_ptr<Journal>> journal = Journal::open(**store, journal_options, random);
  if (!journal) return say(console, journal.error());
  const Result<SigningKey> next = prepare_next_key(state);
  if (!next) return say(console, next.error());
  if (Status rotated = (*journal)->rotate_key(*next, console.clock.now().utc); !rotated) {
    return say(console, rotated.error());
  }
  if (Status adopted = adopt_next_key(state); !adopted) return say(console, adopted.error());
  if (common.json) {
    console.out << "{\"key\":\"" << to_hex(next->public_key()) << "\",\"previousKey\":\""
                << to_hex(old_key->public_key()) << "\"}\n";
  } else {
    console.out << "key " << to_hex(next->public_key()) << "\nsigned by the one before, "
                << to_hex(old_key->public_key()) << "\n";
  }
  return kDone;
}

}  // namespace nodemeter::cli
