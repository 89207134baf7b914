#include "data/mixing.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "data/series.h"
#include "num/half.h"
#include "num/random.h"

namespace halftone::data {
namespace {

enum MixDraw : uint64_t { kWhich = 0, kRow = 1, kColumn = 2, kBeta = 4 };
constexpr int kBetaAttempts = 30;

class MixRandom {
 public:
  MixRandom(uint64_t seed, uint64_t epoch, uint64_t batch)
      : key_(num::random_key(seed, kMixStream)), epoch_(epoch), base_(64 * batch) {}
  int64_t below(uint64_t draw, int64_t n) const {
    return static_cast<int64_t>(num::random_below(key_, base_ + draw, epoch_, static_cast<uint64_t>(n)));
  }
  // In (0, 1).
  double unit(uint64_t draw) const {
    return (static_cast<double>(below(draw, int64_t{1} << 52)) + 0.5) * 0x1p-52;
  }

 private:
  num::RandomKey key_;
  uint64_t epoch_, base_;
};

// Of Beta(a, a), by Joehnk's method, which takes half of its attempts or more where a is 1 or less.
double beta(const MixRandom& random, double a) {
  if (a == 1) return random.unit(kBeta);
  double share = 0.5;
  for (uint64_t attempt = 0; attempt < kBetaAttempts; ++attempt) {
    const double x = log_series(random.unit(kBeta + 2 * attempt)) / a;
    const double y = log_series(random.unit(kBeta + 2 * attempt + 1)) / a;
    share = 1 / (1 + power_of_e(y - x));
    if (power_of_e(x) + power_of_e(y) <= 1) return share;
  }
  return share;  // one time in 2^30
}

template <class T>
float widened(T x) {
  if constexpr (std::is_same_v<T, num::Fp16>) {
    return num::widen(x);
  } else if constexpr (std::is_same_v<T, num::Bf16>) {
    return num::widen(x);
  } else {
    return x;
  }
}
template <class T>
T narrowed(float x) {
  if constexpr (std::is_same_v<T, num::Fp16>) {
    return num::to_fp16(x);
  } else if constexpr (std::is_same_v<T, num::Bf16>) {
    return num::to_bf16(x);
  } else {
    return x;
  }
}

// Calls mix(row, the row before it, as they were) for all rows.
template <class T, class F>
void each_row(Tensor& tensor, int64_t rows, const F& mix) {
  const auto width = static_cast<size_t>(tensor.size() / tensor.shape().at(0));
  T* const all = tensor.as<T>().data();
  const T* const end = all + static_cast<size_t>(rows) * width;
  const std::vector<T> last(end - width, end);
  for (int64_t i = rows - 1; i >= 0; --i) {
    T* const row = all + static_cast<size_t>(i) * width;
    mix(row, i > 0 ? row - width : last.data(), static_cast<int64_t>(width));
  }
}

template <class T>
void mix_of(Tensor& samples, int64_t rows, const Mixed& by, bool channels_last) {
  const auto own = static_cast<float>(by.share);
  const auto other = static_cast<float>(1 - by.share);
  if (!by.cuts) {
    each_row<T>(samples, rows, [&](T* x, const T* y, int64_t n) {
      for (int64_t i = 0; i < n; ++i) x[i] = narrowed<T>(own * widened(x[i]) + other * widened(y[i]));
    });
    return;
  }
  const Shape& shape = samples.shape();
  HT_ASSERT(shape.size() == 4, "{}", to_string(shape));
  const int64_t channels = shape[channels_last ? 3 : 1];
  const int64_t height = shape[channels_last ? 1 : 2];
  const int64_t width = shape[channels_last ? 2 : 3];
  each_row<T>(samples, rows, [&](T* x, const T* y, int64_t) {
    // Runs of neighbours: a row of the rectangle, of all channels or of one.
    const int64_t planes = channels_last ? 1 : channels;
    const int64_t unit = channels_last ? channels : 1;
    for (int64_t c = 0; c < planes; ++c)
      for (int64_t r = by.top; r < by.bottom; ++r) {
        const int64_t at = ((c * height + r) * width + by.left) * unit;
        std::memcpy(x + at, y + at, static_cast<size_t>((by.right - by.left) * unit) * sizeof(T));
      }
  });
}

}  // namespace

Mixed mixed(const Mixing& mixing, uint64_t seed, uint64_t epoch, uint64_t batch, int64_t height,
            int64_t width) {
  const MixRandom random(seed, epoch, batch);
  Mixed by;
  by.cuts = mixing.cutmix > 0 && (mixing.mixup == 0 || random.below(kWhich, 2) == 1);
  by.share = beta(random, by.cuts ? mixing.cutmix : mixing.mixup);
  if (!by.cuts) return by;
  const int64_t row = random.below(kRow, height);
  const int64_t column = random.below(kColumn, width);
  const double half = 0.5 * std::sqrt(1 - by.share);
  const auto rows = static_cast<int64_t>(half * static_cast<double>(height));
  const auto columns = static_cast<int64_t>(half * static_cast<double>(width));
  by.top = std::max<int64_t>(0, row - rows);
  by.bottom = std::min(height, row + rows);
  by.left = std::max<int64_t>(0, column - columns);
  by.right = std::min(width, column + columns);
  by.share = 1 - static_cast<double>((by.bottom - by.top) * (by.right - by.left)) /
                     static_cast<double>(height * width);
  return by;
}

void mix_samples(Tensor& samples, int64_t rows, const Mixed& by, bool channels_last) {
  if (rows < 2) return;
  if (samples.dtype() == DType::kF16) return mix_of<num::Fp16>(samples, rows, by, channels_last);
  if (samples.dtype() == DType::kBf16) return mix_of<num::Bf16>(samples, rows, by, channels_last);
  HT_ASSERT(samples.dtype() == DType::kF32, "{}", name_of(samples.dtype()));
  mix_of<float>(samples, rows, by, channels_last);
}

void mix_labels(Tensor& labels, int64_t rows, const Mixed& by) {
  if (rows < 2) return;
  Mixed shares = by;
  shares.cuts = false;
  mix_of<float>(labels, rows, shares, false);
}

}  // namespace halftone::data
