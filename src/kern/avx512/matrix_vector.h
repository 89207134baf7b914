// 16 lanes in AVX-512 registers: what simd/matrix_*.h is written in. F holds 16 floats, I 16 int32 (or 16
// pairs of int16, "units").
#pragma once

// g++ 12 takes the intrinsics' own undefined operands for ours (GCC bug 105593).
#pragma GCC diagnostic push
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop

#include "kern/simd/prefetch.h"
#include "num/half.h"

namespace halftone::kern::HALFTONE_KERN_NS::product {
namespace {

using F = __m512;
using I = __m512i;

// Neighbouring pixels of a depthwise tile: their sums and what they read fit 32 registers.
constexpr int kDepthwisePixels = 8;
constexpr int kDepthwiseGradPixels = 4;

// The largest tile of V vectors of 16 outputs: M * V sums, V operands and a broadcast fit 32 registers. One
// vector's multiplications wait for loads, of which a higher tile needs fewer. unit_row: rows are neighbours;
// others would need too many pointers.
constexpr int kMaxVectors = 4;
constexpr int max_rows(int vectors, bool unit_row = false) {
  return vectors == 1 ? (unit_row ? 24 : 16) : vectors == 2 ? 14 : vectors == 3 ? 8 : 6;
}

HALFTONE_INLINE F zero_f() {
  return _mm512_setzero_ps();
}
HALFTONE_INLINE I zero_i() {
  return _mm512_setzero_si512();
}
HALFTONE_INLINE F splat(float x) {
  return _mm512_set1_ps(x);
}
HALFTONE_INLINE F load(const float* p) {
  return _mm512_loadu_ps(p);
}
HALFTONE_INLINE I load(const int32_t* p) {
  return _mm512_loadu_si512(p);
}
HALFTONE_INLINE void store(float* p, F x) {
  _mm512_storeu_ps(p, x);
}
HALFTONE_INLINE void store(int32_t* p, I x) {
  _mm512_storeu_si512(p, x);
}
HALFTONE_INLINE F add(F a, F b) {
  return _mm512_add_ps(a, b);
}
HALFTONE_INLINE F mul(F a, F b) {
  return _mm512_mul_ps(a, b);
}
HALFTONE_INLINE F fma(F a, F b, F c) {
  return _mm512_fmadd_ps(a, b, c);
}
#if !defined(HALFTONE_KERN_HALF)
HALFTONE_INLINE F to_float(I x) {
  return _mm512_cvtepi32_ps(x);
}
#endif

HALFTONE_INLINE I broadcast(const int32_t* p) {
  return _mm512_set1_epi32(*p);
}
#if !defined(HALFTONE_KERN_HALF)
// acc += a.low * b.low + a.high * b.high in each lane. Written as one instruction: g++ 12 keeps the whole
// tile in memory around the intrinsic.
HALFTONE_INLINE void add_pairs(I& acc, I a, I b) {
  __asm__("vpdpwssd %2, %1, %0" : "+v"(acc) : "v"(a), "v"(b));
}
HALFTONE_INLINE void add_pairs_broadcast(I& acc, I b, const int32_t* a) {
  __asm__("vpdpwssd %2%{1to16%}, %1, %0" : "+v"(acc) : "v"(b), "m"(*a));
}
#endif

// ---------------------------------------------------------------- storage
HALFTONE_INLINE __mmask16 first(int64_t n) {
  return static_cast<__mmask16>((1U << n) - 1U);
}
HALFTONE_INLINE F widen_bf16(__m256i x) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
}
HALFTONE_INLINE F widen(const float* p) {
  return _mm512_loadu_ps(p);
}
HALFTONE_INLINE F widen(const num::Fp16* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
HALFTONE_INLINE F widen(const num::Bf16* p) {
  return widen_bf16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
// The first n < 16; the other lanes are 0 and their memory isn't touched.
HALFTONE_INLINE F widen(const float* p, int64_t n) {
  return _mm512_maskz_loadu_ps(first(n), p);
}
HALFTONE_INLINE F widen(const num::Fp16* p, int64_t n) {
  return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first(n), p));
}
HALFTONE_INLINE F widen(const num::Bf16* p, int64_t n) {
  return widen_bf16(_mm256_maskz_loadu_epi16(first(n), p));
}

HALFTONE_INLINE __m256i narrow_bf16(F x) {
  const I u = _mm512_castps_si512(x);
  const I odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
  const I rounded =
      _mm512_srli_epi32(_mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF))), 16);
  const I nan = _mm512_or_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(0x40));
  return _mm512_cvtepi32_epi16(_mm512_mask_mov_epi32(rounded, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), nan));
}
HALFTONE_INLINE void narrow(float* p, F x) {
  _mm512_storeu_ps(p, x);
}
HALFTONE_INLINE void narrow(num::Fp16* p, F x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
HALFTONE_INLINE void narrow(num::Bf16* p, F x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), narrow_bf16(x));
}
HALFTONE_INLINE void narrow(float* p, F x, int64_t n) {
  _mm512_mask_storeu_ps(p, first(n), x);
}
HALFTONE_INLINE void narrow(num::Fp16* p, F x, int64_t n) {
  _mm256_mask_storeu_epi16(p, first(n), _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
HALFTONE_INLINE void narrow(num::Bf16* p, F x, int64_t n) {
  _mm256_mask_storeu_epi16(p, first(n), narrow_bf16(x));
}

// ---------------------------------------------------------------- quantising
HALFTONE_INLINE I quantise(F x, F inverse) {
  return _mm512_cvtps_epi32(_mm512_mul_ps(x, inverse));
}
#if !defined(HALFTONE_KERN_HALF)
// The same in the low halves alone: beside 1.5 * 2^23 a float's last bit is worth 1, so that one instruction
// scales and rounds.
HALFTONE_INLINE I quantise_low(F x, F inverse) {
  return _mm512_castps_si512(_mm512_fmadd_ps(x, inverse, _mm512_set1_ps(0x1.8p23F)));
}
#endif
// The low halves as 16 int16.
HALFTONE_INLINE void store_low(int16_t* p, I x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(x));
}
HALFTONE_INLINE void store_low(int16_t* p, I x, int64_t n) {
  _mm256_mask_storeu_epi16(p, first(n), _mm512_cvtepi32_epi16(x));
}
HALFTONE_INLINE I load_low(const int16_t* p) {
  return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
HALFTONE_INLINE void store(int32_t* p, I x, int64_t n) {
  _mm512_mask_storeu_epi32(p, first(n), x);
}
// Units from two vectors of integers.
HALFTONE_INLINE I pair(I low, I high) {
  return _mm512_mask_blend_epi16(0xAAAAAAAAU, low, _mm512_slli_epi32(high, 16));
}
HALFTONE_INLINE I larger(I a, I b) {
  return _mm512_max_epi32(a, b);
}
// Magnitudes as integers, which order as the magnitudes do.
HALFTONE_INLINE I magnitude_bits(F x) {
  return _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(0x7FFFFFFF));
}
HALFTONE_INLINE uint32_t largest_lane(I x) {
  return static_cast<uint32_t>(_mm512_reduce_max_epi32(x));
}
// The largest magnitude bits among the 16-bit values p[0, n), without widening them.
// kStream: p is read from memory, and on beyond n.
template <bool kStream>
HALFTONE_INLINE uint32_t largest_halves(const uint16_t* p, int64_t n) {
  const I mask = _mm512_set1_epi16(0x7FFF);
  I m0 = zero_i();
  I m1 = zero_i();
  int64_t i = 0;
  for (; i + 64 <= n; i += 64) {
    if constexpr (kStream) {
      prefetch(p + i);
      prefetch(p + i + 32);
    }
    m0 = _mm512_max_epu16(m0, _mm512_and_si512(mask, _mm512_loadu_si512(p + i)));
    m1 = _mm512_max_epu16(m1, _mm512_and_si512(mask, _mm512_loadu_si512(p + i + 32)));
  }
  for (; i < n; i += 32) {
    const __mmask32 part = n - i >= 32 ? ~0U : (1U << (n - i)) - 1U;
    m0 = _mm512_max_epu16(m0, _mm512_and_si512(mask, _mm512_maskz_loadu_epi16(part, p + i)));
  }
  m0 = _mm512_max_epu16(m0, m1);
  const I low = _mm512_and_si512(m0, _mm512_set1_epi32(0xFFFF));
  return largest_lane(larger(low, _mm512_srli_epi32(m0, 16)));
}

// ---------------------------------------------------------------- transposing
// Row r of the 16x16 at `source` (rows of 16) becomes column r at `target`.
HALFTONE_INLINE void transpose(const int32_t* source, int32_t* target, int64_t target_row) {
  I a[16];
  I b[16];
  for (int i = 0; i < 16; ++i) a[i] = load(source + 16 * i);
  for (int i = 0; i < 16; i += 2) {
    b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
    b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    a[i] = _mm512_unpacklo_epi64(b[i], b[i + 2]);
    a[i + 1] = _mm512_unpackhi_epi64(b[i], b[i + 2]);
    a[i + 2] = _mm512_unpacklo_epi64(b[i + 1], b[i + 3]);
    a[i + 3] = _mm512_unpackhi_epi64(b[i + 1], b[i + 3]);
  }
  // a[4q + j], 128-bit part p: column 4p + j of rows 4q .. 4q + 3.
  for (int j = 0; j < 4; ++j) {
    b[j] = _mm512_shuffle_i32x4(a[j], a[4 + j], 0x88);
    b[4 + j] = _mm512_shuffle_i32x4(a[j], a[4 + j], 0xDD);
    b[8 + j] = _mm512_shuffle_i32x4(a[8 + j], a[12 + j], 0x88);
    b[12 + j] = _mm512_shuffle_i32x4(a[8 + j], a[12 + j], 0xDD);
  }
  for (int j = 0; j < 4; ++j) {
    store(target + j * target_row, _mm512_shuffle_i32x4(b[j], b[8 + j], 0x88));
    store(target + (4 + j) * target_row, _mm512_shuffle_i32x4(b[4 + j], b[12 + j], 0x88));
    store(target + (8 + j) * target_row, _mm512_shuffle_i32x4(b[j], b[8 + j], 0xDD));
    store(target + (12 + j) * target_row, _mm512_shuffle_i32x4(b[4 + j], b[12 + j], 0xDD));
  }
}

}  // namespace
}  // namespace halftone::kern::HALFTONE_KERN_NS::product
