#include "agent/daemon.h"

#include <algorithm>
#include <optional>
#include <ostream>
#include <utility>

#include "agent/agent.h"
#include "agent/machine.h"
#include "agent/node_key.h"
#include "agent/open_source.h"
#include "agent/set_aside.h"
#include "platform/contract.h"
#include "platform/files.h"
#include "platform/text.h"
#include "store/lmdb_kv.h"
#include "store/reader.h"

namespace nodemeter {

namespace {

// Longest sleep: the service manager's watchdog wants a sign of life, and after a suspend timers are late.
constexpr Milliseconds kWaitMax{1'000};

// While only delivery is left.
constexpr Milliseconds kFinalWait{50};

LogLevel level_of(const std::string& word) {
  if (word == "debug") return LogLevel::kDebug;
  if (word == "warning") return LogLevel::kWarning;
  if (word == "error") return LogLevel::kError;
  return LogLevel::kInfo;
}

// What to do about an error at the start, after what happened.
std::string advice(const Error& error, const std::filesystem::path& state) {
  switch (error.code) {
    case ErrorCode::kLocked:
      return "; only one agent may use a state directory: stop the other one, or give this one its own --state";
    case ErrorCode::kPermissionDenied:
      return "; run the agent as the owner of " + state.string() + " (" + as_service_account() +
             "), or give that account access";
    case ErrorCode::kCorrupt:
      return "; keep the directory as evidence, restore a backup into an empty one and start with that";
    case ErrorCode::kFull: return "; free space on the file system of " + state.string();
    default: return "";
  }
}

// A trial's clock: faster than the machine's, and in a boot of its own. The run before may have been further ahead, so
// its instants cannot be compared with ours.
class TrialClock final : public Clock {
 public:
  TrialClock(std::uint32_t speed, const BootId& boot) : fast_(accelerated_clock(system_clock(), speed)), boot_(boot) {}
  [[nodiscard]] ClockReading now() const override {
    ClockReading reading = fast_->now();
    reading.boot = boot_;
    return reading;
  }

 private:
  std::unique_ptr<Clock> fast_;
  BootId boot_;
};

// Everything that one run holds, in the order in which it must be taken down.
class Daemon {
 public:
  Daemon(const Options& options, Service& service)
      : options_(options),
        service_(service),
        log_(service.open_log(level_of(options.log_level), options.log_json)),
        random_(Random::from_system()) {}

  Status open() {
    const Result<NodeId> node = node_id_of(options_);
    if (!node) return node.error();
    node_ = *node;
    if (Status ready = take_state(); !ready) return ready;
    Status stored = open_store();
    const bool replaced = !stored && stored.error().code == ErrorCode::kCorrupt;
    if (!stored && !replaced) return explained(stored.error());
    const std::string why = stored ? "" : stored.error().message;
    if (options_.speed == 1) {
      clock_ = system_clock();
    } else {
      clock_ = std::make_unique<TrialClock>(options_.speed, BootId(random_.uuid()));
    }
    Result<std::unique_ptr<Source>> source = open_source(options_, *clock_, *log_, [this] { service_.wake(); });
    if (!source) return source.error();
    source_ = std::move(source).value();
    if (Status ready = open_transport(); !ready) return ready;
    open_live_view();
    if (replaced) return replace_store(why);
    const Status opened = open_agent();
    if (!opened && opened.error().code == ErrorCode::kCorrupt) return replace_store(opened.error().message);
    return opened ? opened : Status(explained(opened.error()));
  }

  // Until a stop, or the agent's failure. Gives the agent's reason if it failed.
  Status run() {
    service_.ready();
    log_->info("metering", {{"source", source_->description()}, {"state", options_.state_path.string()}});
    int reloads = 0;
    int disturbances = 0;
    while (service_.stop_requests() == 0) {
      if (std::exchange(reloads, service_.reload_requests()) != reloads) source_->reload();
      if (std::exchange(disturbances, service_.disturbances()) != disturbances) agent_->sample_soon();
      const MonotonicTime next = agent_->step();
      if (agent_->phase() == AgentPhase::kFailed) {
        if (!agent_->store_damaged()) return failure();
        if (Status replaced = replace_store(agent_->reason()); !replaced) return replaced;
        continue;
      }
      service_.alive();
      service_.wait(real_time(next - clock_->now().monotonic));
    }
    service_.stopping();
    return Done{};
  }

  Status finish() {
    agent_->finish();
    const auto begun = clock_->now().monotonic;
    while ((transport_ || medium_) && agent_->undelivered() != 0 && agent_->phase() != AgentPhase::kFailed) {
      (void)agent_->step();
      if (agent_->undelivered() == 0) break;
      const bool too_long = real_time_uncapped(clock_->now().monotonic - begun) >= kFinalDeliveryMax;
      if (too_long || service_.stop_requests() > 1) {
        return Error{ErrorCode::kUnavailable,
                     std::to_string(agent_->undelivered()) + " entries are not delivered; they are kept in " +
                         options_.state_path.string() + ": start the agent again to deliver them"};
      }
      service_.alive();
      service_.wait(kFinalWait);
    }
    return agent_->phase() == AgentPhase::kFailed ? failure() : Status(Done{});
  }

  void say_stopped() {
    log_->info("stopped", {{"last_sequence", std::to_string(agent_->journal().state().last_sequence)}});
  }

 private:
  Status take_state() {
    if (Status made = make_state_directory(options_.state_path); !made) return explained(made.error());
    Result<FileLock> lock = FileLock::acquire(options_.state_path / "agent.lock");
    if (!lock) return explained(lock.error());
    lock_.emplace(std::move(lock).value());
    return Done{};
  }

  Status open_store() {
    const std::filesystem::path journal = journal_directory(options_.state_path);
    if (Status made = make_state_directory(journal); !made) return made;
    LmdbOptions lmdb;
    lmdb.size_max_bytes = options_.store_size_max;
    Result<std::unique_ptr<KeyValue>> store = open_lmdb(journal, lmdb);
    if (!store) return store.error();
    store_ = std::move(store).value();
    return Done{};
  }

  // Metering goes on in a new store; the damaged one is kept beside it.
  Status replace_store(const std::string why) {  // Outlives the agent that said it.
    agent_.reset();
    transport_.reset();  // A batch may be on its way: its answer is of no use any more.
    medium_.reset();
    store_.reset();
    const Result<std::string> directory = set_aside_store(options_.state_path, why, clock_->now().utc);
    if (!directory) return Error{directory.error().code, directory.error().message + " (" + why + ")"};
    log_->error("the journal is damaged: it is put aside, and metering goes on in a new one",
                {{"why", why}, {"directory", *directory}, {"then", "nodemeter journal salvage gets back what holds"}});
    if (Status opened = open_store(); !opened) return explained(opened.error());
    if (Status ready = open_transport(); !ready) return ready;
    const Status opened = open_agent();
    return opened ? opened : Status(explained(opened.error()));
  }

  Status open_transport() {
    if (!options_.carry.directory.empty()) {
      medium_ = open_directory_medium(options_.carry.directory, [this] { service_.wake(); });
      return Done{};
    }
    if (options_.upload.urls.empty()) return Done{};
    CurlOptions upload = options_.upload;
    upload.user_agent = std::string("nodemeter/") + NODEMETER_VERSION;
    Result<std::unique_ptr<Transport>> transport = open_curl_transport(upload, *clock_, [this] { service_.wake(); });
    if (!transport) return transport.error();
    transport_ = std::move(transport).value();
    return Done{};
  }

  // Metering does not depend on being watched.
  void open_live_view() {
    Result<std::unique_ptr<LiveWriter>> live = LiveWriter::create(options_.live_name, options_.live_group);
    if (live) {
      live_ = std::move(live).value();
    } else {
      log_->warning("no live view: status, vms and top show nothing", {{"why", live.error().message}});
    }
  }

  Status open_agent() {
    AgentOptions agent;
    agent.node = *node_;
    agent.location = options_.location;
    agent.version = NODEMETER_VERSION;
    agent.sample_interval = options_.sample_interval;
    agent.meter = options_.meter;
    agent.meter.simulated = is_trial(options_.source_kind);
    agent.uploader = options_.uploader;
    agent.carrier.receipt_key = options_.carry.receipt_key;
    agent.carrier.interval = options_.uploader.interval;
    agent.retention = options_.retention;
    agent.store_replaced = store_replaced_detail(options_.state_path, clock_->now().utc).value_or("");
    Result<SigningKey> key = open_node_key(options_.state_path, *store_);
    if (!key) return Error{ErrorCode::kInvalidInput, key.error().message};  // Not the store's damage.
    agent.key = *key;
    const Seams seams{*clock_, *source_, *store_, transport_.get(), live_.get(), random_, *log_, medium_.get()};
    Result<std::unique_ptr<Agent>> opened = Agent::open(agent, seams);
    if (!opened) return opened.error();
    agent_ = std::move(opened).value();
    return Done{};
  }

  [[nodiscard]] Error explained(const Error& error) const {
    return Error{error.code, error.message + advice(error, options_.state_path)};
  }

  [[nodiscard]] Status failure() const {
    return Error{ErrorCode::kUnavailable, "the agent has stopped metering: " + agent_->reason()};
  }

  // An accelerated clock runs `speed` times faster than the one that sleeps.
  [[nodiscard]] Milliseconds real_time_uncapped(Milliseconds span) const {
    return Milliseconds{(span.count() + options_.speed - 1) / options_.speed};
  }
  [[nodiscard]] Milliseconds real_time(Milliseconds span) const {
    return std::clamp(real_time_uncapped(span), Milliseconds{0}, kWaitMax);
  }

  const Options& options_;
  Service& service_;
  std::unique_ptr<Log> log_;
  Random random_;
  std::optional<NodeId> node_;
  std::optional<FileLock> lock_;
  std::unique_ptr<Clock> clock_;
  std::unique_ptr<KeyValue> store_;
  std::unique_ptr<Source> source_;
  std::unique_ptr<LiveWriter> live_;
  std::unique_ptr<Transport> transport_;
  std::unique_ptr<Medium> medium_;
  std::unique_ptr<Agent> agent_;
};

}  // namespace

Result<NodeId> node_id_from_machine_id(std::string_view machine) {
  if (machine.size() != 32 || machine.find_first_not_of("0123456789abcdef") != std::string_view::npos) {
    return Error{ErrorCode::kNotFound, "this machine has no usable machine id: set node.id in the configuration"};
  }
  const std::string hex = digest_of({"nodemeter node id", machine}).hex();
  const std::optional<NodeId> node = NodeId::parse("node-" + hex.substr(0, 12));
  NM_ASSERT(node.has_value());
  return *node;
}

Result<NodeId> node_id_of(const Options& options) {
  if (!options.node_id.empty()) {
    if (const auto node = NodeId::parse(options.node_id)) return *node;
    return Error{ErrorCode::kInvalidInput, "node.id is \"" + display_text(options.node_id) +
                                               "\"; 1 to 64 characters out of a-z, 0-9 and - are allowed"};
  }
  return node_id_from_machine_id(machine_id());
}

int run_daemon(const Options& options, bool final, Service& service, std::ostream& err) {
  Daemon daemon(options, service);
  Status status = daemon.open();
  if (status) status = daemon.run();
  if (status && final) status = daemon.finish();
  if (!status) {
    err << "nodemeter: " << display_text(status.error().message, 2048) << "\n";
    service.failed(status.error().message);
    return 1;
  }
  daemon.say_stopped();
  return 0;
}

}  // namespace nodemeter
