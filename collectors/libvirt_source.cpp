#include "collectors/libvirt_source.h"

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>
#include <thread>

#include "collectors/libvirt_sampler.h"
#include "platform/text.h"

namespace nodemeter {

namespace {

static_assert(domain_state::kRunning == VIR_DOMAIN_RUNNING && domain_state::kPaused == VIR_DOMAIN_PAUSED);
static_assert(domain_state::kOff == VIR_DOMAIN_SHUTOFF && domain_state::kCrashed == VIR_DOMAIN_CRASHED);
static_assert(domain_state::kSuspended == VIR_DOMAIN_PMSUSPENDED);
static_assert(domain_state::kPausedMigration == VIR_DOMAIN_PAUSED_MIGRATION);
static_assert(domain_state::kPausedPostcopy == VIR_DOMAIN_PAUSED_POSTCOPY);
static_assert(domain_state::kRunningMigrated == VIR_DOMAIN_RUNNING_MIGRATED);
static_assert(domain_state::kOffMigrated == VIR_DOMAIN_SHUTOFF_MIGRATED);
static_assert(domain_event::kDefined == VIR_DOMAIN_EVENT_DEFINED);
static_assert(domain_event::kUndefined == VIR_DOMAIN_EVENT_UNDEFINED);
static_assert(domain_event::kStarted == VIR_DOMAIN_EVENT_STARTED);
static_assert(domain_event::kSuspended == VIR_DOMAIN_EVENT_SUSPENDED);
static_assert(domain_event::kResumed == VIR_DOMAIN_EVENT_RESUMED);
static_assert(domain_event::kStopped == VIR_DOMAIN_EVENT_STOPPED);
static_assert(domain_event::kShutdown == VIR_DOMAIN_EVENT_SHUTDOWN);
static_assert(domain_event::kSleeping == VIR_DOMAIN_EVENT_PMSUSPENDED);
static_assert(domain_event::kCrashed == VIR_DOMAIN_EVENT_CRASHED);
static_assert(domain_event::kDefinedRenamed == VIR_DOMAIN_EVENT_DEFINED_RENAMED);
static_assert(domain_event::kStartedMigrated == VIR_DOMAIN_EVENT_STARTED_MIGRATED);
static_assert(domain_event::kSuspendedMigrated == VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED);
static_assert(domain_event::kSuspendedPostcopy == VIR_DOMAIN_EVENT_SUSPENDED_POSTCOPY);
static_assert(domain_event::kResumedMigrated == VIR_DOMAIN_EVENT_RESUMED_MIGRATED);
static_assert(domain_event::kResumedPostcopy == VIR_DOMAIN_EVENT_RESUMED_POSTCOPY);
static_assert(domain_event::kStoppedMigrated == VIR_DOMAIN_EVENT_STOPPED_MIGRATED);

// A daemon that is silent for so long counts as gone: calls return with an error and the connection is closed.
constexpr int kKeepAliveS = 5;
constexpr unsigned kKeepAliveMissed = 3;

struct CloseConnection {
  void operator()(virConnectPtr connection) const { virConnectClose(connection); }
};
struct FreeDomain {
  void operator()(virDomainPtr domain) const { virDomainFree(domain); }
};
using ConnectionHandle = std::unique_ptr<virConnect, CloseConnection>;
using DomainHandle = std::unique_ptr<virDomain, FreeDomain>;

Error last_error(const std::string& what) {
  const virErrorPtr error = virGetLastError();  // This thread's.
  if (error == nullptr) return Error{ErrorCode::kUnavailable, what + ": unknown error"};
  const std::string message = what + ": " + display_text(error->message != nullptr ? error->message : "");
  const bool socket_denied = error->code == VIR_ERR_SYSTEM_ERROR && (error->int1 == EACCES || error->int1 == EPERM);
  if (socket_denied || error->code == VIR_ERR_AUTH_FAILED || error->code == VIR_ERR_ACCESS_DENIED ||
      error->code == VIR_ERR_OPERATION_DENIED) {
    return Error{ErrorCode::kPermissionDenied, message};
  }
  if (error->code == VIR_ERR_NO_DOMAIN) return Error{ErrorCode::kNotFound, message};
  return Error{ErrorCode::kUnavailable, message};
}

// libvirt prints errors to standard error unless told otherwise; here every one comes back as a value.
void keep_quiet(void*, virErrorPtr) {}

// Before the first connection, once per process.
void start_event_loop() {
  static std::once_flag once;
  std::call_once(once, [] {
    virSetErrorFunc(nullptr, keep_quiet);
    virInitialize();
    virEventRegisterDefaultImpl();
    std::thread([] {
      for (;;) {
        if (virEventRunDefaultImpl() < 0) std::this_thread::sleep_for(std::chrono::seconds(1));
      }
    }).detach();
  });
}

VmId id_of(virDomainPtr domain) {
  VmId id;
  static_assert(sizeof id.bytes == VIR_UUID_BUFLEN);
  virDomainGetUUID(domain, id.bytes.data());
  return id;
}

std::string name_of(virDomainPtr domain) {
  const char* name = virDomainGetName(domain);
  return name != nullptr ? name : "";
}

Result<std::string> definition_of(virDomainPtr domain) {
  const std::unique_ptr<char, decltype(&free)> xml(virDomainGetXMLDesc(domain, 0), &free);
  if (!xml) return last_error("definition");
  return std::string(xml.get());
}

void collect(const virDomainStatsRecord& record, StatsCollector& collector) {
  for (int i = 0; i < record.nparams; ++i) {
    const virTypedParameter& p = record.params[i];
    switch (p.type) {
      case VIR_TYPED_PARAM_INT:
        if (p.value.i >= 0) collector.number(p.field, static_cast<std::uint64_t>(p.value.i));
        break;
      case VIR_TYPED_PARAM_UINT: collector.number(p.field, p.value.ui); break;
      case VIR_TYPED_PARAM_LLONG:
        if (p.value.l >= 0) collector.number(p.field, static_cast<std::uint64_t>(p.value.l));
        break;
      case VIR_TYPED_PARAM_ULLONG: collector.number(p.field, p.value.ul); break;
      case VIR_TYPED_PARAM_STRING: collector.text(p.field, p.value.s); break;
      default: break;
    }
  }
}

struct FreeRecords {
  void operator()(virDomainStatsRecordPtr* records) const { virDomainStatsRecordListFree(records); }
};
using Records = std::unique_ptr<virDomainStatsRecordPtr, FreeRecords>;

// What libvirt is given as callback data; freed by libvirt once no callback can come any more.
using SinkReference = std::shared_ptr<LibvirtEventSink>;

LibvirtEventSink& sink_of(void* opaque) { return **static_cast<SinkReference*>(opaque); }
void free_sink(void* opaque) { delete static_cast<SinkReference*>(opaque); }

int on_lifecycle(virConnectPtr, virDomainPtr domain, int event, int detail, void* opaque) {
  LifecycleNotice notice;
  notice.vm = id_of(domain);
  notice.name = name_of(domain);
  notice.event = event;
  notice.detail = detail;
  notice.definition = [domain] { return definition_of(domain); };
  sink_of(opaque).lifecycle(notice);
  return 0;
}

void on_reboot(virConnectPtr, virDomainPtr domain, void* opaque) { sink_of(opaque).rebooted(id_of(domain)); }

void on_balloon(virConnectPtr, virDomainPtr domain, unsigned long long, void* opaque) {
  sink_of(opaque).changed(id_of(domain));
}

void on_device_added(virConnectPtr, virDomainPtr domain, const char* alias, void* opaque) {
  sink_of(opaque).device_added(id_of(domain), alias != nullptr ? alias : "");
}

void on_device_removed(virConnectPtr, virDomainPtr domain, const char*, void* opaque) {
  sink_of(opaque).changed(id_of(domain));
}

void on_metadata(virConnectPtr, virDomainPtr domain, int, const char*, void* opaque) {
  sink_of(opaque).changed(id_of(domain));
}

void on_close(virConnectPtr, int, void* opaque) { sink_of(opaque).closed(); }

class RealConnection final : public LibvirtConnection {
 public:
  explicit RealConnection(ConnectionHandle handle) : handle_(std::move(handle)) {}

