// Where a maximum of each window is. Plain loops: networks that read the places are few.
#pragma once

#include <cstdint>

#include "num/dtype.h"

namespace halftone::kern {

// One image or volume x[d][h][w] of a channel; windows in axes order, 1 where there is no such axis.
struct PoolIndicesArgs {
  DType dtype;
  const void* x;
  int64_t* y;       // of the image's windows
  int64_t offset;   // of the image's first element: added to each index
  int64_t size[3];  // of the image
  int64_t windows[3];
  int64_t kernel[3], stride[3], dilation[3], before[3];
  bool column_major;  // indices count the image with its first axis fastest
};
// The first element, row by row, that is the largest of its window; the last NaN, if there is one: that is
// the element that MaxPool's gradient goes to.
void pool_indices(const PoolIndicesArgs& a);

}  // namespace halftone::kern
