#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "gradient_check.h"

namespace halftone::ops::test {
namespace {

struct Function {
  const char* name;
  std::function<double(double, double)> f;
  double low = -2;
  double high = 2;
  double roundings = 4;
};
void PrintTo(const Function& f, std::ostream* out) {
  *out << f.name;
}

std::vector<Function> functions() {
  return {
      {"Add", [](double a, double b) { return a + b; }},
      {"Sub", [](double a, double b) { return a - b; }},
      {"Mul", [](double a, double b) { return a * b; }},
      // dy / b, times the rounded y, summed
      {"Div", [](double a, double b) { return a / b; }, 0.5, 2, 5},
      // dy * y * log a: log a near 0 is exact enough only absolutely, and b - 1 is rounded in the exponent
      {"Pow", [](double a, double b) { return std::pow(a, b); }, 1.25, 2, 8},
      {"PRelu", [](double a, double b) { return a < 0 ? a * b : a; }},
      {"Min", [](double a, double b) { return std::min(a, b); }},
      {"Max", [](double a, double b) { return std::max(a, b); }},
  };
}

Case make(const Function& f, const Shape& a, const Shape& b) {
  Case c;
  c.inputs = {a, b};
  c.build = [name = f.name](Builder& builder, const std::vector<ValueId>& x) {
    return std::vector<ValueId>{builder.add1(name, {x[0], x[1]})};
  };
  c.expected = [=](const std::vector<Numbers>& x) {
    return std::vector<Numbers>{broadcast_map(x[0], a, x[1], b, f.f)};
  };
  c.low = f.low;
  c.high = f.high;
  c.kinks = {0};
  c.roundings = f.roundings;
  const bool extreme = std::string(f.name) == "Min" || std::string(f.name) == "Max";
  c.nonzero = extreme ? 0.05 : 0.25;  // a single number may be the larger one nowhere but once
  return c;
}

class Binary : public testing::TestWithParam<Function> {};

TEST_P(Binary, ForwardAndGradientOverBroadcasting) {
  const std::vector<std::pair<Shape, Shape>> shapes = {
      {{3, 4}, {3, 4}},              // equal
      {{2, 5}, {}},                  // a scalar
      {{2, 3, 4}, {4}},              // channels last
      {{2, 2, 3, 4}, {2, 1, 1, 4}},  // squeeze and excitation
      {{2, 3, 2, 2}, {3, 1, 1}},     // channels first
      {{2, 3, 4}, {2, 3, 1}},        // a column
  };
  for (const auto& [a, b] : shapes) {
    SCOPED_TRACE(to_string(a) + " and " + to_string(b));
    ASSERT_NO_FATAL_FAILURE(check(make(GetParam(), a, b)));
    // The larger one on the right; PRelu's slope never is.
    if (std::string(GetParam().name) != "PRelu") {
      ASSERT_NO_FATAL_FAILURE(check(make(GetParam(), b, a)));
    }
  }
  if (std::string(GetParam().name) != "PRelu") {
    ASSERT_NO_FATAL_FAILURE(check(make(GetParam(), {3, 1, 2}, {1, 4, 1})));  // both grow
  }
}

TEST_P(Binary, ARepeatedInputGetsBothGradients) {
  Case c = make(GetParam(), {7}, {7});
  c.inputs = {{7}};
  c.build = [name = GetParam().name](Builder& b, const std::vector<ValueId>& x) {
    return std::vector<ValueId>{b.add1(name, {x[0], x[0]})};
  };
  c.expected = [f = GetParam().f](const std::vector<Numbers>& x) {
    return std::vector<Numbers>{map(x[0], [&](double v) { return f(v, v); })};
  };
  const std::string name = GetParam().name;
  if (name == "Sub" || name == "Div") {  // x - x: the two gradients cancel, which double must show exactly
    c.nonzero = 0;
    const std::vector<Numbers> x = random_inputs(c, DType::kF64);
    const Result r = run(c, DType::kF64, x, {Numbers(7, 1.0)});
    for (const double v : r.dx[0]) EXPECT_NEAR(v, 0, 1e-15);
    return;
  }
  if (name == "PRelu") c.low = 0.5;  // the two halves of x * x
  check(c);
}

// Every way to cut the work: long rows, many rows, many small pieces; exact numbers, so that equality is
// asked for.
TEST_P(Binary, LargeShapesEqualTheDefinition) {
  if (std::string(GetParam().name) == "Pow" || std::string(GetParam().name) == "Div")
    GTEST_SKIP() << "not exact";
  const std::vector<std::pair<Shape, Shape>> shapes = {
      {{40000}, {40000}},
      {{40000}, {1}},
      {{3, 20000}, {20000}},
      {{3, 20000}, {3, 1}},
      {{2, 900, 24}, {24}},
      {{5, 700, 6}, {5, 1, 6}},
      {{9000, 1, 5}, {3, 1}},
      {{300, 1, 7, 2}, {300, 9, 1, 2}},
      {{4, 16, 17, 17}, {16, 1, 1}},
  };
  for (auto [a, b] : shapes) {
    if (std::string(GetParam().name) == "PRelu" && broadcast(a, b) != a) continue;
    SCOPED_TRACE(to_string(a) + " and " + to_string(b));
    Case c = make(GetParam(), a, b);
    std::vector<Numbers> x(2);
    for (size_t i = 0; i < 2; ++i)
      for (int64_t j = 0; j < elements(c.inputs[i]); ++j)
        x[i].push_back(static_cast<double>((j * 7919 + static_cast<int64_t>(i)) % 1013 - 500));
    ASSERT_EQ(forward(c, DType::kF32, x, 2), c.expected(x));
  }
}

std::string function_name(const testing::TestParamInfo<Function>& test) {
  return test.param.name;
}
INSTANTIATE_TEST_SUITE_P(All, Binary, testing::ValuesIn(functions()), function_name);

TEST(BinaryExtremes, EqualOperandsShareTheGradient) {
  for (const char* op : {"Min", "Max"}) {
    Case c;
    c.inputs = {{3}, {3}};
    c.build = [=](Builder& b, const std::vector<ValueId>& x) {
      return std::vector<ValueId>{b.add1(op, {x[0], x[1]})};
    };
    for (const DType dtype : {DType::kF64, DType::kF16}) {
      const Result r = run(c, dtype, {{1, 2, 0}, {1, 1, 3}}, {{4, 4, 4}});
      const bool max = std::string(op) == "Max";
      EXPECT_EQ(r.dx[0], (Numbers{2, max ? 4.0 : 0.0, max ? 0.0 : 4.0})) << op;
      EXPECT_EQ(r.dx[1], (Numbers{2, max ? 0.0 : 4.0, max ? 4.0 : 0.0})) << op;
    }
  }
}

TEST(BinaryFmod, ForwardAndGradient) {
  Case c;
  c.inputs = {{2, 3}, {3}};
  c.build = [](Builder& b, const std::vector<ValueId>& x) {
    return std::vector<ValueId>{b.add1("Fmod", {x[0], x[1]})};
  };
  // Away from the multiples of b.
  const std::vector<Numbers> x = {{5.5, -5.5, 0.75, 7.25, 1, -9.5}, {2, 2, 1.5}};
  const Result r = run(c, DType::kF64, x, {{1, 1, 1, 2, 2, 2}});
  EXPECT_EQ(r.y[0], (Numbers{1.5, -1.5, 0.75, 1.25, 1, -0.5}));
  EXPECT_EQ(r.dx[0], (Numbers{1, 1, 1, 2, 2, 2}));
  EXPECT_EQ(r.dx[1], (Numbers{-(2 + 2 * 3), 2, 2 * 6}));
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBf16})
    EXPECT_EQ(run(c, dtype, x, {{1, 1, 1, 2, 2, 2}}).y, r.y);
}

