#include "uploader/aggregator/import_file.h"

#include <algorithm>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>

#include "platform/files.h"
#include "platform/text.h"
#include "store/entry_codec.h"
#include "uploader/receipt.h"

namespace nodemeter {

namespace {

namespace fs = std::filesystem;

Result<ExportReader::Origin> open_file(const fs::path& path) {
  auto file = std::make_shared<std::ifstream>(path, std::ios::binary);
  if (!*file) return Error{ErrorCode::kNotFound, "cannot read " + path.string()};
  return ExportReader::Origin([file](std::size_t size_max) -> Result<std::string> {
    std::string bytes(size_max, '\0');
    file->read(bytes.data(), static_cast<std::streamsize>(size_max));
    if (file->bad()) return Error{ErrorCode::kUnavailable, "reading failed"};
    bytes.resize(static_cast<std::size_t>(file->gcount()));
    return bytes;
  });
}

// Gathers rows into batches as a node would send them, and stores those.
class Importer {
 public:
  Importer(AggregatorStore& store, const IngestLimits& limits, const NodeRegistry* nodes, const Clock& clock)
      : store_(store), limits_(limits), nodes_(nodes), clock_(clock) {}

  Status take(const ExportRecord& record) {
    if (std::holds_alternative<ExportSection>(record)) return store_batch();
    const auto* row = std::get_if<ExportRow>(&record);
    if (row == nullptr) return Done{};
    if (rows_ == limits_.rows_max || body_.size() + row->row.size() > limits_.bytes_max) {
      if (Status stored = store_batch(); !stored) return stored;
    }
    body_ += row->row;
    ++rows_;
    return Done{};
  }

  Status finish() { return store_batch(); }

  ImportReport report;

 private:
  Status store_batch() {
    if (rows_ == 0) return Done{};
    const std::string body = std::exchange(body_, {});
    rows_ = 0;
    auto decoded = decode_batch({}, body, limits_);
    if (auto* refusal = std::get_if<Refusal>(&decoded)) return refused(*refusal);
    auto& batch = std::get<IngestBatch>(decoded);
    if (nodes_ != nullptr) batch.configured_key = nodes_->configured_key(batch.node.text());
    auto stored = store_.store(batch, clock_.now().utc);
    if (!stored) return stored.error();
    if (auto* refusal = std::get_if<Refusal>(&*stored)) return refused(*refusal);
    note(batch, std::get<StoreOutcome>(*stored));
    return Done{};
  }

  Status refused(const Refusal& refusal) {
    report.error = refusal.sentence;
    return Error{ErrorCode::kInvalidInput, refusal.sentence};
  }

  void note(const IngestBatch& batch, const StoreOutcome& outcome) {
    const bool goes_on = !report.runs.empty() && report.runs.back().node == batch.node &&
                         report.runs.back().epoch == batch.epoch && report.runs.back().last + 1 == batch.first;
    if (!goes_on) {
      report.runs.emplace_back();
      report.runs.back().node = batch.node;
      report.runs.back().epoch = batch.epoch;
      report.runs.back().first = batch.first;
    }
    ImportedRun& run = report.runs.back();
    run.last = batch.last;
    run.head = batch.rows.back().digest;
    run.stored += outcome.stored;
    run.repeats += outcome.repeats;
    run.forks += outcome.forks;
    run.new_store = run.new_store || outcome.new_epoch;
    run.twin = run.twin || outcome.twin;
  }

