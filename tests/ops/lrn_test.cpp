#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "gradient_check.h"

namespace halftone::ops::test {
namespace {

struct Lrn {
  int64_t size = 5;
  double alpha = 1e-4, beta = 0.75, bias = 1;
};

Case make(const Shape& x, const Lrn& l) {
  Case c =
      onnx_case({"LRN", 13, {{"size", l.size}, {"alpha", l.alpha}, {"beta", l.beta}, {"bias", l.bias}}}, {x});
  const int64_t channels = x[1];
  const int64_t pixels = elements(x) / x[0] / channels;
  c.expected = [=](const std::vector<Numbers>& v) {
    Numbers y(v[0].size());
    for (int64_t i = 0; i < static_cast<int64_t>(y.size()); ++i) {
      const int64_t channel = i / pixels % channels;
      double sum = 0;
      for (int64_t k = 0; k < channels; ++k)
        if (k >= channel - (l.size - 1) / 2 && k <= channel + l.size / 2) {
          const double u = v[0][static_cast<size_t>(i + (k - channel) * pixels)];
          sum += u * u;
        }
      y[static_cast<size_t>(i)] = v[0][static_cast<size_t>(i)] *
                                  std::pow(l.bias + l.alpha / static_cast<double>(l.size) * sum, -l.beta);
    }
    return std::vector<Numbers>{y};
  };
  return c;
}

TEST(Lrn, ForwardAndGradient) {
  check(make({2, 7, 2}, {.size = 3, .alpha = 0.5}));
  check(make({1, 18, 2, 1}, {.size = 5, .alpha = 1, .beta = 0.5, .bias = 2}));
  check(make({2, 5, 2}, {.size = 4, .alpha = 0.5}));  // one more channel above than below
  check(make({1, 4, 3}, {.size = 1, .alpha = 0.5, .beta = 1.5}));
  check(make({1, 3, 3}, {.size = 9, .alpha = 0.5}));  // wider than all channels
  check(make({1, 3, 3}, {.size = int64_t{1} << 40, .alpha = 0x1p38}));
}

TEST(Lrn, ChunksMeetWithoutGapOrOverlap) {
  const Case c = make({3, 33, 20, 19}, {.size = 5, .alpha = 0.5});
  const std::vector<Numbers> x = random_inputs(c, DType::kF32);
  const Numbers y = forward(c, DType::kF32, x, 3)[0];
  const Numbers expected = c.expected(x)[0];
  for (size_t i = 0; i < y.size(); ++i) ASSERT_NEAR(y[i], expected[i], 1e-5) << i;
}

TEST(Lrn, InfinitiesAreSeen) {
  const Case c = make({1, 3, 1}, {.size = 3, .alpha = 1});
  const double inf = std::numeric_limits<double>::infinity();
  EXPECT_TRUE(std::isnan(run(c, DType::kF16, {{1, inf, 2}}, {{1, 1, 1}}).y[0][1]));
  EXPECT_TRUE(std::isnan(run(c, DType::kBf16, {{1, 1e30, 2}}, {{1, 1, 1}}).y[0][1]));
  EXPECT_TRUE(std::isfinite(forward(c, DType::kF16, {{60000, 60000, 60000}})[0][1]));
}

TEST(Lrn, RefusesWhatItDoesNotUnderstand) {
  EXPECT_NE(refusal({"LRN", 13}, {{1, 3, 2}}).find("size"), std::string::npos);
  EXPECT_NE(refusal({"LRN", 13, {{"size", int64_t{0}}}}, {{1, 3, 2}}).find("size is 0"), std::string::npos);
  EXPECT_NE(refusal({"LRN", 13, {{"size", int64_t{3}}}}, {{1, 3}}).find("[N, C, ...]"), std::string::npos);
  EXPECT_NE(refusal({"LRN", 13, {{"size", int64_t{3}}, {"axis", int64_t{1}}}}, {{1, 3, 2}}).find("'axis'"),
            std::string::npos);
}

}  // namespace
}  // namespace halftone::ops::test
