// 16 lanes in pairs of AVX2 registers: what simd/matrix_*.h is written in. F holds 16 floats, I 16 int32 (or
// 16 pairs of int16, "units"). Compiled once more for avxvnni, where a product of pairs and its addition are
// one instruction.
#pragma once

#include <immintrin.h>

#include "kern/simd/prefetch.h"
#include "num/half.h"

namespace halftone::kern::HALFTONE_KERN_NS::product {
namespace {

struct F {
  __m256 a, b;
};
struct I {
  __m256i a, b;
};

// Neighbouring pixels of a depthwise tile.
constexpr int kDepthwisePixels = 2;
constexpr int kDepthwiseGradPixels = 2;

// 6 rows take 12 registers, the operand 2, the broadcast and a product one each: all 16.
constexpr int kMaxVectors = 1;
constexpr int max_rows(int, bool = false) {
  return 6;
}

HALFTONE_INLINE F zero_f() {
  return {_mm256_setzero_ps(), _mm256_setzero_ps()};
}
HALFTONE_INLINE I zero_i() {
  return {_mm256_setzero_si256(), _mm256_setzero_si256()};
}
HALFTONE_INLINE F splat(float x) {
  return {_mm256_set1_ps(x), _mm256_set1_ps(x)};
}
HALFTONE_INLINE __m256i load8(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}
HALFTONE_INLINE void store8(void* p, __m256i x) {
  _mm256_storeu_si256(static_cast<__m256i*>(p), x);
}
HALFTONE_INLINE F load(const float* p) {
  return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
HALFTONE_INLINE I load(const int32_t* p) {
  return {load8(p), load8(p + 8)};
}
HALFTONE_INLINE void store(float* p, F x) {
  _mm256_storeu_ps(p, x.a);
  _mm256_storeu_ps(p + 8, x.b);
}
HALFTONE_INLINE void store(int32_t* p, I x) {
  store8(p, x.a);
  store8(p + 8, x.b);
}
HALFTONE_INLINE F add(F x, F y) {
  return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)};
}
HALFTONE_INLINE F mul(F x, F y) {
  return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)};
}
HALFTONE_INLINE F fma(F x, F y, F z) {
  return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
HALFTONE_INLINE F to_float(I x) {
  return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)};
}

HALFTONE_INLINE I broadcast(const int32_t* p) {
  return {_mm256_set1_epi32(*p), _mm256_set1_epi32(*p)};
}
// acc += a.low * b.low + a.high * b.high in each lane. A pair's sum fits int32: |values| <= 4095.
HALFTONE_INLINE void add_pairs(I& acc, I x, I y) {
#if defined(__AVXVNNI__)
  // As avx512 does it: g++ 12 keeps a tile in memory around the intrinsic.
  __asm__("%{vex%} vpdpwssd %2, %1, %0" : "+x"(acc.a) : "x"(x.a), "x"(y.a));
  __asm__("%{vex%} vpdpwssd %2, %1, %0" : "+x"(acc.b) : "x"(x.b), "x"(y.b));
#else
  acc.a = _mm256_add_epi32(acc.a, _mm256_madd_epi16(x.a, y.a));
  acc.b = _mm256_add_epi32(acc.b, _mm256_madd_epi16(x.b, y.b));
#endif
}
HALFTONE_INLINE void add_pairs_broadcast(I& acc, I y, const int32_t* x) {
  add_pairs(acc, broadcast(x), y);
}

// ---------------------------------------------------------------- storage
// The first n < 16 elements of E bytes in a buffer of 16, the others 0.
template <class T>
struct Part {
  alignas(32) T lanes[16];
  HALFTONE_INLINE Part(const T* p, int64_t n) {
    __builtin_memset(lanes, 0, sizeof lanes);
    for (int64_t i = 0; i < n; ++i) lanes[i] = p[i];
  }
};
template <class T>
HALFTONE_INLINE void copy_part(T* p, const T* lanes, int64_t n) {
  for (int64_t i = 0; i < n; ++i) p[i] = lanes[i];
}

