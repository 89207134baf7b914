// The commands: each adds its options to the parser and returns what to run. On the public headers only.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

#include "halftone/halftone.h"

namespace cli {

// A command's exit code; results go to standard output, everything else to standard error.
using Run = std::function<int()>;

Run add_train(CLI::App& app);
Run add_compare(CLI::App& app, const std::string& program);
Run add_eval(CLI::App& app);
Run add_inspect(CLI::App& app);
Run add_export(CLI::App& app);
Run add_info(CLI::App& app);
Run add_run(CLI::App& app);
Run add_gradients(CLI::App& app);

// Shared groups of options; a command takes those that it does something with.
void add_model_options(CLI::App& app, halftone::NetworkOptions& o);  // and threads
void add_precision_option(CLI::App& app, halftone::NetworkOptions& o);
void add_multiply_option(CLI::App& app, halftone::NetworkOptions& o);
void add_batch_option(CLI::App& app, halftone::NetworkOptions& o);
void add_loss_options(CLI::App& app, halftone::NetworkOptions& o);
void add_field_options(CLI::App& app, halftone::NetworkOptions& o);  // which field of the data goes where
void add_run_options(CLI::App& app,
                     halftone::NetworkOptions& o);  // what only training has: batch norms, seed
void add_check_option(CLI::App& app, halftone::NetworkOptions& o);
void add_config_option(CLI::App& app, std::string& path);
void add_data_options(CLI::App& app, halftone::DataOptions& o, bool validation);
void add_role_options(CLI::App& app, std::vector<std::string>& train, std::vector<std::string>& freeze);
void add_train_options(CLI::App& app, halftone::TrainOptions& o);

// A log that prints to standard error; when quiet, only warnings.
halftone::Log make_log(const bool& quiet);

}  // namespace cli
