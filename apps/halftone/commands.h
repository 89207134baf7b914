// The commands: each adds its options to the parser and returns what to run. On the public headers only.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

#include "halftone/halftone.h"
#include "halftone/options.h"

namespace cli {

// A command's exit code; results go to standard output, everything else to standard error.
using Run = std::function<int()>;

Run add_train(CLI::App& app);
Run add_compare(CLI::App& app, const std::string& program);
Run add_eval(CLI::App& app);
Run add_predict(CLI::App& app);
Run add_inspect(CLI::App& app);
Run add_export(CLI::App& app);
Run add_info(CLI::App& app);
Run add_run(CLI::App& app);
Run add_gradients(CLI::App& app);
Run add_tokenize(CLI::App& app);

// root: whose commands the completion and the manual are of.
Run add_completion(CLI::App& app, const CLI::App& root);
Run add_manual(CLI::App& app, const CLI::App& root);

// The options of the table that the command (halftone::Commands) has.
void add_options(CLI::App& app, halftone::TrainOptions& o, unsigned command);
// The keys of those that the command line or the configuration gives.
std::vector<std::string> given_keys(const CLI::App& app, unsigned command);
void add_config_option(CLI::App& app, std::string& path);

// Of an option of one value that is given several times the last counts. Two of what stands without a name
// (MODEL) stay an error.
void let_the_last_count(CLI::App& app);
// "--batch", "--batch-size", ...
std::vector<std::string> long_names(const CLI::App& command);
// "; did you mean --lr or --last?", or nothing.
std::string did_you_mean(const std::string& wanted, const std::vector<std::string>& names);
// Error (usage) for a command or an option that is not there, with the nearest that are.
void check_names(const CLI::App& root, const std::vector<std::string>& arguments);

// A log that prints to standard error; when quiet, only warnings.
halftone::Log make_log(const bool& quiet);

}  // namespace cli
