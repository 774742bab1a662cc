// Goal: the owners file decides who pays in a running agent, a change of it holds from then on, and a wrong one changes
// nothing.
// Method: the whole daemon with a simulated node; the file is written while the agent waits, the journal is read.

#include <catch2/catch.hpp>
#include <map>

#include "daemon_site.h"
#include "platform/files.h"
#include "store/live_view.h"

using namespace nodemeter;

namespace {

constexpr const char* kVm = "6f1c0000-0000-4000-8000-000000000001";
constexpr const char* kByMetadata = "11111111-1111-4111-8111-111111111111";  // By the scenario.
constexpr const char* kFirst = "aaaaaaaa-0000-4000-8000-000000000001";
constexpr const char* kSecond = "aaaaaaaa-0000-4000-8000-000000000002";

struct OwnedSite : DaemonSite {
  OwnedSite() { options.owners_file = (directory.path() / "owners.json").string(); }

  void write(const std::string& text) const { require_ok(replace_file(options.owners_file, text)); }
  static std::string text(const std::string& subscription) {
    return std::string("{\"vms\": {\n\"") + kVm + "\": {\"subscription\": \"" + subscription + "\"}}}";
  }
  void owner(const std::string& subscription) const { write(text(subscription)); }

  // How often each subscription has a usage record of a whole hour, and what events tell of owners.
  std::map<std::string, int> records() const {
    std::map<std::string, int> count;
    const auto reader = taken(Reader::open(options.state_path));
    require_ok(reader->for_each(1, [&](const Entry& entry, std::string_view) {
      if (entry.kind == EntryKind::kUsage) ++count[entry.subscription.text()];
      if (entry.detail.find("owner-changed") != std::string::npos) ++count["changes"];
      return true;
    }));
    return count;
  }
};

}  // namespace

TEST_CASE("a new owner in the owners file has the records from then on, and an event tells it", "[owners]") {
  OwnedSite site;
  site.owner(kFirst);
  REQUIRE(site.run(100, 50, [&] { site.owner(kSecond); }) == 0);
  std::map<std::string, int> count = site.records();
  CHECK(count[kFirst] > 0);
  CHECK(count[kSecond] > 0);
  CHECK(count[kByMetadata] == 0);
  CHECK(count["changes"] == 1);
}

TEST_CASE("a reload that was asked for reads a file that looks unchanged", "[owners]") {
  OwnedSite site;
  site.owner(kFirst);
  const auto time = fs::last_write_time(site.options.owners_file);
  REQUIRE(site.run(100, 50, [&] {
    std::ofstream(site.options.owners_file, std::ios::binary) << OwnedSite::text(kSecond);  // The same file, as long.
    fs::last_write_time(site.options.owners_file, time);
    ++site.running->reloads;
  }) == 0);
  CHECK(site.records()[kSecond] > 0);
}

TEST_CASE("a wrong owners file leaves the owners in force, also over a restart, and status says so", "[owners]") {
  OwnedSite site;
  site.owner(kFirst);
  LiveNode seen;
  REQUIRE(site.run(100, 50, [&] { site.write("{\"vms\": {\n\"web\": 1}}"); }) == 0);
  CHECK(site.records()[kByMetadata] == 0);
  REQUIRE(site.run(100, 30, [&] { seen = taken(read_live_view(site.options.live_name)).node; }) == 0);
  INFO(site.said);
  CHECK(seen.owners_fault.rfind("owners.json:2: vms.web: ", 0) == 0);
  CHECK(seen.owners_listed == 1);
  CHECK(seen.owner_conflicts == 1);
  std::map<std::string, int> count = site.records();
  CHECK(count[kFirst] > 0);
  CHECK(count[kByMetadata] == 0);
  CHECK(count["changes"] == 0);

  site.owner(kSecond);
  REQUIRE(site.run(100, 30, [&] { seen = taken(read_live_view(site.options.live_name)).node; }) == 0);
  CHECK(seen.owners_fault.empty());
  CHECK(site.records()[kSecond] > 0);
}

TEST_CASE("an owners file that was wrong from the first start on keeps the agent from starting", "[owners]") {
  OwnedSite site;
  CHECK(site.run(10) == 1);
  CHECK(site.said.find("owners.json") != std::string::npos);
  site.write("{\n\"vms\": 1}");
  CHECK(site.run(10) == 1);
  CHECK(site.said.find("owners.json:2: vms: ") != std::string::npos);
}
