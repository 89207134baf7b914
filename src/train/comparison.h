// What a comparison of two variants may claim: the mean difference over seeds and samples, its interval, and
// a verdict. docs/comparing.md has the method.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace halftone::train {

// One row a seed, one value a sample, the same samples in the same order in each row.
using SeedsBySamples = std::vector<std::vector<double>>;

struct CrossedInterval {
  double mean = 0;
  // Of the mean, over other seeds and other samples of the same kind. None with one seed, which says nothing
  // about other seeds, with one sample, and for values that are not finite.
  std::optional<double> half_width;
  int64_t seeds = 0;
  int64_t samples = 0;
};

// Two-way random effects, crossed:
//   x[k][j] = mean + seed_k + sample_j + rest_kj
//   variance of the mean  V = V_seeds + V_samples, V_seeds = s^2(means of the seeds) / K,
//                         V_samples = s^2(means of the samples) / J
//   half width            t(1 - (1 - confidence) / 2, f) sqrt(V),
//                         f = V^2 / (V_seeds^2 / (K - 1) + V_samples^2 / (J - 1))
// The rest is in both parts, so V is too large by it, never too small. Source: A. Owen, "The pigeonhole
// bootstrap", Annals of Applied Statistics 1 (2007), whose resampling over rows and columns has this
// variance; f: F. Satterthwaite, "An approximate distribution of estimates of variance components",
// Biometrics Bulletin 2 (1946). Error (ours) when rows differ in length or there is none.
CrossedInterval crossed_interval(const SeedsBySamples& values, double confidence = 0.95);

// What is compared; decides which direction is better, and the words.
enum class Measure : uint8_t {
  kAccuracy,      // a share of samples; higher is better
  kLoss,          // lower is better
  kTrainingLoss,  // one value a seed: there are no validation samples
};

enum class Claim : uint8_t { kNone, kBetter, kWorse, kNoDifferenceSeen };

inline constexpr int64_t kLeastSeeds = 3;  // for a claim

struct Comparison {
  CrossedInterval difference;
  Claim claim = Claim::kNone;
  std::string why_none;  // why there is no claim
  // Such as "accuracy +0.20 points ± 0.39 (95 %, 3 seeds x 500 samples): no difference seen".
  std::string text;
};

// variant - base. The rows are paired: row k of both has one seed and one order of data. For kTrainingLoss
// each row has one value. The interval of accuracies is wider than crossed_interval's by one sample's share,
// the continuity correction of McNemar's test (A. Edwards, Psychometrika 13 (1948)): few samples that differ
// are few coins.
Comparison compare(Measure measure, const SeedsBySamples& variant, const SeedsBySamples& base);

std::string_view name_of(Claim claim);

}  // namespace halftone::train
