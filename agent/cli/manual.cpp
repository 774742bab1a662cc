#include "agent/cli/manual.h"

#include <algorithm>
#include <array>

#include "agent/cli/command_tree.h"
#include "agent/machine.h"
#include "platform/contract.h"

namespace nodemeter::cli {

namespace {

// roff: a hyphen of an option is no hyphen of a word, a leading dot is no request, and what is not ASCII has a name.
std::string roff(const std::string& text) {
  std::string out;
  bool line_begins = true;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (line_begins && (c == '.' || c == '\'')) out += "\\&";
    line_begins = c == '\n';
    if (c == '\\') {
      out += "\\e";
    } else if (c == '-') {
      out += "\\-";
    } else if (c == 0xe2 && text.compare(i, 3, "…") == 0) {
      out += "...";
      i += 2;
    } else {
      NM_ASSERT(c < 0x80);  // Our own texts: a character without a name here would be lost on paper.
      out.push_back(static_cast<char>(c));
    }
  }
  return out;
}

std::string upper(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](char c) {
    if (c == ' ') return '-';
    return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  });
  return text;
}

std::string dashed(std::string path) {
  std::replace(path.begin(), path.end(), ' ', '-');
  return path.empty() ? "nodemeter" : "nodemeter-" + path;
}

std::string options_text(const Command& command) {
  std::string out;
  for (const CommandOption& option : command.options) {
    out += ".TP\n";
    std::string names;
    for (const std::string& name : option.names) names += (names.empty() ? "\\fB" : "\\fR, \\fB") + roff(name);
    if (option.names.empty()) names = "\\fI" + roff(option.positional);
    if (!option.type.empty() && !option.names.empty()) names += "\\fR \\fI" + roff(option.type);
    out += names + "\\fR\n" + roff(option.text);
    if (!option.otherwise.empty()) out += " [" + roff(option.otherwise) + "]";
    out += option.required ? " (required)\n" : "\n";
  }
  return out;
}

// "Example:\n  a\n  b" to the lines below it.
std::string example_text(const Command& command) {
  const std::size_t line = command.footer.find('\n');
  if (command.footer.rfind("Example:", 0) != 0 || line == std::string::npos) return "";
  return ".SH EXAMPLES\n.nf\n" + roff(command.footer.substr(line + 1)) + "\n.fi\n";
}

std::string synopsis(const Command& command) {
  std::string out = ".SH SYNOPSIS\n.B nodemeter" + (command.path.empty() ? "" : " " + roff(command.path)) + "\n";
  if (!command.verbs.empty()) out += ".I verb\n";
  for (const CommandOption& option : command.options) {
    if (option.names.empty()) {
      out += option.required ? ".I " + roff(option.positional) + "\n" : "[\\fI" + roff(option.positional) + "\\fR]\n";
    } else if (option.required) {
      out += "\\fB" + roff(option.names.back()) + "\\fR \\fI" + roff(option.type) + "\\fR\n";
    }
  }
  return out + "[\\fIoptions\\fR]\n";
}

constexpr const char* kExitStatus =
    ".SH EXIT STATUS\n.TP\n.B 0\nDone.\n.TP\n.B 1\nFailed.\n.TP\n.B 2\nWrong usage or configuration.\n.TP\n.B 3\nThe "
    "answer is incomplete and says so: the range has gaps or open hours; for live verbs, no agent is running.\n";

std::string files_text() {
  return ".SH FILES\n.TP\n.I " + roff(default_config_path().string()) +
         "\nConfiguration; none is a valid one.\n.TP\n.I " + roff(default_state_path().string()) +
         "\nState directory: journal and signing key.\n";
}

std::string page_of(const Command& command, const std::vector<Command>& all) {
  std::string out = ".TH " + upper(dashed(command.path)) +
                    " 1 \"\" \"nodemeter " NODEMETER_VERSION "\" \"nodemeter manual\"\n.SH NAME\n" +
                    roff(dashed(command.path)) + " \\- " + roff(command.text) + "\n" + synopsis(command);
  const std::string below = command.path.empty() ? "" : command.path + " ";
  if (!command.verbs.empty()) out += ".SH VERBS\n";
  for (const std::string& verb : command.verbs) {
    const auto found = std::find_if(all.begin(), all.end(), [&](const Command& c) { return c.path == below + verb; });
    out += ".TP\n.B " + roff(verb) + "\n" + roff(found->text) + "\n";
  }
  out += ".SH OPTIONS\n" + options_text(command) + example_text(command);
  if (!command.path.empty()) {
    for (const std::string& verb : command.verbs) {
      const auto found = std::find_if(all.begin(), all.end(), [&](const Command& c) { return c.path == below + verb; });
      out += ".SH " + upper("nodemeter " + found->path) + "\n" + roff(found->text) + ".\n" + options_text(*found);
      if (const std::string example = example_text(*found); !example.empty()) {
        out += ".PP\n" + example.substr(example.find('\n') + 1);
      }
    }
  }
  out += kExitStatus + files_text();
  out += ".SH SEE ALSO\n";
  if (!command.path.empty()) return out + ".BR nodemeter (1)\n";
  for (std::size_t i = 0; i < command.verbs.size(); ++i) {
    out += ".BR " + roff(dashed(command.verbs[i])) + " (1)" + (i + 1 < command.verbs.size() ? ",\n" : "\n");
  }
  return out;
}

std::string words_of(const Command& command) {
  std::string words;
  for (const std::string& verb : command.verbs) words += verb + " ";
  for (const CommandOption& option : command.options) {
    for (const std::string& name : option.names) words += name + " ";
  }
  if (!words.empty()) words.pop_back();
  return words;
}

