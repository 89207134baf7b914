// The inner loop of `block` on AMX: exact sums of 13-bit integers from products of eight-bit tiles.
//
// An integer x of 12 bits and a sign is 64 h + l, with h = x >> 6 in [-64, 63] and l = x & 63 in [0, 63]; s = h + l is in [-64, 126]. All three fit eight
// bits, and with the sums HH of h h', LL of l l' and SS of s s' over a chunk
//   sum of x x' = 4096 HH + 64 (SS - HH - LL) + LL                        (Karatsuba: three products of tiles instead of four)
// which is exact: it is computed modulo 2^32, and the chunk's sum fits 31 bits.
// So an operand is packed as three *planes* of bytes, h, l and s, and a tile of the result is three tiles of int32.
//
// What bounds the work is loading: of tiles, and of their sums. So one plane at a time is multiplied over a chunk, four tiles of sums side by side, which takes
// one tile load for each product; and what was summed is stored only where the next plane needs the register, when it has long been ready.
#pragma once

#include "kern/simd/matrix_tile.h"

namespace halftone::kern::HALFTONE_KERN_NS::product {
namespace {

constexpr int kPlanes = 3;
constexpr int64_t kTileK = 64;                         // terms of a tile product
constexpr int64_t kTileBytes = 16 * kTileK;            // of the right operand, one plane
constexpr int64_t kRightBytes = kPlanes * kTileBytes;  // and all
constexpr int kMostLanes = 2;                          // vectors of a strip
constexpr int kSumTiles = 4;                           // of the result: registers 0 to 3
constexpr int64_t kSumInts = 256;                      // of a tile

// The tile registers of this thread until the end of the scope: `rows` rows of the result and of the left operand; those from first_right on for the right one.
class Tiles {
 public:
  Tiles(int rows, int first_right) {
    struct alignas(64) Config {
      uint8_t palette = 1, start = 0, reserved[14] = {};
      uint16_t row_bytes[16] = {};
      uint8_t rows[16] = {};
    } config;
    for (int i = 0; i < 8; ++i) {
      config.row_bytes[i] = 64;
      config.rows[i] = static_cast<uint8_t>(i >= first_right ? 16 : rows);
    }
    __asm__ volatile("ldtilecfg %0" : : "m"(config));
  }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;
  ~Tiles() { __asm__ volatile("tilerelease"); }
};

// 64 terms of K, or fewer: then the right operand is zero beyond them.
struct TileStep {
  int32_t offset;  // of the left operand's first byte
  int32_t left;    // steps of its chunk from this one on; after 1 the chunk ends
};

// Says how many steps each has left, when the chunks' last ones have 1 and others 0.
inline void count_steps_left(TileStep* steps, int64_t n) {
  for (int64_t i = n - 2; i >= 0; --i)
    if (steps[i].left == 0) steps[i].left = steps[i + 1].left + 1;
}

// Where a strip reads: M tiles of rows (as many as the tiles are configured for) times V vectors of 16 lanes.
template <int M>
struct Strip {
  const int8_t* a[M];
  int64_t a_row, a_plane;  // bytes
  const TileStep* steps;
  int64_t step_count;
  const int8_t* b;   // [vector][step][plane][16][64]
  int64_t b_vector;  // bytes
};

#define HALFTONE_LEFT(tile, from) "tileloadd (%[a" #from "],%[row],1), %%tmm" #tile "\n\t"
#define HALFTONE_RIGHT(tile, from) "tileloadd (%[b" #from "],%[k],1), %%tmm" #tile "\n\t"
#define HALFTONE_MULTIPLY(sum, left, right) "tdpbssd %%tmm" #right ", %%tmm" #left ", %%tmm" #sum "\n\t"
#define HALFTONE_RENEW(sum) \
  "tilestored %%tmm" #sum ", " #sum "*1024(%[sums],%[k],1)\n\ttilezero %%tmm" #sum "\n\t"

// One step of one plane. kRenew: the sums of before are stored to `sums`, and these start from zero.
template <int M, int V, bool kRenew>
HALFTONE_INLINE void multiply_step(const int8_t* const (&a)[M], int64_t offset, int64_t a_row,
                                   const int8_t* b, int64_t b_vector, int32_t* sums) {
  static_assert(M * V == kSumTiles);
  if constexpr (M == 2 && kRenew) {
    __asm__ volatile(HALFTONE_LEFT(4, 0) HALFTONE_RIGHT(6, 0) HALFTONE_RENEW(0) HALFTONE_MULTIPLY(0, 4, 6)
                         HALFTONE_LEFT(5, 1) HALFTONE_RENEW(2) HALFTONE_MULTIPLY(2, 5, 6) HALFTONE_RIGHT(7, 1)
                             HALFTONE_RENEW(1) HALFTONE_MULTIPLY(1, 4, 7) HALFTONE_RENEW(3)
                                 HALFTONE_MULTIPLY(3, 5, 7)
                     :
                     : [a0] "r"(a[0] + offset), [a1] "r"(a[1] + offset), [row] "r"(a_row), [b0] "r"(b),
                       [b1] "r"(b + b_vector), [k] "r"(kTileK), [sums] "r"(sums)
                     : "memory");
  } else if constexpr (M == 2) {
    __asm__ volatile(HALFTONE_LEFT(4, 0) HALFTONE_RIGHT(6, 0) HALFTONE_MULTIPLY(0, 4, 6) HALFTONE_LEFT(5, 1)
                         HALFTONE_MULTIPLY(2, 5, 6) HALFTONE_RIGHT(7, 1) HALFTONE_MULTIPLY(1, 4, 7)
                             HALFTONE_MULTIPLY(3, 5, 7)
                     :
                     : [a0] "r"(a[0] + offset), [a1] "r"(a[1] + offset), [row] "r"(a_row), [b0] "r"(b),
                       [b1] "r"(b + b_vector), [k] "r"(kTileK)
                     : "memory");
  } else if constexpr (kRenew) {
    __asm__ volatile(
        HALFTONE_RIGHT(7, 0) HALFTONE_LEFT(4, 0) HALFTONE_RENEW(0) HALFTONE_MULTIPLY(0, 4, 7) HALFTONE_LEFT(
            5, 1) HALFTONE_RENEW(1) HALFTONE_MULTIPLY(1, 5, 7) HALFTONE_LEFT(6, 2) HALFTONE_RENEW(2)
            HALFTONE_MULTIPLY(2, 6, 7) HALFTONE_LEFT(4, 3) HALFTONE_RENEW(3) HALFTONE_MULTIPLY(3, 4, 7)
        :
        : [a0] "r"(a[0] + offset), [a1] "r"(a[1] + offset), [a2] "r"(a[2] + offset), [a3] "r"(a[3] + offset),
          [row] "r"(a_row), [b0] "r"(b), [k] "r"(kTileK), [sums] "r"(sums)
        : "memory");
  } else {
    __asm__ volatile(HALFTONE_RIGHT(7, 0) HALFTONE_LEFT(4, 0) HALFTONE_MULTIPLY(0, 4, 7) HALFTONE_LEFT(5, 1)
                         HALFTONE_MULTIPLY(1, 5, 7) HALFTONE_LEFT(6, 2) HALFTONE_MULTIPLY(2, 6, 7)
                             HALFTONE_LEFT(4, 3) HALFTONE_MULTIPLY(3, 4, 7)
                     :
                     : [a0] "r"(a[0] + offset), [a1] "r"(a[1] + offset), [a2] "r"(a[2] + offset),
                       [a3] "r"(a[3] + offset), [row] "r"(a_row), [b0] "r"(b), [k] "r"(kTileK)
                     : "memory");
  }
}
HALFTONE_INLINE void store_tiles(int32_t* sums) {
  __asm__ volatile(HALFTONE_RENEW(0) HALFTONE_RENEW(1) HALFTONE_RENEW(2) HALFTONE_RENEW(3)
                   :
                   : [sums] "r"(sums), [k] "r"(kTileK)
                   : "memory");
}
#undef HALFTONE_LEFT
#undef HALFTONE_RIGHT
#undef HALFTONE_MULTIPLY
#undef HALFTONE_RENEW

// The sums of 16 lanes of one row of a chunk; sums: of its HH.
HALFTONE_INLINE F chunk_sum(const int32_t* sums) {
  constexpr int64_t kPlane = kSumTiles * kSumInts;
  const I hh = load(sums);
  const I ll = load(sums + kPlane);
  const I rest = _mm512_sub_epi32(load(sums + 2 * kPlane), _mm512_add_epi32(hh, ll));
  const I high = _mm512_add_epi32(_mm512_slli_epi32(hh, 6), rest);
  return to_float(_mm512_add_epi32(_mm512_slli_epi32(high, 6), ll));
}

// Strips, one after the other, with what follows a chunk (scaling, adding, storing) a little late, while tiles multiply on. Carry says what follows:
// carry.rows(sums, m, begin, end) for rows of the m-th tile; sums of a chunk are [HH, LL, SS][m][vector][row][16].
template <int M, int V, class Carry>
class Pipe {
 public:
  // carry: what all chunks have in common.
  Pipe(int rows, const Carry& carry) : tiles_(rows, V == 2 ? 6 : 7), rows_(rows), carry_(carry) {}

