// What is written from the options themselves: completion for shells, and the manual page.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <sstream>

#include "commands.h"

namespace cli {
namespace {

using Options = std::vector<const CLI::Option*>;

Options options_of(const CLI::App& command) {
  Options options;
  for (const CLI::Option* option : command.get_options())
    if (!option->get_lnames().empty()) options.push_back(option);
  return options;
}

std::vector<const CLI::App*> commands_of(const CLI::App& root) {
  const auto commands = root.get_subcommands([](const CLI::App*) { return true; });
  return {commands.begin(), commands.end()};
}

// All words that the option takes; empty: other values.
std::vector<std::string> choices_of(const CLI::Option& option) {
  for (const halftone::OptionRow& row : halftone::option_table())
    if (option.get_lnames().front() == row.key) return {row.choices.begin(), row.choices.end()};
  return {};
}

bool takes_value(const CLI::Option& option) {
  return option.get_items_expected_max() > 0;
}

bool takes_file(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  return type.rfind("FILE", 0) == 0 || type == "DIR" || type == "SPEC" || type == "NAME=FILE";
}

std::string joined(const std::vector<std::string>& words, const char* between) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : between) + word;
  return text;
}

// The description up to its first sentence's end, for a list.
std::string short_help(const std::string& text) {
  return text.substr(0, std::min(text.find("; "), text.find(". ")));
}

std::string replaced(std::string text, const std::vector<std::pair<std::string, std::string>>& pairs) {
  for (const auto& [from, to] : pairs)
    for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
      text.replace(at, from.size(), to);
  return text;
}

// ---- completion
std::string bash(const CLI::App& root) {
  std::ostringstream out;
  std::vector<std::string> commands;
  std::ostringstream values;
  std::ostringstream names;
  for (const CLI::App* command : commands_of(root)) {
    commands.push_back(command->get_name());
    std::vector<std::string> options;
    for (const CLI::Option* option : options_of(*command)) {
      std::vector<std::string> all;
      for (const std::string& name : option->get_lnames()) all.push_back("--" + name);
      options.push_back(all.front());
      if (!takes_value(*option)) continue;
      std::vector<std::string> cases;
      for (const std::string& name : all) cases.push_back(command->get_name() + ":" + name);
      values << "    " << joined(cases, "|") << ")\n";
      if (const auto choices = choices_of(*option); !choices.empty()) {
        values << "      COMPREPLY=($(compgen -W '" << joined(choices, " ") << "' -- \"$cur\"))\n";
      } else if (takes_file(*option)) {
        values << "      COMPREPLY=($(compgen -f -- \"$cur\"))\n";
      } else {
        values << "      COMPREPLY=()\n";
      }
      values << "      return ;;\n";
    }
    names << "      " << command->get_name() << ") words='" << joined(options, " ") << "' ;;\n";
  }
  out << "# bash completion for halftone, made by `halftone completion bash`\n"
         "_halftone() {\n"
         "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} words=\n"
         "  # --name=value comes in three words.\n"
         "  if [[ $cur == = ]]; then\n"
         "    cur=\n"
         "  elif [[ $prev == = ]] && ((COMP_CWORD > 2)); then\n"
         "    prev=${COMP_WORDS[COMP_CWORD - 2]}\n"
         "  fi\n"
         "  if ((COMP_CWORD == 1)); then\n"
         "    COMPREPLY=($(compgen -W '"
      << joined(commands, " ")
      << " --help --version' -- \"$cur\"))\n"
         "    return\n"
         "  fi\n"
         "  case ${COMP_WORDS[1]}:$prev in\n"
      << values.str()
      << "    completion:completion)\n"
         "      COMPREPLY=($(compgen -W 'bash zsh fish' -- \"$cur\"))\n"
         "      return ;;\n"
         "  esac\n"
         "  if [[ $cur == -* ]]; then\n"
         "    case ${COMP_WORDS[1]} in\n"
      << names.str()
      << "    esac\n"
         "    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
         "  else\n"
         "    COMPREPLY=($(compgen -f -- \"$cur\"))\n"
         "  fi\n"
         "}\n"
         "complete -o filenames -F _halftone halftone\n";
  return out.str();
}

