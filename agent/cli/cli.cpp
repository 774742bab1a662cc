#include "agent/cli/cli.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <functional>
#include <ostream>

#include "agent/cli/advice.h"
#include "agent/cli/help_verb.h"
#include "agent/cli/service_verb.h"
#include "agent/cli/terminal.h"
#include "agent/cli/verbs.h"
#include "agent/machine.h"
#include "agent/simulate.h"
#include "platform/text.h"

namespace nodemeter::cli {

namespace {

// Everything that a command line can say, and the verb that it chose.
struct CommandLine {
  explicit CommandLine(const Console& where) : console(where) {}

  const Console& console;
  CommonOptions common;
  StatusOptions status;
  TopOptions top;
  UsageOptions usage;
  RangeOptions range;
  ReportOptions report;
  DiagnosticsOptions diagnostics;
  AcknowledgeOptions acknowledge;
  CatOptions cat;
  VerifyOptions verify;
  ExportOptions exported;
  SalvageOptions salvage;
  PruneOptions prune;
  std::string backup_target;
  AgentVerbOptions agent;
  HelpOptions help;
  SimulateOptions simulate;
  std::string config_file;
  std::string simulate_scenario;
  std::string service_program;
  std::function<int()> chosen;
};

CLI::App& add_verb(CLI::App& parent, const std::string& name, const std::string& text, const std::string& example) {
  CLI::App& verb = *parent.add_subcommand(name, text);
  verb.footer("Example:\n  " + example);
  verb.set_help_flag("-h,--help", "Show this and stop");
  return verb;
}

void add_config(CLI::App& verb, CommonOptions& common) {
  verb.add_option("--config", common.config,
                  "Configuration file (default " + default_config_path().string() + ", if it exists)")
      ->type_name("FILE");
  verb.add_option("--state", common.state,
                  "State directory (default: as configured, " + default_state_path().string() + ")")
      ->type_name("DIR");
}

void add_json(CLI::App& verb, CommonOptions& common) {
  verb.add_flag("--json", common.json, "Print JSON; quantities stand in base units beside the shown ones");
}

void add_live_verbs(CLI::App& app, CommandLine& line) {
  CLI::App& status_verb =
      add_verb(app, "status", "Is billing safe on this node now, and why not",
               "nodemeter status\n  nodemeter status --format prometheus --out " + advice().metrics_file);
  add_config(status_verb, line.common);
  add_json(status_verb, line.common);
  status_verb
      .add_option("--format", line.status.format, "text, json or prometheus (for a textfile collector); default: text")
      ->type_name("text|json|prometheus");
  status_verb.add_option("--out", line.status.out, "Replace this file as a whole instead of printing")
      ->type_name("FILE");
  status_verb.callback([&line] { line.chosen = [&line] { return status(line.common, line.status, line.console); }; });

  CLI::App& vms_verb =
      add_verb(app, "vms", "One line per VM: owner, state, rates, this hour's vcore hours", "nodemeter vms --json");
  add_config(vms_verb, line.common);
  add_json(vms_verb, line.common);
  vms_verb.callback([&line] { line.chosen = [&line] { return vms(line.common, line.console); }; });

  CLI::App& top_verb =
      add_verb(app, "top", "The VMs, refreshing; keys sort, filter and scroll, q quits (once if not on a terminal)",
               "nodemeter top --sort network");
  add_config(top_verb, line.common);
  add_json(top_verb, line.common);
  top_verb.add_option("--sort", line.top.sort, "cpu, memory, disk, network or name")
      ->type_name("cpu|memory|disk|network|name")
      ->capture_default_str();
  top_verb.add_option("--filter", line.top.filter, "Only VMs with this in name, id, subscription or state");
  top_verb.add_option("--interval", line.top.interval_ms, "Milliseconds between two screens")
      ->check(CLI::Range(100u, 60'000u))
      ->capture_default_str();
  CLI::Option* count =
      top_verb.add_option("--count", line.top.count, "Stop after this many")->check(CLI::Range(1u, 1'000'000u));
  top_verb
      .add_flag_callback(
          "--once", [&line] { line.top.count = 1; }, "The same as --count 1")
      ->excludes(count);
  top_verb.callback([&line] { line.chosen = [&line] { return top(line.common, line.top, line.console); }; });
}

void add_usage_verb(CLI::App& app, CommandLine& line) {
  CLI::App& verb =
      add_verb(app, "usage", "Usage aggregates from the journal; exit code 3 if the range has gaps or open hours",
               "nodemeter usage --start 2026-01-01 --end 2026-02-01 --meter base-vm-hours --format csv\n"
               "  nodemeter usage --reported-start-time 2026-01-01T00:00:00Z --reported-end-time 2026-01-02T00:00:00Z");
  add_config(verb, line.common);
  add_json(verb, line.common);
  UsageOptions& usage_options = line.usage;
  verb.add_option("--start", usage_options.start, "First instant, on the hour (daily: midnight UTC)");
  verb.add_option("--end", usage_options.end, "The instant after the last");
  verb.add_option("--reported-start-time", usage_options.reported_start, "As in Get-UsageAggregates: by reported time");
  verb.add_option("--reported-end-time", usage_options.reported_end, "The instant after the last, by reported time");
  verb.add_option("--granularity,--aggregation-granularity", usage_options.granularity, "hourly or daily")
      ->type_name("hourly|daily")
      ->capture_default_str();
  verb.add_option("--by", usage_options.by,
                  "usage: when it was used; reported: when the record was made (default: usage)")
      ->type_name("usage|reported");
  verb.add_option("--subscription", usage_options.subscription, "Only this subscription");
  verb.add_option("--vm", usage_options.vm, "Only this VM");
  verb.add_option("--meter", usage_options.meter, "Only this meter, by id or name")->type_name("METER");
  verb.add_option("--format", usage_options.format,
                  "table, json, csv (UTF-8 with a byte order mark, for Excel and Power BI), or focus (FOCUS 1.2 as "
                  "CSV); default: table")
      ->type_name("table|json|csv|focus");
  verb.add_flag("--accept-gaps", usage_options.accept_gaps,
                "Gaps in closed hours are said, but the exit code stays 0: nothing will fill them any more");
  verb.add_option("--prices", usage_options.prices, "With focus: a JSON file of currency and prices per unit")
      ->type_name("FILE");
  verb.add_option("--page-size", usage_options.page_size,
                  "Rows per page (default: all; 1000 with --reported-start-time)")
      ->check(CLI::Range(1u, 1'000'000u));
  verb.add_option("--continuation,--continuation-token", usage_options.continuation,
                  "The next page: what the page before printed");
  verb.callback([&line] { line.chosen = [&line] { return usage(line.common, line.usage, line.console); }; });
}

void add_range(CLI::App& verb, CommandLine& line) {
  add_config(verb, line.common);
  add_json(verb, line.common);
  verb.add_option("--start", line.range.start, "Only what lies at or after this instant");
  verb.add_option("--end", line.range.end, "Only what lies before this instant");
  verb.add_option("--vm", line.range.vm, "Only this VM");
}

void add_history_verbs(CLI::App& app, CommandLine& line) {
  add_usage_verb(app, line);
  CLI::App& report_verb = add_verb(app, "report", "One HTML page of a span of time: charts, totals, coverage, proof",
                                   "nodemeter report --start 2026-01-01 --end 2026-02-01 --out january.html");
  add_config(report_verb, line.common);
  report_verb.add_option("--start", line.report.start, "First instant, on the hour")->required();
  report_verb.add_option("--end", line.report.end, "The instant after the last")->required();
  report_verb.add_option("--out", line.report.out, "The page, replaced as a whole; - for standard output")
      ->type_name("FILE")
      ->required();
  report_verb.callback([&line] { line.chosen = [&line] { return report(line.common, line.report, line.console); }; });
  CLI::App& gaps_verb =
      add_verb(app, "gaps", "What was not measured, since when, and why", "nodemeter gaps --start 2026-01-01");
  add_range(gaps_verb, line);
  gaps_verb.callback([&line] { line.chosen = [&line] { return gaps(line.common, line.range, line.console); }; });
  CLI::App& events_verb = add_verb(app, "events", "What happened: starts, clock steps, migrations, owners",
                                   "nodemeter events --start 2026-01-01T08:00:00Z --json");
  add_range(events_verb, line);
  events_verb.callback([&line] { line.chosen = [&line] { return events(line.common, line.range, line.console); }; });
}

CLI::App& add_journal_verb(CLI::App& journal, CommandLine& line, const std::string& name, const std::string& text,
                           const std::string& example, std::function<int()> work) {
  CLI::App& verb = add_verb(journal, name, text, example);
  add_config(verb, line.common);
  add_json(verb, line.common);
  verb.callback([&line, work = std::move(work)] { line.chosen = work; });
  return verb;
}

// What copies the store or makes it smaller.
void add_store_verbs(CLI::App& journal, CommandLine& line) {
  CLI::App& backup = add_journal_verb(
      journal, line, "backup",
      "Copy the journal, as of now and without unused pages, to a new directory; the agent may run",
      "nodemeter journal backup /mnt/backup/nodemeter\n  nodemeter usage --state /mnt/backup/nodemeter --start …",
      [&line] { return journal_backup(line.common, line.backup_target, line.console); });
  backup.add_option("directory", line.backup_target, "Where to: a state directory without the signing key")
      ->type_name("DIR")
      ->required();
  CLI::App& prune =
      add_journal_verb(journal, line, "prune",
                       "Delete the oldest entries now (the agent does so by state.retention); the agent must be "
                       "stopped",
                       "nodemeter journal prune --keep 90d --dry-run",
                       [&line] { return journal_prune(line.common, line.prune, line.console); });
  CLI::Option* before = prune.add_option("--before", line.prune.before, "Delete what was reported before this instant");
  prune.add_option("--keep", line.prune.keep, "Delete what was reported longer ago than this: 90d, 2160h")
      ->excludes(before);
  prune.add_flag("--dry-run", line.prune.dry_run, "Only say what would go; the agent may run");
  prune.add_flag("--unacknowledged", line.prune.unacknowledged,
                 "Also delete what the aggregator has not got: it is lost for good");
}

void add_journal_verbs(CLI::App& app, CommandLine& line) {
  CLI::App& journal = add_verb(app, "journal", "The node's journal", "nodemeter journal verify");
  journal.require_subcommand(1);
  const auto add = [&](const std::string& name, const std::string& text, const std::string& example,
                       std::function<int()> work) -> CLI::App& {
    return add_journal_verb(journal, line, name, text, example, std::move(work));
  };
  add("info", "Node, epoch, sequence numbers, size, parked entries", "nodemeter journal info",
      [&line] { return journal_info(line.common, line.console); });
  CLI::App& verify = add("verify", "Check chain, manifests and signatures: of the journal, or of an exported file",
                         "nodemeter journal verify evidence.nmx --key signing.pub",
                         [&line] { return journal_verify(line.common, line.verify, line.console); });
  verify.add_option("file", line.verify.file, "An exported file, - for standard input (default: the journal)")
      ->type_name("FILE");
  verify
      .add_option("--key", line.verify.key, "The node's public key, or a file with it, as you know it from elsewhere")
      ->type_name("FILE");
  CLI::App& exported = add("export", "Write a part of the journal as one file that can be checked anywhere",
                           "nodemeter journal export --start 2026-01-01 --end 2026-02-01 --out january.nmx",
                           [&line] { return journal_export(line.common, line.exported, line.console); });
  exported.add_option("--first", line.exported.first, "From this sequence number on");
  exported.add_option("--last", line.exported.last, "Up to this sequence number");
  exported.add_option("--start", line.exported.start, "Usage at or after this instant");
  exported.add_option("--end", line.exported.end, "Usage before this instant");
  exported.add_option("--subscription", line.exported.subscription, "Only this one's usage, each entry with its proof");
  exported.add_option("--vm", line.exported.vm, "Only this VM's usage, each entry with its proof");
  exported.add_option("--out", line.exported.out, "The file; - for standard output")->type_name("FILE");
  add("rotate-key", "Make a new signing key, vouched for by the present one; the agent must be stopped",
      "nodemeter journal rotate-key", [&line] { return journal_rotate_key(line.common, line.console); });
  CLI::App& cat = add("cat", "Print entries, oldest first", "nodemeter journal cat --follow --json",
                      [&line] { return journal_cat(line.common, line.cat, line.console); });
  cat.add_option("--from", line.cat.from, "First sequence number (default: the oldest entry)");
  cat.add_option("--count", line.cat.count, "Stop after this many");
  cat.add_flag("--follow", line.cat.follow, "Go on with what is written from now on");
  CLI::App& salvage =
      add("salvage", "Get back from a damaged journal every entry that still verifies, into a new state directory",
          "nodemeter journal salvage " + (default_state_path() / "journal.damaged-20260101T120000Z").string() +
              " --out " + (default_state_path() / "salvaged").string(),
          [&line] { return journal_salvage(line.common, line.salvage, line.console); });
  salvage.add_option("directory", line.salvage.from, "The damaged journal (default: that of the state directory)")
      ->type_name("DIR");
  salvage.add_option("--out", line.salvage.out, "A directory that does not exist yet")->type_name("DIR")->required();
  add("unpark", "Send again what the aggregator had refused; the agent must be stopped", "nodemeter journal unpark",
      [&line] { return journal_unpark(line.common, line.console); });
  CLI::App& acknowledge =
      add("acknowledge", "Take a receipt that came back from the aggregator; the agent must be stopped",
          "nodemeter journal acknowledge /mnt/medium/ack/january.json",
          [&line] { return journal_acknowledge(line.common, line.acknowledge, line.console); });
  acknowledge.add_option("file", line.acknowledge.file, "A report of nodemeter-aggregator import")
      ->type_name("FILE")
      ->required();
  acknowledge.add_option("--key", line.acknowledge.key, "The receiver's public key (default: upload.receipt_key)")
      ->type_name("FILE");
  add_store_verbs(journal, line);
}

void add_other_verbs(CLI::App& app, CommandLine& line) {
  CLI::App& meters_verb = add_verb(app, "meters", "The meter catalogue", "nodemeter meters");
  add_json(meters_verb, line.common);
  meters_verb.callback([&line] { line.chosen = [&line] { return meters(line.common, line.console); }; });

  CLI::App& doctor_verb = add_verb(
      app, "doctor", "What is wrong on this node and what to do; run it as the service account", advice().doctor);
  add_config(doctor_verb, line.common);
  add_json(doctor_verb, line.common);
  doctor_verb.callback([&line] { line.chosen = [&line] { return doctor(line.common, line.console); }; });

  CLI::App& diagnostics = add_verb(app, "collect-diagnostics", "Write what this Hyper-V host shows into one file",
                                   "nodemeter collect-diagnostics node-01.json");
  diagnostics.add_option("file", line.diagnostics.file, "The file to write")->type_name("FILE")->required();
  diagnostics.add_flag("--with-tenant-data", line.diagnostics.with_tenant_data,
                       "Names and notes as they are; else each word of a name is replaced, the same everywhere");
  diagnostics.callback(
      [&line] { line.chosen = [&line] { return collect_diagnostics(line.diagnostics, line.console); }; });

  CLI::App& config = add_verb(app, "config", "The configuration", "nodemeter config check nodemeter.toml");
  config.require_subcommand(1);
  CLI::App& check = add_verb(config, "check", "Say everything that is wrong with a configuration file, by line",
                             "nodemeter config check " + default_config_path().string());
  check.add_option("file", line.config_file, "The file")->type_name("FILE")->required();
  check.callback([&line] { line.chosen = [&line] { return config_check(line.config_file, line.console); }; });

  CLI::App& version_verb = add_verb(app, "version", "Version, build and formats", "nodemeter version --json");
  add_json(version_verb, line.common);
  version_verb.callback([&line] { line.chosen = [&line] { return version(line.common, line.console); }; });
}

// `app` is complete when the verb runs: what it prints is of all verbs.
void add_help_verb(CLI::App& app, CommandLine& line) {
  CLI::App& verb = add_verb(app, "help", "Help on a verb; shell completion and man pages",
                            "nodemeter help usage\n  nodemeter help --completion bash >>~/.bash_completion");
  verb.add_option("verb", line.help.verb, "The verb, and the verb below it if there is one");
  verb.add_option("--completion", line.help.completion, "Print a script that completes verbs, options and values")
      ->type_name("bash|powershell");
  verb.add_option("--out", line.help.out, "Replace this file with the script instead of printing it")
      ->type_name("FILE");
  verb.add_option("--man", line.help.man, "Write a man page for each verb into this directory")->type_name("DIR");
  verb.callback([&line, &app] { line.chosen = [&line, &app] { return help(app, line.help, line.console); }; });
}

void add_running_verbs(CLI::App& app, CommandLine& line) {
  CLI::App& agent_verb = add_verb(app, "agent", "Run the agent in the foreground, until " + advice().end,
                                  "nodemeter agent --config " + default_config_path().string());
  add_config(agent_verb, line.common);
  agent_verb.add_flag("--final", line.agent.final,
                      "This node leaves the site: when stopped, close the open hours and deliver what is left");
  agent_verb.callback([&line] { line.chosen = [&line] { return agent(line.common, line.agent, line.console); }; });

  CLI::App& simulate_verb = add_verb(app, "simulate", "Run the agent's core in virtual time against a scripted node",
                                     "nodemeter simulate scenario.json --state /tmp/simulated --seed 7");
  simulate_verb.add_option("scenario", line.simulate_scenario, "The scenario file")->type_name("FILE")->required();
  simulate_verb.add_option("--state", line.common.state, "A new directory for the journal")
      ->type_name("DIR")
      ->required();
  simulate_verb.add_option("--seed", line.simulate.seed, "Same seed, same entries")->capture_default_str();
  add_json(simulate_verb, line.common);
  simulate_verb.callback([&line] {
    line.chosen = [&line] {
      line.simulate.scenario = line.simulate_scenario;
      line.simulate.state = line.common.state;
      line.simulate.json = line.common.json;
      return run_simulate(line.simulate, line.console.out, line.console.err);
    };
  });
}

void add_service_verb(CLI::App& app, CommandLine& line) {
  const std::vector<ServiceAction> actions = service_actions();
  if (actions.empty()) return;
  CLI::App& service = add_verb(app, "service", "The agent as a service of this system", "nodemeter service status");
  service.require_subcommand(1);
  for (const ServiceAction& action : actions) {
    CLI::App& verb = add_verb(service, action.name, action.text, "nodemeter service " + action.name + action.example);
    if (action.name == "install") {
      verb.add_option("--config", line.common.config,
                      "Configuration file of the service (default " + default_config_path().string() + ")")
          ->type_name("FILE");
    }
    if (action.name == "upgrade") {
      verb.add_option("program", line.service_program, "The new nodemeter.exe")->type_name("FILE")->required();
    }
    if (action.name == "status") add_json(verb, line.common);
    verb.callback([&line, work = action.work] {
      line.chosen = [&line, work] {
        return work({line.common.config, line.service_program, line.common.json}, line.console);
      };
    });
  }
}

// CLI11 would only say that a verb is required.
int unknown_verb(int argc, const char* const* argv, const Console& console) {
  static const std::initializer_list<std::string_view> kVerbs = {"agent",    "collect-diagnostics",
                                                                 "config",   "doctor",
                                                                 "events",   "gaps",
                                                                 "help",     "journal",
                                                                 "meters",   "report",
                                                                 "simulate", "status",
                                                                 "top",      "usage",
                                                                 "version",  "vms"};
  if (argc < 2 || argv[1][0] == '-') return kDone;
  const std::string_view verb = argv[1];
  if (std::find(kVerbs.begin(), kVerbs.end(), verb) != kVerbs.end()) return kDone;
  if (verb == "service" && !service_actions().empty()) return kDone;
  console.err << "nodemeter: there is no verb \"" << display_text(verb, 64) << "\"";
  if (const auto near = nearest_word(verb, kVerbs)) console.err << "; did you mean \"" << *near << "\"?";
  console.err << " (nodemeter --help lists them)\n";
  return kWrongUsage;
}

int parse_and_run(int argc, const char* const* argv, const Console& console) {
  CommandLine line(console);
  CLI::App app("Metering of virtual machines: runs the agent of this node, and shows what it knows.", "nodemeter");
  app.set_help_flag("-h,--help", "Show this and stop; nodemeter VERB --help shows an example");
  app.require_subcommand(1);
  app.footer("Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 incomplete (or no agent is running).");
  add_live_verbs(app, line);
  add_history_verbs(app, line);
  add_journal_verbs(app, line);
  add_other_verbs(app, line);
  add_running_verbs(app, line);
  add_service_verb(app, line);
  add_help_verb(app, line);
  if (const int wrong = unknown_verb(argc, argv, console); wrong != kDone) return wrong;
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error, console.out, console.err) == 0 ? kDone : kWrongUsage;
  }
  return line.chosen ? line.chosen() : kWrongUsage;
}

}  // namespace

int run(int argc, const char* const* argv, std::ostream& out, std::ostream& err, const Surroundings& surroundings) {
  const Console console{out, err, surroundings.clock, surroundings.terminal, surroundings.colour};
  const int code = parse_and_run(argc, argv, console);
  out << std::flush;
  // A full disk behind a redirection must not look like an answer.
  if (out.fail() && code == kDone) {
    err << "nodemeter: not everything could be written to the output\n";
    return kFailed;
  }
  return code;
}

int run(int argc, const char* const* argv, std::ostream& out, std::ostream& err) {
  const std::unique_ptr<Clock> clock = system_clock();
  const bool terminal = output_is_terminal();
  const char* no_colour = std::getenv("NO_COLOR");
  const bool colour = terminal && (no_colour == nullptr || *no_colour == '\0');
  return run(argc, argv, out, err, Surroundings{*clock, terminal, colour});
}

}  // namespace nodemeter::cli
