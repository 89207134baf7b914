// Commands that are given the folder of a run read samples as the run did, without being told.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "e2e/program.h"

namespace halftone::e2e {
namespace {

namespace fs = std::filesystem;
using Arguments = std::vector<std::string>;

Arguments joined(Arguments a, const Arguments& more) {
  a.insert(a.end(), more.begin(), more.end());
  return a;
}

std::string fixture(const std::string& name) {
  return std::string(HALFTONE_TESTS_DIR) + "/fixtures/text/" + name;
}

TEST(RunOptions, TextIsReadAsTheRunReadIt) {
  const Folder folder;
  fs::copy_file(fixture("classes.onnx"), folder / "net.onnx");
  fs::copy_file(fixture("tokenizer.json"), folder / "tokenizer.json");
  const std::string out = folder / "run";
  const Outcome trained = run({"train",
                               folder / "net.onnx",
                               "--data",
                               fixture("reviews.csv"),
                               "--text",
                               "body",
                               "--label",
                               "label",
                               "--max-tokens",
                               "12",
                               "--val",
                               "none",
                               "--batch",
                               "2",
                               "--steps",
                               "2",
                               "--quiet",
                               "--label-smoothing",
                               "0.1",
                               "--out",
                               out});
  ASSERT_EQ(trained.code, 0) << trained.err;
  // New texts have no labels, and another column besides.
  std::ofstream(folder / "new.csv")
      << "number,body\n1,The book was good\n2,A dull story and some more words behind it "
         "so that it is cut off where the run did\n";
  const Outcome rows = run({"predict", out, "--data", folder / "new.csv"});
  ASSERT_EQ(rows.code, 0) << rows.err;
  EXPECT_NE(rows.err.find("as the run in " + out + ": --text body --max-tokens 12"), std::string::npos)
      << rows.err;
  const Outcome told = run({"predict", out + "/model.onnx", "--data", folder / "new.csv", "--text", "body",
                            "--max-tokens", "12", "--quiet"});
  EXPECT_EQ(rows.out, told.out);
  const Outcome other = run({"predict", out, "--data", folder / "new.csv", "--max-tokens", "4", "--quiet"});
  ASSERT_EQ(other.code, 0) << other.err;
  EXPECT_NE(other.out, rows.out);
  // A default that is given counts, too.
  const Outcome whole = run({"predict", out, "--data", folder / "new.csv", "--max-tokens", "0"});
  ASSERT_EQ(whole.code, 0) << whole.err;
  EXPECT_EQ(whole.err.find("--max-tokens 12"), std::string::npos) << whole.err;

  const Arguments eval{"eval", out, "--data", fixture("reviews.csv"), "--json", "--quiet"};
  const Outcome taken = run(eval);
  ASSERT_EQ(taken.code, 0) << taken.err;
  const Outcome explicitly = run(
      joined(eval, {"--text", "body", "--label", "label", "--max-tokens", "12", "--label-smoothing", "0.1"}));
  const auto loss = [](const Outcome& o) { return nlohmann::json::parse(o.out)["val_loss"]; };
  EXPECT_EQ(loss(taken), loss(explicitly));
  EXPECT_NE(loss(taken), loss(run(joined(eval, {"--label-smoothing", "0"}))));
  // What means nothing for a kind of data is left aside: lines have no columns.
  std::ofstream(folder / "lines.txt") << "The book was good\n";
  const Outcome lines = run({"predict", out, "--data", folder / "lines.txt"});
  EXPECT_EQ(lines.code, 0) << lines.err;
  EXPECT_EQ(lines.err.find("--text"), std::string::npos) << lines.err;
}

TEST(RunOptions, TrainLearnsTheNormalisationFromWhatIsBesideTheNetwork) {
  const Folder folder;
  write_cifar(folder / "d.bin", 16, 7);
  fs::copy_file(resnet20(), folder / "net.onnx");
  const Arguments train{"train", folder / "net.onnx", "--data",  folder / "d.bin", "--batch",
                        "8",     "--precision",       "fp32",    "--val",          "none",
                        "--out", folder / "run",      "--quiet", "--steps",        "1"};
  const Outcome refused = run(joined(train, {"--normalize", "auto"}));
  EXPECT_EQ(refused.code, 2);
  EXPECT_NE(refused.err.find("nothing says how the samples"), std::string::npos) << refused.err;
  EXPECT_FALSE(exists(folder / "run/model.onnx"));
  std::ofstream(folder / "preprocessor_config.json")
      << R"({"image_mean": [0.4914, 0.4822, 0.4465], "image_std": [0.247, 0.2435, 0.2616]})";
  const Outcome learned = run(joined(train, {"--normalize", "auto", "--overwrite"}));
  ASSERT_EQ(learned.code, 0) << learned.err;
  const std::string model = bytes_of(folder / "run/model.onnx");
  EXPECT_NE(bytes_of(folder / "run/config.yaml").find("mean: [0.4914, 0.4822, 0.4465]"), std::string::npos);
  // It is recorded: the file is not needed any more.
  fs::remove(folder / "preprocessor_config.json");
  const Outcome more = run({"train", "--resume", folder / "run", "--steps", "2", "--quiet"});
  EXPECT_EQ(more.code, 0) << more.err;
  const Outcome preset = run(joined(train, {"--normalize", "cifar10", "--overwrite"}));
  ASSERT_EQ(preset.code, 0) << preset.err;
  EXPECT_TRUE(bytes_of(folder / "run/model.onnx") == model);
  // timm's file; and a run is one to learn from as well.
  std::ofstream(folder / "config.json")
      << R"({"pretrained_cfg": {"mean": [0.4914, 0.4822, 0.4465], "std": [0.247, 0.2435, 0.2616]}})";
  const Outcome timm = run(joined(train, {"--normalize", "auto", "--overwrite"}));
  ASSERT_EQ(timm.code, 0) << timm.err;
  EXPECT_TRUE(bytes_of(folder / "run/model.onnx") == model);
  const Outcome next =
      run({"train", folder / "run", "--data", folder / "d.bin", "--batch", "8", "--normalize", "auto",
           "--val", "none", "--steps", "1", "--out", folder / "next"});
  EXPECT_EQ(next.code, 0) << next.err;
  EXPECT_NE(next.err.find("as the run in " + (folder / "run")), std::string::npos) << next.err;
}

TEST(RunOptions, AnOrderOfChannelsIsTheRuns) {
  const Folder folder;
  write_cifar(folder / "d.bin", 16, 7);
  const std::string out = folder / "run";
  const Outcome trained =
      run({"train", resnet20(), "--data", folder / "d.bin", "--batch", "8", "--precision", "fp32", "--val",
           "none", "--steps", "1", "--channel-order", "bgr", "--quiet", "--out", out});
  ASSERT_EQ(trained.code, 0) << trained.err;
  const Outcome rows = run({"predict", out, "--data", folder / "d.bin", "--as", "numbers"});
  ASSERT_EQ(rows.code, 0) << rows.err;
  EXPECT_NE(rows.err.find("--channel-order bgr"), std::string::npos) << rows.err;
  const Outcome rgb = run(
      {"predict", out, "--data", folder / "d.bin", "--as", "numbers", "--channel-order", "rgb", "--quiet"});
  EXPECT_NE(rows.out, rgb.out);
  // The same pictures with their planes exchanged, read as red, green, blue.
  std::string cifar = bytes_of(folder / "d.bin");
  for (size_t sample = 0; sample < 16; ++sample)
    std::swap_ranges(cifar.begin() + static_cast<std::ptrdiff_t>(sample * 3073 + 1),
                     cifar.begin() + static_cast<std::ptrdiff_t>(sample * 3073 + 1 + 1024),
                     cifar.begin() + static_cast<std::ptrdiff_t>(sample * 3073 + 1 + 2048));
  std::ofstream(folder / "swapped.bin", std::ios::binary) << cifar;
  const Outcome swapped = run({"predict", out, "--data", folder / "swapped.bin", "--as", "numbers",
                               "--channel-order", "rgb", "--quiet"});
  EXPECT_EQ(swapped.out, rows.out);
}

}  // namespace
}  // namespace halftone::e2e
