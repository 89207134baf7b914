// docs/options.md is what the program says.
#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

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

using Names = std::set<std::string>;

// The long names of a command's options, as its help has them; flags take no value.
Names options_of(const std::string& command, bool flags) {
  Names names;
  std::istringstream help(run({command, "--help"}).out);
  for (std::string line; std::getline(help, line);) {
    const size_t at = line.rfind("  --", 0) == 0 ? 4 : line.rfind("  -h,--", 0) == 0 ? 7 : std::string::npos;
    if (at == std::string::npos) continue;
    const size_t end = line.find(' ', at);
    const bool flag =
        end == std::string::npos || line.compare(end, 2, "  ") == 0 || line.compare(end, 6, " Needs") == 0;
    if (!flags || flag) names.insert(line.substr(at, end - at));
  }
  return names;
}

// The configuration's lines by their names.
std::map<std::string, std::string> recorded(const std::string& config) {
  std::map<std::string, std::string> values;
  std::istringstream text(bytes_of(config));
  for (std::string line; std::getline(text, line);)
    values[line.substr(0, line.find(':'))] = line.substr(line.find(':') + 2);
  return values;
}

// What is no part of a run, and what may change when it goes on; all other options are the run's
// (docs/formats.md).
const Names kNotRecorded{"dry-run", "verbose",   "find-lr",        "help",    "config", "resume",
                         "out",     "overwrite", "accept-changes", "profile", "quiet",  "json"};
const Names kFree{"model",     "data",           "val",     "classes-file",     "old-classes-file",
                  "tokenizer", "epochs",         "steps",   "patience",         "min-delta",
                  "keep-best", "time-limit",     "keep",    "log-every",        "cache",
                  "memory",    "loader-threads", "threads", "checkpoint-every", "checkpoint-minutes"};

TEST(Options, ARunGoesOnWithThoseItBeganWith) {
  const Folder folder;
  write_cifar(folder / "train.bin", 8, 1);
  const std::string out = folder / "run";
  const auto begin = [&](std::vector<std::string> more) {
    std::vector<std::string> a{"train",   resnet20(),    "--data",      folder / "train.bin",
                               "--val",   "none",        "--batch",     "4",
                               "--steps", "1",           "--precision", "fp32",
                               "--quiet", "--overwrite", "--out",       out};
    a.insert(a.end(), more.begin(), more.end());
    const Outcome o = run(a);
    ASSERT_EQ(o.code, 0) << o.err;
  };
  begin({});
  const Names flags = options_of("train", true);
  const std::string config = bytes_of(out + "/config.yaml");
  const std::string result = bytes_of(out + "/model.onnx");
  const auto before = recorded(out + "/config.yaml");
  int compared = 0;
  int others = 0;
  for (const std::string& name : options_of("train", false)) {
    if (kNotRecorded.count(name) > 0) continue;
    ASSERT_EQ(before.count(name), 1U) << name << " is not recorded";
    if (kFree.count(name) > 0) continue;
    const std::string value = flags.count(name) > 0 ? "true" : before.at(name) == "1" ? "2" : "1";
    const Outcome o = run({"train", "--resume", out, "--steps", "2", "--" + name + "=" + value});
    EXPECT_TRUE(o.code == 2 || o.code == 3) << name << " " << o.code << o.err;
    // The others are not possible at all, or not with these samples.
    ++(o.err.find("--" + name + " was ") != std::string::npos ? compared : others);
  }
  EXPECT_GE(compared, 20) << others;
  EXPECT_TRUE(bytes_of(out + "/config.yaml") == config && bytes_of(out + "/model.onnx") == result);
  const Outcome elsewhere = run({"train", "--resume", out, "--out", folder / "other"});
  EXPECT_EQ(elsewhere.code, 2);
  EXPECT_NE(elsewhere.err.find("--out " + folder.path()), std::string::npos) << elsewhere.err;

  // The other way round: one that the run began with is missing.
  begin({"--freeze", "linear.bias", "--train", "linear.weight", "--mean", "0.5", "--std", "0.25",
         "--nesterov", "--flip", "--weight-decay", "0.1", "--label-smoothing", "0.1", "--clip", "2"});
  const auto with = recorded(out + "/config.yaml");
  int missing = 0;
  for (const auto& [name, value] : with) {
    if (kFree.count(name) > 0 || before.at(name) == value) continue;
    ++missing;
    std::ofstream edited(out + "/config.yaml");
    for (const auto& [other, kept] : with)
      if (other != name) edited << other << ": " << kept << "\n";
    edited.close();
    const Outcome o = run({"train", "--resume", out, "--steps", "2"});
    EXPECT_EQ(o.code, 2) << name << o.err;
    EXPECT_NE(o.err.find("--" + name + " was "), std::string::npos) << o.err;
  }
  EXPECT_EQ(missing, 9);
  // What may change does.
  std::filesystem::remove(out + "/config.yaml");
  std::ofstream edited(out + "/config.yaml");
  for (const auto& [name, value] : with) edited << name << ": " << value << "\n";
  edited.close();
  const Outcome on =
      run({"train", "--resume", out, "--steps", "2", "--threads", "1", "--keep", "3", "--log-every", "1",
           "--cache", "16", "--loader-threads", "1", "--checkpoint-every", "1", "--quiet"});
  EXPECT_EQ(on.code, 0) << on.err;
}

}  // namespace
}  // namespace halftone::e2e
