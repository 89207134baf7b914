#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "gradient_check.h"
#include "moments.h"

namespace halftone::ops::test {
namespace {

// x[samples][channels][pixels]; scale and bias by channel.
Numbers group_norm(const Numbers& x, size_t channels, size_t pixels, size_t groups, const Numbers& scale,
                   const Numbers& bias, double epsilon) {
  Numbers y(x.size());
  const size_t members = channels / groups;
  const size_t n = members * pixels;
  for (size_t first = 0; first < x.size(); first += n) {
    const Moments m = moments_of({&x[first], n});
    for (size_t i = first; i < first + n; ++i) {
      const size_t c = i / pixels % channels;
      y[i] = (x[i] - m.mean) / std::sqrt(m.variance + epsilon) * scale[c] + bias[c];
    }
  }
  return y;
}
Numbers repeated(const Numbers& list, size_t times) {
  Numbers out;
  for (const double v : list) out.insert(out.end(), times, v);
  return out;
}

Case group_case(int opset, const Shape& x, int64_t groups, double epsilon = 1e-5) {
  const Shape parameter{opset < 21 ? groups : x[1]};
  Case c = onnx_case({"GroupNormalization", opset, {{"num_groups", groups}, {"epsilon", epsilon}}},
                     {x, parameter, parameter});
  const auto channels = static_cast<size_t>(x[1]);
  const size_t pixels = static_cast<size_t>(elements(x) / x[0] / x[1]);
  const size_t times = opset < 21 ? channels / static_cast<size_t>(groups) : 1;
  c.expected = [=](const std::vector<Numbers>& v) {
    return std::vector<Numbers>{group_norm(v[0], channels, pixels, static_cast<size_t>(groups),
                                           repeated(v[1], times), repeated(v[2], times), epsilon)};
  };
  return c;
}

TEST(GroupNormalization, ForwardAndGradient) {
  check(group_case(21, {2, 6, 3, 2}, 3));
  check(group_case(21, {2, 4, 5}, 1));
  check(group_case(21, {1, 5, 2, 3}, 5));
  check(group_case(21, {2, 4, 2, 1, 2}, 2, 0.5));
}

// Opset 18 has a scale and bias for each group.
TEST(GroupNormalization, ParametersOfGroups) {
  check(group_case(18, {2, 6, 3, 2}, 3));
  check(group_case(18, {2, 4, 3}, 4));
  check(group_case(18, {2, 4, 3}, 1));
}

TEST(InstanceNormalization, ForwardAndGradient) {
  for (const Shape& x : {Shape{2, 3, 7}, Shape{2, 3, 3, 2}, Shape{1, 17, 4}}) {
    Case c = onnx_case({"InstanceNormalization", 6, {{"epsilon", 1e-3}}}, {x, {x[1]}, {x[1]}});
    const auto channels = static_cast<size_t>(x[1]);
    const size_t pixels = static_cast<size_t>(elements(x) / x[0] / x[1]);
    c.expected = [=](const std::vector<Numbers>& v) {
      return std::vector<Numbers>{group_norm(v[0], channels, pixels, channels, v[1], v[2], 1e-3)};
    };
    check(c);
  }
}

TEST(GroupNormalization, AMissingScaleOrBias) {
  Case c;
  c.inputs = {{2, 3, 4}};
  c.build = [](Builder& b, const std::vector<ValueId>& x) {
    return std::vector<ValueId>{
        b.add1("GroupNormalization", {x[0]}, {{"groups", int64_t{2}}, {"epsilon", 1e-5}})};
  };
  check(c);
  c.inputs = {{2, 3, 4}, {4}};
  c.build = [](Builder& b, const std::vector<ValueId>& x) {
    return std::vector<ValueId>{
        b.add1("GroupNormalization", {x[0], kNone, x[1]}, {{"groups", int64_t{2}}, {"epsilon", 1e-5}})};
  };
  check(c);
}

// Several chunks a sample, the last one short.
TEST(GroupNormalization, ChunksMeetWithoutGapOrOverlap) {
  const Case c = group_case(21, {2, 40, 37, 31}, 8);
  const std::vector<Numbers> x = random_inputs(c, DType::kF32);
  const Numbers expected = c.expected(x)[0];
  Numbers dy = x[0];
  for (size_t i = 0; i < dy.size(); ++i) dy[i] = x[0][(i * 7 + 3) % dy.size()];
  const Result wide = run(c, DType::kF64, x, {dy});
  const Result got = run(c, DType::kF32, x, {dy}, kern::Isa::kReference, 3);
  for (size_t i = 0; i < expected.size(); ++i) {
    ASSERT_NEAR(wide.y[0][i], expected[i], 1e-7) << i;
    ASSERT_NEAR(got.y[0][i], expected[i], 1e-5) << i;
    ASSERT_NEAR(got.dx[0][i], wide.dx[0][i], 1e-4) << i;
  }
  for (const kern::Isa isa : kern::available()) {
    const Result one = run(c, DType::kF32, x, {dy}, isa, 1);
    ASSERT_EQ(one.y, got.y) << kern::name_of(isa);
    ASSERT_EQ(one.dx, got.dx) << kern::name_of(isa);
  }
}

TEST(GroupNormalization, LargeNumbersDoNotOverflowAndInfinitiesAreSeen) {
  Case c;
  c.inputs = {{2, 2, 2}};
  c.build = [](Builder& b, const std::vector<ValueId>& x) {
    return std::vector<ValueId>{
        b.add1("GroupNormalization", {x[0]}, {{"groups", int64_t{1}}, {"epsilon", 1e-5}})};
  };
  const double inf = std::numeric_limits<double>::infinity();
  EXPECT_EQ(forward(c, DType::kF16, {{60000, -60000, 60000, -60000, 300, 300, -300, -300}})[0],
            (Numbers{1, -1, 1, -1, 1, 1, -1, -1}));
  const Numbers y = run(c, DType::kBf16, {{1, 2, inf, 3, 1e30, -1e30, 1e30, 0}}, {Numbers(8, 1)}).y[0];
  for (const double v : y) EXPECT_TRUE(std::isnan(v)) << v;
}

TEST(GroupNormalization, RefusesWhatItDoesNotUnderstand) {
  const auto message = [](int opset, const Attributes& a, const std::vector<Shape>& shapes) {
    return refusal({"GroupNormalization", opset, a}, shapes);
  };
  const auto has = [](const std::string& text, const char* part) {
    return text.find(part) != std::string::npos;
  };
  const Attributes two{{"num_groups", int64_t{2}}};
  EXPECT_EQ(message(21, two, {{1, 4, 3}, {4}, {4}}), "");
  EXPECT_EQ(message(18, two, {{1, 4, 3}, {2}, {2}}), "");
  EXPECT_TRUE(has(message(18, two, {{1, 4, 3}, {4}, {4}}), "the scale has shape 4, expected 2"));
  EXPECT_TRUE(has(message(21, two, {{1, 4, 3}, {2}, {2}}), "the scale has shape 2, expected 4"));
  EXPECT_TRUE(has(message(21, two, {{1, 4, 3}, {4}, {3}}), "the bias has shape 3, expected 4"));
  EXPECT_TRUE(has(message(21, two, {{1, 5, 3}, {5}, {5}}), "5 channels do not divide into 2 groups"));
  EXPECT_TRUE(has(message(21, {{"num_groups", int64_t{0}}}, {{1, 4, 3}, {4}, {4}}), "into 0 groups"));
  EXPECT_TRUE(has(message(21, {}, {{1, 4, 3}, {4}, {4}}), "num_groups"));
  EXPECT_TRUE(
      has(message(18, {{"num_groups", int64_t{2}}, {"stash_type", int64_t{1}}}, {{1, 4, 3}, {2}, {2}}),
          "'stash_type'"));
  EXPECT_TRUE(
      has(message(21, {{"num_groups", int64_t{2}}, {"stash_type", int64_t{10}}}, {{1, 4, 3}, {4}, {4}}),
          "stash_type is 10"));
  EXPECT_TRUE(has(message(21, two, {{1, 4}, {4}, {4}}), "[N, C, ...]"));
  EXPECT_TRUE(
      has(refusal({"InstanceNormalization", 6}, {{1, 4, 3}, {3}, {4}}), "the scale has shape 3, expected 4"));
  EXPECT_TRUE(has(refusal({"InstanceNormalization", 6}, {{1, 4, 0}, {4}, {4}}), "no elements"));
}

}  // namespace
}  // namespace halftone::ops::test
