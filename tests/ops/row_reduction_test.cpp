#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "gradient_check.h"

namespace halftone::ops::test {
namespace {

using Ints = std::vector<int64_t>;

double of_row(const std::string& op, const Numbers& x) {
  if (op == "ReduceMax") return *std::max_element(x.begin(), x.end());
  if (op == "ReduceMin") return *std::min_element(x.begin(), x.end());
  double sum = 0;
  double product = 1;
  for (const double v : x) {
    product *= v;
    sum += op == "ReduceL1"          ? std::fabs(v)
           : op == "ReduceLogSum"    ? v
           : op == "ReduceLogSumExp" ? std::exp(v)
                                     : v * v;
  }
  if (op == "ReduceProd") return product;
  if (op == "ReduceL2") return std::sqrt(sum);
  return op == "ReduceLogSum" || op == "ReduceLogSumExp" ? std::log(sum) : sum;
}

// By the definition; axes in [0, rank).
Numbers reduced(const std::string& op, const Numbers& x, const Shape& shape, const Ints& axes) {
  Shape kept = shape;
  for (const int64_t axis : axes) kept[static_cast<size_t>(axis)] = 1;
  std::vector<Numbers> rows(static_cast<size_t>(elements(kept)));
  const Shape strides = strides_of(kept);
  for (size_t i = 0; i < x.size(); ++i) {
    auto rest = static_cast<int64_t>(i);
    int64_t at = 0;
    for (size_t d = shape.size(); d-- > 0;) {
      if (kept[d] != 1) at += rest % shape[d] * strides[d];
      rest /= shape[d];
    }
    rows[static_cast<size_t>(at)].push_back(x[i]);
  }
  Numbers y;
  for (const Numbers& row : rows) y.push_back(of_row(op, row));
  return y;
}

Case make(const std::string& op, const Shape& shape, const Ints& axes, int64_t keep = 1, int opset = 18) {
  OnnxNode node{op, opset, {{"keepdims", keep}}};
  if (opset >= 18) {
    node.known[1] = ints(axes);
  } else {
    node.attributes.set("axes", axes);
  }
  Case c = onnx_case(node, {shape});
  c.expected = [=](const std::vector<Numbers>& x) {
    return std::vector<Numbers>{reduced(op, x[0], shape, axes)};
  };
  // Away from 0 where a sign, a quotient or a logarithm is taken of it.
  c.low = op == "ReduceLogSum" || op == "ReduceProd" ? 0.5 : -2;
  c.kinks = {0};
  c.distinct = op == "ReduceMax" || op == "ReduceMin";
  c.nonzero = c.distinct ? 0.02 : 0.5;
  c.roundings = 12;  // y's, weighed by its size in exp(x - y), and those of up to five nodes
  return c;
}

class RowReduction : public testing::TestWithParam<const char*> {};

TEST_P(RowReduction, ForwardAndGradient) {
  const std::vector<std::pair<Shape, Ints>> cases = {
      {{3, 5}, {1}},          {{3, 5}, {0}}, {{3, 5}, {0, 1}}, {{2, 3, 2, 4}, {1, 2}},
      {{2, 3, 2, 4}, {0, 2}}, {{7}, {0}},    {{4, 1}, {1}},
  };
  for (const auto& [shape, axes] : cases) {
    SCOPED_TRACE(to_string(shape));
    ASSERT_NO_FATAL_FAILURE(check(make(GetParam(), shape, axes)));
  }
}

TEST_P(RowReduction, LongRowsAreCutIntoPieces) {
  const std::string op = GetParam();
  const Shape shape{2, 40000};
  Case c = make(op, shape, {1});
  std::vector<Numbers> x(1);
  for (int64_t i = 0; i < elements(shape); ++i)
    x[0].push_back(op == "ReduceProd" ? 1 + static_cast<double>(i % 3 - 1) * 0x1p-17
                                      : static_cast<double>(i * 7919 % 1013) / 64);
  const Numbers want = reduced(op, x[0], shape, {1});
  const Numbers got = forward(c, DType::kF32, x, 2)[0];
  for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i], want[i], 2e-4 * std::fabs(want[i]));
  EXPECT_EQ(forward(c, DType::kF32, x, 1)[0], got) << "threads";
}

TEST_P(RowReduction, AxesComeAsTheOpsetSays) {
  const std::string op = GetParam();
  const Shape shape{2, 3, 4};
  const std::vector<Numbers> x = random_inputs(make(op, shape, {1}), DType::kF64);
  for (const Ints& axes : {Ints{1}, Ints{-1, 0}, Ints{0, 1, 2}}) {
    Ints plain;
    for (const int64_t a : axes) plain.push_back(a < 0 ? a + 3 : a);
    const Numbers want = reduced(op, x[0], shape, plain);
    for (const int opset : {7, 11, 13, 17, 18, 20, 23, 24}) {
      OnnxNode node{op, opset};
      if (opset >= 18) {
        node.known[1] = ints(axes);
      } else {
        node.attributes.set("axes", axes);
      }
      const Numbers got = forward(onnx_case(node, {shape}), DType::kF64, x)[0];
      ASSERT_EQ(got.size(), want.size());
      for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-12 * (1 + std::fabs(want[i])));
    }
  }
}

