// A learning-rate range test: what losses at rising rates say.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace halftone::train {

// The rate of step `step` of `steps`, from `least` to `most`, the same factor each step.
double range_rate(double least, double most, int64_t step, int64_t steps);

// Running means of the losses of steps, each 0.98 of the one before, without the weight of its beginning.
class RunningLosses {
 public:
  // False: the loss is beyond use, not finite or four times the least mean so far, and the test is over.
  bool add(double loss);
  const std::vector<double>& means() const { return means_; }

 private:
  double sum_ = 0, weight_ = 1, least_ = 0;
  std::vector<double> means_;
};

// Where the loss falls most steeply over the logarithm of the rate: the middle of the eighth of all steps whose straight
// line of least squares falls most, up to the least loss. None: that is not a hundredth below the first tenth's mean.
std::optional<size_t> steepest_fall(const std::vector<double>& losses);

// The losses as one line of blocks, at most `columns` of them.
std::string sparkline(const std::vector<double>& values, size_t columns);

}  // namespace halftone::train
