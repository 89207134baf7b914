// What depthwise kernels read: neighbouring pixels of 16 channels, widened.
#pragma once

#include "kern/simd/matrix_pack.h"

namespace halftone::kern::HALFTONE_KERN_NS::product {
namespace {

// 16 channels of a pixel; `lanes` of them exist.
template <class T>
HALFTONE_INLINE F pixel_of(const T* p, int64_t lanes) {
  return lanes >= 16 ? widen(p) : widen(p, lanes);
}

// Columns beside the image read this pixel.
template <class T>
struct ZeroPixel {
  alignas(64) static constexpr T channels[16] = {};
};

// N neighbouring pixels of 16 channels from column `column` of a row (null: zeros). kEdge: some may lie
// outside [0, width).
template <bool kEdge, int N, class T>
HALFTONE_INLINE void load_pixels(const T* row, int64_t column, int64_t width, int64_t channels, F (&x)[N]) {
  if (row == nullptr) {
    HALFTONE_UNROLL
    for (int i = 0; i < N; ++i) x[i] = zero_f();
    return;
  }
  const T* const p = row + column * channels;
  HALFTONE_UNROLL
  for (int i = 0; i < N; ++i) {
    if constexpr (kEdge) {
      const bool inside = static_cast<uint64_t>(column + i) < static_cast<uint64_t>(width);
      x[i] = widen(inside ? p + i * channels : ZeroPixel<T>::channels);
    } else {
      x[i] = widen(p + i * channels);
    }
  }
}

}  // namespace
}  // namespace halftone::kern::HALFTONE_KERN_NS::product
