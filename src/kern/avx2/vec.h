// Sixteen floats in two 256-bit registers, under the names that lane/scalar.h has for one float. One of the
// two types that simd/ is written over (the other: avx512/vec.h, which has the comments on what each function
// means).
#pragma once

#include <immintrin.h>

#include "kern/lane/scalar.h"

namespace halftone::kern::HALFTONE_KERN_NS {

// All bits of a lane set or none.
struct Mask {
  __m256 a, b;
};
struct U32 {
  __m256i a, b;
  U32() = default;
  HALFTONE_INLINE explicit U32(uint32_t x) : a(_mm256_set1_epi32(static_cast<int>(x))), b(a) {}
  HALFTONE_INLINE U32(__m256i low, __m256i high) : a(low), b(high) {}
};
struct F32 {
  __m256 a, b;
  F32() = default;
  HALFTONE_INLINE explicit F32(float x) : a(_mm256_set1_ps(x)), b(a) {}
  HALFTONE_INLINE F32(__m256 low, __m256 high) : a(low), b(high) {}
};

HALFTONE_INLINE Mask operator&(Mask x, Mask y) {
  return {_mm256_and_ps(x.a, y.a), _mm256_and_ps(x.b, y.b)};
}
HALFTONE_INLINE Mask operator|(Mask x, Mask y) {
  return {_mm256_or_ps(x.a, y.a), _mm256_or_ps(x.b, y.b)};
}
HALFTONE_INLINE uint32_t lane_bits(Mask x) {
  return static_cast<uint32_t>(_mm256_movemask_ps(x.a)) | static_cast<uint32_t>(_mm256_movemask_ps(x.b)) << 8;
}
HALFTONE_INLINE Mask first_lanes(int64_t n) {
  const __m256i count = _mm256_set1_epi32(static_cast<int>(n));
  return {_mm256_castsi256_ps(_mm256_cmpgt_epi32(count, _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))),
          _mm256_castsi256_ps(_mm256_cmpgt_epi32(count, _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15)))};
}

