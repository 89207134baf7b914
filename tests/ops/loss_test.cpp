// A loss node gives the gradient itself: it is compared with central differences of the loss that it gives.
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "gradient_check.h"

namespace halftone::ops::test {
namespace {

double unit(DType dtype) {
  return dtype == DType::kF16 ? 0x1p-11 : dtype == DType::kBf16 ? 0x1p-8 : 0x1p-24;
}

Case cross_entropy(int64_t rows, int64_t cols, double smoothing) {
  Case c;
  c.inputs = {{rows, cols}, {rows}};
  c.labels = {1};
  c.build = [=](Builder& b, const std::vector<ValueId>& x) {
    return b.add("SoftmaxCrossEntropyLoss", {x[0], x[1]}, {{"label_smoothing", smoothing}});
  };
  return c;
}

Case pointwise(const std::string& kind, const Shape& shape) {
  Case c;
  c.inputs = {shape, shape};
  c.statistics = {1};  // targets have the register type
  c.build = [=](Builder& b, const std::vector<ValueId>& x) {
    return b.add("PointwiseLoss", {x[0], x[1]}, {{"kind", kind}});
  };
  c.low = kind == "bce" ? 0.0625 : -2;
  c.high = kind == "bce" ? 0.9375 : 2;
  return c;
}

std::vector<Numbers> labelled(const Case& c, DType dtype) {
  std::vector<Numbers> x = random_inputs(c, dtype);
  for (size_t i = 0; i < x[1].size(); ++i)
    x[1][i] = static_cast<double>(i * 5 % static_cast<size_t>(c.inputs[0][1]));
  return x;
}

double sum(const Numbers& list) {
  return std::accumulate(list.begin(), list.end(), 0.0);
}

// dx (output `index`) against the central differences of the mean of output 0 over `count` terms, scaled;
// then the other types against double.
void check_gradient(const Case& c, const std::vector<Numbers>& x, size_t index, double count, double scale) {
  constexpr double kStep = 0x1p-17;
  const Numbers dx = forward(c, DType::kF64, x)[index];
  double largest = 0;
  for (size_t j = 0; j < x[0].size(); ++j) {
    std::vector<Numbers> moved = x;
    moved[0][j] = x[0][j] + kStep;
    const double above = sum(forward(c, DType::kF64, moved)[0]);
    moved[0][j] = x[0][j] - kStep;
    const double below = sum(forward(c, DType::kF64, moved)[0]);
    // step^2 times a third derivative below 2 for each term; a few epsilons over the step.
    ASSERT_NEAR(dx[j], scale * (above - below) / (2 * kStep) / count, scale * 0x1p-31) << "element " << j;
    largest = std::fmax(largest, std::fabs(dx[j]));
  }
  ASSERT_GT(largest, 0.01 * scale / count);
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBf16}) {
    const std::vector<Numbers> wide = forward(c, DType::kF64, x);
    const std::vector<Numbers> y = forward(c, dtype, x, 3);  // all instruction sets, compared
    for (size_t j = 0; j < dx.size(); ++j)
      ASSERT_NEAR(y[index][j], wide[index][j],
                  unit(dtype) * std::fabs(wide[index][j]) + 32 * 0x1p-24 * scale / count + 0x1p-25)
          << name_of(dtype) << " element " << j;
    for (size_t i = 0; i < wide[0].size(); ++i)
      ASSERT_NEAR(y[0][i], wide[0][i], 32 * 0x1p-24 * (1 + std::fabs(wide[0][i]))) << name_of(dtype);
  }
}

TEST(SoftmaxCrossEntropyLoss, IsTheFormulaAndItsGradient) {
  for (const double smoothing : {0.0, 0.25}) {
    const Case c = cross_entropy(4, 7, smoothing);             // a mean of four: its factor is exact
    const std::vector<Numbers> x = labelled(c, DType::kBf16);  // exact in every type
    const std::vector<Numbers> y = forward(c, DType::kF64, x);
    for (size_t n = 0; n < 4; ++n) {
      const double* row = x[0].data() + 7 * n;
      double total = 0;
      for (int k = 0; k < 7; ++k) total += std::exp(row[k]);
      double loss = 0;
      size_t best = 0;
      for (size_t k = 0; k < 7; ++k) {
        const double target = (k == static_cast<size_t>(x[1][n]) ? 1 - smoothing : 0) + smoothing / 7;
        loss -= target * (row[k] - std::log(total));
        if (row[k] > row[best]) best = k;
      }
      EXPECT_NEAR(y[0][n], loss, 1e-12);
      EXPECT_EQ(y[1][n], best == static_cast<size_t>(x[1][n]) ? 1 : 0);
    }
    ASSERT_NO_FATAL_FAILURE(check_gradient(c, x, 2, 4, 1));
  }
}

