// Integers and booleans that depend on the samples.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "gradient_check.h"

namespace halftone::ops::test {
namespace {

using Ints = std::vector<int64_t>;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

Case two(const OnnxNode& node, DType dtype, const Shape& a, const Shape& b) {
  Case c = onnx_case(node, {a, b});
  c.whole = {{0, dtype}, {1, dtype}};
  return c;
}

TEST(Whole, Arithmetic) {
  const Numbers a{7, -7, 7, -7, 0, 6};
  const Numbers b{3, 3, -3, -3, 5, -1};
  const std::vector<std::pair<OnnxNode, Numbers>> rows = {
      {{"Add", 14}, {10, -4, 4, -10, 5, 5}},    {{"Sub", 14}, {4, -10, 10, -4, -5, 7}},
      {{"Mul", 14}, {21, -21, -21, 21, 0, -6}}, {{"Div", 14}, {2, -2, -2, 2, 0, -6}},
      {{"Mod", 13}, {1, 2, -2, -1, 0, 0}},      {{"Mod", 13, {{"fmod", int64_t{1}}}}, {1, -1, 1, -1, 0, 0}},
      {{"Min", 13}, {3, -7, -3, -7, 0, -1}},    {{"Max", 13}, {7, 3, 7, -3, 5, 6}}};
  for (const auto& [node, expected] : rows)
    for (const DType dtype : {DType::kI64, DType::kI32})
      EXPECT_EQ(forward(two(node, dtype, {6}, {6}), DType::kF16, {a, b})[0], expected) << node.op_type;
  EXPECT_EQ(forward(two({"Pow", 15}, DType::kI64, {3}, {1}), DType::kF16, {{2, -3, 10}, {3}})[0],
            (Numbers{8, -27, 1000}));
}

TEST(Whole, Broadcasting) {
  const Case c = two({"Add", 14}, DType::kI64, {2, 1, 3}, {4, 1});
  Numbers expected;
  for (int i = 0; i < 2; ++i)
    for (int j = 0; j < 4; ++j)
      for (int k = 0; k < 3; ++k) expected.push_back(10 * (i * 3 + k) + j);
  EXPECT_EQ(forward(c, DType::kF32, {{0, 10, 20, 30, 40, 50}, {0, 1, 2, 3}})[0], expected);
  Case large = two({"Max", 13}, DType::kI32, {3, 1, 9000}, {5, 9000});
  large.low = -1000;
  large.high = 1000;
  const std::vector<Numbers> x = random_inputs(large, DType::kF32);
  EXPECT_EQ(
      forward(large, DType::kF32, x, 3)[0],
      broadcast_map(x[0], {3, 1, 9000}, x[1], {5, 9000}, [](double a, double b) { return std::max(a, b); }));
}

TEST(Whole, NoResultStopsTheRun) {
  const auto says = [](const Case& c, const std::vector<Numbers>& x, const std::string& text) {
    const std::string got = fault(c, x);
    EXPECT_NE(got.find(text), std::string::npos) << got;
  };
  const double kMost = 2147483647;
  says(two({"Add", 14}, DType::kI32, {2, 2}, {2}), {{1, 2, 3, kMost}, {0, 1}},
       "Add of 2147483647 and 1, element [1, 1] of 2x2, does not fit int32");
  says(two({"Sub", 14}, DType::kI32, {1}, {1}), {{-kMost}, {2}}, "does not fit int32");
  says(two({"Mul", 14}, DType::kI64, {1}, {1}), {{0x1p62}, {2}}, "does not fit int64");
  says(two({"Div", 14}, DType::kI64, {2}, {2}), {{1, 2}, {1, 0}},
       "Div of 2 and 0, element [1] of 2, is a division by zero");
  says(two({"Div", 14}, DType::kI64, {1}, {1}), {{-0x1p63}, {-1}}, "does not fit int64");
  says(two({"Mod", 13}, DType::kI32, {1}, {1}), {{5}, {0}}, "division by zero");
  says(two({"Pow", 15}, DType::kI32, {1}, {1}), {{5}, {-1}}, "negative exponent");
  says(two({"Pow", 15}, DType::kI32, {1}, {1}), {{10}, {10}}, "does not fit int32");
  says(two({"Sub", 14}, DType::kU8, {1}, {1}), {{1}, {2}}, "does not fit uint8");
  Case neg = onnx_case({"Neg", 13}, {{2}});
  neg.whole = {{0, DType::kI64}};
  says(neg, {{5, -0x1p63}}, "Neg of -9223372036854775808, element [1] of 2, does not fit int64");
}

TEST(Whole, OneOperand) {
  for (const auto& [op, expected] : std::vector<std::pair<std::string, Numbers>>{
           {"Neg", {3, 0, -5}}, {"Abs", {3, 0, 5}}, {"Sign", {-1, 0, 1}}}) {
    Case c = onnx_case({op, 13}, {{3}});
    c.whole = {{0, DType::kI32}};
    EXPECT_EQ(forward(c, DType::kF32, {{-3, 0, 5}})[0], expected) << op;
  }
  Case clip = onnx_case({"Clip", 13, {}, {{1, ints({-1}, Shape{})}, {2, ints({4}, Shape{})}}}, {{3}});
  clip.whole = {{0, DType::kI64}};
  EXPECT_EQ(forward(clip, DType::kF32, {{-3, 0, 5}})[0], (Numbers{-1, 0, 4}));
}

TEST(Whole, Logic) {
  const Numbers a{0, 0, 1, 1};
  const Numbers b{0, 1, 0, 2};  // any number but 0 counts as true
  for (const auto& [op, expected] : std::vector<std::pair<std::string, Numbers>>{
           {"And", {0, 0, 0, 1}}, {"Or", {0, 1, 1, 1}}, {"Xor", {0, 1, 1, 0}}})
    EXPECT_EQ(forward(two({op, 13}, DType::kU8, {4}, {4}), DType::kF32, {a, b})[0], expected) << op;
  Case c = onnx_case({"Not", 13}, {{3}});
  c.whole = {{0, DType::kU8}};
  EXPECT_EQ(forward(c, DType::kF32, {{0, 1, 2}})[0], (Numbers{1, 0, 0}));
}

TEST(Whole, Comparison) {
  const Numbers a{1, 2, 3, -1, 0};
  const Numbers b{2, 2, 2, -1, -1};
  const std::vector<std::pair<std::string, Numbers>> rows = {{"Equal", {0, 1, 0, 1, 0}},
                                                             {"Less", {1, 0, 0, 0, 0}},
                                                             {"LessOrEqual", {1, 1, 0, 1, 0}},
                                                             {"Greater", {0, 0, 1, 0, 1}},
                                                             {"GreaterOrEqual", {0, 1, 1, 1, 1}}};
  for (const auto& [op, expected] : rows) {
    for (const DType dtype : {DType::kI64, DType::kI32})
      EXPECT_EQ(forward(two({op, 16}, dtype, {5}, {5}), DType::kF32, {a, b})[0], expected) << op;
    for (const DType dtype : {DType::kF64, DType::kF32, DType::kF16, DType::kBf16})
      EXPECT_EQ(forward(onnx_case({op, 16}, {{5}, {5}}), dtype, {a, b})[0], expected) << op;
    // Nothing holds of a NaN.
    EXPECT_EQ(forward(onnx_case({op, 16}, {{2}, {2}}), DType::kF16, {{kNan, 1}, {1, kNan}})[0],
              (Numbers{0, 0}))
        << op;
  }
}

TEST(Whole, IsNanAndIsInf) {
  const Numbers x{1, kNan, kInfinity, -kInfinity, 0};
  const auto of = [&](const OnnxNode& node, DType dtype) {
    return forward(onnx_case(node, {{5}}), dtype, {x})[0];
  };
  for (const DType dtype : {DType::kF64, DType::kF32, DType::kF16, DType::kBf16}) {
    EXPECT_EQ(of({"IsNaN", 13}, dtype), (Numbers{0, 1, 0, 0, 0}));
    EXPECT_EQ(of({"IsInf", 10}, dtype), (Numbers{0, 0, 1, 1, 0}));
    EXPECT_EQ(of({"IsInf", 10, {{"detect_negative", int64_t{0}}}}, dtype), (Numbers{0, 0, 1, 0, 0}));
    EXPECT_EQ(of({"IsInf", 10, {{"detect_positive", int64_t{0}}}}, dtype), (Numbers{0, 0, 0, 1, 0}));
  }
}

TEST(Whole, Reductions) {
  const auto of = [](const std::string& op, const Attributes& attributes, const Numbers& x) {
    Case c = onnx_case({op, 12, attributes}, {{2, 3, 2}});
    c.whole = {{0, DType::kI64}};
    return forward(c, DType::kF32, {x}, 3)[0];
  };
  const Numbers x{1, 2, 3, 4, 5, 6, 7, -8, 9, 10, 11, 12};
  EXPECT_EQ(of("ReduceSum", {{"axes", Ints{1}}}, x), (Numbers{9, 12, 27, 14}));
  EXPECT_EQ(of("ReduceSum", {{"axes", Ints{-1, 0}}, {"keepdims", int64_t{0}}}, x), (Numbers{2, 26, 34}));
  EXPECT_EQ(of("ReduceMax", {{"axes", Ints{1}}}, x), (Numbers{5, 6, 11, 12}));
  EXPECT_EQ(of("ReduceMin", {}, x), (Numbers{-8}));
  EXPECT_EQ(of("ReduceProd", {{"axes", Ints{1, 2}}}, {1, 1, 2, 1, 1, 3, 1, 1, 1, 1, 0, 5}), (Numbers{6, 0}));
  Case c = onnx_case({"ReduceSum", 13, {{"keepdims", int64_t{0}}}, {{1, ints({0})}}}, {{3}});
  c.whole = {{0, DType::kI32}};
  EXPECT_EQ(forward(c, DType::kF32, {{1, 2, 3}})[0], Numbers{6});
  EXPECT_NE(fault(c, {{2147483647, 2, 3}}).find("does not fit int32"), std::string::npos);
}

// What only moves elements moves them whatever they are.
TEST(Whole, Movement) {
  for (const DType dtype : {DType::kI64, DType::kI32, DType::kU8}) {
    const auto of = [&](const OnnxNode& node, const std::vector<Shape>& shapes, const std::vector<Numbers>& x,
                        size_t i = 0) {
      Case c = onnx_case(node, shapes);
      for (size_t k = 0; k < shapes.size(); ++k) c.whole[k] = dtype;
      return forward(c, DType::kF16, x)[i];
    };
    const Numbers x{1, 2, 3, 4, 5, 6};
    EXPECT_EQ(of({"Transpose", 13}, {{2, 3}}, {x}), (Numbers{1, 4, 2, 5, 3, 6}));
    EXPECT_EQ(of({"Reshape", 13, {}, {{1, ints({3, 2})}}}, {{2, 3}}, {x}), x);
    EXPECT_EQ(of({"Slice", 13, {}, {{1, ints({1})}, {2, ints({3})}, {3, ints({1})}}}, {{2, 3}}, {x}),
              (Numbers{2, 3, 5, 6}));
    EXPECT_EQ(of({"Concat", 13, {{"axis", int64_t{0}}}}, {{1}, {2}}, {{1}, {2, 3}}), (Numbers{1, 2, 3}));
    EXPECT_EQ(of({"Expand", 13, {}, {{1, ints({2, 2})}}}, {{2, 1}}, {{1, 2}}), (Numbers{1, 1, 2, 2}));
    EXPECT_EQ(of({"Split", 13, {{"axis", int64_t{1}}}, {{1, ints({1, 2})}}, 2}, {{2, 3}}, {x}, 1),
              (Numbers{2, 3, 5, 6}));
    EXPECT_EQ(of({"Squeeze", 13, {}, {{1, ints({0})}}}, {{1, 2}}, {{1, 2}}), (Numbers{1, 2}));
    EXPECT_EQ(of({"Unsqueeze", 13, {}, {{1, ints({0})}}}, {{2}}, {{1, 2}}), (Numbers{1, 2}));
    EXPECT_EQ(of({"Tile", 13, {}, {{1, ints({2, 1})}}}, {{1, 2}}, {{1, 2}}), (Numbers{1, 2, 1, 2}));
    EXPECT_EQ(of({"Trilu", 14}, {{2, 2}}, {{1, 2, 3, 4}}), (Numbers{1, 2, 0, 4}));
  }
}

TEST(Whole, Refuses) {
  const auto says = [](const std::vector<Type>& inputs, const std::string& op, const Attributes& attributes,
                       const std::string& text) {
    const std::string got = refusal(inputs, op, attributes);
    EXPECT_NE(got.find(text), std::string::npos) << got;
  };
  const Type i64{DType::kI64, {2}};
  const Type i32{DType::kI32, {2}};
  const Type f32{DType::kF32, {2}};
  says({i64, i32}, "WholeBinary", {{"op", std::string("Add")}}, "different types: int64 and int32");
  says({i64, {DType::kI64, {3}}}, "WholeBinary", {{"op", std::string("Add")}}, "2 and 3");
  says({i64, i64}, "WholeBinary", {{"op", std::string("And")}},
       "booleans were expected, got int64 and int64");
  says({i64}, "WholeUnary", {{"op", std::string("Not")}}, "booleans were expected, got int64");
  says({f32, i64}, "Compare", {{"op", std::string("Equal")}}, "different types: fp32 and int64");
  says({i64}, "Classify", {}, "a float tensor was expected, got int64");
  says({{DType::kI64, {0}}}, "WholeReduce", {{"op", std::string("ReduceMax")}, {"axis", int64_t{0}}},
       "no elements");
  EXPECT_NE(refusal({"And", 7}, {{2}, {2}}).find("booleans were expected, got fp32"), std::string::npos);
}

// Nobody asks integers for a gradient, although they depend on what is trained.
TEST(Whole, GradientsPassBy) {
  Case c;
  c.inputs = {{2, 3}};
  c.kinks = {0};
  c.build = [](Builder& b, const std::vector<ValueId>& x) {
    const ValueId positive = import(b, {"Greater", 13, {}, {{1, number(0)}}}, {x[0]})[0];
    const ValueId whole = import(b, {"Cast", 13, {{"to", int64_t{7}}}}, {positive})[0];
    const ValueId back = import(b, {"Cast", 13, {{"to", int64_t{1}}}}, {whole})[0];
    const ValueId argmax = import(b, {"ArgMax", 13, {{"axis", int64_t{1}}}}, {x[0]})[0];
    const ValueId largest = import(b, {"GatherElements", 13, {{"axis", int64_t{1}}}}, {x[0], argmax})[0];
    return std::vector<ValueId>{b.add1("Mul", {x[0], back}),
                                import(b, {"Where", 16, {}, {{2, number(0.5)}}}, {positive, x[0]})[0],
                                largest};
  };
  c.nonzero = 0.2;
  check(c);
}

}  // namespace
}  // namespace halftone::ops::test
