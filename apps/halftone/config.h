// --config run.yaml: every option of a command as a key, the command line wins; and the resolved options written beside a run's results.
#pragma once

#include <CLI/CLI.hpp>
#include <map>
#include <string>
#include <vector>

namespace cli {

// The arguments (program name not included) with those of the file named by --config, or of DIR/config.yaml for --resume DIR, put in front of them
// unless the command line has the same option. Throws halftone::Error for files that can't be read and keys that the command doesn't have.
std::vector<std::string> with_config(const std::vector<std::string>& arguments, const CLI::App& root);

// All options of the command with their values, as YAML; those in `decided`, by their long names, with the values there.
std::string resolved_yaml(const CLI::App& command, const std::map<std::string, std::string>& decided = {});

}  // namespace cli