TEST(SoftmaxCrossEntropyLoss, CountsWhatIsRight) {
  const Case c = cross_entropy(4, 3, 0);
  // The first maximum counts.
  const std::vector<Numbers> y =
      forward(c, DType::kF16, {{1, 2, 0, 5, 4, 3, 1, 1, 0, 1, 1, 0}, {1, 2, 0, 1}});
  EXPECT_EQ(y[1], (Numbers{1, 0, 1, 0}));
}

TEST(Losses, GradientsCarryLossScaleAndMicroBatches) {
  Case c = cross_entropy(4, 6, 0);
  c.step.loss_scale = 1024;
  c.step.micro_batches = 4;
  const std::vector<Numbers> x = labelled(c, DType::kBf16);
  ASSERT_NO_FATAL_FAILURE(check_gradient(c, x, 2, 4, 256));
  Case p = pointwise("mse", {4, 4});
  p.step.loss_scale = 1024;
  p.step.micro_batches = 4;
  ASSERT_NO_FATAL_FAILURE(check_gradient(p, random_inputs(p, DType::kBf16), 1, 16, 256));
}

Case weighted(int64_t rows, int64_t cols, double smoothing) {
  Case c;
  c.inputs = {{rows, cols}, {rows}, {rows}};
  c.labels = {1};
  c.statistics = {2};  // weights have the register type
  c.build = [=](Builder& b, const std::vector<ValueId>& x) {
    return b.add("WeightedCrossEntropyLoss", {x[0], x[1], x[2]}, {{"label_smoothing", smoothing}});
  };
  return c;
}

TEST(WeightedCrossEntropyLoss, IsTheMeanOverWhatCounts) {
  for (const double smoothing : {0.0, 0.25}) {
    const Case c = weighted(6, 7, smoothing);
    std::vector<Numbers> x = labelled(c, DType::kBf16);
    x[2] = {1, 0, 0.5, 2, 0, 0.5};  // four in all
    const std::vector<Numbers> plain = forward(cross_entropy(6, 7, smoothing), DType::kF64, {x[0], x[1]});
    const std::vector<Numbers> y = forward(c, DType::kF64, x);
    for (size_t n = 0; n < 6; ++n) {
      EXPECT_NEAR(y[0][n], x[2][n] * plain[0][n], 1e-12);
      EXPECT_EQ(y[1][n], plain[1][n]);
      // Both have their scale, 1/4 and 1/6, in fp32.
      for (size_t k = 0; k < 7; ++k) {
        const double wanted = plain[2][n * 7 + k] * 6 / 4 * x[2][n];
        EXPECT_NEAR(y[2][n * 7 + k], wanted, std::ldexp(std::abs(wanted), -23) + 1e-15);
      }
    }
    ASSERT_NO_FATAL_FAILURE(check_gradient(c, x, 2, 4, 1));
  }
}

TEST(WeightedCrossEntropyLoss, OfAStepOfSeveralMicroBatchesTheTotalIsGiven) {
  Case own = weighted(3, 4, 0);
  Case given = own;
  given.inputs.push_back({1});
  given.statistics.push_back(3);
  given.build = [](Builder& b, const std::vector<ValueId>& x) {
    return b.add("WeightedCrossEntropyLoss", {x[0], x[1], x[2], x[3]}, {{"label_smoothing", 0.0}});
  };
  own.step.micro_batches = given.step.micro_batches = 2;
  std::vector<Numbers> x = labelled(own, DType::kBf16);
  x[2] = {1, 0, 3};  // 4 in all
  for (const DType dtype : {DType::kF64, DType::kF32, DType::kF16}) {
    const std::vector<Numbers> alone = forward(own, dtype, x);
    const std::vector<Numbers> y = forward(given, dtype, {x[0], x[1], x[2], {8}});
    EXPECT_EQ(y[0], alone[0]);
    for (size_t i = 0; i < 12; ++i) EXPECT_EQ(y[2][i], alone[2][i] / 2);
    EXPECT_NE(y[2][0], 0);
    EXPECT_EQ(forward(given, dtype, {x[0], x[1], x[2], {4}})[2], alone[2]);
  }
}

