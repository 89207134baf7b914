// A run that goes on: what is refused before the first step, and what an end in the middle leaves.
#include <gtest/gtest.h>

#include "api/small_networks.h"
#include "base/error.h"
#include "base/file.h"
#include "train/run_folder.h"

namespace halftone::api::test {
namespace {

TEST(Resume, TensorsThatStayNowMustBeThoseOfTheCheckpoint) {
  TemporaryFolder folder;
  write_csv(folder / "train.csv", 64, 3);
  write_batch_norm(folder / "m.onnx", 0.9F);
  const TrainOptions begun = train_options(folder, "fp32");
  const Ended first = train(begun);
  ASSERT_TRUE(first.done) << first.message;
  const std::string result = read_file(begun.out + "/model.onnx");
  const auto resumed = [&](const std::vector<std::string>& freeze, const std::string& batchnorm,
                           bool accept) {
    TrainOptions o = begun;
    o.resume = true;
    o.epochs = begun.epochs + 1;
    o.freeze = freeze;
    o.network.batchnorm = batchnorm;
    o.accept_changes = accept;
    return train(o);
  };
  const struct {
    std::vector<std::string> freeze;
    std::string batchnorm, option;
  } cases[] = {{{"fc1*"}, "auto", "--freeze was not given and is fc1*"},
               {{"bn*"}, "auto", "--freeze was not given and is bn*"},
               {{"fc1.weight", "fc2.bias"}, "auto", "--freeze was not given"},
               {{}, "freeze", "--batchnorm was auto and is freeze"}};
  for (const auto& c : cases) {
    const Ended refused = resumed(c.freeze, c.batchnorm, false);
    ASSERT_FALSE(refused.done) << c.option;
    EXPECT_EQ(refused.kind, ErrorKind::kUsage);
    EXPECT_TRUE(has(refused.message, c.option)) << refused.message;
    const Ended accepted = resumed(c.freeze, c.batchnorm, true);
    ASSERT_FALSE(accepted.done) << c.option;
    EXPECT_EQ(accepted.kind, ErrorKind::kUsage) << accepted.message;
    EXPECT_TRUE(has(accepted.message, "does not fit this run") && has(accepted.message, "--weights last"))
        << accepted.message;
    EXPECT_TRUE(read_file(begun.out + "/model.onnx") == result);
    EXPECT_TRUE(train::has_ended(begun.out));
  }
  const Ended same = resumed({}, "auto", false);
  EXPECT_TRUE(same.done) << same.message;
  EXPECT_FALSE(std::filesystem::exists(begun.out + "/.halftone-result"));
}

TEST(Resume, ANumericalEndLeavesTheLastCompleteStep) {
  TemporaryFolder folder;
  write_csv(folder / "train.csv", 64, 3);
  write_csv(folder / "late.csv", 100, 3);
  write_csv(folder / "val.csv", 32, 3);
  // What fp16 cannot hold: one sample of the validation, and of the training so many that steps in a row are
  // skipped.
  for (const auto& [name, count] : {std::pair("late.csv", 200), std::pair("val.csv", 1)}) {
    std::ofstream file(folder / name, std::ios::app);
    for (int i = 0; i < count; ++i) file << "7e4,0,0,0,0,0,0,0,1\n";
  }
  write_mlp(folder / "m.onnx");
  for (const bool in_training : {true, false}) {
    TrainOptions o = train_options(folder, "fp16");
    o.network.check_precision = "off";
    o.network.batch = 1;
    o.epochs = 2;
    o.network.seed = 3;
    o.data.data = folder / (in_training ? "late.csv" : "train.csv");
    o.data.val = in_training ? "none" : folder / "val.csv";
    o.out = folder / (in_training ? "of-training" : "of-validation");
    const Ended e = train(o);
    ASSERT_FALSE(e.done) << in_training;
    EXPECT_EQ(e.kind, ErrorKind::kNumerical) << e.message;
    EXPECT_TRUE(has(e.message, "no model was written; the checkpoint of step ")) << e.message;
    EXPECT_TRUE(train::has_checkpoint(o.out));
    EXPECT_EQ(has(e.message, "steps in a row had to be skipped"), in_training) << e.message;
    if (in_training) continue;
    EXPECT_TRUE(has(e.message, "after step 64: ") && has(e.message, "the checkpoint of step 64 is in"))
        << e.message;
    o.resume = o.accept_changes = true;
    o.data.val = "none";
    const Ended on = train(o);
    EXPECT_TRUE(on.done) << on.message;
    EXPECT_EQ(on.result.steps, 128);
  }
}

}  // namespace
}  // namespace halftone::api::test
