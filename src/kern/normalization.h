// Kernels of rows that are normalised by their own mean and size. The common contract stands in kernels.h.
#pragma once

#include <cstdint>

#include "num/dtype.h"

namespace halftone::kern {

// What a row is measured by, in the register type (sums as in NormalizeArgs):
//   kLayer  m = sum x / cols, t = sum (x - m)^2 by fma, spread = sqrt(fma(t, factor, epsilon))
//   kRms    m = 0,            t = sum x^2 by fma,       spread = sqrt(fma(t, factor, epsilon))
//   kL1     m = 0,            t = sum |x|,              spread = t
// and divided by: 1 / (max(spread, floor) + outside). A spread that is not finite makes that factor NaN, so
// that an overflow of t is no row of zeros. A divisor of 0 gives what 1 / 0 gives, or with zero_stays a
// factor of 0.
enum class Normalization : uint8_t { kLayer, kRms, kL1 };
struct Spread {
  double factor = 1;
  double epsilon = 0;
  double floor = 0;
  double outside = 0;
  bool zero_stays = false;
};

// xhat = (x - m) * inverse;  y = fma(xhat, scale, bias), xhat * scale or xhat + bias. x and y are dense
// [rows][cols]; scale and bias have cols elements of dtype each, or are null. Sums over a row: pieces of
// 16384 elements, each as ReduceRows, added in ascending order. mean, spread: one a row in the register type,
// null where nobody wants them.
struct NormalizeArgs {
  Normalization kind;
  DType dtype;
  const void* x;
  const void* scale;
  const void* bias;
  void* y;
  int64_t rows, cols;
  Spread spread;
  void* mean_out;
  void* spread_out;
};

// With g = dy * scale, mean and spread as the forward saved them (mean: kLayer only), sums over a row as
// above, the products by fma:
//   kLayer  dx = inverse * fma(xhat, -c, g - sum g / cols)     c = factor * divisor / spread * sum g xhat
//   kRms    dx = inverse * fma(xhat, -c, g)                    c as above
//   kL1     dx = inverse * fma(sign x, -c, g)                  c = sum g xhat
// where c is 0 unless spread > floor (it is the floor then, or 0, that was divided by). dx: null where nobody
// wants it. sum_dy, sum_dyx: cols values of the register type, or both null; overwritten with the sums of dy
// and of dy * xhat (by fma) over the rows in ascending order, each of which is done behind its dx.
struct NormalizeGradArgs {
  Normalization kind;
  DType dtype;
  const void* dy;
  const void* x;
  const void* scale;
  const void* mean;
  const void* spread_saved;
  void* dx;
  int64_t rows, cols;
  Spread spread;
  void* sum_dy;
  void* sum_dyx;
};
// The two sums alone, of some columns of a matrix: rows lie row_stride elements apart.
struct NormalizeGradColumnsArgs {
  DType dtype;
  const void* dy;
  const void* x;
  const void* mean;  // null: 0
  const void* spread_saved;
  int64_t rows, cols, row_stride;
  Spread spread;
  void* sum_dy;
  void* sum_dyx;
};

// Local response normalisation over the columns of each row: s = bias + factor * sum of x^2 over columns
// c - before ... c + after as far as there are any (ascending from 0, then one fma), p = s^-beta, y = x * p;
// where s is not finite y is NaN. Gradient: t = dy * x * (p / s), dx = fma(-2 factor beta * x, sum of t over
// the columns whose window has this one, dy * p). before, after < cols. scratch: 3 * (cols + before + after)
// elements of the register type.
struct LrnArgs {
  DType dtype;
  const void* x;
  const void* dy;  // gradient only
  void* y;         // or dx
  int64_t rows, cols, before, after;
  double factor, beta, bias;
  void* scratch;
};

struct NormalizationKernels {
  void (*normalize)(const NormalizeArgs&) noexcept;
  void (*normalize_grad)(const NormalizeGradArgs&) noexcept;
  void (*normalize_grad_columns)(const NormalizeGradColumnsArgs&) noexcept;
  void (*lrn)(const LrnArgs&) noexcept;
  void (*lrn_grad)(const LrnArgs&) noexcept;
};

}  // namespace halftone::kern