// In single quotes, as zsh and fish read them.
std::string zsh_text(const std::string& text) {
  return replaced(text, {{"\\", "\\\\"}, {"[", "\\["}, {"]", "\\]"}, {":", "\\:"}, {"'", "'\\''"}});
}

std::string zsh(const CLI::App& root) {
  std::ostringstream out;
  out << "#compdef halftone\n# zsh completion for halftone, made by `halftone completion zsh`\n"
         "_halftone() {\n  local -a commands\n  commands=(\n";
  for (const CLI::App* command : commands_of(root))
    out << "    '" << command->get_name() << ":" << zsh_text(short_help(command->get_description())) << "'\n";
  out << "  )\n  if ((CURRENT == 2)); then\n    _describe command commands\n    return\n  fi\n"
         "  local command=${words[2]}\n  shift words\n  ((CURRENT--))\n  case $command in\n";
  for (const CLI::App* command : commands_of(root)) {
    out << "    " << command->get_name() << ")\n      _arguments";
    for (const CLI::Option* option : options_of(*command)) {
      const auto choices = choices_of(*option);
      for (const std::string& name : option->get_lnames()) {
        // May be repeated: the last one counts.
        out << " \\\n        '*--" << name << (takes_value(*option) ? "=" : "") << "["
            << zsh_text(short_help(option->get_description())) << "]";
        if (takes_value(*option))
          out << ":" << zsh_text(option->get_type_name()) << ":"
              << (!choices.empty()      ? "(" + joined(choices, " ") + ")"
                  : takes_file(*option) ? "_files"
                                        : "");
        out << "'";
      }
    }
    out << " \\\n        "
        << (command->get_name() == "completion" ? "'1:shell:(bash zsh fish)'" : "'*:file:_files'")
        << "\n      ;;\n";
  }
  out << "  esac\n}\n_halftone \"$@\"\n";
  return out.str();
}

std::string fish_text(const std::string& text) {
  return "'" + replaced(text, {{"\\", "\\\\"}, {"'", "\\'"}}) + "'";
}

std::string fish(const CLI::App& root) {
  std::ostringstream out;
  out << "# fish completion for halftone, made by `halftone completion fish`\n";
  for (const CLI::App* command : commands_of(root))
    out << "complete -c halftone -n __fish_use_subcommand -f -a " << command->get_name() << " -d "
        << fish_text(short_help(command->get_description())) << "\n";
  out << "complete -c halftone -n '__fish_seen_subcommand_from completion' -f -a 'bash zsh fish'\n";
  for (const CLI::App* command : commands_of(root)) {
    for (const CLI::Option* option : options_of(*command)) {
      const auto choices = choices_of(*option);
      for (const std::string& name : option->get_lnames()) {
        out << "complete -c halftone -n '__fish_seen_subcommand_from " << command->get_name() << "' -l "
            << name << " -d " << fish_text(short_help(option->get_description()));
        if (takes_value(*option)) {
          out << " -r";
          if (!takes_file(*option)) out << " -f";
          if (!choices.empty()) out << " -a '" << joined(choices, " ") << "'";
        }
        out << "\n";
      }
    }
  }
  return out.str();
}

// ---- the manual
std::string roff(const std::string& text) {
  std::string out = replaced(text, {{"\\", "\\e"}, {"-", "\\-"}});
  if (!out.empty() && (out.front() == '.' || out.front() == '\'')) out = "\\&" + out;
  return replaced(out, {{"\n.", "\n\\&."}, {"\n'", "\n\\&'"}});
}