TEST(WeightedCrossEntropyLoss, WithoutAnyTargetThatCountsNothingIsTrained) {
  const Case c = weighted(3, 4, 0);
  std::vector<Numbers> x = labelled(c, DType::kBf16);
  x[2] = {0, 0, 0};
  for (const DType dtype : {DType::kF64, DType::kF32, DType::kF16}) {
    const std::vector<Numbers> y = forward(c, dtype, x);
    EXPECT_EQ(y[0], Numbers(3, 0.0));
    EXPECT_EQ(y[2], Numbers(12, 0.0));
  }
}

TEST(WeightedCrossEntropyLoss, ChunksMeetWithoutGapOrOverlap) {
  for (const auto& [rows, cols] : std::vector<std::pair<int64_t, int64_t>>{{3001, 10}, {3, 9000}}) {
    const Case c = weighted(rows, cols, 0);
    std::vector<Numbers> x = labelled(c, DType::kF32);
    x[2].assign(static_cast<size_t>(rows), 1.0);
    const std::vector<Numbers> wanted = forward(cross_entropy(rows, cols, 0), DType::kF32, {x[0], x[1]}, 3);
    const std::vector<Numbers> y = forward(c, DType::kF32, x, 3);
    for (size_t n = 0; n < y[0].size(); ++n) ASSERT_EQ(y[0][n], wanted[0][n]);
    for (size_t i = 0; i < y[2].size(); ++i)
      ASSERT_NEAR(y[2][i], wanted[2][i], 0x1p-22 / static_cast<double>(rows));
  }
}

TEST(LossOfGraph, IsTheMeanOfItsNumbers) {
  Case c;
  c.inputs = {{8}};
  c.statistics = {0};
  c.build = [](Builder& b, const std::vector<ValueId>& x) {
    return b.add("LossOfGraph", {x[0]}, {{"weight", 0.5}});
  };
  c.step.loss_scale = 16;
  c.step.micro_batches = 2;
  const std::vector<Numbers> x = random_inputs(c, DType::kF32);
  const std::vector<Numbers> y = forward(c, DType::kF32, x);
  EXPECT_EQ(y[0], x[0]);
  EXPECT_EQ(y[1], Numbers(8, 0.5));  // 0.5 * 16 / (8 * 2)
}

TEST(SoftmaxCrossEntropyLoss, ChunksMeetWithoutGapOrOverlap) {
  for (const auto& [rows, cols] : std::vector<std::pair<int64_t, int64_t>>{{3001, 10}, {3, 9000}}) {
    const Case c = cross_entropy(rows, cols, 0);
    const std::vector<Numbers> x = labelled(c, DType::kF32);
    const std::vector<Numbers> y = forward(c, DType::kF32, x, 3);
    for (size_t n = 0; n < y[0].size(); ++n) {
      const double* row = x[0].data() + n * static_cast<size_t>(cols);
      double total = 0;
      for (int64_t k = 0; k < cols; ++k) total += std::exp(row[k]);
      ASSERT_NEAR(y[0][n], std::log(total) - row[static_cast<size_t>(x[1][n])],
                  0x1p-20 * (1 + std::log(total)));
      for (int64_t k = 0; k < cols; ++k) {
        const double wanted = (std::exp(row[k]) / total - (k == static_cast<int64_t>(x[1][n]) ? 1 : 0)) /
                              static_cast<double>(rows);
        ASSERT_NEAR(y[2][n * static_cast<size_t>(cols) + static_cast<size_t>(k)], wanted,
                    0x1p-20 / static_cast<double>(rows));
      }
    }
  }
}

Case soft_targets(int64_t rows, int64_t cols, double smoothing) {
  Case c;
  c.inputs = {{rows, cols}, {rows, cols}};
  c.statistics = {1};  // targets have the register type
  c.build = [=](Builder& b, const std::vector<ValueId>& x) {
    return b.add("SoftTargetCrossEntropyLoss", {x[0], x[1]}, {{"label_smoothing", smoothing}});
  };
  return c;
}

// Rows of sixteenths that add up to 1.
void make_distributions(Numbers& t, size_t cols) {
  for (size_t n = 0; n < t.size() / cols; ++n) {
    double left = 1;
    for (size_t k = 0; k + 1 < cols; ++k) {
      t[n * cols + k] = std::fmin(left, static_cast<double>((3 * n + 5 * k) % 4) / 16);
      left -= t[n * cols + k];
    }
    t[n * cols + cols - 1] = left;
  }
}

