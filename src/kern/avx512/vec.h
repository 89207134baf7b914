// Sixteen floats in one 512-bit register, under the names that lane/scalar.h has for one float. One of the
// two types that simd/ is written over (the other: avx2/vec.h).
#pragma once

#include <immintrin.h>

#include "kern/lane/scalar.h"

namespace halftone::kern::HALFTONE_KERN_NS {

struct Mask {
  __mmask16 m;
};
struct U32 {
  __m512i v;
  U32() = default;
  HALFTONE_INLINE explicit U32(uint32_t x) : v(_mm512_set1_epi32(static_cast<int>(x))) {}
  HALFTONE_INLINE explicit U32(__m512i x) : v(x) {}
};
struct F32 {
  __m512 v;
  F32() = default;
  HALFTONE_INLINE explicit F32(float x) : v(_mm512_set1_ps(x)) {}
  HALFTONE_INLINE explicit F32(__m512 x) : v(x) {}
};

HALFTONE_INLINE Mask operator&(Mask a, Mask b) {
  return {static_cast<__mmask16>(a.m & b.m)};
}
HALFTONE_INLINE Mask operator|(Mask a, Mask b) {
  return {static_cast<__mmask16>(a.m | b.m)};
}
HALFTONE_INLINE uint32_t lane_bits(Mask a) {
  return a.m;
}
// Lanes 0 .. n-1, 0 <= n <= 16.
HALFTONE_INLINE Mask first_lanes(int64_t n) {
  return {static_cast<__mmask16>((1U << n) - 1U)};
}

HALFTONE_INLINE F32 operator+(F32 a, F32 b) {
  return F32(_mm512_add_ps(a.v, b.v));
}
HALFTONE_INLINE F32 operator-(F32 a, F32 b) {
  return F32(_mm512_sub_ps(a.v, b.v));
}
HALFTONE_INLINE F32 operator*(F32 a, F32 b) {
  return F32(_mm512_mul_ps(a.v, b.v));
}
HALFTONE_INLINE F32 operator/(F32 a, F32 b) {
  return F32(_mm512_div_ps(a.v, b.v));
}
HALFTONE_INLINE F32 fma(F32 a, F32 b, F32 c) {
  return F32(_mm512_fmadd_ps(a.v, b.v, c.v));
}
HALFTONE_INLINE F32 sqrt(F32 x) {
  return F32(_mm512_maskz_sqrt_ps(0xFFFF, x.v));
}
HALFTONE_INLINE F32 rint(F32 x) {
  return F32(_mm512_maskz_roundscale_ps(0xFFFF, x.v, 0x08));
}

HALFTONE_INLINE Mask operator<(F32 a, F32 b) {
  return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)};
}
HALFTONE_INLINE Mask operator<=(F32 a, F32 b) {
  return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LE_OQ)};
}
HALFTONE_INLINE Mask operator>(F32 a, F32 b) {
  return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ)};
}
HALFTONE_INLINE Mask operator>=(F32 a, F32 b) {
  return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GE_OQ)};
}
HALFTONE_INLINE Mask operator==(F32 a, F32 b) {
  return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ)};
}
HALFTONE_INLINE Mask operator!=(F32 a, F32 b) {
  return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_NEQ_UQ)};
}