std::string joined(const std::vector<std::string>& words, const std::string& between) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : between) + word;
  return out;
}

// Calls `each` with "path option" for every name of every option that takes a value.
template <class Each>
void for_each_value(const std::vector<Command>& commands, const Each& each) {
  for (const Command& command : commands) {
    for (const CommandOption& option : command.options) {
      if (option.value == ValueKind::kNone) continue;
      for (const std::string& name : option.names) each(command.path + " " + name, option);
    }
  }
}

}  // namespace

std::vector<ManPage> man_pages(const CLI::App& app) {
  const std::vector<Command> commands = command_tree(app);
  std::vector<ManPage> pages;
  for (const Command& command : commands) {
    if (command.path.find(' ') != std::string::npos) continue;  // In its parent's page.
    pages.push_back({dashed(command.path) + ".1", page_of(command, commands)});
  }
  return pages;
}

std::string bash_completion(const CLI::App& app) {
  const std::vector<Command> commands = command_tree(app);
  std::string paths;
  std::string words;
  std::string files;
  for (const Command& command : commands) {
    if (!command.path.empty()) paths += (paths.empty() ? "\"" : "|\"") + command.path + "\"";
    words += "    \"" + command.path + "\") words=\"" + words_of(command) + "\" ;;\n";
    const bool takes_file = std::any_of(command.options.begin(), command.options.end(), [](const CommandOption& o) {
      return o.names.empty() && (o.value == ValueKind::kFile || o.value == ValueKind::kDirectory);
    });
    if (takes_file) files += (files.empty() ? "\"" : "|\"") + command.path + "\"";
  }
  std::string values;
  for_each_value(commands, [&](const std::string& where, const CommandOption& option) {
    values += "    \"" + where + "\") ";
    switch (option.value) {
      case ValueKind::kWords: values += "words=\"" + joined(option.words, " ") + "\" ;;\n"; break;
      case ValueKind::kFile: values += "kind=-f ;;\n"; break;
      case ValueKind::kDirectory: values += "kind=-d ;;\n"; break;
      default: values += "return ;;\n";
    }
  });
  return "# bash completion for nodemeter; made by: nodemeter help --completion bash\n_nodemeter() {\n"
         "  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} path= next i words= kind=\n"
         "  # Bash takes the = of --name=value for a word.\n"
         "  if [ \"$current\" = = ]; then current=; elif [ \"$previous\" = = ] && ((COMP_CWORD > 1)); then "
         "previous=${COMP_WORDS[COMP_CWORD-2]}; fi\n"
         "  for ((i = 1; i < COMP_CWORD; ++i)); do\n    next=\"${path:+$path }${COMP_WORDS[i]}\"\n"
         "    case \"$next\" in\n      " +
         paths + ") path=$next ;;\n    esac\n  done\n  case \"$path $previous\" in\n" + values +
         "    *)\n      case \"$path\" in\n" + words + "      esac\n      case \"$path\" in\n        " + files +
         ") [ \"${current:0:1}\" = - ] || kind=-f ;;\n      esac\n      ;;\n  esac\n"
         "  if [ -n \"$kind\" ]; then\n    compopt -o filenames 2>/dev/null\n"
         "    mapfile -t COMPREPLY < <(compgen \"$kind\" -- \"$current\")\n  else\n"
         "    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$current\")\n  fi\n}\n"
         "complete -F _nodemeter nodemeter\n";
}

std::string powershell_completion(const CLI::App& app) {
  const std::vector<Command> commands = command_tree(app);
  const auto list = [](const std::vector<std::string>& words) {
    return words.empty() ? "@()" : "@('" + joined(words, "', '") + "')";
  };
  std::string words;
  for (const Command& command : commands) {
    std::vector<std::string> offered = command.verbs;
    for (const CommandOption& option : command.options) {
      offered.insert(offered.end(), option.names.begin(), option.names.end());
    }
    words += "    '" + command.path + "' = " + list(offered) + "\n";
  }
  std::string values;
  for_each_value(commands, [&](const std::string& where, const CommandOption& option) {
    values += "    '" + where + "' = " + list(option.words) + "\n";
  });
  return "# PowerShell completion for nodemeter; made by: nodemeter help --completion powershell\n"
         "Register-ArgumentCompleter -Native -CommandName nodemeter, nodemeter.exe -ScriptBlock {\n"
         "  param($wordToComplete, $commandAst, $cursorPosition)\n"
         "  $words = @{\n" +
         words +
         "  }\n"
         "  # Options that take a value: the values, or nothing, which leaves file names to the shell.\n"
         "  $values = @{\n" +
         values +
         "  }\n"
         "  $before = @($commandAst.CommandElements | Select-Object -Skip 1 |\n"
         "    Where-Object { $_.Extent.EndOffset -lt $cursorPosition } | ForEach-Object { $_.ToString() })\n"
         "  $path = ''\n"
         "  foreach ($word in $before) {\n"
         "    $next = \"$path $word\".Trim()\n"
         "    if ($words.ContainsKey($next)) { $path = $next }\n"
         "  }\n"
         "  $offered = $words[$path]\n"
         "  if ($before.Count -gt 0 -and $values.ContainsKey(\"$path $($before[-1])\")) {\n"
         "    $offered = $values[\"$path $($before[-1])\"]\n"
         "  }\n"
         "  $offered | Where-Object { $_ -like \"$wordToComplete*\" } | ForEach-Object {\n"
         "    [System.Management.Automation.CompletionResult]::new($_, $_, 'ParameterValue', $_)\n"
         "  }\n"
         "}\n";
}

}  // namespace nodemeter::cli
