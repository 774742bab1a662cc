// Goal: the calls to COM and PDH that a Hyper-V host gets are right, as far as anything but such a host can tell.
// Method: the unmodified session, query and source. WMI is the system's own where that is enough, else a stand-in
// within this process; pdh.dll is a stand-in beside the program. What both show comes from a host in memory, and the
// source must make of it what the portable sampler makes of that host itself.

#include <catch2/catch.hpp>
#include <thread>

#include "collectors/hyperv_source.h"
#include "collectors/hyperv_workers.h"
#include "collectors/pdh_counters_windows.h"
#include "collectors/wmi_session_windows.h"
#include "tests/collectors/hyperv_host.h"
#include "tests/windows/fake_wmi.h"
#include "tests/windows/pdh_in_place.h"

using namespace nodemeter;

namespace {

template <class Condition>
bool comes_true(const Condition& condition) {
  for (int i = 0; i < 3000 && !condition(); ++i) std::this_thread::sleep_for(Milliseconds{10});
  return condition();
}

}  // namespace

TEST_CASE("a Windows without Hyper-V says so", "[hyperv][wine]") {
  const auto session = open_wmi_session(kHypervNamespace);
  REQUIRE_FALSE(session.ok());
  CHECK(session.error().code == ErrorCode::kUnsupported);
  CHECK(session.error().message.find("not a Hyper-V host") != std::string::npos);
}

TEST_CASE("rows of the system's own classes are read, numbers of 64 bits, too", "[hyperv][wine]") {
  auto session = open_wmi_session("root\\cimv2");
  REQUIRE(session.ok());
  const Result<WmiRows> systems =
      (*session)->rows({"Win32_OperatingSystem", {"Caption", "TotalVisibleMemorySize"}, ""});
  REQUIRE(systems.ok());
  REQUIRE(systems->size() == 1);
  CHECK_FALSE(systems->front().text("Caption").empty());
  CHECK(systems->front().number("TotalVisibleMemorySize").value_or(0) > 0);
  const Result<WmiRows> processes =
      (*session)->rows({"Win32_Process", {"ProcessId", "Caption"}, "Caption LIKE 'collectors_tests%'"});
  REQUIRE(processes.ok());
  bool found = false;
  for (const WmiRow& row : *processes) found = found || row.number("ProcessId") == GetCurrentProcessId();
  CHECK(found);
}

TEST_CASE("WMI that refuses this account says what to do", "[hyperv][wine]") {
  fake::Wmi wmi;
  wmi.connects = static_cast<HRESULT>(WBEM_E_ACCESS_DENIED);
  const fake::InPlace in_place(wmi);
  const auto session = open_wmi_session(kHypervNamespace);
  REQUIRE_FALSE(session.ok());
  CHECK(session.error().code == ErrorCode::kPermissionDenied);
  CHECK(session.error().message.find("Hyper-V Administrators") != std::string::npos);
}

