// What single tensors are trained with, averages of weights, and a share held out, from the options to the file.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "api/rates.h"
#include "api/small_networks.h"
#include "base/error.h"
#include "base/file.h"
#include "onnx/depth.h"
#include "onnx/model.h"
#include "pass/training.h"
#include "train/checkpoint.h"

namespace halftone::api::test {
namespace {

std::vector<double> numbers(const Tensor& t) {
  const Tensor wide = converted(t, DType::kF64);
  return {wide.as<double>().begin(), wide.as<double>().end()};
}
std::vector<double> of_file(const std::string& path, const std::string& tensor) {
  return numbers(onnx::Model::load(path).tensor(tensor));
}

class OfTensors : public ::testing::Test {
 protected:
  OfTensors() {
    write_csv(folder_ / "train.csv", 64, 3);
    write_mlp(folder_ / "m.onnx");
    options_ = train_options(folder_, "fp32");
    options_.momentum = 0;
    options_.steps = 1;
  }
  // How far a tensor went.
  std::vector<double> way(const TrainOptions& options, const std::string& tensor) {
    TrainOptions o = options;
    o.out += std::to_string(++runs_);
    const Ended run = train(o);
    EXPECT_TRUE(run.done) << run.message;
    std::vector<double> after = of_file(o.out + "/model.onnx", tensor);
    const std::vector<double> before = of_file(folder_ / "m.onnx", tensor);
    for (size_t i = 0; i < after.size(); ++i) after[i] -= before[i];
    return after;
  }

