#include "train/early_stopping.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"

namespace halftone::train {
namespace {

TEST(EarlyStopping, StopsAfterPatienceEvaluationsWithoutImprovement) {
  EarlyStopping stopping(Direction::kMin, 2);
  EXPECT_TRUE(stopping.observe(10, 1.0));
  EXPECT_FALSE(stopping.observe(20, 1.5));
  EXPECT_FALSE(stopping.should_stop());
  EXPECT_TRUE(stopping.observe(30, 0.5));
  EXPECT_FALSE(stopping.observe(40, 0.5)) << "equal is no improvement";
  EXPECT_FALSE(stopping.should_stop());
  EXPECT_FALSE(stopping.observe(50, 0.6));
  EXPECT_TRUE(stopping.should_stop());
  EXPECT_EQ(stopping.state().best, 0.5);
  EXPECT_EQ(stopping.state().best_step, 30);
}

TEST(EarlyStopping, LargerIsBetterForAccuracy) {
  EarlyStopping stopping(Direction::kMax, 1, 0.01);
  EXPECT_TRUE(stopping.observe(1, 0.80));
  EXPECT_TRUE(stopping.observe(2, 0.82));
  EXPECT_FALSE(stopping.observe(3, 0.825)) << "less than min_delta better";
  EXPECT_TRUE(stopping.should_stop());
}

TEST(EarlyStopping, NonFiniteMetricsAreNoImprovement) {
  EarlyStopping stopping(Direction::kMin, 2);
  EXPECT_FALSE(stopping.observe(1, std::nan("")));
  EXPECT_FALSE(stopping.observe(2, -INFINITY));
  EXPECT_TRUE(stopping.should_stop());
  EXPECT_FALSE(stopping.state().best.has_value());
}

TEST(EarlyStopping, WithoutPatienceItOnlyKeepsTheBest) {
  EarlyStopping stopping(Direction::kMin, std::nullopt);
  stopping.observe(0, 1);
  for (int64_t i = 1; i < 1000; ++i) stopping.observe(i, 2);
  EXPECT_FALSE(stopping.should_stop());
  EXPECT_EQ(stopping.state().best_step, 0);
}

TEST(EarlyStopping, StateSurvivesAsText) {
  EarlyStopping stopping(Direction::kMin, 5);
  EXPECT_EQ(early_stopping_from_json(to_json(stopping.state())), stopping.state());
  stopping.observe(7, 0.1 + 0.2);
  stopping.observe(8, 1);
  EXPECT_EQ(early_stopping_from_json(to_json(stopping.state())), stopping.state());
  EXPECT_THROW(early_stopping_from_json("{}"), Error);
}

TEST(EarlyStopping, ImpossibleOptionsAreUsageErrors) {
  EXPECT_THROW(EarlyStopping(Direction::kMin, 0), Error);
  EXPECT_THROW(EarlyStopping(Direction::kMin, 1, -0.1), Error);
  EXPECT_THROW(EarlyStopping(Direction::kMin, 1, std::nan("")), Error);
}

}  // namespace
}  // namespace halftone::train
