#include <algorithm>
#include <thread>

#include "agent/cli/usage_text.h"
#include "agent/cli/verbs.h"

namespace nodemeter::cli {

namespace {

// How often `cat --follow` looks for more.
constexpr Milliseconds kFollowInterval{500};

// Prints entries where it left off, whatever became of the journal meanwhile.
class Printer {
 public:
  Printer(const CommonOptions& common, const CatOptions& options, const Console& console)
      : common_(common),
        console_(console),
        next_(options.from),
        left_(options.count == 0 ? UINT64_MAX : options.count) {}

  [[nodiscard]] bool wants_more() const { return left_ != 0 && static_cast<bool>(console_.out); }

  // Everything from where it left off to the newest entry.
  Status print(const Reader& reader) {
    const Result<JournalState> state = reader.state();
    if (!state) return state.error();
    const bool begins = !epoch_;
    const bool other = epoch_ && *epoch_ != state->epoch;
    // The rest of the epoch before, if this store still has it.
    const bool rest = other && state->previous_epoch == *epoch_;
    if (other) {
      console_.err << "nodemeter: a new epoch begins, " << state->epoch.text()
                   << (rest ? "" : ": the journal was replaced") << std::endl;
    }
    bool reached = !rest;
    const Sequence from = other ? 1 : next_;
    Status read = reader.for_each(
        from,
        [&](const Entry& entry, std::string_view) {
          if (!reached) {
            reached = entry.epoch == *epoch_ && entry.sequence >= next_;
            reached = reached || entry.epoch == state->epoch;
            if (!reached) return true;
          }
          show(entry);
          return wants_more();
        },
        begins ? next_ == 0 : rest);
    if (!epoch_ || *epoch_ != state->epoch) next_ = begins ? std::max(next_, state->oldest_kept) : state->oldest_kept;
    epoch_ = state->epoch;
    console_.out << std::flush;
    return read;
  }

 private:
  void show(const Entry& entry) {
    if (epoch_ && entry.epoch == *epoch_ && entry.sequence > next_) {
      console_.err << "nodemeter: entries " << next_ << " to " << entry.sequence - 1
                   << " were deleted before they could be shown" << std::endl;
    }
    console_.out << (common_.json ? entry_json(entry) : entry_text(entry));
    epoch_ = entry.epoch;
    next_ = entry.sequence + 1;
    --left_;
  }

  const CommonOptions& common_;
  const Console& console_;
  std::optional<Epoch> epoch_;  // Of `next_`.
  Sequence next_;
  std::uint64_t left_;
};

}  // namespace

int journal_cat(const CommonOptions& common, const CatOptions& options, const Console& console) {
  const Result<Options> configuration = configured(common);
  if (!configuration) return say(console, configuration.error());
  Printer printer(common, options, console);
  bool away = false;
  for (bool first = true; printer.wants_more(); first = false) {
    if (!first) std::this_thread::sleep_for(kFollowInterval);
    // By name each time: a damaged journal is put aside, and another one takes its place.
    const Result<std::unique_ptr<Reader>> reader = open_journal(*configuration);
    const Status printed = reader ? printer.print(**reader) : Status(reader.error());
    if (!printed && (first || printed.error().code != ErrorCode::kNotFound)) return say(console, printed.error());
    if (!printed && !away) console.err << "nodemeter: there is no journal for the moment, waiting" << std::endl;
    away = !printed;
    if (!options.follow) break;
  }
  return kDone;
}

}  // namespace nodemeter::cli
