// From a journal to an export file: a run of rows, or an extract with proofs.

#pragma once

#include <functional>
#include <optional>

#include "store/export_file.h"
#include "store/reader.h"

namespace nodemeter {

// What to take. Of a run the rows in between come along, so that the chain stays whole; with `start` or `end` the run
// goes on to the manifest that signs its last row, if there is one yet.
struct ExportFilter {
  std::optional<Sequence> first, last;  // Of the newest epoch.
  std::optional<UtcTime> start, end;    // Of usage: [start, end).
  // Any of these makes an extract: only usage rows that match, each with its proof.
  std::optional<Uuid> subscription;
  std::optional<VmId> vm;
  [[nodiscard]] bool extract() const { return subscription || vm; }
};

struct ExportReport {
  std::uint64_t rows = 0;
  // Matching rows of an extract that were left out: no manifest covers them yet, or part of their hour was pruned.
  std::uint64_t without_proof = 0;
};

// Errors are the reader's and the writer's. Does not finish the file. `about` goes into its sections for people.
Result<ExportReport> export_rows(const Reader& reader, const ExportFilter& filter, const std::string& about,
                                 ExportWriter& writer, const std::function<void(std::uint64_t rows)>& progress);

}  // namespace nodemeter
