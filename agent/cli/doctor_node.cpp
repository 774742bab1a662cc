// The checks of `doctor` that concern the node: agent, source, clock, disk, journal, permissions.

#include <algorithm>
#include <thread>

#include "agent/cli/advice.h"
#include "agent/cli/doctor.h"
#include "agent/cli/live_text.h"
#include "agent/cli/verbs.h"
#include "agent/open_source.h"
#include "collectors/owners_file.h"
#include "platform/files.h"
#include "platform/log.h"
#include "platform/process.h"
#include "platform/text.h"
#include "store/detail.h"
#include "store/reader.h"

namespace nodemeter::cli {

namespace {

namespace fs = std::filesystem;

// A move of UTC against time since boot that counts as a step.
constexpr Milliseconds kStepMin{500};
constexpr Milliseconds kDay{86'400'000};
constexpr Milliseconds kVerified{3'600'000};

// A source that only just connects may need a moment.
constexpr int kSourceTries = 5;
constexpr Milliseconds kSourcePause{1'000};

// Below this many days of growth somebody has to act now; below that many, soon.
constexpr std::uint64_t kDaysFail = 7;
constexpr std::uint64_t kDaysWarn = 30;
// Less free space than this is a fault whatever the growth: LMDB needs pages for every commit.
constexpr std::uint64_t kFreeBytesMin = 64u << 20;

// What `status` says, without what other checks look at themselves.
void report_verdict(Examination& examination, LiveSnapshot snapshot) {
  if (snapshot.node.simulated && !is_trial(examination.options.source_kind)) {
    examination.add(Health::kFail, "agent", "it meters a simulated source, which this configuration does not name",
                    advice().restart);
  }
  snapshot.node.simulated = false;
  snapshot.node.clock_synchronised = true;
  const Verdict verdict = judge(snapshot, examination.console.clock.now());
  for (const std::string& reason : verdict.reasons) {
    examination.add(Health::kFail, "agent", reason, "nodemeter status shows it live");
  }
  for (const std::string& note : verdict.notes) examination.add(Health::kWarn, "agent", note, "see nodemeter status");
  if (verdict.reasons.empty() && verdict.notes.empty()) {
    examination.ok("agent", "process " + std::to_string(snapshot.node.process_id) + " meters " +
                                std::to_string(snapshot.vms.size() + snapshot.vms_left_out) + " VMs");
  }
}

}  // namespace

void check_live_view(Examination& examination) {
  const Options& options = examination.options;
  Result<LiveSnapshot> snapshot = read_live_view(options.live_name);
  if (snapshot && snapshot->writer_alive) {
    examination.ok("live view", "\"" + options.live_name + "\" can be read");
    report_verdict(examination, *snapshot);
    examination.live = std::move(*snapshot);
    return;
  }
  const std::string& start = advice().start;
  if (snapshot) {
    return examination.add(
        Health::kFail, "agent",
        "it has ended without a word; its last sample is of " + iso_time(snapshot->node.sampled, true), start);
  }
  switch (snapshot.error().code) {
    case ErrorCode::kNotFound:
      return examination.add(Health::kFail, "agent",
                             "none is running on this node under the name \"" + options.live_name + "\"", start);
    case ErrorCode::kPermissionDenied:
      return examination.add(Health::kUnknown, "live view", snapshot.error().message,
                             advice().join_group(options.live_group));
    case ErrorCode::kUnsupported:
      return examination.add(Health::kFail, "live view", snapshot.error().message,
                             "so that the agent is of this version, " + advice().restart);
    default: return examination.add(Health::kFail, "live view", snapshot.error().message, advice().restart);
  }
}

void check_source(Examination& examination) {
  NullLog log;
  const std::string check = "source";
  Options hypervisor = examination.options;
  hypervisor.owners_file.clear();  // Looked at by itself; opened with the source it would be kept for a restart.
  const Result<std::unique_ptr<Source>> source = open_source(hypervisor, examination.console.clock, log, [] {});
  if (!source) {
    return examination.add(Health::kFail, check, source.error().message, "correct [source] in the configuration");
  }
  Result<Sample> sample = (*source)->read_all();
  for (int tries = 1; tries < kSourceTries && !sample; ++tries) {
    if (sample.error().code != ErrorCode::kUnavailable) break;
    std::this_thread::sleep_for(kSourcePause);
    sample = (*source)->read_all();
  }
  const std::string name = (*source)->description() + ": ";
  if (!sample) {
    const bool denied = sample.error().code == ErrorCode::kPermissionDenied;
    return examination.add(Health::kFail, check, name + sample.error().message,
                           denied ? "as " + account_name() + "; " + advice().hypervisor_rights : advice().hypervisor);
  }
  const std::string read = name + std::to_string(sample->vms.size()) + " VMs can be read";
  if (is_trial(examination.options.source_kind)) {
    return examination.add(Health::kWarn, check, read + ", but none of them is real", "set source.kind for production");
  }
  const auto unread = std::count_if(sample->vms.begin(), sample->vms.end(), [](const VmReading& vm) {
    return vm.levels.power != Power::kOff && vm.devices.empty();
  });
  if (unread != 0) {
    return examination.add(Health::kWarn, check, read + ", " + std::to_string(unread) + " of them without counters",
                           "see whether these guests hang: nodemeter vms");
  }
  examination.ok(check, read);
}

void check_clock(Examination& examination) {
  const ClockReading now = examination.console.clock.now();
  if (!now.synchronised) {
    examination.add(Health::kFail, "clock", "it is " + iso_time(now.utc, true) + " and not synchronised",
                    advice().time_service);
  } else {
    examination.ok("clock", "it is " + iso_time(now.utc, true) + " and synchronised");
  }
  if (!examination.live || examination.live->node.simulated) return;
  const LiveNode& node = examination.live->node;
  const Milliseconds moved = (now.utc.time_since_epoch() - now.monotonic.time_since_epoch()) -
                             (node.sampled.time_since_epoch() - node.sampled_monotonic.time_since_epoch());
  const Milliseconds last{node.clock_offset_moved_ms};
  for (const Milliseconds step : {moved, last}) {
    if (std::chrono::abs(step) <= kStepMin) continue;
    return examination.add(Health::kWarn, "clock", "it was set by " + std::to_string(step.count()) + " ms just now",
                           "hours of the new time are counted from here on; " + advice().time_setter);
  }
}

void check_disk(Examination& examination) {
  const Options& options = examination.options;
  const std::string check = "disk";
  const Result<std::uint64_t> free = free_bytes(options.state_path);
  if (!free) {
    return examination.add(Health::kFail, check, free.error().message,
                           "create " + options.state_path.string() + " for the service account, or correct state.path");
  }
  const std::string room = size_text(*free) + " free for " + options.state_path.string();
  if (*free < kFreeBytesMin) return examination.add(Health::kFail, check, room, "free space there now");
  if (!examination.live || examination.live->node.store_bytes_per_day == 0) {
    const bool fits = *free >= options.store_size_max;
    return examination.add(fits ? Health::kOk : Health::kWarn, check, room + ", growth not known yet",
                           fits ? ""
                                : "the journal may grow to " + size_text(options.store_size_max) +
                                      " (state.size_max): make room, or lower it");
  }
  const LiveNode& node = examination.live->node;
  const std::uint64_t days = std::min(days_left(node).value_or(UINT64_MAX), *free / node.store_bytes_per_day);
  const bool held = node.store_retained_bytes != 0 && node.store_retained_bytes < node.store_used_bytes + *free &&
                    node.store_retained_bytes < node.store_size_max_bytes;
  const std::string growth = ", the journal grows by " + size_text(node.store_bytes_per_day) + " a day";
  if (held) {
    return examination.ok(check,
                          room + growth + ", retention keeps it at about " + size_text(node.store_retained_bytes));
  }
  const std::string full = room + growth + ": full in about " + std::to_string(days) + " days";
  const std::string action = "make room, restore delivery, or see state.size_max and state.retention";
  if (days < kDaysFail) return examination.add(Health::kFail, check, full, action);
  if (days < kDaysWarn) return examination.add(Health::kWarn, check, full, action);
  examination.ok(check, full);
}

namespace {

// Chain, manifests and signatures over what was reported since `since`, and at least over the newest entry.
Result<ChainCheck> verify_since(const Reader& reader, UtcTime since) {
  const Result<JournalState> state = reader.state();
  if (!state) return state.error();
  ChainChecker checker(state->public_key);
  if (state->last_sequence < state->oldest_kept) return checker.finish();
  const Result<Sequence> found = reader.first_reported_at(since);
  if (!found) return found.error();
  // The entry before the first says what the chain goes on from.
  const Sequence from = std::max(state->oldest_kept, std::min(*found, state->last_sequence) - 1);
  bool begun = false;
  const Status read = reader.for_each(from, [&](const Entry& entry, std::string_view row) {
    if (entry.sequence > state->last_sequence) return false;
    if (!begun && entry.sequence > 1) {
      checker.begin(state->epoch, entry.sequence + 1, entry.digest);
      begun = true;
      return true;
    }
    if (!begun) checker.begin(state->epoch, entry.sequence, Digest{});
    begun = true;
    checker.take(entry.sequence, row);
    return true;
  });
  if (!read) return read.error();
  checker.end(state->last_sequence, state->head);
  return checker.finish();
}

void check_steps_today(Examination& examination, const Reader& reader) {
  const Result<Sequence> from = reader.first_reported_at(examination.console.clock.now().utc - kDay);
  if (!from) return;
  std::uint64_t steps = 0;
  const Status read = reader.for_each(*from, [&](const Entry& entry, std::string_view) {
    if (entry.kind != EntryKind::kEvent) return true;
    const auto fields = detail_fields(entry.detail);
    const auto event = fields.find("event");
    if (event != fields.end() && event->second == "clock-stepped") ++steps;
    return true;
  });
  if (!read || steps == 0) return;
  examination.add(Health::kWarn, "clock",
                  "it was set " + std::to_string(steps) + (steps == 1 ? " time" : " times") + " within a day",
                  "nodemeter events names the instants; " + advice().time_setter);
}

}  // namespace

void check_store(Examination& examination) {
  const std::string check = "journal";
  const Result<std::unique_ptr<Reader>> reader = Reader::open(examination.options.state_path);
  if (!reader) {
    const Error& error = reader.error();
    switch (error.code) {
      case ErrorCode::kPermissionDenied:
        return examination.add(Health::kUnknown, check, error.message, advice().as_service);
      case ErrorCode::kNotFound:
        return examination.add(Health::kFail, check, error.message,
                               "start the agent once, or correct state.path or --state");
      case ErrorCode::kUnsupported:
        return examination.add(Health::kFail, check, error.message, "use the nodemeter that wrote it or a newer one");
      default:
        return examination.add(
            Health::kFail, check, error.message,
            "nodemeter journal verify names the damage, nodemeter journal salvage gets back the rest");
    }
  }
  const UtcTime since = examination.console.clock.now().utc - kVerified;
  const Result<ChainCheck> checked = verify_since(**reader, since);
  if (!checked || !checked->faults.empty()) {
    return examination.add(Health::kFail, check, checked ? checked->faults.front() : checked.error().message,
                           "nodemeter journal verify checks all of it; keep the directory as evidence");
  }
  examination.ok(check, "opens; the last hour holds (" + std::to_string(checked->entries) + " entries, " +
                            std::to_string(checked->signed_manifests) + " signatures)");
  check_steps_today(examination, **reader);
}

void check_owners(Examination& examination) {
  const Options& options = examination.options;
  if (options.owners_file.empty()) return;
  const Result<OwnersFile> owners = OwnersFile::read(options.owners_file, options.source.trust_metadata);
  if (owners) return examination.ok("owners", std::to_string(owners->size()) + " entries in " + options.owners_file);
  const std::string& faults = owners.error().message;
  if (owners.error().code != ErrorCode::kInvalidInput) {
    const bool unknown = owners.error().code == ErrorCode::kPermissionDenied;
    return examination.add(unknown ? Health::kUnknown : Health::kFail, "owners", faults,
                           unknown ? advice().as_service : "put it there, or correct owners.file");
  }
  examination.add(Health::kFail, "owners", faults.substr(0, faults.find('\n')),
                  "correct the file; the agent reads it again by itself and keeps the owners before until then");
}

namespace {

// What stands against a file that others may read or change.
struct Rights {
  bool secret;  // Else it is only changing it that counts.
  Health health;
  bool needed;  // Its absence is a fault, too.
};

void check_mode(Examination& examination, const fs::path& path, const Rights& rights, std::vector<std::string>& fine) {
  const Result<OthersMay> others = others_may(path);
  if (!others) {
    if (others.error().code == ErrorCode::kNotFound) {
      if (!rights.needed) return;
      return examination.add(Health::kFail, "permissions", path.string() + " does not exist",
                             "put it there, or correct the configuration");
    }
    return examination.add(Health::kUnknown, "permissions", others.error().message, advice().as_service);
  }
  if (!others->write && !(rights.secret && others->read)) {
    fine.push_back(path.filename().string());
    return;
  }
  examination.add(rights.health, "permissions", path.string() + " is open to every account of this node",
                  advice().close_file + path.string());
}

}  // namespace

void check_permissions(Examination& examination) {
  const Options& options = examination.options;
  std::vector<std::string> fine;
  constexpr Rights kSecret{true, Health::kFail, true};
  check_mode(examination, options.state_path, {false, Health::kFail, true}, fine);
  check_mode(examination, options.state_path / "journal", {true, Health::kWarn, false}, fine);
  check_mode(examination, options.state_path / "signing.key", {true, Health::kFail, false}, fine);
  for (const std::string* file : {&options.upload.key_file, &options.upload.bearer_file,
                                  &options.upload.clickhouse_key_file, &options.upload.proxy_auth_file}) {
    if (!file->empty()) check_mode(examination, *file, kSecret, fine);
  }
  if (!options.owners_file.empty()) {
    check_mode(examination, options.owners_file, {false, Health::kFail, true}, fine);
  }
  if (fine.empty()) return;
  std::string names;
  for (const std::string& name : fine) names += (names.empty() ? "" : ", ") + name;
  examination.ok("permissions", "closed to other accounts: " + names);
}

}  // namespace nodemeter::cli
