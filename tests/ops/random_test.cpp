#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "gradient_check.h"

namespace halftone::ops::test {
namespace {

constexpr int64_t kCount = 40005;  // chunks, and a short last one

OnnxNode of_shape(const std::string& op, Attributes attributes, const Shape& shape = {kCount}) {
  attributes.set("shape", shape);
  return {op, 17, std::move(attributes)};
}
Numbers drawn(const OnnxNode& node, DType dtype = DType::kF64, int threads = 1,
              StepState step = {.seed = 7}) {
  Case c = onnx_case(node, {});
  c.step = step;
  return forward(c, dtype, {}, threads)[0];
}
double mean_of(const Numbers& x, int power = 1) {
  double sum = 0;
  for (const double v : x) sum += std::pow(v, power);
  return sum / static_cast<double>(x.size());
}
// Bounds are five standard deviations of a mean over kCount numbers.
double five(double deviation) {
  return 5 * deviation / std::sqrt(static_cast<double>(kCount));
}

TEST(Random, UniformNumbersLieInTheirRange) {
  const Numbers y = drawn(of_shape("RandomUniform", {{"low", -2.0}, {"high", 4.0}}));
  EXPECT_GE(*std::min_element(y.begin(), y.end()), -2);
  EXPECT_LT(*std::max_element(y.begin(), y.end()), 4);
  EXPECT_NEAR(mean_of(y), 1, five(6 / std::sqrt(12.0)));
  EXPECT_NEAR(mean_of(y, 2) - 1, 3, five(4));
}

TEST(Random, NormalNumbersHaveTheirMoments) {
  const Numbers z = drawn(of_shape("RandomNormal", {}));
  EXPECT_NEAR(mean_of(z), 0, five(1));
  EXPECT_NEAR(mean_of(z, 2), 1, five(std::sqrt(2.0)));
  EXPECT_NEAR(mean_of(z, 3), 0, five(std::sqrt(15.0)));
  EXPECT_NEAR(mean_of(z, 4), 3, five(std::sqrt(96.0)));
  double neighbours = 0;  // two share a counter
  for (size_t i = 0; i + 1 < z.size(); i += 2) neighbours += z[i] * z[i + 1];
  EXPECT_NEAR(neighbours / (kCount / 2.0), 0, five(1) * std::sqrt(2.0));
  const Numbers y = drawn(of_shape("RandomNormal", {{"mean", 3.0}, {"scale", 0.5}}));
  for (size_t i = 0; i < y.size(); i += 1000) EXPECT_DOUBLE_EQ(y[i], 3 + 0.5 * z[i]);
}

TEST(Random, BitsAreAFunctionOfSeedStreamAndMicroStep) {
  const OnnxNode node = of_shape("RandomNormal", {}, {1000});
  const Numbers first = drawn(node);
  EXPECT_EQ(drawn(node, DType::kF64, 3), first);
  EXPECT_EQ(drawn(node, DType::kF64, 1, {.seed = 7, .step = 5}), first);  // counts updates: has no say
  EXPECT_NE(drawn(node, DType::kF64, 1, {.seed = 8}), first);
  EXPECT_NE(drawn(node, DType::kF64, 1, {.seed = 7, .micro_step = 1}), first);
  const Numbers narrow = drawn(node, DType::kBf16);
  for (size_t i = 0; i < first.size(); ++i) EXPECT_NEAR(narrow[i], first[i], std::fabs(first[i]) / 256);
  Case two;
  two.build = [&](Builder& b, const std::vector<ValueId>&) {
    return std::vector<ValueId>{import(b, node, {})[0], import(b, node, {})[0]};
  };
  const std::vector<Numbers> y = forward(two, DType::kF64, {});
  EXPECT_NE(y[0], y[1]);
}

TEST(Random, LikeATensorTheyHaveItsShape) {
  for (const char* op : {"RandomUniformLike", "RandomNormalLike"}) {
    EXPECT_EQ(imported_shapes({op, 17}, {{3, 5}}), (std::vector<Shape>{{3, 5}}));
    OnnxNode known{op, 17, {}, {{0, number(1)}}};  // a constant: drawn in each step all the same
    EXPECT_EQ(imported_ops(known, {}), (std::vector<std::string>{"Random"}));
  }
}

TEST(Random, InEvaluationTheyDrawToo) {
  OnnxNode node = of_shape("RandomNormal", {}, {4});
  node.mode = Mode::kEval;
  EXPECT_EQ(imported_ops(node, {}), (std::vector<std::string>{"Random"}));
  // The same for every batch and run.
  const Numbers y = drawn(node);
  EXPECT_EQ(drawn(node, DType::kF64, 1, {.seed = 8, .micro_step = 3}), y);
}

TEST(Random, BernoulliIsOneAsOftenAsItsProbability) {
  Case c = onnx_case({"Bernoulli", 15}, {{kCount}});
  for (const double p : {0.0, 0.25, 0.75, 1.0}) {
    const Numbers y = forward(c, DType::kF32, {Numbers(kCount, p)}, 3)[0];
    EXPECT_EQ(std::count(y.begin(), y.end(), 0) + std::count(y.begin(), y.end(), 1), kCount);
    EXPECT_NEAR(mean_of(y), p, five(std::sqrt(p * (1 - p))));
  }
}

TEST(Random, MultinomialChoosesByProbability) {
  const Case c = onnx_case({"Multinomial", 17, {{"sample_size", kCount}, {"dtype", int64_t{7}}}}, {{2, 4}});
  const double none = -std::numeric_limits<double>::infinity();
  const Numbers y = forward(c, DType::kF32, {{0, std::log(3), none, std::log(4), 700, 0, 0, 0}})[0];
  const double wanted[] = {0.125, 0.375, 0, 0.5};
  for (int k = 0; k < 4; ++k) {
    const auto count = static_cast<double>(std::count(y.begin(), y.begin() + kCount, k));
    EXPECT_NEAR(count / kCount, wanted[k], five(std::sqrt(wanted[k] * (1 - wanted[k])))) << k;
  }
  EXPECT_EQ(std::count(y.begin() + kCount, y.end(), 0), kCount);
}

TEST(Random, Refusals) {
  EXPECT_NE(refusal(of_shape("RandomNormal", {{"scale", -1.0}}), {}), "");
  EXPECT_NE(refusal(of_shape("RandomUniform", {{"low", 2.0}, {"high", 1.0}}), {}), "");
  EXPECT_NE(refusal(of_shape("RandomUniform", {}, {3, 0}), {}), "");
  EXPECT_NE(refusal(of_shape("RandomUniform", {{"dtype", int64_t{7}}}), {}), "");
  EXPECT_NE(refusal({"RandomUniform", 17}, {}), "");
  EXPECT_NE(refusal({"Multinomial", 17, {{"dtype", int64_t{1}}}}, {{2, 3}}), "");
  EXPECT_NE(refusal({"Multinomial", 17}, {{2, 3, 4}}), "");
  EXPECT_NE(refusal({"Bernoulli", 17, {{"p", 1.0}}}, {{2}}), "");
}

}  // namespace
}  // namespace halftone::ops::test