TEST(SoftTargetCrossEntropyLoss, IsTheFormulaAndItsGradient) {
  for (const double smoothing : {0.0, 0.25}) {
    const Case c = soft_targets(4, 7, smoothing);
    std::vector<Numbers> x = random_inputs(c, DType::kBf16);
    make_distributions(x[1], 7);
    const std::vector<Numbers> y = forward(c, DType::kF64, x);
    for (size_t n = 0; n < 4; ++n) {
      const double* row = x[0].data() + 7 * n;
      double total = 0;
      for (int k = 0; k < 7; ++k) total += std::exp(row[k]);
      double loss = 0;
      for (size_t k = 0; k < 7; ++k)
        loss -= ((1 - smoothing) * x[1][7 * n + k] + smoothing / 7) * (row[k] - std::log(total));
      EXPECT_NEAR(y[0][n], loss, 1e-12);
    }
    ASSERT_NO_FATAL_FAILURE(check_gradient(c, x, 1, 4, 1));
  }
}

TEST(SoftTargetCrossEntropyLoss, OfOneHotTargetsIsTheOneOfClasses) {
  const int64_t rows = 3001;
  // The kernel of classes takes its smoothing as fp32: a value that is exact there.
  const Case classes = cross_entropy(rows, 10, 0.125);
  const Case soft = soft_targets(rows, 10, 0.125);
  const std::vector<Numbers> x = labelled(classes, DType::kF32);
  Numbers target(x[0].size(), 0);
  for (size_t n = 0; n < x[1].size(); ++n) target[10 * n + static_cast<size_t>(x[1][n])] = 1;
  const std::vector<Numbers> a = forward(classes, DType::kF64, x);
  const std::vector<Numbers> b = forward(soft, DType::kF64, {x[0], target}, 3);
  for (size_t n = 0; n < a[0].size(); ++n) ASSERT_NEAR(b[0][n], a[0][n], 1e-12);
  for (size_t i = 0; i < a[2].size(); ++i) ASSERT_NEAR(b[1][i], a[2][i], 1e-12);
}

TEST(SoftTargetCrossEntropyLoss, RefusesWhatDoesNotFit) {
  const auto message = [](const Shape& x, const Type& target) {
    return refusal({{DType::kF16, x}, target}, "SoftTargetCrossEntropyLoss", {});
  };
  EXPECT_NE(message({2, 3, 4}, {DType::kF32, {2, 3, 4}}).find("[batch, classes], got 2x3x4"),
            std::string::npos);
  EXPECT_NE(message({2, 3}, {DType::kF32, {2, 4}}).find("2x3 with probabilities of shape 2x4"),
            std::string::npos);
  EXPECT_EQ(message({2, 3}, {DType::kF32, {2, 3}}), "");
}

TEST(SoftmaxCrossEntropyLoss, RefusesWhatDoesNotFit) {
  const auto message = [](const Shape& x, const Type& labels) {
    return refusal({{DType::kF16, x}, labels}, "SoftmaxCrossEntropyLoss", {});
  };
  EXPECT_NE(message({2, 3, 4}, {DType::kI32, {2}}).find("[batch, classes], got 2x3x4"), std::string::npos);
  EXPECT_NE(message({2, 3}, {DType::kI32, {3}}).find("one class label a sample, got int32 labels of shape 3"),
            std::string::npos);
  EXPECT_NE(message({2, 3}, {DType::kF32, {2}}).find("got fp32 labels"), std::string::npos);
}

class Pointwise : public testing::TestWithParam<const char*> {};

double definition(const std::string& kind, double x, double t) {
  if (kind == "mse") return (x - t) * (x - t);
  if (kind == "bce_with_logits") x = 1 / (1 + std::exp(-x));
  return -(t * std::log(x) + (1 - t) * std::log(1 - x));
}

TEST_P(Pointwise, IsTheFormulaAndItsGradient) {
  const Case c = pointwise(GetParam(), {4, 4});
  std::vector<Numbers> x = random_inputs(c, DType::kBf16);
  if (GetParam() != std::string("mse"))
    for (size_t i = 0; i < x[1].size(); ++i) x[1][i] = i % 3 == 2 ? 0.25 : static_cast<double>(i % 2);
  double loss = 0;
  for (size_t i = 0; i < 16; ++i) loss += definition(GetParam(), x[0][i], x[1][i]);
  const std::vector<Numbers> y = forward(c, DType::kF64, x);
  ASSERT_EQ(y[0].size(), 1U);
  EXPECT_NEAR(y[0][0], loss, 1e-12);
  // The derivatives of the logarithms at 1/16 are large: halve their distance from the middle (exact in 16
  // bits).
  if (GetParam() == std::string("bce"))
    for (double& v : x[0]) v = std::nearbyint((0.5 + (v - 0.5) / 2) * 128) / 128;
  ASSERT_NO_FATAL_FAILURE(check_gradient(c, x, 1, 16, 1));
}

