// The rows of the option table (halftone/options.h) as options of a command.
#include "halftone/options.h"

#include <cstdio>

#include "commands.h"
#include "halftone/printable.h"
#include "numbers.h"

namespace cli {
namespace {

using halftone::OptionRow;
using halftone::Repeats;

// "MODEL,--model", "--batch,--batch-size".
std::string names_of(const OptionRow& row) {
  std::string names = std::string("--") + row.key;
  for (const char* alias : row.aliases) names += std::string(",--") + alias;
  if (!row.positional) return names;
  std::string upper;
  for (const char* c = row.key; *c != 0; ++c)
    upper += static_cast<char>(*c >= 'a' && *c <= 'z' ? *c - 'a' + 'A' : *c);
  return upper + "," + names;
}

template <class Value>
CLI::Option* add(CLI::App& app, const OptionRow& row, Value& value) {
  return app.add_option(names_of(row), value, row.help)->capture_default_str();
}

CLI::Option* add(CLI::App& app, const OptionRow& row, std::optional<int64_t>& value) {
  return app.add_option(names_of(row), value, row.help);
}

CLI::Option* add(CLI::App& app, const OptionRow& row, bool& value) {
  if (!row.inverted) return app.add_flag(names_of(row), value, row.help);
  return app.add_flag_function(
      names_of(row), [&value](int64_t given) { value = given <= 0; }, row.help);
}

// Numbers with commas between them, ".485,.456,.406".
CLI::Option* add(CLI::App& app, const OptionRow& row, std::vector<double>& value) {
  return app.add_option(names_of(row), value, row.help)->delimiter(',');
}

CLI::Option* add(CLI::App& app, const OptionRow& row, std::vector<std::string>& value) {
  CLI::Option* option = app.add_option(names_of(row), value, row.help);
  if (row.repeats == Repeats::kEach)
    option
        ->expected(1)  // each time, so that MODEL may follow
        ->allow_extra_args(false)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  return option;
}

CLI::Option* add_row(CLI::App& app, const OptionRow& row, halftone::TrainOptions& o) {
  if (const auto* network = std::get_if<halftone::MemberOf<halftone::NetworkOptions>>(&row.member))
    return std::visit([&](auto member) { return add(app, row, o.network.*member); }, *network);
  if (const auto* data = std::get_if<halftone::MemberOf<halftone::DataOptions>>(&row.member))
    return std::visit([&](auto member) { return add(app, row, o.data.*member); }, *data);
  return std::visit([&](auto member) { return add(app, row, o.*member); },
                    std::get<halftone::MemberOf<halftone::TrainOptions>>(row.member));
}

}  // namespace

void add_options(CLI::App& app, halftone::TrainOptions& o, unsigned command) {
  for (const OptionRow& row : halftone::option_table()) {
    if ((row.commands & command) == 0) continue;
    CLI::Option* option = add_row(app, row, o)->group(row.group);
    if ((row.auto_is_zero & command) != 0) option->type_name(kNumberOrAuto);
    if (*row.value != 0) option->type_name(row.value);
    if (*row.shown_default != 0) option->default_str(row.shown_default);
  }
}

std::vector<std::string> given_keys(const CLI::App& app, unsigned command) {
  std::vector<std::string> keys;
  for (const OptionRow& row : halftone::option_table())
    if ((row.commands & command) != 0 && app.get_option("--" + std::string(row.key))->count() > 0)
      keys.emplace_back(row.key);
  return keys;
}

void add_config_option(CLI::App& app, std::string& path) {
  app.add_option("--config", path, "YAML file with options; the command line wins")->type_name("FILE");
}

void let_the_last_count(CLI::App& app) {
  for (CLI::Option* option : app.get_options()) {
    const bool one_value = option->get_items_expected_max() == 1 && option->get_expected_max() == 1;
    if (one_value && !option->get_positional() &&
        option->get_multi_option_policy() == CLI::MultiOptionPolicy::Throw)
      option->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  }
  for (CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
    let_the_last_count(*command);
}

std::vector<std::string> long_names(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options())
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  return names;
}

std::string did_you_mean(const std::string& wanted, const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : halftone::nearest_texts(wanted, names))
    text += (text.empty() ? "; did you mean " : " or ") + name;
  return text.empty() ? text : text + "?";
}

void check_names(const CLI::App& root, const std::vector<std::string>& arguments) {
  if (arguments.empty() || arguments.front().rfind('-', 0) == 0) return;
  const std::string& name = arguments.front();
  std::vector<std::string> commands;
  const CLI::App* command = nullptr;
  for (const CLI::App* candidate : root.get_subcommands([](const CLI::App*) { return true; })) {
    commands.push_back(candidate->get_name());
    if (candidate->get_name() == name) command = candidate;
  }
  if (command == nullptr)
    throw halftone::Error(halftone::ErrorKind::kUsage, "there is no command '" + name + "'" +
                                                           did_you_mean(name, commands) +
                                                           "\n  `halftone --help` lists them");
  for (size_t i = 1; i < arguments.size() && arguments[i] != "--"; ++i) {
    const std::string option = arguments[i].substr(0, arguments[i].find('='));
    if (option.rfind("--", 0) != 0 || option == "--version" ||
        command->get_option_no_throw(option) != nullptr)
      continue;
    throw halftone::Error(halftone::ErrorKind::kUsage, name + ": there is no option " + option +
                                                           did_you_mean(option, long_names(*command)) +
                                                           "\n  `halftone " + name + " --help` lists them");
  }
}

halftone::Log make_log(const bool& quiet) {
  return [&quiet](const std::string& line) {
    if (!quiet || line.rfind("warning:", 0) == 0)
      std::fprintf(stderr, "%s\n", halftone::printable(line).c_str());
  };
}

}  // namespace cli
