#include "uploader/receipt.h"

#include <nlohmann/json.hpp>

namespace nodemeter {
namespace {

constexpr std::size_t kReceiptsMax = 100'000;

std::string text_of(const nlohmann::json& run, const char* name) {
  const auto found = run.find(name);
  return found != run.end() && found->is_string() ? found->get<std::string>() : "";
}

std::optional<Receipt> receipt_of(const nlohmann::json& run) {
  if (!run.is_object()) return std::nullopt;
  const std::optional<NodeId> node = NodeId::parse(text_of(run, "node"));
  const std::optional<Epoch> epoch = Epoch::parse(text_of(run, "epoch"));
  const std::string head = from_hex(text_of(run, "head"));
  const auto first = run.find("first");
  const auto last = run.find("acknowledged");
  const bool numbers =
      first != run.end() && first->is_number_unsigned() && last != run.end() && last->is_number_unsigned();
  if (!node || !epoch || head.size() != 32 || !numbers) return std::nullopt;
  return Receipt{.node = *node,
                 .epoch = *epoch,
                 .first = first->get<Sequence>(),
                 .last = last->get<Sequence>(),
                 .head = Digest::from(head),
                 .signature = from_hex(text_of(run, "signature"))};
}

Error refused(const Receipt& receipt, const std::string& why) {
  return Error{ErrorCode::kInvalidInput, "the receipt for entries " + std::to_string(receipt.first) + "-" +
                                             std::to_string(receipt.last) + " of " + receipt.node.text() + " " + why};
}

}  // namespace

std::string Receipt::statement() const {
  return "nodemeter receipt 1\nnode " + node.text() + "\nepoch " + epoch.text() + "\nentries " + std::to_string(first) +
         "-" + std::to_string(last) + "\nhead " + head.hex() + "\n";
}

Result<std::vector<Receipt>> parse_receipts(std::string_view report) {
  const auto json = nlohmann::json::parse(report, nullptr, false);
  const Error none{ErrorCode::kInvalidInput, "it is not a report of nodemeter-aggregator import"};
  if (!json.is_object() || !json.contains("runs") || !json["runs"].is_array()) return none;
  if (json["runs"].size() > kReceiptsMax) return none;
  std::vector<Receipt> receipts;
  for (const auto& run : json["runs"]) {
    std::optional<Receipt> receipt = receipt_of(run);
    if (!receipt) return none;
    receipts.push_back(std::move(*receipt));
  }
  return receipts;
}

Result<bool> take_receipt(Journal& journal, const Receipt& receipt, std::string_view key) {
  const JournalState& state = journal.state();
  if (key.empty()) return refused(receipt, "cannot be checked: upload.receipt_key is not set");
  if (!verify_signature(key, receipt.statement(), receipt.signature)) {
    return refused(receipt, "is not signed by the receiver whose key is configured");
  }
  if (receipt.node != state.node) return refused(receipt, "is another node's, this one is " + state.node.text());
  if (receipt.epoch != state.epoch) {
    return refused(receipt, "is of epoch " + receipt.epoch.text() + ", this journal is in " + state.epoch.text());
  }
  if (receipt.first < 1 || receipt.first > receipt.last) return refused(receipt, "names no range");
  if (receipt.last > state.last_sequence) {
    return refused(receipt, "tells of the future: the journal ends at " + std::to_string(state.last_sequence));
  }
  if (receipt.last <= state.acknowledged || receipt.last < state.oldest_kept) return false;
  if (Status marked = journal.acknowledge_range(receipt.first, receipt.last, receipt.head); !marked) {
    if (marked.error().code != ErrorCode::kInvalidInput) return marked.error();
    return refused(receipt, marked.error().message);
  }
  return true;
}

}  // namespace nodemeter