HALFTONE_INLINE U32 bits(F32 x) {
  return U32(_mm512_castps_si512(x.v));
}
HALFTONE_INLINE F32 from_bits(U32 x) {
  return F32(_mm512_castsi512_ps(x.v));
}
HALFTONE_INLINE U32 operator+(U32 a, U32 b) {
  return U32(_mm512_add_epi32(a.v, b.v));
}
HALFTONE_INLINE U32 operator-(U32 a, U32 b) {
  return U32(_mm512_sub_epi32(a.v, b.v));
}
HALFTONE_INLINE U32 operator&(U32 a, U32 b) {
  return U32(_mm512_and_si512(a.v, b.v));
}
HALFTONE_INLINE U32 operator|(U32 a, U32 b) {
  return U32(_mm512_or_si512(a.v, b.v));
}
HALFTONE_INLINE U32 operator^(U32 a, U32 b) {
  return U32(_mm512_xor_si512(a.v, b.v));
}
HALFTONE_INLINE U32 operator<<(U32 a, int n) {
  return U32(_mm512_maskz_slli_epi32(0xFFFF, a.v, static_cast<unsigned>(n)));
}
HALFTONE_INLINE U32 operator>>(U32 a, int n) {
  return U32(_mm512_maskz_srli_epi32(0xFFFF, a.v, static_cast<unsigned>(n)));
}
// As signed numbers.
HALFTONE_INLINE Mask less(U32 a, U32 b) {
  return {_mm512_cmplt_epi32_mask(a.v, b.v)};
}
HALFTONE_INLINE Mask less_unsigned(U32 a, U32 b) {
  return {_mm512_cmplt_epu32_mask(a.v, b.v)};
}
HALFTONE_INLINE Mask equal(U32 a, U32 b) {
  return {_mm512_cmpeq_epi32_mask(a.v, b.v)};
}
HALFTONE_INLINE F32 to_float(U32 x) {
  return F32(_mm512_maskz_cvtepi32_ps(0xFFFF, x.v));
}
// Towards zero; the value must fit.
HALFTONE_INLINE U32 to_int(F32 x) {
  return U32(_mm512_maskz_cvttps_epi32(0xFFFF, x.v));
}

HALFTONE_INLINE F32 select(Mask m, F32 yes, F32 no) {
  return F32(_mm512_mask_mov_ps(no.v, m.m, yes.v));
}
HALFTONE_INLINE U32 select(Mask m, U32 yes, U32 no) {
  return U32(_mm512_mask_mov_epi32(no.v, m.m, yes.v));
}

HALFTONE_INLINE F32 abs(F32 x) {
  return from_bits(bits(x) & U32(0x7FFFFFFFU));
}
HALFTONE_INLINE F32 copysign(F32 x, F32 s) {
  return from_bits((bits(x) & U32(0x7FFFFFFFU)) | (bits(s) & U32(0x80000000U)));
}

// ---------------------------------------------------------------- memory: 16 elements, or the first n of
// them (the other lanes zero)
HALFTONE_INLINE __mmask16 mask_of(int64_t n) {
  return static_cast<__mmask16>((1U << n) - 1U);
}

HALFTONE_INLINE F32 load16(const float* p) {
  return F32(_mm512_loadu_ps(p));
}
HALFTONE_INLINE F32 load_n(const float* p, int64_t n) {
  return F32(_mm512_maskz_loadu_ps(mask_of(n), p));
}
HALFTONE_INLINE void store16(float* p, F32 x) {
  _mm512_storeu_ps(p, x.v);
}
HALFTONE_INLINE void store_n(float* p, F32 x, int64_t n) {
  _mm512_mask_storeu_ps(p, mask_of(n), x.v);
}

HALFTONE_INLINE __m256i load_words(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}
HALFTONE_INLINE __m256i load_words_n(const void* p, int64_t n) {
  return _mm256_maskz_loadu_epi16(mask_of(n), p);
}
HALFTONE_INLINE void store_words(void* p, __m256i x) {
  _mm256_storeu_si256(static_cast<__m256i*>(p), x);
}
HALFTONE_INLINE void store_words_n(void* p, __m256i x, int64_t n) {
  _mm256_mask_storeu_epi16(p, mask_of(n), x);
}

