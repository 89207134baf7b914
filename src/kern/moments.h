// Sums over the rows of a matrix, and of its squares, in double: what statistics of a whole data set are made
// of.
#pragma once

#include <cstdint>

namespace halftone::kern {

// sum[c] += x[r][c] and sum_squares[c] += x[r][c]^2, rows ascending; a square is exact in double. Row r
// begins at x + r * row_stride.
void add_moments(const float* x, int64_t rows, int64_t cols, int64_t row_stride, double* sum,
                 double* sum_squares) noexcept;

}  // namespace halftone::kern
