// Goal: the first line of `status` tells an operator at night whether money is being lost, and why.
// Method: one healthy snapshot; each test breaks one thing in it. Whole outputs are golden files.

#include <catch2/catch.hpp>

#include "agent/cli/live_text.h"
#include "golden.h"
#include "platform/text.h"
#include "store/entry.h"

using namespace nodemeter;
using namespace nodemeter::cli;

namespace {

ClockReading now() {
  ClockReading reading;
  reading.monotonic = MonotonicTime{Milliseconds{10'000'000}};
  reading.utc = *parse_time("2026-03-01T12:00:05Z");
  return reading;
}

LiveSnapshot healthy() {
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

std::string first_line(const LiveSnapshot& snapshot) {
  const std::string text = cli::status_text(snapshot, now(), false);
  return text.substr(0, text.find('\n'));
}

}  // namespace

TEST_CASE("status of a healthy node begins with billing safe", "[status]") {
  CHECK(first_line(healthy()) == "billing safe: 2 VMs metered, delivery works");
  check_golden("status.txt", cli::status_text(healthy(), now(), false));
  check_golden("status.json", status_json(healthy(), now()));
}

TEST_CASE("each thing that endangers billing is named in the first line", "[status]") {
  LiveSnapshot s = healthy();
  SECTION("an agent that hangs") {
    s.node.sampled_monotonic = MonotonicTime{Milliseconds{10'000'000 - 95'000}};
    CHECK_THAT(first_line(s), Catch::Matchers::StartsWith("billing at risk: the last sample is 1 min 35 s old"));
  }
  SECTION("a hypervisor that does not answer") {
    s.node.state = "source down";
    s.node.reason = "cannot connect";
    CHECK(first_line(s) == "billing at risk: source down: cannot connect");
  }
  SECTION("a clock that nobody sets") {
    s.node.clock_synchronised = false;
    CHECK_THAT(first_line(s), Catch::Matchers::Contains("clock of this node is not synchronised"));
  }
  SECTION("delivery that waits for an operator") {
    s.node.upload_state = "held";
    s.node.upload_reason = "401 unauthorised";
    CHECK_THAT(first_line(s), Catch::Matchers::Contains("held until an operator acts: 401 unauthorised"));
  }
  SECTION("entries that were refused") {
    s.node.parked = 1;
    CHECK_THAT(first_line(s), Catch::Matchers::Contains("1 entry was refused"));
  }
  SECTION("a journal that is full within a week") {
    s.node.store_bytes_per_day = 2ull << 30;
    CHECK_THAT(first_line(s), Catch::Matchers::Contains("the journal is full in about 3 days"));
  }
  SECTION("a journal that would be full before its retention ends") {
    s.node.store_bytes_per_day = 2ull << 30;
    s.node.store_retained_bytes = 9ull << 30;
    CHECK_THAT(first_line(s), Catch::Matchers::Contains("the journal is full in about 3 days"));
  }
  SECTION("a journal that is nearly full, at unknown growth") {
    s.node.store_bytes_per_day = 0;
    s.node.store_used_bytes = s.node.store_size_max_bytes / 100 * 95;
    CHECK_THAT(first_line(s), Catch::Matchers::Contains("the journal fills"));
  }
  SECTION("a simulated source") {
    s.node.simulated = true;
    CHECK_THAT(first_line(s), Catch::Matchers::Contains("simulated"));
  }
}

TEST_CASE("a journal that retention keeps below its bound is never full", "[status]") {
  LiveSnapshot s = healthy();
  s.node.store_bytes_per_day = 2ull << 30;
  s.node.store_retained_bytes = 5ull << 30;
  CHECK(judge(s, now()).safe);
  CHECK_THAT(cli::status_text(s, now(), false),
             Catch::Matchers::Contains("a day, retention keeps it at about 5.0 GiB"));
  CHECK_THAT(cli::status_json(s, now()), Catch::Matchers::Contains("\"journalDaysLeft\": null") ||
                                             Catch::Matchers::Contains("\"journalDaysLeft\":null"));
}

TEST_CASE("a retried delivery and an unowned VM are notes, not risks", "[status]") {
  LiveSnapshot s = healthy();
  s.node.upload_state = "backing off";
  s.node.upload_reason = "503";
  const Verdict verdict = judge(s, now());
  CHECK(verdict.safe);
  REQUIRE(verdict.notes.size() == 2);
  CHECK(verdict.notes[0] == "delivery waits and is retried: 503");
}

TEST_CASE("an owners file that is not in force is a risk, and a conflict of owners is a note", "[status]") {
  LiveSnapshot s = healthy();
  s.node.owner_conflicts = 2;
  REQUIRE(judge(s, now()).safe);
  CHECK(judge(s, now()).notes.back().rfind("2 VMs have", 0) == 0);
  s.node.owners_fault = "owners.json:3: vms.x: is no VM id (UUID)";
  CHECK(first_line(s) ==
        "billing at risk: the owners file cannot be used, the owners before stay in force: owners.json:3: vms.x: is no "
        "VM id (UUID)");
  CHECK_THAT(cli::status_json(s, now()), Catch::Matchers::Contains("\"ownersFault\":\"owners.json:3: ") &&
                                             Catch::Matchers::Contains("\"ownerConflicts\":2") &&
                                             Catch::Matchers::Contains("\"vmsWithoutOwner\":1"));
}

TEST_CASE("a VM's name cannot steer the terminal", "[vms]") {
  check_golden("vms.txt", vms_text(healthy(), VmOrder::kName, false));
  check_golden("vms.json", vms_json(healthy()));
  CHECK(vms_text(healthy(), VmOrder::kName, false).find('\x1b') == std::string::npos);
}

TEST_CASE("top sorts by what is asked and fits the screen", "[top]") {
  LiveSnapshot s = healthy();
  s.vms[1].name = "busy";
  s.vms[1].disk_read_bytes_per_s = 9'000'000;
  const std::string screen = top_text(s, now(), VmOrder::kDisk, 6, 40, false);
  CHECK(screen.find("busy") == std::string::npos);  // Cut at 40 columns, before the names.
  CHECK(screen.find("000002") < screen.find("000001"));
  std::size_t lines = 0;
  std::size_t width = 0;
  for (const char c : screen) {
    if (c == '\n') {
      ++lines;
      CHECK(width <= 40);
      width = 0;
    } else {
      ++width;
    }
  }
  CHECK(lines == 6);
}

TEST_CASE("ages read as people say them", "[status]") {
  CHECK(age_text(Milliseconds{-5}) == "0 s");
  CHECK(age_text(Milliseconds{59'999}) == "59 s");
  CHECK(age_text(Milliseconds{125'000}) == "2 min 5 s");
  CHECK(age_text(Milliseconds{7'200'000}) == "2 h");
  CHECK(age_text(Milliseconds{93'600'000}) == "1 d 2 h");
}
