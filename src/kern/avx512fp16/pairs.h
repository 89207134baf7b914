// Units of `half`: a pair of fp16, added up in fp16. Replaces the integer pairs of avx512/matrix_vector.h in
// half.cpp. Sums hold two chains in each of 16 lanes: the first members of the pairs in the low halves, the
// second ones in the high halves.
//
// MXCSR's DAZ and FTZ don't apply to fp16: subnormal operands and results are what they are, at full speed,
// whatever the mode.
#pragma once

#include "kern/avx512/matrix_vector.h"

namespace halftone::kern::HALFTONE_KERN_NS::product {
namespace {

// Both members of a pair, each with one rounding. One instruction, as for integers: see
// avx512/matrix_vector.h.
HALFTONE_INLINE void add_pairs(I& acc, I a, I b) {
  __asm__("vfmadd231ph %2, %1, %0" : "+v"(acc) : "v"(a), "v"(b));
}
HALFTONE_INLINE void add_pairs_broadcast(I& acc, I b, const int32_t* a) {
  add_pairs(acc, broadcast(a), b);
}
// The two chains, widened and added in fp32.
HALFTONE_INLINE F to_float(I x) {
  alignas(64) static constexpr int16_t kFirstThenSecond[32] = {0,  2,  4,  6,  8,  10, 12, 14, 16, 18, 20,
                                                               22, 24, 26, 28, 30, 1,  3,  5,  7,  9,  11,
                                                               13, 15, 17, 19, 21, 23, 25, 27, 29, 31};
  const I sorted = _mm512_permutexvar_epi16(_mm512_load_si512(kFirstThenSecond), x);
  return add(_mm512_cvtph_ps(_mm512_castsi512_si256(sorted)),
             _mm512_cvtph_ps(_mm512_extracti64x4_epi64(sorted, 1)));
}

// The fp16 that was widened to x. Where speed matters they are loaded as they are instead:
HALFTONE_INLINE I quantise_low(F x, F) {
  return _mm512_cvtepu16_epi32(_mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
template <class T>
HALFTONE_INLINE void copy_halves(const T* p, int16_t* y, int64_t n) {
  int64_t i = 0;
  for (; i + 32 <= n; i += 32) _mm512_storeu_si512(y + i, _mm512_loadu_si512(p + i));
  const __mmask32 rest = (1U << (n - i)) - 1U;
  _mm512_mask_storeu_epi16(y + i, rest, _mm512_maskz_loadu_epi16(rest, p + i));
}
// 16 stored elements p[i, i + 16), or their first `left`; nullptr: zeros.
template <class T>
HALFTONE_INLINE I load_low(const T* p, int64_t i, int64_t left) {
  if (p == nullptr) return zero_i();
  return _mm512_cvtepu16_epi32(left >= 16 ? _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + i))
                                          : _mm256_maskz_loadu_epi16(first(left), p + i));
}

}  // namespace
}  // namespace halftone::kern::HALFTONE_KERN_NS::product
