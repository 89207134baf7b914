#include "train/evaluation_metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace halftone::train {
namespace {

using Kind = MetricResults::Kind;
using Floats = std::vector<float>;

TEST(Auroc, CountsPairsAndHalvesOfEqualOnes) {
  std::vector<int64_t> order;
  const Floats scores{0.1F, 0.4F, 0.35F, 0.8F};
  const std::vector<uint8_t> positive{0, 0, 1, 1};
  EXPECT_DOUBLE_EQ(*auroc_of(scores, positive, order), 0.75);              // 3 of 4 pairs
  EXPECT_DOUBLE_EQ(*auroc_of(Floats{1, 1, 1, 0}, positive, order), 0.25);  // 2 halves of 4 pairs
  EXPECT_FALSE(auroc_of(Floats{1, 2}, std::vector<uint8_t>{1, 1}, order));
  EXPECT_FALSE(auroc_of(Floats{}, std::vector<uint8_t>{}, order));
}

TEST(Auroc, HistogramIsNearAndSaidToBeOne) {
  std::mt19937_64 random(3);
  Auroc all(2);
  Auroc bounded(2, 100);
  for (int i = 0; i < 3000; ++i) {
    const uint8_t label = random() % 3 == 0 ? 1 : 0;
    const auto p = static_cast<float>(
        0.5 / (1 + std::exp(-8 * (static_cast<double>(random() % 1000) / 1000 - 0.5))) + 0.25 * label + 0.1);
    const Floats row{1 - p, p};
    const std::vector<uint8_t> positive{static_cast<uint8_t>(1 - label), label};
    all.add(row, positive);
    bounded.add(row, positive);
  }
  EXPECT_TRUE(all.exact());
  EXPECT_FALSE(bounded.exact());
  for (const int64_t c : {0, 1}) {
    EXPECT_GT(*all.of(c), 0.6);
    EXPECT_LT(*all.of(c), 0.999);
    // A bucket in the middle is a 32nd of [0.25, 0.5): pairs within one are counted as equal.
    EXPECT_NEAR(*bounded.of(c), *all.of(c), 0.01);
  }
  Auroc wide(101, 100);
  wide.add(Floats(101, 0.5F), std::vector<uint8_t>(101, 1));
  EXPECT_FALSE(wide.of(0));
}

// Targets 0 0 1 1 2 and an ignored one; predicted 0 1 1 1 0.
TEST(EvaluationMetrics, OfClassesByHand) {
  EvaluationMetrics m;
  const Floats p{.7F, .2F, .1F, .3F, .6F, .1F, .1F, .8F, .1F, .2F, .5F, .3F, .5F, .1F, .4F, 1, 0, 0};
  const std::vector<int32_t> labels{0, 0, 1, 1, 2, -1};
  m.add_classes(p, p, labels, {}, 3, false, false);
  const MetricResults r = m.results(std::nullopt);
  EXPECT_EQ(r.kind, Kind::kClasses);
  EXPECT_EQ(r.targets, 5);
  EXPECT_EQ(r.ignored, 1);
  EXPECT_DOUBLE_EQ(r.accuracy, 0.6);
  EXPECT_EQ(r.confusion, (std::vector<int64_t>{1, 1, 0, 0, 2, 0, 1, 0, 0}));
  EXPECT_DOUBLE_EQ(r.classes[0].precision(), 0.5);
  EXPECT_DOUBLE_EQ(r.classes[0].recall(), 0.5);
  EXPECT_DOUBLE_EQ(r.classes[1].precision(), 2.0 / 3);
  EXPECT_DOUBLE_EQ(r.classes[1].f1(), 0.8);
  EXPECT_DOUBLE_EQ(r.classes[2].precision(), 0);
  EXPECT_DOUBLE_EQ(r.macro.f1, (0.5 + 0.8 + 0) / 3);
  EXPECT_DOUBLE_EQ(r.weighted.recall, 0.6);
  // Class 0: positives .7 .3, negatives .1 .2 .5: 5 of 6 pairs.
  EXPECT_DOUBLE_EQ(*r.classes[0].auroc, 5.0 / 6);
  // Each in a bin of its own but .5 twice (1 right, 1 wrong): .3 + .6 + .2 + |1 - 1.0|, with fp32's .7, .6, .8.
  EXPECT_NEAR(*r.calibration_error, (0.3 + 0.6 + 0.2 + 0.0) / 5, 1e-7);
  EXPECT_FALSE(r.top5);
  EXPECT_FALSE(r.mean_iou);
}

TEST(EvaluationMetrics, WeightsOfZeroAndIgnoredTargetsDoNotCount) {
  EvaluationMetrics m;
  const Floats p{.9F, .1F, .9F, .1F, .9F, .1F};
  m.add_classes(p, p, std::vector<int32_t>{0, 1, 1}, Floats{2.5F, 0, 1}, 2, false, true);
  const MetricResults r = m.results(std::log(3.0));
  EXPECT_EQ(r.targets, 2);
  EXPECT_EQ(r.ignored, 1);
  EXPECT_DOUBLE_EQ(r.accuracy, 0.5);
  EXPECT_DOUBLE_EQ(*r.classes[0].iou(), 0.5);
  EXPECT_DOUBLE_EQ(*r.mean_iou, 0.25);
  EXPECT_DOUBLE_EQ(*r.perplexity, std::exp(std::log(3.0)));
  EXPECT_FALSE(r.auroc_macro);  // not of positions
}

TEST(EvaluationMetrics, TopFiveRanksEqualScoresByTheirNumber) {
  EvaluationMetrics m;
  const Floats p{.1F, .1F, .1F, .1F, .1F, .1F, .1F, .1F, .1F, .1F, .1F, .1F};
  m.add_classes(p, p, std::vector<int32_t>{4, 5}, {}, 6, false, false);
  EXPECT_DOUBLE_EQ(*m.results(std::nullopt).top5, 0.5);
}

TEST(EvaluationMetrics, OfTwoClassesOfOneNumber) {
  EvaluationMetrics m;
  m.add_classes(Floats{-1, 1, 2}, Floats{.25F, .75F, .875F}, std::vector<int32_t>{0, 0, 1}, {}, 2, true,
                false);
  const MetricResults r = m.results(std::nullopt);
  EXPECT_EQ(r.confusion, (std::vector<int64_t>{1, 1, 0, 1}));
  EXPECT_DOUBLE_EQ(*r.auroc_macro, 1.0);
  // Two in one bin, one of them right: |1 - 1.5|.
  EXPECT_DOUBLE_EQ(*r.calibration_error, (.5 + .125) / 3);
}

TEST(EvaluationMetrics, OfLabelsThatHoldEachForItself) {
  EvaluationMetrics m;
  m.add_labels(Floats{.75F, .25F, .75F, .75F}, Floats{1, 0, 0, 1}, 2);
  MetricResults r = m.results(std::nullopt);
  EXPECT_EQ(r.kind, Kind::kLabels);
  EXPECT_DOUBLE_EQ(r.classes[0].precision(), 0.5);
  EXPECT_DOUBLE_EQ(r.classes[1].f1(), 1);
  EXPECT_DOUBLE_EQ(*r.classes[0].auroc, 0.5);
  // Numbers between 0 and 1 are no labels.
  m.add_labels(Floats{.75F, .25F}, Floats{0.5F, 0}, 2);
  EXPECT_EQ(m.results(std::nullopt).kind, Kind::kNone);
}

TEST(EvaluationMetrics, OfNumbersByHand) {
  EvaluationMetrics m;
  m.add_numbers(Floats{1, 7, 2, 7}, Floats{0, 7, 4, 7}, 2);
  m.add_numbers(Floats{5, 7}, Floats{5, 7}, 2);
  const MetricResults r = m.results(std::nullopt);
  EXPECT_EQ(r.targets, 3);
  EXPECT_DOUBLE_EQ(r.numbers[0].mae, 1);
  EXPECT_DOUBLE_EQ(r.numbers[0].rmse, std::sqrt(5.0 / 3));
  EXPECT_DOUBLE_EQ(*r.numbers[0].r2, 1 - 5.0 / 14);  // targets 0 4 5: squares around 3 are 14
  EXPECT_DOUBLE_EQ(r.numbers[1].mae, 0);
  EXPECT_FALSE(r.numbers[1].r2);
  EXPECT_DOUBLE_EQ(*r.numbers[0].spearman, 1);  // 1 2 5 beside 0 4 5
  EXPECT_NEAR(*r.numbers[0].pearson, 9 / std::sqrt(26.0 / 3 * 14), 1e-12);
  EXPECT_FALSE(r.numbers[1].spearman);  // all equal
  // Of samples of another size all targets are one: 0 4 5, 7 7 7 and 5, around 5.
  m.add_numbers(Floats{4}, Floats{5}, 1);
  const MetricResults pooled = m.results(std::nullopt);
  ASSERT_EQ(pooled.numbers.size(), 1U);
  EXPECT_DOUBLE_EQ(pooled.numbers[0].mae, 4.0 / 7);
  EXPECT_DOUBLE_EQ(*pooled.numbers[0].r2, 1 - 6.0 / 38);
  EXPECT_FALSE(pooled.numbers[0].pearson);
}

}  // namespace
}  // namespace halftone::train
