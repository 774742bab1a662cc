// What copies the node's store or makes it smaller: `journal backup`, `journal prune`.

#include <algorithm>

#include "agent/cli/advice.h"
#include "agent/cli/verbs.h"
#include "platform/files.h"
#include "platform/json_writer.h"
#include "platform/random.h"
#include "platform/text.h"
#include "store/lmdb_kv.h"

namespace nodemeter::cli {

namespace {

std::string counted(std::uint64_t n) { return std::to_string(n) + (n == 1 ? " entry" : " entries"); }

Error wrong(std::string message) { return Error{ErrorCode::kInvalidInput, std::move(message)}; }

Result<UtcTime> limit_of(const PruneOptions& options, const Console& console) {
  if (!options.before.empty()) {
    if (const auto t = parse_time(options.before)) return *t;
    return wrong("--before is \"" + display_text(options.before, 64) +
                 "\"; an instant is 2026-01-31T13:00:00Z or 2026-01-31");
  }
  if (options.keep.empty()) return wrong("--before or --keep says what is to go; with --dry-run nothing does");
  const auto keep = parse_duration(options.keep);
  if (!keep || *keep < Milliseconds{0}) {
    return wrong("--keep is \"" + display_text(options.keep, 64) + "\"; a duration is 90d, 36h or 30m");
  }
  return console.clock.now().utc - *keep;
}

struct PrunePlan {
  UtcTime before;
  Sequence keep_from = 0;
  std::uint64_t deleted = 0;      // Or to be deleted.
  std::uint64_t undelivered = 0;  // Of them, or in their way, depending on --unacknowledged.
};

// What would go and what is not delivered among it, by the rules of Journal::prune().
Result<PrunePlan> plan(const Reader& reader, UtcTime before, bool uploading, bool unacknowledged) {
  const Result<JournalState> state = reader.state();
  if (!state) return state.error();
  PrunePlan plan;
  plan.before = before;
  plan.keep_from = uploading && !unacknowledged ? state->acknowledged + 1 : state->last_sequence + 1;
  Sequence keep_from = plan.keep_from;
  if (state->frozen) keep_from = std::min(keep_from, state->frozen->first);
  if (state->manifested > 0) keep_from = std::min(keep_from, state->manifested + 1);
  const Status visited = reader.for_each(
      state->oldest_kept,
      [&](const Entry& entry, std::string_view) {
        if (entry.reported_at >= before) return false;
        const bool newest = entry.epoch == state->epoch;
        if (newest && uploading && entry.sequence > state->acknowledged) ++plan.undelivered;
        if (!newest || entry.sequence < keep_from) ++plan.deleted;
        return true;
      },
      true);
  if (!visited) return visited.error();
  return plan;
}

int report(const PrunePlan& plan, const PruneOptions& options, bool json_wanted, const Console& console) {
  const std::uint64_t kept = options.unacknowledged ? 0 : plan.undelivered;
  if (json_wanted) {
    JsonWriter json;
    json.begin_object();
    json.text("before", iso_time(plan.before));
    json.flag("dryRun", options.dry_run);
    json.number("deleted", plan.deleted);
    json.number("deletedUndelivered", plan.undelivered - kept);
    json.number("keptUndelivered", kept);
    json.end_object();
    console.out << json.take() << "\n";
    return kDone;
  }
  console.out << counted(plan.deleted) << (options.dry_run ? " would be deleted" : " deleted") << ", reported before "
              << iso_time(plan.before, true) << "\n";
  if (kept != 0) console.out << counted(kept) << " older than that, but not delivered yet: kept\n";
  if (plan.undelivered != kept) {
    console.out << counted(plan.undelivered) << " of them " << (options.dry_run ? "are" : "were") << " not delivered\n";
  }
  return kDone;
}

// Deletes in commits of some size, so that an interruption keeps what was done.
Status delete_planned(const Options& options, const JournalState& state, PrunePlan& plan, const Console& console) {
  LmdbOptions lmdb;
  lmdb.size_max_bytes = options.store_size_max;
  const Result<std::unique_ptr<KeyValue>> store = open_lmdb(journal_directory(options.state_path), lmdb);
  if (!store) return store.error();
  Random random = Random::from_system();
  JournalOptions journal_options;
  journal_options.node = state.node;
  journal_options.location = state.location;
  journal_options.simulated = state.simulated;
  const Result<std::unique_ptr<Journal>> journal = Journal::open(**store, journal_options, random);
  if (!journal) return journal.error();
  plan.deleted = 0;
  for (;;) {
    const Result<std::uint64_t> pruned = (*journal)->prune(plan.before, plan.keep_from);
    if (!pruned) return pruned.error();
    if (*pruned == 0) break;
    plan.deleted += *pruned;
    if (console.terminal) console.err << "\r" << counted(plan.deleted) << " deleted" << std::flush;
  }
  if (console.terminal) console.err << "\r\x1b[K" << std::flush;
  return Done{};
}

}  // namespace

int journal_backup(const CommonOptions& common, const std::string& target, const Console& console) {
  const Result<Options> options = configured(common);
  if (!options) return say(console, options.error());
  const Status copied = backup_store(options->state_path, target, [&](std::uint64_t done) {
    if (console.terminal) console.err << "\r" << counted(done) << " copied" << std::flush;
  });
  if (console.terminal) console.err << "\r\x1b[K" << std::flush;
  if (!copied) return say(console, copied.error());
  const Result<std::unique_ptr<Reader>> backup = Reader::open(target);
  if (!backup) return say(console, backup.error());
  const Result<JournalState> state = (*backup)->state();
  if (!state) return say(console, state.error());
  const std::uint64_t bytes = (*backup)->usage().used_bytes;
  if (common.json) {
    JsonWriter json;
    json.begin_object();
    json.text("directory", target);
    json.text("epoch", state->epoch.text());
    json.number("lastSequence", state->last_sequence);
    json.text("head", state->head.hex());
    json.number("usedBytes", bytes);
    json.end_object();
    console.out << json.take() << "\n";
  } else {
    console.out << display_text(target) << ": entries up to " << state->last_sequence << ", head " << state->head.hex()
                << ", " << size_text(bytes) << "\n";
  }
  return kDone;
}

int journal_prune(const CommonOptions& common, const PruneOptions& options, const Console& console) {
  const Result<UtcTime> before = limit_of(options, console);
  if (!before) return say(console, before.error());
  const Result<Options> configuration = configured(common);
  if (!configuration) return say(console, configuration.error());
  const std::filesystem::path& state_path = configuration->state_path;
  std::optional<FileLock> lock;
  if (!options.dry_run) {
    Result<FileLock> taken = FileLock::acquire(state_path / "agent.lock");
    if (!taken) {
      Error error = taken.error();
      if (error.code == ErrorCode::kLocked) {
        error.message +=
            "; " + advice().stop_first + ". A running agent deletes by itself what is past state.retention";
      }
      return say(console, error);
    }
    lock.emplace(std::move(*taken));
  }
  Result<std::unique_ptr<Reader>> reader = open_journal(*configuration);
  if (!reader) return say(console, reader.error());
  const Result<JournalState> state = (*reader)->state();
  if (!state) return say(console, state.error());
  const bool uploading = configuration->delivers();
  Result<PrunePlan> planned = plan(**reader, *before, uploading, options.unacknowledged);
  if (!planned) return say(console, planned.error());
  reader->reset();  // An LMDB environment is open at most once in a process.
  if (!options.dry_run && planned->deleted != 0) {
    if (Status done = delete_planned(*configuration, *state, *planned, console); !done) {
      return say(console, done.error());
    }
  }
  return report(*planned, options, common.json, console);
}

}  // namespace nodemeter::cli
