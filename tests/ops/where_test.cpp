#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "gradient_check.h"
#include "ops/mask.h"

namespace halftone::ops::test {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

Case make(const Shape& condition, const Shape& a, const Shape& b) {
  Case c = onnx_case({"Where", 16}, {condition, a, b});
  c.whole = {{0, DType::kU8}};
  c.fixed = {0};
  c.low = 0;
  c.high = 2;
  c.expected = [=](const std::vector<Numbers>& v) {
    const Shape y = broadcast(condition, broadcast(a, b));
    const auto wide = [&](const Numbers& x, const Shape& shape) {
      return broadcast_map(x, shape, Numbers(static_cast<size_t>(elements(y)), 0.0), y,
                           [](double p, double) { return p; });
    };
    const Numbers k = wide(v[0], condition);
    Numbers out = wide(v[1], a);
    const Numbers other = wide(v[2], b);
    for (size_t i = 0; i < out.size(); ++i)
      if (k[i] == 0) out[i] = other[i];
    return std::vector<Numbers>{out};
  };
  c.nonzero = 0.2;
  c.roundings = 2;
  return c;
}

TEST(Where, ForwardAndGradient) {
  check(make({2, 3}, {2, 3}, {2, 3}));
  check(make({3}, {2, 3}, {2, 1}));
  check(make({2, 1, 5}, {5}, {3, 1}));
  check(make({4, 1, 1, 5}, {2, 3, 1}, {}));
  check(make({1}, {3, 4}, {3, 4}));
}

TEST(Where, ManyElementsAndThreads) {
  const Case c = make({3, 1, 7000}, {5, 7000}, {3, 5, 1});
  const std::vector<Numbers> x = random_inputs(c, DType::kF16);
  EXPECT_EQ(forward(c, DType::kF16, x, 3), c.expected(x));
}

TEST(Where, OfIntegersAndBooleans) {
  for (const DType dtype : {DType::kI64, DType::kI32, DType::kU8}) {
    Case c = onnx_case({"Where", 9}, {{3}, {3}, {1}});
    c.whole = {{0, DType::kU8}, {1, dtype}, {2, dtype}};
    EXPECT_EQ(forward(c, DType::kF16, {{1, 0, 2}, {1, 0, 3}, {7}})[0], (Numbers{1, 7, 3}));
  }
}

TEST(Where, Refuses) {
  EXPECT_NE(refusal({"Where", 9}, {{2}, {2}, {2}}).find("the condition must be of booleans, got fp32"),
            std::string::npos);
  EXPECT_NE(refusal({{DType::kU8, {2}}, {DType::kI64, {2}}, {DType::kF32, {2}}}, "Where", {})
                .find("int64 and fp32"),
            std::string::npos);
}

// A finite number that a type cannot hold stays finite as a mask; an infinity stays one.
TEST(Mask, ConstantsBeyondTheRangeStayFinite) {
  for (const double number : {-1e9, -3.4028234663852886e38, 3.4028234663852886e38, -kInfinity, -1e4}) {
    Case c = onnx_case({"Where", 16, {}, {{1, floats({0}, {})}, {2, floats({number}, {})}}}, {{2}});
    c.whole = {{0, DType::kU8}};
    const auto masked = [&](DType dtype) { return forward(c, dtype, {{1, 0}})[0][1]; };
    const bool finite = std::isfinite(number);
    EXPECT_EQ(masked(DType::kF32), static_cast<double>(static_cast<float>(number)));
    EXPECT_EQ(masked(DType::kF16), number == -1e4 ? -1e4 : finite ? std::copysign(0x1p15, number) : number);
    if (std::fabs(number) > 1e38) {
      EXPECT_EQ(masked(DType::kBf16), finite ? std::copysign(0x1p127, number) : number);
    }
  }
}

// (1 - mask) * -3.4e38 + scores, a row of which is masked as a whole: equal shares, as in fp32.
TEST(Mask, AWholeRowOfSoftmaxIsNoNan) {
  Case c;
  c.inputs = {{2, 3}, {2, 3}};
  c.whole = {{0, DType::kI64}};
  c.build = [](Builder& b, const std::vector<ValueId>& x) {
    const ValueId mask = import(b, {"Cast", 13, {{"to", int64_t{1}}}}, {x[0]})[0];
    const ValueId inverted = import(b, {"Sub", 13, {}, {{0, number(1)}}}, {mask})[0];
    const ValueId large = import(b, {"Mul", 13, {}, {{1, number(-3.4028234663852886e38)}}}, {inverted})[0];
    return import(b, {"Softmax", 13}, {b.add1("Add", {x[1], large})});
  };
  const std::vector<Numbers> x{{1, 0, 1, 0, 0, 0}, {1, 2, 1, -3, 5, -30}};
  for (const DType dtype : {DType::kF16, DType::kBf16, DType::kF32}) {
    const Numbers y = forward(c, dtype, x)[0];
    EXPECT_EQ(y[0], 0.5);
    EXPECT_EQ(y[1], 0);
    EXPECT_EQ(y[2], 0.5);
    for (size_t i = 3; i < 6; ++i) EXPECT_TRUE(std::isfinite(y[i])) << name_of(dtype);
    EXPECT_NEAR(y[3] + y[4] + y[5], 1, 0x1p-7) << name_of(dtype);
  }
}

// The precision check goes through both node by node.
TEST(Mask, TheGraphIsTheSameInEveryType) {
  std::vector<std::string> graphs;
  for (const DType storage : {DType::kF64, DType::kF32, DType::kF16, DType::kBf16})
    for (const double large : {-1e9, -3.4028234663852886e38}) {
      ir::Graph graph;
      Builder b(graph, storage);
      ir::Value whole;
      whole.kind = ir::ValueKind::kInput;
      whole.type = {DType::kU8, {3}};
      const ValueId x = graph.add_value(whole);
      const ValueId mask = import(b, {"Cast", 13, {{"to", int64_t{1}}}}, {x})[0];
      const ValueId product = import(b, {"Mul", 13, {}, {{1, number(large)}}}, {mask})[0];
      const ValueId chosen = import(b, {"Where", 16, {}, {{1, floats({large, 1, 0}, {3})}}}, {x, product})[0];
      graph.outputs = import(b, {"Add", 14, {}, {{1, floats({large, 1, 0}, {3})}}}, {chosen});
      std::string text = std::to_string(graph.values.size());
      for (const ir::Node& node : graph.nodes) {
        text += " " + node.op;
        for (const ValueId id : node.inputs) text += " " + std::to_string(id);
      }
      graphs.push_back(text);
    }
  EXPECT_NE(graphs[0].find("Clip"), std::string::npos) << graphs[0];
  for (const std::string& text : graphs) EXPECT_EQ(text, graphs[0]);
}

// A large factor that is none: what comes of it is not touched.
TEST(Mask, AProductOfNumbersIsNone) {
  Case c = onnx_case({"Mul", 13, {}, {{1, number(131072)}}}, {{2}});
  const Numbers y = forward(c, DType::kF16, {{0.25, 2}})[0];
  EXPECT_EQ(y[0], 32768);
  EXPECT_EQ(y[1], kInfinity);
}

}  // namespace
}  // namespace halftone::ops::test
