#include "train/metrics.h"

#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>
#include <vector>

#include "base/error.h"
#include "train/state_numbers.h"

namespace halftone::train {
namespace {

// P(|T| > t) for Student's distribution. Source: Abramowitz and Stegun, 26.7.3 and 26.7.4: finite sums for
// whole degrees.
double two_sided_tail(double t, int64_t degrees) {
  const double v = static_cast<double>(degrees);
  const double root = std::sqrt(v + t * t);
  const double sine = t / root;
  const double cosine = std::sqrt(v) / root;
  const bool odd = degrees % 2 != 0;
  double term = odd ? cosine : 1;
  double sum = degrees == 1 ? 0 : term;
  for (int64_t k = odd ? 3 : 2; k < degrees; k += 2) {
    term *= cosine * cosine * static_cast<double>(k - 1) / static_cast<double>(k);
    sum += term;
  }
  const double inside = odd ? 2 / std::numbers::pi * (std::atan2(t, std::sqrt(v)) + sine * sum) : sine * sum;
  return 1 - inside;
}

}  // namespace

void RunningMean::add(double value, int64_t count) {
  HT_ASSERT(count >= 0, "count {}", count);
  if (count == 0) return;  // 0 * NaN must not spoil the sum
  sum_ += value * static_cast<double>(count);
  count_ += count;
}

std::optional<double> RunningMean::mean() const {
  if (count_ == 0) return std::nullopt;
  return sum_ / static_cast<double>(count_);
}

std::string RunningMean::to_json() const {
  return nlohmann::json{{"sum", fmt::format("{}", sum_)}, {"count", count_}}.dump();
}

RunningMean RunningMean::from_json(std::string_view text) {
  RunningMean mean;
  std::string sum;
  state::part(text, "the mean loss", [&](const nlohmann::json& json) {
    sum = state::text(json, "sum");
    mean.count_ = state::whole(json, "count");
  });
  const auto [end, error] = std::from_chars(sum.data(), sum.data() + sum.size(), mean.sum_);
  if (error != std::errc() || end != sum.data() + sum.size() || mean.count_ < 0)
    throw input_error("the mean loss cannot be read: sum '{}', count {}", sum, mean.count_);
  return mean;
}

double student_quantile(double probability, int64_t degrees) {
  HT_ASSERT(probability > 0 && probability < 1 && degrees >= 1, "probability {}, {} degrees", probability,
            degrees);
  if (probability == 0.5) return 0;
  if (probability < 0.5) return -student_quantile(1 - probability, degrees);
  const double tail = 2 * (1 - probability);
  double low = 0;
  double high = 1;
  while (two_sided_tail(high, degrees) > tail && high < 1e15) {
    low = high;
    high *= 2;
  }
  // Bisection down to neighbouring numbers: the function falls strictly, and this is called a few times per
  // run.
  for (double middle = (low + high) / 2; low < middle && middle < high; middle = (low + high) / 2)
    (two_sided_tail(middle, degrees) > tail ? low : high) = middle;
  return high;
}

Interval mean_interval(std::span<const double> values, double confidence) {
  HT_ASSERT(!values.empty() && confidence > 0 && confidence < 1, "{} values, confidence {}", values.size(),
            confidence);
  const double n = static_cast<double>(values.size());
  double sum = 0;
  for (const double value : values) sum += value;
  Interval interval{
      .mean = sum / n, .half_width = std::nullopt, .values = static_cast<int64_t>(values.size())};
  if (values.size() < 2) return interval;
  double squares = 0;
  for (const double value : values) squares += (value - interval.mean) * (value - interval.mean);
  interval.half_width =
      student_quantile((1 + confidence) / 2, interval.values - 1) * std::sqrt(squares / (n - 1) / n);
  return interval;
}

}  // namespace halftone::train
