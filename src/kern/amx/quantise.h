// From stored elements to the integers of `block`, 32 at a time as int16.
//
// fp16 is scaled and rounded as it is: every CPU with tiles has fp16 arithmetic. Scaling by a power of two is
// exact but for what becomes subnormal, which rounds to 0 either way, and MXCSR's DAZ and FTZ don't apply to
// fp16.
#pragma once

#include "kern/simd/matrix_pack.h"

namespace halftone::kern::HALFTONE_KERN_NS::product {
namespace {

// What 32 elements are multiplied by, as BlockScale::inverse: the first 16, and the others.
template <class T>
struct Factors;

template <>
struct Factors<num::Fp16> {
  __m512h exponents;
  HALFTONE_INLINE Factors(F low, F high) {
    // A power of two's exponent; for the 0 of a block without a scale -127, and whatever becomes of it meets
    // NaN.
    const auto exponent = [](F x) {
      const I bits = _mm512_srli_epi32(_mm512_castps_si512(x), 23);
      return _mm256_castph_si256(_mm512_cvtepi32_ph(_mm512_sub_epi32(bits, _mm512_set1_epi32(127))));
    };
    exponents =
        _mm512_castsi512_ph(_mm512_inserti64x4(_mm512_castsi256_si512(exponent(low)), exponent(high), 1));
  }
};

template <>
struct Factors<num::Bf16> {
  F low, high;
  HALFTONE_INLINE Factors(F low_, F high_) : low(low_), high(high_) {}
};

// What packs made of two vectors, whose parts of 64 bits it takes in turns: the first's, then the second's.
HALFTONE_INLINE I in_order(I packed) {
  return _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), packed);
}

HALFTONE_INLINE I quantise_halves(I halves, const Factors<num::Fp16>& by) {
  return _mm512_cvtph_epi16(_mm512_scalef_ph(_mm512_castsi512_ph(halves), by.exponents));
}
HALFTONE_INLINE I quantise_halves(I halves, const Factors<num::Bf16>& by) {
  const I low = quantise(widen_bf16(_mm512_castsi512_si256(halves)), by.low);
  const I high = quantise(widen_bf16(_mm512_extracti64x4_epi64(halves, 1)), by.high);
  return in_order(_mm512_packs_epi32(low, high));
}

// p[0, 32), or the first n of them; the others are 0 and their memory isn't touched.
template <class T>
HALFTONE_INLINE I load_halves(const T* p) {
  return _mm512_loadu_si512(p);
}
template <class T>
HALFTONE_INLINE I load_halves(const T* p, int64_t n) {
  return _mm512_maskz_loadu_epi16(n >= 32 ? ~0U : (1U << n) - 1U, p);
}

}  // namespace
}  // namespace halftone::kern::HALFTONE_KERN_NS::product
