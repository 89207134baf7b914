// The command line. main alone catches everything and gives the exit codes: 0 done, 1 a bug of ours, 2 usage,
// 3 bad input file, 4 stopped for numerical reasons, 5 the machine (disk, memory, threads), 128 + n signal n.
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <filesystem>
#include <map>
#include <memory>
#include <new>
#include <system_error>

#include "commands.h"
#include "config.h"
#include "halftone/interrupted.h"
#include "halftone/printable.h"
#include "halftone/process.h"
#include "halftone/resources.h"
#include "help_format.h"
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
  return kind == halftone::kResources ? 5 : 1;
}

// Of whatever kind, on one place of the terminal or log: names from files and command lines cannot act on it.
void complain(const std::string& text) {
  std::fprintf(stderr, "%s\n", halftone::printable(text, true).c_str());
}

int run(int argc, char** argv) {
  CLI::App app("Halftone continues the training of fp32 ONNX networks in 16 bits on CPUs.", "halftone");
  app.set_version_flag("--version", "halftone " + halftone::version() + " (" + halftone::build() + ")");
  app.require_subcommand(1);
  app.footer(
      "Exit codes: 0 done, 1 a bug of ours, 2 usage, 3 a bad input file, 4 stopped for numerical reasons,\n"
      "5 the machine (disk, memory, threads), 128+n ended by signal n (training saves its state first).");
  app.formatter(std::make_shared<cli::HelpFormat>());
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
  commands["tokenize"] = cli::add_tokenize(app);
  commands["completion"] = cli::add_completion(app, app);
  commands["manual"] = cli::add_manual(app, app);
  cli::check_numbers(app);
  cli::let_the_last_count(app);
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  cli::check_names(app, arguments);
  const cli::Configured configured = cli::with_config(arguments, app);
  std::vector<std::string> reversed(configured.arguments.rbegin(), configured.arguments.rend());
  std::fprintf(stderr, "%s", halftone::printable(configured.note, true).c_str());
  try {
    app.parse(reversed);
  } catch (const CLI::ParseError& e) {
    // Help and version are no errors.
    if (app.exit(e) == 0) return 0;
    if (const std::string origin = cli::origin_of(configured, e.what()); !origin.empty())
      complain(origin.substr(1));
    return 2;
  }
  // Before any work is done.
  const CLI::App& chosen = *app.get_subcommands().front();
  const CLI::Option* json = chosen.get_option_no_throw("--json");
  if (json != nullptr && json->count() > 0 && halftone::standard_output_was_closed())
    throw halftone::Error(halftone::kResources, "--json writes to standard output, which is closed");
  try {
    return commands.at(chosen.get_name())();
  } catch (const halftone::Error& e) {
    throw halftone::Error(e.kind(), e.what() + cli::origin_of(configured, e.what()));
  }
}

// Results that cannot be written are lost: to a full disk, to a pipe that nobody reads.
void check_output() {
  errno = 0;
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return;
  throw halftone::Error(halftone::kResources,
                        std::string("cannot write to standard output: ") +
                            (errno != 0 ? std::strerror(errno) : "an earlier write failed"));
}

}  // namespace

// Before the constructors of libraries, some of which allocate (protobuf's do), and throw or abort where
// there is no memory.
#if defined(__GLIBC__)
[[gnu::section(".preinit_array"),
  gnu::used]] void (*const before_libraries)() = halftone::end_where_errors_cannot_be_passed_on;
#endif

// Before the objects of all files are constructed, some of which allocate.
[[gnu::constructor(101)]] void before_constructors() {
  halftone::end_where_errors_cannot_be_passed_on();
  halftone::load_unwinder();
}

int main(int argc, char** argv) {
  halftone::open_standard_streams();
  halftone::stop_on_signals();
  halftone::share_heap_where_addresses_are_few();
  try {
    halftone::require_stack();
    const int code = run(argc, argv);
    check_output();
    return code;
  } catch (const halftone::Interrupted& e) {
    complain(e.what());
    return 128 + e.signal();
  } catch (const halftone::Error& e) {
    complain(std::string("halftone: ") + e.what());
    return exit_code(e.kind());
  } catch (const std::filesystem::filesystem_error& e) {
    complain(std::string("halftone: ") + e.what());
    return exit_code(halftone::kind_of_file_error(e.code().value()));
  } catch (const std::bad_alloc&) {
    complain("halftone: out of memory; try a smaller --batch (with --accumulate)");
    return 5;
  } catch (const std::system_error& e) {
    // What the system refuses: a thread, most often.
    complain(std::string("halftone: ") + e.what() + "; try fewer --threads and --loader-threads");
    return 5;
  } catch (const std::exception& e) {
    complain(std::string("halftone: ") + e.what());
    return 1;
  }
}
