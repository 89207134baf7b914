// What softmax and cross-entropy need of a row.
#pragma once

#include "kern/lane/formula.h"
#include "kern/ref/storage.h"

namespace halftone::kern::HALFTONE_KERN_NS {

template <class R>
struct RowSoftmax {
  R max;
  R sum;      // of exp(x - max)
  R log_sum;  // log(sum)
};
template <class T>
HALFTONE_INLINE RowSoftmax<Register<T>> row_softmax(const T* x, int64_t cols) {
  using R = Register<T>;
  R lanes[kLanes];
  for (R& lane : lanes) lane = R(-kInfinity);
  for (int64_t c = 0; c < cols; ++c) lanes[c % kLanes] = larger(lanes[c % kLanes], load(x + c));
  const R max = tree(lanes, [](R a, R b) { return larger(a, b); });
  for (R& lane : lanes) lane = R(0);
  for (int64_t c = 0; c < cols; ++c) lanes[c % kLanes] = lanes[c % kLanes] + exp(load(x + c) - max);
  const R sum = tree_sum(lanes);
  return {max, sum, log(sum)};
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
