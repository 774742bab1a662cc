// A Hyper-V host in memory with the sampler that reads it, and what tests ask of a sample in one line.

#pragma once

#include <algorithm>
#include <catch2/catch.hpp>
#include <memory>

#include "platform/log.h"
#include "tests/collectors/hyperv_host.h"

namespace nodemeter {

// What a test asks of one device in one line: "run begun value…"; runs are named in the order of their appearance.
class Site {
 public:
  Site() {
    auto host = std::make_unique<FakeHost>(clock);
    this->host = host.get();
    tracker = std::make_shared<HypervTracker>(HypervTracker::Options{}, clock);
    HypervSampler::Options options;
    options.notice_trail = Milliseconds{0};
    sampler = std::make_unique<HypervSampler>(options, std::move(host), tracker, clock, log);
    tracker->connected();
  }

  FakeVm& vm(int n) { return host->vms[FakeHost::id(n)]; }

  Sample read() {
    clock.ms += 10'000;
    Result<Sample> sample = sampler->read_all();
    INFO((sample ? std::string() : sample.error().message));
    REQUIRE(sample.ok());
    return *sample;
  }

  void notify(int n, WmiNotice::Kind kind) {
    WmiNotice notice;
    notice.kind = kind;
    notice.row = host->row(FakeHost::id(n));
    notice.came = clock.now().monotonic;
    tracker->notice(notice, std::nullopt);
  }

  HandClock clock;
  FakeHost* host;
  std::shared_ptr<HypervTracker> tracker;
  NullLog log;
  std::unique_ptr<HypervSampler> sampler;
};

inline const VmReading* find(const Sample& sample, int n) {
  for (const VmReading& vm : sample.vms) {
    if (vm.vm == FakeHost::id(n)) return &vm;
  }
  return nullptr;
}

inline const DeviceReading& device(const Sample& sample, int n, DeviceKind kind) {
  const VmReading* vm = find(sample, n);
  REQUIRE(vm != nullptr);
  const auto found =
      std::find_if(vm->devices.begin(), vm->devices.end(), [&](const auto& d) { return d.kind == kind; });
  REQUIRE(found != vm->devices.end());
  return *found;
}

inline Reading cpu(const Sample& sample, int n) { return device(sample, n, DeviceKind::kCpu).counters[kCpuTimeUs]; }

}  // namespace nodemeter
