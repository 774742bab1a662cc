// Goal: whatever hangs, the sample comes in time, and one VM's trouble is its own.
// Method: a hypervisor in memory whose calls can be made to hang, and processes made by hand below a root.

#include <catch2/catch.hpp>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <set>
#include <string>
#include <thread>

#include "collectors/libvirt_sampler.h"
#include "platform/process.h"

using namespace nodemeter;

namespace {

namespace fs = std::filesystem;
constexpr Milliseconds kDeadline{400};
constexpr Milliseconds kSlack{300};  // A loaded machine.
using std::chrono::steady_clock;

struct Host {
  std::mutex mutex;
  std::condition_variable changed;
  std::set<int> running;
  std::set<int> hanging;  // VMs.
  bool daemon_hangs = false;
  bool daemon_away = false;
  std::uint64_t reason = 1;  // Why they run: started.
  std::uint64_t bytes = 4096;
  bool disks_count = true;  // Else their statistics have names and sizes only, as while QEMU sets up.
  int block_calls = 0;
  std::uint64_t process_time_ns = 0;
  std::shared_ptr<LibvirtEventSink> sink;

  void set(const std::function<void(Host&)>& change) {
    const std::lock_guard lock(mutex);
    change(*this);
    changed.notify_all();
  }
};

VmId vm_id(int n) {
  VmId id;
  id.bytes[0] = 1;
  id.bytes[15] = static_cast<std::uint8_t>(n);
  return id;
}

class FakeConnection final : public LibvirtConnection {
 public:
  explicit FakeConnection(std::shared_ptr<Host> host) : host_(std::move(host)) {}
  Result<std::vector<ListedDomain>> list() override {
    std::unique_lock lock(host_->mutex);
    host_->changed.wait(lock, [&] { return !host_->daemon_hangs; });
    if (host_->daemon_away) return Error{ErrorCode::kUnavailable, "away"};
    std::vector<ListedDomain> domains;
    for (const int n : host_->running) {
      domains.push_back(
          ListedDomain{vm_id(n), "vm", static_cast<std::uint32_t>(n), domain_state::kRunning, host_->reason, {}});
    }
    return domains;
  }
  Result<std::string> definition(VmId vm) override {
    return "<domain><name>vm</name><uuid>" + vm.text() +
           "</uuid><memory>1024</memory><vcpu>1</vcpu><devices><disk><target dev='vda'/></disk></devices></domain>";
  }
  Result<bool> persistent(VmId) override { return true; }
  Result<std::uint64_t> process_time_ns(VmId) override {
    const std::lock_guard lock(host_->mutex);
    return host_->process_time_ns;
  }
  Result<DomainStats> block_stats(VmId vm) override {
    std::unique_lock lock(host_->mutex);
    ++host_->block_calls;
    host_->changed.wait(lock, [&] { return !host_->hanging.contains(vm.bytes[15]); });
    DomainStats stats;
    stats.block_count = 1;
    stats.blocks.push_back(BlockStats{"vda", {}, 1ull << 20});
    stats.blocks.front().counters.fill(host_->disks_count ? Reading{host_->bytes} : Reading{Absence::kNotOffered});
    return stats;
  }
  Result<std::uint64_t> capacity(VmId, const std::string&) override { return std::uint64_t{1} << 20; }
  bool alive() override {
    const std::lock_guard lock(host_->mutex);
    return !host_->daemon_away;
  }

 private:
  const std::shared_ptr<Host> host_;
};

struct Fixture {
  explicit Fixture(int vms) {
    static int number = 0;
    root = fs::temp_directory_path() /
           ("nodemeter-smp-" + std::to_string(current_process()) + "-" + std::to_string(++number));
    for (int n = 1; n <= vms; ++n) {
      host->running.insert(n);
      process(n);
    }
    SamplerOptions options;
    options.source.vm_deadline = kDeadline;
    options.proc_root = root;
    const LibvirtConnector connector =
        [h = host](const std::shared_ptr<LibvirtEventSink>& sink) -> Result<std::unique_ptr<LibvirtConnection>> {
      const std::lock_guard lock(h->mutex);
      if (h->daemon_away) return Error{ErrorCode::kUnavailable, "away"};
      if (sink) h->sink = sink;
      return std::unique_ptr<LibvirtConnection>(std::make_unique<FakeConnection>(h));
    };
    source = std::make_unique<LibvirtSampler>(options, connector, *clock, log);
  }
  ~Fixture() {
    host->set([](Host& h) {
      h.daemon_hangs = false;
      h.hanging.clear();
    });
    source.reset();
    host->sink.reset();
    fs::remove_all(root);
  }