  ~RealConnection() override {
    for (const int callback : callbacks_) virConnectDomainEventDeregisterAny(handle_.get(), callback);
    if (close_callback_) virConnectUnregisterCloseCallback(handle_.get(), on_close);
    domains_.clear();  // Before their connection.
  }

  Status subscribe(const SinkReference& sink) {
    subscribe_to(VIR_DOMAIN_EVENT_ID_LIFECYCLE, VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle), sink);
    if (callbacks_.empty()) return last_error("cannot follow life-cycle events");
    auto* reference = new SinkReference(sink);  // NOLINT: libvirt owns it from here on.
    close_callback_ = virConnectRegisterCloseCallback(handle_.get(), on_close, reference, free_sink) == 0;
    if (!close_callback_) {
      free_sink(reference);
      return last_error("cannot follow the connection's end");
    }
    // Older daemons know fewer of these; what they do not tell shows at the next look at the definition.
    subscribe_to(VIR_DOMAIN_EVENT_ID_REBOOT, VIR_DOMAIN_EVENT_CALLBACK(on_reboot), sink);
    subscribe_to(VIR_DOMAIN_EVENT_ID_BALLOON_CHANGE, VIR_DOMAIN_EVENT_CALLBACK(on_balloon), sink);
    subscribe_to(VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, VIR_DOMAIN_EVENT_CALLBACK(on_device_added), sink);
    subscribe_to(VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, VIR_DOMAIN_EVENT_CALLBACK(on_device_removed), sink);
    subscribe_to(VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, VIR_DOMAIN_EVENT_CALLBACK(on_metadata), sink);
    return Done{};
  }

