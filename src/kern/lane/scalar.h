// One lane of a kernel: float or double with the operations that a vector has too (simd: avx2/vec.h,
// avx512/vec.h), so that math.h and formula.h are written once and mean the same bits everywhere. Comparisons
// and + - * / are the language's.
//
// Maximum and minimum are always a comparison and a selection, never the CPU's max instruction: under DAZ
// that one returns zero for a subnormal, a selection returns it unchanged, and a compiler may turn one into
// the other. Selections therefore go through integers.
#pragma once

#include <cstdint>

#include "num/half.h"

#ifndef HALFTONE_KERN_NS
#error "kernel sources are compiled by kern.cmake, which names their namespace"
#endif

namespace halftone::kern::HALFTONE_KERN_NS {

HALFTONE_INLINE uint32_t bits(float x) {
  return __builtin_bit_cast(uint32_t, x);
}
HALFTONE_INLINE uint64_t bits(double x) {
  return __builtin_bit_cast(uint64_t, x);
}
HALFTONE_INLINE float from_bits(uint32_t x) {
  return __builtin_bit_cast(float, x);
}
HALFTONE_INLINE double from_bits(uint64_t x) {
  return __builtin_bit_cast(double, x);
}
// The value of a small whole number, below 2^24.
HALFTONE_INLINE float to_float(uint32_t x) {
  return static_cast<float>(static_cast<int32_t>(x));
}

HALFTONE_INLINE float select(bool condition, float yes, float no) {
  return from_bits(condition ? bits(yes) : bits(no));
}
HALFTONE_INLINE double select(bool condition, double yes, double no) {
  return from_bits(condition ? bits(yes) : bits(no));
}

HALFTONE_INLINE float fma(float a, float b, float c) {
  return __builtin_fmaf(a, b, c);
}
HALFTONE_INLINE double fma(double a, double b, double c) {
  return __builtin_fma(a, b, c);
}
HALFTONE_INLINE float sqrt(float x) {
  return __builtin_sqrtf(x);
}
HALFTONE_INLINE double sqrt(double x) {
  return __builtin_sqrt(x);
}
HALFTONE_INLINE float rint(float x) {
  return __builtin_rintf(x);
}
HALFTONE_INLINE double rint(double x) {
  return __builtin_rint(x);
}
HALFTONE_INLINE float abs(float x) {
  return from_bits(bits(x) & 0x7FFFFFFFU);
}
HALFTONE_INLINE double abs(double x) {
  return from_bits(bits(x) & 0x7FFFFFFFFFFFFFFFU);
}
// The magnitude of x with the sign of s.
HALFTONE_INLINE float copysign(float x, float s) {
  return from_bits((bits(x) & 0x7FFFFFFFU) | (bits(s) & 0x80000000U));
}
HALFTONE_INLINE double copysign(double x, double s) {
  return from_bits((bits(x) & 0x7FFFFFFFFFFFFFFFU) | (bits(s) & 0x8000000000000000U));
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
