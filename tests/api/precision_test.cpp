// 16 bits are checked before they are used.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "api/small_networks.h"
#include "train/safetensors.h"

namespace halftone::api::test {
namespace {

using Json = nlohmann::json;

TEST(PrecisionCheck, AHiddenOverflowStopsTrainingAndEvaluationAndIsNamed) {
  TemporaryFolder folder;
  write_csv(folder / "train.csv", 64, 3);
  write_unknown_norm(folder / "m.onnx", 1000);
  const Ended fp32 = eval(eval_options(folder, "fp32"));
  ASSERT_TRUE(fp32.done) << fp32.message;
  for (const Ended& e : {eval(eval_options(folder, "fp16")), train(train_options(folder, "fp16"))}) {
    ASSERT_FALSE(e.done) << e.log;
    EXPECT_EQ(e.kind, ErrorKind::kNumerical);
    EXPECT_TRUE(has(e.message, "tensor squares of node ln/Pow")) << e.message;
    EXPECT_TRUE(has(e.message, "overflows") && has(e.message, "--precision bf16")) << e.message;
  }
  EXPECT_FALSE(std::filesystem::exists(folder / "run-fp16/model.onnx"));
  const Ended bf16 = eval(eval_options(folder, "bf16"));
  ASSERT_TRUE(bf16.done) << bf16.message;
  EXPECT_NEAR(*bf16.result.val_loss, *fp32.result.val_loss, 0.05);
  // What it is without the check: at chance, and finite.
  EvalOptions off = eval_options(folder, "fp16");
  off.network.check_precision = "off";
  const Ended unchecked = eval(off);
  ASSERT_TRUE(unchecked.done) << unchecked.message;
  EXPECT_GT(std::abs(*unchecked.result.val_loss - *fp32.result.val_loss), 0.1);
}

TEST(PrecisionCheck, TheSameNetworkWithNumbersOfNormalSizeIsFine) {
  TemporaryFolder folder;
  write_csv(folder / "train.csv", 64, 3);
  write_unknown_norm(folder / "m.onnx", 10);
  const Ended fp32 = eval(eval_options(folder, "fp32"));
  ASSERT_TRUE(fp32.done) << fp32.message;
  for (const std::string precision : {"fp16", "bf16"}) {
    const Ended e = train(train_options(folder, precision));
    ASSERT_TRUE(e.done) << e.message;
    EXPECT_FALSE(has(e.log, "warning")) << e.log;
    const Json check = Json::parse(e.result.summary_json).at("precision_check");
    EXPECT_EQ(check.at("samples"), 64);
    EXPECT_NEAR(check.at("loss_fp32").get<double>(), *fp32.result.val_loss, 1e-5);
    EXPECT_NEAR(check.at("loss").get<double>(), *fp32.result.val_loss, 0.02);
  }
}

TEST(PrecisionCheck, NamesALayerThatOverflowsAndOneThatIsFlushed) {
  TemporaryFolder folder;
  write_csv(folder / "train.csv", 64, 3);
  write_mlp(folder / "m.onnx", 2e5);
  const Ended overflow = train(train_options(folder, "fp16"));
  ASSERT_FALSE(overflow.done);
  EXPECT_EQ(overflow.kind, ErrorKind::kInput) << "a weight beyond 65504 is named when it is read";
  write_mlp(folder / "m.onnx", 2e4);
  const Ended hidden = train(train_options(folder, "fp16"));
  ASSERT_FALSE(hidden.done);
  EXPECT_EQ(hidden.kind, ErrorKind::kNumerical);
  EXPECT_TRUE(has(hidden.message, "tensor h of node fc1") || has(hidden.message, "the weight fc2.weight"))
      << hidden.message;
  TrainOptions bf16_options = train_options(folder, "bf16");
  const Ended bf16 = train(bf16_options);
  EXPECT_TRUE(bf16.done) << bf16.message;
  write_flush(folder / "m.onnx");
  const Ended flushed = train(train_options(folder, "fp16"));
  ASSERT_FALSE(flushed.done) << flushed.log;
  EXPECT_TRUE(has(flushed.message, "flushed is tensor h2 of node shrink")) << flushed.message;
  std::filesystem::remove_all(bf16_options.out);
  const Ended kept = train(bf16_options);
  EXPECT_TRUE(kept.done) << kept.message;
}

// Far behind the samples that are looked at before the first step.
TEST(PrecisionCheck, AHiddenOverflowOfLaterSamplesIsNoticedInEvaluation) {
  TemporaryFolder folder;
  write_csv(folder / "train.csv", 128, 3);
  write_csv(folder / "large.csv", 40, 4, 1000);
  write_unknown_norm(folder / "m.onnx", 10);
  std::ifstream usual(folder / "train.csv"), large(folder / "large.csv");
  std::ofstream both(folder / "both.csv");
  std::string header;
  both << usual.rdbuf();
  std::getline(large, header);
  both << large.rdbuf();
  both.close();
  const auto eval_both = [&](const std::string& precision, const std::string& check) {
    EvalOptions o = eval_options(folder, precision);
    o.data.data = folder / "both.csv";
    o.network.check_precision = check;
    return eval(o);
  };
  const Ended fp32 = eval_both("fp32", "on");
  ASSERT_TRUE(fp32.done) << fp32.message;
  const Ended unchecked = eval_both("fp16", "off");
  ASSERT_TRUE(unchecked.done) << unchecked.message;
  ASSERT_GT(std::abs(*unchecked.result.val_loss - *fp32.result.val_loss), 0.05) << "the test has no overflow";
  const Ended fp16 = eval_both("fp16", "on");
  ASSERT_FALSE(fp16.done) << fp16.log;
  EXPECT_EQ(fp16.kind, ErrorKind::kNumerical);
  EXPECT_TRUE(has(fp16.message, "tensor squares of node ln/Pow") && has(fp16.message, "samples 128 to 143"))
      << fp16.message;
  const Ended bf16 = eval_both("bf16", "on");
  ASSERT_TRUE(bf16.done) << bf16.message;
  EXPECT_NEAR(*bf16.result.val_loss, *fp32.result.val_loss, 0.05);
  // Also where training itself never sees such samples.
  TrainOptions o = train_options(folder, "fp16");
  o.data.val = folder / "both.csv";
  const Ended trained = train(o);
  ASSERT_FALSE(trained.done) << trained.log;
  EXPECT_EQ(trained.kind, ErrorKind::kNumerical);
  EXPECT_TRUE(has(trained.message, "after step 8: validation, samples 128 to 143") &&
              has(trained.message, "tensor squares of node ln/Pow") &&
              has(trained.message, "--precision bf16") && has(trained.message, "no model was written"))
      << trained.message;
  EXPECT_FALSE(std::filesystem::exists(o.out + "/model.onnx"));
  // Who wants it all the same gets it, with a warning.
  o.network.check_precision = "off";
  o.out += "-off";
  EXPECT_TRUE(train(o).done);
}

TEST(PrecisionCheck, SamplesBeyondTheRangeAreNamedAsSuch) {
  TemporaryFolder folder;
  write_csv(folder / "train.csv", 64, 3, 1e5);
  write_mlp(folder / "m.onnx", 1e-3);
  const Ended e = eval(eval_options(folder, "fp16"));
  ASSERT_FALSE(e.done);
  EXPECT_EQ(e.kind, ErrorKind::kNumerical);
  EXPECT_TRUE(has(e.message, "the input x") && has(e.message, "--mean")) << e.message;
}

TEST(PrecisionCheck, ChangesNoBitOfARun) {
  TemporaryFolder folder;
  write_csv(folder / "train.csv", 64, 3);
  write_mlp(folder / "m.onnx");
  std::vector<std::string> files;
  for (const std::string check : {"on", "off"}) {
    TrainOptions o = train_options(folder, "fp16");
    o.network.check_precision = check;
    o.out = folder / check;
    const Ended e = train(o);
    ASSERT_TRUE(e.done) << e.message;
    std::ifstream file(o.out + "/model.onnx", std::ios::binary);
    files.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  ASSERT_FALSE(files[0].empty());
  EXPECT_TRUE(files[0] == files[1]);
}

TEST(PrecisionCheck, InspectSaysTheSame) {
  TemporaryFolder folder;
  write_csv(folder / "train.csv", 64, 3);
  write_unknown_norm(folder / "m.onnx", 1000);
  InspectOptions o;
  o.network = eval_options(folder, "fp16").network;
  const auto inspect = [&] { return inspect_model(o, [](const std::string&) {}); };
  EXPECT_TRUE(has(inspect().text, "activations were not looked at")) << inspect().text;
  o.data = eval_options(folder, "fp16").data;
  const InspectResult r = inspect();
  EXPECT_TRUE(has(r.text, "tensor squares of node ln/Pow")) << r.text;
  EXPECT_FALSE(has(r.text, "fp16: every weight fits")) << r.text;
  EXPECT_TRUE(has(r.text, "bf16: every weight fits")) << r.text;
  EXPECT_EQ(Json::parse(r.json).at("fp16_fits"), false);
}

// Random networks whose layers' scales are anything from 1e-6 to 1e6: refused by name, or right.
TEST(PrecisionCheck, RandomScalesAreRefusedByNameOrRight) {
  TemporaryFolder folder;
  write_csv(folder / "train.csv", 64, 5);
  int refused = 0;
  int right = 0;
  for (uint64_t seed = 0; seed < 25; ++seed) {
    Normal normal(100 + seed);
    write_mlp(folder / "m.onnx", std::pow(10.0, 12 * normal.uniform() - 6), seed);
    const Ended fp32 = eval(eval_options(folder, "fp32"));
    ASSERT_TRUE(fp32.done) << fp32.message;
    for (const std::string precision : {"fp16", "bf16"}) {
      const Ended e = eval(eval_options(folder, precision));
      if (!e.done) {
        ++refused;
        EXPECT_EQ(precision, "fp16") << "bf16 has fp32's range: " << e.message;
        EXPECT_TRUE(has(e.message, "fc1") || has(e.message, "fc2") || has(e.message, "tensor")) << e.message;
        continue;
      }
      ++right;
      // Two layers, so at most a handful of roundings between a sample and its logits, each of at most 2^-8
      // (bf16) of numbers of up to about 10, and twice a logit's error is the most that a loss may change; a
      // tenth of that is fp16's.
      const double bound = precision == "bf16" ? 2 * 5 * 10 * 0x1p-8 / 4 : 2 * 5 * 10 * 0x1p-11;
      EXPECT_NEAR(*e.result.val_loss, *fp32.result.val_loss, bound) << precision << " seed " << seed << "\n"
                                                                    << e.log;
    }
  }
  EXPECT_GE(refused, 3);
  EXPECT_GT(right, 25);
}

// Its outputs in fp32 would be larger than all that a step in 16 bits holds.
TEST(PrecisionCheck, OfManyPositionsWithManyClassesLooksAtFewSamples) {
  for (const auto& [classes, samples] : {std::pair<int64_t, int64_t>{8192, 2}, {1024, 8}, {16, 16}}) {
    TemporaryFolder folder;
    ModelBuilder b;
    b.input("x", {"N", "128", "2"}).output("y", {"N", "128", std::to_string(classes)});
    b.initializer(floats("w", {2, classes}, std::vector<float>(static_cast<size_t>(2 * classes), 0.25F)));
    b.node("MatMul", {"x", "w"}, {"y"});
    std::ofstream(folder / "m.onnx", std::ios::binary) << b.bytes();
    halftone::train::Safetensors file;
    Tensor x(DType::kF32, {16, 128, 2});
    Tensor labels(DType::kI64, {16, 128});
    for (size_t i = 0; i < 16 * 128; ++i) {
      x.as<float>()[2 * i] = static_cast<float>(i % 5);
      labels.as<int64_t>()[i] = static_cast<int64_t>(i) % classes;
    }
    file.tensors.emplace("x", std::move(x));
    file.tensors.emplace("y", std::move(labels));
    halftone::train::write_safetensors(folder / "d.safetensors", file);
    TrainOptions o;
    o.network.model = folder / "m.onnx";
    o.network.precision = "fp16";
    o.network.batch = 16;
    o.data.data = folder / "d.safetensors";
    o.out = folder / "run";
    o.steps = 1;
    o.quiet = true;
    const Ended e = train(o);
    ASSERT_TRUE(e.done) << e.message;
    EXPECT_EQ(Json::parse(e.result.summary_json).at("precision_check").at("samples"), samples) << classes;
  }
}

}  // namespace
}  // namespace halftone::api::test
