// Goal: a damaged journal never stops metering: it is put aside as it is, a new one says so first, and after too many
// in a day the agent says that the disk fails.
// Method: the whole daemon with a simulated source and a fast clock, in this process; a service that damages the data
// file between two runs, or while the agent waits.

#include <catch2/catch.hpp>
#include <fstream>

#include "agent/set_aside.h"
#include "daemon_site.h"
#include "store/salvage.h"

namespace nodemeter {

using Site = DaemonSite;

TEST_CASE("a journal found damaged at the start is put aside, and the new one says so first", "[damage]") {
  Site site;
  REQUIRE(site.run(60) == 0);
  const JournalState before = taken(taken(Reader::open(site.options.state_path))->state());
  REQUIRE(before.last_sequence > 1);
  {
    // One bit, in the head of an entry's page: everything else can still be read.
    const fs::path file = site.options.state_path / "journal" / "data.mdb";
    std::fstream bytes(file, std::ios::binary | std::ios::in | std::ios::out);
    bytes.seekp(16);
    bytes.put('\x5a');
  }
  INFO(site.said);
  REQUIRE(site.run(60) == 0);
  REQUIRE(site.put_aside().size() == 1);
  const std::string first = site.beginning();
  CHECK(first.starts_with(R"({"event":"store-replaced","how":")"));
  CHECK(first.find("this is not a file of LMDB") != std::string::npos);
  CHECK(first.find(R"("directory":")" + site.put_aside().front() + '"') != std::string::npos);
  CHECK(first.find("metering-started") != std::string::npos);  // And metering begins as after an installation.
  CHECK(taken(taken(Reader::open(site.options.state_path))->state()).epoch != before.epoch);

  // Nothing of the old one is lost: the sweep finds every entry.
  const SalvageReport report =
      taken(salvage_store(site.options.state_path / site.put_aside().front(), site.directory.path() / "salvaged"));
  REQUIRE(report.epochs.size() == 1);
  CHECK(report.epochs[0].epoch == before.epoch);
  CHECK(report.epochs[0].verified == before.last_sequence);
  const auto salvaged = taken(Reader::open(site.directory.path() / "salvaged"));
  CHECK(taken(salvaged->verify({})).faults.empty());
  CHECK(taken(salvaged->state()).head == before.head);
}

TEST_CASE("a journal damaged while the agent runs is put aside, and metering goes on", "[damage]") {
  Site site;
  const int code = site.run(120, 60, [&] { site.damage(); });
  INFO(site.said);
  REQUIRE(code == 0);
  CHECK(site.put_aside().size() == 1);
  const std::string first = site.beginning();
  CHECK(first.starts_with(R"({"event":"store-replaced")"));
  CHECK(first.find("page ") != std::string::npos);  // It says where.
  // A later start finds nothing wrong and nothing to say.
  REQUIRE(site.run(20) == 0);
  CHECK(site.put_aside().size() == 1);
}

TEST_CASE("too many damaged journals in a day: the agent stops and says that the disk fails", "[damage]") {
  Site site;
  REQUIRE(site.run(20) == 0);
  for (std::size_t i = 0; i < kSetAsidePerDay; ++i) {
    site.damage();
    INFO(site.said);
    REQUIRE(site.run(20) == 0);
    // A trial's clock runs ahead; what counts is the node's day, and its names differ.
    REQUIRE(site.put_aside().size() == i + 1);
  }
  site.damage();
  CHECK(site.run(20) == 1);
  CHECK(site.said.find("damaged stores were put aside within a day") != std::string::npos);
  CHECK(site.put_aside().size() == kSetAsidePerDay);  // The evidence does not pile up.
}

}  // namespace nodemeter
