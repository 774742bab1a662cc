#include "uploader/carrier.h"

#include <algorithm>

#include "platform/text.h"
#include "uploader/receipt.h"

namespace nodemeter {
namespace {

constexpr Milliseconds kPollInterval{1'000};
constexpr const char* kSuffix = ".nmx";

std::string prefix_of(const NodeId& node, const Epoch& epoch) { return node.text() + "-" + epoch.text() + "-"; }

// Wide enough that names sort as numbers do.
std::string padded(Sequence sequence) {
  const std::string digits = std::to_string(sequence);
  return std::string(digits.size() < 12 ? 12 - digits.size() : 0, '0') + digits;
}

}  // namespace

std::string carried_name(const NodeId& node, const Epoch& epoch, Sequence first, Sequence last) {
  return prefix_of(node, epoch) + padded(first) + "-" + padded(last) + kSuffix;
}

std::optional<std::pair<Sequence, Sequence>> carried_range(const std::string& name, const NodeId& node,
                                                           const Epoch& epoch) {
  const std::string prefix = prefix_of(node, epoch);
  if (!name.starts_with(prefix) || !name.ends_with(kSuffix)) return std::nullopt;
  const std::string range = name.substr(prefix.size(), name.size() - prefix.size() - std::string(kSuffix).size());
  const std::size_t dash = range.find('-');
  if (dash == std::string::npos) return std::nullopt;
  const std::optional<std::uint64_t> first = parse_u64(range.substr(0, dash));
  const std::optional<std::uint64_t> last = parse_u64(range.substr(dash + 1));
  if (!first || !last || *first < 1 || *first > *last) return std::nullopt;
  return std::pair(*first, *last);
}

std::uint64_t Carrier::unwritten() const {
  const JournalState& state = journal_.state();
  return state.last_sequence - std::min(state.last_sequence, std::max(state.acknowledged, covered_));
}

Result<MonotonicTime> Carrier::step(MonotonicTime now, bool flush) {
  if (visiting_) {
    const std::optional<MediumReport> report = medium_.poll();
    if (!report) return now + kPollInterval;
    visiting_ = false;
    next_visit_ = now + options_.interval;
    if (const Status taken = take(*report); !taken) return taken.error();
  }
  // After an error, and before the first look, nothing is written.
  const bool backlog = unwritten() > 0;
  if (backlog && !backlog_since_) backlog_since_ = now;
  if (!backlog) backlog_since_.reset();
  const bool more = unwritten() >= options_.limits.rows_max;
  const bool writing_due = seen_ && backlog && (flush || more || now - *backlog_since_ >= options_.interval);
  if (!writing_due && now < next_visit_) {
    const bool waits = seen_ && backlog;
    return waits ? std::min(next_visit_, *backlog_since_ + options_.interval) : next_visit_;
  }
  MediumVisit visit{.remove = std::exchange(superfluous_, {}),
                    .run = {},
                    .node = journal_.state().node,
                    .simulated = journal_.state().simulated};
  if (writing_due) {
    Result<std::optional<Journal::Run>> run =
        journal_.read_run(std::max(journal_.state().acknowledged, covered_) + 1, options_.limits);
    if (!run) return run.error();
    visit.run = std::move(*run);
    backlog_since_.reset();
    state_.phase = "writing";
    ++state_.attempt;
  }
  visiting_ = true;
  medium_.begin(std::move(visit));
  return now + kPollInterval;
}

Status Carrier::take(const MediumReport& report) {
  if (!report.error.empty()) {
    ++state_.failed_attempts;
    if (state_.reason != report.error) log_.warning("the medium cannot be used", {{"why", report.error}});
    state_.phase = "held";
    state_.reason = report.error;
    seen_ = false;
    covered_ = 0;
    return Done{};
  }
  if (!state_.reason.empty()) log_.info("the medium can be used", {{"files", std::to_string(report.files.size())}});
  state_.phase = "idle";
  state_.reason.clear();
  seen_ = true;
  if (Status taken = take_receipts(report); !taken) return taken;
  look_at_files(report.files);
  return Done{};
}

// Oldest range first, so that several close each other's holes.
Status Carrier::take_receipts(const MediumReport& report) {
  std::vector<std::pair<Receipt, std::string>> receipts;
  Digest all;
  std::string refusal;
  for (const auto& [name, text] : report.receipts) {
    all = digest_of({all.view(), text});
    const Result<std::vector<Receipt>> parsed = parse_receipts(text);
    if (!parsed) refusal = name + ": " + parsed.error().message;
    if (!parsed) continue;
    for (const Receipt& receipt : *parsed) {
      // A medium serves many nodes: what is for the others is left to them.
      if (receipt.node == journal_.state().node) receipts.emplace_back(receipt, name);
    }
  }
  std::ranges::stable_sort(receipts, {}, [](const auto& r) { return r.first.first; });
  for (const auto& [receipt, name] : receipts) {
    const Result<bool> moved = take_receipt(journal_, receipt, options_.receipt_key);
    if (!moved && moved.error().code != ErrorCode::kInvalidInput) return moved.error();
    if (!moved) refusal = name + ": " + moved.error().message;
    if (!moved || !*moved) continue;
    ++state_.acknowledged_batches;
    log_.info("a receipt came back", {{"file", name}, {"acknowledged", std::to_string(receipt.last)}});
  }
  if (refusal.empty()) return Done{};
  state_.reason = refusal;
  if (all != refused_) log_.warning("a receipt is refused", {{"why", refusal}});
  refused_ = all;
  return Done{};
}

void Carrier::look_at_files(const std::vector<std::string>& files) {
  const JournalState& state = journal_.state();
  std::vector<std::pair<Sequence, Sequence>> ranges;
  superfluous_.clear();
  for (const std::string& name : files) {
    const auto range = carried_range(name, state.node, state.epoch);
    // A file that names entries which this journal has not made yet is not this journal's.
    if (!range || range->second > state.last_sequence) continue;
    if (range->second <= state.acknowledged) {
      superfluous_.push_back(name);
    } else {
      ranges.push_back(*range);
    }
  }
  std::ranges::sort(ranges);
  covered_ = state.acknowledged;
  for (const auto& [first, last] : ranges) {
    if (first <= covered_ + 1) covered_ = std::max(covered_, last);
  }
  if (!superfluous_.empty()) next_visit_ = {};
}

}  // namespace nodemeter
