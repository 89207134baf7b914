// Windows of pooling along any number of axes.
#pragma once

#include <vector>

#include "base/error.h"
#include "ops/chunks.h"

namespace halftone::ops {

// One number an axis; pads: all before, then all after.
struct PoolWindow {
  std::vector<int64_t> kernel, strides, dilations, pads;
  bool ceil_mode = false;
  bool count_include_pad = false;

  size_t axes() const { return kernel.size(); }
  int64_t span(size_t axis) const { return (kernel[axis] - 1) * dilations[axis] + 1; }
};

// The number of windows along an axis of n elements.
inline int64_t window_count(const PoolWindow& w, size_t axis, int64_t n) {
  const int64_t before = w.pads[axis];
  const int64_t after = w.pads[axis + w.axes()];
  const int64_t room = n + before + after - w.span(axis);
  // Rounded up, there is a window that begins inside, as far beyond the end as it reaches.
  if (room <= (w.ceil_mode ? -w.strides[axis] : -1))
    throw input_error("a window of {} does not fit an axis of {} padded by {} and {}", w.span(axis), n,
                      before, after);
  int64_t count = (w.ceil_mode ? ceil_div(room, w.strides[axis]) : room / w.strides[axis]) + 1;
  if (w.ceil_mode && (count - 1) * w.strides[axis] >= n + before) --count;
  return count;
}

// Every window needs a tap inside the tensor. One whose first tap is inside has it: only those that start
// in the padding before, and the last one, need a look (an axis can be long).
inline void check_taps(const PoolWindow& w, size_t axis, int64_t n, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    if (i * w.strides[axis] >= w.pads[axis]) i = count - 1;
    const int64_t first = i * w.strides[axis] - w.pads[axis];
    const int64_t d = w.dilations[axis];
    const int64_t skipped = first < 0 ? ceil_div(-first, d) : 0;  // taps before the tensor
    if (skipped >= w.kernel[axis] || first + skipped * d >= n)
      throw input_error(
          "window {} along an axis of {} lies in the padding (kernel {}, stride {}, pads {} and {}, dilation "
          "{})",
          i, n, w.kernel[axis], w.strides[axis], w.pads[axis], w.pads[axis + w.axes()], d);
  }
}

}  // namespace halftone::ops
