// A snapshot of a healthy node, with one VM of an ordinary name and one of a hostile one: each test breaks something.

#pragma once

#include "platform/text.h"
#include "store/entry.h"
#include "store/live_view.h"

namespace nodemeter {

inline ClockReading now() {
  ClockReading reading;
  reading.monotonic = MonotonicTime{Milliseconds{10'000'000}};
  reading.utc = *parse_time("2026-03-01T12:00:05Z");
  return reading;
}

inline LiveSnapshot healthy() {
  LiveSnapshot snapshot;
  LiveNode& node = snapshot.node;
  node.node = "node-0123456789ab";
  node.version = "0.1.0";
  node.source = "libvirt qemu:///system";
  node.state = "metering";
  node.process_id = 4711;
  node.started = *parse_time("2026-02-27T10:00:00Z");
  node.sampled = *parse_time("2026-03-01T12:00:00Z");
  node.sampled_monotonic = MonotonicTime{Milliseconds{9'995'000}};
  node.sample_interval_ms = 10'000;
  node.sample_duration_us = 12'345;
  node.last_sequence = 1000;
  node.acknowledged = 990;
  node.uploading = true;
  node.upload_state = "idle";
  node.oldest_unacknowledged = *parse_time("2026-03-01T11:00:30Z");
  node.store_used_bytes = 100u << 20;
  node.store_size_max_bytes = 8ull << 30;
  node.store_bytes_per_day = 1u << 20;
  LiveVm vm;
  vm.vm = *VmId::parse("6f1c0000-0000-4000-8000-000000000001");
  vm.name = "web-1";
  vm.subscription = *Uuid::parse("11111111-1111-4111-8111-111111111111");
  vm.owner_known = true;
  vm.power = 1;
  vm.vcores = 4;
  vm.memory_mib = 8192;
  vm.cpu_permille = 1234;
  vm.disk_read_bytes_per_s = 1'500'000;
  vm.disk_write_bytes_per_s = 999;
  vm.network_receive_bytes_per_s = 12'000'000'000;
  vm.hour_vcore_ms = 20'000;
  snapshot.vms.push_back(vm);
  vm.vm = *VmId::parse("6f1c0000-0000-4000-8000-000000000002");
  vm.name = "evil\x1b[2J\n=cmd";
  vm.owner_known = false;
  vm.power = 3;
  vm.cpu_permille = {};
  vm.disk_read_bytes_per_s = vm.disk_write_bytes_per_s = vm.network_receive_bytes_per_s = {};
  vm.status = status_bit::kOwnerUnknown;
  snapshot.vms.push_back(vm);
  return snapshot;
}

}  // namespace nodemeter
