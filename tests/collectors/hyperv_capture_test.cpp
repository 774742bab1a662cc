// Goal: what `collect-diagnostics` writes on a host plays here as that host, and shows no tenant's words unless asked.
// Method: a host in memory is captured, written, read again and sampled, beside the host itself; and a captured file
// made from instance names of real hosts is sampled.

#include <catch2/catch.hpp>
#include <fstream>
#include <sstream>

#include "collectors/hyperv_capture.h"
#include "tests/collectors/hyperv_host.h"

using namespace nodemeter;

namespace {

Sample sampled(std::unique_ptr<HypervReader> reader, const Clock& clock) {
  NullLog log;
  const auto tracker = std::make_shared<HypervTracker>(HypervTracker::Options{}, clock);
  HypervSampler sampler(HypervSampler::Options{}, std::move(reader), tracker, clock, log);
  Result<Sample> sample = sampler.read_all();
  REQUIRE(sample.ok());
  return *sample;
}

HypervCapture captured(HypervReader& reader, const Clock& clock) {
  HypervCapture capture;
  capture.passes.push_back(capture_pass(reader, clock));
  const auto all = parse_settings(capture.passes.front().tables);
  REQUIRE(all.ok());
  for (const auto& [vm, settings] : *all) {
    for (const HypervDisk& disk : settings.disks) capture.sizes[disk.path] = 10u << 20;
  }
  return capture;
}

// Everything but names.
void check_same(const Sample& a, const Sample& b) {
  REQUIRE(a.vms.size() == b.vms.size());
  for (std::size_t i = 0; i < a.vms.size(); ++i) {
    CHECK(a.vms[i].vm == b.vms[i].vm);
    CHECK(a.vms[i].levels == b.vms[i].levels);
    REQUIRE(a.vms[i].devices.size() == b.vms[i].devices.size());
    for (std::size_t d = 0; d < a.vms[i].devices.size(); ++d) {
      CHECK(a.vms[i].devices[d].id == b.vms[i].devices[d].id);
      CHECK(a.vms[i].devices[d].counters == b.vms[i].devices[d].counters);
    }
  }
}

void fill(FakeHost& host) {
  host.vms[FakeHost::id(1)] = {
      "Contoso (web): 1", Power::kRunning, 1, 1000, 2, "C:\\ClusterStorage\\Volume1\\Contoso\\web-1.vhdx"};
  host.vms[FakeHost::id(1)].ticks = (1ull << 60) + 1;  // Beyond what a number of JSON holds.
  host.vms[FakeHost::id(1)].disk = {1, 2, 3, 4};
  host.vms[FakeHost::id(2)] = {"Fabrikam", Power::kRunning, 2, 1000, 4, "D:\\vm\\FABRIKAM.vhdx"};
  host.vms[FakeHost::id(2)].has_nic = true;
  host.vms[FakeHost::id(3)] = {"fabrikam2", Power::kRunning, 3, 1000, 1, ""};
  host.vms[FakeHost::id(4)] = {"Contoso (web): 1", Power::kOff, 0, 0, 1, ""};
}

}  // namespace

TEST_CASE("a capture is written, read again, and plays as the host", "[hyperv]") {
  HandClock clock;
  auto host = std::make_unique<FakeHost>(clock);
  fill(*host);
  const HypervCapture capture = captured(*host, clock);
  Result<HypervCapture> again = parse_capture(capture_text(capture));
  INFO((again ? std::string() : again.error().message));
  REQUIRE(again.ok());
  CHECK(again->passes.front().tables == capture.passes.front().tables);
  CHECK(again->passes.front().columns == capture.passes.front().columns);
  CHECK(again->sizes == capture.sizes);
  const Sample replayed = sampled(std::make_unique<CaptureReader>(*again, clock), clock);
  check_same(replayed, sampled(std::move(host), clock));
  CHECK(replayed.vms.front().name == "Contoso (web): 1");
}

TEST_CASE("without tenants' words a capture still fits together", "[hyperv]") {
  HandClock clock;
  auto host = std::make_unique<FakeHost>(clock);
  fill(*host);
  const std::string text = capture_text(without_tenant_data(captured(*host, clock)));
  for (const char* word : {"ontoso", "abrikam", "FABRIKAM", "web"}) CHECK(text.find(word) == std::string::npos);
  CHECK(text.find("ClusterStorage") != std::string::npos);
  check_same(sampled(std::make_unique<CaptureReader>(*parse_capture(text), clock), clock),
             sampled(std::move(host), clock));
}

