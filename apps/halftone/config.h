// --config run.yaml: every option of a command as a key, the command line wins; and the resolved options
// written beside a run's results.
#pragma once

#include <CLI/CLI.hpp>
#include <map>
#include <string>
#include <vector>

namespace cli {

struct Configured {
  std::vector<std::string> arguments;
  std::string path;                         // of the configuration; empty: there is none
  std::map<std::string, std::string> keys;  // the options that it gave: the keys they come from
  std::string note;                         // lines for people: what it gave, and which keys are ignored
};

// The arguments (program name not included) with those of the file named by --config, or of DIR/config.yaml
// for --resume DIR, put in front of them unless the command line has the same option. Keys of other commands
// are ignored, and noted, so that the configuration of a run serves eval, inspect and compare too; eval takes
// the samples of `val`, where there is such a key. Throws halftone::Error for files that can't be read and
// keys that no command has.
Configured with_config(const std::vector<std::string>& arguments, const CLI::App& root);

// For a message that names options: which of them come from the configuration; empty: none.
std::string origin_of(const Configured& configured, const std::string& message);

// All options of the command with their values, as YAML; those in `decided`, by their long names, with the
// values there.
std::string resolved_yaml(const CLI::App& command, const std::map<std::string, std::vector<std::string>>& decided = {});

}  // namespace cli
