// Sums and maxima over rows and columns; results are in the register type. The common contract stands in
// kernels.h.
#pragma once

#include <cstdint>

#include "num/dtype.h"

namespace halftone::kern {

// out[r] over row r's `cols` contiguous elements: 16 virtual lanes (lane l takes columns l, l+16, ... in
// ascending order, from 0, from -infinity for kMax, infinity for kMin, 1 for products), then the fixed tree:
// l += l+8, l += l+4, l += l+2, l += l+1. kSumSquares: lane = fma(x, x, lane). kMax, kMin: a NaN wins.
enum class Reduce : uint8_t {
  kSum,
  kSumSquares,
  kMax,
  kMin,
  kProduct,
  kOneZeroProduct /* where exactly one element is 0: the product of the others; else 0 */,
  kSumAbs,
  kLogSumExp /* m + log(sum exp(x - m)), m the maximum, or 0 where that is infinite */,
  kFirstMax /* the column of the first of the largest elements, of the first NaN if there is one; below 2^24 */
  ,
  kCountEqual /* how many elements equal with[r], a number of x's type; with == nullptr: how many are 0 */,
};
struct ReduceRowsArgs {
  Reduce op;
  DType dtype;
  const void* x;
  int64_t rows, cols, row_stride;
  void* out;
  const void* with = nullptr;  // kCountEqual
};
// out[c] = 0 + x[0][c] + x[1][c] + ..., rows in ascending order, one plain add each.
struct SumColumnsArgs {
  DType dtype;
  const void* x;
  int64_t rows, cols, row_stride;
  void* out;
};
}  // namespace halftone::kern
