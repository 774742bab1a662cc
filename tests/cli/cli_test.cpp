// Goal: scripts can rely on exit codes, and on data alone being on standard output.
// Method: the whole command line, from argv to streams, on a state directory that `simulate` made.

#include "agent/cli/cli.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "agent/cli/advice.h"
#include "agent/cli/console.h"
#include "agent/machine.h"
#include "command.h"
#include "golden.h"
#include "platform/clock.h"
#include "platform/random.h"
#include "store/reader.h"

using namespace nodemeter;

TEST_CASE("help is data: standard output and exit 0, with an example for every verb", "[cli]") {
  const Outcome help = nodemeter_run({"--help"});
  CHECK(help.code == 0);
  CHECK(help.err.empty());
  for (const std::string verb :
       {"agent", "status", "vms", "top", "usage", "gaps", "events", "meters", "simulate", "version"}) {
    const Outcome text = nodemeter_run({verb, "--help"});
    INFO(verb);
    CHECK(text.code == 0);
    CHECK_THAT(text.out, Catch::Matchers::Contains("Example:\n  nodemeter " + verb));
    CHECK_THAT(help.out, Catch::Matchers::Contains(verb));
  }
  for (const std::string verb : {"info", "verify", "export", "cat", "backup", "prune", "unpark", "rotate-key"}) {
    CHECK_THAT(nodemeter_run({"journal", verb, "--help"}).out,
               Catch::Matchers::Contains("Example:\n  nodemeter journal " + verb));
  }
}

TEST_CASE("no page and no advice names a tool or a path of another platform", "[cli]") {
  const Directory directory;
  fs::create_directories(directory / "man");
  REQUIRE(nodemeter_run({"help", "--man", directory / "man"}).code == 0);
  std::string all = as_service_account();
  for (const auto& page : fs::directory_iterator(directory / "man")) {
    std::ostringstream text;
    text << std::ifstream(page.path()).rdbuf();
    all += text.str();
  }
  const cli::Advice& advice = cli::advice();
  for (const std::string* words :
       {&advice.as_service, &advice.read_history, &advice.start, &advice.restart, &advice.stop_first,
        &advice.hypervisor, &advice.hypervisor_rights, &advice.time_service, &advice.time_setter, &advice.close_file,
        &advice.doctor, &advice.metrics_file}) {
    CHECK_FALSE(words->empty());
    all += *words + "\n";
  }
  all += advice.join_group("readers");
  const std::vector<std::string> posix{"sudo", "systemctl", "journalctl", "chrony", "/etc/nodemeter", "/var/lib"};
  const std::vector<std::string> windows{"w32tm", "net start", "administrator", "icacls", "Get-Service", "Program"};
  const bool on_posix = default_config_path().generic_string() == "/etc/nodemeter/nodemeter.toml";
  for (const std::string& own : on_posix ? posix : windows) CHECK_THAT(all, Catch::Matchers::Contains(own));
  for (const std::string& foreign : on_posix ? windows : posix) CHECK_THAT(all, !Catch::Matchers::Contains(foreign));
}

TEST_CASE("wrong usage is exit 2, says what is allowed, and prints no data", "[cli]") {
  const std::vector<std::vector<std::string>> wrong = {
      {},
      {"usge"},
      {"usage", "--frobnicate"},
      {"usage"},
      {"usage", "--start", "2026-01-01", "--end", "yesterday"},
      {"usage", "--start", "2026-01-02", "--end", "2026-01-01"},
      {"usage", "--start", "2026-01-01T00:30:00Z", "--end", "2026-01-02"},
      {"usage", "--start", "2026-01-01", "--end", "2026-01-02", "--granularity", "weekly"},
      {"usage", "--start", "2026-01-01", "--end", "2026-01-02", "--format", "xml"},
      {"usage", "--start", "2026-01-01", "--end", "2026-01-02", "--format", "csv", "--prices", "p.json"},
      {"usage", "--start", "2026-01-01", "--end", "2026-01-02", "--meter", "beer"},
      {"usage", "--start", "2026-01-01", "--end", "2026-01-02", "--page-size", "0"},
      {"usage", "--start", "2026-01-01", "--reported-end-time", "2026-01-02"},
      {"usage", "--reported-start-time", "2026-01-01", "--reported-end-time", "2026-01-02", "--by", "usage"},
      {"journal"},
      {"journal", "burn"},
      {"top", "--sort", "beauty"},
      {"config", "check"},
  };
  for (const auto& arguments : wrong) {
    std::string shown;
    for (const std::string& argument : arguments) shown += argument + " ";
    INFO(shown);
    const Outcome outcome = nodemeter_run(arguments);
    CHECK(outcome.code == 2);
    CHECK(outcome.out.empty());
    CHECK_FALSE(outcome.err.empty());
  }
  CHECK_THAT(nodemeter_run({"usge"}).err, Catch::Matchers::Contains("did you mean \"usage\"?"));
}

