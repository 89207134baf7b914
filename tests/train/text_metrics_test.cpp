#include "train/text_metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "num/random.h"

namespace halftone::train {
namespace {

// Expected: SciPy's pearsonr and spearmanr.
TEST(TextMetrics, CorrelationsAreSciPys) {
  const std::vector<float> x{1, 2, 2, 5, 3, 8};
  const std::vector<float> y{2, 1, 4, 3, 3, 9};
  EXPECT_NEAR(pearson(x, y).value(), 0.8540020516216839, 1e-12);
  EXPECT_NEAR(spearman(x, y).value(), 0.6470588235294118, 1e-12);
  EXPECT_FALSE(spearman(x, std::vector<float>(6, 3.0F)).has_value());
  EXPECT_FALSE(pearson(std::vector<float>{1}, std::vector<float>{1}).has_value());
}

TEST(TextMetrics, RecallCountsTheSecondTextsBeforeItsOwn) {
  // The first text of sample 0 is nearest to its own second text, that of 1 to sample 0's, that of 2 to both of the others'
  // before its own.
  const std::vector<float> e{1, 0, 1, 0, /**/ 1, 0.1F, 0, 1, /**/ 1, 0.1F, 0, -2};
  TextMetrics m;
  m.add(e, 2, 2, {}, false);
  const TextResults r = m.results();
  EXPECT_NEAR(*r.recall_at_1, 1.0 / 3, 1e-12);
  EXPECT_NEAR(*r.mrr, (1 + 1.0 / 2 + 1.0 / 3) / 3, 1e-12);
  EXPECT_EQ(r.candidates, 3);
  EXPECT_FALSE(r.recall_at_5.has_value());
  EXPECT_FALSE(r.triplet_accuracy.has_value());
}

TEST(TextMetrics, OfEqualTextsTheEarlierSamplesComesFirst) {
  const std::vector<float> e{1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0};
  TextMetrics m;
  m.add(std::span(e).first(4), 2, 2, {}, false);
  m.add(std::span(e).subspan(4), 2, 2, {}, false);
  EXPECT_NEAR(*m.results().recall_at_1, 1.0 / 3, 1e-12);
}

TEST(TextMetrics, RanksAreThoseOfAllCosines) {
  constexpr int64_t kSamples = 150;  // more than a tile
  constexpr int64_t kWidth = 7;
  const num::RandomKey key = num::random_key(3, 1);
  std::vector<float> e(static_cast<size_t>(kSamples * 2 * kWidth));
  for (size_t i = 0; i < e.size(); ++i) e[i] = static_cast<float>(num::random16(key, i, 0)) / 32768.0F - 1.0F;
  TextMetrics m;
  m.add(e, 2, kWidth, {}, false);
  const auto cosine = [&](int64_t i, int64_t j) {
    const float* a = e.data() + 2 * i * kWidth;
    const float* b = e.data() + (2 * j + 1) * kWidth;
    const double ab = std::inner_product(a, a + kWidth, b, 0.0);
    return ab / std::sqrt(std::inner_product(b, b + kWidth, b, 0.0));
  };
  double mrr = 0;
  double in_10 = 0;
  for (int64_t i = 0; i < kSamples; ++i) {
    int64_t before = 0;
    for (int64_t j = 0; j < kSamples; ++j) before += cosine(i, j) > cosine(i, i) ? 1 : 0;
    mrr += 1.0 / static_cast<double>(before + 1) / kSamples;
    in_10 += before < 10 ? 1.0 / kSamples : 0;
  }
  EXPECT_NEAR(*m.results().mrr, mrr, 1e-12);
  EXPECT_NEAR(*m.results().recall_at_10, in_10, 1e-12);
  EXPECT_GT(mrr, 0.01);
}

TEST(TextMetrics, TripletsAreComparedByCosineOrDistance) {
  // Nearer by direction, farther by distance.
  const std::vector<float> e{1, 0, 9, 0, 0.5F, 0.5F};
  TextMetrics by_cosine;
  by_cosine.add(e, 3, 2, {}, false);
  EXPECT_EQ(by_cosine.results().triplet_accuracy, 1.0);
  TextMetrics by_distance;
  by_distance.add(e, 3, 2, {}, true);
  EXPECT_EQ(by_distance.results().triplet_accuracy, 0.0);
}

TEST(TextMetrics, ScoresCorrelateWithCosines) {
  const std::vector<float> e{1, 0, 1, 0, /**/ 1, 0, 1, 1, /**/ 1, 0, 0, 1};
  const std::vector<float> scores{5, 3, 1};
  TextMetrics m;
  m.add(e, 2, 2, scores, false);
  EXPECT_NEAR(*m.results().spearman, 1, 1e-12);
  EXPECT_FALSE(m.results().recall_at_1.has_value());
}

}  // namespace
}  // namespace halftone::train