HALFTONE_INLINE F32 operator+(F32 x, F32 y) {
  return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)};
}
HALFTONE_INLINE F32 operator-(F32 x, F32 y) {
  return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)};
}
HALFTONE_INLINE F32 operator*(F32 x, F32 y) {
  return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)};
}
HALFTONE_INLINE F32 operator/(F32 x, F32 y) {
  return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)};
}
HALFTONE_INLINE F32 fma(F32 x, F32 y, F32 z) {
  return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
HALFTONE_INLINE F32 sqrt(F32 x) {
  return {_mm256_sqrt_ps(x.a), _mm256_sqrt_ps(x.b)};
}
HALFTONE_INLINE F32 rint(F32 x) {
  return {_mm256_round_ps(x.a, 0x08), _mm256_round_ps(x.b, 0x08)};
}

template <int kPredicate>
HALFTONE_INLINE Mask compared(F32 x, F32 y) {
  return {_mm256_cmp_ps(x.a, y.a, kPredicate), _mm256_cmp_ps(x.b, y.b, kPredicate)};
}
HALFTONE_INLINE Mask operator<(F32 x, F32 y) {
  return compared<_CMP_LT_OQ>(x, y);
}
HALFTONE_INLINE Mask operator<=(F32 x, F32 y) {
  return compared<_CMP_LE_OQ>(x, y);
}
HALFTONE_INLINE Mask operator>(F32 x, F32 y) {
  return compared<_CMP_GT_OQ>(x, y);
}
HALFTONE_INLINE Mask operator>=(F32 x, F32 y) {
  return compared<_CMP_GE_OQ>(x, y);
}
HALFTONE_INLINE Mask operator==(F32 x, F32 y) {
  return compared<_CMP_EQ_OQ>(x, y);
}
HALFTONE_INLINE Mask operator!=(F32 x, F32 y) {
  return compared<_CMP_NEQ_UQ>(x, y);
}

HALFTONE_INLINE U32 bits(F32 x) {
  return {_mm256_castps_si256(x.a), _mm256_castps_si256(x.b)};
}
HALFTONE_INLINE F32 from_bits(U32 x) {
  return {_mm256_castsi256_ps(x.a), _mm256_castsi256_ps(x.b)};
}
HALFTONE_INLINE U32 operator+(U32 x, U32 y) {
  return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)};
}
HALFTONE_INLINE U32 operator-(U32 x, U32 y) {
  return {_mm256_sub_epi32(x.a, y.a), _mm256_sub_epi32(x.b, y.b)};
}
HALFTONE_INLINE U32 operator&(U32 x, U32 y) {
  return {_mm256_and_si256(x.a, y.a), _mm256_and_si256(x.b, y.b)};
}
HALFTONE_INLINE U32 operator|(U32 x, U32 y) {
  return {_mm256_or_si256(x.a, y.a), _mm256_or_si256(x.b, y.b)};
}
HALFTONE_INLINE U32 operator^(U32 x, U32 y) {
  return {_mm256_xor_si256(x.a, y.a), _mm256_xor_si256(x.b, y.b)};
}
HALFTONE_INLINE U32 operator<<(U32 x, int n) {
  return {_mm256_slli_epi32(x.a, n), _mm256_slli_epi32(x.b, n)};
}
HALFTONE_INLINE U32 operator>>(U32 x, int n) {
  return {_mm256_srli_epi32(x.a, n), _mm256_srli_epi32(x.b, n)};
}
HALFTONE_INLINE Mask less(U32 x, U32 y) {
  return {_mm256_castsi256_ps(_mm256_cmpgt_epi32(y.a, x.a)),
          _mm256_castsi256_ps(_mm256_cmpgt_epi32(y.b, x.b))};
}
HALFTONE_INLINE Mask less_unsigned(U32 x, U32 y) {
  const U32 flip(0x80000000U);
  return less(x ^ flip, y ^ flip);
}
HALFTONE_INLINE Mask equal(U32 x, U32 y) {
  return {_mm256_castsi256_ps(_mm256_cmpeq_epi32(x.a, y.a)),
          _mm256_castsi256_ps(_mm256_cmpeq_epi32(x.b, y.b))};
}
HALFTONE_INLINE F32 to_float(U32 x) {
  return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)};
}
HALFTONE_INLINE U32 to_int(F32 x) {
  return {_mm256_cvttps_epi32(x.a), _mm256_cvttps_epi32(x.b)};
}

HALFTONE_INLINE F32 select(Mask m, F32 yes, F32 no) {
  return {_mm256_blendv_ps(no.a, yes.a, m.a), _mm256_blendv_ps(no.b, yes.b, m.b)};
}
HALFTONE_INLINE U32 select(Mask m, U32 yes, U32 no) {
  return bits(select(m, from_bits(yes), from_bits(no)));
}

HALFTONE_INLINE F32 abs(F32 x) {
  return from_bits(bits(x) & U32(0x7FFFFFFFU));
}
HALFTONE_INLINE F32 copysign(F32 x, F32 s) {
  return from_bits((bits(x) & U32(0x7FFFFFFFU)) | (bits(s) & U32(0x80000000U)));
}

