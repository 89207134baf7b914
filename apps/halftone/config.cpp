#include "config.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <filesystem>

#include "halftone/error.h"

namespace cli {
namespace {

// Options that say where the configuration is, or what to print: not part of it.
bool is_configuration(const std::string& name) {
  return name != "config" && name != "resume" && name != "help" && name != "json" && name != "quiet" &&
         name != "help-all" && name != "profile";
}

bool given(const std::vector<std::string>& arguments, const CLI::Option& option) {
  for (const std::string& name : option.get_lnames()) {
    const std::string flag = "--" + name;
    for (const std::string& argument : arguments)
      if (argument == flag || argument.rfind(flag + "=", 0) == 0) return true;
  }
  return false;
}

// Whether an argument is neither an option nor, behind one that takes values, one of these.
bool has_positional(const std::vector<std::string>& arguments, const CLI::App& command) {
  int values = 0;  // that may still follow
  for (const std::string& argument : arguments) {
    if (argument.rfind("--", 0) == 0) {
      const CLI::Option* option = command.get_option_no_throw(argument);  // none for --name=VALUE
      values = option != nullptr ? option->get_expected_max() : 0;
    } else if (values > 0) {
      --values;
    } else {
      return true;
    }
  }
  return false;
}

// The value of --name VALUE or --name=VALUE; empty when absent.
std::string value_of(const std::vector<std::string>& arguments, const std::string& name) {
  const std::string flag = "--" + name;
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == flag && i + 1 < arguments.size()) return arguments[i + 1];
    if (arguments[i].rfind(flag + "=", 0) == 0) return arguments[i].substr(flag.size() + 1);
  }
  return {};
}

}  // namespace

std::vector<std::string> with_config(const std::vector<std::string>& arguments, const CLI::App& root) {
  if (arguments.empty()) return arguments;
  const CLI::App* command = nullptr;
  for (const CLI::App* candidate : root.get_subcommands([](const CLI::App*) { return true; }))
    if (candidate->get_name() == arguments.front()) command = candidate;
  if (command == nullptr) return arguments;
  std::string path = value_of(arguments, "config");
  const std::string resume = value_of(arguments, "resume");
  if (path.empty() && !resume.empty()) path = resume + "/config.yaml";
  if (path.empty()) return arguments;

  if (!resume.empty() && path == resume + "/config.yaml" && !std::filesystem::exists(path))
    throw halftone::Error(
        halftone::ErrorKind::kInput,
        resume +
            " holds no run to go on with: it has no config.yaml. One that was stopped before its "
            "first checkpoint is started again by its own command");
  YAML::Node root_node;
  try {
    root_node = YAML::LoadFile(path);
  } catch (const YAML::Exception& e) {
    throw halftone::Error(halftone::ErrorKind::kInput,
                          "cannot read the configuration " + path + ": " + e.what());
  }
  if (!root_node.IsMap())
    throw halftone::Error(halftone::ErrorKind::kInput,
                          path + " is no configuration: expected lines of the form `lr: 0.01`");
  const std::vector<std::string> own(arguments.begin() + 1, arguments.end());
  // An argument without dashes that is no option's value is the model, which wins over the file's.
  const bool model_given = has_positional(own, *command);
  std::vector<std::string> out{arguments.front()};
  for (const auto& item : root_node) {
    const std::string key = item.first.as<std::string>();
    const CLI::Option* option = command->get_option_no_throw("--" + key);
    if (option == nullptr || !is_configuration(key))
      throw halftone::Error(halftone::ErrorKind::kUsage, path + ": `" + arguments.front() +
                                                             "` has no option '" + key + "'; `halftone " +
                                                             arguments.front() + " --help` lists them");
    if (given(own, *option) || (key == "model" && model_given)) continue;
    std::vector<std::string> values;
    try {
      if (item.second.IsSequence()) {
        for (const auto& value : item.second) values.push_back(value.as<std::string>());
      } else if (!item.second.IsNull()) {
        values.push_back(item.second.as<std::string>());
      }
    } catch (const YAML::Exception& e) {
      throw halftone::Error(
          halftone::ErrorKind::kInput,
          path + ": the value of '" + key + "' is neither a plain value nor a list: " + e.what());
    }
    for (const std::string& value : values)
      if (!value.empty()) out.push_back("--" + key + "=" + value);
  }
  out.insert(out.end(), own.begin(), own.end());
  return out;
}

std::string resolved_yaml(const CLI::App& command, const std::map<std::string, std::string>& decided) {
  YAML::Emitter out;
  out << YAML::BeginMap;
  for (const CLI::Option* option : command.get_options()) {
    if (option->get_lnames().empty() || !is_configuration(option->get_lnames().front())) continue;
    std::vector<std::string> values = option->reduced_results();
    if (values.empty() && !option->get_default_str().empty()) {
      const std::string text = option->get_default_str();
      if (text != "[]" && text != "{}") values.push_back(text);
    }
    if (values.empty() && option->get_expected_max() == 0) values.emplace_back("false");
    if (const auto it = decided.find(option->get_lnames().front()); it != decided.end())
      values = {it->second};
    if (values.empty()) continue;
    out << YAML::Key << option->get_lnames().front() << YAML::Value;
    if (values.size() == 1) {
      out << values.front();
    } else {
      out << YAML::Flow << values;
    }
  }
  out << YAML::EndMap;
  return std::string(out.c_str()) + "\n";
}

}  // namespace cli
