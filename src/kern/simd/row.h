// What softmax and cross-entropy need of a row, each value in all lanes.
#pragma once

#include "kern/simd/loops.h"

namespace halftone::kern::HALFTONE_KERN_NS {

struct RowSoftmax {
  F32 max;
  F32 sum;      // of exp(x - max)
  F32 log_sum;  // log(sum)
};
// kept, where given: exp(x - max) of the first columns, room for `room` of them, a multiple of 16.
template <class T>
HALFTONE_INLINE RowSoftmax row_softmax(const T* x, int64_t cols, float* kept = nullptr, int64_t room = 0) {
  F32 lanes(-kInfinity);
  for_vectors(cols, [&](int64_t c, auto full, int64_t count) {
    const F32 next = larger(lanes, load_part(x + c, full, count));
    lanes = full.value ? next : select(first_lanes(count), next, lanes);
  });
  const F32 max(tree_max(lanes));
  lanes = F32(0.0F);
  for_vectors(cols, [&](int64_t c, auto full, int64_t count) {
    const F32 part = exp(load_part(x + c, full, count) - max);
    if (c < room) store16(kept + c, part);
    const F32 next = lanes + part;
    lanes = full.value ? next : select(first_lanes(count), next, lanes);
  });
  const F32 sum(tree_sum(lanes));
  return {max, sum, log(sum)};
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