// ---------------------------------------------------------------- memory
HALFTONE_INLINE F32 load16(const float* p) {
  return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
HALFTONE_INLINE F32 load_n(const float* p, int64_t n) {
  const Mask m = first_lanes(n);
  return {_mm256_maskload_ps(p, _mm256_castps_si256(m.a)),
          _mm256_maskload_ps(p + 8, _mm256_castps_si256(m.b))};
}
HALFTONE_INLINE void store16(float* p, F32 x) {
  _mm256_storeu_ps(p, x.a);
  _mm256_storeu_ps(p + 8, x.b);
}
HALFTONE_INLINE void store_n(float* p, F32 x, int64_t n) {
  const Mask m = first_lanes(n);
  _mm256_maskstore_ps(p, _mm256_castps_si256(m.a), x.a);
  _mm256_maskstore_ps(p + 8, _mm256_castps_si256(m.b), x.b);
}

HALFTONE_INLINE __m256i load_words(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}
HALFTONE_INLINE void store_words(void* p, __m256i x) {
  _mm256_storeu_si256(static_cast<__m256i*>(p), x);
}
// AVX2 has no masks for 16-bit elements: pieces of 8, 4, 2 and 1 words, so that no byte beyond n < 16 is
// touched.
[[gnu::noinline]] static __m256i load_pieces(const void* p, int64_t n) {
  alignas(32) uint16_t words[16] = {};
  const char* from = static_cast<const char*>(p);
  char* to = reinterpret_cast<char*>(words);
  const auto piece = [&](int64_t count) {
    if ((n & count) == 0) return;
    __builtin_memcpy(to, from, static_cast<size_t>(count) * 2);
    from += count * 2;
    to += count * 2;
  };
  piece(8);
  piece(4);
  piece(2);
  piece(1);
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(words));
}
[[gnu::noinline]] static void store_pieces(void* p, __m256i x, int64_t n) {
  alignas(32) uint16_t words[16];
  _mm256_store_si256(reinterpret_cast<__m256i*>(words), x);
  const char* from = reinterpret_cast<const char*>(words);
  char* to = static_cast<char*>(p);
  const auto piece = [&](int64_t count) {
    if ((n & count) == 0) return;
    __builtin_memcpy(to, from, static_cast<size_t>(count) * 2);
    from += count * 2;
    to += count * 2;
  };
  piece(8);
  piece(4);
  piece(2);
  piece(1);
}
// Half a vector is the usual rest: channel counts are multiples of 8.
HALFTONE_INLINE __m256i load_words_n(const void* p, int64_t n) {
  if (n == 8) return _mm256_zextsi128_si256(_mm_loadu_si128(static_cast<const __m128i*>(p)));
  if (n == 16) return load_words(p);
  return load_pieces(p, n);
}
HALFTONE_INLINE void store_words_n(void* p, __m256i x, int64_t n) {
  if (n == 8) {
    _mm_storeu_si128(static_cast<__m128i*>(p), _mm256_castsi256_si128(x));
  } else if (n == 16) {
    store_words(p, x);
  } else {
    store_pieces(p, x, n);
  }
}

HALFTONE_INLINE F32 widen_fp16(__m256i h) {
  return {_mm256_cvtph_ps(_mm256_castsi256_si128(h)), _mm256_cvtph_ps(_mm256_extracti128_si256(h, 1))};
}
HALFTONE_INLINE U32 zero_extended(__m256i h) {
  return {_mm256_cvtepu16_epi32(_mm256_castsi256_si128(h)),
          _mm256_cvtepu16_epi32(_mm256_extracti128_si256(h, 1))};
}
HALFTONE_INLINE F32 widen_bf16(__m256i h) {
  return from_bits(zero_extended(h) << 16);
}
HALFTONE_INLINE __m256i narrow_fp16(F32 x) {
  return _mm256_set_m128i(_mm256_cvtps_ph(x.b, 0), _mm256_cvtps_ph(x.a, 0));
}
// The lanes must be below 2^16.
HALFTONE_INLINE __m256i packed_words(U32 x) {
  return _mm256_permute4x64_epi64(_mm256_packus_epi32(x.a, x.b), 0xD8);
}
HALFTONE_INLINE __m256i low_words(U32 x) {
  return packed_words(x & U32(0xFFFFU));
}
HALFTONE_INLINE __m256i narrow_bf16(F32 x) {
  const U32 u = bits(x);
  const U32 rounded = (u + U32(0x7FFFU) + ((u >> 16) & U32(1U))) >> 16;
  return packed_words(select(x == x, rounded, (u >> 16) | U32(0x40U)));
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

HALFTONE_INLINE U32 load_words16(const uint16_t* p) {
  return zero_extended(load_words(p));
}
HALFTONE_INLINE U32 load16(const uint32_t* p) {
  return {load_words(p), load_words(p + 8)};
}
HALFTONE_INLINE void store16(uint32_t* p, U32 x) {
  store_words(p, x.a);
  store_words(p + 8, x.b);
}

// 64 bytes to a cache line, past the caches: a line that is written whole needs not be read first.
// write_past_end() after the last of them.
HALFTONE_INLINE void copy_line_past(void* line, const void* from) {
  auto* const to = static_cast<__m256i*>(line);
  const auto* const p = static_cast<const __m256i*>(from);
  _mm256_stream_si256(to, _mm256_loadu_si256(p));
  _mm256_stream_si256(to + 1, _mm256_loadu_si256(p + 1));
}
HALFTONE_INLINE void write_past_end() {
  _mm_sfence();
}

// ---------------------------------------------------------------- across lanes
HALFTONE_INLINE U32 lane_numbers() {
  return {_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15)};
}
template <int kShift>
HALFTONE_INLINE F32 shifted_down(F32 x) {
  // Only lanes below kShift matter, so that the lower register is enough.
  if constexpr (kShift == 8) return {x.b, x.b};
  if constexpr (kShift == 4) {
    const __m256 y = _mm256_permute2f128_ps(x.a, x.a, 0x11);
    return {y, y};
  }
  if constexpr (kShift == 2) {
    const __m256 y = _mm256_permute_ps(x.a, 0x0E);
    return {y, y};
  }
  if constexpr (kShift == 1) {
    const __m256 y = _mm256_permute_ps(x.a, 0x01);
    return {y, y};
  }
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
  return _mm256_cvtss_f32(x.a);
}

