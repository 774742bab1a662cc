// Goal: the text says what the snapshot holds, in base units, and no label ends early.
// Method: a golden file of the healthy node; registers at their limits; what is not known has no series. promtool reads
// a real agent's text in tests/operator/prometheus_main.py.

#include "agent/cli/prometheus_text.h"

#include <catch2/catch.hpp>

#include "golden.h"
#include "live_snapshot.h"

using namespace nodemeter;
using namespace nodemeter::cli;

namespace {

void set(LiveVm& vm, MeterIndex meter, std::uint64_t value) { vm.registers[static_cast<std::size_t>(meter)] = value; }

}  // namespace

TEST_CASE("the exposition of a healthy node", "[prometheus]") {
  LiveSnapshot s = healthy();
  s.node.clock_offset_moved_ms = -1'250;
  set(s.vms[0], MeterIndex::kBaseVmHours, 7'200'001);
  set(s.vms[0], MeterIndex::kCpuTime, 1'500'000);
  set(s.vms[0], MeterIndex::kMemoryHours, UINT64_MAX);
  set(s.vms[0], MeterIndex::kNetworkReceivePackets, 0);
  set(s.vms[1], MeterIndex::kDiskReadBytes, UINT64_MAX);
  check_golden("prometheus.txt", prometheus_text(s, now()));
}

TEST_CASE("what is not known has no series, and zero has one", "[prometheus]") {
  LiveSnapshot s = healthy();
  set(s.vms[1], MeterIndex::kCpuTime, 0);
  const std::string text = prometheus_text(s, now());
  CHECK_THAT(text, Catch::Matchers::Contains(
                       "nodemeter_vm_cpu_seconds_total{vm=\"6f1c0000-0000-4000-8000-000000000002\"} 0\n"));
  CHECK(text.find("nodemeter_vm_cpu_seconds_total{vm=\"6f1c0000-0000-4000-8000-000000000001\"") == std::string::npos);
  CHECK(text.find("disk_read_bytes_total") == std::string::npos);
  s.vms.clear();
  CHECK(prometheus_text(s, now()).find("nodemeter_vm_") == std::string::npos);
}

TEST_CASE("quotes, backslashes, line ends and bad bytes stay inside their label", "[prometheus]") {
  LiveSnapshot s = healthy();
  s.vms.resize(1);
  s.vms[0].name = "a\"} 1\nnodemeter_up 0\\\xff";
  const std::string text = prometheus_text(s, now());
  CHECK_THAT(text, Catch::Matchers::Contains("name=\"a\\\"} 1\\\\x0Anodemeter_up 0\\\\\\\\xFF\"") ||
                       Catch::Matchers::Contains("name=\"a\\\"} 1\\\\x0anodemeter_up 0\\\\\\\\xff\""));
  CHECK(text.find("\nnodemeter_up 0") == std::string::npos);
}
