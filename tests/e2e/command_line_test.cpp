// What the command line makes of options: repeated ones, other names, misspelled ones; completion and the
// manual.
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "e2e/program.h"

namespace halftone::e2e {
namespace {

std::string value_in(const std::string& config, const std::string& key) {
  std::istringstream text(bytes_of(config));
  for (std::string line; std::getline(text, line);)
    if (line.rfind(key + ": ", 0) == 0) return line.substr(key.size() + 2);
  return "missing";
}

TEST(CommandLine, TheLastOfARepeatedOptionCountsAndOtherNamesWork) {
  const Folder folder;
  write_cifar(folder / "train.bin", 8, 1);
  std::ofstream(folder / "options.yaml") << "learning-rate: 0.5\nbatch-size: 8\nweight-decay: 0.25\n";
  const Outcome o = run({"train",
                         resnet20(),
                         "--data",
                         folder / "train.bin",
                         "--val",
                         "none",
                         "--config",
                         folder / "options.yaml",
                         "--batch-size",
                         "2",
                         "--batch",
                         "4",
                         "--learning-rate=0.1",
                         "--lr",
                         "0.125",
                         "--steps",
                         "3",
                         "--max-steps=1",
                         "--flip",
                         "--flip",
                         "--precision",
                         "fp32",
                         "--quiet",
                         "--out",
                         folder / "run"});
  ASSERT_EQ(o.code, 0) << o.err;
  const std::string config = folder / "run/config.yaml";
  EXPECT_EQ(value_in(config, "batch"), "4");
  EXPECT_EQ(value_in(config, "lr"), "0.125");
  EXPECT_EQ(value_in(config, "weight-decay"), "0.25");
  EXPECT_EQ(value_in(config, "steps"), "1");
  EXPECT_EQ(value_in(config, "flip"), "true");
  EXPECT_EQ(value_in(config, "batch-size"), "missing");  // one name for each
  // The model is no option that could be given by mistake and again.
  EXPECT_EQ(run({"train", resnet20(), resnet20_folded(), "--data", folder / "train.bin"}).code, 2);
}

TEST(CommandLine, WhatIsNotThereIsNamedWithWhatIs) {
  const auto refused = [](const std::vector<std::string>& arguments) {
    const Outcome o = run(arguments);
    EXPECT_EQ(o.code, 2) << o.err;
    return o.err;
  };
  EXPECT_NE(refused({"train", "net.onnx", "--learning-rat", "0.1"})
                .find("no option --learning-rat; did you mean --learning-rate"),
            std::string::npos);
  EXPECT_NE(refused({"train", "net.onnx", "--epoch=3"}).find("did you mean --epochs"), std::string::npos);
  EXPECT_NE(refused({"eval", "net.onnx", "--epochs", "3"}).find("eval: there is no option --epochs"),
            std::string::npos);
  EXPECT_NE(refused({"trian", "net.onnx"}).find("did you mean train"), std::string::npos);
  EXPECT_EQ(refused({"train", "--qqqqqqqq"}).find("did you mean"), std::string::npos);
  const Folder folder;
  std::ofstream(folder / "options.yaml") << "optimiser: adam\n";
  EXPECT_NE(
      refused({"train", "net.onnx", "--config", folder / "options.yaml"}).find("did you mean --optimizer"),
      std::string::npos);
}

TEST(CommandLine, HelpBeginsWithEverydayOptions) {
  const std::string help = run({"train", "--help"}).out;
  const size_t optimizer = help.find("\nOptimizer:\n");
  ASSERT_NE(optimizer, std::string::npos) << help;
  for (const char* everyday : {"--data ", "--lr ", "--epochs ", "--batch ", "--out ", "--resume "})
    EXPECT_LT(help.find(everyday), optimizer) << everyday;
  for (const char* other : {"\n  --beta1 ", "\n  --overwrite ", "\n  --accept-changes ", "\n  --profile "})
    EXPECT_TRUE(help.find(other) != std::string::npos && help.find(other) > optimizer) << other;
  EXPECT_NE(help.find("(also --batch-size)"), std::string::npos);
}

std::vector<std::string> commands() {
  std::vector<std::string> names;
  std::istringstream overview(run({"--help"}).out);
  bool inside = false;
  for (std::string line; std::getline(overview, line);) {
    if (line == "Subcommands:") inside = true;
    if (inside && line.rfind("  ", 0) == 0 && line.size() > 2 && line[2] != ' ')
      names.push_back(line.substr(2, line.find(' ', 2) - 2));
  }
  return names;
}

std::set<std::string> options_of(const std::string& command) {
  std::set<std::string> names;
  std::istringstream help(run({command, "--help"}).out);
  for (std::string line; std::getline(help, line);)
    if (const size_t at = line.find("--"); line.rfind("  -", 0) == 0 && at != std::string::npos && at < 8)
      names.insert(line.substr(at, line.find(' ', at) - at));
  return names;
}

TEST(CommandLine, CompletionAndTheManualHaveEveryOption) {
  const Folder folder;
  std::map<std::string, std::string> texts;
  for (const std::string shell : {"bash", "zsh", "fish"}) {
    const Outcome o = run({"completion", shell});
    ASSERT_EQ(o.code, 0) << o.err;
    texts[shell] = o.out;
  }
  const Outcome manual = run({"manual"});
  ASSERT_EQ(manual.code, 0);
  ASSERT_EQ(manual.out.rfind(".TH HALFTONE 1 ", 0), 0U);
  const std::vector<std::string> all = commands();
  EXPECT_GE(all.size(), 10U);
  for (const std::string& command : all) {
    EXPECT_NE(manual.out.find(".SS \"halftone " + command + "\""), std::string::npos) << command;
    for (const std::string& option : options_of(command)) {
      std::string escaped;
      for (const char c : option) escaped += c == '-' ? "\\-" : std::string(1, c);
      EXPECT_NE(manual.out.find("\\fB" + escaped + "\\fR"), std::string::npos) << command << " " << option;
      EXPECT_NE(texts["bash"].find(option), std::string::npos) << option;
      EXPECT_NE(texts["zsh"].find("'*" + option), std::string::npos) << option;
      EXPECT_NE(
          texts["fish"].find("'__fish_seen_subcommand_from " + command + "' -l " + option.substr(2) + " "),
          std::string::npos)
          << command << " " << option;
    }
  }
  EXPECT_EQ(run({"completion", "tcsh"}).code, 2);
  const Outcome no_shell = run({"completion"});
  EXPECT_EQ(no_shell.code, 2);
  EXPECT_NE(no_shell.err.find("expected bash, zsh or fish"), std::string::npos) << no_shell.err;

  std::ofstream(folder / "halftone.bash") << texts["bash"];
  const auto completed = [&](const std::string& words) {
    std::ofstream(folder / "ask.bash")
        << "source '" << folder / "halftone.bash"
        << "'\nCOMP_WORDS=(" << words
        << ")\nCOMP_CWORD=$((${#COMP_WORDS[@]} - 1))\n_halftone\nprintf '%s ' \"${COMPREPLY[@]}\"\n";
    FILE* const pipe = ::popen(("bash '" + (folder / "ask.bash") + "' 2>&1").c_str(), "r");
    std::string text;
    char line[4096];
    while (pipe != nullptr && std::fgets(line, sizeof(line), pipe) != nullptr) text += line;
    EXPECT_EQ(::pclose(pipe), 0);
    return text;
  };
  EXPECT_EQ(completed("halftone tr"), "train ");
  EXPECT_EQ(completed("halftone train --preci"), "--precision ");
  EXPECT_EQ(completed("halftone train --precision b"), "bf16 ");
  EXPECT_EQ(completed("halftone train --optimizer = adam"), "adam adamw ");
  EXPECT_EQ(completed("halftone eval --epoch"), " ");
  EXPECT_EQ(completed("halftone completion z"), "zsh ");
}

}  // namespace
}  // namespace halftone::e2e
