// block, one vector of outputs and little K: tiles whose kernel columns share what they load. With one vector
// every product loads its own value of x, and loads bound the speed; here a value meets the weights of up to
// three neighbouring columns while it is in a register. Sums of a chunk are exact, so their order is free; a
// chunk's boundary may cut a row of taps, so each chunk is cut into runs of units that have the same columns.
#pragma once

#include "kern/simd/matrix_pack.h"

namespace halftone::kern::HALFTONE_KERN_NS::product {
namespace {

// 16 registers hold too few sums, and the order of half's sums is not free.
constexpr bool kHasTapTiles = kMaxVectors > 1 && !kHalf;
constexpr int kTapRows = 16;
constexpr int64_t kMostTapColumns = 3;

struct TapSegment {
  int64_t offset;    // of the first unit at the first column, from a
  int64_t b_offset;  // of its weights
  int32_t length;    // units
  int16_t columns;
  int16_t flush;
};

template <class T>
struct TapTile {
  const Unit* a;
  int64_t pixel;  // units from one row, and one column, to the next
  const TapSegment* segments;
  int64_t segment_count;
  const Unit* b;
  int64_t b_column;  // from a column's weights to the next's
  float* c;          // [row][16]
  const float* scale_a;
  const float* scale_b;
  // Where the sums go, with 16 lanes a row; nullptr: they stay in c, for whoever stores fewer. (A masked
  // store here too made whole rows 3 to 5 % slower.)
  T* y;
  int64_t y_step;
  const float* bias;  // of y, or nullptr
};

template <int M, int N, class T>
HALFTONE_INLINE void add_tap_segment(const TapTile<T>& t, const TapSegment& s, I (&acc)[M]) {
  Rows<M + N - 1, false> a(t.a + s.offset, t.pixel);
  const Unit* b = t.b + s.b_offset;
  for (int64_t k = s.length; k > 0; --k) {
    I w[N];
    HALFTONE_UNROLL
    for (int n = 0; n < N; ++n) w[n] = load(b + n * t.b_column);
    HALFTONE_UNROLL
    for (int i = 0; i < M + N - 1; ++i) {
      const I x = broadcast(a[i]);
      HALFTONE_UNROLL
      for (int n = 0; n < N; ++n)
        if (i - n >= 0 && i - n < M) add_pairs(acc[i - n], x, w[n]);
    }
    a.advance(4);
    b += 16;
  }
}

template <class T, int M>
void tap_tile(const TapTile<T>& t) {
  I acc[M];
  HALFTONE_UNROLL
  for (int m = 0; m < M; ++m) acc[m] = zero_i();
  const F scale = mul(splat(*t.scale_a), load(t.scale_b));
  bool first = true;
  for (const TapSegment *s = t.segments, *end = s + t.segment_count; s != end; ++s) {
    if (s->columns == 3)
      add_tap_segment<M, 3>(t, *s, acc);
    else if (s->columns == 2)
      add_tap_segment<M, 2>(t, *s, acc);
    else
      add_tap_segment<M, 1>(t, *s, acc);
    if (s->flush == 0) continue;
    if (s + 1 == end && t.y != nullptr) break;
    HALFTONE_UNROLL
    for (int m = 0; m < M; ++m) {
      float* const c = t.c + m * 16;
      store(c, fma(to_float(acc[m]), scale, first ? zero_f() : load(c)));
      acc[m] = zero_i();
    }
    first = false;
  }
  if (t.y == nullptr) return;
  T* y = t.y;
  const bool shifted = t.bias != nullptr;
  const F shift = shifted ? load(t.bias) : zero_f();
  HALFTONE_UNROLL
  for (int m = 0; m < M; ++m, y += t.y_step) {
    F sum = fma(to_float(acc[m]), scale, first ? zero_f() : load(t.c + m * 16));
    if (shifted) sum = add(sum, shift);
    narrow(y, sum);
  }
}

template <class T>
struct TapTable {
  void (*of[kTapRows + 1])(const TapTile<T>&);
};
template <class T, int M>
constexpr void fill_taps(TapTable<T>& table) {
  table.of[M] = tap_tile<T, M>;
  if constexpr (M > 1) fill_taps<T, M - 1>(table);
}
template <class T>
constexpr TapTable<T> make_tap_table() {
  TapTable<T> table{};
  if constexpr (kHasTapTiles) fill_taps<T, kTapRows>(table);
  return table;
}
template <class T>
constexpr TapTable<T> kTapTiles = make_tap_table<T>();

// K in order is rows of `columns` taps of `units` units; row r's first column is read at offsets[r]. Returns
// the number of segments, at most 3 * rows + 4 * chunks.
inline int64_t tap_segments(int64_t rows, int64_t columns, int64_t units, const int64_t* offsets,
                            TapSegment* segments) {
  int64_t n = 0;
  const int64_t row_units = columns * units;
  for (int64_t begin = 0; begin < rows * row_units; begin += kChunkUnits) {
    const int64_t end = least(begin + kChunkUnits, rows * row_units);
    for (int64_t r = begin / row_units; r * row_units < end; ++r) {
      // The chunk's part of the row, and where in a tap it begins and ends.
      const int64_t low = most(begin - r * row_units, 0);
      const int64_t high = least(end - r * row_units, row_units);
      const int64_t cuts[] = {0, least(low % units, high % units), most(low % units, high % units), units};
      for (int i = 0; i < 3; ++i) {
        const int64_t u = cuts[i];
        const int64_t first = low > u ? ceil_div(low - u, units) : 0;
        const int64_t after = high > u ? ceil_div(high - u, units) : 0;
        if (u == cuts[i + 1] || first >= after) continue;
        segments[n++] = {offsets[r] + first * units + u, (r * columns + first) * units * 16 + u * 16,
                         static_cast<int32_t>(cuts[i + 1] - u), static_cast<int16_t>(after - first), 0};
      }
    }
    segments[n - 1].flush = 1;
  }
  return n;
}

}  // namespace
}  // namespace halftone::kern::HALFTONE_KERN_NS::product
