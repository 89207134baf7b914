#include "train/metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "base/error.h"

namespace halftone::train {
namespace {

TEST(RunningMean, WeightsBySamples) {
  RunningMean mean;
  EXPECT_FALSE(mean.mean().has_value());
  mean.add(2.0, 30);
  mean.add(5.0, 10);
  mean.add(std::nan(""), 0);
  EXPECT_DOUBLE_EQ(mean.mean().value(), 2.75);
  EXPECT_EQ(mean.count(), 40);
  mean.add(std::nan(""), 1);
  EXPECT_TRUE(std::isnan(mean.mean().value()));
  mean.reset();
  EXPECT_FALSE(mean.mean().has_value());
}

TEST(RunningMean, ResumedInTheMiddleGivesTheSameBits) {
  RunningMean whole;
  RunningMean resumed;
  for (int i = 1; i <= 1000; ++i) {
    whole.add(1.0 / i, 128);
    resumed = RunningMean::from_json(resumed.to_json());
    resumed.add(1.0 / i, 128);
  }
  EXPECT_EQ(whole.mean().value(), resumed.mean().value());
}

TEST(RunningMean, StateMayBeInfinite) {
  for (const double value :
       {std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity(), std::nan("")}) {
    RunningMean mean;
    mean.add(value, 3);
    const RunningMean back = RunningMean::from_json(mean.to_json());
    EXPECT_EQ(std::isnan(back.mean().value()), std::isnan(value));
    if (!std::isnan(value)) {
      EXPECT_EQ(back.mean().value(), value);
    }
  }
  for (const char* bad :
       {"", "{}", R"({"sum":1,"count":2})", R"({"sum":"1x","count":2})", R"({"sum":"1","count":-2})"})
    EXPECT_THROW(RunningMean::from_json(bad), Error) << bad;
}

TEST(Student, QuantilesAreThoseOfTheTables) {
  // Two-sided 95 % and 99 %, and one-sided 95 %: the usual printed table.
  EXPECT_NEAR(student_quantile(0.975, 1), 12.7062047362, 1e-8);
  EXPECT_NEAR(student_quantile(0.975, 2), 4.30265272991, 1e-9);
  EXPECT_NEAR(student_quantile(0.975, 3), 3.18244630528, 1e-9);
  EXPECT_NEAR(student_quantile(0.975, 4), 2.77644510520, 1e-9);
  EXPECT_NEAR(student_quantile(0.975, 9), 2.26215716280, 1e-9);
  EXPECT_NEAR(student_quantile(0.975, 30), 2.04227245630, 1e-9);
  EXPECT_NEAR(student_quantile(0.995, 1), 63.6567411629, 1e-7);
  EXPECT_NEAR(student_quantile(0.995, 5), 4.03214298356, 1e-9);
  EXPECT_NEAR(student_quantile(0.95, 10), 1.81246112281, 1e-9);
  EXPECT_NEAR(student_quantile(0.975, 1'000'000), 1.95996635682,
              1e-7);  // nearly the normal distribution's 1.959964
  EXPECT_EQ(student_quantile(0.5, 3), 0);
  EXPECT_EQ(student_quantile(0.025, 7), -student_quantile(0.975, 7));
}

TEST(Interval, OneValueHasNoWidthAndEqualOnesHaveNone) {
  EXPECT_FALSE(mean_interval(std::vector<double>{3}).half_width.has_value());
  EXPECT_EQ(mean_interval(std::vector<double>{3, 3, 3}).half_width.value(), 0);
  EXPECT_TRUE(std::isnan(mean_interval(std::vector<double>{3, std::nan("")}).mean));
  EXPECT_THROW(mean_interval({}), InternalError);
}

}  // namespace
}  // namespace halftone::train