  AggregatorStore& store_;
  const IngestLimits& limits_;
  const NodeRegistry* const nodes_;
  const Clock& clock_;
  std::string body_;
  std::size_t rows_ = 0;
};

std::string fault_of(const ExportCheck& check) {
  if (!check.chain.faults.empty()) return "the file does not hold: " + check.chain.faults.front();
  if (check.extract_rows > 0) return "an extract is not a delivery: it may leave entries out. Import a run";
  return "";
}

}  // namespace

std::string ImportReport::json() const {
  nlohmann::ordered_json report;
  report["error"] = error;
  report["key"] = key;
  report["receiver"] = receiver;
  report["runs"] = nlohmann::ordered_json::array();
  for (const ImportedRun& run : runs) {
    report["runs"].push_back({{"node", run.node.text()},
                              {"epoch", run.epoch.text()},
                              {"first", run.first},
                              {"acknowledged", run.last},
                              {"stored", run.stored},
                              {"repeats", run.repeats},
                              {"forks", run.forks},
                              {"head", run.head.hex()},
                              {"signature", to_hex(run.signature)},
                              {"new_store", run.new_store},
                              {"twin", run.twin}});
  }
  return report.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void ImportReport::sign(const SigningKey& signer) {
  if (!error.empty()) return;
  receiver = to_hex(signer.public_key());
  for (ImportedRun& run : runs) {
    const Receipt receipt{
        .node = run.node, .epoch = run.epoch, .first = run.first, .last = run.last, .head = run.head, .signature = {}};
    run.signature = signer.sign(receipt.statement());
  }
}

Result<SigningKey> receipt_key(const fs::path& state) {
  const fs::path file = state / "receipt.key";
  constexpr std::size_t kKeyFileMax = 256;
  const Result<std::string> text = read_file(file, kKeyFileMax);
  if (!text && text.error().code != ErrorCode::kNotFound) return text.error();
  if (text) {
    const std::string seed = from_hex(text->substr(0, text->find_first_of(" \r\n")));
    if (seed.size() == 32) return SigningKey::from_seed(seed);
    return Error{ErrorCode::kCorrupt, file.string() + " is not a key: restore it, or move it away and tell the nodes"};
  }
  SigningKey key = SigningKey::generate();
  if (Status written = replace_file(file, to_hex(key.seed()) + "\n", true); !written) return written.error();
  return key;
}

Result<ImportReport> import_file(const OpenOrigin& open, AggregatorStore& store, const IngestLimits& limits,
                                 const NodeRegistry* nodes, const Clock& clock) {
  Result<ExportReader::Origin> first = open();
  if (!first) return first.error();
  const Result<ExportCheck> check = check_export(*first, {}, {});
  ImportReport faulty;
  if (!check) {
    faulty.error = check.error().message;
    return faulty;
  }
  faulty.error = fault_of(*check);
  if (!faulty.error.empty()) return faulty;

  const Result<ExportReader::Origin> second = open();
  if (!second) return second.error();
  Importer importer(store, limits, nodes, clock);
  importer.report.key = to_hex(check->chain.key);
  ExportReader reader(*second);
  for (;;) {
    const Result<std::optional<ExportRecord>> record = reader.next();
    if (!record) return record.error();
    const Status taken = record->has_value() ? importer.take(**record) : importer.finish();
    if (!taken && importer.report.error.empty()) return taken.error();
    if (!taken || !record->has_value()) return std::move(importer.report);
  }
}

Result<ImportReport> import_file(const fs::path& file, AggregatorStore& store, const IngestLimits& limits,
                                 const NodeRegistry* nodes, const Clock& clock) {
  return import_file([&file] { return open_file(file); }, store, limits, nodes, clock);
}

fs::path import_inbox(const fs::path& state) { return state / "import"; }

Result<std::vector<std::pair<std::string, ImportReport>>> import_inbox_files(const fs::path& state,
                                                                             AggregatorStore& store,
                                                                             const IngestLimits& limits,
                                                                             const NodeRegistry* nodes,
                                                                             const Clock& clock) {
  std::vector<std::pair<std::string, ImportReport>> done;
  std::vector<fs::path> files;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(import_inbox(state), error)) {
    if (entry.path().extension() == kImportSuffix) files.push_back(entry.path());
  }
  if (files.empty()) return done;
  const Result<SigningKey> key = receipt_key(state);
  if (!key) return key.error();
  std::ranges::sort(files);
  for (const fs::path& file : files) {
    Result<ImportReport> report = import_file(file, store, limits, nodes, clock);
    if (!report) return report.error();
    report->sign(*key);
    fs::path beside = file;
    beside.replace_extension(".json");
    // Report first: a file that is imported twice does no harm, one that is gone without a word does.
    if (Status written = replace_file(beside, report->json() + "\n"); !written) return written.error();
    fs::remove(file, error);
    done.emplace_back(file.filename().string(), std::move(*report));
  }
  return done;
}

}  // namespace nodemeter
