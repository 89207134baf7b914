#include "config.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yaml-cpp/anchor.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <set>
#include <sstream>

#include "commands.h"
#include "halftone/error.h"
#include "halftone/printable.h"
#include "halftone/resources.h"

namespace cli {
namespace {

// Options that say where the configuration is, or what to print: not part of it.
bool is_configuration(const std::string& name) {
  return name != "config" && name != "resume" && name != "help" && name != "json" && name != "quiet" &&
         name != "help-all" && name != "profile" && name != "dry-run" && name != "verbose" &&
         name != "find-lr";
}

// What config.yaml records: not where its own run lies, so that it repeats the run elsewhere.
bool is_recorded(const std::string& name) {
  return is_configuration(name) && name != "out" && name != "overwrite" && name != "accept-changes";
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

// The value of the last --name VALUE or --name=VALUE; empty when absent.
std::string value_of(const std::vector<std::string>& arguments, const std::string& name) {
  const std::string flag = "--" + name;
  std::string value;
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == flag && i + 1 < arguments.size()) value = arguments[i + 1];
    if (arguments[i].rfind(flag + "=", 0) == 0) value = arguments[i].substr(flag.size() + 1);
  }
  return value;
}

// A regular file's bytes; a FIFO is not waited for.
std::string text_of(const std::string& path) {
  halftone::ErrorKind kind = halftone::ErrorKind::kInput;
  const auto refuse = [&](const std::string& why) {
    return halftone::Error(kind, "cannot read the configuration " + halftone::printable(path) + ": " + why);
  };
  const auto reason = [&kind](int error) {
    kind = halftone::kind_of_file_error(error);
    return std::string(std::strerror(error));
  };
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) throw refuse(reason(errno));
  struct stat info {};
  std::string text;
  std::string why;
  constexpr int64_t kMostBytes = int64_t{64} << 20;
  if (::fstat(fd, &info) != 0) {
    why = reason(errno);
  } else if (!S_ISREG(info.st_mode)) {
    why = "it is not a regular file";
  } else if (info.st_size > kMostBytes) {
    why = "it has " + std::to_string(info.st_size) + " bytes, more than any configuration";
  }
  char buffer[1 << 16];
  while (why.empty()) {
    const ssize_t got = ::read(fd, buffer, sizeof(buffer));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) why = reason(errno);
    if (got <= 0) break;
    text.append(buffer, static_cast<size_t>(got));
  }
  ::close(fd);
  if (!why.empty()) throw refuse(why);
  return text;
}

// YAML is text. A path of other bytes would come back as another one, and the run could not be resumed.
void check_read_back(const std::string& text,
                     const std::map<std::string, std::vector<std::string>>& recorded) {
  const YAML::Node read = YAML::Load(text);
  for (const auto& [name, values] : recorded) {
    std::vector<std::string> again;
    const YAML::Node node = read[name];
    if (node.IsSequence()) {
      for (const auto& value : node) again.push_back(value.as<std::string>());
    } else if (node.IsScalar()) {
      again.push_back(node.as<std::string>());
    }
    if (again == values) continue;
    std::string shown;
    for (const std::string& value : values) shown += " " + halftone::printable(value);
    throw halftone::Error(
        halftone::ErrorKind::kUsage,
        "--" + name + shown +
            ": a run records its options as YAML text (config.yaml), which cannot hold these bytes; "
            "rename the file, or use a link with a name in UTF-8");
  }
}

// Counts the documents of a YAML text. YAML::LoadAll does not end where one begins with a character that it
// does not take (",").
class Documents : public YAML::EventHandler {
 public:
  explicit Documents(const std::string& text) {
    std::istringstream stream(text);
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(*this)) ++count_;
  }
  size_t count() const { return count_; }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (count_ > 0 && mark.pos == start_)
      throw YAML::ParserException(mark, "neither a value nor the name of an option begins so");
    start_ = mark.pos;
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
  void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
  void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t, const std::string&) override {}
  void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {}
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {
  }
  void OnMapEnd() override {}

 private:
  size_t count_ = 0;
  int start_ = 0;
};

