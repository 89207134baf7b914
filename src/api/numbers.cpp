#include "api/numbers.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "data/loader.h"

namespace halftone::api {
namespace {

constexpr int64_t kMostCounted = int64_t{1} << 53;
constexpr int64_t kMostPixels = 1 << 16;  // along a side; JPEG's largest is 65535

void check_count(const char* option, int64_t value) {
  if (value > kMostCounted)
    throw usage_error("{} {} is not possible: expected at most {}", option, value, kMostCounted);
}

void check_finite(const char* option, double value) {
  if (!std::isfinite(value))
    throw usage_error("{} {} is not possible: expected a finite number", option, value);
}

// Of numbers that kernels take as fp32.
void check_fp32(const char* option, double value) {
  check_finite(option, value);
  const auto narrow = static_cast<float>(value);
  if (!std::isfinite(narrow))
    throw usage_error("{} {:g} is not possible: it is used in fp32, whose largest number is 3.4e38", option,
                      value);
  if (narrow == 0 && value != 0)
    throw usage_error(
        "{} {:g} is not possible: it is used in fp32, where it is 0; the smallest number there is 1.4e-45",
        option, value);
}

// Of a decay rate in [0, 1): 1 would keep everything forever and divide by 0.
void check_rate(const char* option, double value) {
  check_fp32(option, value);
  if (value < 1 && static_cast<float>(value) >= 1)
    throw usage_error("{} {} is not possible: it is used in fp32, where it is 1; expected at most 0.99999994",
                      option, value);
}

int64_t product(int64_t a, int64_t b, const std::string& what) {
  int64_t result = 0;
  if (__builtin_mul_overflow(a, b, &result) || result > kMostCounted)
    throw usage_error("{} are more than can be counted ({})", what, kMostCounted);
  return result;
}

}  // namespace

void check_numbers(const NetworkOptions& o) {
  check_fp32("--label-smoothing", o.label_smoothing);
  check_count("--batch", o.batch);
}

void check_numbers(const DataOptions& o) {
  for (const auto& [option, pixels] :
       {std::pair("--crop-padding", o.crop_padding), std::pair("--resize", o.resize)})
    if (pixels < 0 || pixels > kMostPixels)
      throw usage_error("{} {} is not possible: expected 0 to {} pixels", option, pixels, kMostPixels);
}

void check_numbers(const TrainOptions& o) {
  check_numbers(o.network);
  check_numbers(o.data);
  check_fp32("--lr", o.lr);
  check_rate("--momentum", o.momentum);
  check_fp32("--weight-decay", o.weight_decay);
  check_rate("--beta1", o.beta1);
  check_rate("--beta2", o.beta2);
  check_rate("--alpha", o.alpha);
  check_fp32("--eps", o.eps);
  check_fp32("--clip", o.clip);
  check_finite("--min-delta", o.min_delta);
  check_finite("--time-limit", o.time_limit);
  check_count("--epochs", o.epochs);
  check_count("--steps", o.steps);
  check_count("--warmup", o.warmup);
  check_count("--checkpoint-every", o.checkpoint_every);
  check_count("--keep", o.keep);
  check_count("--log-every", o.log_every);
  check_count("--patience", o.patience);
  constexpr int64_t kMostBatchesAStep = 1 << 30;  // kernels count them in 32 bits
  if (o.accumulate > kMostBatchesAStep)
    throw usage_error("--accumulate {} is not possible: expected at most {}", o.accumulate,
                      kMostBatchesAStep);
}

void check_length(const TrainOptions& o, const std::vector<int64_t>& samples) {
  const int64_t batch = o.network.batch;
  const int64_t a_step =
      product(batch, o.accumulate,
              fmt::format("--batch {} with --accumulate {}: the samples of a step", batch, o.accumulate));
  const int64_t steps_per_epoch = data::training_batches(samples, batch, o.last == "keep") / o.accumulate;
  if (steps_per_epoch == 0)
    throw usage_error("--batch {} with --accumulate {} needs {} samples, the data has {}; lower one of them",
                      batch, o.accumulate, a_step,
                      std::accumulate(samples.begin(), samples.end(), int64_t{0}));
  const int64_t steps = o.steps > 0 ? o.steps
                                    : product(o.epochs, steps_per_epoch,
                                              fmt::format("--epochs {}: the steps of the run", o.epochs));
  product(steps, a_step,
          o.steps > 0 ? fmt::format("--steps {}: the samples of the run", o.steps)
                      : fmt::format("--epochs {}: the samples of the run", o.epochs));
}

}  // namespace halftone::api
