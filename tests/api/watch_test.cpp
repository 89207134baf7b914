// Infinities that show neither in the loss nor in a gradient are noticed in the step where they happen.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "api/small_networks.h"
#include "train/safetensors.h"

namespace halftone::api::test {
namespace {

bool wrote_a_model(const TrainOptions& o) {
  return std::filesystem::exists(o.out + "/model.onnx");
}

// 4000 samples of normal size and some that are `scale` times as large, so few that the check before the
// first step sees none.
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
  write_unknown_norm(folder / "m.onnx", 10);
  const Ended fp16 = train(rare_options(folder, "fp16"));
  ASSERT_FALSE(fp16.done) << fp16.log;
  EXPECT_EQ(fp16.kind, ErrorKind::kNumerical);
  EXPECT_TRUE(has(fp16.log, "precision: on 64 samples"))
      << "the check before the first step must pass: " << fp16.log;
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

// A network of one layer, two numbers a sample; element `at` of a tensor is `value`.
void write_linear(const std::string& path, const std::string& tensor = "", size_t at = 0, float value = 0) {
  Normal normal(1);
  std::vector<float> w = normal.many(kFeatures * 2, 0.5);
  std::vector<float> b = normal.many(2, 0.1);
  if (tensor == "fc.weight") w[at] = value;
  if (tensor == "fc.bias") b[at] = value;
  ModelBuilder m;
  m.input("x", {"batch", "8"}).output("y", {"batch", "2"});
  m.initializer(floats("fc.weight", {kFeatures, 2}, w)).initializer(floats("fc.bias", {2}, b));
  m.node("Gemm", {"x", "fc.weight", "fc.bias"}, {"y"}, {}, "fc");
  std::ofstream(path, std::ios::binary) << m.bytes();
}

// Two numbers to learn for each sample, the last of which are `last` times as large.
void write_targets(const std::string& path, int64_t samples, double scale, double last = 1) {
  Normal normal(7);
  train::Safetensors data;
  data.tensors["x"] = Tensor(DType::kF32, {samples, kFeatures});
  data.tensors["y"] = Tensor(DType::kF32, {samples, 2});
  for (float& x : data.tensors["x"].as<float>()) x = static_cast<float>(normal());
  int64_t i = 0;
  for (float& y : data.tensors["y"].as<float>())
    y = static_cast<float>(normal() * scale * (i++ / 2 + 1 == samples ? last : 1));
  train::write_safetensors(path, data);
}

TrainOptions target_options(const TemporaryFolder& folder, const std::string& precision) {
  TrainOptions o = train_options(folder, precision);
  o.data.data = o.data.val = folder / "train.safetensors";
  return o;
}

TEST(Remedy, WeightsOfTheFileThatAreNoNumbersAreNamedBeforeTheFirstStep) {
  TemporaryFolder folder;
  write_targets(folder / "train.safetensors", 64, 1);
  for (const std::string precision : {"fp32", "fp16", "bf16"})
    for (const std::string tensor : {"fc.weight", "fc.bias"})
      for (const float value : {std::nanf(""), INFINITY, -INFINITY}) {
        write_linear(folder / "m.onnx", tensor, 1, value);
        const Ended e = train(target_options(folder, precision));
        ASSERT_FALSE(e.done) << e.log;
        EXPECT_EQ(e.kind, ErrorKind::kInput) << e.message;
        EXPECT_TRUE(has(e.message, "tensor " + tensor) &&
                    has(e.message, tensor == "fc.bias" ? "[1]" : "[0,1]"))
            << e.message;
        EXPECT_FALSE(has(e.message, "--lr") || has(e.message, "sample")) << e.message;
        EvalOptions o = eval_options(folder, precision);
        o.data.data = folder / "train.safetensors";
        const Ended evaluated = eval(o);
        ASSERT_FALSE(evaluated.done);
        EXPECT_TRUE(has(evaluated.message, tensor)) << evaluated.message;
        EXPECT_EQ(evaluated.kind, std::isnan(value) ? ErrorKind::kInput : ErrorKind::kNumerical)
            << evaluated.message;
      }
}

TEST(Remedy, TargetsWhoseSquaredErrorLeavesFp32AreNamedWithTheirSample) {
  TemporaryFolder folder;
  write_linear(folder / "m.onnx");
  for (const std::string precision : {"fp32", "fp16", "bf16"})
    for (const bool all : {true, false}) {
      write_targets(folder / "train.safetensors", 200, all ? 1e26 : 1, all ? 1 : 1e26);
      const TrainOptions o = target_options(folder, precision);
      const Ended e = train(o);
      ASSERT_FALSE(e.done) << e.log;
      EXPECT_EQ(e.kind, ErrorKind::kNumerical);
      EXPECT_TRUE(has(e.message, "of node loss") && has(e.message, "scale the targets")) << e.message;
      EXPECT_TRUE(all || has(e.message, "sample 199")) << e.message;
      EXPECT_FALSE(has(e.message, "--precision")) << "no precision helps: " << e.message;
      EXPECT_FALSE(wrote_a_model(o));
      std::filesystem::remove_all(o.out);
    }
}

TEST(Remedy, ALossScaleThatIsAutomaticOrFixedGetsTheAdviceThatFits) {
  TemporaryFolder folder;
  write_linear(folder / "m.onnx");
  write_targets(folder / "train.safetensors", 64, 1e5);
  TrainOptions o = target_options(folder, "fp16");
  o.steps = 2;
  const Ended automatic = train(o);
  ASSERT_FALSE(automatic.done);
  EXPECT_EQ(automatic.kind, ErrorKind::kNumerical);
  EXPECT_TRUE(has(automatic.message, "more steps")) << automatic.message;
  EXPECT_FALSE(has(automatic.message, "or --loss-scale auto")) << automatic.message;
  std::filesystem::remove_all(o.out);
  o.loss_scale = "65536";
  const Ended fixed = train(o);
  ASSERT_FALSE(fixed.done);
  EXPECT_TRUE(has(fixed.message, "or --loss-scale auto")) << fixed.message;
}

TEST(Remedy, ARateOfZeroSaysWhatBecomesOfTheWeights) {
  TemporaryFolder folder;
  write_csv(folder / "train.csv", 64, 3);
  write_mlp(folder / "m.onnx");
  for (const std::string precision : {"fp32", "fp16", "bf16"}) {
    TrainOptions o = train_options(folder, precision);
    o.lr = 0;
    const Ended e = train(o);
    ASSERT_TRUE(e.done) << e.message;
    EXPECT_TRUE(has(e.log, "--lr 0") &&
                has(e.log, precision == "fp32" ? "no weight changes" : "rounded to " + precision))
        << e.log;
    // The same as evaluating the file.
    EXPECT_NEAR(*e.result.val_loss, *eval(eval_options(folder, precision)).result.val_loss, 1e-6);
  }
}

}  // namespace
}  // namespace halftone::api::test
