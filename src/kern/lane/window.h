// Which taps of a pooling window lie inside the image.
#pragma once

#include "kern/kernels.h"
#include "num/half.h"

namespace halftone::kern::HALFTONE_KERN_NS {

// Taps first <= k < last of one axis lie at start + k * dilation in [0, size); `counted` taps lie in the
// padded range as well.
struct TapRange {
  int64_t start;
  int64_t first, last;
  int64_t counted;
};
// padded_end: size plus the padding after; average pooling counts taps before it.
HALFTONE_INLINE TapRange tap_range(int64_t out, int64_t stride, int64_t before, int64_t taps,
                                   int64_t dilation, int64_t size, int64_t padded_end) {
  TapRange t = {out * stride - before, 0, 0, 0};
  while (t.first < taps && t.start + t.first * dilation < 0) ++t.first;
  t.last = t.first;
  while (t.last < taps && t.start + t.last * dilation < size) ++t.last;
  while (t.counted < taps && t.start + t.counted * dilation < padded_end) ++t.counted;
  return t;
}
HALFTONE_INLINE TapRange row_taps(const PoolGeometry& g, int64_t oh) {
  return tap_range(oh, g.sh, g.top, g.kh, g.dh, g.h, g.h + g.bottom);
}
HALFTONE_INLINE TapRange column_taps(const PoolGeometry& g, int64_t ow) {
  return tap_range(ow, g.sw, g.left, g.kw, g.dw, g.w, g.w + g.right);
}
// The number that an average divides by.
HALFTONE_INLINE int64_t tap_count(const PoolGeometry& g, const TapRange& rows, const TapRange& columns) {
  return g.count_include_pad ? rows.counted * columns.counted
                             : (rows.last - rows.first) * (columns.last - columns.first);
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
