// From stored elements, or units, to the planes of tile.h.
#pragma once

#include "kern/amx/tile.h"
#include "kern/simd/matrix_pack.h"

namespace halftone::kern::HALFTONE_KERN_NS::product {
namespace {

// h and l of pairs of integers, as pairs.
struct SplitPairs {
  I h, l;
  HALFTONE_INLINE explicit SplitPairs(I pairs)
      : h(_mm512_srai_epi16(pairs, 6)), l(_mm512_and_si512(pairs, _mm512_set1_epi16(63))) {}
};

// ---------------------------------------------------------------- along: a plane follows memory
// The bytes of four vectors of 16 int16 lanes that packs left in dwords: of 64 elements in order.
HALFTONE_INLINE I in_order(I bytes) {
  const I index = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  return _mm512_permutexvar_epi32(index, bytes);
}

// n elements of p to y[0, n) of each plane.
template <class T>
HALFTONE_INLINE void quantise_planes(const T* p, int8_t* y, int64_t plane, int64_t n, F inverse) {
  int64_t i = 0;
  for (; i + 64 <= n; i += 64) {
    prefetch(p + i);
    prefetch(p + i + 32);
    I q[4];
    for (int j = 0; j < 4; ++j) q[j] = quantise(widen(p + i + 16 * j), inverse);
    const SplitPairs low(_mm512_packs_epi32(q[0], q[1]));
    const SplitPairs high(_mm512_packs_epi32(q[2], q[3]));
    store(reinterpret_cast<int32_t*>(y + i), in_order(_mm512_packs_epi16(low.h, high.h)));
    store(reinterpret_cast<int32_t*>(y + plane + i), in_order(_mm512_packs_epi16(low.l, high.l)));
  }
  for (; i < n; i += 16) {
    const int64_t left = n - i;
    const I q = quantise(left >= 16 ? widen(p + i) : widen(p + i, left), inverse);
    const I h = _mm512_srai_epi32(q, 6);
    const I l = _mm512_and_si512(q, _mm512_set1_epi32(63));
    const __mmask16 here =
        left >= 16 ? static_cast<__mmask16>(0xFFFF) : kern::HALFTONE_KERN_NS::product::first(left);
    _mm512_mask_cvtepi32_storeu_epi8(y + i, here, h);
    _mm512_mask_cvtepi32_storeu_epi8(y + plane + i, here, l);
  }
}

HALFTONE_INLINE void zero_planes(int8_t* y, int64_t plane, int64_t n) {
  for (int i = 0; i < kPlanes; ++i) __builtin_memset(y + i * plane, 0, static_cast<size_t>(n));
}

// ---------------------------------------------------------------- quads: a lane holds four bytes of K
// Four terms of K of 16 lanes, from two vectors of pairs, in both planes.
struct Quads {
  I h, l;
  HALFTONE_INLINE Quads(I pairs01, I pairs23) {
    const SplitPairs a(pairs01);
    const SplitPairs b(pairs23);
    h = merge(a.h, b.h);
    l = merge(a.l, b.l);
  }
  HALFTONE_INLINE void store_to(int8_t* y, int64_t plane) const {
    store(reinterpret_cast<int32_t*>(y), h);
    store(reinterpret_cast<int32_t*>(y + plane), l);
  }

 private:
  // The low bytes of the four int16 of each lane.
  [[gnu::always_inline]] static I merge(I a, I b) {
    const I mask = _mm512_set1_epi32(0x00FF00FF);
    const I ab = _mm512_packus_epi16(_mm512_and_si512(a, mask), _mm512_and_si512(b, mask));
    // Per 128 bits: a's four lanes of two bytes, then b's.
    const __m512i order =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15));
    return _mm512_shuffle_epi8(ab, order);
  }
};

// `count` units of 16 lanes, b_step apart, as the 64 terms of one step of the right operand; zeros beyond them.
inline void units_to_tile(const Unit* units, int64_t count, int8_t* y) {
  for (int64_t q = 0; q < 16; ++q, y += kTileK) {
    const I low = 2 * q < count ? load(units + 32 * q) : zero_i();
    const I high = 2 * q + 1 < count ? load(units + 32 * q + 16) : zero_i();
    Quads(low, high).store_to(y, kTileBytes);
  }
}

// 64 terms of K (pixels, or rows of a matrix; nullptr: zeros) of the 16 lanes from `lane` on, or of the first `lanes` of them: quad q holds
// terms 4 q to 4 q + 3. inverse: the lanes'.
template <class T>
HALFTONE_INLINE void pack_quads(const T* const* terms, int64_t lane, int64_t lanes, F inverse, int8_t* y,
                                int64_t plane) {
  const auto quantised = [&](const T* p) {
    if (p == nullptr) return zero_i();
    return quantise(lanes >= 16 ? widen(p + lane) : widen(p + lane, lanes), inverse);
  };
  for (int64_t q = 0; q < 16; ++q, y += 64, terms += 4)
    Quads(pair(quantised(terms[0]), quantised(terms[1])), pair(quantised(terms[2]), quantised(terms[3])))
        .store_to(y, plane);
}

// The same turned round, for the left operand: rows are lanes, of 64 bytes, `row` apart; a multiple of 16 is written. inverse: one for each lane, or
// one that serves all when kOneScale.
template <bool kOneScale, class T>
void pack_rows(const T* const* terms, int64_t lanes, const float* inverse, int8_t* y, int64_t row,
               int64_t plane) {
  alignas(64) int8_t quads[kRightBytes];
  for (int64_t l = 0; l < lanes; l += 16) {
    pack_quads(terms, l, lanes - l, kOneScale ? splat(*inverse) : load(inverse + l), quads, kTileBytes);
    for (int p = 0; p < kPlanes; ++p)
      transpose(reinterpret_cast<const int32_t*>(quads + p * kTileBytes),
                reinterpret_cast<int32_t*>(y + p * plane + l * row), row / 4);
  }
}

}  // namespace
}  // namespace halftone::kern::HALFTONE_KERN_NS::product