TEST_CASE("a wrong configuration is exit 2 for every verb, with all its lines", "[cli]") {
  const Directory directory;
  const std::string bad = directory.write("bad.toml", "[sampling]\nintervall = \"5s\"\n[upload]\nrate_limit = 5\n");
  for (const std::string verb : {"status", "vms", "top", "gaps", "events", "agent"}) {
    const Outcome outcome = nodemeter_run({verb, "--config", bad});
    INFO(verb);
    CHECK(outcome.code == 2);
    CHECK_THAT(outcome.err, Catch::Matchers::Contains(":2: sampling.intervall") &&
                                Catch::Matchers::Contains(":4: upload.rate_limit"));
  }
  CHECK(nodemeter_run({"config", "check", bad}).code == 2);
  CHECK(nodemeter_run({"config", "check", directory / "none.toml"}).code == 1);
  CHECK(nodemeter_run({"config", "check", directory.write("good.toml", "[node]\nlocation = \"x\"\n")}).code == 0);
  const std::string owned = directory.write("owned.toml", "[owners]\nfile = \"" + (directory / "owners.json") + "\"\n");
  const Outcome no_owners = nodemeter_run({"config", "check", owned});
  CHECK(no_owners.code == 1);
  CHECK_THAT(no_owners.err, Catch::Matchers::Contains("owners.json"));
  directory.write("owners.json", R"({"vms": {"web": {}}})");
  const Outcome faulty = nodemeter_run({"config", "check", owned});
  CHECK(faulty.code == 2);
  CHECK_THAT(faulty.err, Catch::Matchers::Contains("owners.json:1: vms.web"));
  directory.write("owners.json", R"({"names": [{"pattern": "infra-*", "billable": false}]})");
  CHECK(nodemeter_run({"config", "check", owned}).code == 0);
  CHECK(nodemeter_run({"status", "--config", directory / "none.toml"}).code == 1);
}

TEST_CASE("live verbs are exit 3 when no agent runs, with a sentence", "[cli]") {
  const Directory directory;
  const std::string config = directory.write("c.toml", "[live]\nname = \"nobody-publishes-here\"\n");
  for (const std::string verb : {"status", "vms", "top"}) {
    const Outcome outcome = nodemeter_run({verb, "--config", config, "--json"});
    INFO(verb);
    CHECK(outcome.code == 3);
    CHECK(outcome.out.empty());
    CHECK_THAT(outcome.err, Catch::Matchers::Contains("no agent is running"));
  }
}

TEST_CASE("a state directory that is none is exit 1 and named", "[cli]") {
  const Directory directory;
  for (const std::vector<std::string>& verb :
       std::vector<std::vector<std::string>>{{"usage", "--start", "2026-01-01", "--end", "2026-01-02"},
                                             {"gaps"},
                                             {"events"},
                                             {"journal", "info"},
                                             {"journal", "verify"},
                                             {"journal", "cat"},
                                             {"journal", "unpark"}}) {
    std::vector<std::string> arguments = verb;
    arguments.insert(arguments.end(), {"--state", directory / "nothing"});
    const Outcome outcome = nodemeter_run(arguments);
    INFO(verb[0] << " " << outcome.err);
    CHECK(outcome.code == 1);
    CHECK(outcome.out.empty());
    CHECK_THAT(outcome.err, Catch::Matchers::Contains(directory / "nothing"));
    CHECK_FALSE(fs::exists(directory / "nothing"));
  }
}

