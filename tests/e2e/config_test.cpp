// Configurations: the one that a run wrote, with other commands, and whose keys messages name.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "e2e/program.h"

namespace halftone::e2e {
namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(Config, OfARunServesOtherCommands) {
  const Folder folder;
  write_cifar(folder / "train.bin", 64, 1);
  write_cifar(folder / "val.bin", 32, 2);
  const Outcome trained =
      run({"train", resnet20(), "--data", folder / "train.bin", "--val", folder / "val.bin", "--batch", "32",
           "--steps", "1", "--precision", "fp32", "--lr", "0.003", "--quiet", "--out", folder / "run"});
  ASSERT_EQ(trained.code, 0) << trained.err;
  const auto summary = nlohmann::json::parse(bytes_of(folder / "run/summary.json"));
  const std::string config = folder / "run/config.yaml";
  const Outcome eval = run({"eval", folder / "run", "--config", config, "--json"});
  ASSERT_EQ(eval.code, 0) << eval.err;
  EXPECT_EQ(nlohmann::json::parse(eval.out)["val_loss"], summary["val_loss"])
      << "the run's validation samples";
  EXPECT_TRUE(contains(eval.err, "data is " + folder.path() + "/val.bin (its val)")) << eval.err;
  EXPECT_TRUE(contains(eval.err, "ignored, because eval has no such options: ")) << eval.err;
  EXPECT_TRUE(contains(eval.err, "lr") && contains(eval.err, "epochs")) << eval.err;
  const Outcome other =
      run({"eval", folder / "run", "--data", folder / "train.bin", "--config", config, "--json"});
  ASSERT_EQ(other.code, 0) << other.err;
  EXPECT_EQ(nlohmann::json::parse(other.out)["samples"], 64) << "the command line wins";
  EXPECT_EQ(run({"inspect", "--config", config}).code, 0);
  // An option's other names say the same.
  std::ofstream(folder / "other_name.yaml") << "data: " << folder / "train.bin"
                                            << "\nvalidation: " << folder / "val.bin"
                                            << "\n";
  const Outcome same =
      run({"eval", folder / "run", "--config", folder / "other_name.yaml", "--precision", "fp32", "--json"});
  ASSERT_EQ(same.code, 0) << same.err;
  EXPECT_EQ(nlohmann::json::parse(same.out)["val_loss"], summary["val_loss"]);
  std::ofstream(folder / "own.yaml") << "precision: fp32\nbath: 3\n";
  const Outcome unknown =
      run({"eval", resnet20(), "--data", folder / "val.bin", "--config", folder / "own.yaml"});
  EXPECT_EQ(unknown.code, 2);
  EXPECT_TRUE(contains(unknown.err, "no option 'bath'")) << unknown.err;
  std::ofstream(folder / "own.yaml") << "precision: fp99\n";
  const Outcome value =
      run({"eval", resnet20(), "--data", folder / "val.bin", "--config", folder / "own.yaml"});
  EXPECT_EQ(value.code, 2);
  EXPECT_TRUE(contains(value.err, "(--precision is `precision` in " + folder.path() + "/own.yaml)"))
      << value.err;
  std::ofstream(folder / "own.yaml") << "patience: 2\nschedule: plateau:factor=0.1,patience=1\n";
  const Outcome two = run({"train", resnet20(), "--data", folder / "train.bin", "--val", "none", "--config",
                           folder / "own.yaml", "--out", folder / "two"});
  EXPECT_EQ(two.code, 2);
  EXPECT_TRUE(contains(two.err, "\n  (--patience is `patience`, --schedule is `schedule` in " +
                                    folder.path() + "/own.yaml)\n"))
      << two.err;
}

TEST(Config, NamesEachOptionOnceInOneDocument) {
  const Folder folder;
  const std::string config = folder / "own.yaml";
  const std::pair<const char*, const char*> cases[] = {
      {"lr: 1\n[a, b]: 2\n", ", line 2: the name of an option is a list or a map"},
      {"{c: d}: 2\n", ", line 1: the name of an option is a list or a map"},
      {"flip: true\nlr: 1\nflip: false\n", ", line 3: 'flip' is there twice"},
      {"lr: 1\n---\nlr: 2\n", " holds 2 YAML documents (lines `---`): expected one"},
      {"lr: 1\nflip: true\nlearning-rate: 2\n",
       ", line 3: 'learning-rate' and 'lr' are one option: give one of them"},
      {"standardize: all\nstandardise: age\n", ", line 2: 'standardise' and 'standardize' are one option"},
      {"lr: [0.1, 0.2]\n", ": 'lr' is a list of 2 values: expected one"},
      {",r: ", ": yaml-cpp: error at line 1, column 1: neither a value nor the name of an option begins so"},
      {"lr: 1\n---\n,", ": yaml-cpp: error at line 3, column 1: neither a value"},
      {"", " is no configuration: expected lines of the form `lr: 0.01`"},
      {"[1, 2]\n", " is no configuration: expected lines of the form `lr: 0.01`"}};
  for (const auto& [text, why] : cases) {
    std::ofstream(config) << text;
    const Outcome refused = run({"train", resnet20(), "--config", config});
    EXPECT_EQ(refused.code, 3) << text << refused.err;
    EXPECT_TRUE(contains(refused.err, config + why)) << text << refused.err;
  }
}

TEST(Export, SaysWhatFolderItMakes) {
  const Folder folder;
  const std::string out = folder / "nosuch/deep/net.onnx";
  const Outcome o = run({"export", resnet20(), "--to", "fp32-onnx", "--out", out});
  EXPECT_EQ(o.code, 0) << o.err;
  EXPECT_TRUE(exists(out));
  EXPECT_TRUE(contains(o.err, "made the folder " + folder.path() + "/nosuch/deep")) << o.err;
  EXPECT_EQ(run({"export", resnet20(), "--to", "fp32-onnx", "--out", out}).err, "");
  EXPECT_EQ(run({"export", resnet20(), "--to", "fp32-onnx", "--out", folder / "other/"}).code, 2);
}

}  // namespace
}  // namespace halftone::e2e
