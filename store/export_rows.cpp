#include "store/export_rows.h"

#include <algorithm>

#include "store/entry_codec.h"
#include "store/merkle.h"

namespace nodemeter {

namespace {

constexpr std::uint64_t kProgressRows = 4096;

bool touches(const Entry& entry, const ExportFilter& filter) {
  const UtcTime begin{entry.usage_start}, end{entry.usage_end};
  if (filter.end && begin >= *filter.end) return false;
  return !filter.start || end > *filter.start || begin >= *filter.start;
}

bool matches(const Entry& entry, const ExportFilter& filter) {
  if (filter.first && entry.sequence < *filter.first) return false;
  if (filter.last && entry.sequence > *filter.last) return false;
  if (filter.subscription && entry.subscription != *filter.subscription) return false;
  if (filter.vm && entry.vm != *filter.vm) return false;
  return touches(entry, filter);
}

struct Span {
  Sequence first = 0;
  Sequence last = 0;
};

// The run of each epoch: from the first entry that matches to the last, then to the manifest that signs it.
Result<std::vector<std::pair<Epoch, Span>>> find_runs(const Reader& reader, const ExportFilter& filter,
                                                      bool newest_only) {
  std::vector<std::pair<Epoch, Span>> runs;
  bool open = false;  // The last run still waits for its manifest.
  const Status read = reader.for_each(
      filter.first.value_or(0),
      [&](const Entry& entry, std::string_view) {
        const bool other_epoch = !runs.empty() && runs.back().first != entry.epoch;
        if (other_epoch) open = false;
        const bool timed = filter.start || filter.end;
        // Manifests and events of another hour belong to a run in time only through the rows around them.
        const bool wanted = matches(entry, filter) && (!timed || entry.kind != EntryKind::kManifest);
        if (wanted) {
          if (runs.empty() || other_epoch) runs.push_back({entry.epoch, {entry.sequence, entry.sequence}});
          runs.back().second.last = entry.sequence;
          open = timed;
        } else if (open && entry.kind == EntryKind::kManifest) {
          runs.back().second.last = entry.sequence;
          open = false;
        }
        return !filter.last || entry.sequence < *filter.last || runs.empty() || open;
      },
      !newest_only);
  if (!read) return read.error();
  return runs;
}

class RunExport {
 public:
  RunExport(ExportWriter& writer, const std::string& about, const std::function<void(std::uint64_t)>& progress)
      : writer_(writer), about_(about), progress_(progress) {}

  Result<ExportReport> write(const Reader& reader, const std::vector<std::pair<Epoch, Span>>& runs,
                             const std::vector<EpochSpan>& epochs, bool newest_only) {
    Status failed = Done{};
    // One entry earlier: its digest is what the run's chain begins with.
    const Sequence from =
        newest_only && !runs.empty() && runs.front().second.first > 1 ? runs.front().second.first - 1 : 0;
    const Status read = reader.for_each(
        from,
        [&](const Entry& entry, std::string_view row) {
          const auto run = std::ranges::find(runs, entry.epoch, &std::pair<Epoch, Span>::first);
          if (run == runs.end()) return true;
          failed = take(entry, row, run->second, epochs);
          return failed.ok() && (entry.sequence < run->second.last || entry.epoch != runs.back().first);
        },
        !newest_only);
    if (!read) return read.error();
    if (!failed) return failed.error();
    return report_;
  }

 private:
  Status take(const Entry& entry, std::string_view row, const Span& run, const std::vector<EpochSpan>& epochs) {
    if (entry.sequence + 1 == run.first) before_ = entry.digest;
    if (entry.sequence < run.first || entry.sequence > run.last) return Done{};
    if (entry.sequence == run.first) {
      ExportSection section;
      section.node = entry.node;
      section.epoch = entry.epoch;
      section.first = entry.sequence;
      const auto epoch = std::ranges::find(epochs, entry.epoch, &EpochSpan::epoch);
      const bool oldest = epoch != epochs.end() && epoch->oldest_kept == entry.sequence;
      section.before = oldest ? epoch->before_oldest : before_;
      section.simulated = (entry.status & status_bit::kSimulated) != 0;
      section.about = about_;
      if (Status added = writer_.add(section); !added) return added;
    }
    ++report_.rows;
    if (progress_ && report_.rows % kProgressRows == 0) progress_(report_.rows);
    return writer_.add(ExportRow{std::string(row)});
  }

