#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "moments.h"
#include "stateful.h"

namespace halftone::ops::test {
namespace {

constexpr double kEpsilon = 0x1p-10;  // exact in fp32

// x as [rows][cols], by the definition.
struct Expected {
  Numbers y, mean, variance;  // biased
  Numbers dx, dscale, dbias;
};
Expected batch_norm(const Numbers& x, size_t cols, const Numbers& scale, const Numbers& bias,
                    const Numbers& dy) {
  const size_t rows = x.size() / cols;
  const auto n = static_cast<double>(rows);
  Expected e{Numbers(x.size()), Numbers(cols), Numbers(cols),
             Numbers(x.size()), Numbers(cols), Numbers(cols)};
  for (size_t c = 0; c < cols; ++c) {
    for (size_t r = 0; r < rows; ++r) e.mean[c] += x[r * cols + c] / n;
    for (size_t r = 0; r < rows; ++r) e.variance[c] += std::pow(x[r * cols + c] - e.mean[c], 2) / n;
    const double invstd = 1 / std::sqrt(e.variance[c] + kEpsilon);
    for (size_t r = 0; r < rows; ++r) {
      const double xhat = (x[r * cols + c] - e.mean[c]) * invstd;
      e.y[r * cols + c] = xhat * scale[c] + bias[c];
      if (dy.empty()) continue;
      e.dbias[c] += dy[r * cols + c];
      e.dscale[c] += dy[r * cols + c] * xhat;
    }
    for (size_t r = 0; r < rows && !dy.empty(); ++r) {
      const double xhat = (x[r * cols + c] - e.mean[c]) * invstd;
      e.dx[r * cols + c] = scale[c] * invstd * (dy[r * cols + c] - e.dbias[c] / n - xhat * e.dscale[c] / n);
    }
  }
  return e;
}

Case training(const Shape& x) {
  Case c;
  c.inputs = {x, {x.back()}, {x.back()}};
  c.build = [](Builder& b, const std::vector<ValueId>& in) {
    const std::vector<ValueId> out = b.add("BatchNormTrain", in, {{"epsilon", kEpsilon}});
    return std::vector<ValueId>{out[0]};
  };
  c.expected = [cols = static_cast<size_t>(x.back())](const std::vector<Numbers>& v) {
    return std::vector<Numbers>{batch_norm(v[0], cols, v[1], v[2], {}).y};
  };
  return c;
}

// x, scale, bias, mean, variance: statistics that stay as they are.
Case frozen(const Shape& x) {
  Case c;
  c.inputs = {x, {x.back()}, {x.back()}, {x.back()}, {x.back()}};
  c.statistics = {3, 4};
  c.fixed = {3, 4};
  c.low = 0.25;  // variances
  c.build = [](Builder& b, const std::vector<ValueId>& in) {
    return std::vector<ValueId>{b.add1("BatchNormalization", in, {{"epsilon", kEpsilon}})};
  };
  c.expected = [cols = static_cast<size_t>(x.back())](const std::vector<Numbers>& v) {
    Numbers y;
    for (size_t i = 0; i < v[0].size(); ++i) {
      const size_t k = i % cols;
      y.push_back((v[0][i] - v[3][k]) / std::sqrt(v[4][k] + kEpsilon) * v[1][k] + v[2][k]);
    }
    return std::vector<Numbers>{y};
  };
  return c;
}

TEST(BatchNormTrain, ForwardAndGradient) {
  check(training({6, 3}));
  check(training({2, 3, 2, 4}));
  check(training({3, 2, 17}));  // channels of a vector and one
  check(training({2, 5, 1}));
}

TEST(BatchNormTrain, ARepeatedInputGetsBothGradients) {
  Case c = training({4, 3});
  c.expected = nullptr;
  c.build = [build = c.build](Builder& b, const std::vector<ValueId>& x) {
    return std::vector<ValueId>{build(b, x)[0], b.add1("Mul", {build(b, {x[0], x[1], x[1]})[0], x[0]})};
  };
  c.y_roundings = 2;  // the product of a rounded y
  c.roundings = 8;
  check(c);
}

TEST(BatchNormTrain, ParametersThatAreFrozenGetNoGradient) {
  Case c = training({6, 3});
  c.fixed = {1, 2};
  check(c);
}

// More rows than a chunk has: partial statistics are merged.
TEST(BatchNormTrain, ChunksMergeToTheStatisticsOfAll) {
  for (const Shape& shape : {Shape{5000, 7}, Shape{2, 170, 100, 1}, Shape{3, 20000}}) {
    SCOPED_TRACE(to_string(shape));
    const Case c = training(shape);
    std::vector<Numbers> x = random_inputs(c, DType::kF64);
    for (size_t i = 0; i < x[0].size(); ++i)
      x[0][i] += static_cast<double>(i) / static_cast<double>(x[0].size());
    Numbers dy;
    for (size_t i = 0; i < x[0].size(); ++i) dy.push_back(std::sin(static_cast<double>(i)) + x[0][i]);
    const Result r = run(c, DType::kF64, x, {dy}, kern::Isa::kReference, 3);
    const Expected e = batch_norm(x[0], static_cast<size_t>(shape.back()), x[1], x[2], dy);
    const auto close = [](const Numbers& got, const Numbers& wanted, double scale) {
      ASSERT_EQ(got.size(), wanted.size());
      for (size_t i = 0; i < got.size(); ++i)
        ASSERT_NEAR(got[i], wanted[i], 1e-11 * scale) << "element " << i;
    };
    const auto rows = static_cast<double>(x[0].size()) / static_cast<double>(shape.back());
    close(r.y[0], e.y, 1);
    // With three values a channel 1 / sqrt(var + epsilon) can be as large as 32.
    close(r.dx[0], e.dx, 1000);
    close(r.dx[1], e.dscale, rows * 32);
    close(r.dx[2], e.dbias, rows);
  }
}

// Squares of deviations, not deviations of squares: a large mean costs no accuracy of the variance.
TEST(BatchNormTrain, ALargeMeanDoesNotDrownTheVariance) {
  const Case c = training({4096, 2});
  Numbers x;
  for (int64_t i = 0; i < 2 * 4096; ++i) x.push_back(4096 + static_cast<double>(i * 7919 % 257 - 128) / 128);
  const Numbers y = forward(c, DType::kF32, {x, {1, 0.5}, {0, 1}}, 3)[0];
  const Numbers expected = batch_norm(x, 2, {1, 0.5}, {0, 1}, {}).y;
  // y = x a + (bias - mean a), a < 2: three roundings of numbers below 2^13.
  for (size_t i = 0; i < y.size(); ++i) ASSERT_NEAR(y[i], expected[i], 4 * 0x1p13 * 0x1p-24);
}

TEST(BatchNormTrain, AConstantChannelHasNoVariance) {
  const Case c = training({8, 1});
  for (const DType dtype : {DType::kF32, DType::kF16})
    for (const kern::Isa isa : kern::available()) {
      const Result r = run(c, dtype, {Numbers(8, 3.0), {2}, {0.5}}, {{1, 2, 3, 4, 5, 6, 7, 8}}, isa);
      EXPECT_EQ(r.y[0], Numbers(8, 0.5));
      EXPECT_EQ(r.dx[1], Numbers{0});
      EXPECT_EQ(r.dx[2], Numbers{36});
      // scale / sqrt(epsilon) (dy - mean dy) = 64 (dy - 4.5)
      EXPECT_EQ(r.dx[0], (Numbers{-224, -160, -96, -32, 32, 96, 160, 224}));
    }
}

TEST(BatchNormTrain, RefusesWhatDoesNotFit) {
  const auto message = [](const Shape& x, const Shape& scale, const Shape& bias) {
    return refusal({{DType::kF16, x}, {DType::kF16, scale}, {DType::kF16, bias}}, "BatchNormTrain", {});
  };
  EXPECT_NE(message({3}, {3}, {3}).find("at least two dimensions"), std::string::npos);
  EXPECT_NE(message({4, 3}, {4}, {3}).find("scale has shape 4, expected 3 (the channels of 4x3)"),
            std::string::npos);
  EXPECT_NE(message({4, 3}, {3}, {3, 1}).find("bias has shape 3x1"), std::string::npos);
  EXPECT_NE(message({1, 3}, {3}, {3}).find("at least two values a channel, got 1x3"), std::string::npos);
  EXPECT_EQ(message({2, 3}, {3}, {3}), "");
}

TEST(BatchNormalization, ForwardAndGradient) {
  check(frozen({6, 3}));
  check(frozen({2, 3, 2, 4}));
  check(frozen({1, 1, 17}));
}

TEST(BatchNormalization, ManyRowsAndThreads) {
  const Case c = frozen({9001, 5});
  const std::vector<Numbers> x = random_inputs(c, DType::kF32);
  const Numbers y = forward(c, DType::kF32, x, 3)[0];
  const Numbers expected = c.expected(x)[0];
  for (size_t i = 0; i < y.size(); ++i) ASSERT_NEAR(y[i], expected[i], 0x1p-19) << "element " << i;
}

TEST(BatchNormalization, RefusesWhatDoesNotFit) {
  const auto message = [](const Shape& mean, const Shape& var) {
    const Type parameter{DType::kF16, {3}};
    return refusal({{DType::kF16, {4, 3}}, parameter, parameter, {DType::kF32, mean}, {DType::kF32, var}},
                   "BatchNormalization", {});
  };
  EXPECT_NE(message({4}, {3}).find("mean has shape 4, expected 3"), std::string::npos);
  EXPECT_NE(message({3}, {}).find("var has shape scalar, expected 3"), std::string::npos);
  EXPECT_EQ(message({3}, {3}), "");
}

// ---------------------------------------------------------------- from ONNX, with running statistics
struct Imported : Stateful {
  explicit Imported(OnnxNode node, const Shape& x = {2, 3, 2, 2}, DType dtype = DType::kF32)
      : Stateful(dtype) {
    const Shape channels{x[1]};
    const std::vector<ValueId> inputs{
        state("x", dtype, x), state("scale", dtype, channels), state("bias", dtype, channels),
        state("mean", register_type(dtype), channels), state("var", register_type(dtype), channels)};
    outputs = import(b, node, inputs);
    keep(outputs[0]);
    compile();
    Numbers values;
    for (int64_t i = 0; i < elements(x); ++i) values.push_back(static_cast<double>(i * 37 % 23) / 4 - 2);
    set("x", values);
    set("scale", {1, 0.5, -2});
    set("bias", {0, 1, 0.25});
    for (const char* name : {"mean", "mean.pending"}) try {
        set(name, {0.5, -0.5, 1});
      } catch (const std::logic_error&) {  // without training nothing is pending
      }
    for (const char* name : {"var", "var.pending"}) try {
        set(name, {1, 2, 4});
      } catch (const std::logic_error&) {
      }
  }
  // Channels last, [N H W][C].
  template <class Id>
  Numbers rows(Id id) {
    const Numbers v = get(id);
    Numbers out;
    for (size_t n = 0; n < 2; ++n)
      for (size_t i = 0; i < 4; ++i)
        for (size_t c = 0; c < 3; ++c) out.push_back(v[(n * 3 + c) * 4 + i]);
    return out;
  }
  std::vector<ValueId> outputs;
};

void expect_near(const Numbers& got, const Numbers& wanted) {
  ASSERT_EQ(got.size(), wanted.size());
  for (size_t i = 0; i < got.size(); ++i)
    EXPECT_NEAR(got[i], wanted[i], 0x1p-20 * (1 + std::fabs(wanted[i]))) << "element " << i;
}

TEST(BatchNormImport, InTrainingTheBatchDecidesAndRunningStatisticsFollow) {
  for (const int opset : {9, 14, 15}) {
    OnnxNode node{"BatchNormalization", opset, {{"epsilon", kEpsilon}, {"momentum", 0.75}}};
    Imported s(node);
    const Expected e = batch_norm(s.rows("x"), 3, s.get("scale"), s.get("bias"), {});
    s.compute();
    expect_near(s.rows(s.outputs[0]), e.y);
    EXPECT_EQ(s.get("mean"), (Numbers{0.5, -0.5, 1})) << "before the step is taken";
    s.update();
    Numbers mean;
    Numbers var;
    for (size_t c = 0; c < 3; ++c) {
      mean.push_back(0.75 * Numbers{0.5, -0.5, 1}[c] + 0.25 * e.mean[c]);
      var.push_back(0.75 * Numbers{1, 2, 4}[c] + 0.25 * e.variance[c] * 8 / 7);  // unbiased
    }
    expect_near(s.get("mean"), mean);
    expect_near(s.get("var"), var);
    EXPECT_EQ(s.get("mean.pending"), s.get("mean"));
  }
}

TEST(BatchNormImport, EveryMicroBatchMovesTheStatisticsAndASkippedStepNone) {
  Imported s({"BatchNormalization", 15, {{"momentum", 0.5}}});
  s.compute();
  s.compute();
  s.step.finite = false;
  s.update();
  EXPECT_EQ(s.get("mean"), (Numbers{0.5, -0.5, 1}));
  EXPECT_EQ(s.get("var"), (Numbers{1, 2, 4}));
  EXPECT_EQ(s.get("mean.pending"), s.get("mean")) << "forgotten";
  EXPECT_EQ(s.get("var.pending"), s.get("var"));
  s.step.finite = true;
  s.compute();
  s.compute();
  s.update();
  const Expected e = batch_norm(s.rows("x"), 3, s.get("scale"), s.get("bias"), {});
  Numbers mean;
  for (size_t c = 0; c < 3; ++c) mean.push_back(0.25 * Numbers{0.5, -0.5, 1}[c] + 0.75 * e.mean[c]);
  expect_near(s.get("mean"), mean);
}

TEST(BatchNormImport, InEvaluationAndFrozenTheRunningStatisticsDecide) {
  for (const bool frozen_in_training : {false, true}) {
    OnnxNode node{"BatchNormalization", 15, {{"epsilon", kEpsilon}}};
    node.mode = frozen_in_training ? Mode::kTrain : Mode::kEval;
    node.batch_norm = frozen_in_training ? BatchNormMode::kFreeze : BatchNormMode::kTrain;
    Imported s(node);
    s.compute();
    s.update();
    EXPECT_EQ(s.get("mean"), (Numbers{0.5, -0.5, 1}));
    const Numbers x = s.rows("x");
    Numbers expected;
    for (size_t i = 0; i < x.size(); ++i) {
      const size_t c = i % 3;
      expected.push_back((x[i] - s.get("mean")[c]) / std::sqrt(s.get("var")[c] + kEpsilon) *
                             s.get("scale")[c] +
                         s.get("bias")[c]);
    }
    expect_near(s.rows(s.outputs[0]), expected);
  }
}

TEST(BatchNormImport, EpsilonAndMomentumHaveOnnxsDefaults) {
  Imported s({"BatchNormalization", 15});
  s.compute();
  s.update();
  const Numbers x = s.rows("x");
  double mean = 0;
  for (size_t i = 0; i < x.size(); i += 3) mean += x[i] / 8;
  EXPECT_NEAR(s.get("mean")[0], 0.9 * 0.5 + 0.1 * mean, 0x1p-20);
}

TEST(BatchNormImport, OlderTrainingExportsHaveMoreOutputs) {
  OnnxNode node{"BatchNormalization", 14, {{"training_mode", int64_t{1}}}};
  node.outputs = 3;
  Imported s(node);
  ASSERT_EQ(s.outputs.size(), 3U);
  EXPECT_EQ(s.outputs[1], kNone) << "the importer tells whoever reads it";
}

// The mean and the variance of the weights themselves: both depend on what the gradient is asked for.
TEST(BatchNormImport, StatisticsThatAreComputedHaveAGradient) {
  for (const Mode mode : {Mode::kTrain, Mode::kEval}) {
    Case c;
    c.inputs = {{1, 3, 5}, {3}, {3}};
    c.roundings = 24;
    c.y_roundings = 12;  // one for each node, and in the gradient twice as many
    c.build = [mode](Builder& b, const std::vector<ValueId>& x) {
      const Attributes over{{"axes", std::vector<int64_t>{2}}, {"keepdims", int64_t{1}}};
      const ValueId mean = b.add1("ReduceMean", {x[0]}, over);
      const ValueId centred = b.add1("Sub", {x[0], mean});
      const ValueId variance = b.add1("ReduceMean", {b.add1("Mul", {centred, centred})}, over);
      OnnxNode node{"BatchNormalization", 15, {{"epsilon", 0.25}}};
      node.mode = mode;
      return import(b, node, {x[0], x[1], x[2], b.reshape(mean, {3}), b.reshape(variance, {3})});
    };
    c.expected = [](const std::vector<Numbers>& v) {
      Numbers y;
      for (size_t r = 0; r < 3; ++r) {
        const std::span row(&v[0][r * 5], 5);
        const Moments m = moments_of(row);
        for (const double x : row)
          y.push_back((x - m.mean) / std::sqrt(m.variance + 0.25) * v[1][r] + v[2][r]);
      }
      return std::vector<Numbers>{y};
    };
    check(c);
  }
}

// As inputs of a network they have the storage type, where those of the file have the register type.
TEST(BatchNormImport, StatisticsMayBeInputs) {
  Case c;
  c.inputs = {{2, 3, 4}, {3}, {3}, {3}, {3}};
  c.low = 0.5;
  c.high = 2;
  c.roundings = 24;
  c.y_roundings = 12;
  c.build = [](Builder& b, const std::vector<ValueId>& x) {
    OnnxNode node{"BatchNormalization", 15, {{"epsilon", 0.25}}};
    node.mode = Mode::kEval;
    return import(b, node, x);
  };
  c.expected = [](const std::vector<Numbers>& v) {
    Numbers y(24);
    for (size_t i = 0; i < y.size(); ++i) {
      const size_t channel = i / 4 % 3;
      y[i] = (v[0][i] - v[3][channel]) / std::sqrt(v[4][channel] + 0.25) * v[1][channel] + v[2][channel];
    }
    return std::vector<Numbers>{y};
  };
  check(c);
}

// PyTorch's batch_norm without running statistics: the exporter writes statistics, but training_mode 1 says
// that they are outputs.
TEST(BatchNormImport, InTrainingModeComputedStatisticsAreNotUsed) {
  for (const Mode mode : {Mode::kTrain, Mode::kEval}) {
    Case c;
    c.inputs = {{2, 3, 4}, {3}, {3}};
    c.roundings = 12;
    c.y_roundings = 3;
    c.build = [mode](Builder& b, const std::vector<ValueId>& x) {
      OnnxNode node{"BatchNormalization", 15, {{"epsilon", 0.25}, {"training_mode", int64_t{1}}}};
      node.mode = mode;
      node.batch_norm = BatchNormMode::kFreeze;
      return import(b, node, {x[0], x[1], x[2], b.add1("Neg", {x[1]}), b.add1("Mul", {x[2], x[2]})});
    };
    c.expected = [](const std::vector<Numbers>& v) {
      Numbers y(24);
      for (size_t r = 0; r < 3; ++r) {
        const auto at = [&](size_t i) { return i / 4 * 12 + r * 4 + i % 4; };
        Numbers channel;
        for (size_t i = 0; i < 8; ++i) channel.push_back(v[0][at(i)]);
        const Moments m = moments_of(channel);
        for (size_t i = 0; i < 8; ++i)
          y[at(i)] = (channel[i] - m.mean) / std::sqrt(m.variance + 0.25) * v[1][r] + v[2][r];
      }
      return std::vector<Numbers>{y};
    };
    check(c);
  }
}

TEST(BatchNormImport, RefusesWhatDoesNotFit) {
  const OnnxNode node{"BatchNormalization", 15};
  EXPECT_NE(refusal(node, {{2, 3, 4}, {3}, {3}, {3}}).find("input 4 is missing"), std::string::npos);
  EXPECT_NE(refusal(node, {{3}, {3}, {3}, {3}, {3}}).find("at least two dimensions"), std::string::npos);
  EXPECT_NE(refusal(node, {{2, 3, 4}, {4}, {3}, {3}, {3}}).find("scale has shape 4, expected 3"),
            std::string::npos);
}

TEST(Imports, AttributesThatNobodyUnderstandsAreRefused) {
  const auto unknown = [](const char* op, const std::vector<Shape>& inputs) {
    return refusal(OnnxNode{op, 17, {{"speed", 3.0}}}, inputs).find("'speed' is not understood") !=
           std::string::npos;
  };
  EXPECT_TRUE(unknown("BatchNormalization", {{2, 3, 4}, {3}, {3}, {3}, {3}}));
  EXPECT_TRUE(unknown("Conv", {{1, 3, 4, 4}, {2, 3, 1, 1}}));
  EXPECT_TRUE(unknown("MatMul", {{2, 3}, {3, 4}}));
  EXPECT_TRUE(unknown("Gemm", {{2, 3}, {3, 4}}));
}

}  // namespace
}  // namespace halftone::ops::test