TEST_CASE("usage of closed hours is exit 0, of gaps or open hours exit 3 with the reason on standard error", "[cli]") {
  const Directory directory;
  const std::string state = simulated_state(directory);
  const auto usage = [&](const std::string& start, const std::string& end, bool accept_gaps = false) {
    std::vector<std::string> arguments = {"usage", "--state",       state,    "--start", start,           "--end",
                                          end,     "--granularity", "hourly", "--meter", "base-vm-hours", "--format",
                                          "csv"};
    if (accept_gaps) arguments.emplace_back("--accept-gaps");
    return nodemeter_run(arguments);
  };
  const Outcome whole = usage("2026-01-01T00:00:00Z", "2026-01-01T02:00:00Z");
  INFO(whole.err);
  CHECK(whole.code == 0);
  CHECK(whole.err.empty());
  CHECK_THAT(whole.out, Catch::Matchers::Contains(",'=web,") && Catch::Matchers::Contains(",14400000,"));
  const Outcome gap = usage("2026-01-01T02:00:00Z", "2026-01-01T03:00:00Z");
  CHECK(gap.code == 3);
  CHECK_THAT(gap.err, Catch::Matchers::Contains("1 with gaps"));
  const Outcome open = usage("2026-01-01T03:00:00Z", "2026-01-01T05:00:00Z");
  CHECK(open.code == 3);
  CHECK_THAT(open.err, Catch::Matchers::Contains("still open"));

  // Whoever accepts that gaps stay is told of them all the same, and still waits for open hours.
  const Outcome accepted = usage("2026-01-01T02:00:00Z", "2026-01-01T03:00:00Z", true);
  CHECK(accepted.code == 0);
  CHECK(accepted.out == gap.out);
  CHECK(accepted.err == gap.err);
  CHECK(usage("2026-01-01T02:00:00Z", "2026-01-01T05:00:00Z", true).code == 3);
  CHECK(usage("2025-12-31T00:00:00Z", "2026-01-01T01:00:00Z", true).code == 3);  // Not in this journal.
}

TEST_CASE("the aliases of Get-UsageAggregates ask by reported time, in pages that continue", "[cli]") {
  const Directory directory;
  const std::string state = simulated_state(directory);
  std::vector<std::string> arguments = {"usage",
                                        "--state",
                                        state,
                                        "--reported-start-time",
                                        "2026-01-01T00:00:00Z",
                                        "--reported-end-time",
                                        "2026-01-02T00:00:00+00:00Z",
                                        "--aggregation-granularity",
                                        "Hourly",
                                        "--json"};
  const Outcome whole = nodemeter_run(arguments);
  CHECK(whole.code == 3);  // The day is not over.
  CHECK_THAT(whole.out, Catch::Matchers::Contains("\"continuationToken\":null"));
  arguments.insert(arguments.end(), {"--page-size", "2"});
  const Outcome page = nodemeter_run(arguments);
  const std::size_t token = page.out.find("\"continuationToken\":\"");
  REQUIRE(token != std::string::npos);
  const std::size_t begin = token + 21;
  arguments.insert(arguments.end(), {"--continuation", page.out.substr(begin, page.out.find('"', begin) - begin)});
  const Outcome next = nodemeter_run(arguments);
  CHECK(next.code == 3);
  CHECK(next.out != page.out);
  arguments.back() = "00ff";
  CHECK(nodemeter_run(arguments).code == 2);
}

