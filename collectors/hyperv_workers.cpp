#include "collectors/hyperv_workers.h"

#include <algorithm>
#include <utility>

#include "collectors/hyperv_counters.h"

namespace nodemeter {

namespace {

using std::chrono::steady_clock;

constexpr Milliseconds kNoticeWait{1'000};
constexpr Milliseconds kPumpPauseMin{250};
constexpr Milliseconds kPumpPauseMax{8'000};
constexpr std::size_t kPumpsLeftMax = 4;
constexpr std::uint64_t kMebibyte = 1u << 20;

Result<WmiTables> read_tables(WmiSession& session, const std::vector<WmiQuery>& queries) {
  WmiTables tables;
  for (const WmiQuery& query : queries) {
    Result<WmiRows> rows = session.rows(query);
    if (rows) {
      tables[query.class_name] = std::move(*rows);
    } else if (rows.error().code != ErrorCode::kNotFound) {
      return rows.error();
    }
  }
  return tables;
}

}  // namespace

// Shared with its thread. The thread uses clock and tracker under the mutex, and not once `gone`.
struct HypervWorkers::Pump {
  Pump(WmiConnector c, std::shared_ptr<HypervTracker> t, const Clock& k, Log& l)
      : connector(std::move(c)), tracker(std::move(t)), clock(k), log(l) {}

  const WmiConnector connector;
  const std::shared_ptr<HypervTracker> tracker;
  const Clock& clock;
  Log& log;
  std::mutex mutex;
  std::condition_variable changed;
  bool gone = false;
  bool ended = false;
  bool connected = false;
  std::optional<steady_clock::time_point> answered_at;  // Since when it does not only seem to be.
  steady_clock::time_point heard = steady_clock::now();
  std::string refusal;

  // Runs `work` unless the pump's owner has gone. False: it has.
  template <class Work>
  bool report(const Work& work) {
    const std::lock_guard lock(mutex);
    heard = steady_clock::now();
    if (!gone) work();
    return !gone;
  }
};

std::optional<HypervSettings> read_settings_of(WmiSession& session, const VmId& vm) {
  const Result<WmiTables> tables = read_tables(session, hyperv_setting_queries(vm));
  if (!tables) return std::nullopt;
  Result<std::map<VmId, HypervSettings>> all = parse_settings(*tables);
  if (!all) return std::nullopt;
  const auto found = all->find(vm);
  if (found == all->end()) return std::nullopt;
  HypervSettings settings = std::move(found->second);
  std::uint64_t disk_mib = 0;
  for (const HypervDisk& disk : settings.disks) {
    const Result<std::string> xml = session.virtual_disk_settings(disk.path);
    const std::optional<std::uint64_t> bytes = xml ? parse_virtual_disk_size(*xml) : std::nullopt;
    if (!bytes) return settings;
    disk_mib += *bytes / kMebibyte + (*bytes % kMebibyte != 0 ? 1 : 0);
  }
  settings.disk_mib = disk_mib;
  return settings;
}

HypervWorkers::HypervWorkers(Options options, const WmiConnector& wmi, const CounterOpener& counters,
                             std::shared_ptr<HypervTracker> tracker, const Clock& clock, Log& log)
    : options_(options),
      connector_(wmi),
      tracker_(std::move(tracker)),
      clock_(clock),
      log_(log),
      wmi_(wmi, "WMI"),
      counters_([counters] { return counters(hyperv_counter_paths()); }, "the performance counters' provider"),
      files_(wmi, "WMI", {.wedged_after = options.wedged_after}) {
  start_pump();
}

HypervWorkers::~HypervWorkers() {
  std::unique_lock lock(pump_->mutex);
  pump_->gone = true;
  pump_->changed.notify_all();
  pump_->changed.wait_for(lock, 2 * kNoticeWait, [this] { return pump_->ended; });
}

// A host of many machines may need longer than the usual, and an answer that comes too late is none: next time it is
// waited for longer. What hangs is waited for once, and then not before it has come back or was replaced.
template <class T, class Session, class Task>
Result<T> HypervWorkers::call(SessionWorker<Session>& worker, const std::string& what, const Task& task) {
  Milliseconds& patience = patience_.try_emplace(what, options_.patience).first->second;
  const auto asked = steady_clock::now();
  Result<T> answer = worker.template call<T>(task, asked + patience);
  const auto took = std::chrono::duration_cast<Milliseconds>(steady_clock::now() - asked);
  if (answer || took >= patience) {
    patience = std::clamp(2 * took, options_.patience, std::max(options_.patience, options_.patience_max));
  }
  return answer;
}

Result<HypervReader::Rows> HypervWorkers::rows(const std::vector<WmiQuery>& queries) {
  watch_pump();
  Rows rows;
  rows.asked = clock_.now().monotonic;
  const auto task = [queries](WmiSession& session) { return read_tables(session, queries); };
  Result<WmiTables> tables = call<WmiTables>(wmi_, queries.empty() ? "" : queries.front().class_name, task);
  if (!tables) return tables.error();
  rows.tables = std::move(*tables);
  rows.answered = clock_.now().monotonic;
  return rows;
}

Result<HypervReader::Counters> HypervWorkers::counters() {
  Counters counters;
  counters.asked = clock_.now().monotonic;
  const auto task = [](CounterQuery& query) { return query.read(); };
  Result<std::vector<CounterColumn>> columns = call<std::vector<CounterColumn>>(counters_, "counters", task);
  if (!columns) return columns.error();
  counters.columns = std::move(*columns);
  counters.answered = clock_.now().monotonic;
  return counters;
}

// Those that were not asked for come first, then those that were longest ago: a file that hangs, or whose answer ends
// the session, keeps nobody from the others. Nor does it hold up more threads than these.
std::vector<std::string> HypervWorkers::sizes_wanted(const std::vector<std::string>& paths) {
  constexpr int kUnansweredMax = 2;
  const auto unused = [&](const std::string& path) {
    return std::find(paths.begin(), paths.end(), path) == paths.end();
  };
  const std::lock_guard lock(sizes_->mutex);
  std::erase_if(sizes_->known, [&](const auto& entry) { return unused(entry.first); });
  std::erase_if(sizes_->asked, [&](const auto& entry) { return entry.second.unanswered == 0 && unused(entry.first); });
  std::vector<std::string> wanted;
  for (const std::string& path : paths) {
    const Sizes::Size& known = sizes_->known[path];
    const Milliseconds age_max = known.bytes ? options_.size_age_max : options_.size_retry;
    const bool was_read = known.read_at != steady_clock::time_point{};
    const bool fresh = was_read && steady_clock::now() - known.read_at < age_max;
    if (!fresh && sizes_->asked[path].unanswered < kUnansweredMax) wanted.push_back(path);
  }
  std::stable_sort(wanted.begin(), wanted.end(), [this](const std::string& a, const std::string& b) {
    return sizes_->asked[a].at < sizes_->asked[b].at;
  });
  return wanted;
}

// Each size counts as soon as it is there, whoever still waits, unless somebody asked and was answered since.
Status HypervWorkers::read_sizes(WmiSession& session, const std::vector<std::string>& paths, Sizes& sizes) {
  for (const std::string& path : paths) {
    const auto asked_at = steady_clock::now();
    {
      const std::lock_guard lock(sizes.mutex);
      sizes.asked[path].at = asked_at;
      ++sizes.asked[path].unanswered;
    }
    const Result<std::string> xml = session.virtual_disk_settings(path);
    const std::lock_guard lock(sizes.mutex);
    --sizes.asked[path].unanswered;
    if (!xml && xml.error().code == ErrorCode::kUnavailable) return xml.error();
    Sizes::Size& size = sizes.known[path];
    if (size.read_at > asked_at) continue;
    const std::optional<std::uint64_t> bytes = xml ? parse_virtual_disk_size(*xml) : std::nullopt;
    if (xml) size.bytes = bytes;
    size.fault = bytes ? "" : xml ? "no size in what WMI tells of it" : xml.error().message;
    size.told = size.told && !bytes;
    size.read_at = steady_clock::now();
  }
  return Done{};
}

std::map<std::string, std::uint64_t> HypervWorkers::disk_sizes(const std::vector<std::string>& paths) {
  const std::vector<std::string> wanted = sizes_wanted(paths);
  if (!wanted.empty()) {
    const auto task = [wanted, sizes = sizes_](WmiSession& session) { return read_sizes(session, wanted, *sizes); };
    const Status asked = files_.call<Done>(task, steady_clock::now() + options_.disk_patience);
    if (!asked) log_.debug("not all sizes of disks are read yet", {{"error", asked.error().message}});
  }
  std::map<std::string, std::uint64_t> sizes;
  const std::lock_guard lock(sizes_->mutex);
  for (auto& [path, size] : sizes_->known) {
    if (size.bytes) sizes[path] = *size.bytes;
    if (size.bytes || size.fault.empty() || std::exchange(size.told, true)) continue;
    log_.warning("the size of a disk's file cannot be read", {{"file", path}, {"error", size.fault}});
  }
  return sizes;
}

// ---- Notices

void HypervWorkers::start_pump() {
  pump_ = std::make_shared<Pump>(connector_, tracker_, clock_, log_);
  std::thread([pump = pump_] { pump_main(pump); }).detach();
}

// A pump that hangs is left behind, and what it would have told is lost.
void HypervWorkers::watch_pump() {
  const auto has_ended = [](const std::shared_ptr<Pump>& pump) {
    const std::lock_guard lock(pump->mutex);
    return pump->ended;
  };
  std::erase_if(pumps_left_, has_ended);
  {
    const std::lock_guard lock(pump_->mutex);
    if (steady_clock::now() - pump_->heard < options_.pump_silence_max) return;
    if (std::exchange(pump_->connected, false)) tracker_->closed();
    if (pumps_left_.size() >= kPumpsLeftMax) return;
    pump_->gone = true;
  }
  log_.warning("notices of WMI have stopped: asking for them anew");
  pumps_left_.push_back(pump_);
  start_pump();
}

// Until notices break off; tells why they did. WMI takes a subscription without a look at it: what is wrong with it is
// told instead of the first notice.
Error HypervWorkers::pump_notices(Pump& pump) {
  const Result<std::unique_ptr<WmiSession>> opened = pump.connector();
  if (!opened) return opened.error();
  WmiSession& session = **opened;
  if (Status asked = session.subscribe(hyperv_machine_queries().front()); !asked) return asked.error();
  const auto connect = [&pump] {
    if (!std::exchange(pump.connected, true)) pump.tracker->connected();
  };
  for (bool here = pump.report(connect); here;) {
    Result<std::optional<WmiNotice>> notice = session.next_notice(kNoticeWait);
    MonotonicTime came{};
    here = pump.report([&] {
      came = pump.clock.now().monotonic;
      if (!notice) return;
      connect();  // Again, if it was silent for too long.
      if (pump.answered_at) return;
      pump.answered_at = steady_clock::now();
      pump.refusal.clear();
      pump.log.info("WMI tells of changes");
    });
    if (!notice) return notice.error();
    if (!here || !*notice) continue;
    (*notice)->came = came;
    const std::optional<HypervMachine> machine = parse_machine((*notice)->row);
    std::optional<HypervSettings> settings;
    if (machine && (*notice)->kind == WmiNotice::Kind::kCreated) settings = read_settings_of(session, machine->vm);
    here = pump.report([&] { pump.tracker->notice(**notice, settings); });
  }
  return Error{};  // Nobody listens any more.
}

void HypervWorkers::pump_main(const std::shared_ptr<Pump>& shared) {
  Pump& pump = *shared;
  Milliseconds pause = kPumpPauseMin;
  for (bool here = true; here;) {
    const Error why = pump_notices(pump);
    pump.report([&] {
      if (std::exchange(pump.connected, false)) pump.tracker->closed();
      const auto answered_at = std::exchange(pump.answered_at, std::nullopt);
      if (answered_at && steady_clock::now() - *answered_at >= kPumpPauseMax) pause = kPumpPauseMin;
      // Once per change of mind.
      if (std::exchange(pump.refusal, why.message) == why.message) return;
      pump.log.warning("WMI tells of no changes", {{"error", why.message}});
    });
    std::unique_lock lock(pump.mutex);
    pump.changed.wait_for(lock, pause, [&] { return pump.gone; });
    pump.heard = steady_clock::now();
    pause = std::min(pause * 2, kPumpPauseMax);
    here = !pump.gone;
  }
  const std::lock_guard lock(pump.mutex);
  pump.ended = true;
  pump.changed.notify_all();
}

}  // namespace nodemeter
