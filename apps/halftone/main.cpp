// The command line. main alone catches everything and gives the exit codes: 0 done, 1 a bug of ours, 2 usage, 3 bad input file, 4 stopped for
// numerical reasons.
#include <csignal>
#include <cstdio>
#include <exception>
#include <map>
#include <new>

#include "commands.h"
#include "config.h"
#include "numbers.h"

namespace {

int exit_code(halftone::ErrorKind kind) {
  switch (kind) {
    case halftone::ErrorKind::kUsage:
      return 2;
    case halftone::ErrorKind::kInput:
      return 3;
    case halftone::ErrorKind::kNumerical:
      return 4;
  }
  return 1;
}

int run(int argc, char** argv) {
  CLI::App app("Halftone continues the training of fp32 ONNX networks in 16 bits on CPUs.", "halftone");
  app.set_version_flag("--version", "halftone " + halftone::version() + " (" + halftone::build() + ")");
  app.require_subcommand(1);
  app.option_defaults()->always_capture_default(false);
  std::map<std::string, cli::Run> commands;
  commands["train"] = cli::add_train(app);
  commands["compare"] = cli::add_compare(app, argv[0]);
  commands["inspect"] = cli::add_inspect(app);
  commands["export"] = cli::add_export(app);
  commands["eval"] = cli::add_eval(app);
  commands["info"] = cli::add_info(app);
  commands["run"] = cli::add_run(app);
  commands["gradients"] = cli::add_gradients(app);
  cli::check_numbers(app);
  if (argc > 1 && argv[1][0] != '-' && commands.count(argv[1]) == 0)
    throw halftone::Error(halftone::ErrorKind::kUsage,
                          std::string("there is no command '") + argv[1] + "'; `halftone --help` lists them");
  std::vector<std::string> arguments = cli::with_config(std::vector<std::string>(argv + 1, argv + argc), app);
  std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
  try {
    app.parse(reversed);
  } catch (const CLI::ParseError& e) {
    // Help and version are no errors.
    return app.exit(e) == 0 ? 0 : 2;
  }
  return commands.at(app.get_subcommands().front()->get_name())();
}

}  // namespace

int main(int argc, char** argv) {
  // A file-size limit is a full disk: an error that leaves the last checkpoint whole, not a kill.
  std::signal(SIGXFSZ, SIG_IGN);
  try {
    return run(argc, argv);
  } catch (const halftone::Error& e) {
    std::fprintf(stderr, "halftone: %s\n", e.what());
    return exit_code(e.kind());
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "halftone: out of memory; try a smaller --batch (with --accumulate)\n");
    return 1;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "halftone: %s\n", e.what());
    return 1;
  }
}
