// From stored elements, or units, to the planes of tile.h.
#pragma once

#include "kern/amx/quantise.h"
#include "kern/amx/tile.h"

namespace halftone::kern::HALFTONE_KERN_NS::product {
namespace {

// h and l of integers, both as int16.
struct Split16 {
  I h, l;
  HALFTONE_INLINE explicit Split16(I x)
      : h(_mm512_srai_epi16(x, 6)), l(_mm512_and_si512(x, _mm512_set1_epi16(63))) {}
};

// ---------------------------------------------------------------- along: a plane follows memory
// n elements of p to y[0, n) of each plane.
template <class T>
HALFTONE_INLINE void quantise_planes(const T* p, int8_t* y, int64_t plane, int64_t n, F inverse) {
  const Factors<T> by(inverse, inverse);
  int64_t i = 0;
  for (; i + 64 <= n; i += 64) {
    prefetch(p + i);
    prefetch(p + i + 32);
    const Split16 low(quantise_halves(load_halves(p + i), by));
    const Split16 high(quantise_halves(load_halves(p + i + 32), by));
    store(reinterpret_cast<int32_t*>(y + i), in_order(_mm512_packs_epi16(low.h, high.h)));
    store(reinterpret_cast<int32_t*>(y + plane + i), in_order(_mm512_packs_epi16(low.l, high.l)));
  }
  for (; i < n; i += 32) {
    const int64_t left = least(n - i, 32);
    const Split16 x(quantise_halves(load_halves(p + i, left), by));
    const __mmask32 here = left == 32 ? ~0U : (1U << left) - 1U;
    _mm512_mask_cvtepi16_storeu_epi8(y + i, here, x.h);
    _mm512_mask_cvtepi16_storeu_epi8(y + plane + i, here, x.l);
  }
}

HALFTONE_INLINE void zero_planes(int8_t* y, int64_t plane, int64_t n) {
  for (int i = 0; i < kPlanes; ++i) __builtin_memset(y + i * plane, 0, static_cast<size_t>(n));
}

// ---------------------------------------------------------------- quads: 32 bits of a lane hold four bytes
// of K Four terms of K of 32 lanes in one plane, from integers of 16 bits: 64 bytes for the first 16 lanes,
// and for the others where `both`.
HALFTONE_INLINE void store_quads(const I* terms, int8_t* y, int8_t* y_next, bool both) {
  // The low bytes of two integers of each lane.
  const auto two = [](I a, I b) {
    return _mm512_ternarylogic_epi32(_mm512_set1_epi16(0xFF), a, _mm512_slli_epi16(b, 8), 0xEA);
  };
  const I first = two(terms[0], terms[1]);
  const I second = two(terms[2], terms[3]);
  // In each 128 bits, of eight lanes: the lower four, and the upper four.
  const I lower = _mm512_unpacklo_epi16(first, second);
  const I upper = _mm512_unpackhi_epi16(first, second);
  store(reinterpret_cast<int32_t*>(y),
        _mm512_permutex2var_epi64(lower, _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), upper));
  if (both)
    store(reinterpret_cast<int32_t*>(y_next),
          _mm512_permutex2var_epi64(lower, _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15), upper));
}

// 64 terms of K (pixels, or rows of a matrix; nullptr: zeros) of the 32 lanes from `lane` on, or of the first
// `lanes` of them: quad q holds terms 4 q to 4 q + 3. The first 16 lanes go to y, and any others to y_next.
template <class T>
HALFTONE_INLINE void pack_quads(const T* const* terms, int64_t lane, int64_t lanes, const Factors<T>& by,
                                int8_t* y, int8_t* y_next, int64_t plane) {
  const bool both = lanes > 16;
  for (int64_t q = 0; q < 16; ++q, y += 64, y_next += 64, terms += 4) {
    I h[4];
    I l[4];
    HALFTONE_UNROLL
    for (int t = 0; t < 4; ++t) {
      const I halves = terms[t] == nullptr ? zero_i()
                       : lanes >= 32       ? load_halves(terms[t] + lane)
                                           : load_halves(terms[t] + lane, lanes);
      const Split16 x(quantise_halves(halves, by));
      h[t] = x.h;
      l[t] = x.l;
    }
    store_quads(h, y, y_next, both);
    store_quads(l, y + plane, y_next + plane, both);
  }
}

// The same turned round, for the left operand: rows are lanes, of 64 bytes, `row` apart; a multiple of 16 is
// written. inverse: one for each lane, of which a multiple of 32 is read, or one that serves all when
// kOneScale.
template <bool kOneScale, class T>
void pack_rows(const T* const* terms, int64_t lanes, const float* inverse, int8_t* y, int64_t row,
               int64_t plane) {
  alignas(64) int8_t quads[2][kRightBytes];
  for (int64_t l = 0; l < lanes; l += 32) {
    const Factors<T> by = kOneScale ? Factors<T>(splat(*inverse), splat(*inverse))
                                    : Factors<T>(load(inverse + l), load(inverse + l + 16));
    pack_quads(terms, l, lanes - l, by, quads[0], quads[1], kTileBytes);
    for (int64_t half = 0; half < 2 && l + 16 * half < lanes; ++half)
      for (int p = 0; p < kPlanes; ++p)
        transpose(reinterpret_cast<const int32_t*>(quads[half] + p * kTileBytes),
                  reinterpret_cast<int32_t*>(y + p * plane + (l + 16 * half) * row), row / 4);
  }
}

// Up to 64 terms of K of up to 16 lanes that are rows, `stride` apart, as one step of the right operand;
// zeros for the rest. inverse: the lanes'.
template <class T>
void pack_columns(const T* rows, int64_t stride, int64_t lanes, int64_t terms, const float* inverse,
                  int8_t* y) {
  alignas(64) int8_t planes[kRightBytes];
  if (lanes < 16 || terms < kTileK) zero_planes(planes, kTileBytes, kTileBytes);
  for (int64_t l = 0; l < lanes; ++l)
    quantise_planes(rows + l * stride, planes + l * kTileK, kTileBytes, terms, splat(inverse[l]));
  for (int p = 0; p < kPlanes; ++p)
    transpose(reinterpret_cast<const int32_t*>(planes + p * kTileBytes),
              reinterpret_cast<int32_t*>(y + p * kTileBytes), kTileK / 4);
}

// ---------------------------------------------------------------- from units
// `count` units of 16 lanes as the 64 terms of one step of the right operand; zeros beyond them.
inline void units_to_tile(const Unit* units, int64_t count, int8_t* y) {
  // Four bytes of K of each lane, from the low bytes of two vectors of pairs.
  const auto merge = [](I a, I b) {
    const I mask = _mm512_set1_epi32(0x00FF00FF);
    const I ab = _mm512_packus_epi16(_mm512_and_si512(a, mask), _mm512_and_si512(b, mask));
    // Per 128 bits: a's four lanes of two bytes, then b's.
    const __m512i order =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15));
    return _mm512_shuffle_epi8(ab, order);
  };
  for (int64_t q = 0; q < 16; ++q, y += kTileK) {
    const Split16 a(2 * q < count ? load(units + 32 * q) : zero_i());
    const Split16 b(2 * q + 1 < count ? load(units + 32 * q + 16) : zero_i());
    store(reinterpret_cast<int32_t*>(y), merge(a.h, b.h));
    store(reinterpret_cast<int32_t*>(y + kTileBytes), merge(a.l, b.l));
  }
}

}  // namespace
}  // namespace halftone::kern::HALFTONE_KERN_NS::product