TEST_P(Pointwise, ChunksMeetWithoutGapOrOverlap) {
  const Case c = pointwise(GetParam(), {2, 16384 + 9});
  std::vector<Numbers> x = random_inputs(c, DType::kF32);
  for (double& t : x[1]) t = std::fabs(t) / 2;
  const std::vector<Numbers> y = forward(c, DType::kF32, x, 3);
  ASSERT_EQ(y[0].size(), 3U);  // chunks of 16384 elements
  double loss = 0;
  for (size_t i = 0; i < x[0].size(); ++i) {
    loss += definition(GetParam(), x[0][i], x[1][i]);
    ASSERT_NE(y[1][i], 0) << "element " << i;
  }
  EXPECT_NEAR(sum(y[0]), loss, 0x1p-20 * loss);
}

TEST_P(Pointwise, RefusesTargetsThatDoNotFit) {
  const auto message = [](const Type& target) {
    return refusal({{DType::kF16, {2, 3}}, target}, "PointwiseLoss", {{"kind", std::string(GetParam())}});
  };
  EXPECT_NE(message({DType::kF32, {2, 1}}).find("an output of shape 2x3 with targets of shape 2x1"),
            std::string::npos);
  EXPECT_NE(message({DType::kF16, {2, 3}}).find("targets"), std::string::npos);
  EXPECT_EQ(message({DType::kF32, {2, 3}}), "");
}

INSTANTIATE_TEST_SUITE_P(All, Pointwise, testing::Values("mse", "bce", "bce_with_logits"),
                         [](const auto& test) { return std::string(test.param); });

TEST(BinaryCrossEntropy, LogarithmsAreClamped) {
  const Case c = pointwise("bce", {2});
  for (const DType dtype : {DType::kF64, DType::kF32, DType::kF16})
    EXPECT_EQ(forward(c, dtype, {{0, 1}, {1, 0}})[0], Numbers{200});
}

TEST(BinaryCrossEntropyWithLogits, LargeLogitsDoNotOverflow) {
  const Case c = pointwise("bce_with_logits", {4});
  for (const DType dtype : {DType::kF64, DType::kF32, DType::kF16}) {
    const std::vector<Numbers> y = forward(c, dtype, {{4096, 4096, -4096, -4096}, {1, 0, 1, 0}});
    EXPECT_EQ(y[0], Numbers{8192});
    EXPECT_EQ(y[1], (Numbers{0, 0.25, -0.25, 0}));
  }
}

// The plan writes dx over an output that nobody reads behind the loss: that of the Neg here.
TEST(Losses, GradientsAreTheSameOverTheOutputThatTheyBelongTo) {
  std::vector<std::pair<Case, std::vector<Numbers>>> cases;
  for (const double smoothing : {0.0, 0.25}) {
    const Case plain = cross_entropy(37, 301, smoothing);
    const std::vector<Numbers> x = labelled(plain, DType::kBf16);
    cases.emplace_back(plain, x);
    cases.emplace_back(weighted(37, 301, smoothing), std::vector<Numbers>{x[0], x[1], Numbers(37, 0.5)});
    Numbers target(x[0].size());
    make_distributions(target, 301);
    cases.emplace_back(soft_targets(37, 301, smoothing), std::vector<Numbers>{x[0], target});
  }
  for (const char* kind : {"mse", "bce", "bce_with_logits"}) {
    const Case c = pointwise(kind, {3, 16384});
    std::vector<Numbers> x = random_inputs(c, DType::kBf16);
    for (double& t : x[1]) t = std::fabs(t) / 2;
    cases.emplace_back(c, x);
  }
  for (auto& [c, x] : cases) {
    Case over = c;
    over.build = [build = c.build](Builder& b, const std::vector<ValueId>& in) {
      std::vector<ValueId> moved = in;
      moved[0] = b.add1("Neg", {in[0]});
      return build(b, moved);
    };
    std::vector<Numbers> negated = x;
    for (double& v : negated[0]) v = -v;
    for (const DType dtype : {DType::kF64, DType::kF32, DType::kF16, DType::kBf16})
      EXPECT_EQ(forward(over, dtype, negated, 3), forward(c, dtype, x, 3)) << name_of(dtype);
  }
}

}  // namespace
}  // namespace halftone::ops::test
