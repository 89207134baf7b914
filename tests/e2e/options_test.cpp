// docs/options.md is what the program says.
#include <gtest/gtest.h>

#include <cstdint>

#include "e2e/program.h"

namespace halftone::e2e {
namespace {

TEST(Options, ThePageIsWhatHelpPrints) {
  const std::string page = bytes_of(std::string(HALFTONE_TESTS_DIR) + "/../docs/options.md");
  const std::string overview = run({"--help"}).out;
  int64_t commands = 0;
  for (size_t at = overview.find("Subcommands:\n"); (at = overview.find("\n  ", at)) != std::string::npos;
       ++at) {
    const std::string command = overview.substr(at + 3, overview.find(' ', at + 3) - at - 3);
    if (command.empty()) continue;  // a description's second line
    ++commands;
    const Outcome help = run({command, "--help"});
    ASSERT_EQ(help.code, 0) << command;
    EXPECT_NE(page.find("\n## " + command + "\n\n```text\n" + help.out + "```\n"), std::string::npos)
        << "docs/options.md is out of date for " << command << "; run scripts/options.sh";
  }
  EXPECT_GE(commands, 8);
}

}  // namespace
}  // namespace halftone::e2e
