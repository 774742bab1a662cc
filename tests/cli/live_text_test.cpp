// Goal: the first line of `status` tells an operator at night whether money is being lost, and why.
// Method: one healthy snapshot; each test breaks one thing in it. Whole outputs are golden files.

#include <catch2/catch.hpp>

#include "agent/cli/live_text.h"
#include "golden.h"
#include "live_snapshot.h"
#include "platform/text.h"
#include "store/entry.h"

using namespace nodemeter;
using namespace nodemeter::cli;

namespace {

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

TEST_CASE("ages read as people say them", "[status]") {
  CHECK(age_text(Milliseconds{-5}) == "0 s");
  CHECK(age_text(Milliseconds{59'999}) == "59 s");
  CHECK(age_text(Milliseconds{125'000}) == "2 min 5 s");
  CHECK(age_text(Milliseconds{7'200'000}) == "2 h");
  CHECK(age_text(Milliseconds{93'600'000}) == "1 d 2 h");
}