TEST_CASE("the journal verbs agree with each other", "[cli]") {
  const Directory directory;
  const std::string state = simulated_state(directory);
  const auto journal = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "journal");
    arguments.insert(arguments.end(), {"--state", state});
    return nodemeter_run(arguments);
  };
  const Outcome info = journal({"info", "--json"});
  REQUIRE(info.code == 0);
  CHECK_THAT(info.out, Catch::Matchers::Contains("\"simulated\":true"));
  CHECK(journal({"verify"}).code == 0);
  const Outcome cat = journal({"cat"});
  const auto lines = std::count(cat.out.begin(), cat.out.end(), '\n');
  CHECK_THAT(info.out, Catch::Matchers::Contains("\"lastSequence\":" + std::to_string(lines) + ","));
  const Outcome from = journal({"cat", "--from", "2", "--count", "1", "--json"});
  CHECK_THAT(from.out, Catch::Matchers::Contains("\"sequence\":2,"));
  CHECK(std::count(from.out.begin(), from.out.end(), '\n') == 1);
  CHECK(journal({"unpark"}).out == "0 entries will be sent again\n");
  CHECK_THAT(nodemeter_run({"gaps", "--state", state}).out, Catch::Matchers::Contains("agent down"));
  CHECK(nodemeter_run({"gaps", "--state", state, "--end", "2026-01-01T01:00:00Z", "--json"}).out == "[]\n");
  CHECK_THAT(nodemeter_run({"events", "--state", state, "--json"}).out, Catch::Matchers::Contains("\"arrived\""));
}

TEST_CASE("the agent refuses the state of a simulation, and of another node", "[cli]") {
  const Directory directory;
  const std::string state = simulated_state(directory);
  const std::string real =
      directory.write("c.toml", "[live]\nname = \"cli-test-refused\"\ngroup = \"\"\n[node]\nid = \"simulated-1\"\n");
  const Outcome simulated = nodemeter_run({"agent", "--config", real, "--state", state});
  CHECK(simulated.code == 1);
  CHECK_THAT(simulated.err, Catch::Matchers::Contains("made by a simulation"));
}

TEST_CASE("an owners file that cannot be used keeps the agent from starting", "[cli]") {
  const Directory directory;
  const std::string scenario = directory.write("s.json", kScenario);
  const std::string config =
      directory.write("c.toml", "[source]\nkind = \"simulated\"\nscenario = \"" + scenario +
                                    "\"\n[live]\nname = \"cli-test-owners\"\ngroup = \"\"\n[owners]\nfile = \"" +
                                    (directory / "owners.json") + "\"\n");
  CHECK(nodemeter_run({"agent", "--config", config, "--state", directory / "state"}).code == 1);
  directory.write("owners.json", "{\n\"vms\": []}");
  const Outcome wrong = nodemeter_run({"agent", "--config", config, "--state", directory / "state"});
  CHECK(wrong.code == 1);
  CHECK_THAT(wrong.err, Catch::Matchers::Contains("owners.json:2: vms: "));
}

TEST_CASE("the catalogue and the version are complete in both forms", "[cli]") {
  check_golden("meters.txt", nodemeter_run({"meters"}).out);
  check_golden("meters.json", nodemeter_run({"meters", "--json"}).out);
  CHECK_THAT(nodemeter_run({"version", "--json"}).out,
             Catch::Matchers::Contains("\"storeFormat\":" + std::to_string(kStoreFormat)));
}

TEST_CASE("an output that cannot be written is a failure", "[cli]") {
  const std::unique_ptr<Clock> clock = system_clock();
  std::ostringstream out;
  std::ostringstream err;
  out.setstate(std::ios::badbit);
  const char* argv[] = {"nodemeter", "meters"};
  CHECK(cli::run(2, argv, out, err, {*clock, false, false}) == 1);
}

TEST_CASE("a simulation uses the pages of its store again", "[cli]") {
  const Directory directory;
  std::string scenario = kScenario;
  const std::string minute = "\"sample_interval_s\": 60";
  scenario.replace(scenario.find(minute), minute.size(), "\"sample_interval_s\": 10");
  REQUIRE(nodemeter_run({"simulate", directory.write("s.json", scenario), "--state", directory / "state"}).code == 0);
  // 1 080 samples, each of which writes four pages or more: 17 MiB if none were used again.
  CHECK(fs::file_size(fs::path(directory / "state") / "journal" / "data.mdb") <= 8u << 20);
}
