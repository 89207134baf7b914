#include "kern/moments.h"

namespace halftone::kern {

void add_moments(const float* __restrict x, int64_t rows, int64_t cols, int64_t row_stride,
                 double* __restrict sum, double* __restrict sum_squares) noexcept {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; ++c) {
      const double value = x[r * row_stride + c];
      sum[c] += value;
      sum_squares[c] += value * value;
    }
}

}  // namespace halftone::kern
