// The whole daemon in this process: a simulated node, a clock that runs fast, and a service that does something while
// the agent waits.

#pragma once

#include <catch2/catch.hpp>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "../store/store_fixtures.h"
#include "agent/daemon.h"
#include "platform/process.h"
#include "store/reader.h"

namespace nodemeter {

namespace fs = std::filesystem;

inline constexpr const char* kDaemonScenario = R"({ "start": "2026-01-01T00:00:00Z", "end": "2027-01-01T00:00:00Z",
  "sample_interval_s": 60, "vms": [ { "id": "6f1c0000-0000-4000-8000-000000000001", "name": "web", "vcores": 4,
  "memory_mib": 8192, "windows_licence": false, "subscription": "11111111-1111-4111-8111-111111111111",
  "tenant": "22222222-2222-4222-8222-222222222222", "resource_group": "rg", "cpu_percent": 25 } ], "events": [] })";

// Stops after so many waits, and does something at one of them; at -1: at each.
class ScriptedService final : public Service {
 public:
  ScriptedService(int waits, int at, std::function<void()> work) : left_(waits), at_(at), work_(std::move(work)) {}
  void wait(Milliseconds /*longest*/) override {
    if ((--left_ == at_ || at_ == kAtEach) && work_) work_();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  void wake() override {}
  [[nodiscard]] int stop_requests() const override { return left_ <= 0 ? 1 : 0; }
  void ready() override {}
  void alive() override {}
  void stopping() override {}
  [[nodiscard]] int reload_requests() const override { return reloads; }
  [[nodiscard]] int disturbances() const override { return disturbed; }

  static constexpr int kAtEach = -1;
  int reloads = 0;
  int disturbed = 0;

 private:
  int left_;
  int at_;
  std::function<void()> work_;
};

struct DaemonSite {
  DaemonSite() {
    std::ofstream(directory.path() / "scenario.json") << kDaemonScenario;
    options.node_id = "node-1";
    options.source_kind = SourceKind::kSimulated;
    options.scenario = (directory.path() / "scenario.json").string();
    options.speed = 100'000;  // An hour in 36 ms.
    options.state_path = directory.path() / "state";
    options.live_name = "nm-damage-" + std::to_string(current_process());
    options.log_level = "error";
  }
  int run(int waits, int at = ScriptedService::kAtEach, std::function<void()> work = {}) {
    ScriptedService service(waits, at, std::move(work));
    running = &service;
    std::ostringstream err;
    const int code = run_daemon(options, false, service, err);
    said = err.str();
    running = nullptr;
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
  ScriptedService* running = nullptr;  // While run() is.
};

}  // namespace nodemeter
