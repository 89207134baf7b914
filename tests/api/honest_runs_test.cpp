// A run that did nothing, or diverged, is no success; what is written is what was measured.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "api/read_back.h"
#include "api/small_networks.h"
#include "base/error.h"
#include "train/run_folder.h"

namespace halftone::api::test {
namespace {

using Json = nlohmann::json;

bool wrote_a_model(const TrainOptions& o) {
  return std::filesystem::exists(o.out + "/model.onnx");
}

TEST(NothingTrained, IsNoSuccessAndNamesTheForwardOverflow) {
  TemporaryFolder folder;
  write_csv(folder / "train.csv", 64, 3);
  write_mlp(folder / "m.onnx", 2e4);
  for (const std::string val : {"none", ""}) {
    TrainOptions o = train_options(folder, "fp16");
    o.network.check_precision = "off";
    if (!val.empty()) o.data.val = val;
    o.network.batch = 64;
    o.epochs = 3;
    const Ended e = train(o);
    ASSERT_FALSE(e.done) << e.log;
    EXPECT_EQ(e.kind, ErrorKind::kNumerical);
    EXPECT_TRUE(has(e.message, "nothing was trained: all ")) << e.message;
    EXPECT_TRUE(has(e.message, "of node fc1") && has(e.message, "--precision bf16")) << e.message;
    EXPECT_TRUE(has(e.message, "does not help"))
        << "a forward overflow is not mended by a smaller rate: " << e.message;
    EXPECT_FALSE(wrote_a_model(o));
    // The next run may go there, whether the folder was there before or not.
    EXPECT_FALSE(train::has_checkpoint(o.out));
    o.network.precision = "fp32";
    const Ended next = test::train(o);
    ASSERT_TRUE(next.done) << next.message;
    std::filesystem::remove_all(o.out);
    std::filesystem::create_directories(o.out);
  }
  EvalOptions eval_off = eval_options(folder, "fp16");
  eval_off.network.check_precision = "off";
  const Ended e = eval(eval_off);
  ASSERT_FALSE(e.done);
  EXPECT_EQ(e.kind, ErrorKind::kNumerical);
  EXPECT_TRUE(has(e.message, "of node fc1")) << e.message;
}

// Names of tensors that training would take for its own state.
TEST(TensorNames, ThatTrainingUsesItselfAreRefused) {
  TemporaryFolder folder;
  write_csv(folder / "train.csv", 64, 3);
  for (const std::string end : {"#momentum", "#variance", "#carry", "#gradient_sum", ".pending", "#bn_scale",
                                "#bn_shift", "#bn_mean", "#bn_variance", "#mine"}) {
    Normal normal(1);
    ModelBuilder m;
    m.input("x", {"batch", "8"}).output("logits", {"batch", "4"});
    m.initializer(floats("fc.weight", {kFeatures, kClasses}, normal.many(kFeatures * kClasses, 0.5)));
    m.initializer(floats("fc.weight" + end, {kClasses}, normal.many(kClasses, 0.5)));
    m.node("Gemm", {"x", "fc.weight", "fc.weight" + end}, {"logits"}, {}, "fc");
    std::ofstream(folder / "m.onnx", std::ios::binary) << m.bytes();
    TrainOptions o = train_options(folder, "fp16");
    o.out += end;
    const Ended e = train(o);
    ASSERT_EQ(e.done, end == "#mine") << end << e.message;
    if (e.done) continue;
    EXPECT_EQ(e.kind, ErrorKind::kInput);
    EXPECT_TRUE(has(e.message, "tensor 'fc.weight" + end + "'")) << e.message;
    EXPECT_FALSE(std::filesystem::exists(o.out));
  }
}

TEST(BatchNorms, AMomentumThatIsNoAverageIsRefusedUnlessStatisticsStay) {
  TemporaryFolder folder;
  write_csv(folder / "train.csv", 64, 3);
  for (const float momentum : {-0.5F, 1.5F, std::nanf("")}) {
    write_batch_norm(folder / "m.onnx", momentum);
    TrainOptions o = train_options(folder, "fp16");
    const Ended e = train(o);
    ASSERT_FALSE(e.done) << momentum;
    EXPECT_EQ(e.kind, ErrorKind::kInput) << e.message;
    EXPECT_TRUE(has(e.message, "momentum is ") && has(e.message, "'bn'")) << e.message;
    o.network.batchnorm = "freeze";
    const Ended frozen = train(o);
    EXPECT_TRUE(frozen.done) << frozen.message;
    EXPECT_TRUE(eval(eval_options(folder, "fp16")).done);
    std::filesystem::remove_all(o.out);
  }
  for (const float momentum : {0.0F, 1.0F}) {
    write_batch_norm(folder / "m.onnx", momentum);
    const TrainOptions o = train_options(folder, "fp16");
    const Ended e = train(o);
    EXPECT_TRUE(e.done) << e.message;
    std::filesystem::remove_all(o.out);
  }
}

TEST(BatchNorms, MeasuringAfterADivergenceNamesTheStepAndWhatIsLeft) {
  TemporaryFolder folder;
  write_csv(folder / "train.csv", 64, 3);
  write_batch_norm(folder / "m.onnx", 0.9F);
  for (const std::string precision : {"fp32", "bf16", "fp16"})
    for (const double lr : {1e4, 1e12, 1e25}) {
      TrainOptions o = train_options(folder, precision);
      o.bn_statistics = "measure";
      o.lr = lr;
      o.epochs = 4;
      const Ended e = train(o);
      if (!e.done) {
        EXPECT_EQ(e.kind, ErrorKind::kNumerical) << e.message;
        EXPECT_TRUE(has(e.message, "step") && has(e.message, "no model was written")) << e.message;
        EXPECT_FALSE(precision == "fp32" && has(e.message, "--precision bf16")) << e.message;
      }
      std::filesystem::remove_all(o.out);
    }
}

TEST(Training, WithoutValidationSaysWhatIsLeftWhenTheEndOverflows) {
  TemporaryFolder folder;
  write_csv(folder / "train.csv", 400, 3);
  std::ofstream(folder / "train.csv", std::ios::app) << "7e4,0,0,0,0,0,0,0,1\n";
  write_mlp(folder / "m.onnx");
  TrainOptions o = train_options(folder, "fp16");
  o.data.val = "none";
  o.network.check_precision = "off";
  const Ended e = train(o);
  ASSERT_FALSE(e.done) << e.log;
  EXPECT_EQ(e.kind, ErrorKind::kNumerical);
  EXPECT_TRUE(has(e.message, "the input x") && has(e.message, "after step ") &&
              has(e.message, "no model was written"))
      << e.message;
}

TEST(Divergence, EndsInANumericalErrorAtEveryRate) {
  TemporaryFolder folder;
  write_csv(folder / "train.csv", 64, 3);
  write_mlp(folder / "m.onnx");
  int stopped = 0;
  for (const double lr : {1e3, 1e5, 1e7, 1e20, 1e38})
    for (const int64_t steps : {1, 2, 4, 12}) {
      TrainOptions o = train_options(folder, "fp16");
      o.lr = lr;
      o.steps = steps;
      o.epochs = 10;
      const Ended e = train(o);
      if (e.done) {  // then it is finite, and the file is
        EXPECT_TRUE(std::isfinite(*e.result.val_loss)) << lr << " " << steps;
        const EvalOptions again = [&] {
          EvalOptions w = eval_options(folder, "fp32");
          w.network.model = e.result.model_path;
          return w;
        }();
        EXPECT_TRUE(eval(again).done) << lr << " " << steps;
      } else {
        ++stopped;
        EXPECT_EQ(e.kind, ErrorKind::kNumerical) << e.message;
        EXPECT_TRUE(has(e.message, "step")) << e.message;
        EXPECT_FALSE(wrote_a_model(o)) << lr << " " << steps;
      }
      std::filesystem::remove_all(o.out);
    }
  EXPECT_GT(stopped, 10);
}

TEST(Numbers, ThatAreNotFiniteOrDoNotFitAreRefused) {
  TemporaryFolder folder;
  write_csv(folder / "train.csv", 64, 3);
  write_mlp(folder / "m.onnx");
  const double inf = INFINITY;
  const double nan = NAN;
  using Set = std::function<void(TrainOptions&)>;
  const std::vector<std::pair<std::string, Set>> wrong = {
      {"--lr", [&](TrainOptions& o) { o.lr = inf; }},
      {"--lr", [&](TrainOptions& o) { o.lr = nan; }},
      {"--lr", [&](TrainOptions& o) { o.lr = 1e300; }},
      {"--lr", [&](TrainOptions& o) { o.lr = 1e-60; }},
      {"--momentum", [&](TrainOptions& o) { o.momentum = 1 - 1e-12; }},
      {"--weight-decay", [&](TrainOptions& o) { o.weight_decay = inf; }},
      {"--beta1", [&](TrainOptions& o) { o.beta1 = nan; }},
      {"--beta2", [&](TrainOptions& o) { o.beta2 = 1 - 1e-12; }},
      {"--alpha", [&](TrainOptions& o) { o.alpha = nan; }},
      {"--eps", [&](TrainOptions& o) { o.eps = inf; }},
      {"--eps", [&](TrainOptions& o) { o.eps = 1e-60; }},
      {"--clip", [&](TrainOptions& o) { o.clip = inf; }},
      {"--min-delta", [&](TrainOptions& o) { o.min_delta = nan; }},
      {"--time-limit", [&](TrainOptions& o) { o.time_limit = inf; }},
      {"--label-smoothing", [&](TrainOptions& o) { o.network.label_smoothing = nan; }},
      {"--epochs", [&](TrainOptions& o) { o.epochs = INT64_MAX; }},
      {"--epochs", [&](TrainOptions& o) { o.epochs = int64_t{1} << 52; }},
      {"--steps", [&](TrainOptions& o) { o.steps = INT64_MAX; }},
      {"--steps", [&](TrainOptions& o) { o.steps = int64_t{1} << 52; }},
      {"--batch", [&](TrainOptions& o) { o.network.batch = INT64_MAX; }},
      {"--accumulate", [&](TrainOptions& o) { o.accumulate = INT64_MAX; }},
      {"--accumulate", [&](TrainOptions& o) { o.accumulate = 1 << 29; }},
      {"--warmup", [&](TrainOptions& o) { o.warmup = INT64_MAX; }},
      {"--keep", [&](TrainOptions& o) { o.keep = INT64_MAX; }},
      {"--schedule", [&](TrainOptions& o) { o.schedule = "onecycle:max=1e300"; }},
      {"--schedule", [&](TrainOptions& o) { o.schedule = "step:size=9223372036854775807"; }},
      {"--check-precision", [&](TrainOptions& o) { o.network.check_precision = "maybe"; }}};
  for (const auto& [option, set] : wrong) {
    TrainOptions o = train_options(folder, "fp16");
    set(o);
    const Ended e = train(o);
    EXPECT_FALSE(e.done) << option;
    EXPECT_EQ(e.kind, ErrorKind::kUsage) << option << ": " << e.message;
    EXPECT_TRUE(has(e.message, option)) << option << ": " << e.message;
    EXPECT_FALSE(wrote_a_model(o)) << option;
  }
  TrainOptions everything = train_options(folder, "fp16");
  everything.freeze = {"*"};
  const Ended e = train(everything);
  EXPECT_FALSE(e.done);
  EXPECT_EQ(e.kind, ErrorKind::kUsage) << e.message;
}

TEST(ReadBack, GivesWhatWasMeasuredInEveryPrecision) {
  TemporaryFolder folder;
  write_csv(folder / "train.csv", 72, 3);
  write_mlp(folder / "m.onnx");
  for (const std::string precision : {"fp32", "fp16", "bf16"})
    for (const std::string& val : {folder / "train.csv", std::string("none")}) {
      TrainOptions o = train_options(folder, precision);
      o.data.val = val;
      const Ended e = train(o);
      ASSERT_TRUE(e.done) << e.message;
      const Json back = Json::parse(e.result.summary_json).at("read_back");
      EXPECT_EQ(back.at("samples"), 72);
      EXPECT_EQ(back.at("loss"), back.at("measured")) << precision;
      EvalOptions file = eval_options(folder, precision);
      file.network.model = e.result.model_path;
      const Ended evaluated = eval(file);
      ASSERT_TRUE(evaluated.done) << evaluated.message;
      EXPECT_EQ(back.at("loss").get<double>(), *evaluated.result.val_loss) << precision;
      if (val != "none") {
        EXPECT_EQ(*e.result.val_loss, *evaluated.result.val_loss) << precision;
      }
      std::filesystem::remove_all(o.out);
    }
}

TEST(ReadBack, AFileThatIsNotWhatWasMeasuredIsAnErrorWithBothFigures) {
  TemporaryFolder folder;
  write_csv(folder / "train.csv", 64, 3);
  write_mlp(folder / "m.onnx");
  const Ended right = eval(eval_options(folder, "fp16"));
  ASSERT_TRUE(right.done);
  onnx::Model model = onnx::Model::load(folder / "m.onnx");
  const EvalOptions o = eval_options(folder, "fp16");
  const Log silent = [](const std::string&) {};
  Labelling labelling(o.network, o.data, model, {}, silent);
  const Data data = open_data(o.data.data, {"train"}, o.data, model, labelling, silent);
  ReadBackOptions options;
  options.storage = DType::kF16;
  options.multiply = kern::Multiply::kBlock;
  options.loss = data.target.loss;
  options.outputs = {output_of(model, "", "")};
  options.batch = 64;
  train::Score measured;
  measured.samples = 64;
  measured.correct = 0;
  for (const bool exact : {true, false}) {
    options.exact = exact;
    measured.loss_sum = 64 * *right.result.val_loss;
    EXPECT_EQ(read_back(folder / "m.onnx", {measured}, data, o.data, options, "RUN").loss,
              *right.result.val_loss);
    measured.loss_sum = 64 * (*right.result.val_loss + 0.2);
    try {
      read_back(folder / "m.onnx", {measured}, data, o.data, options, "RUN");
      FAIL() << "exact " << exact;
    } catch (const InternalError& e) {
      const std::string message = e.what();
      EXPECT_TRUE(has(message, "is not what was measured") && has(message, "RUN")) << message;
      EXPECT_TRUE(has(message, fmt::format("{:.6g}", *right.result.val_loss))) << message;
      EXPECT_TRUE(has(message, fmt::format("{:.6g}", *right.result.val_loss + 0.2))) << message;
    }
  }
}

}  // namespace
}  // namespace halftone::api::test
