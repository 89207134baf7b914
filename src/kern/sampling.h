// Kernels of images that are resized or rearranged. The common contract stands in kernels.h.
#pragma once

#include <cstdint>

#include "num/dtype.h"

namespace halftone::kern {

// Weighted sums of rows: y[r][i] = sum over the taps k, offsets[r] <= k < offsets[r + 1], of weights[k] *
// x[indices[k]][i]. A chain in the register type: the first tap's product, then acc = fma(weights[k], x,
// acc), k ascending; +0 without taps. So one tap of weight 1 gives its element exactly (a subnormal register
// is flushed). `from` and `to` are a storage type or its register type; weights are of the register type. y
// is dense, rows x inner.
struct WeightedRowsArgs {
  DType from;
  const void* x;
  DType to;
  void* y;
  const int64_t* offsets;  // rows + 1
  const int64_t* indices;
  const void* weights;
  int64_t rows, inner;
};

// One image x[H][W][C] sampled at pixels `first` to `last` of y[OH * OW][C]; grid[OH * OW][2] holds (x, y) of
// each, -1 and 1 being the image's edges. The arithmetic of a position, down to the order of operations, is
// in lane/grid.h; a position that is not finite gives NaN. The sum over taps is WeightedRows'.
enum class GridMode : uint8_t { kLinear, kNearest, kCubic };
enum class GridPadding : uint8_t { kZeros, kBorder, kReflection };
struct GridGeometry {
  int64_t h, w, c;
  int64_t pixels;  // of y
  GridMode mode;
  GridPadding padding;
  bool align_corners;
};
struct GridSampleArgs {
  DType dtype;
  const void* x;
  const void* grid;
  void* y;
  GridGeometry geometry;
  int64_t first, last;
};
// dx[H][W][C], overwritten, by sums in `scratch` (H*W*C of the register type), pixels and taps ascending,
// each by one fma. A pixel without a finite position adds nothing: its y is NaN already.
struct GridSampleGradArgs {
  DType dtype;
  const void* grid;
  const void* dy;
  void* dx;
  void* scratch;
  GridGeometry geometry;
};
// dgrid of pixels `first` to `last`: for each tap the sum over channels of x * dy (16 virtual lanes by fma,
// the fixed tree), then times the derivative of its weight, taps ascending, by fma.
struct GridSampleGridGradArgs {
  DType dtype;
  const void* x;
  const void* grid;
  const void* dy;
  void* dgrid;
  GridGeometry geometry;
  int64_t first, last;
};

struct SamplingKernels {
  void (*weighted_rows)(const WeightedRowsArgs&) noexcept;
  void (*grid_sample)(const GridSampleArgs&) noexcept;
  void (*grid_sample_grad)(const GridSampleGradArgs&) noexcept;
  void (*grid_sample_grid_grad)(const GridSampleGridGradArgs&) noexcept;
};

}  // namespace halftone::kern