  Result<std::vector<ListedDomain>> list() override {
    virDomainStatsRecordPtr* raw = nullptr;
    // No other group may be added: all others ask QEMU, and one VM that hangs would block the whole call for ever.
    const unsigned groups = VIR_DOMAIN_STATS_STATE | VIR_DOMAIN_STATS_INTERFACE;
    const int count =
        virConnectGetAllDomainStats(handle_.get(), groups, &raw, VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT);
    if (count < 0) return last_error("list of domains");
    const Records records(raw);
    std::vector<ListedDomain> domains;
    domains.reserve(static_cast<std::size_t>(count));
    for (int i = 0; i < count; ++i) {
      StatsCollector collector;
      collect(*raw[i], collector);
      DomainStats stats = collector.take();
      ListedDomain domain;
      domain.vm = id_of(raw[i]->dom);
      domain.name = name_of(raw[i]->dom);
      constexpr unsigned kNoId = ~0u;
      const unsigned id = virDomainGetID(raw[i]->dom);
      if (id != kNoId) domain.active_id = id;
      if (!stats.state) return Error{ErrorCode::kCorrupt, "domain " + domain.vm.text() + " without a state"};
      domain.state = *stats.state;
      domain.reason = stats.reason.value_or(0);
      domain.nets = std::move(stats.nets);
      domains.push_back(std::move(domain));
    }
    return domains;
  }

  Result<std::string> definition(VmId vm) override {
    const DomainHandle domain(virDomainLookupByUUID(handle_.get(), vm.bytes.data()));
    if (!domain) return last_error("domain " + vm.text());
    return definition_of(domain.get());
  }

  Result<bool> persistent(VmId vm) override {
    const DomainHandle domain(virDomainLookupByUUID(handle_.get(), vm.bytes.data()));
    if (!domain) return last_error("domain " + vm.text());
    const int answer = virDomainIsPersistent(domain.get());
    if (answer < 0) return last_error("domain " + vm.text());
    return answer == 1;
  }

  Result<std::uint64_t> process_time_ns(VmId vm) override {
    const DomainHandle domain(virDomainLookupByUUID(handle_.get(), vm.bytes.data()));
    virDomainInfo info{};
    if (!domain || virDomainGetInfo(domain.get(), &info) < 0) return last_error("domain " + vm.text());
    return static_cast<std::uint64_t>(info.cpuTime);
  }

