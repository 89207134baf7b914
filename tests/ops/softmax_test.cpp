#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "gradient_check.h"

namespace halftone::ops::test {
namespace {

// Along the middle axis of [outer][n][inner].
Numbers softmax(const Numbers& x, int64_t n, int64_t inner, bool log) {
  Numbers y(x.size());
  for (int64_t row = 0; row < static_cast<int64_t>(x.size()) / n; ++row) {
    const int64_t first = row / inner * n * inner + row % inner;
    double sum = 0;
    for (int64_t k = 0; k < n; ++k) sum += std::exp(x[static_cast<size_t>(first + k * inner)]);
    for (int64_t k = 0; k < n; ++k) {
      const auto i = static_cast<size_t>(first + k * inner);
      y[i] = log ? x[i] - std::log(sum) : std::exp(x[i]) / sum;
    }
  }
  return y;
}

Case make(const OnnxNode& node, const Shape& x, int64_t n, int64_t inner) {
  Case c = onnx_case(node, {x});
  c.expected = [=, log = node.op_type == "LogSoftmax"](const std::vector<Numbers>& values) {
    return std::vector<Numbers>{softmax(values[0], n, inner, log)};
  };
  // At most about half the sum is one element's: dx = y (dy - sum dy y) is computed from the rounded y, whose
  // error weighs y / (1 - y) <= 1 times as much. The logarithm's error weighs |y| <= log 24 + 2 < 6 times.
  c.low = -1;
  c.high = 1;
  c.roundings = node.op_type == "LogSoftmax" ? 8 : 4;
  return c;
}

class Softmax : public testing::TestWithParam<const char*> {};

TEST_P(Softmax, ForwardAndGradient) {
  check(make({GetParam(), 13}, {3, 7}, 7, 1));
  check(make({GetParam(), 13}, {24}, 24, 1));
  check(make({GetParam(), 13}, {2, 2, 17}, 17, 1));  // a vector and one
  check(make({GetParam(), 13, {{"axis", int64_t{1}}}}, {2, 4, 3}, 4, 3));
  check(make({GetParam(), 13, {{"axis", int64_t{-3}}}}, {5, 2, 3}, 5, 6));
}

TEST_P(Softmax, BeforeOpset13EverythingAfterTheAxisIsOneRow) {
  check(make({GetParam(), 11}, {2, 3, 4}, 12, 1));  // the axis is 1 by default
  check(make({GetParam(), 11, {{"axis", int64_t{2}}}}, {2, 3, 4}, 4, 1));
  check(make({GetParam(), 11, {{"axis", int64_t{-1}}}}, {2, 3, 4}, 4, 1));
  check(make({GetParam(), 9, {{"axis", int64_t{0}}}}, {2, 3, 4}, 24, 1));
}

TEST_P(Softmax, ARepeatedInputGetsBothGradients) {
  Case c = make({GetParam(), 13}, {2, 6}, 6, 1);
  c.expected = nullptr;
  c.build = [build = c.build](Builder& b, const std::vector<ValueId>& x) {
    return std::vector<ValueId>{build(b, x)[0], b.add1("Neg", {x[0]}), build(b, x)[0]};
  };
  c.roundings += 3;
  check(c);
}

// Rows longer than a chunk, and chunks of many rows with a short last one.
TEST_P(Softmax, ChunksMeetWithoutGapOrOverlap) {
  for (const Shape& shape : {Shape{3, 20000}, Shape{5003, 7}}) {
    const Case c = make({GetParam(), 13}, shape, shape[1], 1);
    const std::vector<Numbers> x = random_inputs(c, DType::kF32);
    const Numbers y = forward(c, DType::kF32, x, 3)[0];
    const Numbers expected = softmax(x[0], shape[1], 1, GetParam() == std::string("LogSoftmax"));
    for (size_t i = 0; i < y.size(); ++i)
      ASSERT_NEAR(y[i], expected[i], 0x1p-20 * std::fabs(expected[i])) << "element " << i;
  }
}

TEST_P(Softmax, LargeNumbersDoNotOverflow) {
  const Case c = make({GetParam(), 13}, {2, 3}, 3, 1);
  const bool log = GetParam() == std::string("LogSoftmax");
  const Numbers y = forward(c, DType::kF16, {{65504, 65504, 0, -65504, 0, -65504}})[0];
  if (log) {
    EXPECT_NEAR(y[0], -std::log(2), 0x1p-11);
    EXPECT_EQ(y[2], -65504);
    EXPECT_EQ(y[4], 0);
  } else {
    EXPECT_EQ(y, (Numbers{0.5, 0.5, 0, 0, 1, 0}));
  }
}

TEST_P(Softmax, RefusesAnAxisOutOfRange) {
  const auto message = [](int opset, int64_t axis) {
    return refusal({GetParam(), opset, {{"axis", axis}}}, {{2, 3}});
  };
  EXPECT_NE(message(13, 2).find("axis 2"), std::string::npos) << message(13, 2);
  EXPECT_NE(message(13, -3).find("axis -3"), std::string::npos) << message(13, -3);
  EXPECT_NE(message(11, 3).find("axis 3"), std::string::npos) << message(11, 3);
  EXPECT_EQ(message(13, -2), "");
  EXPECT_NE(refusal({GetParam(), 13, {{"beta", 1.0}}}, {{2, 3}}).find("'beta'"), std::string::npos);
}

TEST_P(Softmax, RefusesRowsWithoutElementsAndIntegers) {
  EXPECT_NE(refusal({{DType::kF32, {3, 0}}}, GetParam(), {}).find("no elements (3x0)"), std::string::npos);
  EXPECT_NE(refusal({{DType::kF32, {}}}, GetParam(), {}).find("no elements"), std::string::npos);
  EXPECT_NE(refusal({{DType::kI32, {3, 2}}}, GetParam(), {}).find("got int32"), std::string::npos);
}

TEST(Hardmax, RefusesMoreColumnsThanFp32CanCount) {
  const auto says = [](int64_t columns) { return refusal({{DType::kF16, {1, columns}}}, "Hardmax", {}); };
  EXPECT_EQ(says(int64_t{1} << 24), "");
  EXPECT_NE(says((int64_t{1} << 24) + 1).find("more than 16777216 are not supported"), std::string::npos);
}

TEST(Hardmax, MarksTheFirstOfTheLargest) {
  const Numbers x = {1, 3, 3, 2, 5, 5, -1, -1};
  for (const DType dtype : {DType::kF64, DType::kF32, DType::kF16, DType::kBf16})
    EXPECT_EQ(forward(onnx_case({"Hardmax", 13}, {{2, 4}}), dtype, {x})[0],
              (Numbers{0, 1, 0, 0, 1, 0, 0, 0}));
  EXPECT_EQ(forward(onnx_case({"Hardmax", 13, {{"axis", int64_t{0}}}}, {{2, 4}}), DType::kF32, {x})[0],
            (Numbers{0, 0, 1, 1, 1, 1, 0, 0}));
  EXPECT_EQ(forward(onnx_case({"Hardmax", 11}, {{2, 2, 2}}), DType::kF32, {x})[0],
            (Numbers{0, 1, 0, 0, 1, 0, 0, 0}));
  const Result r = run(onnx_case({"Hardmax", 13}, {{2, 4}}), DType::kF32, {x}, {Numbers(8, 1.0)});
  EXPECT_EQ(r.dx[0], Numbers(8, 0.0));
}

INSTANTIATE_TEST_SUITE_P(Both, Softmax, testing::Values("Softmax", "LogSoftmax"),
                         [](const auto& test) { return std::string(test.param); });

}  // namespace
}  // namespace halftone::ops::test