HALFTONE_INLINE F32 widen_fp16(__m256i h) {
  return F32(_mm512_maskz_cvtph_ps(0xFFFF, h));
}
HALFTONE_INLINE F32 widen_bf16(__m256i h) {
  return F32(_mm512_castsi512_ps((U32(_mm512_maskz_cvtepu16_epi32(0xFFFF, h)) << 16).v));
}
HALFTONE_INLINE __m256i narrow_fp16(F32 x) {
  return _mm512_maskz_cvtps_ph(0xFFFF, x.v, 0);
}
// The low halves of the lanes.
HALFTONE_INLINE __m256i low_words(U32 x) {
  return _mm512_maskz_cvtepi32_epi16(0xFFFF, x.v);
}
HALFTONE_INLINE __m256i narrow_bf16(F32 x) {
  const U32 u = bits(x);
  const U32 rounded = (u + U32(0x7FFFU) + ((u >> 16) & U32(1U))) >> 16;
  return low_words(select(x == x, rounded, (u >> 16) | U32(0x40U)));
}

HALFTONE_INLINE F32 widen(num::Fp16, __m256i words) {
  return widen_fp16(words);
}
HALFTONE_INLINE F32 widen(num::Bf16, __m256i words) {
  return widen_bf16(words);
}
HALFTONE_INLINE __m256i narrow(num::Fp16, F32 x) {
  return narrow_fp16(x);
}
HALFTONE_INLINE __m256i narrow(num::Bf16, F32 x) {
  return narrow_bf16(x);
}

HALFTONE_INLINE F32 load16(const num::Fp16* p) {
  return widen_fp16(load_words(p));
}
HALFTONE_INLINE F32 load16(const num::Bf16* p) {
  return widen_bf16(load_words(p));
}
HALFTONE_INLINE F32 load_n(const num::Fp16* p, int64_t n) {
  return widen_fp16(load_words_n(p, n));
}
HALFTONE_INLINE F32 load_n(const num::Bf16* p, int64_t n) {
  return widen_bf16(load_words_n(p, n));
}
HALFTONE_INLINE void store16(num::Fp16* p, F32 x) {
  store_words(p, narrow_fp16(x));
}
HALFTONE_INLINE void store16(num::Bf16* p, F32 x) {
  store_words(p, narrow_bf16(x));
}
HALFTONE_INLINE void store_n(num::Fp16* p, F32 x, int64_t n) {
  store_words_n(p, narrow_fp16(x), n);
}
HALFTONE_INLINE void store_n(num::Bf16* p, F32 x, int64_t n) {
  store_words_n(p, narrow_bf16(x), n);
}

// 16 words, zero-extended.
HALFTONE_INLINE U32 load_words16(const uint16_t* p) {
  return U32(_mm512_maskz_cvtepu16_epi32(0xFFFF, load_words(p)));
}
HALFTONE_INLINE U32 load16(const uint32_t* p) {
  return U32(_mm512_loadu_si512(p));
}
HALFTONE_INLINE void store16(uint32_t* p, U32 x) {
  _mm512_storeu_si512(p, x.v);
}

// 64 bytes to a cache line, past the caches: a line that is written whole needs not be read first.
// write_past_end() after the last of them.
HALFTONE_INLINE void copy_line_past(void* line, const void* from) {
  _mm512_stream_si512(static_cast<__m512i*>(line), _mm512_loadu_si512(from));
}
HALFTONE_INLINE void write_past_end() {
  _mm_sfence();
}

// ---------------------------------------------------------------- across lanes
HALFTONE_INLINE U32 lane_numbers() {
  return U32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
}
// Lane l of the result is lane l + kShift of x (kShift 8, 4, 2, 1); the upper lanes are of no interest.
template <int kShift>
HALFTONE_INLINE F32 shifted_down(F32 x) {
  if constexpr (kShift == 8) return F32(_mm512_maskz_shuffle_f32x4(0xFFFF, x.v, x.v, 0x0E));
  if constexpr (kShift == 4) return F32(_mm512_maskz_shuffle_f32x4(0xFFFF, x.v, x.v, 0x01));
  if constexpr (kShift == 2) return F32(_mm512_maskz_permute_ps(0xFFFF, x.v, 0x0E));
  if constexpr (kShift == 1) return F32(_mm512_maskz_permute_ps(0xFFFF, x.v, 0x01));
}
// One element in all lanes.
HALFTONE_INLINE F32 splat(const float* p) {
  return F32(*p);
}
HALFTONE_INLINE F32 splat(const num::Fp16* p) {
  return F32(num::widen(*p));
}
HALFTONE_INLINE F32 splat(const num::Bf16* p) {
  return F32(num::widen(*p));
}
HALFTONE_INLINE float lane0(F32 x) {
  return _mm512_cvtss_f32(x.v);
}

