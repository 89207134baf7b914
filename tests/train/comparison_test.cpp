// What comparisons claim, by simulation too: under no difference a wrong claim comes in at most about five of
// a hundred.
#include "train/comparison.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"

namespace halftone::train {
namespace {

// A population of samples and of seeds, from which comparisons are drawn.
struct World {
  int seeds = 3;
  int samples = 300;
  double seed_spread = 0;        // of each run's quality, in logits
  double difficulty_spread = 2;  // of the samples, alike for both variants
  double taste_spread = 0;   // of the samples, of each variant's own: what one finds hard the other does not
  double luck_spread = 1;    // of each sample in each run
  double offset = 1;         // logits of right against wrong
  double difference = 0;     // of the variants' quality
  bool heavy_tails = false;  // of the luck
};

struct Draw {
  SeedsBySamples accuracy[2], loss[2];
};

Draw draw(const World& w, std::mt19937_64& random) {
  std::normal_distribution<double> normal;
  std::student_t_distribution<double> tails(3);
  std::vector<double> difficulty, taste[2];
  for (int j = 0; j < w.samples; ++j) {
    difficulty.push_back(w.difficulty_spread * normal(random));
    for (auto& of_variant : taste) of_variant.push_back(w.taste_spread * normal(random));
  }
  Draw d;
  for (int v = 0; v < 2; ++v) {
    for (int k = 0; k < w.seeds; ++k) {
      const double quality = w.offset + w.seed_spread * normal(random) + (v == 0 ? w.difference : 0);
      auto& right = d.accuracy[v].emplace_back();
      auto& loss = d.loss[v].emplace_back();
      for (int j = 0; j < w.samples; ++j) {
        const auto at = static_cast<size_t>(j);
        const double luck = w.luck_spread * (w.heavy_tails ? tails(random) : normal(random));
        const double logit = quality + difficulty[at] + taste[v][at] + luck;
        right.push_back(logit > 0 ? 1 : 0);
        loss.push_back(std::log1p(std::exp(-logit)));
      }
    }
  }
  return d;
}

struct Claims {
  double accuracy_better = 0, accuracy_worse = 0, loss_better = 0, loss_worse = 0;  // shares of the draws
};

Claims simulate(const World& w, int draws, uint64_t seed) {
  std::mt19937_64 random(seed);
  Claims c;
  for (int i = 0; i < draws; ++i) {
    const Draw d = draw(w, random);
    const Claim accuracy = compare(Measure::kAccuracy, d.accuracy[0], d.accuracy[1]).claim;
    const Claim loss = compare(Measure::kLoss, d.loss[0], d.loss[1]).claim;
    c.accuracy_better += accuracy == Claim::kBetter ? 1.0 / draws : 0;
    c.accuracy_worse += accuracy == Claim::kWorse ? 1.0 / draws : 0;
    c.loss_better += loss == Claim::kBetter ? 1.0 / draws : 0;
    c.loss_worse += loss == Claim::kWorse ? 1.0 / draws : 0;
  }
  return c;
}

constexpr int kDraws = 1000;
// 5 % and three standard deviations of a share of so many draws.
const double kMostWrong = 0.05 + 3 * std::sqrt(0.05 * 0.95 / kDraws);

void expect_few_wrong_claims(const World& w, uint64_t seed) {
  const Claims c = simulate(w, kDraws, seed);
  EXPECT_LE(c.accuracy_better + c.accuracy_worse, kMostWrong);
  EXPECT_LE(c.loss_better + c.loss_worse, kMostWrong);
}

TEST(ComparisonCoverage, RunsThatDifferByLuckAlone) {
  expect_few_wrong_claims({}, 1);
}
TEST(ComparisonCoverage, RunsThatDifferBySeed) {
  expect_few_wrong_claims({.seed_spread = 0.5}, 2);
  expect_few_wrong_claims({.seeds = 5, .seed_spread = 0.2}, 3);
}
TEST(ComparisonCoverage, VariantsThatFindOtherSamplesHard) {
  expect_few_wrong_claims({.taste_spread = 1, .luck_spread = 0.1}, 4);
  expect_few_wrong_claims({.seed_spread = 0.2, .taste_spread = 0.5}, 5);
}
TEST(ComparisonCoverage, FewSamplesThatDiffer) {
  // About four of 300 differ, the same in each seed: the case in which a normal interval claims too much.
  expect_few_wrong_claims({.difficulty_spread = 3, .taste_spread = 0.05, .luck_spread = 0, .offset = 2}, 6);
  expect_few_wrong_claims({.samples = 60, .difficulty_spread = 3, .taste_spread = 0.3, .luck_spread = 0.05},
                          7);
}
TEST(ComparisonCoverage, LossesWithHeavyTails) {
  expect_few_wrong_claims({.heavy_tails = true}, 8);
  expect_few_wrong_claims(
      {.seeds = 4, .samples = 100, .seed_spread = 0.1, .taste_spread = 1, .heavy_tails = true}, 9);
}

TEST(ComparisonCoverage, TrainingLossesClaimLittleToo) {
  std::mt19937_64 random(10);
  std::normal_distribution<double> normal;
  int wrong = 0;
  for (int i = 0; i < kDraws; ++i) {
    SeedsBySamples a, b;
    for (int k = 0; k < 3; ++k) {
      a.push_back({normal(random)});
      b.push_back({normal(random)});
    }
    const Claim claim = compare(Measure::kTrainingLoss, a, b).claim;
    wrong += claim == Claim::kBetter || claim == Claim::kWorse ? 1 : 0;
  }
  EXPECT_LE(wrong, kMostWrong * kDraws);
  EXPECT_GE(wrong, 0.02 * kDraws) << "an interval that never claims anything passes the other tests too";
}

TEST(ComparisonCoverage, ADifferenceIsSeenAndInItsDirection) {
  const Claims better = simulate({.samples = 500, .seed_spread = 0.05, .difference = 0.5}, 100, 11);
  EXPECT_GE(better.accuracy_better, 0.9);
  EXPECT_GE(better.loss_better, 0.9);
  EXPECT_EQ(better.accuracy_worse, 0);
  EXPECT_EQ(better.loss_worse, 0);
  const Claims worse = simulate({.samples = 500, .seed_spread = 0.05, .difference = -0.5}, 100, 12);
  EXPECT_GE(worse.accuracy_worse, 0.9);
  EXPECT_GE(worse.loss_worse, 0.9);
  EXPECT_EQ(worse.accuracy_better, 0);
  EXPECT_EQ(worse.loss_better, 0);
}

TEST(ComparisonCoverage, IntervalsHoldTheMean) {
  // Mean 0.3; the half width without the correction, for losses.
  std::mt19937_64 random(13);
  std::normal_distribution<double> normal;
  int held = 0;
  for (int i = 0; i < kDraws; ++i) {
    SeedsBySamples values;
    std::vector<double> of_sample(40);
    for (double& x : of_sample) x = normal(random);
    for (int k = 0; k < 3; ++k) {
      const double of_seed = 0.3 + 0.2 * normal(random);
      auto& row = values.emplace_back();
      for (const double x : of_sample) row.push_back(of_seed + x + normal(random));
    }
    const CrossedInterval interval = crossed_interval(values);
    held += std::abs(interval.mean - 0.3) <= *interval.half_width ? 1 : 0;
  }
  EXPECT_GE(held, (1 - kMostWrong) * kDraws);
}

SeedsBySamples repeated(int64_t seeds, std::vector<double> row) {
  return SeedsBySamples(static_cast<size_t>(seeds), std::move(row));
}

// `right` of `samples` ones, then zeros.
std::vector<double> hits(int64_t right, int64_t samples) {
  std::vector<double> row(static_cast<size_t>(samples), 0.0);
  std::fill(row.begin(), row.begin() + right, 1.0);
  return row;
}

TEST(Comparison, OneImageOf500IsNoDifference) {
  for (const int64_t seeds : {3, 5, 20}) {
    const Comparison c =
        compare(Measure::kAccuracy, repeated(seeds, hits(401, 500)), repeated(seeds, hits(400, 500)));
    EXPECT_EQ(c.claim, Claim::kNoDifferenceSeen) << c.text;
    EXPECT_DOUBLE_EQ(c.difference.mean, 0.002);
    EXPECT_GT(*c.difference.half_width, 0.004) << "the samples' part does not fall with the seeds";
  }
}

TEST(Comparison, ConstantDifferencesByMcNemarsTest) {
  // b samples that one variant alone gets right, in every seed. The exact test of McNemar: p = 2 / 2^b, below
  // 5 % from 6 on.
  for (int64_t b = 1; b < 12; ++b) {
    const Comparison c =
        compare(Measure::kAccuracy, repeated(3, hits(1000, 2000)), repeated(3, hits(1000 - b, 2000)));
    EXPECT_EQ(c.claim, b < 6 ? Claim::kNoDifferenceSeen : Claim::kBetter) << b << ": " << c.text;
  }
}

// A claim beside "+0.0005 ± 0.0005" or "± 0.0000" could not be checked by its reader.
TEST(Comparison, IntervalsAreShownWithTwoDigitsAtLeast) {
  for (const double size : {1.0, 1e-3, 1e-6}) {
    SeedsBySamples variant(3), base(3);
    for (int k = 0; k < 3; ++k)
      for (int j = 0; j < 20; ++j) {
        base[static_cast<size_t>(k)].push_back(0);
        variant[static_cast<size_t>(k)].push_back(size * (1 + 0.1 * k + 0.05 * j));
      }
    const Comparison c = compare(Measure::kLoss, variant, base);
    const size_t at = c.text.find("± ");
    ASSERT_NE(at, std::string::npos) << c.text;
    const double shown = std::stod(c.text.substr(at + std::string("± ").size()));
    EXPECT_NEAR(shown, *c.difference.half_width, 0.05 * *c.difference.half_width) << c.text;
  }
}

TEST(Comparison, NoVerdictBelowThreeSeeds) {
  for (const int64_t seeds : {1, 2}) {
    for (const Measure measure : {Measure::kAccuracy, Measure::kLoss}) {
      const Comparison c = compare(measure, repeated(seeds, hits(450, 500)), repeated(seeds, hits(50, 500)));
      EXPECT_EQ(c.claim, Claim::kNone);
      EXPECT_NE(c.text.find("no verdict"), std::string::npos) << c.text;
      EXPECT_NE(c.text.find("--seeds 3"), std::string::npos) << c.text;
      EXPECT_EQ(c.difference.half_width.has_value(), seeds == 2);
    }
    const Comparison c = compare(Measure::kTrainingLoss, repeated(seeds, {0.5}), repeated(seeds, {0.1}));
    EXPECT_EQ(c.claim, Claim::kNone);
  }
}

TEST(Comparison, NoVerdictWithoutSpread) {
  for (const Measure measure : {Measure::kAccuracy, Measure::kLoss}) {
    const Comparison same = compare(measure, repeated(3, hits(3, 9)), repeated(3, hits(3, 9)));
    EXPECT_EQ(same.claim, Claim::kNone);
    EXPECT_NE(same.text.find("the same results everywhere"), std::string::npos) << same.text;
    EXPECT_EQ(same.text.find("±"), std::string::npos) << same.text;
  }
  // A difference that is not a whole number of anything, the same in each sample of each seed.
  const Comparison shifted = compare(Measure::kLoss, repeated(3, std::vector<double>(7, 0.7)),
                                     repeated(3, std::vector<double>(7, 0.1)));
  EXPECT_EQ(shifted.claim, Claim::kNone) << shifted.text;
  const Comparison training = compare(Measure::kTrainingLoss, repeated(4, {0.7}), repeated(4, {0.1}));
  EXPECT_EQ(training.claim, Claim::kNone) << training.text;
}

TEST(Comparison, OneSampleSaysNothingOfOthers) {
  EXPECT_EQ(compare(Measure::kLoss, {{1.0}, {1.1}, {1.2}}, {{5.0}, {5.2}, {5.1}}).claim, Claim::kNone);
}

TEST(Comparison, ValuesThatAreNotFiniteGetNoVerdict) {
  SeedsBySamples broken = repeated(3, {1, 2, 3});
  broken[1][1] = std::numeric_limits<double>::quiet_NaN();
  const Comparison c = compare(Measure::kLoss, broken, repeated(3, {1, 2, 4}));
  EXPECT_EQ(c.claim, Claim::kNone);
  EXPECT_NE(c.text.find("not finite"), std::string::npos) << c.text;
  broken[1][1] = std::numeric_limits<double>::infinity();
  EXPECT_EQ(compare(Measure::kLoss, broken, repeated(3, {1, 2, 4})).claim, Claim::kNone);
}

TEST(Comparison, LowerLossIsBetter) {
  SeedsBySamples low, high;
  for (int k = 0; k < 3; ++k) {
    auto& a = low.emplace_back();
    auto& b = high.emplace_back();
    for (int j = 0; j < 50; ++j) {
      a.push_back(1 + 0.01 * (j % 5) + 0.01 * k);
      b.push_back(2 + 0.01 * (j % 3));
    }
  }
  EXPECT_EQ(compare(Measure::kLoss, low, high).claim, Claim::kBetter);
  EXPECT_EQ(compare(Measure::kLoss, high, low).claim, Claim::kWorse);
  EXPECT_EQ(compare(Measure::kTrainingLoss, {{1.0}, {1.1}, {1.2}}, {{5.0}, {5.2}, {5.1}}).claim,
            Claim::kBetter);
}

TEST(CrossedInterval, IsTheFormula) {
  // Seeds' means 2, 3, 4: s^2 = 1. Samples' means 2, 4: s^2 = 2. V = 1/3 + 2/2 = 4/3,
  // f = (16/9) / ((1/9) / 2 + 1 / 1) = 1.684: t(0.975, 1).
  const CrossedInterval interval = crossed_interval({{1, 3}, {2, 4}, {3, 5}});
  EXPECT_DOUBLE_EQ(interval.mean, 3);
  EXPECT_NEAR(*interval.half_width, 12.7062047362 * std::sqrt(4.0 / 3), 1e-8);
  EXPECT_EQ(interval.seeds, 3);
  EXPECT_EQ(interval.samples, 2);
  EXPECT_FALSE(crossed_interval({{1, 2, 3}}).half_width.has_value());
  EXPECT_FALSE(crossed_interval({{1}, {2}}).half_width.has_value());
  EXPECT_THROW(crossed_interval({}), InternalError);
  EXPECT_THROW(crossed_interval({{1, 2}, {1}}), InternalError);
}

}  // namespace
}  // namespace halftone::train
