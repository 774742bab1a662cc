// Delivery without a connection: a directory on a medium that somebody carries to the receiver and back.
//
// What is not acknowledged is written there as export files, oldest first, each durable and whole before it has its
// name; `nodemeter-aggregator import` takes them, in any order and however often. Its reports come back in the
// directory `ack` on the same medium, and only a receipt in them that the receiver has signed (uploader/receipt.h)
// moves the acknowledged mark; files that it makes superfluous are removed. A medium that was lost costs nothing: on
// the next one everything that is not acknowledged is written again.
//
// Threads: the agent's one; the medium may be slow or hang, so it is touched by a helper thread only.

#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "platform/clock.h"
#include "platform/digest.h"
#include "platform/log.h"
#include "store/journal.h"
#include "uploader/uploader.h"

namespace nodemeter {

// One visit to the directory: removes, writes, then looks.
struct MediumVisit {
  std::vector<std::string> remove;  // Names of files that are of no use any more.
  std::optional<Journal::Run> run;  // Written as one file.
  NodeId node;
  bool simulated = false;
};

struct MediumReport {
  std::string error;                                          // "": everything was done. Else what was not, for people.
  std::vector<std::string> files;                             // Names of what is there now.
  std::vector<std::pair<std::string, std::string>> receipts;  // Name and content of the files in `ack`.
};

class Medium {
 public:
  virtual ~Medium() = default;
  Medium(const Medium&) = delete;
  Medium& operator=(const Medium&) = delete;
  // Requires that no visit is under way.
  virtual void begin(MediumVisit visit) = 0;
  // The report, once. Nothing while the visit is under way or if nothing was begun.
  virtual std::optional<MediumReport> poll() = 0;

 protected:
  Medium() = default;
};

// A directory that has to be there already: a mount point without its medium is not made into one. `on_report` is
// called from the helper thread. Destruction waits for the visit under way.
std::unique_ptr<Medium> open_directory_medium(const std::filesystem::path& directory, std::function<void()> on_report);

// The name of the file for a range of this node's entries; what a name says, if it is of this node and epoch.
std::string carried_name(const NodeId& node, const Epoch& epoch, Sequence first, Sequence last);
std::optional<std::pair<Sequence, Sequence>> carried_range(const std::string& name, const NodeId& node,
                                                           const Epoch& epoch);

// As configured.
struct CarryTarget {
  std::filesystem::path directory;  // "": nothing is carried.
  std::string receipt_key;          // The receiver's public key, 32 bytes; "": no receipt is taken.
};

struct CarrierOptions {
  std::string receipt_key;  // The receiver's public key, 32 bytes; "": no receipt is taken.
  // At most this long from a commit to the file with it, and from a receipt's arrival to its being taken.
  Milliseconds interval{60'000};
  Journal::BatchLimits limits;  // Of one file.
};

class Carrier {
 public:
  // All references must outlive the carrier.
  Carrier(Journal& journal, Medium& medium, Log& log, const CarrierOptions& options)
      : journal_(journal), medium_(medium), log_(log), options_(options) {}

  // As Uploader::step.
  Result<MonotonicTime> step(MonotonicTime now, bool flush);

  // Phases: "idle", "writing", "held".
  [[nodiscard]] const UploaderState& state() const { return state_; }
  // Entries that are neither acknowledged nor on the medium, as last seen.
  [[nodiscard]] std::uint64_t unwritten() const;

 private:
  Status take(const MediumReport& report);
  Status take_receipts(const MediumReport& report);
  void look_at_files(const std::vector<std::string>& files);

  Journal& journal_;
  Medium& medium_;
  Log& log_;
  CarrierOptions options_;
  UploaderState state_;
  bool visiting_ = false;
  bool seen_ = false;     // The medium was looked at, and was there.
  Sequence covered_ = 0;  // Acknowledged or on the medium, without a hole from the acknowledged mark.
  std::vector<std::string> superfluous_;
  Digest refused_;  // Of the newest receipts that were refused: each is told once.
  std::optional<MonotonicTime> backlog_since_;
  MonotonicTime next_visit_{};
};

}  // namespace nodemeter