TEST(BinaryMod, HasTheSignOfTheDivisor) {
  const double inf = std::numeric_limits<double>::infinity();
  const Case c = onnx_case({"Mod", 13}, {{6}, {6}});
  const std::vector<Numbers> x = {{5.5, -5.5, 5.5, -5.5, -4, -1}, {2, 2, -2, -2, 2, inf}};
  for (const DType dtype : {DType::kF64, DType::kF32, DType::kF16, DType::kBf16})
    EXPECT_EQ(forward(c, dtype, x)[0], (Numbers{1.5, 0.5, -0.5, -1.5, 0, inf}));
  const Result r = run(onnx_case({"Mod", 13}, {{4}, {4}}), DType::kF64,
                       {{5.5, -5.5, 5.5, -5.5}, {2, 2, -2, -2}}, {{1, 1, 1, 1}});
  EXPECT_EQ(r.dx[0], (Numbers{1, 1, 1, 1}));
  EXPECT_EQ(r.dx[1], (Numbers{-2, 3, 3, -2}));  // -floor(a / b)
}

TEST(BinaryImport, MeanSumMinAndMaxTakeAnyNumberOfInputs) {
  const auto of = [](const std::string& op, size_t count) {
    OnnxNode node{op, 13};
    std::vector<Numbers> x;
    const std::vector<Numbers> all = {{1, 8, -3}, {5}, {4, -2, 0}};
    const std::vector<Shape> shapes = {{3}, {1}, {3}};
    for (size_t i = 0; i < count; ++i) x.push_back(all[i]);
    return forward(onnx_case(node, {shapes.begin(), shapes.begin() + static_cast<std::ptrdiff_t>(count)}),
                   DType::kF64, x)[0];
  };
  EXPECT_EQ(of("Sum", 3), (Numbers{10, 11, 2}));
  EXPECT_EQ(of("Max", 3), (Numbers{5, 8, 5}));
  EXPECT_EQ(of("Min", 3), (Numbers{1, -2, -3}));
  EXPECT_NEAR(of("Mean", 3)[0], 10.0 / 3, 1e-12);
  EXPECT_EQ(of("Mean", 2), (Numbers{3, 6.5, 1}));
}
// The sum of two of fp16's largest numbers is out of its range, their mean is not.
TEST(BinaryImport, AMeanStaysInRange) {
  EXPECT_EQ(forward(onnx_case({"Mean", 13}, {{1}, {1}}), DType::kF16, {{60000}, {60000}})[0][0], 60000);
}
TEST(BinaryImport, ExponentsMayBeIntegers) {
  OnnxNode node{"Pow", 15};
  node.known[1] = ints({2, 3, 0}, Shape{3}, DType::kI64);
  EXPECT_EQ(forward(onnx_case(node, {{3}}), DType::kF64, {{-3, -2, 0}})[0], (Numbers{9, -8, 1}));
  node.known[1] = ints({3}, Shape{}, DType::kI32);
  EXPECT_EQ(forward(onnx_case(node, {{2}}), DType::kF64, {{-2, 4}})[0], (Numbers{-8, 64}));
  // x ^ 0 is constant, also at 0.
  node.known[1] = number(0);
  const Result r = run(onnx_case(node, {{2}}), DType::kF64, {{0, 2}}, {{1, 1}});
  EXPECT_EQ(r.y[0], (Numbers{1, 1}));
  EXPECT_EQ(r.dx[0], (Numbers{0, 0}));
}

TEST(BinaryErrors, RefusesShapesThatDoNotBroadcast) {
  EXPECT_NE(refusal({{DType::kF32, {2, 3}}, {DType::kF32, {4}}}, "Add", {}).find("2x3 and 4"),
            std::string::npos);
}
TEST(BinaryErrors, RefusesMixedTypes) {
  EXPECT_NE(refusal({{DType::kF32, {2}}, {DType::kF16, {2}}}, "Mul", {}).find("fp32 and fp16"),
            std::string::npos);
  EXPECT_NE(refusal({{DType::kI64, {2}}, {DType::kI64, {2}}}, "Mul", {}).find("int64"), std::string::npos);
}

}  // namespace
}  // namespace halftone::ops::test
