#include "agent/cli/command_tree.h"

#include <CLI/CLI.hpp>

#include "store/meters.h"

namespace nodemeter::cli {

namespace {

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (c == at) {
      parts.emplace_back();
    } else {
      parts.back().push_back(c);
    }
  }
  return parts;
}

void set_value(CommandOption& option) {
  if (option.type.empty()) return;
  option.value = ValueKind::kText;
  if (option.type == "FILE") option.value = ValueKind::kFile;
  if (option.type == "DIR") option.value = ValueKind::kDirectory;
  if (option.type == "METER") {
    for (const MeterInfo& info : meter_catalogue()) option.words.emplace_back(info.name);
  } else if (option.type.find('|') != std::string::npos) {
    option.words = split(option.type, '|');
  }
  if (!option.words.empty()) option.value = ValueKind::kWords;
}

CommandOption option_of(const CLI::Option& defined) {
  CommandOption option;
  for (const std::string& name : defined.get_snames()) option.names.push_back("-" + name);
  for (const std::string& name : defined.get_lnames()) option.names.push_back("--" + name);
  if (option.names.empty()) option.positional = defined.get_name();
  if (defined.get_items_expected_max() != 0) option.type = defined.get_type_name();
  option.text = defined.get_description();
  option.otherwise = defined.get_default_str();
  option.required = defined.get_required();
  set_value(option);
  return option;
}

void add(const CLI::App& app, const std::string& path, std::vector<Command>& commands) {
  Command command;
  command.path = path;
  command.text = app.get_description();
  command.footer = app.get_footer();
  const auto all = [](const CLI::App*) { return true; };
  for (const CLI::App* below : app.get_subcommands(all)) command.verbs.push_back(below->get_name());
  for (const CLI::Option* option : app.get_options()) command.options.push_back(option_of(*option));
  commands.push_back(std::move(command));
  for (const CLI::App* below : app.get_subcommands(all)) {
    add(*below, path.empty() ? below->get_name() : path + " " + below->get_name(), commands);
  }
}

}  // namespace

std::vector<Command> command_tree(const CLI::App& app) {
  std::vector<Command> commands;
  add(app, "", commands);
  return commands;
}

}  // namespace nodemeter::cli
