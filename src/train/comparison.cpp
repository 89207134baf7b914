#include "train/comparison.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string_view>

#include "base/error.h"
#include "train/metrics.h"

namespace halftone::train {
namespace {

// More degrees of freedom change t by less than a thousandth.
constexpr double kMostDegrees = 1000;

double variance(const std::vector<double>& values, double mean) {
  double squares = 0;
  for (const double x : values) squares += (x - mean) * (x - mean);
  return squares / static_cast<double>(values.size() - 1);
}

// The sum of one row's values could carry rounding: equal values must have no spread at all.
bool all_equal(const std::vector<double>& values) {
  return std::all_of(values.begin(), values.end(), [&](double x) { return x == values.front(); });
}

// s^2 / n of the mean of n values, and 0 exactly when they are equal.
double variance_of_mean(const std::vector<double>& values, double mean) {
  return all_equal(values) ? 0 : variance(values, mean) / static_cast<double>(values.size());
}

std::string seeds_text(int64_t seeds) {
  return seeds == 1 ? "1 seed" : fmt::format("{} seeds", seeds);
}

// Digits after the point: `least`, or as many as a half width needs to show two that are not zero, so that
// "0.0005 ± 0.0005: worse" cannot be printed. At most 9: fp32 losses have no more.
int digits_for(double half_width, int least) {
  if (!(half_width > 0) || !std::isfinite(half_width)) return least;
  return std::clamp(1 - static_cast<int>(std::floor(std::log10(half_width))), least, 9);
}

}  // namespace

CrossedInterval crossed_interval(const SeedsBySamples& values, double confidence) {
  HT_ASSERT(!values.empty() && !values.front().empty(), "no values");
  CrossedInterval interval;
  interval.seeds = static_cast<int64_t>(values.size());
  interval.samples = static_cast<int64_t>(values.front().size());
  const auto seeds = static_cast<double>(interval.seeds);
  const auto samples = static_cast<double>(interval.samples);
  std::vector<double> of_seed, of_sample(values.front().size(), 0.0);
  for (const std::vector<double>& row : values) {
    HT_ASSERT(row.size() == of_sample.size(), "{} and {} samples", row.size(), of_sample.size());
    double sum = 0;
    for (size_t j = 0; j < row.size(); ++j) {
      sum += row[j];
      of_sample[j] += row[j] / seeds;
    }
    of_seed.push_back(sum / samples);
  }
  double sum = 0;
  for (const double x : of_seed) sum += x;
  interval.mean = sum / seeds;
  if (values.size() < 2 || of_sample.size() < 2 || !std::isfinite(interval.mean)) return interval;
  const double by_seed = variance_of_mean(of_seed, interval.mean);
  const double by_sample = variance_of_mean(of_sample, interval.mean);
  const double total = by_seed + by_sample;
  if (total == 0) {
    interval.half_width = 0;
    return interval;
  }
  const double degrees =
      total * total / (by_seed * by_seed / (seeds - 1) + by_sample * by_sample / (samples - 1));
  const auto whole = static_cast<int64_t>(std::clamp(std::floor(degrees), 1.0, kMostDegrees));
  interval.half_width = student_quantile((1 + confidence) / 2, whole) * std::sqrt(total);
  return interval;
}

std::string_view name_of(Claim claim) {
  switch (claim) {
    case Claim::kNone:
      return "none";
    case Claim::kBetter:
      return "better";
    case Claim::kWorse:
      return "worse";
    case Claim::kNoDifferenceSeen:
      return "no difference seen";
  }
  return "";
}

Comparison compare(Measure measure, const SeedsBySamples& variant, const SeedsBySamples& base) {
  HT_ASSERT(variant.size() == base.size() && !base.empty(), "{} and {} seeds", variant.size(), base.size());
  SeedsBySamples differences(variant.size());
  for (size_t k = 0; k < variant.size(); ++k) {
    HT_ASSERT(variant[k].size() == base[k].size(), "{} and {} samples", variant[k].size(), base[k].size());
    for (size_t j = 0; j < variant[k].size(); ++j) differences[k].push_back(variant[k][j] - base[k][j]);
  }
  Comparison c;
  if (measure == Measure::kTrainingLoss) {
    std::vector<double> of_seed;
    for (const std::vector<double>& row : differences) {
      HT_ASSERT(row.size() == 1, "{} training losses of one seed", row.size());
      of_seed.push_back(row.front());
    }
    const Interval plain = mean_interval(of_seed);
    c.difference = {plain.mean, plain.half_width, plain.values, 1};
    if (all_equal(of_seed) && plain.half_width) c.difference.half_width = 0;
  } else {
    c.difference = crossed_interval(differences);
  }
  CrossedInterval& d = c.difference;
  if (!std::isfinite(d.mean)) {
    c.why_none = "no verdict: a value is not finite";
  } else if (d.seeds < kLeastSeeds) {
    c.why_none =
        fmt::format("no verdict from {}; it takes --seeds {} or more", seeds_text(d.seeds), kLeastSeeds);
  } else if (!d.half_width) {
    c.why_none = "no verdict from one sample";
  } else if (*d.half_width == 0) {
    c.why_none = fmt::format("no verdict: the same {} everywhere, so no spread to judge it by",
                             d.mean == 0 ? "results" : "difference");
  }
  // After the test for no spread, which it would hide.
  if (measure == Measure::kAccuracy && d.half_width) *d.half_width += 1 / static_cast<double>(d.samples);
  if (c.why_none.empty()) {
    const bool higher_is_better = measure == Measure::kAccuracy;
    c.claim = std::abs(d.mean) <= *d.half_width  ? Claim::kNoDifferenceSeen
              : (d.mean > 0) == higher_is_better ? Claim::kBetter
                                                 : Claim::kWorse;
  }

  const bool accuracy = measure == Measure::kAccuracy;
  const double factor = accuracy ? 100 : 1;
  const int digits = digits_for(d.half_width ? factor * *d.half_width : 0, accuracy ? 2 : 4);
  c.text = fmt::format("{} {:+.{}f}{}",
                       accuracy                    ? "accuracy"
                       : measure == Measure::kLoss ? "loss"
                                                   : "training loss",
                       factor * d.mean, digits, accuracy ? " points" : "");
  if (d.half_width && (c.claim != Claim::kNone || d.seeds < kLeastSeeds))
    c.text += fmt::format(" ± {:.{}f} (95 %, {}{})", factor * *d.half_width, digits, seeds_text(d.seeds),
                          measure == Measure::kTrainingLoss ? "" : fmt::format(" x {} samples", d.samples));
  c.text += fmt::format(": {}", c.claim == Claim::kNone ? c.why_none : std::string(name_of(c.claim)));
  if (c.claim == Claim::kNoDifferenceSeen)
    c.text += fmt::format(" (at most {:.{}f}{} apart)", factor * (std::abs(d.mean) + *d.half_width), digits,
                          accuracy ? " points" : "");
  return c;
}

}  // namespace halftone::train
