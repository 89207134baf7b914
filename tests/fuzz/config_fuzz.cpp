// libFuzzer on the files of --config and of --resume: from the file to the parsed options, and these written
// as a run writes them.
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "fuzz/temporary_file.h"
#include "halftone/commands.h"
#include "halftone/config.h"
#include "halftone/error.h"
#include "halftone/numbers.h"

namespace {

// What they return holds the variables that the options are read into.
std::vector<cli::Run> add_commands(CLI::App& app) {
  app.option_defaults()->always_capture_default(false);
  std::vector<cli::Run> commands{cli::add_train(app),   cli::add_compare(app, "halftone"),
                                 cli::add_inspect(app), cli::add_export(app),
                                 cli::add_eval(app),    cli::add_info(app),
                                 cli::add_run(app),     cli::add_gradients(app)};
  cli::check_numbers(app);
  return commands;
}

void read(const std::vector<std::string>& arguments) {
  static const CLI::App* known = [] {
    static CLI::App app("known", "halftone");
    static const std::vector<cli::Run> commands = add_commands(app);
    return &app;
  }();
  try {
    const cli::Configured configured = cli::with_config(arguments, *known);
    // Parsing changes it.
    CLI::App app("fuzzed", "halftone");
    const std::vector<cli::Run> commands = add_commands(app);
    const std::vector<std::string> reversed(configured.arguments.rbegin(), configured.arguments.rend());
    try {
      app.parse(std::vector<std::string>(reversed));
      cli::resolved_yaml(*app.get_subcommands().front());
    } catch (const CLI::ParseError& e) {
      cli::origin_of(configured, e.what());
    }
  } catch (const halftone::Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const halftone::fuzz::TemporaryFile file("config.yaml");
  file.with({reinterpret_cast<const char*>(data), size});
  read({"train", "--config", file.path()});
  read({"train", "--resume", file.folder(), "--epochs=2"});
  read({"eval", "network.onnx", "--config=" + file.path()});
  read({"compare", "--lr", "1", "--config", file.path()});
  return 0;
}
