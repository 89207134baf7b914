#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "gradient_check.h"

namespace halftone::ops::test {
namespace {

Case make(const Shape& x, double ratio, int64_t stream = 5) {
  Case c;
  c.inputs = {x};
  c.build = [=](Builder& b, const std::vector<ValueId>& in) {
    return std::vector<ValueId>{b.add1("Dropout", {in[0]}, {{"ratio", ratio}, {"stream", stream}})};
  };
  c.kinks = {0};
  return c;
}

// Which elements are kept, from y of ones.
Numbers kept(Case c, DType dtype = DType::kF32, int threads = 1) {
  return forward(c, dtype, {Numbers(static_cast<size_t>(elements(c.inputs[0])), 1.0)}, threads)[0];
}

OnnxNode onnx(int opset, double ratio) {
  if (opset < 12) return {"Dropout", opset, {{"ratio", ratio}}};
  return {"Dropout", opset, {}, {{1, number(ratio)}}};
}

TEST(Dropout, ForwardAndGradientHaveTheSameBits) {
  Case c = make({4, 9, 3}, 0.25);
  c.expected = [c](const std::vector<Numbers>& x) {
    const Numbers mask = kept(c);
    Numbers y;
    for (size_t i = 0; i < mask.size(); ++i) y.push_back(mask[i] != 0 ? x[0][i] / 0.75 : 0);
    return std::vector<Numbers>{y};
  };
  check(c);  // also: the same elements in every type and on every instruction set
}

TEST(Dropout, ARepeatedInputGetsBothGradients) {
  Case c = make({40}, 0.5);
  c.build = [](Builder& b, const std::vector<ValueId>& x) {
    return std::vector<ValueId>{b.add1("Dropout", {x[0]}, {{"ratio", 0.5}, {"stream", int64_t{1}}}),
                                b.add1("Dropout", {x[0]}, {{"ratio", 0.5}, {"stream", int64_t{2}}})};
  };
  c.roundings = 1;  // doubling is exact
  check(c);
}

TEST(Dropout, KeepsTheShareAndTheMean) {
  constexpr int64_t kCount = 40005;  // chunks, and a short last one
  for (const double ratio : {0.125, 0.5, 0.75}) {
    const Numbers y = kept(make({kCount}, ratio), DType::kF32, 3);
    const auto dropped = static_cast<double>(std::count(y.begin(), y.end(), 0));
    // Five standard deviations of a binomial distribution.
    EXPECT_NEAR(dropped, kCount * ratio, 5 * std::sqrt(kCount * ratio * (1 - ratio)));
    for (const double v : y)
      if (v != 0) {
        ASSERT_NEAR(v, 1 / (1 - ratio), 0x1p-22);
      }
  }
}

TEST(Dropout, BitsAreAFunctionOfSeedStreamAndMicroStep) {
  Case c = make({1000}, 0.5, 1);
  const Numbers first = kept(c);
  EXPECT_EQ(kept(c), first);
  EXPECT_EQ(kept(c, DType::kBf16), first);
  const auto differs = [&](const Case& other) {
    const Numbers y = kept(other);
    int different = 0;
    for (size_t i = 0; i < y.size(); ++i) different += y[i] != first[i] ? 1 : 0;
    EXPECT_NEAR(different, 500, 80);  // five standard deviations
  };
  differs(make({1000}, 0.5, 2));
  Case seed = c;
  seed.step.seed = 8;
  differs(seed);
  Case later = c;
  later.step.micro_step = 1;
  differs(later);
  Case step = c;
  step.step.step = 1;  // counts updates: has no say
  EXPECT_EQ(kept(step), first);
}

TEST(Dropout, ImportReadsTheRatioFromWhereTheOpsetHasIt) {
  for (const int opset : {7, 10, 12, 13, 22}) {
    SCOPED_TRACE(opset);
    const Case c = onnx_case(onnx(opset, 0.75), {{20000}});
    const Numbers y = kept(c);
    EXPECT_NEAR(static_cast<double>(std::count(y.begin(), y.end(), 0)), 15000, 5 * std::sqrt(20000 * 0.1875));
  }
  for (const int opset : {7, 12}) {  // a half by default
    const Numbers y = kept(onnx_case({"Dropout", opset}, {{20000}}));
    EXPECT_NEAR(static_cast<double>(std::count(y.begin(), y.end(), 0)), 10000, 5 * std::sqrt(5000));
  }
  // Exporters write training_mode false.
  OnnxNode node = onnx(13, 0.5);
  node.known[2] = ints({0}, {}, DType::kU8);
  EXPECT_EQ(imported_ops(node, {{4}}), (std::vector<std::string>{"Dropout"}));
}

TEST(Dropout, InEvaluationNothingIsDropped) {
  for (const int opset : {7, 12}) {
    OnnxNode node = onnx(opset, 0.5);
    node.mode = Mode::kEval;
    EXPECT_TRUE(imported_ops(node, {{4}}).empty());
    EXPECT_TRUE(imported_ops(onnx(opset, 0), {{4}}).empty());
  }
}

TEST(Dropout, EachNodeHasItsOwnStream) {
  Case c;
  c.inputs = {{1000}};
  c.build = [](Builder& b, const std::vector<ValueId>& x) {
    return std::vector<ValueId>{import(b, onnx(13, 0.5), x)[0], import(b, onnx(13, 0.5), x)[0]};
  };
  const std::vector<Numbers> y = forward(c, DType::kF32, {Numbers(1000, 1.0)});
  EXPECT_NE(y[0], y[1]);
}

TEST(Dropout, RefusesWhatItDoesNotUnderstand) {
  for (const int opset : {7, 12})
    for (const double ratio : {1.0, -0.5, std::nan("")}) {
      const std::string message = refusal(onnx(opset, ratio), {{4}});
      EXPECT_NE(message.find("expected 0 <= ratio < 1"), std::string::npos) << message;
    }
  EXPECT_NE(refusal({"Dropout", 12}, {{4}, {}}).find("ratio must be one constant number"), std::string::npos);
  EXPECT_NE(refusal({"Dropout", 12, {}, {{1, floats({0.5, 0.5}, {2})}}}, {{4}}).find("ratio must be one"),
            std::string::npos);
  EXPECT_NE(refusal({"Dropout", 12, {{"ratio", 0.5}}}, {{4}}).find("'ratio'"), std::string::npos);
  EXPECT_NE(
      refusal({{DType::kI64, {4}}}, "Dropout", {{"ratio", 0.5}, {"stream", int64_t{0}}}).find("got int64"),
      std::string::npos);
}

TEST(Dropout, DoesNotDeliverTheMask) {
  OnnxNode node = onnx(12, 0.5);
  node.outputs = 2;
  ir::Graph graph;
  Builder b(graph, DType::kF32);
  ir::Value x;
  x.kind = ir::ValueKind::kInput;
  x.type = {DType::kF32, {4}};
  const std::vector<ValueId> y = import(b, node, {graph.add_value(x)});
  ASSERT_EQ(y.size(), 2U);
  EXPECT_NE(y[0], kNone);
  EXPECT_EQ(y[1], kNone);
}

}  // namespace
}  // namespace halftone::ops::test
