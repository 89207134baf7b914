// Sums over the rows of a matrix, one sum (or several) for each column, rows in ascending order.
#pragma once

#include "kern/simd/loops.h"

namespace halftone::kern::HALFTONE_KERN_NS {

inline constexpr int64_t kRowsAtOnce = 16;

// out[k][c] = 0 + terms of all rows. add(r, c, full, count, sums) adds row r's
// terms of columns c .. c+count-1 to sums[0 .. kSums). Few columns stay in registers over all rows; wide rows
// are read as they lie, a few at a time.
template <int kSums, class Add>
HALFTONE_INLINE void column_sums(int64_t rows, int64_t cols, float* const (&out)[kSums], Add&& add) {
  constexpr int64_t kRegisterColumns = (HALFTONE_KERN_VECTOR == 512 ? 8 : 4) / kSums * kLanes;
  // All columns go on from what `out` holds.
  for (int k = 0; k < kSums; ++k)
    for_vectors(cols,
                [&](int64_t c, auto full, int64_t count) { store_part(out[k] + c, F32(0.0F), full, count); });
  // kVectors * 16 columns from c, rows r0 <= r < r1.
  const auto block = [&](auto vectors, int64_t c, int64_t r0, int64_t r1) {
    constexpr int kVectors = vectors.value;
    F32 sums[kVectors][kSums];
    for (int v = 0; v < kVectors; ++v)
      for (int k = 0; k < kSums; ++k) sums[v][k] = load16(out[k] + c + v * kLanes);
    for (int64_t r = r0; r < r1; ++r)
      for (int v = 0; v < kVectors; ++v) add(r, c + v * kLanes, Constant<true>{}, kLanes, sums[v]);
    for (int v = 0; v < kVectors; ++v)
      for (int k = 0; k < kSums; ++k) store16(out[k] + c + v * kLanes, sums[v][k]);
  };
  // All columns of rows r0 <= r < r1.
  const auto band = [&](int64_t r0, int64_t r1) {
    int64_t c = 0;
    if constexpr (kRegisterColumns >= 8 * kLanes)
      for (; c + 8 * kLanes <= cols; c += 8 * kLanes) block(Constant<8>{}, c, r0, r1);
    if constexpr (kRegisterColumns >= 4 * kLanes)
      for (; c + 4 * kLanes <= cols; c += 4 * kLanes) block(Constant<4>{}, c, r0, r1);
    for (; c + 2 * kLanes <= cols; c += 2 * kLanes) block(Constant<2>{}, c, r0, r1);
    for (; c + kLanes <= cols; c += kLanes) block(Constant<1>{}, c, r0, r1);
    if (c == cols) return;
    const int64_t count = cols - c;
    F32 sums[kSums];
    for (int k = 0; k < kSums; ++k) sums[k] = load_n(out[k] + c, count);
    for (int64_t r = r0; r < r1; ++r) add(r, c, Constant<false>{}, count, sums);
    for (int k = 0; k < kSums; ++k) store_n(out[k] + c, sums[k], count);
  };
  const int64_t step = cols <= kRegisterColumns ? rows : kRowsAtOnce;
  for (int64_t r = 0; r < rows; r += step) band(r, r + step < rows ? r + step : rows);
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