// The options in the file, each once.
YAML::Node map_of(const std::string& path) {
  const auto refuse = [&](const std::string& why) {
    return halftone::Error(halftone::ErrorKind::kInput, path + why);
  };
  YAML::Node document;
  size_t documents = 0;
  try {
    const std::string text = text_of(path);
    documents = Documents(text).count();
    document = YAML::Load(text);
  } catch (const YAML::Exception& e) {
    throw halftone::Error(halftone::ErrorKind::kInput,
                          "cannot read the configuration " + path + ": " + e.what());
  }
  if (documents > 1)
    throw refuse(" holds " + std::to_string(documents) + " YAML documents (lines `---`): expected one");
  if (documents == 0 || !document.IsMap())
    throw refuse(" is no configuration: expected lines of the form `lr: 0.01`");
  std::set<std::string> keys;
  for (const auto& item : document) {
    const YAML::Mark mark = item.first.Mark();
    const std::string line = ", line " + std::to_string(mark.line + 1);
    if (!item.first.IsScalar() && !item.first.IsNull())
      throw refuse(line +
                   ": the name of an option is a list or a map: expected lines of the form `lr: 0.01`");
    if (const auto key = item.first.as<std::string>(); !keys.insert(key).second)
      throw refuse(line + ": '" + key + "' is there twice");
  }
  return document;
}

// The option that a key names, by whichever of its names, of this command or else of another one; none: there
// is no such option.
const CLI::Option* option_of(const CLI::App& root, const CLI::App& command, const std::string& key) {
  if (const CLI::Option* option = command.get_option_no_throw("--" + key)) return option;
  for (const CLI::App* other : root.get_subcommands([](const CLI::App*) { return true; }))
    if (const CLI::Option* option = other->get_option_no_throw("--" + key)) return option;
  return nullptr;
}

struct Entry {
  std::string key;     // as the file has it
  std::string option;  // the option's first name; the key where there is no such option
  YAML::Node value;
};

// Options have several names, and each may be there once.
std::vector<Entry> entries_of(const YAML::Node& map, const std::string& path, const CLI::App& root,
                              const CLI::App& command) {
  std::vector<Entry> entries;
  for (const auto& item : map) {
    const auto key = item.first.as<std::string>();
    const CLI::Option* option = option_of(root, command, key);
    const std::string name = option == nullptr ? key : option->get_lnames().front();
    for (const Entry& earlier : entries)
      if (earlier.option == name)
        throw halftone::Error(halftone::ErrorKind::kInput,
                              path + ", line " + std::to_string(item.first.Mark().line + 1) + ": '" + key +
                                  "' and '" + earlier.key + "' are one option: give one of them");
    entries.push_back({key, name, item.second});
  }
  return entries;
}

bool has_validation(const std::vector<Entry>& entries) {
  return std::any_of(entries.begin(), entries.end(), [](const Entry& e) {
    return e.option == "val" && e.value.IsScalar() && !e.value.as<std::string>().empty() &&
           e.value.as<std::string>() != "none";
  });
}

std::vector<std::string> values_of(const Entry& entry, const std::string& path) {
  std::vector<std::string> values;
  try {
    if (entry.value.IsSequence()) {
      for (const auto& value : entry.value) values.push_back(value.as<std::string>());
    } else if (!entry.value.IsNull()) {
      values.push_back(entry.value.as<std::string>());
    }
  } catch (const YAML::Exception& e) {
    throw halftone::Error(
        halftone::ErrorKind::kInput,
        path + ": the value of '" + entry.key + "' is neither a plain value nor a list: " + e.what());
  }
  return values;
}

// Of the command's options those that a configuration can have.
std::vector<std::string> configured_names(const CLI::App& command) {
  std::vector<std::string> names = long_names(command);
  std::erase_if(names, [](const std::string& name) { return !is_configuration(name.substr(2)); });
  return names;
}

}  // namespace

