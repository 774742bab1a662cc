// What is generated from the definition of the command line: man pages and shell completion. `--help` is printed from
// the same definition, so neither can say anything else. Pure.
//
// An option's type name says how its value is completed: words between bars ("table|json"), FILE, DIR, METER.

#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace nodemeter::cli {

struct ManPage {
  std::string file;  // "nodemeter-usage.1"
  std::string text;  // roff, ASCII only.
};

// One for the program and one for each of its verbs.
std::vector<ManPage> man_pages(const CLI::App& app);

// Scripts to be sourced.
std::string bash_completion(const CLI::App& app);
std::string powershell_completion(const CLI::App& app);

}  // namespace nodemeter::cli
