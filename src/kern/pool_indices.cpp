#include "kern/pool_indices.h"

#include <cmath>

#include "num/half.h"

namespace halftone::kern {
namespace {

template <class T>
void indices_as(const PoolIndicesArgs& a) {
  const T* x = static_cast<const T*>(a.x);
  const int64_t rows = a.size[1];
  const int64_t cols = a.size[2];
  int64_t* y = a.y;
  for (int64_t i = 0; i < a.windows[0]; ++i)
    for (int64_t j = 0; j < a.windows[1]; ++j)
      for (int64_t k = 0; k < a.windows[2]; ++k) {
        const int64_t start[3] = {i * a.stride[0] - a.before[0], j * a.stride[1] - a.before[1],
                                  k * a.stride[2] - a.before[2]};
        double best = 0;
        int64_t winner = -1;
        for (int64_t p = 0; p < a.kernel[0]; ++p)
          for (int64_t q = 0; q < a.kernel[1]; ++q)
            for (int64_t r = 0; r < a.kernel[2]; ++r) {
              const int64_t d = start[0] + p * a.dilation[0];
              const int64_t h = start[1] + q * a.dilation[1];
              const int64_t w = start[2] + r * a.dilation[2];
              if (d < 0 || d >= a.size[0] || h < 0 || h >= rows || w < 0 || w >= cols) continue;
              const double value = num::widen(x[(d * rows + h) * cols + w]);
              // A NaN wins, and no number after it: nothing is larger.
              if (winner >= 0 && !(value > best) && !std::isnan(value)) continue;
              best = value;
              winner = a.column_major ? (w * rows + h) * a.size[0] + d : (d * rows + h) * cols + w;
            }
        *y++ = winner + a.offset;
      }
}

}  // namespace

void pool_indices(const PoolIndicesArgs& a) {
  switch (a.dtype) {
    case DType::kF64:
      return indices_as<double>(a);
    case DType::kF32:
      return indices_as<float>(a);
    case DType::kF16:
      return indices_as<num::Fp16>(a);
    default:
      return indices_as<num::Bf16>(a);
  }
}

}  // namespace halftone::kern