TEST_CASE("rows, missing classes, unknown properties, disk sizes and notices pass through COM", "[hyperv][wine]") {
  HandClock clock;
  FakeHost host(clock);
  host.vms[FakeHost::id(1)] = {
      "w\xc3\xa4"
      "b",
      Power::kRunning,
      4'000'000'000,
      1000,
      4,
      "C:\\a.vhdx"};
  host.vms[FakeHost::id(1)].migrating = true;
  fake::Wmi wmi;
  wmi.rows = [&](const std::string& class_name) -> std::optional<WmiRows> {
    if (class_name == hyperv_class::kPlanned) return std::nullopt;
    if (class_name == "Msvm_ImageManagementService") {
      WmiRow service;
      service.set("__PATH", "the service");
      return WmiRows{service};
    }
    return host.rows({{class_name, {}, ""}})->tables[class_name];
  };
  wmi.disk_settings = [](const std::string& path) {
    return path == "C:\\a.vhdx" ? std::optional(fake::disk_settings_of(10 << 20)) : std::nullopt;
  };
  const fake::InPlace in_place(wmi);
  auto session = open_wmi_session(kHypervNamespace);
  REQUIRE(session.ok());
  const WmiQuery machines = hyperv_machine_queries().front();
  Result<WmiRows> rows = (*session)->rows(machines);
  REQUIRE(rows.ok());
  CHECK(*rows == WmiRows{FakeHost::own_row(), host.row(FakeHost::id(1))});
  CHECK(rows->back().number("ProcessID") == 4'000'000'000u);
  CHECK((*session)->rows(hyperv_machine_queries().back()).error().code == ErrorCode::kNotFound);
  // What ends in any other way than with its last row is no answer, and least of all a class that does not exist.
  for (const HRESULT end : {static_cast<HRESULT>(WBEM_E_NOT_FOUND), static_cast<HRESULT>(WBEM_S_PARTIAL_RESULTS)}) {
    wmi.rows_end = end;
    CHECK((*session)->rows(machines).error().code == ErrorCode::kUnavailable);
  }
  wmi.rows_end = S_FALSE;
  // An older Windows does not know each property: the others are read nevertheless.
  wmi.unknown_properties = {"ReplicationMode"};
  wmi.queries = 0;
  rows = (*session)->rows(machines);
  REQUIRE(rows.ok());
  CHECK(rows->size() == 2);
  CHECK(wmi.queries == 2);
  CHECK(parse_virtual_disk_size((*session)->virtual_disk_settings("C:\\a.vhdx").value()) == 10u << 20);
  CHECK((*session)->virtual_disk_settings("C:\\none.vhdx").error().code == ErrorCode::kNotFound);
  REQUIRE((*session)->subscribe(machines).ok());
  CHECK_FALSE((*session)->next_notice(Milliseconds{10})->has_value());
  wmi.notices.push_back({WmiNotice::Kind::kDeleted, host.row(FakeHost::id(1)), {}});
  const auto notice = (*session)->next_notice(Milliseconds{10'000});
  REQUIRE(notice.ok());
  REQUIRE(notice->has_value());
  CHECK((*notice)->kind == WmiNotice::Kind::kDeleted);
  CHECK((*notice)->row == host.row(FakeHost::id(1)));
}

TEST_CASE("counters pass through PDH with types and per-value status; a missing one costs itself", "[hyperv][wine]") {
  const fake::PdhInPlace pdh;
  HandClock clock;
  FakeHost host(clock);
  host.vms[FakeHost::id(1)] = {"web (1)", Power::kRunning, 1, 1000, 3, "C:\\a.vhdx"};
  host.vms[FakeHost::id(1)].ticks = 0x1'0000'0001;
  std::vector<CounterColumn> columns = host.counters()->columns;
  columns[1].values.front().valid = false;
  columns[2].state = ColumnState::kNotOffered;
  columns[2].values.clear();
  fake::PdhInPlace::show(columns);
  auto query = open_pdh_counters(hyperv_counter_paths());
  REQUIRE(query.ok());
  Result<std::vector<CounterColumn>> read = (*query)->read();
  REQUIRE(read.ok());
  REQUIRE(read->size() == columns.size());
  for (std::size_t i = 0; i < columns.size(); ++i) {
    CHECK((*read)[i].state == columns[i].state);
    CHECK((*read)[i].type == columns[i].type);
    CHECK((*read)[i].values == columns[i].values);
  }
  // More instances than the buffer of a moment ago holds, and none at all.
  host.vms[FakeHost::id(2)] = {"a name that is a good deal longer than the other one", Power::kRunning, 2, 1000, 64};
  fake::PdhInPlace::show(host.counters()->columns);
  CHECK((*query)->read()->front().values.size() == 67);
  host.vms.clear();
  fake::PdhInPlace::show(host.counters()->columns);
  read = (*query)->read();
  REQUIRE(read.ok());
  CHECK(read->front().state == ColumnState::kRead);
  CHECK(read->front().values.empty());
}

TEST_CASE("counters whose provider was started again are read again after a while", "[hyperv][wine]") {
  const fake::PdhInPlace pdh;
  HandClock clock;
  FakeHost host(clock);
  host.vms[FakeHost::id(1)] = {"web", Power::kRunning, 1, 1000, 3, "C:\\a.vhdx"};
  fake::PdhInPlace::show(host.counters()->columns);
  const auto query = open_pdh_counters(hyperv_counter_paths());
  REQUIRE(query.ok());
  const auto shown = [&] { return (*query)->read()->front().values.size(); };
  CHECK(shown() == 3);
  fake::PdhInPlace::restart_provider();
  CHECK(shown() == 0);
  std::size_t reads = 0;
  while (shown() == 0 && reads < 1000) ++reads;
  CHECK(reads < 100);
  // Those that are right are left alone.
  for (int i = 0; i < 100; ++i) REQUIRE(shown() == 3);
}

TEST_CASE("the source makes of COM and PDH what the sampler makes of the host itself", "[hyperv][wine]") {
  HandClock clock;
  FakeHost host(clock);
  for (int n = 1; n <= 20; ++n) {
    FakeVm& vm = host.vms[FakeHost::id(n)];
    vm = {"vm-" + std::to_string(n % 15),    n % 7 == 0 ? Power::kOff : Power::kRunning,
          100u + static_cast<unsigned>(n),   1000 * n,
          1u + static_cast<unsigned>(n) % 4, "C:\\ClusterStorage\\Volume1\\" + std::to_string(n) + ".vhdx"};
    vm.ticks = 1'000'000u * static_cast<unsigned>(n);
    vm.disk.fill(3'000'000'000u + static_cast<unsigned>(n));
    vm.nic.fill(7u * static_cast<unsigned>(n));
    vm.has_nic = n % 2 == 0;
  }
  const fake::PdhInPlace pdh;
  fake::PdhInPlace::show(host.counters()->columns);
  fake::Wmi wmi;
  wmi.rows = [&](const std::string& class_name) -> std::optional<WmiRows> {
    WmiRow service;
    service.set("__PATH", "the service");
    if (class_name == "Msvm_ImageManagementService") return WmiRows{service};
    return host.rows({{class_name, {}, ""}})->tables[class_name];
  };
  wmi.disk_settings = [](const std::string&) { return std::optional(fake::disk_settings_of(10 << 20)); };
  const fake::InPlace in_place(wmi);
  NullLog log;
  HypervOptions options;
  options.source.vm_deadline = Milliseconds{60'000};
  const auto source = open_hyperv_source(options, clock, log);
  REQUIRE(source.ok());
  Result<Sample> sample = Error{ErrorCode::kUnavailable, ""};
  // From two samples on notices are known to be watched.
  REQUIRE(comes_true([&] {
    sample = (*source)->read_all();
    return sample.ok() && sample->events_unbroken;
  }));
  const auto tracker = std::make_shared<HypervTracker>(HypervTracker::Options{}, clock);
  auto own = std::make_unique<FakeHost>(clock);
  own->vms = host.vms;
  HypervSampler direct(HypervSampler::Options{}, std::move(own), tracker, clock, log);
  const Result<Sample> expected = direct.read_all();
  REQUIRE(expected.ok());
  REQUIRE(sample->vms.size() == 20);
  for (std::size_t i = 0; i < 20; ++i) {
    const VmReading& a = sample->vms[i];
    const VmReading& b = expected->vms[i];
    CHECK(a.vm == b.vm);
    CHECK(a.name == b.name);
    CHECK(a.levels == b.levels);
    CHECK(a.process_began == b.process_began);
    REQUIRE(a.devices.size() == b.devices.size());
    for (std::size_t d = 0; d < a.devices.size(); ++d) {
      CHECK(a.devices[d].id == b.devices[d].id);
      CHECK(a.devices[d].run == b.devices[d].run);
      CHECK(a.devices[d].counters == b.devices[d].counters);
    }
  }
  {
    const std::lock_guard lock(wmi.mutex);
    wmi.notices.push_back({WmiNotice::Kind::kDeleted, host.row(FakeHost::id(3)), {}});
    host.vms.erase(FakeHost::id(3));
    wmi.changed.notify_all();
  }
  REQUIRE(comes_true([&] {
    sample = (*source)->read_all();
    return sample.ok() && sample->vms.size() == 19;
  }));
  CHECK(sample->inventory == Inventory::kComplete);
}