  // next(carry): what follows the strip's next chunk. It is written in place: a copy would wait for its members to reach the cache.
  template <class Next>
  HALFTONE_INLINE void run(const Strip<M>& t, Next next) {
    const int8_t* b = t.b;
    for (const TileStep *s = t.steps, *const end = s + t.step_count; s != end;) {
      const int steps = s->left;
      // Over the first plane the chunk before is finished: its last sums are stored first, its others not yet overwritten.
      multiply_step<M, V, true>(t.a, s->offset, t.a_row, b, t.b_vector, sums_ + 2 * kPlaneInts);
      int done = carry_some(0, steps);
      for (int i = 1; i < steps; ++i) {
        multiply_step<M, V, false>(t.a, s[i].offset, t.a_row, b + i * kRightBytes, t.b_vector, nullptr);
        done = carry_some(done, steps - i);
      }
      for (int p = 1; p < kPlanes; ++p) {
        const int64_t plane = p * t.a_plane;
        const int8_t* const right = b + p * kTileBytes;
        multiply_step<M, V, true>(t.a, s->offset + plane, t.a_row, right, t.b_vector,
                                  sums_ + (p - 1) * kPlaneInts);
        for (int i = 1; i < steps; ++i)
          multiply_step<M, V, false>(t.a, s[i].offset + plane, t.a_row, right + i * kRightBytes, t.b_vector,
                                     nullptr);
      }
      s += steps;
      b += steps * kRightBytes;
      next(carry_);
      late_ = true;
    }
  }
  HALFTONE_INLINE void drain() {
    store_tiles(sums_ + 2 * kPlaneInts);
    carry_some(0, 1);
    late_ = false;
  }

 private:
  static constexpr int64_t kPlaneInts = kSumTiles * kSumInts;
  // This turn's share of the M * rows_ rows, of which `done` are done, when there are `turns` turns left. Returns how many are done then.
  HALFTONE_INLINE int carry_some(int done, int turns) {
    if (!late_) return 0;
    const int end = done + (M * rows_ - done + turns - 1) / turns;
    for (int m = 0; m < M; ++m) {
      const int from = done - m * rows_ > 0 ? done - m * rows_ : 0;
      const int to = end - m * rows_ < rows_ ? end - m * rows_ : rows_;
      if (from < to) carry_.rows(sums_ + m * V * kSumInts, m, from, to);
    }
    return end;
  }

  const Tiles tiles_;
  const int rows_;
  bool late_ = false;  // a chunk is not finished
  Carry carry_;
  alignas(64) int32_t sums_[kPlanes * kPlaneInts];
};

}  // namespace
}  // namespace halftone::kern::HALFTONE_KERN_NS::product
