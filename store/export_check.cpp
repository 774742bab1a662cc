// check_export(): what an export file shows, and whether it holds.

#include <algorithm>

#include "store/entry_codec.h"
#include "store/export_file.h"
#include "store/merkle.h"

namespace nodemeter {

namespace {

class Checker {
 public:
  explicit Checker(const std::string& key) : key_(key), chain_(key) {}

  void take(const ExportRecord& record) {
    if (const auto* section = std::get_if<ExportSection>(&record)) begin(*section);
    if (const auto* statement = std::get_if<ExportStatement>(&record)) believe(*statement);
    if (const auto* row = std::get_if<ExportRow>(&record)) take_row(row->row);
    if (const auto* change = std::get_if<ExportKeyChange>(&record)) change_key(change->row);
    if (const auto* proof = std::get_if<ExportProof>(&record)) prove(*proof);
  }

  ExportCheck finish() {
    leave_section();
    check_.chain = chain_.finish();
    check_.chain.entries += check_.extract_rows;
    check_.chain.bytes += extract_bytes_;
    if (check_.chain.key.empty()) check_.chain.key = key_;
    return std::move(check_);
  }

  [[nodiscard]] std::uint64_t rows() const { return chain_.so_far().entries + check_.extract_rows; }

 private:
  void begin(const ExportSection& section) {
    leave_section();
    section_ = section;
    ++check_.sections;
    if (std::ranges::find(check_.nodes, section.node) == check_.nodes.end()) check_.nodes.push_back(section.node);
    if (!section.extract) chain_.begin(section.epoch, section.first, section.before);
  }

  void leave_section() {
    if (unproven_) chain_.fault(unproven_->entry.sequence, "has no proof");
    unproven_.reset();
    statement_.reset();
  }

  void believe(const ExportStatement& statement) {
    leave_section();
    if (key_.empty()) key_ = statement.public_key;
    const auto parsed = ManifestStatement::parse(statement.text);
    const bool of_section = parsed && section_ && parsed->node == section_->node && parsed->epoch == section_->epoch;
    if (!of_section) {
      chain_.fault(0, "a statement is unreadable or of another node");
    } else if (statement.public_key != key_) {
      chain_.fault(parsed->last + 1, "its manifest is signed with another key than the node's");
    } else if (!verify_signature(key_, statement.text, statement.signature)) {
      chain_.fault(parsed->last + 1, "its manifest's signature does not hold");
    } else {
      statement_ = *parsed;
    }
  }

  void change_key(const std::string& row) {
    const Result<DecodedEntry> decoded = decode_entry(row);
    const std::optional<KeyChange> change = decoded ? key_change_of(decoded->entry) : std::nullopt;
    if (!change) {
      chain_.fault(0, "a change of key is unreadable");
      return;
    }
    const Entry& entry = decoded->entry;
    const std::string text = key_change_text(entry.node, entry.epoch, entry.sequence, change->key);
    const bool vouched =
        (key_.empty() || change->previous == key_) && verify_signature(change->previous, text, change->signature);
    if (!vouched) chain_.fault(entry.sequence, "the node's key changed without a signature of the one before");
    if (vouched) key_ = change->key;
  }

  void take_row(const std::string& row) {
    if (!section_) {
      chain_.fault(0, "a row before any section");
      return;
    }
    const Result<DecodedEntry> decoded = decode_entry(row);
    if (!section_->extract) {
      if (decoded && decoded->entry.node != section_->node) {
        chain_.fault(decoded->entry.sequence, "is of another node");
      }
      const bool ahead = decoded && decoded->entry.sequence > chain_.expected();
      chain_.take(ahead ? decoded->entry.sequence : chain_.expected(), row);
      return;
    }
    ++check_.extract_rows;
    extract_bytes_ += row.size();
    if (unproven_) chain_.fault(unproven_->entry.sequence, "has no proof");
    unproven_.reset();
    if (!decoded || decoded->row.size() != row.size()) {
      chain_.fault(0, "a row of an extract: " + (decoded ? "bytes after its end" : decoded.error().message));
      return;
    }
    unproven_ = Unproven{decoded->entry, merkle_leaf(row)};
  }

  void prove(const ExportProof& proof) {
    if (!unproven_) {
      chain_.fault(0, "a proof without its row");
      return;
    }
    const Unproven row = *std::exchange(unproven_, std::nullopt);
    const Sequence sequence = row.entry.sequence;
    if (!statement_) {
      chain_.fault(sequence, "its proof leads to nothing that is signed");
      return;
    }
    const ManifestStatement& s = *statement_;
    const bool in_place = row.entry.node == s.node && row.entry.epoch == s.epoch && sequence == s.first + proof.index;
    const auto root = merkle_root_by(row.leaf, proof.index, s.last + 1 - s.first, proof.path);
    if (!in_place || root != s.root) {
      chain_.fault(sequence, "is not among what the node signed");
      return;
    }
    ++check_.proven_rows;
  }

  struct Unproven {
    Entry entry;
    Digest leaf;
  };
  std::string key_;
  ExportCheck check_;
  ChainChecker chain_;
  std::optional<ExportSection> section_;
  std::optional<ManifestStatement> statement_;
  std::optional<Unproven> unproven_;
  std::uint64_t extract_bytes_ = 0;
};

}  // namespace

Result<ExportCheck> check_export(const ExportReader::Origin& origin, const std::string& key,
                                 const std::function<void(std::uint64_t)>& progress) {
  constexpr std::uint64_t kProgressRows = 4096;
  ExportReader reader(origin);
  Checker checker(key);
  for (std::uint64_t records = 1;; ++records) {
    const Result<std::optional<ExportRecord>> record = reader.next();
    if (!record) return record.error();
    if (!record->has_value()) return checker.finish();
    checker.take(**record);
    if (progress && records % kProgressRows == 0) progress(checker.rows());
  }
}

}  // namespace nodemeter
