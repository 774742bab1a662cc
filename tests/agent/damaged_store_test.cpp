// Goal: a damaged journal never stops metering: it is put aside as it is, a new one says so first, and after too many
// in a day the agent says that the disk fails.
// Method: the whole daemon with a simulated source and a fast clock, in this process; a service that damages the data
// file between two runs, or while the agent waits.

#include <unistd.h>

#include <catch2/catch.hpp>
#include <fstream>
#include <sstream>
#include <thread>

#include "../store/store_fixtures.h"
#include "agent/daemon.h"
#include "agent/set_aside.h"
#include "store/reader.h"
#include "store/salvage.h"

namespace nodemeter {

namespace fs = std::filesystem;

namespace {

constexpr const char* kScenario = R"({ "start": "2026-01-01T00:00:00Z", "end": "2027-01-01T00:00:00Z",
  "sample_interval_s": 60, "vms": [ { "id": "6f1c0000-0000-4000-8000-000000000001", "name": "web", "vcores": 4,
  "memory_mib": 8192, "windows_licence": false, "subscription": "11111111-1111-4111-8111-111111111111",
  "tenant": "22222222-2222-4222-8222-222222222222", "resource_group": "rg", "cpu_percent": 25 } ], "events": [] })";

// Stops after so many waits, and does something at one of them.
class ScriptedService final : public Service {
 public:
  ScriptedService(int waits, int at, std::function<void()> work) : left_(waits), at_(at), work_(std::move(work)) {}
  void wait(Milliseconds /*longest*/) override {
    if (--left_ == at_ && work_) work_();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  void wake() override {}
  [[nodiscard]] int stop_requests() const override { return left_ <= 0 ? 1 : 0; }
  void ready() override {}
  void alive() override {}
  void stopping() override {}

 private:
  int left_;
  int at_;
  std::function<void()> work_;
};

struct Site {
  Site() {
    std::ofstream(directory.path() / "scenario.json") << kScenario;
    options.node_id = "node-1";
    options.source_kind = SourceKind::kSimulated;
    options.scenario = (directory.path() / "scenario.json").string();
    options.speed = 100'000;  // An hour in 36 ms.
    options.state_path = directory.path() / "state";
    options.live_name = "nm-damage-" + std::to_string(getpid());
    options.log_level = "error";
  }
  int run(int waits, int at = -1, std::function<void()> work = {}) {
    ScriptedService service(waits, at, std::move(work));
    std::ostringstream err;
    const int code = run_daemon(options, false, service, err);
    said = err.str();
    return code;
  }
  // Every page behind the meta pages becomes noise.
  void damage() const {
    const fs::path file = options.state_path / "journal" / "data.mdb";
    std::fstream writer(file, std::ios::binary | std::ios::in | std::ios::out);
    writer.seekp(8192);
    const std::string noise(fs::file_size(file) - 8192, '\x5a');
    writer.write(noise.data(), static_cast<std::streamsize>(noise.size()));
  }
  [[nodiscard]] std::vector<std::string> put_aside() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(options.state_path)) {
      std::string name = entry.path().filename().string();
      if (name.starts_with("journal.damaged-")) names.push_back(std::move(name));
    }
    return names;
  }
  // Details of the first two entries, and that the chain holds.
  [[nodiscard]] std::string beginning() const {
    const auto reader = taken(Reader::open(options.state_path));
    CHECK(taken(reader->verify({})).faults.empty());
    std::string text;
    require_ok(reader->for_each(1, [&](const Entry& entry, std::string_view) {
      text += entry.detail + "\n";
      return entry.sequence < 2;
    }));
    return text;
  }
  TemporaryDirectory directory;
  Options options;
  std::string said;
};

}  // namespace

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
