// Goal: a reader sees one publication whole or says why not, whoever dies when.
// Method: publications whose numbers all follow from one, so that a mixture of two gives itself away; writer and reader
// as threads (for the thread sanitizer); live_view_posix_test.cpp has them as processes that are killed at random.

#include "store/live_view.h"

#include <atomic>
#include <thread>

#include "live_numbers.h"
#include "platform/shared_region.h"

namespace nodemeter {

TEST_CASE("what is published is read back, every field of it", "[live]") {
  const std::string name = fresh_name();
  const auto writer = taken(LiveWriter::create(name, ""));
  CHECK(read_live_view(name).error().code == ErrorCode::kNotFound);
  LiveSnapshot s = numbered(1, 2);
  LiveNode& n = s.node;
  n.version = "0.1.0";
  n.source = "libvirt";
  n.state = "source down";
  n.reason = "no connection";
  n.started = at_ms(2);
  n.sampled_monotonic = MonotonicTime(Milliseconds(3));
  n.sample_interval_ms = 4;
  n.sample_duration_us = 5;
  n.clock_synchronised = false;
  n.clock_offset_moved_ms = -6;
  n.epoch = *Uuid::parse("d7a82282-7e89-44f7-a107-b2ea2f4f5933");
  n.acknowledged = 7;
  n.uploading = true;
  n.upload_state = "held";
  n.upload_reason = "HTTP 403";
  n.oldest_unacknowledged = at_ms(8);
  n.parked = 9;
  n.store_used_bytes = 10;
  n.store_size_max_bytes = 11;
  n.store_bytes_per_day = 12;
  n.store_retained_bytes = 120;
  n.gap_ms_today = 13;
  n.simulated = true;
  n.owners_fault = "owners.json:3: is wrong";
  n.owners_listed = 18;
  n.owner_conflicts = 19;
  LiveVm& vm = s.vms[1];
  vm.subscription = n.epoch;
  vm.tenant = n.epoch;
  vm.owner_known = true;
  vm.billable = false;
  vm.power = 2;
  vm.vcores = 14;
  vm.disk_mib = 15;
  vm.disk_read_bytes_per_s = 16;
  vm.network_transmit_bytes_per_s = 0;
  vm.hour_gap_ms = 17;
  vm.status = status_bit::kGap;
  vm.windows_licence = true;
  for (std::size_t i = 0; i < kMeterCount; ++i) vm.registers[i] = 18 + i;
  vm.registers[1].reset();
  writer->publish(s);

  const LiveSnapshot got = taken(read_live_view(name));
  CHECK(got.writer_alive);
  CHECK(got.vms_left_out == 0);
  const LiveNode& g = got.node;
  CHECK((g.node == n.node && g.version == n.version && g.source == n.source && g.state == n.state &&
         g.reason == n.reason));
  CHECK((g.process_id == n.process_id && g.started == n.started && g.sampled == n.sampled));
  CHECK((g.sampled_monotonic == n.sampled_monotonic && g.sample_interval_ms == 4 && g.sample_duration_us == 5));
  CHECK((!g.clock_synchronised && g.clock_offset_moved_ms == -6 && g.epoch == n.epoch && g.last_sequence == 1));
  CHECK((g.acknowledged == 7 && g.uploading && g.upload_state == "held" && g.upload_reason == "HTTP 403"));
  CHECK((g.oldest_unacknowledged == at_ms(8) && g.parked == 9 && g.store_used_bytes == 10));
  CHECK((g.store_size_max_bytes == 11 && g.store_bytes_per_day == 12 && g.store_retained_bytes == 120 &&
         g.gap_ms_today == 13 && g.gaps_today == 1));
  CHECK(g.simulated);
  CHECK((g.owners_fault == n.owners_fault && g.owners_listed == 18 && g.owner_conflicts == 19));
  REQUIRE(got.vms.size() == 2);
  const LiveVm& v = got.vms[1];
  CHECK((v.vm == vm.vm && v.name == vm.name && v.subscription == vm.subscription && v.tenant == vm.tenant));
  CHECK((v.owner_known && !v.billable && v.power == 2 && v.vcores == 14 && v.memory_mib == 1 && v.disk_mib == 15));
  CHECK((!v.cpu_permille && v.disk_read_bytes_per_s == 16u && !v.disk_write_bytes_per_s));
  CHECK((!v.network_receive_bytes_per_s && v.network_transmit_bytes_per_s == 0u));
  CHECK((v.hour_vcore_ms == vm.hour_vcore_ms && v.hour_gap_ms == 17 && v.status == status_bit::kGap));
  CHECK((v.windows_licence && v.registers == vm.registers));
}

TEST_CASE("texts are cut between characters, and VMs beyond the segment are counted", "[live]") {
  const std::string name = fresh_name();
  const auto writer = taken(LiveWriter::create(name, "", 3));
  LiveSnapshot s = numbered(2, 5);
  s.vms[0].name = std::string(kLiveTextMax - 1, 'x') + "\u00e9";
  for (std::string* text : {&s.node.node, &s.node.version, &s.node.source, &s.node.state, &s.node.reason,
                            &s.node.upload_state, &s.node.upload_reason}) {
    *text = std::string(5'000, 'r');
  }
  for (LiveVm& vm : s.vms) vm.name.resize(5'000, 'x');
  s.vms[0].name = std::string(kLiveTextMax - 1, 'x') + "\u00e9";
  writer->publish(s);
  const LiveSnapshot got = taken(read_live_view(name));
  CHECK(got.vms.size() == 3);
  CHECK(got.vms_left_out == 2);
  CHECK(got.vms[0].name == std::string(kLiveTextMax - 1, 'x'));
  CHECK(got.node.reason == std::string(kLiveTextMax, 'r'));
}

TEST_CASE("memory of somebody else, of another version or cut short is refused", "[live]") {
  const std::string name = fresh_name();
  const auto region = taken(SharedRegion::create(name, 4096, ""));
  auto* words = static_cast<std::atomic<std::uint64_t>*>(region.data());
  CHECK(read_live_view(name).error().code == ErrorCode::kNotFound);  // Not ready.
  words[0] = 123;
  CHECK(read_live_view(name).error().code == ErrorCode::kCorrupt);
  words[0] = 0x3165'7669'4c4d'4eull;
  words[1] = kLiveFormat + 1;
  CHECK(read_live_view(name).error().code == ErrorCode::kUnsupported);
  words[1] = kLiveFormat;
  words[4] = ~std::uint64_t{0};
  CHECK(read_live_view(name).error().code == ErrorCode::kCorrupt);
  words[4] = 100;
  words[16] = 2;
  words[17] = ~std::uint64_t{0};
  CHECK(read_live_view(name).error().code == ErrorCode::kUnavailable);
  words[17] = 800;  // Zeros: texts of no length, and bytes left over.
  CHECK(read_live_view(name).error().code == ErrorCode::kCorrupt);
  SharedRegion::remove(name);
}

TEST_CASE("no reader ever sees a mixture of two publications", "[live]") {
  const std::string name = fresh_name();
  const auto writer = taken(LiveWriter::create(name, ""));
  writer->publish(numbered(1));
  std::atomic<bool> stop{false};
  std::thread publisher([&] {
    for (std::uint64_t n = 2; !stop.load(); ++n) {
      // About a thousand times as often as an agent that is asked to sample as fast as it can.
      writer->publish(numbered(n, 1 + n % 200));
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
  });
  std::uint64_t last = 0;
  int read = 0;
  for (int i = 0; i < 1'000; ++i) {
    const auto snapshot = read_live_view(name);
    if (!snapshot) {
      CHECK(snapshot.error().code == ErrorCode::kUnavailable);
      continue;
    }
    ++read;
    REQUIRE(whole(*snapshot));
    REQUIRE(snapshot->node.last_sequence >= last);
    last = snapshot->node.last_sequence;
  }
  stop = true;
  publisher.join();
  CHECK(read > 900);
}

}  // namespace nodemeter
