// Where GridSample reads its image: the same scalar code for the reference and for the vector kernels.
#pragma once

#include "kern/lane/formula.h"
#include "kern/lane/scalar.h"
#include "kern/sampling.h"

namespace halftone::kern::HALFTONE_KERN_NS {

// One axis: up to four places, their weights and the weights' derivatives by the grid's number.
template <class R>
struct GridAxis {
  int count = 0;
  int64_t index[4] = {};
  R weight[4] = {};
  R slope[4] = {};
};

// A position brought into [0, size - 1] as the padding says, and the factor that this puts on its derivative.
template <class R>
struct Padded {
  R position;
  R factor;
};
template <class R>
HALFTONE_INLINE Padded<R> clipped(R p, R last, R factor) {
  if (p <= R(0)) return {R(0), R(0)};
  if (p >= last) return {last, R(0)};
  return {p, factor};
}
template <class R>
HALFTONE_INLINE Padded<R> padded(R p, int64_t size, GridPadding padding, bool align_corners) {
  const R last = static_cast<R>(size - 1);
  if (padding == GridPadding::kZeros) return {p, R(1)};
  if (padding == GridPadding::kBorder) return clipped(p, last, R(1));
  // Reflected at the centres of the outermost pixels, or at their outer edges.
  const R low = align_corners ? R(0) : R(-0.5F);
  const R span = align_corners ? last : static_cast<R>(size);
  if (!(span > R(0))) return {R(0), R(0)};
  const R signed_distance = p - low;
  const R distance = abs(signed_distance);
  const R flips = floor_of(distance / span);
  const R extra = distance - flips * span;
  const bool odd = floor_of(flips * R(0.5F)) * R(2) != flips;
  const R factor = (signed_distance < R(0)) == odd ? R(1) : R(-1);
  return clipped((odd ? span - extra : extra) + low, last, factor);
}

template <class R>
HALFTONE_INLINE void add_place(GridAxis<R>& axis, R place, int64_t size, R weight, R slope) {
  if (!(place >= R(0)) || !(place <= static_cast<R>(size - 1))) return;
  axis.index[axis.count] = static_cast<int64_t>(place);
  axis.weight[axis.count] = weight;
  axis.slope[axis.count] = slope;
  ++axis.count;
}

// g: the grid's number. False when it is not finite.
template <class R>
HALFTONE_INLINE bool grid_axis(R g, int64_t size, const GridGeometry& geometry, GridAxis<R>& axis) {
  if (g - g != R(0)) return false;
  const R half = static_cast<R>(geometry.align_corners ? size - 1 : size) * R(0.5F);  // dposition / dg
  const R raw = geometry.align_corners ? (g + R(1)) * half : (g + R(1)) * half - R(0.5F);
  axis.count = 0;
  if (geometry.mode == GridMode::kCubic) {
    const R floor = floor_of(raw);
    const R t = raw - floor;
    const R a = R(-0.75F);
    for (int k = 0; k < 4; ++k) {
      const R d = k == 0 ? t + R(1) : k == 1 ? t : k == 2 ? R(1) - t : R(2) - t;  // distance to the place
      const bool near = k == 1 || k == 2;
      const R weight = near ? ((a + R(2)) * d - (a + R(3))) * d * d + R(1)
                            : ((a * d - R(5) * a) * d + R(8) * a) * d - R(4) * a;
      const R slope =
          near ? (R(3) * (a + R(2)) * d - R(2) * (a + R(3))) * d : (R(3) * a * d - R(10) * a) * d + R(8) * a;
      const R place = floor + static_cast<R>(k - 1);
      const Padded<R> p = padded(place, size, geometry.padding, geometry.align_corners);
      add_place(axis, rint(p.position), size, weight, (k < 2 ? slope : R(0) - slope) * half);
    }
    return true;
  }
  const Padded<R> p = padded(raw, size, geometry.padding, geometry.align_corners);
  if (geometry.mode == GridMode::kNearest) {
    add_place(axis, rint(p.position), size, R(1), R(0));
    return true;
  }
  const R floor = floor_of(p.position);
  const R t = p.position - floor;
  const R slope = p.factor * half;
  add_place(axis, floor, size, R(1) - t, R(0) - slope);
  add_place(axis, floor + R(1), size, t, slope);
  return true;
}

template <class R>
struct GridTaps {
  int count = 0;
  int64_t offset[16];  // of the pixel's first channel
  R weight[16];
  R slope_x[16];
  R slope_y[16];
};
template <class R>
HALFTONE_INLINE bool grid_taps(R gx, R gy, const GridGeometry& geometry, GridTaps<R>& taps) {
  GridAxis<R> x;
  GridAxis<R> y;
  taps.count = 0;
  if (!grid_axis(gx, geometry.w, geometry, x) || !grid_axis(gy, geometry.h, geometry, y)) return false;
  for (int i = 0; i < y.count; ++i)
    for (int j = 0; j < x.count; ++j) {
      taps.offset[taps.count] = (y.index[i] * geometry.w + x.index[j]) * geometry.c;
      taps.weight[taps.count] = y.weight[i] * x.weight[j];
      taps.slope_x[taps.count] = y.weight[i] * x.slope[j];
      taps.slope_y[taps.count] = y.slope[i] * x.weight[j];
      ++taps.count;
    }
  return true;
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
