// The whole command line, from argv to streams, and a state directory for it.

#pragma once

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "agent/cli/cli.h"
#include "agent/cli/console.h"
#include "platform/clock.h"
#include "platform/random.h"

namespace nodemeter {

namespace fs = std::filesystem;

struct Outcome {
  int code = 0;
  std::string out;
  std::string err;
};

inline Outcome nodemeter_run(const std::vector<std::string>& arguments) {
  std::vector<const char*> argv = {"nodemeter"};
  for (const std::string& argument : arguments) argv.push_back(argument.c_str());
  std::ostringstream out;
  std::ostringstream err;
  const std::unique_ptr<Clock> clock = system_clock();
  const int code = cli::run(static_cast<int>(argv.size()), argv.data(), out, err, {*clock, false, false});
  return {code, out.str(), err.str()};
}

class Directory {
 public:
  Directory() : path_(fs::temp_directory_path() / ("nodemeter-cli-" + Random::from_system().uuid().text())) {
    fs::create_directories(path_);
  }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  ~Directory() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  [[nodiscard]] std::string operator/(const std::string& name) const { return (path_ / name).generic_string(); }
  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(path_ / name, std::ios::binary) << text;
    return *this / name;
  }

 private:
  fs::path path_;
};

inline constexpr const char* kScenario = R"({ "start": "2026-01-01T00:00:00Z", "end": "2026-01-01T03:00:00Z",
  "sample_interval_s": 60, "vms": [ { "id": "6f1c0000-0000-4000-8000-000000000001", "name": "=web", "vcores": 4,
  "memory_mib": 8192, "windows_licence": false, "subscription": "11111111-1111-4111-8111-111111111111",
  "tenant": "22222222-2222-4222-8222-222222222222", "resource_group": "rg", "cpu_percent": 25 } ],
  "events": [ { "at": "2026-01-01T02:10:30Z", "do": "agent_crash", "down_s": 60 } ] })";

inline std::string simulated_state(const Directory& directory) {
  const Outcome made =
      nodemeter_run({"simulate", directory.write("s.json", kScenario), "--state", directory / "state"});
  INFO(made.err);
  REQUIRE(made.code == 0);
  return directory / "state";
}

}  // namespace nodemeter
