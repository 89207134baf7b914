// Mixed batches: each row is the sample's and its neighbour's in the shares that its labels say.
#include "data/mixing.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "data/files.h"
#include "data/loader.h"
#include "data/series.h"

namespace halftone::data {
namespace {

constexpr int64_t kSide = 8;

// Sample i is 3 x 8 x 8 numbers of 1000 i and the place; its class is i mod 4.
std::shared_ptr<const Dataset> numbered(const TemporaryFolder& folder) {
  std::vector<float> x;
  std::vector<int32_t> y;
  for (int i = 0; i < 24; ++i) {
    y.push_back(i % 4);
    for (int k = 0; k < 3 * kSide * kSide; ++k) x.push_back(static_cast<float>(1000 * i + k));
  }
  OpenOptions options;
  options.sample_shape = {3, kSide, kSide};
  return open_dataset(folder.write("a.npz", zip({{"x.npy", npy("<f4", "(24, 3, 8, 8)", bytes_of(x))},
                                                 {"y.npy", npy("<i4", "(24,)", bytes_of(y))}},
                                                false)),
                      options);
}

LoaderOptions mixing(double mixup, double cutmix) {
  LoaderOptions o;
  o.batch = 6;
  o.seed = 3;
  o.mixing = {mixup, cutmix};
  return o;
}

// The share of the sample itself by its labels, where its neighbour is of another class.
double own_share(const Batch& batch, int64_t row) {
  const auto labels = batch.field("label").as<float>();
  return labels[static_cast<size_t>(row * 4 + batch.indices[static_cast<size_t>(row)] % 4)];
}
int64_t before(const Batch& batch, int64_t row) {
  return batch.indices[static_cast<size_t>(row > 0 ? row - 1 : batch.count - 1)];
}

TEST(Mixing, MixupIsTheShareOfBothInNumbersAndLabels) {
  const TemporaryFolder folder;
  Loader loader(numbered(folder), mixing(0.4, 0));
  loader.start(0);
  int batches = 0;
  for (Batch batch; loader.next(batch); ++batches) {
    ASSERT_EQ(batch.field("label").shape(), (Shape{6, 4}));
    double share = -1;
    for (int64_t row = 0; row < batch.count; ++row) {
      const int64_t own = batch.indices[static_cast<size_t>(row)];
      const int64_t other = before(batch, row);
      if (own % 4 == other % 4) continue;
      const double here = own_share(batch, row);
      if (share >= 0) {
        EXPECT_EQ(here, share) << "one share a batch";
      }
      share = here;
      const auto x = batch.fields[0].data.as<float>();
      for (int64_t k = 0; k < 3 * kSide * kSide; ++k) {
        const double expected =
            share * static_cast<double>(1000 * own + k) + (1 - share) * static_cast<double>(1000 * other + k);
        // Numbers below 2^15, three roundings.
        EXPECT_NEAR(x[static_cast<size_t>(row * 3 * kSide * kSide + k)], expected, 3 * 0x1p-9);
      }
    }
    EXPECT_TRUE(share > 0 && share < 1);
  }
  EXPECT_EQ(batches, 4);
}

TEST(Mixing, CutmixTakesARectangleAndCountsIt) {
  const TemporaryFolder folder;
  for (const bool last : {false, true}) {
    LoaderOptions options = mixing(0, 1);
    options.channels_last = last;
    Loader loader(numbered(folder), options);
    loader.start(0);
    int64_t cut_all = 0;
    for (Batch batch; loader.next(batch);)
      for (int64_t row = 0; row < batch.count; ++row) {
        const int64_t own = batch.indices[static_cast<size_t>(row)];
        const int64_t other = before(batch, row);
        if (own % 4 == other % 4) continue;
        const auto x = batch.fields[0].data.as<float>();
        int64_t cut = 0;
        for (int64_t i = 0; i < 3 * kSide * kSide; ++i) {
          const auto value = static_cast<int64_t>(x[static_cast<size_t>(row * 3 * kSide * kSide + i)]);
          // Where the element stands in C,H,W.
          const int64_t k = last ? i % 3 * kSide * kSide + i / 3 : i;
          EXPECT_EQ(value % 1000, k);
          EXPECT_TRUE(value / 1000 == own || value / 1000 == other);
          cut += value / 1000 == other ? 1 : 0;
        }
        EXPECT_NEAR(own_share(batch, row), 1 - static_cast<double>(cut) / (3 * kSide * kSide), 1e-6);
        cut_all += cut;
      }
    EXPECT_GT(cut_all, 0);
  }
}

TEST(Mixing, DependsOnSeedEpochAndBatchAloneAndNotOnThreads) {
  const TemporaryFolder folder;
  const auto set = numbered(folder);
  const auto bytes = [&](int threads, uint64_t seed, int64_t epoch, int64_t first) {
    LoaderOptions options = mixing(0.2, 1);
    options.storage = DType::kF16;
    options.threads = threads;
    options.seed = seed;
    Loader loader(set, options);
    loader.start(epoch, first);
    std::vector<std::string> all;
    for (Batch batch; loader.next(batch);)
      for (const BatchField& f : batch.fields)
        all.emplace_back(static_cast<const char*>(f.data.data()), static_cast<size_t>(f.data.bytes()));
    return all;
  };
  const auto one = bytes(1, 3, 0, 0);
  EXPECT_EQ(one, bytes(3, 3, 0, 0));
  const auto later = bytes(2, 3, 0, 2);
  EXPECT_TRUE(std::equal(later.begin(), later.end(), one.begin() + 4, one.end()));
  EXPECT_NE(one, bytes(1, 4, 0, 0));
  EXPECT_NE(one, bytes(1, 3, 1, 0));
}

TEST(Mixing, EvaluationsAreNotMixed) {
  const TemporaryFolder folder;
  LoaderOptions options = mixing(1, 1);
  options.training = false;
  Loader loader(numbered(folder), options);
  loader.start(0);
  Batch batch;
  ASSERT_TRUE(loader.next(batch));
  EXPECT_EQ(batch.field("label").dtype(), DType::kI32);
  EXPECT_EQ(batch.fields[0].data.as<float>()[0], 0);
}

// Beta(a, a) has the mean 1/2 and the variance 1 / (4 (2 a + 1)).
TEST(Mixing, SharesAreOfBeta) {
  for (const double a : {0.2, 0.5, 1.0}) {
    constexpr int kDraws = 4000;
    double sum = 0;
    double squares = 0;
    for (uint64_t b = 0; b < kDraws; ++b) {
      const double share = mixed({a, 0}, 1, 0, b, 1, 1).share;
      ASSERT_TRUE(share >= 0 && share <= 1);
      sum += share;
      squares += (share - 0.5) * (share - 0.5);
    }
    const double variance = 1 / (4 * (2 * a + 1));
    // The mean's deviation is at most 0.5 / sqrt(4000) = 0.008, that of the mean of squares (at most 1/4) at most 0.002.
    EXPECT_NEAR(sum / kDraws, 0.5, 5 * 0.008) << a;
    EXPECT_NEAR(squares / kDraws, variance, 5 * 0.002) << a;
  }
}

TEST(Mixing, RefusesLabelsThatAreNoClasses) {
  const TemporaryFolder folder;
  const std::vector<float> x(12, 1);
  const auto set = std::shared_ptr<const Dataset>(
      open_dataset(folder.write("a.npz", zip({{"x.npy", npy("<f4", "(6, 2)", bytes_of(x))},
                                              {"y.npy", npy("<f4", "(6, 2)", bytes_of(x))}},
                                             false)),
                   {}));
  EXPECT_NE(
      message_of([&] { Loader(set, mixing(0.2, 0)); }).find("--mixup and --cutmix need one class a sample"),
      std::string::npos);
}

TEST(Series, LogarithmAndPowersAreTheFunctions) {
  for (const double x : {1e-300, 1e-9, 0.1, 0.5, 0.7071, 0.99, 1.0, 3.0, 1e9})
    EXPECT_NEAR(log_series(x), std::log(x), 1e-14 * (1 + std::abs(std::log(x))));
  for (const double x : {-690.0, -20.0, -0.3, 0.0, 0.3, 5.0, 600.0})
    EXPECT_NEAR(power_of_e(x) / std::exp(x), 1, 1e-13) << x;
  EXPECT_EQ(power_of_e(-1000), 0);
}

}  // namespace
}  // namespace halftone::data
