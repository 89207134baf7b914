// The inner loop of every product: M rows times V vectors of 16 outputs.
//
// K is a list of segments, runs of units (a pair of int16 for block, a float for wide) that lie `a_step`
// apart in the left operand; the right operand's vectors follow each other, `b_step` apart, through all
// segments. Row m of the tile reads a + m * a_row. So one loop serves convolution (rows are pixels, units
// channels: a_step 1), its weight gradient (rows are taps and channels: a_row 1, units are pixels) and matrix
// products. Sums are exact in int32 until a segment says flush; the fp32 tile waits in memory (c), for wide
// too between two calls.
#pragma once

#include "kern/matrix.h"
#include "kern/scratch.h"
#if HALFTONE_KERN_VECTOR == 512
#include "kern/avx512/matrix_vector.h"
#else
#include "kern/avx2/matrix_vector.h"
#endif
#if defined(HALFTONE_KERN_HALF)
#include "kern/avx512fp16/pairs.h"
#endif

#if defined(__clang__)
#define HALFTONE_UNROLL _Pragma("unroll")
#else
#define HALFTONE_UNROLL _Pragma("GCC unroll 64")
#endif

namespace halftone::kern::HALFTONE_KERN_NS::product {
namespace {

using Unit = int32_t;  // for wide: a float's memory

// `half` is `block` with pairs of fp16, which are copied as they lie, have no scales and add up in fp16: the
// same code, compiled once more with HALFTONE_KERN_HALF and the additions of avx512fp16/pairs.h.
#if defined(HALFTONE_KERN_HALF)
constexpr bool kHalf = true;
#else
constexpr bool kHalf = false;
#endif

struct Segment {
  int64_t offset;  // of its first unit, from a
  int32_t length;  // units
  int32_t flush;   // block: the chunk ends here
};

struct Tile {
  const Unit* a;
  int64_t a_row;
  int64_t a_step;
  const Segment* segments;
  int64_t segment_count;
  const Unit* b;
  int64_t b_step;
  float* c;
  int64_t c_row;
  bool first;  // c is still zero, and not in memory
  // When not null, c ends with this call: it is added to total (laid out as c is; total_first: stored there)
  // and itself stored nowhere. Only where all rows of a block tile share a scale (scale_a_row 0).
  float* total;
  bool total_first;
  // block: the chunk's scale is scale_a[m * scale_a_row] * scale_b[lane]; both advance after a flush.
  const float* scale_a;
  int64_t scale_a_row;
  int64_t scale_a_flush;
  const float* scale_b;
  int64_t scale_b_flush;
};

// Row addresses: every third row has a pointer, so that x86's [base], [base + row], [base + 2 * row] reach
// all of them.
template <int M, bool kUnitRow>
struct Rows {
  const char* base[(M + 2) / 3];
  int64_t row;  // bytes