  void process(int n) const {
    const fs::path folder = root / std::to_string(100 + n);
    fs::create_directories(folder / "task/1");
    std::ofstream(folder / "cmdline", std::ios::binary) << "qemu" << '\0' << "-uuid" << '\0' << vm_id(n).text() << '\0';
    std::ofstream stat(folder / "stat", std::ios::binary);
    stat << 100 + n << " (q) S";
    for (int field = 4; field < 22; ++field) stat << " 0";
    stat << " 500 0\n";
    std::ofstream(folder / "task/1/comm", std::ios::binary) << "CPU 0/KVM\n";
    std::ofstream(folder / "task/1/schedstat", std::ios::binary) << "5000000 0 0\n";
  }

  Sample sample() {
    const auto began = steady_clock::now();
    Result<Sample> sample = source->read_all();
    took = std::chrono::duration_cast<Milliseconds>(steady_clock::now() - began);
    REQUIRE(sample.ok());
    return *sample;
  }
  // Helper threads come back when they come back.
  static void until(const std::function<bool()>& condition) {
    const auto last = steady_clock::now() + std::chrono::seconds(10);
    while (!condition() && steady_clock::now() < last) std::this_thread::sleep_for(Milliseconds{5});
  }
  static Reading disk(const Sample& sample, int n) {
    for (const VmReading& vm : sample.vms) {
      if (vm.vm == vm_id(n)) return vm.devices.at(1).counters[0];
    }
    FAIL("VM not listed");
    return Absence::kNotOffered;
  }

  fs::path root;
  std::shared_ptr<Host> host = std::make_shared<Host>();
  std::unique_ptr<Clock> clock = system_clock();
  NullLog log;
  std::unique_ptr<LibvirtSampler> source;
  Milliseconds took{};
};

}  // namespace

TEST_CASE("a sample has every VM with CPU, disk and levels", "[sampler]") {
  Fixture f(3);
  const Sample sample = f.sample();
  REQUIRE(sample.vms.size() == 3);
  CHECK(sample.inventory == Inventory::kComplete);
  CHECK_FALSE(sample.events_unbroken);
  const VmReading& vm = sample.vms.front();
  CHECK(vm.levels == Levels{Power::kRunning, 1, 1, 1});
  CHECK(vm.process_began == MonotonicTime{Milliseconds{5000}});
  CHECK(vm.devices.at(0).counters[kCpuTimeUs] == Reading{5000u});
  CHECK(vm.devices.at(1).counters[kReadBytes] == Reading{4096u});
  CHECK(f.sample().events_unbroken);
}

TEST_CASE("the process of a VM that migrated in proves nothing about when the VM came", "[sampler]") {
  Fixture f(1);
  f.host->set([](Host& host) { host.reason = domain_state::kRunningMigrated; });
  CHECK_FALSE(f.sample().vms.front().process_began);
  // Paused and resumed since: libvirt tells another reason now.
  f.host->set([](Host& host) { host.reason = 5; });
  CHECK_FALSE(f.sample().vms.front().process_began);
}

TEST_CASE("a hanging VM costs only its own disk reading, waits once, and is asked once", "[sampler]") {
  Fixture f(12);
  f.sample();
  f.host->set([](Host& h) { h.hanging.insert(1); });
  for (int round = 0; round < 4; ++round) {
    const Sample sample = f.sample();
    CHECK(Fixture::disk(sample, 1) == Reading{Absence::kVmBusy});
    for (int n = 2; n <= 12; ++n) CHECK(Fixture::disk(sample, n) == Reading{4096u});
    CHECK(f.took < (round == 0 ? kDeadline + kSlack : kSlack));
  }
  f.host->set([](Host& h) { h.hanging.clear(); });
  f.until([&] { return Fixture::disk(f.sample(), 1) == Reading{4096u}; });
  CHECK(Fixture::disk(f.sample(), 1) == Reading{4096u});
}

TEST_CASE("a disk that does not count yet is one that could not be read: it counts from its run's start", "[sampler]") {
  Fixture f(1);
  f.host->set([](Host& h) { h.disks_count = false; });
  CHECK(Fixture::disk(f.sample(), 1) == Reading{Absence::kReadFailed});
  f.host->set([](Host& h) { h.disks_count = true; });
  CHECK(Fixture::disk(f.sample(), 1) == Reading{4096u});
}

