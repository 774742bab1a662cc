#include "collectors/hyperv_workers.h"

#include <algorithm>
#include <utility>

#include "collectors/hyperv_counters.h"

namespace nodemeter {

namespace {

using std::chrono::steady_clock;

constexpr Milliseconds kNoticeWait{1'000};
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

Result<HypervReader::Rows> HypervWorkers::rows(const std::vector<WmiQuery>& queries) {
  watch_pump();
  Rows rows;
  rows.asked = clock_.now().monotonic;
  const auto task = [queries](WmiSession& session) { return read_tables(session, queries); };
  Result<WmiTables> tables = wmi_.call<WmiTables>(task, steady_clock::now() + options_.patience);
  if (!tables) return tables.error();
  rows.tables = std::move(*tables);
  rows.answered = clock_.now().monotonic;
  return rows;
}

Result<HypervReader::Counters> HypervWorkers::counters() {
  Counters counters;
  counters.asked = clock_.now().monotonic;
  const auto task = [](CounterQuery& query) { return query.read(); };
  Result<std::vector<CounterColumn>> columns =
      counters_.call<std::vector<CounterColumn>>(task, steady_clock::now() + options_.patience);
  if (!columns) return columns.error();
  counters.columns = std::move(*columns);
  counters.answered = clock_.now().monotonic;
  return counters;
}

std::map<std::string, std::uint64_t> HypervWorkers::disk_sizes(const std::vector<std::string>& paths) {
  std::vector<std::string> wanted;
  {
    const std::lock_guard lock(sizes_->mutex);
    std::erase_if(sizes_->known,
                  [&](const auto& entry) { return std::find(paths.begin(), paths.end(), entry.first) == paths.end(); });
    for (const std::string& path : paths) {
      const auto known = sizes_->known.find(path);
      const bool fresh =
          known != sizes_->known.end() && steady_clock::now() - known->second.read_at < options_.size_age_max;
      if (!fresh) wanted.push_back(path);
    }
  }
  if (!wanted.empty()) {
    // Each size counts as soon as it is there, whoever still waits, unless somebody asked and was answered since.
    const auto task = [wanted, sizes = sizes_](WmiSession& session) -> Status {
      for (const std::string& path : wanted) {
        const auto asked_at = steady_clock::now();
        const Result<std::string> xml = session.virtual_disk_settings(path);
        if (!xml && xml.error().code == ErrorCode::kUnavailable) return xml.error();
        const std::lock_guard lock(sizes->mutex);
        Sizes::Size& size = sizes->known[path];
        if (size.read_at > asked_at) continue;
        if (xml) size.bytes = parse_virtual_disk_size(*xml);
        size.read_at = steady_clock::now();
      }
      return Done{};
    };
    const Status asked = files_.call<Done>(task, steady_clock::now() + options_.disk_patience);
    if (!asked) log_.debug("not all sizes of disks are read yet", {{"error", asked.error().message}});
  }
  std::map<std::string, std::uint64_t> sizes;
  const std::lock_guard lock(sizes_->mutex);
  for (const auto& [path, size] : sizes_->known) {
    if (size.bytes) sizes[path] = *size.bytes;
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
  {
    const std::lock_guard lock(pump_->mutex);
    if (steady_clock::now() - pump_->heard < options_.pump_silence_max || pumps_left_ >= kPumpsLeftMax) return;
    pump_->gone = true;
    if (pump_->connected) tracker_->closed();
  }
  log_.warning("notices of WMI have stopped: asking for them anew");
  ++pumps_left_;
  start_pump();
}

void HypervWorkers::pump_notices(Pump& pump, WmiSession& session) {
  if (!session.subscribe(hyperv_machine_queries().front())) return;
  bool here = pump.report([&] {
    pump.connected = true;
    pump.tracker->connected();
    pump.log.info("WMI tells of changes");
  });
  while (here) {
    Result<std::optional<WmiNotice>> notice = session.next_notice(kNoticeWait);
    MonotonicTime came{};
    here = pump.report([&] { came = pump.clock.now().monotonic; });
    if (!notice || !here) break;
    if (!*notice) continue;
    (*notice)->came = came;
    const std::optional<HypervMachine> machine = parse_machine((*notice)->row);
    std::optional<HypervSettings> settings;
    if (machine && (*notice)->kind == WmiNotice::Kind::kCreated) settings = read_settings_of(session, machine->vm);
    here = pump.report([&] { pump.tracker->notice(**notice, settings); });
  }
  pump.report([&] {
    pump.connected = false;
    pump.tracker->closed();
    pump.log.warning("WMI tells of changes no more");
  });
}

void HypervWorkers::pump_main(const std::shared_ptr<Pump>& shared) {
  Pump& pump = *shared;
  Milliseconds pause{250};
  for (bool here = true; here;) {
    {
      Result<std::unique_ptr<WmiSession>> session = pump.connector();
      if (session) {
        pause = Milliseconds{250};
        pump_notices(pump, **session);
      } else {
        // Once per change of mind.
        pump.report([&] {
          if (std::exchange(pump.refusal, session.error().message) == session.error().message) return;
          pump.log.warning("cannot ask WMI for changes", {{"error", session.error().message}});
        });
      }
    }
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
