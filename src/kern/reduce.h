// Sums and maxima over rows and columns; results are in the register type. The common contract stands in kernels.h.
#pragma once

#include <cstdint>

#include "num/dtype.h"

namespace halftone::kern {

// out[r] over row r's `cols` contiguous elements: 16 virtual lanes (lane l takes columns l, l+16, ... in
// ascending order, from 0, or from -infinity for kMax), then the fixed tree: l += l+8, l += l+4, l += l+2,
// l += l+1. kSumSquares: lane = fma(x, x, lane). kMax: a NaN wins.
enum class Reduce : uint8_t { kSum, kSumSquares, kMax };
struct ReduceRowsArgs {
  Reduce op;
  DType dtype;
  const void* x;
  int64_t rows, cols, row_stride;
  void* out;
};
// out[c] = (accumulate ? out[c] : 0) + x[0][c] + x[1][c] + ..., rows in ascending order, one plain add each.
struct SumColumnsArgs {
  DType dtype;
  const void* x;
  int64_t rows, cols, row_stride;
  void* out;
  bool accumulate;
};
}  // namespace halftone::kern
