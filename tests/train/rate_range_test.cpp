#include "train/rate_range.h"

#include <gtest/gtest.h>

#include <cmath>

namespace halftone::train {
namespace {

TEST(RateRange, RisesByTheSameFactor) {
  EXPECT_DOUBLE_EQ(range_rate(1e-7, 10, 0, 100), 1e-7);
  EXPECT_NEAR(range_rate(1e-7, 10, 99, 100), 10, 1e-12);
  EXPECT_NEAR(range_rate(1e-7, 10, 50, 100) / range_rate(1e-7, 10, 49, 100), std::pow(1e8, 1.0 / 99), 1e-12);
}

TEST(RunningLosses, EndWhenALossIsBeyondUse) {
  RunningLosses losses;
  EXPECT_TRUE(losses.add(2));
  EXPECT_DOUBLE_EQ(losses.means()[0], 2);
  EXPECT_TRUE(losses.add(1));
  // (0.98 * 2 + 1) / (0.98 + 1)
  EXPECT_NEAR(losses.means()[1], 2.96 / 1.98, 1e-12);
  EXPECT_FALSE(losses.add(NAN));
  EXPECT_EQ(losses.means().size(), 2U);
  EXPECT_FALSE(losses.add(1000));
}

TEST(SteepestFall, IsWhereALineFallsMost) {
  // Flat, falling slowly from 20 and fast from 40 to 50, slowly to 60, rising.
  std::vector<double> losses{2};
  for (int i = 1; i < 80; ++i)
    losses.push_back(losses.back() - (i < 20 ? 0 : i < 40 ? 0.01 : i < 50 ? 0.05 : i < 60 ? 0.01 : -0.1));
  const auto at = steepest_fall(losses);
  ASSERT_TRUE(at);
  // A window of ten.
  EXPECT_GE(*at, 44U);
  EXPECT_LE(*at, 45U);
  EXPECT_FALSE(steepest_fall({}));
  EXPECT_FALSE(steepest_fall(std::vector<double>(50, 1.0)));
  std::vector<double> rising;
  for (int i = 0; i < 50; ++i) rising.push_back(i);
  EXPECT_FALSE(steepest_fall(rising));
  // Less than a hundredth.
  std::vector<double> little;
  for (int i = 0; i < 50; ++i) little.push_back(10 - 0.001 * i);
  EXPECT_FALSE(steepest_fall(little));
}

TEST(Sparkline, HasABlockAColumn) {
  EXPECT_EQ(sparkline({1, 0}, 10), "█▁");
  EXPECT_EQ(sparkline({3, 3, 3}, 2), "▁▁");
  EXPECT_EQ(sparkline({}, 2), "");
}

}  // namespace
}  // namespace halftone::train