  ExportWriter& writer_;
  const std::string& about_;
  const std::function<void(std::uint64_t)>& progress_;
  ExportReport report_;
  Digest before_;
};

// Holds the rows that match until the manifest comes that covers them.
class ExtractExport {
 public:
  ExtractExport(const ExportFilter& filter, const std::string& about, ExportWriter& writer)
      : filter_(filter), about_(about), writer_(writer) {}

  Status take(const Entry& entry, std::string_view row) {
    if (!epoch_ || entry.epoch != *epoch_) {
      drop_waiting();
      epoch_ = entry.epoch;
      first_ = entry.sequence;
      ExportSection section;
      section.node = entry.node;
      section.epoch = entry.epoch;
      section.extract = true;
      section.simulated = (entry.status & status_bit::kSimulated) != 0;
      section.about = about_;
      if (Status added = writer_.add(section); !added) return added;
    }
    if (entry.kind == EntryKind::kManifest) {
      if (Status covered = cover(entry); !covered) return covered;
    }
    leaves_.push_back(merkle_leaf(row));
    if (key_change_of(entry)) return writer_.add(ExportKeyChange{std::string(row)});
    if (entry.kind == EntryKind::kUsage && matches(entry, filter_))
      waiting_.push_back({entry.sequence, std::string(row)});
    return Done{};
  }

  ExportReport finish() {
    drop_waiting();
    return report_;
  }

 private:
  struct Waiting {
    Sequence sequence = 0;
    std::string row;
  };

  void drop_waiting() {
    report_.without_proof += waiting_.size();
    waiting_.clear();
    leaves_.clear();
  }

  Status cover(const Entry& entry) {
    const Result<Manifest> manifest = manifest_of(entry);
    if (!manifest) return manifest.error();
    const ManifestStatement& s = manifest->statement;
    const auto end = std::ranges::find_if(waiting_, [&](const Waiting& w) { return w.sequence > s.last; });
    const bool at_hand = s.first >= first_ && s.last < first_ + leaves_.size() && !manifest->public_key.empty();
    if (at_hand && end != waiting_.begin()) {
      const auto begin = leaves_.begin() + static_cast<std::ptrdiff_t>(s.first - first_);
      const std::vector<Digest> leaves(begin, begin + static_cast<std::ptrdiff_t>(s.last + 1 - s.first));
      if (Status added = writer_.add(ExportStatement{s.text(), manifest->public_key, manifest->signature}); !added) {
        return added;
      }
      for (auto row = waiting_.begin(); row != end; ++row) {
        if (row->sequence < s.first) {
          ++report_.without_proof;
          continue;
        }
        const std::uint64_t index = row->sequence - s.first;
        if (Status added = writer_.add(ExportRow{std::move(row->row)}); !added) return added;
        if (Status added = writer_.add(ExportProof{index, merkle_path(leaves, index)}); !added) return added;
        ++report_.rows;
      }
    } else {
      report_.without_proof += static_cast<std::uint64_t>(end - waiting_.begin());
    }
    waiting_.erase(waiting_.begin(), end);
    const auto covered = std::min<Sequence>(leaves_.size(), s.last + 1 - std::min(first_, s.last + 1));
    leaves_.erase(leaves_.begin(), leaves_.begin() + static_cast<std::ptrdiff_t>(covered));
    first_ += covered;
    return Done{};
  }

  const ExportFilter& filter_;
  const std::string& about_;
  ExportWriter& writer_;
  ExportReport report_;
  std::optional<Epoch> epoch_;
  Sequence first_ = 1;  // Of leaves_.
  std::vector<Digest> leaves_;
  std::vector<Waiting> waiting_;
};

}  // namespace

Result<ExportReport> export_rows(const Reader& reader, const ExportFilter& filter, const std::string& about,
                                 ExportWriter& writer, const std::function<void(std::uint64_t)>& progress) {
  const bool newest_only = filter.first || filter.last;
  if (!filter.extract()) {
    const auto runs = find_runs(reader, filter, newest_only);
    if (!runs) return runs.error();
    const auto epochs = reader.epochs();
    if (!epochs) return epochs.error();
    return RunExport(writer, about, progress).write(reader, *runs, *epochs, newest_only);
  }
  ExtractExport extract(filter, about, writer);
  Status failed = Done{};
  std::uint64_t seen = 0;
  const Status read = reader.for_each(
      0,
      [&](const Entry& entry, std::string_view row) {
        failed = extract.take(entry, row);
        if (progress && ++seen % kProgressRows == 0) progress(seen);
        return failed.ok();
      },
      !newest_only);
  if (!read) return read.error();
  if (!failed) return failed.error();
  return extract.finish();
}

}  // namespace nodemeter