// ---------------------------------------------------------------- 64-bit lanes, for random bits
struct U64 {
  static constexpr int kSize = 8;
  __m512i v;
  U64() = default;
  HALFTONE_INLINE explicit U64(uint64_t x) : v(_mm512_set1_epi64(static_cast<long long>(x))) {}
  HALFTONE_INLINE explicit U64(__m512i x) : v(x) {}
};
HALFTONE_INLINE U64 operator+(U64 a, U64 b) {
  return U64(_mm512_add_epi64(a.v, b.v));
}
HALFTONE_INLINE U64 operator^(U64 a, U64 b) {
  return U64(_mm512_xor_si512(a.v, b.v));
}
HALFTONE_INLINE U64 xor3(U64 a, U64 b, U64 c) {
  return U64(_mm512_ternarylogic_epi64(a.v, b.v, c.v, 0x96));
}
HALFTONE_INLINE U64 high_half(U64 a) {
  return U64(_mm512_maskz_srli_epi64(0xFF, a.v, 32));
}
// The product of the low halves.
HALFTONE_INLINE U64 multiply_low_halves(U64 a, U64 b) {
  return U64(_mm512_maskz_mul_epu32(0xFF, a.v, b.v));
}
// The order of blocks among the lanes that store_blocks undoes.
HALFTONE_INLINE U64 block_order() {
  return U64(_mm512_set_epi64(7, 3, 6, 2, 5, 1, 4, 0));
}
// Words 0 to 3 of each block (low halves of the lanes) in memory order: kSize * 4 words.
HALFTONE_INLINE void store_blocks(uint32_t* p, U64 w0, U64 w1, U64 w2, U64 w3) {
  const __m512i w01 = _mm512_mask_mov_epi32(w0.v, 0xAAAA, _mm512_maskz_slli_epi64(0xFF, w1.v, 32));
  const __m512i w23 = _mm512_mask_mov_epi32(w2.v, 0xAAAA, _mm512_maskz_slli_epi64(0xFF, w3.v, 32));
  _mm512_storeu_si512(p, _mm512_maskz_unpacklo_epi64(0xFF, w01, w23));
  _mm512_storeu_si512(p + 16, _mm512_maskz_unpackhi_epi64(0xFF, w01, w23));
}

// ---------------------------------------------------------------- double lanes, for the sum of squares
struct F64 {
  __m512d low, high;
};
HALFTONE_INLINE F64 zero_f64() {
  return {_mm512_setzero_pd(), _mm512_setzero_pd()};
}
// sum + x * x per lane.
HALFTONE_INLINE F64 add_square(F64 sum, F32 x) {
  const __m512d a = _mm512_maskz_cvtps_pd(0xFF, _mm512_maskz_extractf32x8_ps(0xFF, x.v, 0));
  const __m512d b = _mm512_maskz_cvtps_pd(0xFF, _mm512_maskz_extractf32x8_ps(0xFF, x.v, 1));
  return {_mm512_fmadd_pd(a, a, sum.low), _mm512_fmadd_pd(b, b, sum.high)};
}
HALFTONE_INLINE void store16(double* p, F64 x) {
  _mm512_storeu_pd(p, x.low);
  _mm512_storeu_pd(p + 8, x.high);
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