  Result<DomainStats> block_stats(VmId vm) override {
    const virDomainPtr domain = cached(vm);
    if (domain == nullptr) return last_error("domain " + vm.text());
    virDomainPtr only_this[] = {domain, nullptr};
    virDomainStatsRecordPtr* raw = nullptr;
    const int count =
        virDomainListGetStats(only_this, VIR_DOMAIN_STATS_BLOCK, &raw, VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT);
    if (count < 0) return forget(vm, last_error("disks of " + vm.text()));
    const Records records(raw);
    StatsCollector collector;
    for (int i = 0; i < count; ++i) collect(*raw[i], collector);
    return collector.take();
  }

  Result<std::uint64_t> capacity(VmId vm, const std::string& target) override {
    const virDomainPtr domain = cached(vm);
    if (domain == nullptr) return last_error("domain " + vm.text());
    virDomainBlockInfo info{};
    if (virDomainGetBlockInfo(domain, target.c_str(), &info, 0) < 0) {
      return forget(vm, last_error("disk " + target + " of " + vm.text()));
    }
    return info.capacity;
  }

  bool alive() override { return virConnectIsAlive(handle_.get()) == 1; }

 private:
  void subscribe_to(int event, virConnectDomainEventGenericCallback callback, const SinkReference& sink) {
    auto* reference = new SinkReference(sink);  // NOLINT: libvirt owns it if it takes the callback.
    const int id = virConnectDomainEventRegisterAny(handle_.get(), nullptr, event, callback, reference, free_sink);
    if (id < 0) {
      free_sink(reference);
    } else {
      callbacks_.push_back(id);
    }
  }

  // Spares a look-up per call. Only block workers come here, each with a connection of its own.
  virDomainPtr cached(VmId vm) {
    constexpr std::size_t kCachedMax = 1024;
    const auto known = domains_.find(vm);
    if (known != domains_.end()) return known->second.get();
    if (domains_.size() >= kCachedMax) domains_.clear();
    DomainHandle domain(virDomainLookupByUUID(handle_.get(), vm.bytes.data()));
    if (!domain) return nullptr;
    return domains_.emplace(vm, std::move(domain)).first->second.get();
  }

  Error forget(VmId vm, Error error) {
    domains_.erase(vm);
    return error;
  }

  // Declared before domains_: handles of domains go first.
  const ConnectionHandle handle_;
  std::vector<int> callbacks_;
  bool close_callback_ = false;
  std::map<VmId, DomainHandle> domains_;
};

}  // namespace

LibvirtConnector libvirt_connector(std::string uri) {
  return [uri = std::move(uri)](const SinkReference& sink) -> Result<std::unique_ptr<LibvirtConnection>> {
    start_event_loop();
    ConnectionHandle handle(virConnectOpenReadOnly(uri.c_str()));
    if (!handle) return last_error("libvirt " + uri);
    virConnectSetKeepAlive(handle.get(), kKeepAliveS, kKeepAliveMissed);  // Drivers without a daemon have none.
    auto connection = std::make_unique<RealConnection>(std::move(handle));
    if (sink) {
      if (Status subscribed = connection->subscribe(sink); !subscribed) return subscribed.error();
    }
    return std::unique_ptr<LibvirtConnection>(std::move(connection));
  };
}

std::unique_ptr<Source> open_libvirt_source(const LibvirtOptions& options, const Clock& clock, Log& log) {
  SamplerOptions sampler;
  sampler.source = options.source;
  sampler.description = "libvirt " + options.uri;
  sampler.on_urgency = options.on_urgency;
  sampler.proc_root = options.proc_root;
  if (const long ticks = sysconf(_SC_CLK_TCK); ticks > 0) sampler.ticks_per_s = static_cast<std::uint64_t>(ticks);
  return std::make_unique<LibvirtSampler>(std::move(sampler), libvirt_connector(options.uri), clock, log);
}

}  // namespace nodemeter
