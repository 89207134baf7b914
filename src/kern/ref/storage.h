// How the reference reads and writes elements: storage type T in memory, register type Register<T>.
#pragma once

#include "kern/lane/choose.h"
#include "kern/lane/scalar.h"

namespace halftone::kern::HALFTONE_KERN_NS {

template <class T>
struct RegisterOf {
  using type = float;
};
template <>
struct RegisterOf<double> {
  using type = double;
};
template <class T>
using Register = typename RegisterOf<T>::type;

HALFTONE_INLINE double load(const double* p) {
  return *p;
}
HALFTONE_INLINE float load(const float* p) {
  return *p;
}
HALFTONE_INLINE float load(const num::Fp16* p) {
  return num::widen(*p);
}
HALFTONE_INLINE float load(const num::Bf16* p) {
  return num::widen(*p);
}

// One rounding, nearest-even.
HALFTONE_INLINE void store(double* p, double x) {
  *p = x;
}
HALFTONE_INLINE void store(float* p, float x) {
  *p = x;
}
HALFTONE_INLINE void store(num::Fp16* p, float x) {
  *p = num::to_fp16(x);
}
HALFTONE_INLINE void store(num::Bf16* p, float x) {
  *p = num::to_bf16(x);
}

// f(Type<T>{}) for the storage type of dtype, double too.
template <class F>
HALFTONE_INLINE void with_storage(DType dtype, F&& f) {
  if (dtype == DType::kF64) {
    f(Type<double>{});
  } else {
    choose_storage(dtype, f);
  }
}

// 16 virtual lanes and their tree: the order of every sum over contiguous elements, whatever the registers'
// width.
inline constexpr int kLanes = 16;
template <class R, class Combine>
HALFTONE_INLINE R tree(R (&lanes)[kLanes], Combine combine) {
  for (int half = kLanes / 2; half > 0; half /= 2)
    for (int l = 0; l < half; ++l) lanes[l] = combine(lanes[l], lanes[l + half]);
  return lanes[0];
}
template <class R>
HALFTONE_INLINE R tree_sum(R (&lanes)[kLanes]) {
  return tree(lanes, [](R a, R b) { return a + b; });
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
