// A node in ordinary service, for measurements: VMs that run, with disks, NICs and owners, whose counters rise at rates
// of their own. Nothing happens but time.

#pragma once

#include <string>
#include <utility>
#include <vector>

#include "collectors/source.h"
#include "platform/clock.h"
#include "platform/random.h"

namespace nodemeter {

class SteadyClock final : public Clock {
 public:
  explicit SteadyClock(UtcTime start) : start_(start) {}
  [[nodiscard]] ClockReading now() const override {
    ClockReading reading;
    reading.boot.bytes[0] = 1;
    reading.monotonic = MonotonicTime{passed_ + std::chrono::hours{1}};
    reading.utc = start_ + passed_;
    return reading;
  }
  void pass(Milliseconds time) { passed_ += time; }

 private:
  UtcTime start_;
  Milliseconds passed_{0};
};

class SteadyNode final : public Source {
 public:
  SteadyNode(const SteadyClock& clock, std::uint32_t vms, std::uint64_t seed) : clock_(clock), random_(seed) {
    Sample& sample = sample_;
    sample.boot = clock.now().boot;
    sample.events_unbroken = true;
    for (std::uint32_t n = 0; n < vms; ++n) sample.vms.push_back(vm(n));
  }

  // Moves every counter to the clock's time and makes the sample, so that read_all() costs nothing.
  void advance() {
    const ClockReading now = clock_.now();
    const auto passed = static_cast<std::uint64_t>((now.monotonic - sample_.taken_at).count());
    sample_.taken_at = now.monotonic;
    sample_.wall = now.utc;
    for (VmReading& vm : sample_.vms) {
      for (DeviceReading& device : vm.devices) {
        device.read_at = now.monotonic;
        for (std::size_t i = 0; i < kCountersMax; ++i) {
          auto* value = std::get_if<std::uint64_t>(&device.counters[i]);
          if (value) *value += passed * per_second_max(device.kind, i) / 1'000 * random_.below(1'000) / 1'000;
        }
      }
    }
    ready_ = sample_;
  }

  Result<Sample> read_all() override { return std::move(ready_); }
  [[nodiscard]] std::string description() const override { return "steady"; }

 private:
  static std::uint64_t per_second_max(DeviceKind kind, std::size_t counter) {
    switch (kind) {
      case DeviceKind::kCpu: return 4'000'000;  // Microseconds of 4 cores.
      case DeviceKind::kDisk: return counter < 2 ? 60'000'000 : 2'000;
      case DeviceKind::kNic: return counter < 2 ? 100'000'000 : 80'000;
    }
    return 0;
  }

  DeviceReading device(DeviceKind kind, std::string id, std::size_t counters) {
    DeviceReading device;
    device.kind = kind;
    device.id = std::move(id);
    device.run = random_.next();
    // It has been running for weeks.
    for (std::size_t i = 0; i < counters; ++i) device.counters[i] = random_.below(1ull << 44);
    return device;
  }

  VmReading vm(std::uint32_t n) {
    VmReading vm;
    vm.vm = VmId(random_.uuid());
    vm.vm.bytes[0] = static_cast<std::uint8_t>(n >> 8);  // Samples are ordered by id.
    vm.vm.bytes[1] = static_cast<std::uint8_t>(n);
    vm.name = "instance-" + std::to_string(10'000 + n);
    vm.levels = {Power::kRunning, 4, 8'192, 160 * 1'024};
    vm.owner.known = true;
    vm.owner.subscription = random_.uuid();
    vm.owner.tenant = random_.uuid();
    vm.owner.resource_group = "group-" + std::to_string(n % 17);
    vm.owner.name = "web-" + std::to_string(n);
    vm.owner.tags = {{"cost-center", std::to_string(4'000 + n)}, {"environment", "production"}, {"team", "web"}};
    vm.devices.push_back(device(DeviceKind::kCpu, "vcpus", 1));
    vm.devices.push_back(device(DeviceKind::kDisk, "vda", 4));
    vm.devices.push_back(device(DeviceKind::kDisk, "vdb", 4));
    vm.devices.push_back(device(DeviceKind::kNic, "52:54:00:12:34:56", 4));
    return vm;
  }

  const SteadyClock& clock_;
  Random random_;
  Sample sample_;
  Sample ready_;
};

}  // namespace nodemeter
