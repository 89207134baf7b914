// What is lost between two precisions is counted, and rounding is emulated without a range.
#include "pass/difference.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "kern/significands.h"
#include "num/half.h"

namespace halftone::pass {
namespace {

TEST(Difference, CountsOverflowAndFlushAndLeavesMasksOut) {
  const float inf = std::numeric_limits<float>::infinity();
  const std::vector<float> wide{1, 70000, 1e-9F, 0, -3.4e38F, -inf, 1e-6F};
  std::vector<num::Fp16> narrow;
  for (const float x : wide) narrow.push_back(num::narrow<num::Fp16>(x));
  const Difference d = difference(DType::kF16, narrow.data(), DType::kF32, wide.data(), 7);
  EXPECT_EQ(d.elements, 7);
  EXPECT_EQ(d.overflowed, 1) << "70000, and not the masks";
  EXPECT_EQ(d.flushed, 1) << "1e-9, and neither 0 nor the subnormal 1e-6";
  EXPECT_EQ(d.largest, 70000);
  EXPECT_LT(d.relative(), 1e-6);
  const Difference small = difference(DType::kF16, narrow.data() + 2, DType::kF32, wide.data() + 2, 1);
  EXPECT_EQ(small.relative(), 1);
  EXPECT_EQ(small.small_error, small.error);
}

TEST(RoundSignificands, IsTheRoundingOfTheTypeWithinItsRange) {
  std::vector<float> x;
  for (int i = 0; i < 2000; ++i)
    x.push_back(std::ldexp(1.0F + static_cast<float>(i * 37 % 2048) / 2048.0F, i % 10 - 5));
  x.push_back(-1.00048828125F);  // halfway between neighbours of fp16
  std::vector<float> eleven = x;
  std::vector<float> eight = x;
  kern::round_significands(eleven.data(), static_cast<int64_t>(x.size()), significant_bits(DType::kF16));
  kern::round_significands(eight.data(), static_cast<int64_t>(x.size()), significant_bits(DType::kBf16));
  int changed = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    EXPECT_EQ(eleven[i], num::widen(num::narrow<num::Fp16>(x[i]))) << x[i];
    EXPECT_EQ(eight[i], num::widen(num::narrow<num::Bf16>(x[i]))) << x[i];
    if (eight[i] != x[i]) ++changed;
  }
  EXPECT_GT(changed, 1000);
  std::vector<float> beyond{1e6F, 1e-20F, std::numeric_limits<float>::infinity()};
  kern::round_significands(beyond.data(), 3, 11);
  EXPECT_NEAR(beyond[0], 1e6, 1e6 * 0x1p-11);
  EXPECT_NEAR(beyond[1], 1e-20, 1e-20 * 0x1p-11);
  EXPECT_TRUE(std::isinf(beyond[2]));
}

}  // namespace
}  // namespace halftone::pass
