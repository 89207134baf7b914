#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "gradient_check.h"

namespace halftone::ops::test {
namespace {

using Ints = std::vector<int64_t>;

// By the definition; axes in [0, rank).
Numbers reduced(const Numbers& x, const Shape& shape, const Ints& axes, bool mean) {
  Shape kept = shape;
  for (const int64_t axis : axes) kept[static_cast<size_t>(axis)] = 1;
  Numbers y(static_cast<size_t>(elements(kept)), 0.0);
  const Shape strides = strides_of(kept);
  for (size_t i = 0; i < x.size(); ++i) {
    auto rest = static_cast<int64_t>(i);
    int64_t at = 0;
    for (size_t d = shape.size(); d-- > 0;) {
      if (kept[d] != 1) at += rest % shape[d] * strides[d];
      rest /= shape[d];
    }
    y[static_cast<size_t>(at)] += x[i];
  }
  const double count = static_cast<double>(x.size()) / static_cast<double>(y.size());
  if (mean)
    for (double& v : y) v /= count;
  return y;
}

Case expecting(Case c, const Ints& axes, bool mean) {
  c.expected = [shape = c.inputs[0], axes, mean](const std::vector<Numbers>& x) {
    return std::vector<Numbers>{reduced(x[0], shape, axes, mean)};
  };
  c.nonzero = 1;
  return c;
}

Case make(const std::string& op, const Shape& shape, const Ints& axes, bool keep) {
  Case c;
  c.inputs = {shape};
  c.build = [=](Builder& b, const std::vector<ValueId>& x) {
    return std::vector<ValueId>{b.add1(op, {x[0]}, {{"axes", axes}, {"keepdims", int64_t{keep}}})};
  };
  return expecting(c, axes, op == "ReduceMean");
}

class Reduce : public testing::TestWithParam<const char*> {};

TEST_P(Reduce, ForwardAndGradient) {
  const std::vector<std::pair<Shape, Ints>> cases = {
      {{3, 5}, {1}},           // rows
      {{3, 5}, {0}},           // columns
      {{3, 5}, {0, 1}},        // all
      {{2, 3, 2, 4}, {1, 2}},  // neighbours in the middle
      {{2, 3, 2, 4}, {0, 2}},  // two passes
      {{2, 3, 2, 4}, {3, 1}},  // named in another order
      {{2, 1, 3}, {1}},        // nothing to add up
      {{7}, {0}},
      {{1, 37}, {1}},  // two vectors and a rest
  };
  for (const auto& [shape, axes] : cases)
    for (const bool keep : {false, true}) {
      SCOPED_TRACE(to_string(shape) + testing::PrintToString(axes));
      ASSERT_NO_FATAL_FAILURE(check(make(GetParam(), shape, axes, keep)));
    }
}

TEST_P(Reduce, ARepeatedInputGetsBothGradients) {
  Case c = make(GetParam(), {2, 3}, {1}, true);
  c.expected = nullptr;
  c.build = [build = c.build](Builder& b, const std::vector<ValueId>& x) {
    return std::vector<ValueId>{b.add1("Mul", {build(b, x)[0], x[0]})};
  };
  // y = x sum x: the mean's rounding, its product's, both gradients' and their sum's
  c.roundings = 8;
  c.y_roundings = 2;
  c.kinks = {0};
  c.seed = 3;
  check(c);
}

// Every way to cut the work; whole numbers whose sums are exact in fp32.
TEST_P(Reduce, LargeShapesEqualTheDefinition) {
  const std::vector<std::pair<Shape, Ints>> cases = {
      {{100000}, {0}},    // one long row, in parts
      {{3, 70001}, {1}},  // several
      {{5003, 7}, {1}},   // many short ones
      {{70001, 3}, {0}},  // long columns, in parts
      {{9000, 4}, {0}},
      {{3, 5000, 6}, {1}},
      {{3, 9000}, {0}},  // more columns than a block has
      {{64, 9, 9, 16}, {0, 1, 2}},
      {{8, 16, 30, 30}, {0, 2, 3}},
  };
  const bool mean = GetParam() == std::string("ReduceMean");
  for (const auto& [shape, axes] : cases) {
    SCOPED_TRACE(to_string(shape) + testing::PrintToString(axes));
    const Case c = make(GetParam(), shape, axes, false);
    Numbers x;
    for (int64_t i = 0; i < elements(shape); ++i) x.push_back(static_cast<double>(i * 7919 % 17 + 1));
    const Numbers y = forward(c, DType::kF32, {x}, 3)[0];
    const Numbers expected = c.expected({x})[0];
    ASSERT_EQ(y.size(), expected.size());
    for (size_t i = 0; i < y.size(); ++i) {
      ASSERT_NE(expected[i], 0) << "element " << i;
      // The mean: the factor 1 / count and its product, each rounded.
      ASSERT_NEAR(y[i], expected[i], mean ? 0x1p-22 * std::fabs(expected[i]) : 0) << "element " << i;
    }
  }
}

TEST_P(Reduce, RefusesAxesThatAreNotThere) {
  const auto message = [](const Type& x, const Ints& axes) {
    return refusal({x}, GetParam(), {{"axes", axes}, {"keepdims", int64_t{0}}});
  };
  EXPECT_NE(message({DType::kF32, {2, 3}}, {2}).find("axis 2"), std::string::npos);
  EXPECT_NE(message({DType::kF32, {2, 3}}, {-3}).find("axis -3"), std::string::npos);
  EXPECT_NE(message({DType::kF32, {2, 3}}, {1, -1}).find("named twice"), std::string::npos);
  EXPECT_NE(message({DType::kI64, {2, 3}}, {1}).find("got int64"), std::string::npos);
}

TEST_P(Reduce, ImportReadsAxesFromWhereTheOpsetHasThem) {
  const std::string op = GetParam();
  const bool mean = op == "ReduceMean";
  const int changed = mean ? 18 : 13;
  const Shape x{2, 3, 4};
  const auto attribute = [&](int opset, Attributes attributes) {
    return OnnxNode{op, opset, std::move(attributes)};
  };
  const auto input = [&](int opset, const Ints& axes, Attributes attributes = {}) {
    return OnnxNode{op, opset, std::move(attributes), {{1, ints(axes)}}};
  };
  for (const int opset : {9, 11, changed - 1}) {
    check(expecting(onnx_case(attribute(opset, {{"axes", Ints{-1, 0}}}), {x}), {0, 2}, mean));
    EXPECT_EQ(imported_shapes(attribute(opset, {{"axes", Ints{1}}, {"keepdims", int64_t{0}}}), {x}),
              (std::vector<Shape>{{2, 4}}));
  }
  for (const int opset : {changed, 23}) {
    check(expecting(onnx_case(input(opset, {-1, 0}), {x}), {0, 2}, mean));
    EXPECT_EQ(imported_shapes(input(opset, {1}, {{"keepdims", int64_t{0}}}), {x}),
              (std::vector<Shape>{{2, 4}}));
    // No axes: all, or none.
    EXPECT_EQ(imported_shapes({op, opset}, {x}), (std::vector<Shape>{{1, 1, 1}}));
    EXPECT_EQ(imported_shapes(input(opset, {}, {{"noop_with_empty_axes", int64_t{1}}}), {x}),
              (std::vector<Shape>{x}));
    EXPECT_NE(refusal(attribute(opset, {{"axes", Ints{1}}}), {x}).find("'axes'"), std::string::npos);
    EXPECT_NE(refusal({op, opset}, {x, {1}}).find("input 1 must be a constant"), std::string::npos);
  }
  check(expecting(onnx_case(attribute(9, {}), {x}), {0, 1, 2}, mean));
  EXPECT_NE(refusal(attribute(9, {{"axes", Ints{3}}}), {x}).find("axis 3"), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Both, Reduce, testing::Values("ReduceSum", "ReduceMean"),
                         [](const auto& test) { return std::string(test.param); });

TEST(ReduceMean, RefusesAMeanOfNothing) {
  EXPECT_NE(refusal({{DType::kF32, {2, 0}}}, "ReduceMean", {{"axes", Ints{1}}, {"keepdims", int64_t{0}}})
                .find("no elements of 2x0"),
            std::string::npos);
}

TEST(ReduceSum, OfNothingIsZero) {
  Case c = make("ReduceSum", {2, 0}, {1}, false);
  EXPECT_EQ(forward(c, DType::kF32, {{}})[0], (Numbers{0, 0}));
}

// 16 bits overflow, and round, only where y is stored.
TEST(ReduceSum, PartialSumsAreWide) {
  const Case c = make("ReduceSum", {2, 3}, {1}, false);
  EXPECT_EQ(forward(c, DType::kF16, {{65504, 65504, -65504, 2048, 1, 1}})[0], (Numbers{65504, 2050}));
}

TEST(GlobalAveragePool, IsTheMeanOverAllButTheFirstTwoAxes) {
  for (const Shape& x : {Shape{2, 3, 4}, Shape{2, 3, 4, 5}, Shape{1, 2, 2, 3, 2}}) {
    Ints axes;
    for (size_t i = 2; i < x.size(); ++i) axes.push_back(static_cast<int64_t>(i));
    const OnnxNode node{"GlobalAveragePool", 17};
    ASSERT_NO_FATAL_FAILURE(check(expecting(onnx_case(node, {x}), axes, true)));
    Shape y = x;
    for (const int64_t axis : axes) y[static_cast<size_t>(axis)] = 1;
    EXPECT_EQ(imported_shapes(node, {x}), std::vector<Shape>{y});
  }
  EXPECT_NE(refusal({"GlobalAveragePool", 17}, {{2, 3}}).find("[N, C, ...] was expected, got 2x3"),
            std::string::npos);
  EXPECT_NE(refusal({"GlobalAveragePool", 17, {{"axis", int64_t{1}}}}, {{2, 3, 4}}).find("'axis'"),
            std::string::npos);
}

}  // namespace
}  // namespace halftone::ops::test
