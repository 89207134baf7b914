// One axis (rows or columns) of a convolution or of its input gradient, and the order in which its taps are
// summed.
#pragma once

#include "kern/simd/matrix_tile.h"

namespace halftone::kern::HALFTONE_KERN_NS::product {
namespace {

// One axis (rows or columns) of the walk. Target index t = first(r) + phases * i belongs to phase r; its tap
// k reads source index base(r, k) + step * i when the tap is valid there.
struct Axis {
  int64_t source, target, taps, stride, dilation, pad;
  bool backward;   // input gradient
  int64_t phases;  // 1, or the stride
  int64_t step;    // in source pixels
  int64_t origin;  // the least source index that is read
  int64_t reach;   // base - origin is at most this
  int64_t grid;    // the most i of a phase

  Axis(bool backward_, int64_t source_, int64_t target_, int64_t taps_, int64_t stride_, int64_t dilation_,
       int64_t pad_)
      : source(source_),
        target(target_),
        taps(taps_),
        stride(stride_),
        dilation(dilation_),
        pad(pad_),
        backward(backward_),
        phases(backward_ ? stride_ : 1),
        step(backward_ ? 1 : stride_),
        origin(0),
        reach(0),
        grid(0) {
    int64_t low = INT64_MAX;
    int64_t high = INT64_MIN;
    for (int64_t r = 0; r < phases; ++r) {
      grid = most(grid, count(r));
      for (int64_t k = 0; k < taps; ++k)
        if (valid(r, k)) {
          low = least(low, base(r, k));
          high = most(high, base(r, k));
        }
    }
    origin = low;
    reach = high - low;
  }
  int64_t first(int64_t r) const { return backward ? ((r - pad) % stride + stride) % stride : 0; }
  int64_t count(int64_t r) const { return first(r) < target ? (target - 1 - first(r)) / phases + 1 : 0; }
  bool valid(int64_t r, int64_t k) const { return !backward || (r - k * dilation) % stride == 0; }
  int64_t base(int64_t r, int64_t k) const {
    return backward ? (first(r) + pad - k * dilation) / stride : k * dilation - pad;
  }
};

}  // namespace
}  // namespace halftone::kern::HALFTONE_KERN_NS::product