  HALFTONE_INLINE Rows(const Unit* a, int64_t a_row) : row(a_row * 4) {
    HALFTONE_UNROLL
    for (int i = 0; i < (M + 2) / 3; ++i) base[i] = reinterpret_cast<const char*>(a) + 3 * i * row;
  }
  HALFTONE_INLINE const Unit* operator[](int m) const {
    return reinterpret_cast<const Unit*>(base[m / 3] + m % 3 * row);
  }
  HALFTONE_INLINE void advance(int64_t bytes) {
    HALFTONE_UNROLL
    for (int i = 0; i < (M + 2) / 3; ++i) {
      base[i] += bytes;
      __asm__(
          ""
          : "+r"(base[i]));  // keeps them pointers: else they become one index and many spilled differences
    }
  }
};
template <int M>
struct Rows<M, true> {
  const Unit* base;
  HALFTONE_INLINE Rows(const Unit* a, int64_t) : base(a) {}
  HALFTONE_INLINE const Unit* operator[](int m) const { return base + m; }
  HALFTONE_INLINE void advance(int64_t bytes) {
    base = reinterpret_cast<const Unit*>(reinterpret_cast<const char*>(base) + bytes);
  }
};

template <int M, int V, bool kUnitRow>
void block_tile(const Tile& t) {
  I acc[M][V];
  HALFTONE_UNROLL
  for (int m = 0; m < M; ++m) {
    HALFTONE_UNROLL
    for (int v = 0; v < V; ++v) acc[m][v] = zero_i();
  }
  const Unit* b = t.b;
  const int64_t b_step = t.b_step;
  const int64_t a_bytes = t.a_step * 4;
  const float* scale_a = t.scale_a;
  const float* scale_b = t.scale_b;
  bool first = t.first;
  for (const Segment *s = t.segments, *end = s + t.segment_count; s != end; ++s) {
    Rows<M, kUnitRow> a(t.a + s->offset, t.a_row);
    for (int64_t k = s->length; k > 0; --k) {
      I bv[V];
      HALFTONE_UNROLL
      for (int v = 0; v < V; ++v) bv[v] = load(b + 16 * v);
      HALFTONE_UNROLL
      for (int m = 0; m < M; ++m) {
        if constexpr (V == 1) {
          add_pairs_broadcast(acc[m][0], bv[0], a[m]);
        } else {
          const I av = broadcast(a[m]);
          HALFTONE_UNROLL
          for (int v = 0; v < V; ++v) add_pairs(acc[m][v], av, bv[v]);
        }
      }
      a.advance(a_bytes);
      b += b_step;
    }
    if (s->flush == 0) continue;
    F sb[V];
    HALFTONE_UNROLL
    for (int v = 0; v < V; ++v) sb[v] = load(scale_b + 16 * v);
    const bool ends = t.total != nullptr && s + 1 == end;
    float* const to = ends ? t.total : t.c;
    // No lambda: one that refers to acc keeps it in memory.
    if (kHalf || t.scale_a_row == 0) {
      HALFTONE_UNROLL
      for (int v = 0; v < V; ++v) sb[v] = mul(splat(*scale_a), sb[v]);
      HALFTONE_UNROLL
      for (int m = 0; m < M; ++m) {
        HALFTONE_UNROLL
        for (int v = 0; v < V; ++v) {
          const int64_t at = m * t.c_row + 16 * v;
          const F before = first ? zero_f() : load(t.c + at);
          F c = kHalf ? add(before, to_float(acc[m][v])) : fma(to_float(acc[m][v]), sb[v], before);
          if (ends && !t.total_first) c = add(load(t.total + at), c);
          store(to + at, c);
          acc[m][v] = zero_i();
        }
      }
    } else {
      HALFTONE_UNROLL
      for (int m = 0; m < M; ++m) {
        const F sa = splat(scale_a[m * t.scale_a_row]);
        HALFTONE_UNROLL
        for (int v = 0; v < V; ++v) {
          float* const c = t.c + m * t.c_row + 16 * v;
          store(c, fma(to_float(acc[m][v]), mul(sa, sb[v]), first ? zero_f() : load(c)));
          acc[m][v] = zero_i();
        }
      }
    }
    first = false;
    scale_a += t.scale_a_flush;
    scale_b += t.scale_b_flush;
  }
}

template <int M, int V, bool kUnitRow>
void wide_tile(const Tile& t) {
  F acc[M][V];
  HALFTONE_UNROLL
  for (int m = 0; m < M; ++m) {
    HALFTONE_UNROLL
    for (int v = 0; v < V; ++v) acc[m][v] = t.first ? zero_f() : load(t.c + m * t.c_row + 16 * v);
  }
  const Unit* b = t.b;
  const int64_t b_step = t.b_step;
  const int64_t a_bytes = t.a_step * 4;
  for (const Segment *s = t.segments, *end = s + t.segment_count; s != end; ++s) {
    Rows<M, kUnitRow> a(t.a + s->offset, t.a_row);
    for (int64_t k = s->length; k > 0; --k) {
      F bv[V];
      HALFTONE_UNROLL
      for (int v = 0; v < V; ++v) bv[v] = load(reinterpret_cast<const float*>(b) + 16 * v);
      HALFTONE_UNROLL
      for (int m = 0; m < M; ++m) {
        const F av = splat(*reinterpret_cast<const float*>(a[m]));
        HALFTONE_UNROLL
        for (int v = 0; v < V; ++v) acc[m][v] = fma(av, bv[v], acc[m][v]);
      }
      a.advance(a_bytes);
      b += b_step;
    }
  }
  float* const to = t.total != nullptr ? t.total : t.c;
  HALFTONE_UNROLL
  for (int m = 0; m < M; ++m) {
    HALFTONE_UNROLL
    for (int v = 0; v < V; ++v) {
      const int64_t at = m * t.c_row + 16 * v;
      store(to + at, t.total != nullptr && !t.total_first ? add(load(t.total + at), acc[m][v]) : acc[m][v]);
    }
  }
}

using TileFunction = void (*)(const Tile&);

constexpr int kMostRows = 24;
struct TileTable {
  TileFunction of[kMaxVectors + 1][kMostRows + 1];
};
template <bool kBlock, bool kUnitRow, int V, int M>
constexpr void fill(TileTable& table) {
  if constexpr (kBlock)
    table.of[V][M] = block_tile<M, V, kUnitRow>;
  else
    table.of[V][M] = wide_tile<M, V, kUnitRow>;
  if constexpr (M > 1)
    fill<kBlock, kUnitRow, V, M - 1>(table);
  else if constexpr (V > 1)
    fill<kBlock, kUnitRow, V - 1, max_rows(V - 1, kUnitRow)>(table);
}
template <bool kBlock, bool kUnitRow>
constexpr TileTable make_table() {
  TileTable table{};
  fill<kBlock, kUnitRow, kMaxVectors, max_rows(kMaxVectors, kUnitRow)>(table);
  return table;
}
template <bool kBlock, bool kUnitRow>
constexpr TileTable kTiles = make_table<kBlock, kUnitRow>();

// n rows in as few tiles as possible, of nearly equal height.
struct Split {
  int64_t tiles, height, higher;  // the first `higher` tiles have a row more
  Split(int64_t n, int most)
      : tiles((n + most - 1) / most), height(tiles == 0 ? 0 : n / tiles), higher(n - tiles * height) {}
  int64_t begin(int64_t tile) const { return tile * height + (tile < higher ? tile : higher); }
  int rows(int64_t tile) const { return static_cast<int>(height + (tile < higher ? 1 : 0)); }
};

// How many of `vectors` vectors of outputs a panel takes, so that a tile loads least for each multiplication.
// `rows`: the height that tiles cover.
inline int panel_vectors(int64_t vectors, int64_t rows, bool unit_row = false) {
  int best = 1;
  double best_cost = 1e9;
  for (int v = 1; v <= kMaxVectors && v <= vectors; ++v) {
    const Split split(rows, max_rows(v, unit_row));
    // The last panel may be narrower: count all panels.
    double cost = 0;
    for (int64_t done = 0; done < vectors; done += v) {
      const double width = vectors - done < v ? static_cast<double>(vectors - done) : v;
      // Loads, and multiplications; sums below 8 don't hide the multiplier's latency.
      const double rows_each = static_cast<double>(rows) / static_cast<double>(split.tiles);
      const double work = rows_each * width < 8 ? 8 : rows_each * width;
      cost += static_cast<double>(split.tiles) * (work + 0.5 * (rows_each + width));
    }
    if (cost < best_cost) {
      best_cost = cost;
      best = v;
    }
  }
  return best;
}

constexpr int64_t kChunkUnits = 64;  // 128 products

}  // namespace
}  // namespace halftone::kern::HALFTONE_KERN_NS::product
