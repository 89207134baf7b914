#include <gtest/gtest.h>

#include "gradient_check.h"

namespace halftone::ops::test {
namespace {

using Ints = std::vector<int64_t>;

Case make(const Shape& x, const Ints& shape) {
  Case c = onnx_case({"Expand", 13, {}, {{1, ints(shape)}}}, {x});
  c.expected = [=](const std::vector<Numbers>& values) {
    const Shape y = broadcast(x, shape);
    return std::vector<Numbers>{broadcast_map(values[0], x, Numbers(static_cast<size_t>(elements(y)), 0.0), y,
                                              [](double a, double) { return a; })};
  };
  c.nonzero = 1;
  c.roundings = 1;  // the gradient is a sum in registers
  return c;
}

TEST(Expand, ForwardAndGradient) {
  check(make({3, 1}, {3, 4}));
  check(make({2, 1, 3, 1}, {2, 4, 3, 2}));
  check(make({3}, {2, 2, 3}));     // new axes in front
  check(make({}, {2, 3}));         // a number
  check(make({1, 5}, {4, 1}));     // 1 keeps the input's
  check(make({2, 3, 1}, {3, 1}));  // fewer axes than the input
  check(make({1, 1, 1}, {5, 1, 7}));
}

TEST(Expand, ARepeatedInputGetsBothGradients) {
  Case c = make({3, 1}, {3, 4});
  c.expected = nullptr;
  c.build = [build = c.build](Builder& b, const std::vector<ValueId>& x) {
    return std::vector<ValueId>{build(b, x)[0], x[0]};
  };
  c.roundings = 2;
  check(c);
}

TEST(Expand, WithoutRepetitionIsAReshape) {
  EXPECT_TRUE(imported_ops({"Expand", 8, {}, {{1, ints({1, 3})}}}, {{2, 3}}).empty());
  const OnnxNode node{"Expand", 8, {}, {{1, ints({1, 2, 3})}}};
  EXPECT_EQ(imported_ops(node, {{2, 3}}), (std::vector<std::string>{"Reshape"}));
  EXPECT_EQ(imported_shapes(node, {{2, 3}}), (std::vector<Shape>{{1, 2, 3}}));
}

TEST(Expand, ManyElementsAndThreads) {
  const Case c = make({7, 1, 3}, {7, 5000, 3});
  const std::vector<Numbers> x = random_inputs(c, DType::kF16);
  EXPECT_EQ(forward(c, DType::kF16, x, 3), c.expected(x));
}

TEST(Expand, RefusesWhatDoesNotBroadcast) {
  const auto message = [](const Ints& shape) {
    return refusal({"Expand", 13, {}, {{1, ints(shape)}}}, {{2, 3}});
  };
  EXPECT_NE(message({4, 3}).find("2x3 and 4x3"), std::string::npos) << message({4, 3});
  EXPECT_NE(message({2, -1}).find("a dimension of the shape is -1"), std::string::npos);
  EXPECT_NE(refusal({"Expand", 13}, {{2, 3}, {2}}).find("input 1 must be a constant"), std::string::npos);
  EXPECT_NE(refusal({"Expand", 13, {{"axis", int64_t{0}}}, {{1, ints({2, 3})}}}, {{2, 3}}).find("'axis'"),
            std::string::npos);
  EXPECT_NE(refusal({{DType::kF32, {2, 3}}}, "Expand", {{"shape", Ints{1, 3}}})
                .find("2x3 cannot be expanded to 1x3"),
            std::string::npos);
}

TEST(Expand, FoldsConstants) {
  EXPECT_EQ(folded_text("Expand", 13, {ints({1, 2}, {2, 1}), ints({1, 3})}), "1 1 1 2 2 2 (int64 2x3)");
  EXPECT_EQ(folded_text("Expand", 13, {number(0.5), ints({2})}), "0.5 0.5 (fp32 2)");
}

}  // namespace
}  // namespace halftone::ops::test