HALFTONE_INLINE F widen(const float* p) {
  return load(p);
}
HALFTONE_INLINE F widen(const num::Fp16* p) {
  const __m256i x = load8(p);
  return {_mm256_cvtph_ps(_mm256_castsi256_si128(x)), _mm256_cvtph_ps(_mm256_extracti128_si256(x, 1))};
}
HALFTONE_INLINE __m256 widen_bf16(__m128i x) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16));
}
HALFTONE_INLINE F widen(const num::Bf16* p) {
  const __m256i x = load8(p);
  return {widen_bf16(_mm256_castsi256_si128(x)), widen_bf16(_mm256_extracti128_si256(x, 1))};
}
// The first n < 16; the other lanes are 0 and their memory isn't touched.
template <class T>
HALFTONE_INLINE F widen(const T* p, int64_t n) {
  const Part<T> part(p, n);
  return widen(part.lanes);
}

// The low halves of two registers' lanes, in order.
HALFTONE_INLINE __m256i low_halves(__m256i a, __m256i b) {
  const __m256i mask = _mm256_set1_epi32(0xFFFF);
  const __m256i packed = _mm256_packus_epi32(_mm256_and_si256(a, mask), _mm256_and_si256(b, mask));
  return _mm256_permute4x64_epi64(packed, 0xD8);
}
HALFTONE_INLINE __m256i bf16_bits(__m256 x) {
  const __m256i u = _mm256_castps_si256(x);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
  const __m256i rounded =
      _mm256_srli_epi32(_mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF))), 16);
  const __m256i nan = _mm256_or_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(0x40));
  return _mm256_blendv_epi8(rounded, nan, _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q)));
}
HALFTONE_INLINE void narrow(float* p, F x) {
  store(p, x);
}
HALFTONE_INLINE void narrow(num::Fp16* p, F x) {
  const __m128i a = _mm256_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT);
  const __m128i b = _mm256_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT);
  store8(p, _mm256_set_m128i(b, a));
}
HALFTONE_INLINE void narrow(num::Bf16* p, F x) {
  store8(p, low_halves(bf16_bits(x.a), bf16_bits(x.b)));
}
template <class T>
HALFTONE_INLINE void narrow(T* p, F x, int64_t n) {
  alignas(32) T lanes[16];
  narrow(lanes, x);
  copy_part(p, lanes, n);
}