void manual_of(const CLI::App& command, std::ostringstream& out) {
  out << ".SS \"halftone " << roff(command.get_name()) << "\"\n" << roff(command.get_description()) << ".\n";
  for (const CLI::Option* option : command.get_options())
    if (option->get_positional())
      out << ".PP\n.I " << roff(option->get_name(true)) << "\n" << roff(option->get_description()) << "\n";
  for (const std::string& group : command.get_groups()) {
    const Options all = options_of(command);
    if (group.empty() ||
        std::none_of(all.begin(), all.end(), [&](const CLI::Option* o) { return o->get_group() == group; }))
      continue;
    if (group != halftone::kEveryday) out << ".PP\n.B \"" << roff(group) << "\"\n";
    for (const CLI::Option* option : all) {
      if (option->get_group() != group) continue;
      out << ".TP\n";
      std::vector<std::string> names;
      for (const std::string& letter : option->get_snames())
        names.push_back("\\fB" + roff("-" + letter) + "\\fR");
      for (const std::string& name : option->get_lnames())
        names.push_back("\\fB" + roff("--" + name) + "\\fR");
      out << joined(names, ", ");
      if (takes_value(*option)) out << " \\fI" << roff(option->get_type_name()) << "\\fR";
      if (takes_value(*option) && !option->get_default_str().empty())
        out << " (default: " << roff(option->get_default_str()) << ")";
      out << "\n" << roff(option->get_description()) << ".\n";
    }
  }
}

std::string manual(const CLI::App& root) {
  std::ostringstream out;
  out << ".TH HALFTONE 1 \"\" \"halftone " << halftone::version()
      << "\" \"User Commands\"\n"
         ".SH NAME\nhalftone \\- continues the training of fp32 ONNX networks in 16 bits on CPUs\n"
         ".SH SYNOPSIS\n.B halftone\n.I COMMAND\n[\\fIMODEL\\fR] [\\fIOPTIONS\\fR]\n"
         ".SH DESCRIPTION\n"
         "Halftone takes a neural network that was trained in 32 bits (an ONNX file), continues its training "
         "in fp16 or bf16 on a CPU, and "
         "writes the updated ONNX file.\n"
         ".PP\nEvery option is also a key of a YAML file (\\fB\\-\\-config\\fR \\fIFILE\\fR). The command "
         "line wins over the file. Where an "
         "option that takes one value is given several times, the last one counts.\n"
         ".SH COMMANDS\n";
  for (const CLI::App* command : commands_of(root)) manual_of(*command, out);
  out << ".SH EXIT STATUS\n"
      << roff(root.get_footer()) << "\n"
      << ".SH FILES\n"
         ".TP\n.I DIR/model.onnx\nThe result: the file that was read, with the trained tensors replaced.\n"
         ".TP\n.I DIR/config.yaml\nThe options of the run.\n"
         ".TP\n.I DIR/summary.json\nFigures of the run, also what \\fB\\-\\-json\\fR prints.\n"
         ".TP\n.I DIR/events.jsonl\nOne JSON object a line for each logged step and evaluation.\n"
         ".TP\n.I DIR/checkpoint\\-*.htck\nWhat \\fB\\-\\-resume\\fR goes on from.\n"
         ".SH EXAMPLES\n"
         ".nf\nhalftone inspect model.onnx \\-\\-data images\n"
         "halftone train model.onnx \\-\\-data images \\-\\-epochs 3 \\-\\-lr 0.001 \\-\\-out run\n"
         "halftone train \\-\\-resume run\nhalftone eval run \\-\\-data images/test\n.fi\n";
  return out.str();
}

}  // namespace

Run add_completion(CLI::App& app, const CLI::App& root) {
  auto shell = std::make_shared<std::string>();
  CLI::App* command =
      app.add_subcommand("completion", "completion of commands and options for a shell: bash, zsh or fish");
  command->add_option("SHELL", *shell, "bash, zsh or fish; e.g. source <(halftone completion bash)");
  return [shell, &root]() -> int {
    if (shell->empty())
      throw halftone::Error(halftone::ErrorKind::kUsage,
                            "completion: SHELL is missing; expected bash, zsh or fish");
    std::string text;
    if (*shell == "bash") text = bash(root);
    if (*shell == "zsh") text = zsh(root);
    if (*shell == "fish") text = fish(root);
    if (text.empty())
      throw halftone::Error(halftone::ErrorKind::kUsage,
                            "completion: there is none for '" + *shell + "'; expected bash, zsh or fish");
    std::printf("%s", text.c_str());
    return 0;
  };
}

Run add_manual(CLI::App& app, const CLI::App& root) {
  app.add_subcommand("manual", "the manual page, for man: halftone manual | man -l -");
  return [&root]() -> int {
    std::printf("%s", manual(root).c_str());
    return 0;
  };
}

}  // namespace cli
