#include "train/rate_range.h"

#include <algorithm>
#include <cmath>

namespace halftone::train {

double range_rate(double least, double most, int64_t step, int64_t steps) {
  if (steps < 2) return least;
  return least * std::pow(most / least, static_cast<double>(step) / static_cast<double>(steps - 1));
}

bool RunningLosses::add(double loss) {
  constexpr double kBeta = 0.98;
  constexpr double kBeyondUse = 4;
  if (!std::isfinite(loss)) return false;
  sum_ = kBeta * sum_ + (1 - kBeta) * loss;
  weight_ *= kBeta;
  const double mean = sum_ / (1 - weight_);
  if (means_.empty() || mean < least_) least_ = mean;
  means_.push_back(mean);
  return mean <= kBeyondUse * least_ || least_ <= 0;
}

std::optional<size_t> steepest_fall(const std::vector<double>& losses) {
  constexpr size_t kFewest = 16;
  const size_t n = losses.size();
  if (n < kFewest) return std::nullopt;
  const auto least = static_cast<size_t>(std::min_element(losses.begin(), losses.end()) - losses.begin());
  double first = 0;
  for (size_t i = 0; i < n / 10; ++i) first += losses[i];
  first /= static_cast<double>(n / 10);
  const size_t window = n / 8;
  if (!(first - losses[least] >= 0.01 * std::fabs(first)) || least + 1 < window) return std::nullopt;
  size_t best = 0;
  double steepest = 0;
  for (size_t begin = 0; begin + window <= least + 1; ++begin) {
    // The slope, times a number that is the same for all windows.
    double slope = 0;
    for (size_t i = 0; i < window; ++i)
      slope += (static_cast<double>(i) - static_cast<double>(window - 1) / 2) * losses[begin + i];
    if (slope < steepest) {
      steepest = slope;
      best = begin + window / 2;
    }
  }
  return steepest < 0 ? std::optional(best) : std::nullopt;
}

std::string sparkline(const std::vector<double>& values, size_t columns) {
  static const char* const kBlocks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  if (values.empty() || columns == 0) return "";
  const auto [least, most] = std::minmax_element(values.begin(), values.end());
  const double span = *most - *least;
  std::string line;
  const size_t shown = std::min(columns, values.size());
  for (size_t i = 0; i < shown; ++i) {
    const double value = values[i * values.size() / shown];
    const double height = span > 0 ? (value - *least) / span : 0;
    line += kBlocks[static_cast<size_t>(std::min(7.0, std::floor(8 * height)))];
  }
  return line;
}

}  // namespace halftone::train