// ---------------------------------------------------------------- quantising
// In the low halves: beside 1.5 * 2^23 a float's last bit is worth 1, so that one instruction scales and
// rounds.
HALFTONE_INLINE I quantise_low(F x, F inverse) {
  const F y = fma(x, inverse, splat(0x1.8p23F));
  return {_mm256_castps_si256(y.a), _mm256_castps_si256(y.b)};
}
// The low halves as 16 int16.
HALFTONE_INLINE void store_low(int16_t* p, I x) {
  store8(p, low_halves(x.a, x.b));
}
HALFTONE_INLINE void store_low(int16_t* p, I x, int64_t n) {
  alignas(32) int16_t lanes[16];
  store_low(lanes, x);
  copy_part(p, lanes, n);
}
HALFTONE_INLINE I load_low(const int16_t* p) {
  const __m256i x = load8(p);
  return {_mm256_cvtepu16_epi32(_mm256_castsi256_si128(x)),
          _mm256_cvtepu16_epi32(_mm256_extracti128_si256(x, 1))};
}
HALFTONE_INLINE void store(int32_t* p, I x, int64_t n) {
  alignas(32) int32_t lanes[16];
  store(lanes, x);
  copy_part(p, lanes, n);
}
// Units from two vectors of integers.
HALFTONE_INLINE __m256i pair8(__m256i low, __m256i high) {
  return _mm256_blend_epi16(low, _mm256_slli_epi32(high, 16), 0xAA);
}
HALFTONE_INLINE I pair(I low, I high) {
  return {pair8(low.a, high.a), pair8(low.b, high.b)};
}
HALFTONE_INLINE I larger(I x, I y) {
  return {_mm256_max_epi32(x.a, y.a), _mm256_max_epi32(x.b, y.b)};
}
// Magnitudes as integers, which order as the magnitudes do.
HALFTONE_INLINE I magnitude_bits(F x) {
  const __m256i mask = _mm256_set1_epi32(0x7FFFFFFF);
  return {_mm256_and_si256(_mm256_castps_si256(x.a), mask), _mm256_and_si256(_mm256_castps_si256(x.b), mask)};
}
HALFTONE_INLINE uint32_t largest_lane(I x) {
  const __m256i m = _mm256_max_epi32(x.a, x.b);
  __m128i q = _mm_max_epi32(_mm256_castsi256_si128(m), _mm256_extracti128_si256(m, 1));
  q = _mm_max_epi32(q, _mm_shuffle_epi32(q, 0x4E));
  q = _mm_max_epi32(q, _mm_shuffle_epi32(q, 0xB1));
  return static_cast<uint32_t>(_mm_cvtsi128_si32(q));
}
// The largest magnitude bits among the 16-bit values p[0, n), without widening them.
// kStream: p is read from memory, and on beyond n.
template <bool kStream>
HALFTONE_INLINE uint32_t largest_halves(const uint16_t* p, int64_t n) {
  const __m256i mask = _mm256_set1_epi16(0x7FFF);
  __m256i m0 = _mm256_setzero_si256();
  __m256i m1 = m0;
  int64_t i = 0;
  for (; i + 32 <= n; i += 32) {
    if constexpr (kStream) prefetch(p + i);
    m0 = _mm256_max_epu16(m0, _mm256_and_si256(mask, load8(p + i)));
    m1 = _mm256_max_epu16(m1, _mm256_and_si256(mask, load8(p + i + 16)));
  }
  if (i + 16 <= n) {
    m0 = _mm256_max_epu16(m0, _mm256_and_si256(mask, load8(p + i)));
    i += 16;
  }
  if (i < n) {
    const Part<uint16_t> part(p + i, n - i);
    m1 = _mm256_max_epu16(m1, _mm256_and_si256(mask, load8(part.lanes)));
  }
  m0 = _mm256_max_epu16(m0, m1);
  return largest_lane({_mm256_and_si256(m0, _mm256_set1_epi32(0xFFFF)), _mm256_srli_epi32(m0, 16)});
}

// ---------------------------------------------------------------- transposing
HALFTONE_INLINE void transpose8(const int32_t* source, int32_t* target, int64_t target_row) {
  __m256i a[8];
  __m256i b[8];
  for (int i = 0; i < 8; ++i) a[i] = load8(source + 16 * i);
  for (int i = 0; i < 8; i += 2) {
    b[i] = _mm256_unpacklo_epi32(a[i], a[i + 1]);
    b[i + 1] = _mm256_unpackhi_epi32(a[i], a[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    a[i] = _mm256_unpacklo_epi64(b[i], b[i + 2]);
    a[i + 1] = _mm256_unpackhi_epi64(b[i], b[i + 2]);
    a[i + 2] = _mm256_unpacklo_epi64(b[i + 1], b[i + 3]);
    a[i + 3] = _mm256_unpackhi_epi64(b[i + 1], b[i + 3]);
  }
  for (int j = 0; j < 4; ++j) {
    store8(target + j * target_row, _mm256_permute2x128_si256(a[j], a[4 + j], 0x20));
    store8(target + (4 + j) * target_row, _mm256_permute2x128_si256(a[j], a[4 + j], 0x31));
  }
}
// Row r of the 16x16 at `source` (rows of 16) becomes column r at `target`.
HALFTONE_INLINE void transpose(const int32_t* source, int32_t* target, int64_t target_row) {
  transpose8(source, target, target_row);
  transpose8(source + 8, target + 8 * target_row, target_row);
  transpose8(source + 8 * 16, target + 8, target_row);
  transpose8(source + 8 * 16 + 8, target + 8 * target_row + 8, target_row);
}

}  // namespace
}  // namespace halftone::kern::HALFTONE_KERN_NS::product
