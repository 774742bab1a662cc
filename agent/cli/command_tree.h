// A command line's definition as plain values: verbs, their options, and how values are completed. Pure.

#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace nodemeter::cli {

enum class ValueKind { kNone, kText, kWords, kFile, kDirectory };

struct CommandOption {
  std::vector<std::string> names;  // With their dashes; empty: positional.
  std::string positional;          // Its name, if it is one.
  std::string type;                // "TEXT", "table|json", "FILE", …; "" for a flag.
  std::string text;
  std::string otherwise;  // The default; "" for none.
  bool required = false;
  ValueKind value = ValueKind::kNone;
  std::vector<std::string> words;  // Of kWords.
};

struct Command {
  std::string path;  // "", "usage", "journal verify".
  std::string text;
  std::string footer;
  std::vector<std::string> verbs;  // Below it.
  std::vector<CommandOption> options;
};

// The program first, then its verbs by depth and in their order.
std::vector<Command> command_tree(const CLI::App& app);

}  // namespace nodemeter::cli
