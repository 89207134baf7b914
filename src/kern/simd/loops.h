// How the vector kernels walk over contiguous elements. Their contracts are those of kern/kernels.h, their
// meaning is kern/ref.
#pragma once

#include "kern/lane/choose.h"
#include "kern/lane/formula.h"
#include "kern/lane/lane.h"
#include "kern/simd/prefetch.h"
#include "kern/tables.h"

namespace halftone::kern::HALFTONE_KERN_NS {

inline constexpr int64_t kLanes = 16;

// body(i, full, count): elements i .. i+count-1; `full` is Constant<true> for 16 of them.
template <class Body>
HALFTONE_INLINE void for_vectors(int64_t n, Body&& body) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) body(i, Constant<true>{}, kLanes);
  if (i < n) body(i, Constant<false>{}, n - i);
}
template <class T, bool kFull>
HALFTONE_INLINE F32 load_part(const T* p, Constant<kFull>, int64_t count) {
  if constexpr (kFull) {
    return load16(p);
  } else {
    return load_n(p, count);
  }
}
template <class T, bool kFull>
HALFTONE_INLINE void store_part(T* p, F32 x, Constant<kFull>, int64_t count) {
  if constexpr (kFull) {
    store16(p, x);
  } else {
    store_n(p, x, count);
  }
}

// y = f(x).
template <class T, class To, class F>
HALFTONE_INLINE void map(const T* x, To* y, int64_t n, F&& f) {
  for_vectors(n, [&](int64_t i, auto full, int64_t count) {
    prefetch(x + i);
    prefetch(y + i);
    store_part(y + i, f(load_part(x + i, full, count)), full, count);
  });
}

template <class T, class F>
HALFTONE_INLINE void map_only(const T* x, int64_t n, F&& f) {
  for_vectors(n, [&](int64_t i, auto full, int64_t count) {
    prefetch(x + i);
    f(load_part(x + i, full, count));
  });
}

// The fixed tree over 16 lanes.
template <class Combine>
HALFTONE_INLINE float tree(F32 x, Combine&& combine) {
  x = combine(x, shifted_down<8>(x));
  x = combine(x, shifted_down<4>(x));
  x = combine(x, shifted_down<2>(x));
  x = combine(x, shifted_down<1>(x));
  return lane0(x);
}
HALFTONE_INLINE float tree_sum(F32 x) {
  return tree(x, [](F32 a, F32 b) { return a + b; });
}
HALFTONE_INLINE float tree_max(F32 x) {
  return tree(x, [](F32 a, F32 b) { return larger(a, b); });
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
