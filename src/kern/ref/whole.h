// Numbers of any type as the reference computes with them: floats in their register type, whole numbers in
// their own, where an operation says whether its result fits.
#pragma once

#include "kern/lane/formula.h"
#include "kern/ref/storage.h"

namespace halftone::kern::HALFTONE_KERN_NS {

template <class T>
struct WorkOf {
  using type = Register<T>;
};
template <>
struct WorkOf<int64_t> {
  using type = int64_t;
};
template <>
struct WorkOf<int32_t> {
  using type = int32_t;
};
template <>
struct WorkOf<uint8_t> {
  using type = uint8_t;
};
template <class T>
using Work = typename WorkOf<T>::type;

HALFTONE_INLINE int64_t load(const int64_t* p) {
  return *p;
}
HALFTONE_INLINE int32_t load(const int32_t* p) {
  return *p;
}
HALFTONE_INLINE uint8_t load(const uint8_t* p) {
  return *p;
}
HALFTONE_INLINE void store(int64_t* p, int64_t x) {
  *p = x;
}
HALFTONE_INLINE void store(int32_t* p, int32_t x) {
  *p = x;
}
HALFTONE_INLINE void store(uint8_t* p, uint8_t x) {
  *p = x;
}

template <class W>
inline constexpr bool kIsFloat = W(1) / W(2) != W(0);

// y = a + b, a * b; whether it fits the type.
template <class W>
HALFTONE_INLINE bool add(W a, W b, W& y) {
  if constexpr (kIsFloat<W>) {
    y = a + b;
    return true;
  } else {
    return !__builtin_add_overflow(a, b, &y);
  }
}
template <class W>
HALFTONE_INLINE bool multiply(W a, W b, W& y) {
  if constexpr (kIsFloat<W>) {
    y = a * b;
    return true;
  } else {
    return !__builtin_mul_overflow(a, b, &y);
  }
}
// A NaN wins.
template <class W>
HALFTONE_INLINE W larger_of(W a, W b) {
  if constexpr (kIsFloat<W>) return larger(a, b);
  return b > a ? b : a;
}
template <class W>
HALFTONE_INLINE W smaller_of(W a, W b) {
  if constexpr (kIsFloat<W>) return smaller(a, b);
  return b < a ? b : a;
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