Configured with_config(const std::vector<std::string>& arguments, const CLI::App& root) {
  Configured configured;
  configured.arguments = arguments;
  if (arguments.empty()) return configured;
  const CLI::App* command = nullptr;
  for (const CLI::App* candidate : root.get_subcommands([](const CLI::App*) { return true; }))
    if (candidate->get_name() == arguments.front()) command = candidate;
  if (command == nullptr) return configured;
  std::string path = value_of(arguments, "config");
  const std::string resume = value_of(arguments, "resume");
  if (path.empty() && !resume.empty()) path = resume + "/config.yaml";
  if (path.empty()) return configured;
  configured.path = path;

  if (!resume.empty() && path == resume + "/config.yaml" && !std::filesystem::exists(path))
    throw halftone::Error(
        halftone::ErrorKind::kInput,
        "--resume " + resume +
            (std::filesystem::exists(resume) ? ": the folder has no config.yaml, so it holds no run that "
                                               "could be continued. A run that was stopped "
                                               "before it had one is started again by its first command"
                                             : ": there is no such folder"));
  const std::vector<Entry> entries = entries_of(map_of(path), path, root, *command);
  const std::vector<std::string> own(arguments.begin() + 1, arguments.end());
  // An argument without dashes that is no option's value is the model, which wins over the file's.
  const bool model_given = has_positional(own, *command);
  std::vector<std::string> out{arguments.front()};
  const bool of_run = !resume.empty() && path == resume + "/config.yaml";
  // eval measures on the samples that the run was validated on.
  const bool validates = command->get_name() == "eval" && has_validation(entries);
  std::string unused;
  for (const Entry& entry : entries) {
    const std::string& key = entry.key;
    // A run's own folder is where it lies now, whatever an earlier version recorded.
    if (of_run && (key == "out" || key == "overwrite")) continue;
    if (validates && entry.option == "data") continue;
    const std::string name = validates && entry.option == "val" ? "data" : entry.option;
    const CLI::Option* option = command->get_option_no_throw("--" + name);
    if (option == nullptr && resume.empty() && is_configuration(key) &&
        option_of(root, *command, key) != nullptr) {
      if (!entry.value.IsNull()) unused += (unused.empty() ? "" : ", ") + key;
      continue;
    }
    if (option == nullptr || !is_configuration(key))
      throw halftone::Error(halftone::ErrorKind::kUsage,
                            path + ": `" + arguments.front() + "` has no option '" + key + "'" +
                                did_you_mean("--" + key, configured_names(*command)) + "\n  `halftone " +
                                arguments.front() + " --help` lists them");
    if (given(own, *option) || (name == "model" && model_given)) continue;
    const std::vector<std::string> values = values_of(entry, path);
    if (values.size() > 1 && option->get_multi_option_policy() == CLI::MultiOptionPolicy::TakeLast)
      throw halftone::Error(
          halftone::ErrorKind::kInput,
          path + ": '" + key + "' is a list of " + std::to_string(values.size()) + " values: expected one");
    for (const std::string& value : values)
      if (!value.empty()) out.push_back("--" + name + "=" + value);
    if (!values.empty()) configured.keys.emplace(name, key);
    if ((name == "model" || name == "data") && !values.empty() && resume.empty() &&
        command->get_name() != "train")
      configured.note +=
          path + ": " + name + " is " + values.front() + (name == key ? "" : " (its " + key + ")") + "\n";
  }
  if (!unused.empty())
    configured.note +=
        path + ": ignored, because " + command->get_name() + " has no such options: " + unused + "\n";
  out.insert(out.end(), own.begin(), own.end());
  configured.arguments = std::move(out);
  return configured;
}

std::string origin_of(const Configured& configured, const std::string& message) {
  std::string text;
  for (const auto& [name, key] : configured.keys) {
    const std::string option = "--" + name;
    const auto goes_on = [&](size_t end) {
      return end < message.size() &&
             (std::isalnum(static_cast<unsigned char>(message[end])) != 0 || message[end] == '-');
    };
    size_t at = message.find(option);
    while (at != std::string::npos && goes_on(at + option.size()))
      at = message.find(option, at + option.size());
    if (at == std::string::npos) continue;
    text += (text.empty() ? "" : ", ") + option + " is `" + key + "`";
  }
  return text.empty() ? "" : "\n  (" + text + " in " + configured.path + ")";
}

std::string resolved_yaml(const CLI::App& command,
                          const std::map<std::string, std::vector<std::string>>& decided) {
  YAML::Emitter out;
  std::map<std::string, std::vector<std::string>> recorded;
  out << YAML::BeginMap;
  for (const CLI::Option* option : command.get_options()) {
    if (option->get_lnames().empty() || !is_recorded(option->get_lnames().front())) continue;
    std::vector<std::string> values = option->reduced_results();
    // Versions of CLI11 differ: "false" for some, -1 for others.
    if (option->get_expected_max() == 0 && !values.empty())
      values = {CLI::detail::to_flag_value(values.back()) > 0 ? "true" : "false"};
    if (values.empty() && !option->get_default_str().empty()) {
      const std::string text = option->get_default_str();
      if (text != "[]" && text != "{}") values.push_back(text);
    }
    if (values.empty() && option->get_expected_max() == 0) values.emplace_back("false");
    if (const auto it = decided.find(option->get_lnames().front()); it != decided.end()) values = it->second;
    // Named all the same, as a null: that it was not given belongs to the run, which is not continued with
    // it.
    recorded[option->get_lnames().front()] = values;
    out << YAML::Key << option->get_lnames().front() << YAML::Value;
    if (values.empty()) {
      out << YAML::Null;
    } else if (values.size() == 1) {
      out << values.front();
    } else {
      out << YAML::Flow << values;
    }
  }
  out << YAML::EndMap;
  const std::string text = std::string(out.c_str()) + "\n";
  check_read_back(text, recorded);
  return text;
}

}  // namespace cli
