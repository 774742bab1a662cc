// `nodemeter help`: help on a verb, and what is generated from the command line's definition.

#pragma once

#include <string>
#include <vector>

#include "agent/cli/console.h"

namespace CLI {
class App;
}

namespace nodemeter::cli {

struct HelpOptions {
  std::vector<std::string> verb;  // Empty: the program's own help.
  std::string completion;         // "", "bash", "powershell".
  std::string out;                // Where a script goes; "": standard output.
  std::string man;                // A directory for man pages; "": none are written.
};
int help(const CLI::App& app, const HelpOptions& options, const Console& console);

}  // namespace nodemeter::cli
