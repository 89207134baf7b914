// What a run measures: its mean loss, and for comparisons a mean with its interval.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace halftone::train {

// A weighted mean, summed in double in the order of the calls: batches come in a fixed order, so it repeats
// to the bit.
class RunningMean {
 public:
  // value: the mean over `count` >= 0 samples.
  void add(double value, int64_t count);
  // None when nothing was added. Non-finite when a value was.
  std::optional<double> mean() const;
  int64_t count() const { return count_; }
  void reset() { *this = RunningMean(); }

  // {"sum":"...","count":...}; the sum as a text, because JSON has no infinity. from_json: Error when it is
  // something else.
  std::string to_json() const;
  static RunningMean from_json(std::string_view text);

 private:
  double sum_ = 0;
  int64_t count_ = 0;
};

// The t with P(T <= t) = probability for Student's distribution, degrees >= 1, probability in (0, 1).
// Relative error below 1e-9.
double student_quantile(double probability, int64_t degrees);

struct Interval {
  double mean = 0;
  std::optional<double> half_width;  // none for a single value, which says nothing about the spread
  int64_t values = 0;
};

// The mean and its two-sided confidence interval (Student's t; assumes independent, roughly normal values).
// Not for zero values.
Interval mean_interval(std::span<const double> values, double confidence = 0.95);

}  // namespace halftone::train