TEST_P(RowReduction, NoAxesMeanAllOrNone) {
  const std::string op = GetParam();
  const Shape shape{2, 3};
  EXPECT_EQ(imported_shapes({op, 18}, {shape}), (std::vector<Shape>{{1, 1}}));
  EXPECT_EQ(imported_shapes({op, 18, {{"keepdims", int64_t{0}}}}, {shape}), (std::vector<Shape>{{}}));
  OnnxNode none{op, 18, {{"noop_with_empty_axes", int64_t{1}}}};
  none.known[1] = ints({});
  EXPECT_EQ(imported_shapes(none, {shape}), (std::vector<Shape>{shape}));
  // What is no reduction is done all the same.
  const std::vector<Numbers> x = random_inputs(make(op, shape, {1}), DType::kF64);
  const Numbers y = forward(onnx_case(none, {shape}), DType::kF64, x)[0];
  for (size_t i = 0; i < y.size(); ++i) EXPECT_NEAR(y[i], of_row(op, {x[0][i]}), 1e-12);
}

INSTANTIATE_TEST_SUITE_P(All, RowReduction,
                         testing::Values("ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2",
                                         "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp"));

TEST(RowReductionGradient, TiesShareIt) {
  for (const char* op : {"ReduceMax", "ReduceMin"}) {
    Case c = make(op, {2, 4}, {1});
    const double sign = std::string(op) == "ReduceMax" ? 1 : -1;
    for (const DType dtype : {DType::kF64, DType::kF32, DType::kF16}) {
      const Result r = run(c, dtype, {{sign, 3 * sign, 3 * sign, 0, 0, 0, 0, 0}}, {{2, 4}});
      EXPECT_EQ(r.dx[0], (Numbers{0, 1, 1, 0, 1, 1, 1, 1})) << op;
    }
  }
}

TEST(RowReductionGradient, ProductsWithZeros) {
  const Case c = make("ReduceProd", {3, 3}, {1});
  const Result r = run(c, DType::kF64, {{2, 0, 5, 0, 0, 3, 2, 3, 4}}, {{1, 1, 2}});
  EXPECT_EQ(r.dx[0], (Numbers{0, 10, 0, 0, 0, 0, 24, 16, 12}));
}

TEST(RowReductionGradient, TheNormOfZerosHasNone) {
  const Result r = run(make("ReduceL2", {2, 2}, {1}), DType::kF16, {{0, 0, 3, 4}}, {{1, 1}});
  EXPECT_EQ(r.y[0], (Numbers{0, 5}));
  EXPECT_EQ((Numbers{r.dx[0][0], r.dx[0][1]}), (Numbers{0, 0}));
}

// 300^2 is out of fp16's range: squares and their sums are in fp32.
TEST(RowReductionNumbers, SquaresDoNotOverflow) {
  EXPECT_EQ(forward(make("ReduceL2", {1, 2}, {1}), DType::kF16, {{3000, 4000}})[0], (Numbers{5000}));
  EXPECT_EQ(forward(make("ReduceLogSumExp", {1, 2}, {1}), DType::kF16, {{1000, -1000}})[0], (Numbers{1000}));
}

TEST(RowReductionErrors, AreNamed) {
  OnnxNode node{"ReduceMax", 18};
  node.known[1] = ints({2});
  EXPECT_NE(refusal(node, {{2, 3}}), "");
  node.known[1] = ints({1, -1});
  EXPECT_NE(refusal(node, {{2, 3}}).find("twice"), std::string::npos);
  EXPECT_NE(refusal({{DType::kI64, {3}}}, "ReduceMax", {}).find("int64"), std::string::npos);
  EXPECT_NE(refusal({{DType::kF32, {3, 0}}}, "ReduceMin", {}).find("no elements"), std::string::npos);
  EXPECT_NE(refusal(OnnxNode{"ReduceL2", 18, {{"axes", Ints{1}}}}, {{2, 3}}).find("'axes' is not understood"),
            std::string::npos);
}

// Whatever ONNX calls a flag: ONNX Runtime takes keepdims = 2 for no, upper = 2 for yes.
TEST(Attributes, FlagsAreYesOrNo) {
  for (const int64_t flag : {int64_t{0}, int64_t{1}, int64_t{2}, int64_t{-1}}) {
    const bool fine = flag == 0 || flag == 1;
    for (const auto& [op, name] :
         {std::pair{"ReduceMax", "keepdims"}, std::pair{"ArgMax", "select_last_index"},
          std::pair{"Trilu", "upper"}, std::pair{"ReduceL2", "noop_with_empty_axes"}}) {
      const std::string message = refusal(OnnxNode{op, 18, {{name, flag}}}, {{2, 3}});
      EXPECT_EQ(message.empty(), fine) << op << " " << flag << ": " << message;
      const std::string expected =
          fine ? "" : fmt::format("the attribute '{}' is {}, expected 0 or 1", name, flag);
      EXPECT_NE(message.find(expected), std::string::npos) << message;
    }
  }
}

}  // namespace
}  // namespace halftone::ops::test