// ---------------------------------------------------------------- 64-bit lanes, for random bits
struct U64 {
  static constexpr int kSize = 4;
  __m256i v;
  U64() = default;
  HALFTONE_INLINE explicit U64(uint64_t x) : v(_mm256_set1_epi64x(static_cast<long long>(x))) {}
  HALFTONE_INLINE explicit U64(__m256i x) : v(x) {}
};
HALFTONE_INLINE U64 operator+(U64 x, U64 y) {
  return U64(_mm256_add_epi64(x.v, y.v));
}
HALFTONE_INLINE U64 operator^(U64 x, U64 y) {
  return U64(_mm256_xor_si256(x.v, y.v));
}
HALFTONE_INLINE U64 xor3(U64 x, U64 y, U64 z) {
  return x ^ y ^ z;
}
HALFTONE_INLINE U64 high_half(U64 x) {
  return U64(_mm256_srli_epi64(x.v, 32));
}
HALFTONE_INLINE U64 multiply_low_halves(U64 x, U64 y) {
  return U64(_mm256_mul_epu32(x.v, y.v));
}
HALFTONE_INLINE U64 block_order() {
  return U64(_mm256_set_epi64x(3, 1, 2, 0));
}
HALFTONE_INLINE void store_blocks(uint32_t* p, U64 w0, U64 w1, U64 w2, U64 w3) {
  const __m256i w01 = _mm256_blend_epi32(w0.v, _mm256_slli_epi64(w1.v, 32), 0xAA);
  const __m256i w23 = _mm256_blend_epi32(w2.v, _mm256_slli_epi64(w3.v, 32), 0xAA);
  store_words(p, _mm256_unpacklo_epi64(w01, w23));
  store_words(p + 8, _mm256_unpackhi_epi64(w01, w23));
}

// ---------------------------------------------------------------- double lanes, for the sum of squares
struct F64 {
  __m256d v[4];
};
HALFTONE_INLINE F64 zero_f64() {
  const __m256d zero = _mm256_setzero_pd();
  return {{zero, zero, zero, zero}};
}
HALFTONE_INLINE F64 add_square(F64 sum, F32 x) {
  const __m256d wide[4] = {
      _mm256_cvtps_pd(_mm256_castps256_ps128(x.a)), _mm256_cvtps_pd(_mm256_extractf128_ps(x.a, 1)),
      _mm256_cvtps_pd(_mm256_castps256_ps128(x.b)), _mm256_cvtps_pd(_mm256_extractf128_ps(x.b, 1))};
  for (int i = 0; i < 4; ++i) sum.v[i] = _mm256_fmadd_pd(wide[i], wide[i], sum.v[i]);
  return sum;
}
HALFTONE_INLINE void store16(double* p, F64 x) {
  for (int i = 0; i < 4; ++i) _mm256_storeu_pd(p + 4 * i, x.v[i]);
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
