// NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss as nodes, against their definitions.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>

#include "gradient_check.h"

namespace halftone::ops::test {
namespace {

constexpr size_t kClasses = 3;

// x[2, 3, 2], t[2, 2]; w empty: 1 each. Ignored: t == ignore.
Numbers losses(const Numbers& x, const Numbers& t, const Numbers& w, bool logits, int64_t ignore,
               const std::string& how) {
  Numbers each;
  double sum = 0;
  double weight = 0;
  for (size_t n = 0; n < 2; ++n)
    for (size_t d = 0; d < 2; ++d) {
      const auto label = static_cast<int64_t>(t[n * 2 + d]);
      double total = 0;
      for (size_t c = 0; c < kClasses; ++c) total += std::exp(x[(n * kClasses + c) * 2 + d]);
      if (label == ignore) {
        each.push_back(0);
        continue;
      }
      const double at = x[(n * kClasses + static_cast<size_t>(label)) * 2 + d];
      const double factor = w.empty() ? 1 : w[static_cast<size_t>(label)];
      each.push_back(-factor * (logits ? at - std::log(total) : at));
      sum += each.back();
      weight += factor;
    }
  if (how == "none") return each;
  return {how == "sum" ? sum : sum / weight};
}

Case make(const std::string& op, const std::string& how, bool weighted, int64_t ignore) {
  OnnxNode node{op, 13, {{"reduction", how}}};
  if (ignore >= -100) node.attributes.set("ignore_index", ignore);
  std::vector<Shape> inputs{{2, kClasses, 2}, {2, 2}};
  if (weighted) inputs.push_back({kClasses});
  Case c = onnx_case(node, inputs);
  c.whole = {{1, DType::kI64}};
  c.fixed = {1};
  // A weight's gradient of the mean is a class's loss less the mean, which is nothing where one class counts
  // alone: in 16 bits what is left is the losses' rounding, and the sum's gradient has none of it.
  if (weighted && how == "mean") c.fixed.push_back(2);
  c.low = 0;
  c.high = 2.9;  // classes 0, 1 and 2
  c.expected = [=](const std::vector<Numbers>& v) {
    return std::vector<Numbers>{
        losses(v[0], v[1], weighted ? v[2] : Numbers{}, op == "SoftmaxCrossEntropyLoss", ignore, how)};
  };
  c.y_roundings = 6;
  c.roundings = 40;  // of the softmax's gradient differences are left
  c.nonzero = 0.2;
  return c;
}

TEST(ClassLoss, ForwardAndGradient) {
  for (const char* op : {"NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"})
    for (const char* how : {"none", "sum", "mean"})
      for (const bool weighted : {false, true})
        for (const int64_t ignore : {-1000, 1}) {
          SCOPED_TRACE(fmt::format("{} {} {} {}", op, how, weighted, ignore));
          check(make(op, how, weighted, ignore));
        }
}

TEST(ClassLoss, TheLogarithmsAreAnOutput) {
  OnnxNode node{"SoftmaxCrossEntropyLoss", 13};
  node.outputs = 2;
  Case c = onnx_case(node, {{1, 2}, {1}});
  c.whole = {{1, DType::kI32}};
  const std::vector<Numbers> y = forward(c, DType::kF64, {{1, 3}, {0}});
  EXPECT_NEAR(y[0][0], 2 + std::log1p(std::exp(-2)), 1e-14);
  EXPECT_NEAR(y[1][1], -std::log1p(std::exp(-2)), 1e-14);
}

// An index below 0 would count from the end elsewhere; here it is no class.
TEST(ClassLoss, ClassesThatAreNoneStopTheRun) {
  Case c = make("NegativeLogLikelihoodLoss", "mean", false, -100);
  const Numbers x(12, 1.0);
  EXPECT_EQ(fault(c, {x, {0, 1, 2, -100}}), "");
  for (const double label : {3.0, -1.0}) {
    const std::string text = fault(c, {x, {0, 1, 2, label}});
    EXPECT_NE(text.find("index 3 is outside"), std::string::npos) << text;
    EXPECT_NE(text.find("the classes of [0, 3)"), std::string::npos) << text;
  }
}

TEST(ClassLoss, RefusesWhatDoesNotFit) {
  const auto says = [](const std::string& part, const OnnxNode& n, const std::vector<Shape>& inputs) {
    const std::string message = refusal(n, inputs);
    EXPECT_NE(message.find(part), std::string::npos) << "'" << message << "' does not say '" << part << "'";
  };
  const OnnxNode known{"SoftmaxCrossEntropyLoss", 13, {}, {{1, ints({0, 1})}}};
  says("the classes are 2, expected 2x4 for an input 2x3x4", known, {{2, 3, 4}});
  says("the weights are 2, expected one for each of 3 classes", known, {{2, 3}, {2}});
  says("must be int32 or int64, got fp32", {"NegativeLogLikelihoodLoss", 13}, {{2, 3}, {2}});
  OnnxNode reduction = known;
  reduction.attributes.set("reduction", std::string("median"));
  says("reduction is 'median'", reduction, {{2, 3}});
  OnnxNode negative = known;
  negative.known[1] = ints({0, -1});
  says("classes are to be 0 or more, got -1", negative, {{2, 3}});
  negative.known[1] = ints({0, 1, 2, -1}, {2, 2});
  says("classes are to be 0 or more, got -1", negative, {{2, 3, 2}});
  OnnxNode two{"NegativeLogLikelihoodLoss", 13, {}, {{1, ints({0, 1})}}};
  two.outputs = 2;
  says("it has 2 outputs", two, {{2, 3}});
}

}  // namespace
}  // namespace halftone::ops::test
