// The inner loop of `block` on AMX: exact sums of 13-bit integers from products of eight-bit tiles.
//
// An integer x of 12 bits and a sign is 64 h + l, with h = x >> 6 in [-64, 63] and l = x & 63 in [0, 63]. So
// an operand is packed as two *planes* of bytes, h and l, and with the sums HH of h h', HL of h l' + l h' and
// LL of l l' over a chunk
//   sum of x x' = 4096 HH + 64 HL + LL
// which is exact: it is computed modulo 2^32, and the chunk's sum fits 31 bits.
//
// Two tiles of the result side by side are six tiles of sums; the other two registers are for operands. What
// follows a chunk (adding up the three sums, scaling, adding in fp32) is done on vectors while tiles
// multiply, a few rows between two products, and two chunks late: what a tile store writes can't be forwarded
// to a load, so sums are read only when they have long been in the cache.
#pragma once

#include "kern/simd/matrix_tile.h"

namespace halftone::kern::HALFTONE_KERN_NS::product {
namespace {

constexpr int kPlanes = 2;
constexpr int64_t kTileK = 64;                          // terms of a tile product
constexpr int64_t kTileBytes = 16 * kTileK;             // of the right operand, one plane
constexpr int64_t kRightBytes = kPlanes * kTileBytes;   // and all
constexpr int kMostLanes = 2;                           // vectors of a strip
constexpr int kSumTiles = 2;                            // of the result in a strip
constexpr int64_t kSumInts = 256;                       // of a tile
constexpr int64_t kSumKindInts = kSumTiles * kSumInts;  // HH, then HL, then LL

// The tile registers of this thread until the end of the scope: 0 to 5 for sums and 6 for the left operand,
// of `rows` rows, and 7 for the right operand.
class Tiles {
 public:
  explicit Tiles(int rows) {
    struct alignas(64) Config {
      uint8_t palette = 1, start = 0, reserved[14] = {};
      uint16_t row_bytes[16] = {};
      uint8_t rows[16] = {};
    } config;
    for (int i = 0; i < 8; ++i) {
      config.row_bytes[i] = 64;
      config.rows[i] = static_cast<uint8_t>(i == 7 ? 16 : rows);
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

HALFTONE_INLINE void load_left(const int8_t* a, int64_t row) {
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm6" : : "r"(a), "r"(row) : "memory");
}
template <int kPlane>
HALFTONE_INLINE void load_right(const int8_t* b) {
  __asm__ volatile("tileloadd %c2(%0,%1,1), %%tmm7"
                   :
                   : "r"(b), "r"(kTileK), "i"(kPlane * kTileBytes)
                   : "memory");
}
// What was summed goes to its place in `sums`, and the register starts from zero.
template <int kSum>
HALFTONE_INLINE void renew(int32_t* sums) {
  __asm__ volatile("tilestored %%tmm%c2, %c3(%0,%1,1)\n\ttilezero %%tmm%c2"
                   :
                   : "r"(sums), "r"(kTileK), "i"(kSum), "i"(kSum * kSumInts * 4)
                   : "memory");
}
template <int kSum, bool kRenew>
HALFTONE_INLINE void multiply(int32_t* sums) {
  if constexpr (kRenew) renew<kSum>(sums);
  __asm__ volatile("tdpbssd %%tmm7, %%tmm6, %%tmm%c0" : : "i"(kSum));
}

// Where one step of a strip reads.
template <int M, int V>
struct StepOperands {
  const int8_t* a[M];
  int64_t a_row, a_plane;
  const int8_t* b;
  int64_t b_vector;

  // The operand that has one tile, and those of the other.
  template <int kPlane>
  HALFTONE_INLINE void load_single() const {
    if constexpr (V == 2)
      load_left(a[0] + kPlane * a_plane, a_row);
    else
      load_right<kPlane>(b);
  }
  template <int kTile, int kPlane>
  HALFTONE_INLINE void load_of_two() const {
    if constexpr (V == 2)
      load_right<kPlane>(b + kTile * b_vector);
    else
      load_left(a[kTile] + kPlane * a_plane, a_row);
  }
};

// The eight products of a step. kRenew: the sums of before are stored to `sums`, and these start from zero.
// between() is called twice. Two registers hold operands, so the order is one that changes one of them at a
// time, and comes back to a sum after four other products.
template <int M, int V, bool kRenew, class Between>
HALFTONE_INLINE void multiply_step(const StepOperands<M, V>& x, int32_t* sums, Between between) {
  static_assert(M * V == kSumTiles);
  constexpr int kH = 0;
  constexpr int kL = 1;
  x.template load_single<kH>();
  x.template load_of_two<0, kH>();
  multiply<0, kRenew>(sums);
  x.template load_of_two<1, kH>();
  multiply<1, kRenew>(sums);
  x.template load_of_two<0, kL>();
  multiply<2, kRenew>(sums);
  x.template load_of_two<1, kL>();
  multiply<3, kRenew>(sums);
  between();
  x.template load_single<kL>();
  multiply<5, kRenew>(sums);
  x.template load_of_two<0, kL>();
  multiply<4, kRenew>(sums);
  x.template load_of_two<0, kH>();
  multiply<2, false>(sums);
  x.template load_of_two<1, kH>();
  multiply<3, false>(sums);
  between();
}

// The sums of 16 lanes of one row of a chunk; sums: of its HH.
HALFTONE_INLINE F chunk_sum(const int32_t* sums) {
  const I high = _mm512_add_epi32(_mm512_slli_epi32(load(sums), 6), load(sums + kSumKindInts));
  return to_float(_mm512_add_epi32(_mm512_slli_epi32(high, 6), load(sums + 2 * kSumKindInts)));
}

// Strips, one after the other, with what follows a chunk (scaling, adding, storing) two chunks late, while
// tiles multiply on. Carry says what follows: carry.rows(sums, m, begin, end) for rows of the m-th tile; sums
// of a chunk are [HH, HL, LL][tile][row][16], the tile's being m or the vector. Chunks are finished in the
// order they were multiplied in, so a strip may follow itself.
template <int M, int V, class Carry>
class Pipe {
 public:
  // carry: what all chunks have in common.
  Pipe(int rows, const Carry& carry) : tiles_(rows), rows_(rows), carry_{carry, carry} {}

  // next(carry): what follows the strip's next chunk. It is written in place: a copy would wait for its
  // members to reach the cache.
  template <class Next>
  HALFTONE_INLINE void run(const Strip<M>& t, Next next) {
    StepOperands<M, V> x{{}, t.a_row, t.a_plane, t.b, t.b_vector};
    for (const TileStep *s = t.steps, *const end = s + t.step_count; s != end;) {
      const int steps = s->left;
      // The chunk before has its sums in registers, the one before that in memory, where this one's will go.
      const int rows = late_ == 2 ? M * rows_ : 0;
      const int share = (rows + kTurns * steps - 1) / (kTurns * steps);
      int done = 0;
      const auto between = [&]() __attribute__((always_inline)) {
        if (done >= rows) return;
        int upto = done + share;
        if (upto > rows) [[unlikely]]
          upto = rows;
        carry_some(turn_, done, upto);
        done = upto;
      };
      for (int m = 0; m < M; ++m) x.a[m] = t.a[m] + s->offset;
      multiply_step<M, V, true>(x, sums_[1 - turn_], between);
      x.b += kRightBytes;
      for (int i = 1; i < steps; ++i, x.b += kRightBytes) {
        for (int m = 0; m < M; ++m) x.a[m] = t.a[m] + s[i].offset;
        multiply_step<M, V, false>(x, nullptr, between);
      }
      s += steps;
      next(carry_[turn_]);
      turn_ = 1 - turn_;
      if (late_ < 2) ++late_;
    }
  }
  HALFTONE_INLINE void drain() {
    store_sums(sums_[1 - turn_]);
    if (late_ == 2) carry_some(turn_, 0, M * rows_);
    if (late_ > 0) carry_some(1 - turn_, 0, M * rows_);
    late_ = 0;
  }

 private:
  static constexpr int kTurns = 2;  // of a step

  HALFTONE_INLINE static void store_sums(int32_t* sums) {
    renew<0>(sums);
    renew<1>(sums);
    renew<2>(sums);
    renew<3>(sums);
    renew<4>(sums);
    renew<5>(sums);
  }
  // Rows [begin, end) of the M * rows_ of the chunk whose turn it was.
  HALFTONE_INLINE void carry_some(int turn, int begin, int end) const {
    if constexpr (M == 1) return carry_[turn].rows(sums_[turn], 0, begin, end);
    for (int m = 0; m < M; ++m) {
      const int from = begin - m * rows_ > 0 ? begin - m * rows_ : 0;
      const int to = end - m * rows_ < rows_ ? end - m * rows_ : rows_;
      if (from < to) carry_[turn].rows(sums_[turn] + m * V * kSumInts, m, from, to);
    }
  }

  const Tiles tiles_;
  const int rows_;
  int turn_ = 0;  // the next chunk's place
  int late_ = 0;  // chunks that are not finished
  Carry carry_[2];
  alignas(64) int32_t sums_[2][3 * kSumKindInts];
};

}  // namespace
}  // namespace halftone::kern::HALFTONE_KERN_NS::product