TEST_CASE("many hanging VMs use up a bounded number of threads and a bounded time", "[sampler]") {
  Fixture f(40);
  f.sample();
  f.host->set([](Host& h) {
    h.block_calls = 0;
    for (int n = 1; n <= 20; ++n) h.hanging.insert(n);
  });
  for (int round = 0; round < 3; ++round) {
    const Sample sample = f.sample();
    CHECK(sample.vms.size() == 40);
    CHECK(f.took < 3 * kDeadline + kSlack);
  }
  f.host->set([](Host& h) { CHECK(h.block_calls <= static_cast<int>(BlockWorkers::kWorkersMax) + 40 * 3); });
  f.host->set([](Host& h) { h.hanging.clear(); });
  f.until([&] { return Fixture::disk(f.sample(), 1) == Reading{4096u}; });
  CHECK(Fixture::disk(f.sample(), 20) == Reading{4096u});
}

TEST_CASE("a hanging daemon does not stop the sample, and is waited for once", "[sampler]") {
  Fixture f(2);
  f.sample();
  f.host->set([](Host& h) { h.daemon_hangs = true; });
  for (int round = 0; round < 3; ++round) {
    const Sample sample = f.sample();
    CHECK(sample.inventory == Inventory::kKnownOnly);
    CHECK_FALSE(sample.events_unbroken);
    REQUIRE(sample.vms.size() == 2);
    CHECK(sample.vms[0].devices.at(0).counters[kCpuTimeUs] == Reading{5000u});
    CHECK(f.took < (round == 0 ? kDeadline + kSlack : kSlack));
  }
  f.host->set([](Host& h) { h.daemon_hangs = false; });
  f.until([&] { return f.sample().inventory == Inventory::kComplete; });
  CHECK(f.sample().inventory == Inventory::kComplete);
}

TEST_CASE("while the daemon is away only VMs whose process is alive are listed", "[sampler]") {
  Fixture f(2);
  f.sample();
  f.host->set([](Host& h) { h.daemon_away = true; });
  fs::remove_all(f.root / "102");
  const Sample sample = f.sample();
  CHECK(sample.inventory == Inventory::kKnownOnly);
  REQUIRE(sample.vms.size() == 1);
  CHECK(sample.vms[0].vm == vm_id(1));
  CHECK(Fixture::disk(sample, 1) == Reading{Absence::kReadFailed});
}

TEST_CASE("nothing known and nobody to ask is an error, not an empty node", "[sampler]") {
  Fixture f(0);
  f.host->set([](Host& h) { h.daemon_away = true; });
  Fixture g(0);
  CHECK(g.sample().vms.empty());
  g.host->set([](Host& h) { h.daemon_away = true; });
  CHECK(g.sample().inventory == Inventory::kKnownOnly);
}

TEST_CASE("a process that only looks like the VM's is not it, even if it is the only one", "[sampler]") {
  Fixture f(1);
  f.host->set([](Host& h) { h.process_time_ns = 70'000'000; });
  CHECK(f.sample().vms.at(0).devices.at(0).counters[kCpuTimeUs] == Reading{Absence::kReadFailed});
}

TEST_CASE("of two processes that claim to be one VM the daemon's CPU time tells which it is", "[sampler]") {
  Fixture f(1);
  fs::copy(f.root / "101", f.root / "201", fs::copy_options::recursive);
  const auto used = [&f](const std::string& pid, int ticks) {
    std::ofstream stat(f.root / pid / "stat", std::ios::binary);
    stat << pid << " (q) S 0 0 0 0 0 0 0 0 0 0 " << ticks << " 0 0 0 0 0 0 0 500 0\n";
  };
  used("101", 7);
  used("201", 7);
  f.host->set([](Host& h) { h.process_time_ns = 70'000'000; });
  const Sample unclear = f.sample();
  CHECK(unclear.vms.at(0).devices.at(0).counters[kCpuTimeUs] == Reading{Absence::kReadFailed});
  CHECK(unclear.vms.at(0).levels.disk_mib == 1u);
  CHECK_FALSE(unclear.vms.at(0).process_began);
  used("201", 8);
  CHECK(f.sample().vms.at(0).devices.at(0).counters[kCpuTimeUs] == Reading{5000u});
}
