#include "agent/cli/help_verb.h"

#include <CLI/CLI.hpp>
#include <filesystem>

#include "agent/cli/manual.h"
#include "platform/files.h"
#include "platform/text.h"

namespace nodemeter::cli {

namespace {

int write_pages(const CLI::App& app, const std::string& directory, const Console& console) {
  for (const ManPage& page : man_pages(app)) {
    const Status written = replace_file(std::filesystem::path(directory) / page.file, page.text);
    if (!written) return say(console, written.error());
  }
  return kDone;
}

int write_script(const std::string& script, const std::string& out, const Console& console) {
  if (out.empty()) {
    console.out << script;
    return kDone;
  }
  const Status written = replace_file(out, script);
  return written ? kDone : say(console, written.error());
}

}  // namespace

int help(const CLI::App& app, const HelpOptions& options, const Console& console) {
  if (!options.man.empty()) return write_pages(app, options.man, console);
  if (options.completion == "bash") return write_script(bash_completion(app), options.out, console);
  if (options.completion == "powershell") return write_script(powershell_completion(app), options.out, console);
  if (!options.completion.empty()) {
    return say(console, Error{ErrorCode::kInvalidInput, "--completion is \"" + display_text(options.completion, 64) +
                                                            "\"; bash or powershell is expected"});
  }
  const CLI::App* found = &app;
  std::string before;
  for (const std::string& verb : options.verb) {
    before += (before.empty() ? "" : " ") + found->get_name();
    const auto named = found->get_subcommands([&](const CLI::App* below) { return below->get_name() == verb; });
    if (named.empty()) {
      return say(console, Error{ErrorCode::kInvalidInput, "there is no verb \"" + display_text(verb, 64) + "\" (" +
                                                              before + " --help lists them)"});
    }
    found = named.front();
  }
  // Without what CLI11 would take from the verbs that were parsed: this one was `help`.
  console.out << CLI::Formatter().make_help(
      found, before.empty() ? found->get_name() : before + " " + found->get_name(), CLI::AppFormatMode::Normal);
  return kDone;
}

}  // namespace nodemeter::cli
