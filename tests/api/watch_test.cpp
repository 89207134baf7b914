// Infinities that show neither in the loss nor in a gradient are noticed in the step where they happen.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "api/small_networks.h"

namespace halftone::api::test {
namespace {

// 4000 samples of normal size and some that are `scale` times as large, so few that the check before the first step sees none.
void write_rare(const TemporaryFolder& folder, double scale, int64_t large) {
  write_csv(folder / "usual.csv", 4000, 3);
  write_csv(folder / "large.csv", large, 4, scale);
  std::ifstream usual(folder / "usual.csv"), more(folder / "large.csv");
  std::ofstream both(folder / "train.csv");
  std::string header;
  both << usual.rdbuf();
  std::getline(more, header);
  both << more.rdbuf();
}

TrainOptions rare_options(const TemporaryFolder& folder, const std::string& precision) {
  TrainOptions o = train_options(folder, precision);
  o.data.val = folder / "usual.csv";
  o.lr = 1e-3;
  return o;
}

TEST(Watch, AHiddenOverflowStopsTheStepInWhichItHappens) {
  TemporaryFolder folder;
  write_rare(folder, 1000, 2);
  write_layer_norm(folder / "m.onnx", 10);
  const Ended fp16 = train(rare_options(folder, "fp16"));
  ASSERT_FALSE(fp16.done) << fp16.log;
  EXPECT_EQ(fp16.kind, ErrorKind::kNumerical);
  EXPECT_TRUE(has(fp16.log, "precision: on 64 samples")) << "the check before the first step must pass: " << fp16.log;
  EXPECT_TRUE(has(fp16.message, "tensor squares of node ln/Pow") && has(fp16.message, "at step ") &&
              has(fp16.message, "--precision bf16"))
      << fp16.message;
  EXPECT_FALSE(std::filesystem::exists(folder / "run-fp16/model.onnx"));
  const Ended bf16 = train(rare_options(folder, "bf16"));
  EXPECT_TRUE(bf16.done) << bf16.message;
  EXPECT_FALSE(has(bf16.log, "warning")) << bf16.log;
  // Without the check it is a warning on standard error.
  TrainOptions off = rare_options(folder, "fp16");
  off.network.check_precision = "off";
  off.out = folder / "run-off";
  const Ended unchecked = train(off);
  EXPECT_TRUE(unchecked.done) << unchecked.message;
}

}  // namespace
}  // namespace halftone::api::test