  TemporaryFolder folder_;
  TrainOptions options_;
  int runs_ = 0;
};

// One step of plain SGD is the rate times the gradient: fp32 stores a weight of about 1 to 2^-24, of which two differ.
void expect_times(const std::vector<double>& a, const std::vector<double>& b, double factor) {
  ASSERT_EQ(a.size(), b.size());
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_NEAR(a[i], factor * b[i], (1 + factor) * 0x1p-23) << i;
    largest = std::max(largest, std::abs(a[i]));
  }
  if (factor > 0) {
    EXPECT_GT(largest, 1e-4);
  }
}

TEST_F(OfTensors, LearningRatesByPattern) {
  const auto plain1 = way(options_, "fc1.weight");
  const auto plain2 = way(options_, "fc2.weight");
  options_.lr_scale = {"fc*=0.5", "fc2*=3"};
  expect_times(way(options_, "fc1.weight"), plain1, 0.5);
  expect_times(way(options_, "fc2.weight"), plain2, 3);
  options_.lr_scale.clear();
  options_.layer_decay = 0.25;
  expect_times(way(options_, "fc1.weight"), plain1, 0.25);
  expect_times(way(options_, "fc2.weight"), plain2, 1);
}

TEST_F(OfTensors, WeightDecayByPattern) {
  options_.weight_decay = 0.5;
  const auto all = way(options_, "fc2.weight");
  const auto bias = way(options_, "fc2.bias");
  options_.weight_decay_for = {"*.weight=0"};
  const auto none = way(options_, "fc2.weight");
  expect_times(way(options_, "fc2.bias"), bias, 1);
  const std::vector<double> w = of_file(folder_ / "m.onnx", "fc2.weight");
  for (size_t i = 0; i < w.size(); ++i) EXPECT_NEAR(all[i] - none[i], -0.01 * 0.5 * w[i], 0x1p-22);
}

TEST_F(OfTensors, RefusesPatternsThatSayNothing) {
  const auto refusal = [&](const char* rule) {
    options_.lr_scale = {rule};
    return train(options_).message;
  };
  EXPECT_TRUE(has(refusal("fc3*=2"), "--lr-scale fc3*=2 matches no trained tensor"));
  EXPECT_TRUE(has(refusal("fc1*"), "expected PATTERN=NUMBER"));
  EXPECT_TRUE(has(refusal("fc1*=-1"), "expected PATTERN=NUMBER"));
  EXPECT_TRUE(has(refusal("=1"), "expected PATTERN=NUMBER"));
  options_.lr_scale = {"fc1.*=2", "*c1.wei*=3", "*1.bias*=7", "fc1*=1"};
  EXPECT_TRUE(train(options_).done) << "the longest counts";
  options_.lr_scale = {"fc1.*=2", "*c1.w*=3"};
  EXPECT_FALSE(train(options_).done);
}

TEST(Depths, AreTimmsGroups) {
  ModelBuilder m;
  m.input("x", {"N", "4"}).output("y", {"N", "4"});
  std::string x = "x";
  for (const std::string name :
       {"stem.weight", "blocks.0.fc1.weight", "blocks.0.fc2.weight", "blocks.1.0.fc.weight",
        "blocks.1.1.fc.weight", "norm.weight", "head.weight"}) {
    m.initializer(floats(name, {4, 4}, Normal(1).many(16, 1)));
    m.node("MatMul", {x, name}, {name + ".out"}).node("Relu", {name + ".out"}, {name + ".relu"});
    x = name + ".relu";
  }
  m.node("Identity", {x}, {"y"});
  const onnx::Model model = onnx::Model::parse(m.bytes(), "net.onnx");
  const onnx::Depths depths = onnx::depths_of(model, onnx::roles_of(model));
  EXPECT_EQ(depths.groups, 5);
  EXPECT_EQ(depths.of_tensor, (std::map<std::string, int64_t>{{"stem.weight", 0},
                                                              {"blocks.0.fc1.weight", 1},
                                                              {"blocks.0.fc2.weight", 1},
                                                              {"blocks.1.0.fc.weight", 2},
                                                              {"blocks.1.1.fc.weight", 3},
                                                              {"norm.weight", 4},
                                                              {"head.weight", 4}}));
}

// The average after each step, computed in double from the weights in the checkpoints of all steps.
TEST_F(OfTensors, AveragesFollowTheWeightsAndAreWhatIsWritten) {
  options_.steps = 5;
  options_.epochs = 100;
  options_.ema = 0.8;
  options_.momentum = 0.9;
  options_.lr = 0.1;
  options_.checkpoint_every = 1;
  options_.keep = 10;
  const Ended run = train(options_);
  ASSERT_TRUE(run.done) << run.message;
  std::vector<double> average;
  for (int t = 1; t <= 5; ++t) {
    const train::Checkpoint c =
        train::read_checkpoint(fmt::format("{}/checkpoint-{:010}.htck", options_.out, t));
    const std::vector<double> w = numbers(c.tensors.at("fc1.weight"));
    const double decay = std::min(0.8, (t - 1.0) / (t + 8.0));
    average.resize(w.size());
    for (size_t i = 0; i < w.size(); ++i) average[i] += (1 - decay) * (w[i] - average[i]);
    const std::vector<double> kept = numbers(c.tensors.at(pass::average_name("fc1.weight")));
    double moved = 0;
    for (size_t i = 0; i < w.size(); ++i) {
      // fp32 arithmetic on numbers below 4: three roundings a step.
      ASSERT_NEAR(kept[i], average[i], 3 * t * 0x1p-22) << t << " " << i;
      moved = std::max(moved, std::abs(w[i] - average[i]));
    }
    if (t > 1) {
      EXPECT_GT(moved, 1e-4);
    }
    if (t < 5) continue;
    EXPECT_EQ(of_file(options_.out + "/model.onnx", "fc1.weight"), kept);
  }
  EvalOptions last = eval_options(folder_, "fp32");
  last.network.model = options_.out;
  last.network.weights = "last";
  const Ended of_checkpoint = eval(last);
  ASSERT_TRUE(of_checkpoint.done) << of_checkpoint.message;
  EXPECT_EQ(of_checkpoint.result.val_loss, run.result.val_loss);
}

// In 16 bits steps are less than a last place: rounded stochastically, the mean over the elements is right.
TEST_F(OfTensors, AveragesIn16BitsAreUnbiased) {
  options_ = train_options(folder_, "bf16");
  options_.network.check_precision = "off";
  options_.steps = 60;
  options_.epochs = 100;
  options_.lr = 0.02;
  options_.ema = 0.99;
  options_.checkpoint_every = 1;
  options_.keep = 100;
  const Ended run = train(options_);
  ASSERT_TRUE(run.done) << run.message;
  std::vector<double> average;
  double mean_off = 0;
  double places = 0;  // mean size of a last place
  for (int t = 1; t <= 60; ++t) {
    const train::Checkpoint c =
        train::read_checkpoint(fmt::format("{}/checkpoint-{:010}.htck", options_.out, t));
    const std::vector<double> w = numbers(c.tensors.at("fc1.weight"));
    const std::vector<double> kept = numbers(c.tensors.at(pass::average_name("fc1.weight")));
    const double decay = std::min(0.99, (t - 1.0) / (t + 8.0));
    average.resize(w.size());
    mean_off = places = 0;
    for (size_t i = 0; i < w.size(); ++i) {
      average[i] += (1 - decay) * (w[i] - average[i]);
      mean_off += (kept[i] - average[i]) / static_cast<double>(w.size());
      places += std::exp2(std::floor(std::log2(std::abs(w[i]) + 1e-9)) - 7) / static_cast<double>(w.size());
    }
  }
  // An element is off by about a last place, 128 of them by a twelfth of it: four times that.
  EXPECT_LT(std::abs(mean_off), places * 4 / std::sqrt(128.0));
}

TEST_F(OfTensors, AShareIsHeldOutAndNamed) {
  options_.data.val = "25%";
  options_.steps = 3;
  const Ended run = train(options_);
  ASSERT_TRUE(run.done) << run.message;
  EXPECT_TRUE(has(run.log, "train.csv[train=25%]")) << run.log;
  EXPECT_TRUE(has(run.log, "train.csv[val=25%]")) << run.log;
  EvalOptions o = eval_options(folder_, "fp32");
  o.network.model = options_.out + "/model.onnx";
  o.data.data += "[val=25%]";
  const Ended held = eval(o);
  ASSERT_TRUE(held.done) << held.message;
  EXPECT_EQ(held.result.val_loss, run.result.val_loss);
  options_.data.val = "100%";
  EXPECT_TRUE(has(train(options_).message, "a share of 100%"));
}

// Evaluations within an epoch: a run that was stopped behind one goes on to the same bytes.
TEST_F(OfTensors, EvaluationsByStepsGoOnAfterAStop) {
  options_.eval_every = 3;
  options_.steps = 10;
  options_.epochs = 100;
  options_.schedule = "plateau:factor=0.5,patience=0";
  const Ended run = train(options_);
  ASSERT_TRUE(run.done) << run.message;
  const std::string expected = read_file(options_.out + "/model.onnx");
  const std::string events = read_file(options_.out + "/events.jsonl");
  for (const char* step : {"3", "6", "9"})
    EXPECT_TRUE(std::filesystem::exists(options_.out + "/checkpoint-000000000" + step + ".htck") ||
                has(events, fmt::format("\"step\":{}", step)))
        << events;
  TrainOptions stopped = options_;
  stopped.out += "-stopped";
  stopped.steps = 6;
  ASSERT_TRUE(train(stopped).done);
  stopped.steps = 10;
  stopped.resume = true;
  const Ended on = train(stopped);
  ASSERT_TRUE(on.done) << on.message;
  EXPECT_TRUE(read_file(stopped.out + "/model.onnx") == expected);
  options_.data.val = "none";
  options_.out += "-none";
  options_.schedule = "constant";
  EXPECT_TRUE(has(train(options_).message, "--eval-every needs validation data"));
}

TEST_F(OfTensors, BalancedWeightsAreTheDatas) {
  std::ofstream(folder_ / "train.csv")
      << "a,b,c,d,e,f,g,h,label\n"
         "1,0,0,0,0,0,0,0,0\n1,1,0,0,0,0,0,0,0\n1,0,1,0,0,0,0,0,0\n0,1,0,0,0,0,0,0,1\n";
  options_.network.batch = 2;
  options_.network.class_weights = "balanced";
  const Ended run = train(options_);
  ASSERT_TRUE(run.done) << run.message;
  // Four samples of two classes: 4 / (2 * 3) and 4 / (2 * 1).
  EXPECT_TRUE(has(run.log, "--class-weights balanced: 0.6666666666666666,2,1,1")) << run.log;
}

}  // namespace
}  // namespace halftone::api::test