TEST_CASE("notes and the host's name are left out of a capture", "[hyperv]") {
  HypervCapture capture;
  WmiRow settings;
  settings.set("InstanceID", "Microsoft:4AB43180-FCFA-46FD-A5A0-55069A2AA367");
  settings.set("Notes", WmiRow::Values{"secret"});
  WmiRow host;
  host.set("Name", "SITE7-NODE1");
  capture.passes.emplace_back();
  capture.passes.front().tables[hyperv_class::kSettings] = {settings};
  capture.passes.front().tables[hyperv_class::kSystem] = {host};
  const std::string text = capture_text(without_tenant_data(capture));
  CHECK(text.find("secret") == std::string::npos);
  CHECK(text.find("SITE7") == std::string::npos);
  CHECK(text.find("4AB43180-FCFA-46FD-A5A0-55069A2AA367") != std::string::npos);
  CHECK(capture_text(capture).find("secret") != std::string::npos);
}

TEST_CASE("what could not be read is told, and the rest is kept", "[hyperv]") {
  HandClock clock;
  FakeHost host(clock);
  fill(host);
  host.wmi_away = true;
  const HypervCapture::Pass pass = capture_pass(host, clock);
  CHECK(pass.faults == std::vector<std::string>{"away"});
  CHECK(pass.tables.empty());
  CHECK_FALSE(pass.columns.empty());
}

TEST_CASE("a file that is no capture is refused with its reason", "[hyperv]") {
  CHECK(parse_capture("{").error().code == ErrorCode::kInvalidInput);
  CHECK(parse_capture("{}").error().message == "not a capture of a Hyper-V host");
  CHECK(parse_capture(R"({"hyperv_capture":2})").error().code == ErrorCode::kUnsupported);
  CHECK(parse_capture(R"({"hyperv_capture":1})").error().message.find("passes") != std::string::npos);
  CHECK(parse_capture(
            R"({"hyperv_capture":1,"passes":[{"taken_at_ms":1,"faults":[],"tables":{},"counters":[{"set":"x"}]}],
                          "sizes":{"a":"b"}})")
            .error()
            .message.find(":2: a: a whole number") != std::string::npos);
}

TEST_CASE("a node with instance names of real hosts is read as it is", "[hyperv]") {
  std::ostringstream text;
  text << std::ifstream(FIXTURES "/hyperv-node.json", std::ios::binary).rdbuf();
  Result<HypervCapture> capture = parse_capture(text.str());
  INFO((capture ? std::string() : capture.error().message));
  REQUIRE(capture.ok());
  HandClock clock;
  const Sample sample = sampled(std::make_unique<CaptureReader>(*capture, clock), clock);
  REQUIRE(sample.vms.size() == 2);  // The host and the replica are no machines of this node.
  const VmReading& linux = sample.vms[0];
  CHECK(linux.name == "sv101 (linux)");
  CHECK(linux.levels == Levels{Power::kRunning, 2, 4096, 130'048});
  REQUIRE(linux.devices.size() == 4);
  CHECK(linux.devices[0].counters[kCpuTimeUs] == Reading{std::uint64_t{30'000'000}});
  CHECK(linux.devices[1].counters[kReadBytes] == Reading{std::uint64_t{5'000'000'000}});
  CHECK(linux.devices[1].counters[kReadOperations] == Reading{std::uint64_t{4'294'967'000}});
  CHECK(linux.devices[2].counters[kReceiveBytes] == Reading{std::uint64_t{11}});  // Two legacy adapters, by index.
  CHECK(linux.devices[3].counters[kReceiveBytes] == Reading{std::uint64_t{22}});
  const VmReading& firewall = sample.vms[1];
  CHECK(firewall.name == "Opnsense");
  CHECK(firewall.owner.known);
  REQUIRE(firewall.devices.size() == 3);
  CHECK(firewall.devices[0].counters[kCpuTimeUs] == Reading{std::uint64_t{1'234'567}});
  CHECK(firewall.devices[1].counters[kWriteBytes] == Reading{std::uint64_t{9}});
  CHECK(firewall.devices[2].counters[kTransmitPackets] == Reading{std::uint64_t{33}});
}
